/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* GPTQ: the factor of x x^T by block columns, and the rounding of rows by blocks of columns.
 *
 * The factor. With A the matrix in reverse (plugins/quantizers/static/factor.h), A = L L^T, L^-1 takes A's place. When a block
 * column is come to, all that was before it has been subtracted: its diagonal block is factored and inverted, the block column of L
 * below it is put beside the matrix, and its rows of L^-1 are completed. What is below it then is changed by products with that
 * column of L: left of it by those rows of L^-1, right of it by L itself. Blocks of a panel do so within the panel's rows and columns,
 * then the whole panel for all that is below. */
#include <math.h>

#include "plugins/backends/cuda/bytes.h"
#include "plugins/backends/cuda/cuda.h"
#include "plugins/backends/cuda/ops_base.h"
#include "plugins/backends/cuda/ops_gptq.h"

enum { ALIGN = 256 };

/* Of d_work. */
struct layout {
	uint64_t first, second, bytes; /* where the second array begins; behind the flag and the first one */
};

static uint64_t rounded(uint64_t bytes)
{
	return bytes > UINT64_MAX - ALIGN ? UINT64_MAX : (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* A flag and two arrays, each aligned; d_work itself need not be. */
static struct layout lay_out(uint64_t one, uint64_t two)
{
	struct layout l = {.first = ALIGN, .second = cuda_bytes_plus(ALIGN, rounded(one))};
	l.bytes = cuda_bytes_plus(cuda_bytes_plus(l.second, rounded(two)), ALIGN);
	return l;
}

/* Doubles from row to row: whole sectors of memory. */
static uint64_t distance(uint64_t n)
{
	return (n + 7) / 8 * 8;
}

static struct layout of_factor(uint64_t n)
{
	return lay_out(cuda_bytes_times(cuda_bytes_times(n, distance(n)), sizeof(double)),
		cuda_bytes_times(cuda_bytes_times(n, GPTQ_PANEL), sizeof(double)));
}

static struct layout of_round(uint64_t rows, uint64_t cols)
{
	return lay_out(cuda_bytes_times(cuda_bytes_times(rows, cols), sizeof(float)),
		cuda_bytes_times(cuda_bytes_times(rows, GPTQ_COLUMNS), sizeof(float)));
}

uint64_t cuda_gptq_work(void *b, uint64_t rows, uint64_t cols)
{
	(void)b;
	const uint64_t factor = of_factor(cols).bytes, round = of_round(rows, cols).bytes;
	return factor > round ? factor : round;
}

/* The place in d_work, counted from its first aligned address; the flag is at 0. */
static void *part(void *d_work, uint64_t offset)
{
	char *p = d_work;
	return p + (ALIGN - (uintptr_t)p % ALIGN) % ALIGN + offset;
}

/* Waits for the kernels. */
static int read_flag(struct cuda *b, const int *d_failed, int *ret)
{
	return cuda_download(b, ret, d_failed, sizeof(*ret));
}

/* ---- the factor ---- */

struct factor {
	struct cuda *b;
	uint64_t n, ld;
	double *d_m;     /* [n, ld] */
	double *d_panel; /* [n, GPTQ_PANEL] columns of L of the panel at hand, below the diagonal blocks */
	int *d_failed;
	uint64_t k0, k1; /* the panel */
};

static double *at(const struct factor *f, uint64_t row, uint64_t col)
{
	return f->d_m + row * f->ld + col;
}

static double *panel_at(const struct factor *f, uint64_t row, uint64_t col)
{
	return f->d_panel + row * GPTQ_PANEL + (col - f->k0);
}

/* Rows below a block: L = A times the inverse's transpose, put beside the matrix. */
static cudaError_t solve_below(const struct factor *f, uint64_t j, uint64_t end)
{
	const struct launch_gptq_product p = {.rows = f->n - end, .cols = end - j, .depth = end - j, .diagonal = f->n, .assign = 1,
		.d_c = panel_at(f, end, j), .ldc = GPTQ_PANEL, .d_a = at(f, end, j), .lda = f->ld, .d_t = at(f, j, j), .ldt = f->ld,
		.d_failed = f->d_failed};
	return launch_gptq_product(f->b->stream, &p);
}

/* The block's own rows, left of it: complete when multiplied by its inverse. */
static cudaError_t complete_rows(const struct factor *f, uint64_t j, uint64_t end)
{
	const struct launch_gptq_product p = {.rows = end - j, .cols = j, .split = j, .depth = end - j, .diagonal = f->n, .assign = 1,
		.d_c = at(f, j, 0), .ldc = f->ld, .d_a = at(f, j, j), .lda = f->ld, .d_x = at(f, j, 0), .ldx = f->ld, .d_failed = f->d_failed};
	return launch_gptq_product(f->b->stream, &p);
}

/* Rows [first, last) and columns [0, last) get the columns [j, end) of L, which lie in the panel, and those rows of L^-1. */
static cudaError_t update_rows(const struct factor *f, uint64_t j, uint64_t end, uint64_t last)
{
	const struct launch_gptq_product p = {.rows = last - end, .cols = last, .split = end, .depth = end - j, .diagonal = end, .zero = j,
		.d_c = at(f, end, 0), .ldc = f->ld, .d_a = panel_at(f, end, j), .lda = GPTQ_PANEL, .d_x = at(f, j, 0), .ldx = f->ld,
		.d_t = panel_at(f, end, j), .ldt = GPTQ_PANEL, .d_failed = f->d_failed};
	return launch_gptq_product(f->b->stream, &p);
}

/* Below the panel, its columns behind the block. */
static cudaError_t update_columns(const struct factor *f, uint64_t j, uint64_t end)
{
	const struct launch_gptq_product p = {.rows = f->n - f->k1, .cols = f->k1 - end, .depth = end - j, .diagonal = f->n,
		.d_c = at(f, f->k1, end), .ldc = f->ld, .d_a = panel_at(f, f->k1, j), .lda = GPTQ_PANEL, .d_t = panel_at(f, end, j),
		.ldt = GPTQ_PANEL, .d_failed = f->d_failed};
	return launch_gptq_product(f->b->stream, &p);
}

static cudaError_t factor_block(const struct factor *f, uint64_t j)
{
	const uint64_t end = f->n - j < GPTQ_BLOCK ? f->n : j + GPTQ_BLOCK;
	cudaError_t e = launch_gptq_diagonal(f->b->stream, at(f, j, j), f->ld, (unsigned)(end - j), f->d_failed);

	if (e == cudaSuccess && end < f->n) {
		e = solve_below(f, j, end);
	}
	if (e == cudaSuccess && j > 0) {
		e = complete_rows(f, j, end);
	}
	if (e == cudaSuccess && end < f->k1) {
		e = update_rows(f, j, end, f->k1);
	}
	if (e == cudaSuccess && end < f->k1 && f->k1 < f->n) {
		e = update_columns(f, j, end);
	}
	return e;
}

static cudaError_t factorize(struct factor *f)
{
	cudaError_t e = cudaSuccess;

	for (f->k0 = 0; e == cudaSuccess && f->k0 < f->n; f->k0 = f->k1) {
		f->k1 = f->n - f->k0 < GPTQ_PANEL ? f->n : f->k0 + GPTQ_PANEL;
		for (uint64_t j = f->k0; e == cudaSuccess && j < f->k1; j += GPTQ_BLOCK) {
			e = factor_block(f, j);
		}
		if (e == cudaSuccess && f->k1 < f->n) {
			e = update_rows(f, f->k0, f->k1, f->n);
		}
	}
	return e;
}

static int check_work(struct cuda *b, const char *op, const void *d_work, uint64_t bytes)
{
	if (!d_work) {
		return cuda_refuse(b, CWP_EVALUE, "%s: work is NULL", op);
	}
	return bytes <= PTRDIFF_MAX ? 0 : cuda_refuse(b, CWP_ESHAPE, "%s: the work is larger than memory can be", op);
}

static int check_factor(struct cuda *b, const struct cwp_gptq_factor *f)
{
	if (!f || f->size < sizeof(*f) || f->flags != 0) {
		return cuda_refuse(b, CWP_EVALUE, "gptq_factor: unknown size or flags");
	}
	if (!(f->damping >= 0.0 && isfinite(f->damping))) {
		return cuda_refuse(b, CWP_EVALUE, "gptq_factor: damping %g is no number from 0 on", f->damping);
	}
	if (f->n > UINT32_MAX) {
		return cuda_refuse(b, CWP_ESHAPE, "gptq_factor: %llu columns have no numbers of 32 bits", (unsigned long long)f->n);
	}
	int rc = cuda_check_matrix(b, "gptq_factor", "gram", f->d_gram, f->n, f->n, f->n);
	rc = rc ? rc : cuda_check_matrix(b, "gptq_factor", "u", f->d_u, f->n, f->n, f->n);
	return rc || f->n == 0 ? rc : check_work(b, "gptq_factor", f->d_work, of_factor(f->n).bytes);
}

int cuda_gptq_factor(void *vb, const struct cwp_gptq_factor *a)
{
	struct cuda *b = vb;
	int failed = 0, rc = check_factor(b, a);

	if (rc || a->n == 0) {
		return rc;
	}
	const struct layout l = of_factor(a->n);
	struct factor f = {.b = b, .n = a->n, .ld = distance(a->n), .d_m = part(a->d_work, l.first), .d_panel = part(a->d_work, l.second),
		.d_failed = part(a->d_work, 0)};
	const struct launch_gptq_fill fill = {.n = f.n, .ld = f.ld, .d_gram = a->d_gram, .d_order = a->d_order, .damping = a->damping,
		.d_m = f.d_m, .d_failed = f.d_failed};
	cuda_wrote(b, a->d_work, l.bytes);
	cuda_wrote(b, a->d_u, f.n * f.n * sizeof(float));
	cudaError_t e = launch_gptq_fill(b->stream, &fill);
	e = e != cudaSuccess ? e : factorize(&f);
	e = e != cudaSuccess ? e : launch_gptq_finish(b->stream, f.d_m, f.n, f.ld, a->d_u);
	rc = cuda_check(b, "gptq_factor", e);
	rc = rc ? rc : read_flag(b, f.d_failed, &failed);
	return rc ? rc : failed;
}

/* ---- rows ---- */

/* Blocks end with groups: then all of a group's columns are up to date when its scale is found. */
static uint64_t width_at(const struct launch_gptq_rows *k)
{
	const uint64_t left = k->cols - k->first;
	uint64_t width = GPTQ_COLUMNS;

	if (!k->d_order && k->group < GPTQ_COLUMNS) {
		width = GPTQ_COLUMNS / k->group * k->group;
	} else if (!k->d_order && k->group - k->first % k->group < GPTQ_COLUMNS) {
		width = k->group - k->first % k->group;
	}
	return width < left ? width : left;
}

static int check_grid(struct cuda *b, const struct cwp_gptq_round *r)
{
	if (!r || r->size < sizeof(*r) || r->flags != 0) {
		return cuda_refuse(b, CWP_EVALUE, "gptq_round: unknown size or flags");
	}
	if (r->bits < 2 || r->bits > 8) {
		return cuda_refuse(b, CWP_EVALUE, "gptq_round: codes of %u bits: there are those of 2 to 8", r->bits);
	}
	if (r->cols > 0 && r->group == 0) {
		return cuda_refuse(b, CWP_EVALUE, "gptq_round: groups of no column");
	}
	if (r->cols > UINT32_MAX) {
		return cuda_refuse(b, CWP_ESHAPE, "gptq_round: %llu columns have no numbers of 32 bits", (unsigned long long)r->cols);
	}
	if (r->d_mask && r->mask_stride < (r->cols + 7) / 8) {
		return cuda_refuse(b, CWP_ESHAPE, "gptq_round: rows of the mask are %llu bytes apart, but %llu columns take %llu",
			(unsigned long long)r->mask_stride, (unsigned long long)r->cols, (unsigned long long)(r->cols + 7) / 8);
	}
	return 0;
}

static int check_round(struct cuda *b, const struct cwp_gptq_round *r)
{
	int rc = check_grid(b, r);
	rc = rc ? rc : cuda_check_matrix(b, "gptq_round", "weight", r->d_weight, r->rows, r->cols, r->cols);
	rc = rc ? rc : cuda_check_matrix(b, "gptq_round", "codes", r->d_codes, r->rows, r->cols, r->cols);
	if (rc || r->rows == 0 || r->cols == 0) {
		return rc;
	}
	rc = cuda_check_matrix(b, "gptq_round", "u", r->d_u, r->cols, r->cols, r->cols);
	if (rc) {
		return rc;
	}
	if (!r->d_scales || (!r->symmetric && !r->d_zeros)) {
		return cuda_refuse(b, CWP_EVALUE, "gptq_round: %s is NULL", r->d_scales ? "zeros" : "scales");
	}
	return check_work(b, "gptq_round", r->d_work, of_round(r->rows, r->cols).bytes);
}

static void tell_written(struct cuda *b, const struct cwp_gptq_round *r, uint64_t scales)
{
	cuda_wrote(b, r->d_work, of_round(r->rows, r->cols).bytes);
	cuda_wrote(b, r->d_codes, r->rows * r->cols);
	cuda_wrote(b, r->d_scales, r->rows * scales * sizeof(float));
	if (r->d_zeros) {
		cuda_wrote(b, r->d_zeros, r->rows * scales);
	}
	if (r->d_exact) {
		cuda_wrote(b, r->d_exact, r->rows * r->cols * sizeof(float));
	}
}

static cudaError_t round_rows(struct cuda *b, struct launch_gptq_rows *k)
{
	cudaError_t e = launch_gptq_gather(b->stream, k);

	if (e == cudaSuccess && k->d_order) {
		e = launch_gptq_scales(b->stream, k);
	}
	for (k->first = 0; e == cudaSuccess && k->first < k->cols; k->first += k->width) {
		k->width = width_at(k);
		e = launch_gptq_columns(b->stream, k);
		e = e != cudaSuccess ? e : launch_gptq_spread(b->stream, k);
	}
	return e;
}

int cuda_gptq_round(void *vb, const struct cwp_gptq_round *r)
{
	struct cuda *b = vb;
	int failed = 0, rc = check_round(b, r);

	if (rc || r->rows == 0 || r->cols == 0) {
		return rc;
	}
	const struct layout l = of_round(r->rows, r->cols);
	const uint64_t group = r->group < r->cols ? r->group : r->cols, scales = (r->cols - 1) / group + 1;
	struct launch_gptq_rows k = {.rows = r->rows, .cols = r->cols, .group = group, .scales = scales, .bits = r->bits,
		.symmetric = r->symmetric, .exact_scales = r->exact_scales, .compensated = r->compensated, .d_order = r->d_order,
		.d_u = r->d_u, .d_weight = r->d_weight, .d_mask = r->d_mask, .mask_stride = r->mask_stride, .d_codes = r->d_codes,
		.d_scales = r->d_scales, .d_zeros = r->d_zeros, .d_exact = r->d_mask ? r->d_exact : NULL, .d_w = part(r->d_work, l.first),
		.d_error = part(r->d_work, l.second), .d_failed = part(r->d_work, 0)};
	tell_written(b, r, scales);
	rc = cuda_check(b, "gptq_round", round_rows(b, &k));
	rc = rc ? rc : read_flag(b, k.d_failed, &failed);
	if (rc || !failed) {
		return rc;
	}
	return cuda_refuse(b, CWP_ENUMBER, "gptq_round: a weight, or what was left of one to be rounded, is not finite");
}
