/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What no weight below it can be protected any more: the k-th largest score so far, rounded down to its bin. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "engine/select/key.h"
#include "engine/select/select.h"

enum { LOW_BITS = 32 - CWE_RANK_BITS, BINS = 1 << CWE_RANK_BITS };

int cwe_floor_begin(struct cwe_floor *ret, uint64_t k, struct cwb_err *err)
{
	struct cwe_floor f = {.k = k, .count = calloc(BINS, sizeof *f.count)};
	if (f.count == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the histogram of scores");
	}
	*ret = f;
	return 0;
}

uint64_t cwe_floor_count(const struct cwe_floor *f, const float *score, uint64_t n)
{
	uint64_t counted = 0;
	for (uint64_t i = 0; i < n; i++) {
		uint32_t bin = cwe_key_of(score[i]) >> LOW_BITS;
		/* What lies below is of no interest any more, for the floor only rises. */
		if (bin >= f->bin) {
			(void)atomic_fetch_add_explicit(&f->count[bin], 1, memory_order_relaxed);
			counted++;
		}
	}
	return counted;
}

void cwe_floor_raise(struct cwe_floor *f, uint64_t counted)
{
	f->kept += counted;
	while (f->kept - f->count[f->bin] >= f->k) {
		f->kept -= f->count[f->bin];
		f->bin++;
	}
}

float cwe_floor_value(const struct cwe_floor *f)
{
	return f->kept < f->k ? -INFINITY : cwe_key_value(f->bin << LOW_BITS);
}

void cwe_floor_end(struct cwe_floor *f)
{
	free(f->count);
	f->count = NULL;
}
