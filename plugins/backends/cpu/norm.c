/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* RMS normalization and rotary embedding, forward and backward. */
#include <string.h>

#include "plugins/backends/cpu/cpu.h"

enum {
	CHUNK = 1 << 15,       /* elements of one piece of work */
	COLUMN_CHUNK = 1 << 10 /* columns of one piece of dw */
};

struct norm {
	struct cpu *b;
	const float *dy;
	const float *x;
	const float *w;
	float offset;
	float eps;
	uint64_t rows;
	uint64_t cols;
	uint64_t rows_each;
	float *y; /* or dx */
	float *rstd;
	int accumulate;
	const float *kept_rstd;
	const struct cwp_sequences *samples;
	float *dw;
};

static void forward_piece(void *arg, size_t i)
{
	const struct norm *n = arg;
	uint64_t first = 0, end = 0;
	cpu_piece(n->rows, n->rows_each, i, &first, &end);
	for (uint64_t t = first; t < end; t++) {
		n->rstd[t] = n->b->k.rmsnorm(
			n->x + t * n->cols, n->w, n->offset, n->eps, n->cols, n->y + t * n->cols);
	}
}

int cpu_rmsnorm(void *vb, const float *d_x, const float *d_w, float offset, float eps,
	uint64_t rows, uint64_t cols, float *d_y, float *d_rstd)
{
	struct cpu *b = vb;
	int rc = cpu_check_matrix(b, "rmsnorm", "x", d_x, rows, cols, cols);
	if (!rc) {
		rc = cpu_check_matrix(b, "rmsnorm", "y", d_y, rows, cols, cols);
	}
	if (rc || rows == 0 || cols == 0) {
		return rc;
	}
	if (!d_w || !d_rstd) {
		return cpu_refuse(b, CWP_EVALUE, "rmsnorm: %s is NULL", d_w ? "rstd" : "w");
	}
	struct norm n = {.b = b,
		.x = d_x,
		.w = d_w,
		.offset = offset,
		.eps = eps,
		.rows = rows,
		.cols = cols,
		.rows_each = cpu_rows_each(cols, CHUNK),
		.y = d_y,
		.rstd = d_rstd};
	cpu_run(b, cpu_pieces(rows, n.rows_each), forward_piece, &n);
	return 0;
}

static void dx_piece(void *arg, size_t i)
{
	const struct norm *n = arg;
	uint64_t first = 0, end = 0;
	cpu_piece(n->rows, n->rows_each, i, &first, &end);
	for (uint64_t t = first; t < end; t++) {
		uint64_t o = t * n->cols;
		n->b->k.rmsnorm_dx(n->dy + o, n->x + o, n->w, n->offset, n->kept_rstd[t], n->cols,
			n->accumulate, n->y + o);
	}
}

/* Columns [c, c + COLUMN_CHUNK) of the gradient of w of one sample. */
static void dw_piece(void *arg, size_t i)
{
	const struct norm *n = arg;
	uint64_t blocks = (n->cols + COLUMN_CHUNK - 1) / COLUMN_CHUNK;
	uint64_t s = i / blocks, first = i % blocks * COLUMN_CHUNK;
	uint64_t width = n->cols - first < COLUMN_CHUNK ? n->cols - first : COLUMN_CHUNK;
	float *dw = n->dw + s * n->cols + first;
	memset(dw, 0, (size_t)width * sizeof(float));
	for (uint64_t t = n->samples->start[s]; t < n->samples->start[s + 1]; t++) {
		uint64_t o = t * n->cols + first;
		n->b->k.rmsnorm_dw(n->dy + o, n->x + o, n->kept_rstd[t], width, dw);
	}
}

static int check_backward(const struct norm *n)
{
	struct cpu *b = n->b;
	const char *op = "rmsnorm_backward";
	int rc = cpu_check_matrix(b, op, "dy", n->dy, n->rows, n->cols, n->cols);
	if (!rc) {
		rc = cpu_check_matrix(b, op, "x", n->x, n->rows, n->cols, n->cols);
	}
	if (!rc) {
		rc = cpu_check_matrix(b, op, "dx", n->y, n->rows, n->cols, n->cols);
	}
	if (!rc && n->rows && n->cols && (!n->w || !n->kept_rstd)) {
		rc = cpu_refuse(b, CWP_EVALUE, "%s: %s is NULL", op, n->w ? "rstd" : "w");
	}
	if (!rc && n->dw) {
		if (!n->samples) {
			return cpu_refuse(
				b, CWP_EVALUE, "%s: dw is wanted but there are no samples", op);
		}
		rc = cpu_check_sequences(b, op, n->samples);
		if (!rc && n->samples->count && n->samples->start[n->samples->count] > n->rows) {
			rc = cpu_refuse(b, CWP_ESHAPE,
				"%s: the samples have %llu tokens, the matrix %llu", op,
				(unsigned long long)n->samples->start[n->samples->count],
				(unsigned long long)n->rows);
		}
	}
	return rc;
}

int cpu_rmsnorm_backward(void *vb, const float *d_dy, const float *d_x, const float *d_w,
	float offset, const float *d_rstd, uint64_t rows, uint64_t cols, int accumulate,
	float *d_dx, const struct cwp_sequences *samples, float *d_dw)
{
	struct norm n = {.b = vb,
		.dy = d_dy,
		.x = d_x,
		.w = d_w,
		.offset = offset,
		.rows = rows,
		.cols = cols,
		.y = d_dx,
		.accumulate = accumulate,
		.kept_rstd = d_rstd,
		.samples = samples,
		.dw = d_dw};
	int rc = check_backward(&n);
	if (rc || cols == 0) {
		return rc;
	}
	n.rows_each = cpu_rows_each(cols, CHUNK);
	/* First, since dx may be the memory of dy. */
	if (d_dw) {
		cpu_run(vb, (size_t)(samples->count * ((cols + COLUMN_CHUNK - 1) / COLUMN_CHUNK)),
			dw_piece, &n);
	}
	cpu_run(vb, cpu_pieces(rows, n.rows_each), dx_piece, &n);
	return 0;
}

struct rope {
	struct cpu *b;
	float *x;
	uint64_t rows;
	uint64_t ld;
	uint64_t rows_each;
	uint32_t heads;
	uint32_t head_dim;
	uint32_t half;
	const float *cos;
	const float *sin;
	const uint32_t *position;
	float sign;
};

static void rope_piece(void *arg, size_t i)
{
	const struct rope *r = arg;
	uint64_t first = 0, end = 0;
	cpu_piece(r->rows, r->rows_each, i, &first, &end);
	for (uint64_t t = first; t < end; t++) {
		const float *c = r->cos + (uint64_t)r->position[t] * r->half;
		const float *s = r->sin + (uint64_t)r->position[t] * r->half;
		for (uint32_t h = 0; h < r->heads; h++) {
			r->b->k.rope(r->x + t * r->ld + (uint64_t)h * r->head_dim, r->half, c, s,
				r->sign);
		}
	}
}

int cpu_rope(void *vb, float *d_x, uint64_t rows, uint64_t ld, uint32_t heads, uint32_t head_dim,
	uint32_t rotary, const float *d_cos, const float *d_sin, const uint32_t *d_position,
	int inverse)
{
	struct cpu *b = vb;
	if (rotary % 2 != 0 || rotary > head_dim) {
		return cpu_refuse(b, CWP_ESHAPE,
			"rope: %u rotary dimensions are odd or more than the head's %u", rotary,
			head_dim);
	}
	uint64_t cols = (uint64_t)heads * head_dim;
	int rc = cpu_check_matrix(b, "rope", "x", d_x, rows, cols, ld);
	if (rc || rows == 0 || cols == 0 || rotary == 0) {
		return rc;
	}
	if (!d_cos || !d_sin || !d_position) {
		return cpu_refuse(b, CWP_EVALUE, "rope: tables or positions are NULL");
	}
	struct rope r = {b, d_x, rows, ld, cpu_rows_each(cols, CHUNK), heads, head_dim, rotary / 2,
		d_cos, d_sin, d_position, inverse ? -1.0F : 1.0F};
	cpu_run(b, cpu_pieces(rows, r.rows_each), rope_piece, &r);
	return 0;
}
