/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Operations on elements, rows and columns that need no product: conversion, sums, statistics. */
#include <math.h>
#include <string.h>

#include "plugins/backends/cpu/cpu.h"
#include "plugins/backends/cpu/rounding.h"

enum {
	CHUNK = 1 << 15,      /* elements of one piece of work */
	COLUMN_CHUNK = 1 << 8 /* columns of one piece of act_stats */
};

struct elements {
	struct cpu *b;
	float *y;
	const void *x;
	uint32_t dtype;
	uint64_t n;
};

static uint64_t chunk(uint64_t n, size_t i, uint64_t *ret_first)
{
	*ret_first = (uint64_t)i * CHUNK;
	return n - *ret_first < CHUNK ? n - *ret_first : CHUNK;
}

static size_t chunks(uint64_t n)
{
	return (size_t)(n / CHUNK + (n % CHUNK != 0));
}

static void convert_chunk(void *arg, size_t i)
{
	const struct elements *e = arg;
	uint64_t first = 0, n = chunk(e->n, i, &first);
	if (e->dtype == CWP_BF16) {
		e->b->k.bf16(e->y + first, (const uint16_t *)e->x + first, n);
	} else {
		e->b->k.f16(e->y + first, (const uint16_t *)e->x + first, n);
	}
}

/* A change of type, `op`: pieces of 16-bit numbers by `body`, f32 as it is. */
static int change_type(struct cpu *b, const char *op, void *d_dst, const void *d_src, uint32_t dtype, uint64_t n,
	void (*body)(void *arg, size_t i))
{
	int rc = cpu_check_matrix(b, op, "the target", d_dst, 1, n, n);
	if (!rc) {
		rc = cpu_check_matrix(b, op, "the source", d_src, 1, n, n);
	}
	if (rc) {
		return rc;
	}
	struct elements e = {b, d_dst, d_src, dtype, n};
	switch (dtype) {
	case CWP_F32:
		return cpu_upload(b, d_dst, d_src, (size_t)n * sizeof(float));
	case CWP_BF16:
	case CWP_F16:
		cpu_run(b, chunks(n), body, &e);
		return 0;
	default:
		return cpu_refuse(b, CWP_EVALUE, "%s: type %u is none of F32, BF16, F16", op, dtype);
	}
}

int cpu_convert(void *vb, float *d_dst, const void *d_src, uint32_t dtype, uint64_t n)
{
	return change_type(vb, "convert", d_dst, d_src, dtype, n, convert_chunk);
}

int cpu_load(void *vb, float *d_dst, const void *src, uint32_t dtype, uint64_t n)
{
	const struct cpu *b = vb;
	switch (dtype) {
	case CWP_F32:
		memcpy(d_dst, src, (size_t)n * sizeof(float));
		return 0;
	case CWP_BF16:
		b->k.bf16(d_dst, src, (size_t)n);
		return 0;
	case CWP_F16:
		b->k.f16(d_dst, src, (size_t)n);
		return 0;
	default:
		return CWP_EVALUE;
	}
}

/* To nearest even, by hand for compilers without a half type: the last bit of what is kept decides ties. */
static uint16_t to_f16(float x)
{
	uint32_t u;
	memcpy(&u, &x, sizeof(u));
	uint32_t sign = u >> 16 & 0x8000U, a = u & 0x7fffffffU;
	if (a >= 0x7f800000U) {
		return (uint16_t)(sign | 0x7c00U | (a > 0x7f800000U ? 0x200U : 0U));
	}
	if (a >= 0x477ff000U) { /* rounds to more than 65504 */
		return (uint16_t)(sign | 0x7c00U);
	}
	if (a < 0x33000001U) { /* at most half of the least subnormal */
		return (uint16_t)sign;
	}
	if (a < 0x38800000U) {
		uint32_t shift = 126U - (a >> 23), m = (a & 0x7fffffU) | 0x800000U;
		uint32_t kept = m >> shift, rest = m & ((1U << shift) - 1U), half = 1U << (shift - 1U);
		return (uint16_t)(sign | (kept + (rest > half || (rest == half && (kept & 1U)))));
	}
	a += 0xfffU + (a >> 13 & 1U);
	return (uint16_t)(sign | (a - 0x38000000U) >> 13);
}

static void narrow_chunk(void *arg, size_t i)
{
	const struct elements *e = arg;
	uint64_t first = 0, n = chunk(e->n, i, &first);
	const float *x = (const float *)e->x + first;
	uint16_t *y = (uint16_t *)(void *)e->y + first;
	for (uint64_t j = 0; j < n; j++) {
		y[j] = e->dtype == CWP_BF16 ? bf16_bits(x[j]) : to_f16(x[j]);
	}
}

int cpu_narrow(void *vb, void *d_dst, uint32_t dtype, const float *d_src, uint64_t n)
{
	return change_type(vb, "narrow", d_dst, d_src, dtype, n, narrow_chunk);
}

static void add_chunk(void *arg, size_t i)
{
	const struct elements *e = arg;
	uint64_t first = 0, n = chunk(e->n, i, &first);
	e->b->k.add(e->y + first, (const float *)e->x + first, n);
}

int cpu_add(void *vb, float *d_y, const float *d_x, uint64_t n)
{
	struct cpu *b = vb;
	int rc = cpu_check_matrix(b, "add", "y", d_y, 1, n, n);
	if (!rc) {
		rc = cpu_check_matrix(b, "add", "x", d_x, 1, n, n);
	}
	if (rc) {
		return rc;
	}
	struct elements e = {b, d_y, d_x, CWP_F32, n};
	cpu_run(b, chunks(n), add_chunk, &e);
	return 0;
}

struct rows {
	struct cpu *b;
	const float *x;
	float *y;
	uint64_t rows;
	uint64_t cols;
	uint64_t rows_each; /* rows of one piece of work */
};

static void add_bias_piece(void *arg, size_t i)
{
	const struct rows *r = arg;
	uint64_t first = 0, end = 0;
	cpu_piece(r->rows, r->rows_each, i, &first, &end);
	for (uint64_t t = first; t < end; t++) {
		r->b->k.add(r->y + t * r->cols, r->x, r->cols);
	}
}

int cpu_add_bias(void *vb, float *d_y, const float *d_bias, uint64_t rows, uint64_t cols)
{
	struct cpu *b = vb;
	int rc = cpu_check_matrix(b, "add_bias", "y", d_y, rows, cols, cols);
	if (!rc && rows) {
		rc = cpu_check_matrix(b, "add_bias", "the bias", d_bias, 1, cols, cols);
	}
	if (rc || rows == 0 || cols == 0) {
		return rc;
	}
	struct rows r = {b, d_bias, d_y, rows, cols, cpu_rows_each(cols, CHUNK)};
	cpu_run(b, cpu_pieces(rows, r.rows_each), add_bias_piece, &r);
	return 0;
}

struct act_stats {
	struct cpu *b;
	const float *x;
	uint64_t rows;
	uint64_t cols;
	uint64_t ld;
	double *sum;
	double *sq;
	float *absmax;
};

static void act_stats_piece(void *arg, size_t i)
{
	const struct act_stats *s = arg;
	uint64_t first = (uint64_t)i * COLUMN_CHUNK;
	uint64_t n = s->cols - first < COLUMN_CHUNK ? s->cols - first : COLUMN_CHUNK;
	for (uint64_t t = 0; t < s->rows; t++) {
		s->b->k.act_stats(s->x + t * s->ld + first, n, s->sum ? s->sum + first : NULL,
			s->sq ? s->sq + first : NULL, s->absmax ? s->absmax + first : NULL);
	}
}

int cpu_act_stats(void *vb, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld,
	double *d_sum, double *d_sq, float *d_absmax)
{
	struct cpu *b = vb;
	int rc = cpu_check_matrix(b, "act_stats", "x", d_x, rows, cols, ld);
	if (rc || rows == 0 || cols == 0) {
		return rc;
	}
	struct act_stats s = {b, d_x, rows, cols, ld, d_sum, d_sq, d_absmax};
	cpu_run(b, (size_t)((cols + COLUMN_CHUNK - 1) / COLUMN_CHUNK), act_stats_piece, &s);
	return 0;
}

struct act_abs {
	const float *x;
	uint64_t rows;
	uint64_t cols;
	uint64_t ld;
	double *abs;
};

static void act_abs_piece(void *arg, size_t i)
{
	const struct act_abs *s = arg;
	uint64_t first = (uint64_t)i * COLUMN_CHUNK;
	uint64_t n = s->cols - first < COLUMN_CHUNK ? s->cols - first : COLUMN_CHUNK;
	double *restrict sum = s->abs + first;
	for (uint64_t t = 0; t < s->rows; t++) {
		const float *restrict x = s->x + t * s->ld + first;
		for (uint64_t c = 0; c < n; c++) {
			sum[c] += (double)fabsf(x[c]);
		}
	}
}

int cpu_act_abs(void *vb, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, double *d_abs)
{
	struct cpu *b = vb;
	int rc = cpu_check_matrix(b, "act_abs", "x", d_x, rows, cols, ld);
	if (rc || rows == 0 || cols == 0) {
		return rc;
	}
	struct act_abs s = {d_x, rows, cols, ld, d_abs};
	cpu_run(b, (size_t)((cols + COLUMN_CHUNK - 1) / COLUMN_CHUNK), act_abs_piece, &s);
	return 0;
}
