/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
#include "plugins/quantizers/static/factor.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/error.h>

enum { BLOCK = 64, VECTOR = 2, WIDE = 8 * VECTOR };

typedef double vector __attribute__((vector_size(VECTOR * sizeof(double))));

struct factor {
	const struct cwp_host *host;
	uint64_t n, blocks, k; /* k: block at hand */
	double *a;
	float *u;
	atomic_int code;
};

static inline uint64_t size_of(const struct factor *f, uint64_t block)
{
	const uint64_t left = f->n - block * BLOCK;

	return left < BLOCK ? left : BLOCK;
}

static inline double *block_at(const struct factor *f, uint64_t row, uint64_t col)
{
	return f->a + row * BLOCK * f->n + col * BLOCK;
}

static inline vector load(const double *p)
{
	vector v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void store(double *p, vector v)
{
	memcpy(p, &v, sizeof(v));
}

/* c [WIDE] -= sum over p of a[p] b[p][WIDE], p ascending. */
static inline void subtract_wide(double *c, const double *a, const double *b, uint64_t depth)
{
	vector v[8];

	for (int i = 0; i < 8; i++) {
		v[i] = load(c + i * VECTOR);
	}
	for (uint64_t p = 0; p < depth; p++, b += BLOCK) {
		v[0] -= a[p] * load(b);
		v[1] -= a[p] * load(b + 1 * VECTOR);
		v[2] -= a[p] * load(b + 2 * VECTOR);
		v[3] -= a[p] * load(b + 3 * VECTOR);
		v[4] -= a[p] * load(b + 4 * VECTOR);
		v[5] -= a[p] * load(b + 5 * VECTOR);
		v[6] -= a[p] * load(b + 6 * VECTOR);
		v[7] -= a[p] * load(b + 7 * VECTOR);
	}
	for (int i = 0; i < 8; i++) {
		store(c + i * VECTOR, v[i]);
	}
}

/* c [BLOCK] -= a[depth] b[depth, BLOCK] */
static inline void subtract(double *c, const double *a, const double *b, uint64_t depth)
{
	for (int i = 0; i < BLOCK; i += WIDE) {
		subtract_wide(c + i, a, b + i, depth);
	}
}

/* The diagonal block at hand, in place. 1: a pivot is not positive. */
static int factor_diagonal(const struct factor *f)
{
	double *a = block_at(f, f->k, f->k);
	const uint64_t size = size_of(f, f->k);

	for (uint64_t j = 0; j < size; j++) {
		double *row = a + j * f->n;
		double pivot = row[j];
		for (uint64_t p = 0; p < j; p++) {
			pivot -= row[p] * row[p];
		}
		/* Less is what rounding leaves of a zero. */
		if (!(pivot > 1e-14 * row[j]) || !isfinite(pivot)) {
			return 1;
		}
		row[j] = sqrt(pivot);
		for (uint64_t i = j + 1; i < size; i++) {
			double *other = a + i * f->n;
			double sum = other[j];
			for (uint64_t p = 0; p < j; p++) {
				sum -= other[p] * row[p];
			}
			other[j] = sum / row[j];
		}
	}
	return 0;
}

/* A block below it: times the inverse of the diagonal block's transpose. */
static void solve_panel(void *arg, size_t index)
{
	struct factor *f = arg;
	const uint64_t i = f->k + 1 + index, width = size_of(f, f->k);
	const double *diagonal = block_at(f, f->k, f->k);
	double *a = block_at(f, i, f->k);

	for (uint64_t r = 0; r < size_of(f, i); r++, a += f->n) {
		for (uint64_t j = 0; j < width; j++) {
			const double *l = diagonal + j * f->n;
			double sum = a[j];
			for (uint64_t p = 0; p < j; p++) {
				sum -= a[p] * l[p];
			}
			a[j] = sum / l[j];
		}
	}
}

/* Blocks right of it and below: numbered by rows of the triangle. */
static void update_block(void *arg, size_t index)
{
	struct factor *f = arg;
	uint64_t i = (uint64_t)((sqrt(8.0 * (double)index + 1) - 1) / 2);
	double right[BLOCK * BLOCK], row[BLOCK];

	while (i * (i + 1) / 2 > index) {
		i--;
	}
	while ((i + 1) * (i + 2) / 2 <= index) {
		i++;
	}
	const uint64_t j = f->k + 1 + (index - i * (i + 1) / 2), depth = size_of(f, f->k), cols = size_of(f, j);
	i += f->k + 1;
	const double *left = block_at(f, i, f->k), *from = block_at(f, j, f->k);
	double *to = block_at(f, i, j);
	memset(right, 0, sizeof(right));
	for (uint64_t c = 0; c < cols; c++) {
		for (uint64_t p = 0; p < depth; p++) {
			right[p * BLOCK + c] = from[c * f->n + p];
		}
	}
	memset(row, 0, sizeof(row));
	for (uint64_t r = 0; r < size_of(f, i); r++) {
		memcpy(row, to + r * f->n, cols * sizeof(*row));
		subtract(row, left + r * f->n, right, depth);
		memcpy(to + r * f->n, row, cols * sizeof(*row));
	}
}

static int factorize(struct factor *f)
{
	for (f->k = 0; f->k < f->blocks; f->k++) {
		const uint64_t below = f->blocks - f->k - 1;
		if (f->host->cancelled(f->host->ctx)) {
			return CWP_ECANCELLED;
		}
		if (factor_diagonal(f)) {
			return 1;
		}
		f->host->parallel_for(f->host->ctx, below, solve_panel, f);
		f->host->parallel_for(f->host->ctx, below * (below + 1) / 2, update_block, f);
	}
	return 0;
}

/* Columns [BLOCK * j, ...) of L^-1, from the diagonal down, into their places in U. */
static void invert_columns(void *arg, size_t j)
{
	struct factor *f = arg;
	const uint64_t n = f->n, cols = size_of(f, j);
	double *x = calloc((n - j * BLOCK) * BLOCK, sizeof(*x)); /* row r of it is row j * BLOCK + r */

	if (x == NULL) {
		atomic_store(&f->code, -ENOMEM);
		return;
	}
	for (uint64_t r = j * BLOCK; r < n; r++) {
		const double *l = f->a + r * n + j * BLOCK;
		double *row = x + (r - j * BLOCK) * BLOCK;
		const uint64_t depth = r - j * BLOCK;
		if (depth < cols) {
			row[depth] = 1;
		}
		subtract(row, l, x, depth);
		for (uint64_t c = 0; c < BLOCK; c++) {
			row[c] /= l[depth];
		}
		for (uint64_t c = 0; c < cols && c <= depth; c++) {
			f->u[(n - 1 - r) * n + (n - 1 - j * BLOCK - c)] = (float)row[c];
		}
	}
	free(x);
}

int factor_inverse(const struct cwp_host *host, uint64_t n, double *a, float *u)
{
	struct factor f = {.host = host, .n = n, .blocks = (n + BLOCK - 1) / BLOCK, .a = a, .u = u};
	const int rc = factorize(&f);

	if (rc != 0) {
		return rc;
	}
	host->parallel_for(host->ctx, f.blocks, invert_columns, &f);
	return atomic_load(&f.code);
}

uint64_t factor_memory(uint64_t n, uint32_t threads)
{
	return (uint64_t)threads * (n + BLOCK) * BLOCK * sizeof(double);
}
