/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Inputs of Linears as their quantization leaves them. */
#include <math.h>
#include <stdbool.h>

#include <cwp/quantizer.h>

#include "plugins/backends/cuda/cuda.h"
#include "plugins/backends/cuda/ops_rows.h"

/* Columns' largest numbers that are held at once, in elements; one sequence is always. */
enum { HELD = 1 << 20 };

static bool is_fp8(uint32_t kind)
{
	return kind == CWP_ACT_FP8_TOKEN || kind == CWP_ACT_FP8_GROUP || kind == CWP_ACT_FP8_TENSOR;
}

static bool is_static(uint32_t kind)
{
	return kind == CWP_ACT_INT8_TENSOR || kind == CWP_ACT_FP8_TENSOR;
}

static int check(struct cuda *b, const struct cwp_activation *a, uint64_t cols)
{
	if (a->kind < CWP_ACT_INT8_TOKEN || a->kind > CWP_ACT_INT8_OUTLIER) {
		return cuda_refuse(b, CWP_EVALUE, "fake_quant: activation scheme %u is not known", a->kind);
	}
	if (a->kind == CWP_ACT_FP8_GROUP && (a->group == 0 || cols % a->group != 0)) {
		return cuda_refuse(b, CWP_ESHAPE, "fake_quant: groups of %u do not divide %llu columns", a->group,
			(unsigned long long)cols);
	}
	if (is_static(a->kind) && !(a->scale > 0.0F && isfinite(a->scale))) {
		return cuda_refuse(
			b, CWP_EVALUE, "fake_quant: scale %g is not positive and finite", (double)a->scale);
	}
	if (a->zero < -128 || a->zero > 127 || (a->zero != 0 && a->kind != CWP_ACT_INT8_TENSOR)) {
		return cuda_refuse(
			b, CWP_EVALUE, "fake_quant: zero point %d does not fit scheme %u", (int)a->zero, a->kind);
	}
	return 0;
}

static int check_outliers(
	struct cuda *b, const struct cwp_sequences *s, const float *d_x, uint64_t rows, const float *d_y)
{
	int rc = cuda_check_sequences(b, "fake_quant", s);
	if (rc) {
		return rc;
	}
	if (s->count && s->start[s->count] != rows) {
		return cuda_refuse(b, CWP_ESHAPE, "fake_quant: the sequences have %llu rows and x has %llu",
			(unsigned long long)s->start[s->count], (unsigned long long)rows);
	}
	if (d_x == d_y) {
		return cuda_refuse(b, CWP_EVALUE, "fake_quant: with outliers y may not be x");
	}
	return 0;
}

/* Some sequences at a time, so that the memory for their columns stays small. */
static int run_sequences(struct cuda *b, struct launch_outliers *o, const struct cwp_sequences *s)
{
	uint64_t most = o->cols < HELD ? HELD / o->cols : 1;
	most = most < s->count ? most : s->count;
	const uint64_t *d_start = cuda_table(b, "fake_quant", s->start, (size_t)(s->count + 1) * sizeof(*s->start));
	o->d_column = d_start ? cuda_scratch(b, (size_t)(most * o->cols) * sizeof(float)) : NULL;
	if (!o->d_column) {
		return b->refused;
	}
	for (uint64_t first = 0; first < s->count; first += most) {
		o->sequences = s->count - first < most ? s->count - first : most;
		o->d_start = d_start + first;
		o->longest = 0;
		for (uint64_t i = first; i < first + o->sequences; i++) {
			uint64_t n = s->start[i + 1] - s->start[i];
			o->longest = n > o->longest ? n : o->longest;
		}
		int rc = cuda_check(b, "fake_quant", launch_fake_outliers(b->stream, o));
		if (rc) {
			return rc;
		}
	}
	return 0;
}

static int run_outliers(struct cuda *b, const struct cwp_activation *a, const float *d_x, uint64_t rows, uint64_t cols, float *d_y)
{
	struct launch_outliers o = {.d_x = d_x,
		.d_y = d_y,
		.cols = cols,
		.threshold = a->threshold > 0.0F ? a->threshold : INFINITY,
		.sequences = rows,
		.longest = 1};
	int rc = check_outliers(b, &a->sequences, d_x, rows, d_y);
	if (rc) {
		return rc;
	}
	if (a->sequences.count) {
		return run_sequences(b, &o, &a->sequences);
	}
	return cuda_check(b, "fake_quant", launch_fake_outliers(b->stream, &o));
}

int cuda_fake_quant(void *vb, const struct cwp_activation *a, const float *d_x, uint64_t rows, uint64_t cols, float *d_y)
{
	struct cuda *b = vb;
	int rc = check(b, a, cols);
	if (!rc) {
		rc = cuda_check_matrix(b, "fake_quant", "x", d_x, rows, cols, cols);
	}
	if (!rc) {
		rc = cuda_check_matrix(b, "fake_quant", "y", d_y, rows, cols, cols);
	}
	if (rc || rows == 0 || cols == 0) {
		return rc;
	}
	cuda_wrote(b, d_y, rows * cols * sizeof(float));
	if (a->kind == CWP_ACT_INT8_OUTLIER) {
		return run_outliers(b, a, d_x, rows, cols, d_y);
	}
	int fp8 = is_fp8(a->kind);
	if (is_static(a->kind)) {
		return cuda_check(b, "fake_quant",
			launch_fake_static(b->stream, fp8, a->scale, (float)a->zero, d_x, rows * cols, d_y));
	}
	uint64_t group = a->kind == CWP_ACT_FP8_GROUP ? a->group : cols;
	return cuda_check(
		b, "fake_quant", launch_fake_rows(b->stream, fp8, d_x, rows * (cols / group), group, d_y));
}
