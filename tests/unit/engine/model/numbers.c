/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/engine/model/numbers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void numbers_keep(struct numbers *n, const void *data, size_t bytes)
{
	n->data = realloc(n->data, n->count + bytes + 1);
	assert_non_null(n->data);
	memcpy(n->data + n->count, data, bytes);
	n->count += bytes;
}

static void put_array(struct numbers *n, const void *p, size_t bytes)
{
	numbers_keep(n, p != NULL ? "+" : "-", 1);
	if (p != NULL) {
		numbers_keep(n, p, bytes);
	}
}

int numbers_keep_module(void *arg, uint32_t layer, uint32_t set, uint32_t linear, const struct cwe_module_statistics *s,
	struct cwb_err *err)
{
	const uint64_t head[] = {layer, set, linear, s->rows, s->cols, s->samples, s->tokens};
	uint64_t n = s->rows * s->cols;
	(void)err;
	numbers_keep(arg, head, sizeof head);
	put_array(arg, s->weight, n * sizeof *s->weight);
	put_array(arg, s->grad_sum, n * sizeof *s->grad_sum);
	put_array(arg, s->grad_abs, n * sizeof *s->grad_abs);
	put_array(arg, s->grad_sq, n * sizeof *s->grad_sq);
	put_array(arg, s->act_sum, s->cols * sizeof *s->act_sum);
	put_array(arg, s->act_sq, s->cols * sizeof *s->act_sq);
	put_array(arg, s->act_abs, s->cols * sizeof *s->act_abs);
	put_array(arg, s->act_absmax, s->cols * sizeof *s->act_absmax);
	put_array(arg, s->gram, s->cols * s->cols * sizeof *s->gram);
	put_array(arg, s->act_histogram, CWP_HISTOGRAM_BINS * sizeof *s->act_histogram);
	put_array(arg, s->act_least, s->cols * sizeof *s->act_least);
	put_array(arg, s->act_greatest, s->cols * sizeof *s->act_greatest);
	return 0;
}
