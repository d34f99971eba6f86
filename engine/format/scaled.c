/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Factors by tensor, and reads through them. */
#include "engine/format/scaled.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/dtype.h"

struct factors {
	float *row;    /* [shape[0]], NULL: all 1 */
	float *column; /* [shape[1]], likewise */
	float offset;
};

struct scaled {
	struct cwe_weights base;
	struct cwe_weights *source;
	struct factors *factors; /* [tensors] */
};

static int nomem(const struct cwe_tensor *t, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "tensor \"%s\": out of memory for its scales", t->name);
}

static uint64_t columns_of(const struct cwe_tensor *t)
{
	return t->rank > 1 ? t->shape[1] : 1;
}

static struct factors *factors_of(const struct scaled *s, const struct cwe_tensor *t)
{
	return &s->factors[t - s->base.tensors];
}

/* Products of three f32 are nearly exact in f64, and rounded once. */
static void multiply(const struct factors *f, uint64_t row, uint64_t rows, uint64_t cols, float *x)
{
	for (uint64_t r = 0; r < rows; r++) {
		double by = f->row ? (double)f->row[row + r] : 1, offset = (double)f->offset;
		float *y = x + r * cols;

		if (f->column) {
			for (uint64_t c = 0; c < cols; c++)
				y[c] = (float)((double)y[c] * by * (double)f->column[c]);
		} else if (by != 1) {
			for (uint64_t c = 0; c < cols; c++)
				y[c] = (float)(((double)y[c] + offset) * by - offset);
		}
	}
}

int cwe_scaled_read(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *dst,
	struct cwb_err *err)
{
	struct scaled *s = (struct scaled *)w;
	int rc = cwe_weights_read_f32(s->source, t, row, rows, dst, err);

	if (!rc)
		multiply(factors_of(s, t), row, rows, columns_of(t), dst);
	return rc;
}

static int is_scaled(const struct factors *f)
{
	return f->row || f->column;
}

/* What the dtype cannot hold, the source could: a scale is to blame. */
static int check_held(const struct cwe_tensor *t, uint64_t row, uint64_t n, const float *held, struct cwb_err *err)
{
	for (uint64_t i = 0; i < n; i++)
		if (isinf(held[i]))
			return cwb_err_set(err, CWP_ENUMBER, "tensor \"%s\": element %" PRIu64 " is too large for the model's dtype once it is "
				"scaled; choose an algorithm that does not scale weights",
				t->name, row * columns_of(t) + i);
	return 0;
}

/* Scaled and rounded: to raw (unless NULL) and as f32. */
static int read_rounded(struct scaled *s, const struct cwe_tensor *t, uint64_t row, uint64_t rows, void *raw, float *value,
	struct cwb_err *err)
{
	uint64_t n = rows * columns_of(t);
	void *own = raw ? NULL : malloc(n * cwe_cwp_dtype_size(t->dtype) + 1), *to = raw ? raw : own;
	int rc = to ? cwe_scaled_read(&s->base, t, row, rows, value, err) : nomem(t, err);

	if (!rc) {
		cwe_f32_to_dtype(to, value, t->dtype, n);
		cwe_f32_from_dtype(value, to, t->dtype, n);
		rc = check_held(t, row, n, value, err);
	}
	free(own);
	return rc;
}

static int read_f32(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *dst,
	struct cwb_err *err)
{
	struct scaled *s = (struct scaled *)w;

	return is_scaled(factors_of(s, t)) ? read_rounded(s, t, row, rows, NULL, dst, err)
					   : cwe_weights_read_f32(s->source, t, row, rows, dst, err);
}

static int read_raw(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, void *dst,
	struct cwb_err *err)
{
	struct scaled *s = (struct scaled *)w;
	float *value;
	int rc;

	if (!is_scaled(factors_of(s, t)))
		return cwe_weights_read_raw(s->source, t, row, rows, dst, err);
	value = malloc(rows * columns_of(t) * sizeof *value + 1);
	rc = value ? read_rounded(s, t, row, rows, dst, value, err) : nomem(t, err);
	free(value);
	return rc;
}

static void close_scaled(struct cwe_weights *w)
{
	struct scaled *s = (struct scaled *)w;

	for (size_t i = 0; i < w->count; i++) {
		free(s->factors[i].row);
		free(s->factors[i].column);
	}
	free(s->factors);
	free(s);
}

int cwe_scaled_new(struct cwe_weights *source, struct cwe_weights **ret, struct cwb_err *err)
{
	static const struct cwe_weights_ops ops = {.read_f32 = read_f32, .read_raw = read_raw, .close = close_scaled};
	struct scaled *s = calloc(1, sizeof *s);

	if (s)
		s->factors = calloc(source->count + 1, sizeof *s->factors);
	if (!s || !s->factors) {
		free(s);
		return cwb_err_set(err, -ENOMEM, "no memory for scaled weights");
	}
	s->base = (struct cwe_weights){.ops = &ops, .count = source->count, .tensors = source->tensors};
	s->source = source;
	*ret = &s->base;
	return 0;
}

/* Puts count factors at their place in *all [n], which is made of ones first. */
static int put(const struct cwe_tensor *t, float **all, uint64_t n, uint64_t first, uint64_t count, const float *factor,
	struct cwb_err *err)
{
	float *to = *all;

	if (first > n || count > n - first)
		return cwb_err_set(err, CWP_EVALUE, "tensor \"%s\": scales %" PRIu64 " + %" PRIu64 " lie outside its %" PRIu64, t->name,
			first, count, n);
	for (uint64_t i = 0; i < count; i++)
		if (!(factor[i] > 0) || isinf(factor[i]))
			return cwb_err_set(err, CWP_EVALUE, "tensor \"%s\": scale %g of channel %" PRIu64 " is not positive and finite",
				t->name, (double)factor[i], first + i);
	if (!to) {
		to = malloc(n * sizeof *to + 1);
		if (!to)
			return nomem(t, err);
		for (uint64_t i = 0; i < n; i++)
			to[i] = 1;
		*all = to;
	}
	memcpy(to + first, factor, count * sizeof *to);
	return 0;
}

int cwe_scaled_rows(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t count, const float *factor,
	float offset, struct cwb_err *err)
{
	struct factors *f = factors_of((struct scaled *)w, t);
	int rc = put(t, &f->row, t->shape[0], row, count, factor, err);

	if (!rc)
		f->offset = offset;
	return rc;
}

int cwe_scaled_columns(struct cwe_weights *w, const struct cwe_tensor *t, const float *factor, struct cwb_err *err)
{
	return put(t, &factors_of((struct scaled *)w, t)->column, t->rank > 1 ? t->shape[1] : 0, 0, columns_of(t), factor, err);
}
