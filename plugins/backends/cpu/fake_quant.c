/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Inputs of Linears as their quantization leaves them. */
#include <errno.h>
#include <math.h>
#include <stdbool.h>

#include <cwp/quantizer.h>

#include "plugins/backends/cpu/cpu.h"

enum { CHUNK = 1 << 14 };

struct job {
	struct cpu *b;
	const struct cwp_activation *a;
	const float *x;
	float *y;
	uint64_t rows;
	uint64_t cols;
	uint64_t rows_each; /* rows of one piece of work */
	uint64_t group;     /* columns that share a scale */
	float *column;      /* [sequences, cols] largest |F16(x)|, of INT8_OUTLIER */
};

static bool is_fp8(uint32_t kind)
{
	return kind == CWP_ACT_FP8_TOKEN || kind == CWP_ACT_FP8_GROUP || kind == CWP_ACT_FP8_TENSOR;
}

static bool is_static(uint32_t kind)
{
	return kind == CWP_ACT_INT8_TENSOR || kind == CWP_ACT_FP8_TENSOR;
}

static void fill(float *y, uint64_t n, float v)
{
	for (uint64_t i = 0; i < n; i++) {
		y[i] = v;
	}
}

/* Columns that share a scale. Without a finite one all of them become NaN; where it is 0 they become 0. */
static void one_group(const struct job *j, const float *x, float *y)
{
	const struct kernels *k = &j->b->k;
	bool fp8 = is_fp8(j->a->kind);
	float scale = j->a->scale;
	if (!is_static(j->a->kind)) {
		scale = k->absmax(x, j->group) / (fp8 ? 448.0F : 127.5F);
		if (!isfinite(scale) || scale == 0.0F) {
			fill(y, j->group, scale == 0.0F ? 0.0F : NAN);
			return;
		}
	}
	if (fp8) {
		k->fake_e4m3(x, scale, j->group, y);
	} else {
		k->fake_int8(x, scale, (float)j->a->zero, j->group, y);
	}
}

static void some_rows(void *arg, size_t i)
{
	const struct job *j = arg;
	uint64_t first = 0, end = 0;
	cpu_piece(j->rows, j->rows_each, i, &first, &end);
	for (uint64_t at = first * j->cols; at < end * j->cols; at += j->group) {
		one_group(j, j->x + at, j->y + at);
	}
}

/* A row whose columns' largest are known. absmax: as the kernel "outliers" returned it, 0 or a number of F16, or NaN. */
static void outlier_row(const struct job *j, const float *x, float absmax, const float *column,
	float threshold, float *y)
{
	/* In this order, as bitsandbytes rounds. */
	float inverse = absmax == 0.0F ? 0.0F : 1.0F / absmax * 127.0F;
	j->b->k.fake_outliers(x, inverse, absmax / 127.0F, threshold, column, j->cols, y);
}

/* The rows [first, end), which are one sequence. y holds each row's absmax between the two walks. */
static void one_sequence(const struct job *j, uint64_t first, uint64_t end, float *column)
{
	float threshold = j->a->threshold > 0.0F ? j->a->threshold : INFINITY;
	fill(column, j->cols, 0.0F);
	for (uint64_t t = first; t < end; t++) {
		j->y[t * j->cols] =
			j->b->k.outliers(j->x + t * j->cols, threshold, j->cols, column);
	}
	for (uint64_t t = first; t < end; t++) {
		uint64_t at = t * j->cols;
		outlier_row(j, j->x + at, j->y[at], column, threshold, j->y + at);
	}
}

static void some_sequence(void *arg, size_t i)
{
	const struct job *j = arg;
	const struct cwp_sequences *s = &j->a->sequences;
	uint64_t first = s->count ? s->start[i] : i, end = s->count ? s->start[i + 1] : i + 1;
	if (first < end) {
		one_sequence(j, first, end, j->column + i * j->cols);
	}
}

static int run_outliers(struct job *j)
{
	const struct cwp_sequences *s = &j->a->sequences;
	uint64_t count = s->count ? s->count : j->rows, bytes = 0;
	int rc = cpu_check_sequences(j->b, "fake_quant", s);
	if (rc) {
		return rc;
	}
	if (s->count && s->start[s->count] != j->rows) {
		return cpu_refuse(j->b, CWP_ESHAPE,
			"fake_quant: the sequences have %llu rows and x has %llu",
			(unsigned long long)s->start[s->count], (unsigned long long)j->rows);
	}
	if (j->x == j->y) {
		return cpu_refuse(j->b, CWP_EVALUE, "fake_quant: with outliers y may not be x");
	}
	if (__builtin_mul_overflow(count, j->cols * sizeof(float), &bytes) || bytes > SIZE_MAX / 2) {
		return -ENOMEM;
	}
	j->column = cpu_scratch_shared(j->b, (size_t)bytes);
	if (!j->column) {
		return -ENOMEM;
	}
	cpu_run(j->b, (size_t)count, some_sequence, j);
	return 0;
}

static int check(struct cpu *b, const struct cwp_activation *a, uint64_t cols)
{
	if (a->kind < CWP_ACT_INT8_TOKEN || a->kind > CWP_ACT_INT8_OUTLIER) {
		return cpu_refuse(
			b, CWP_EVALUE, "fake_quant: activation scheme %u is not known", a->kind);
	}
	if (a->kind == CWP_ACT_FP8_GROUP && (a->group == 0 || cols % a->group != 0)) {
		return cpu_refuse(b, CWP_ESHAPE, "fake_quant: groups of %u do not divide %llu columns",
			a->group, (unsigned long long)cols);
	}
	if (is_static(a->kind) && !(a->scale > 0.0F && isfinite(a->scale))) {
		return cpu_refuse(b, CWP_EVALUE, "fake_quant: scale %g is not positive and finite",
			(double)a->scale);
	}
	if (a->zero < -128 || a->zero > 127 || (a->zero != 0 && a->kind != CWP_ACT_INT8_TENSOR)) {
		return cpu_refuse(b, CWP_EVALUE, "fake_quant: zero point %d does not fit scheme %u",
			(int)a->zero, a->kind);
	}
	return 0;
}

int cpu_fake_quant(void *vb, const struct cwp_activation *a, const float *d_x, uint64_t rows,
	uint64_t cols, float *d_y)
{
	struct cpu *b = vb;
	int rc = check(b, a, cols);
	if (!rc) {
		rc = cpu_check_matrix(b, "fake_quant", "x", d_x, rows, cols, cols);
	}
	if (!rc) {
		rc = cpu_check_matrix(b, "fake_quant", "y", d_y, rows, cols, cols);
	}
	if (rc || rows == 0 || cols == 0) {
		return rc;
	}
	struct job j = {.b = b, .a = a, .x = d_x, .y = d_y, .rows = rows, .cols = cols};
	if (a->kind == CWP_ACT_INT8_OUTLIER) {
		return run_outliers(&j);
	}
	j.group = a->kind == CWP_ACT_FP8_GROUP ? a->group : cols;
	j.rows_each = cpu_rows_each(cols, CHUNK);
	cpu_run(b, cpu_pieces(rows, j.rows_each), some_rows, &j);
	return 0;
}
