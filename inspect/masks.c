/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Verb masks: how much two outputs protect the same weights. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/overlay.h"
#include "engine/format/saved_mask.h"
#include "inspect/inspect.h"

#define STEP_BYTES (1u << 20)

struct counts {
	uint64_t weights, a, b, both;
};

static uint64_t ones(const uint8_t *bits, uint64_t rows, uint64_t cols)
{
	uint64_t stride = (cols + 7) / 8, n = 0;
	for (uint64_t r = 0; r < rows; r++) {
		n += cwe_overlay_count_row(bits + r * stride, cols);
	}
	return n;
}

static int compare_module(struct cwe_saved_mask *const mask[2], const char *module, uint64_t rows, uint64_t cols,
	struct counts *ret, struct cwb_err *err)
{
	uint64_t stride = (cols + 7) / 8, step = STEP_BYTES / stride + 1;
	uint8_t *a = malloc(2 * step * stride), *b = a != NULL ? a + step * stride : NULL;
	int r = a != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for masks");
	*ret = (struct counts){.weights = rows * cols};
	for (uint64_t row = 0; r == 0 && row < rows; row += step) {
		uint64_t n = rows - row < step ? rows - row : step;
		r = cwe_saved_mask_rows(mask[0], cwe_saved_mask_find(mask[0], module), cols, row, n, a, err);
		r = r == 0 ? cwe_saved_mask_rows(mask[1], cwe_saved_mask_find(mask[1], module), cols, row, n, b, err) : r;
		if (r == 0) {
			ret->a += ones(a, n, cols);
			ret->b += ones(b, n, cols);
			for (uint64_t i = 0; i < n * stride; i++) {
				a[i] &= b[i];
			}
			ret->both += ones(a, n, cols);
		}
	}
	free(a);
	return r;
}

/* Weights that both protect, among those that one of them does; two empty masks are the same. */
static json_t *counts_json(const struct counts *c)
{
	uint64_t either = c->a + c->b - c->both;
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:f}", "weights", (json_int_t)c->weights, "a", (json_int_t)c->a, "b", (json_int_t)c->b,
		"both", (json_int_t)c->both, "either", (json_int_t)either, "jaccard",
		either > 0 ? (double)c->both / (double)either : 1.0);
}

static int print_module(struct cwe_saved_mask *const mask[2], const char *module, uint64_t rows, uint64_t cols,
	struct counts *total, struct cwb_err *err)
{
	struct counts c;
	int r = compare_module(mask, module, rows, cols, &c, err);
	if (r != 0) {
		return r;
	}
	json_t *line = json_pack("{s:s}", "module", module), *counts = counts_json(&c);
	(void)json_object_update(line, counts);
	json_decref(counts);
	cwi_print(line);
	total->weights += c.weights;
	total->a += c.a;
	total->b += c.b;
	total->both += c.both;
	return 0;
}

static int check_shapes(const struct cwi_options *o, struct cwe_saved_mask *const mask[2], size_t i, int64_t other,
	struct cwb_err *err)
{
	uint64_t rows, cols, rows2, cols2;
	const char *module = cwe_saved_mask_module(mask[0], i, &rows, &cols);
	(void)cwe_saved_mask_module(mask[1], (size_t)other, &rows2, &cols2);
	return rows == rows2 && cols == cols2 ? 0 : cwb_err_set(err, CWP_ESHAPE, "\"%s\" has %" PRIu64 " x %" PRIu64 " weights in %s and %"
		PRIu64 " x %" PRIu64 " in %s: compare outputs of one model", module, rows, cols, o->operand, rows2, cols2, o->second);
}

/* Modules of both lists, merged by name. */
static int compare_all(const struct cwi_options *o, struct cwe_saved_mask *const mask[2], struct counts *total,
	struct cwb_err *err)
{
	size_t n[2] = {cwe_saved_mask_count(mask[0]), cwe_saved_mask_count(mask[1])}, at[2] = {0, 0};
	int r = 0;
	while (r == 0 && (at[0] < n[0] || at[1] < n[1])) {
		uint64_t rows[2] = {0}, cols[2] = {0};
		const char *name[2];
		for (int k = 0; k < 2; k++) {
			name[k] = at[k] < n[k] ? cwe_saved_mask_module(mask[k], at[k], &rows[k], &cols[k]) : NULL;
		}
		int order = name[0] == NULL ? 1 : name[1] == NULL ? -1 : strcmp(name[0], name[1]);
		r = order == 0 ? check_shapes(o, mask, at[0], (int64_t)at[1], err) : 0;
		int from = order > 0;
		r = r == 0 ? print_module(mask, name[from], rows[from], cols[from], total, err) : r;
		at[0] += order <= 0;
		at[1] += order >= 0;
	}
	return r;
}

int cwi_masks(const struct cwi_options *o)
{
	struct cwb_err err = {0};
	struct cwe_saved_mask *mask[2] = {NULL, NULL};
	struct counts total = {0};
	int r = cwe_saved_mask_open(o->operand, &mask[0], &err);
	r = r == 0 ? cwe_saved_mask_open(o->second, &mask[1], &err) : r;
	r = r == 0 ? compare_all(o, mask, &total, &err) : r;
	if (r == 0) {
		json_t *line = json_pack("{s:b}", "total", 1), *counts = counts_json(&total);
		(void)json_object_update(line, counts);
		json_decref(counts);
		cwi_print(line);
	}
	cwe_saved_mask_close(mask[0]);
	cwe_saved_mask_close(mask[1]);
	return r == 0 ? 0 : cwi_fail(&err);
}
