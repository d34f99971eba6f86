/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Weights of an output in the dtype that they came from. */
#include "engine/format/convert_view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct view {
	struct cwe_weights base;
	struct cwe_weights *source;
	struct cwe_tensor *tensor;
};

static const struct cwe_tensor *behind(const struct view *v, const struct cwe_tensor *t)
{
	return &v->source->tensors[t - v->tensor];
}

static int read_f32(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *dst, struct cwb_err *err)
{
	const struct view *v = (const struct view *)w;

	return cwe_weights_read_f32(v->source, behind(v, t), row, rows, dst, err);
}

static int read_raw(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, void *dst, struct cwb_err *err)
{
	const struct view *v = (const struct view *)w;
	uint64_t n = rows * (t->rank > 1 ? t->shape[1] : 1);
	float *value;
	int rc;

	if (behind(v, t)->dtype == t->dtype)
		return cwe_weights_read_raw(v->source, behind(v, t), row, rows, dst, err);
	value = malloc(n * sizeof *value + 1);
	if (!value)
		return cwb_err_set(err, -ENOMEM, "tensor \"%s\": out of memory", t->name);
	rc = cwe_weights_read_f32(v->source, behind(v, t), row, rows, value, err);
	if (!rc)
		cwe_f32_to_dtype(dst, value, t->dtype, n);
	free(value);
	return rc;
}

static void close_view(struct cwe_weights *w)
{
	free(((struct view *)w)->tensor);
	free(w);
}

int cwe_convert_view_open(struct cwe_weights *source, const struct cwe_output_weights *o, uint32_t dtype,
	struct cwe_weights **ret, struct cwb_err *err)
{
	static const struct cwe_weights_ops ops = {.read_f32 = read_f32, .read_raw = read_raw, .close = close_view};
	struct view *v = calloc(1, sizeof *v);
	size_t i;

	if (!v || !(v->tensor = calloc(source->count + 1, sizeof *v->tensor))) {
		free(v);
		return cwb_err_set(err, -ENOMEM, "output: out of memory");
	}
	for (i = 0; i < source->count; i++) {
		v->tensor[i] = source->tensors[i];
		v->tensor[i].stored = 0;
		if (o->item[i].quantized)
			v->tensor[i].dtype = dtype;
	}
	v->source = source;
	v->base = (struct cwe_weights){.ops = &ops, .count = source->count, .tensors = v->tensor};
	*ret = &v->base;
	return 0;
}

static uint32_t bits_of(float v)
{
	uint32_t u;

	memcpy(&u, &v, sizeof u);
	return u;
}

/* Whether protected values of rows are the same after rounding to a dtype. */
static int fits(const float *value, const uint8_t *bits, uint64_t rows, uint64_t cols, uint32_t dtype, uint8_t *raw, float *back)
{
	uint64_t stride = (cols + 7) / 8, r, c;

	cwe_f32_to_dtype(raw, value, dtype, rows * cols);
	cwe_f32_from_dtype(back, raw, dtype, rows * cols);
	for (r = 0; r < rows; r++)
		for (c = 0; c < cols; c++)
			if (bits[r * stride + (c >> 3)] >> (c & 7) & 1 && bits_of(value[r * cols + c]) != bits_of(back[r * cols + c]))
				return 0;
	return 1;
}

static int module_fits(struct cwe_weights *source, const struct cwe_tensor *t, const struct cwe_saved_mask *mask, int64_t number,
	uint32_t dtype, int *ret, struct cwb_err *err)
{
	uint64_t rows = t->shape[0], cols = t->shape[1], step = cwe_format_step(cols), row, n;
	float *value = malloc(step * cols * sizeof *value), *back = malloc(step * cols * sizeof *back);
	uint8_t *raw = malloc(step * cols * 4), *bits = malloc(step * ((cols + 7) / 8));
	int rc = value && back && raw && bits ? 0 : cwb_err_set(err, -ENOMEM, "tensor \"%s\": out of memory", t->name);

	for (row = 0; row < rows && !rc && *ret; row += n) {
		n = rows - row < step ? rows - row : step;
		rc = cwe_weights_read_f32(source, t, row, n, value, err);
		if (!rc)
			rc = cwe_saved_mask_rows(mask, number, cols, row, n, bits, err);
		if (!rc)
			*ret = fits(value, bits, n, cols, dtype, raw, back);
	}
	free(value);
	free(back);
	free(raw);
	free(bits);
	return rc;
}

/* The narrowest dtype among tensors that are not quantized. */
static uint32_t narrowest(const struct cwe_weights *source, const struct cwe_output_weights *o)
{
	uint32_t found = CWP_F32;
	size_t i;

	for (i = 0; i < source->count; i++)
		if (!o->item[i].quantized && source->tensors[i].rank == 2 && source->tensors[i].dtype != CWP_F32)
			found = source->tensors[i].dtype;
	return found;
}

int cwe_convert_dtype(struct cwe_weights *source, const struct cwe_output_weights *o, const struct cwe_saved_mask *mask,
	uint32_t *ret, struct cwb_err *err)
{
	uint32_t dtype = narrowest(source, o);
	int all = 1, rc = 0;
	size_t i;

	for (i = 0; i < source->count && dtype != CWP_F32 && all && !rc; i++) {
		int64_t number = -1;
		char *module;

		if (!o->item[i].quantized || !mask)
			continue;
		module = strndup(o->item[i].name, strlen(o->item[i].name) - strlen(".weight"));
		if (!module)
			return cwb_err_set(err, -ENOMEM, "output: out of memory");
		number = cwe_saved_mask_find(mask, module);
		free(module);
		if (number >= 0)
			rc = module_fits(source, &source->tensors[i], mask, number, dtype, &all, err);
	}
	*ret = all ? dtype : CWP_F32;
	return rc;
}
