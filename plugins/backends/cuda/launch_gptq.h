/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Kernels of GPTQ: the factor of x x^T, and rows that are rounded column by column. Included by launch.h alone. */
#ifndef CUDA_LAUNCH_GPTQ_H
#define CUDA_LAUNCH_GPTQ_H

enum {
	GPTQ_BLOCK = 64,   /* rows and columns that one block of threads factors by itself */
	GPTQ_PANEL = 256,  /* columns that are made ready before the rest of the matrix gets them; a multiple of that */
	GPTQ_COLUMNS = 128 /* columns whose errors go to all later ones at once, at most */
};

/* gptq_factor.cu: m [n, ld] (lower triangle, and zeros right of it as far as the panel of the diagonal reaches) = gram with damping
 * in the order of the columns, reversed; *d_failed = 0. */
struct launch_gptq_fill {
	uint64_t n, ld;
	const float *d_gram; /* [n, n], of which the upper triangle is read */
	const uint32_t *d_order;
	double damping;
	double *d_m;
	int *d_failed;
};
cudaError_t launch_gptq_fill(cudaStream_t stream, const struct launch_gptq_fill *p);

/* A block d_m [size, size] (rows ld apart, size at most GPTQ_BLOCK) with lower triangle A = L L^T becomes L^-1, with zeros above the
 * diagonal. Where a pivot is not positive *d_failed becomes 1, and where that is set nothing is done. */
cudaError_t launch_gptq_diagonal(cudaStream_t stream, double *d_m, uint64_t ld, unsigned size, int *d_failed);

/* C [rows, cols] -= A B, or C = A B with assign; A [rows, depth]. Column c of B is column c of X [depth, split] for c < split, else
 * row c - split of T [cols - split, depth]. Only elements (r, c) with c <= r + diagonal are written. C's columns [zero, split) count
 * as 0 before. C may be X where rows is at most GPTQ_BLOCK. Nothing is done where *d_failed is set. */
struct launch_gptq_product {
	uint64_t rows, cols, split, depth;
	uint64_t diagonal, zero;
	int assign;
	double *d_c;
	const double *d_a, *d_x, *d_t;
	uint64_t ldc, lda, ldx, ldt;
	const int *d_failed;
};
cudaError_t launch_gptq_product(cudaStream_t stream, const struct launch_gptq_product *p);

/* u [n, n] = m, reversed, as f32, with zeros below the diagonal. */
cudaError_t launch_gptq_finish(cudaStream_t stream, const double *d_m, uint64_t n, uint64_t ld, float *d_u);

/* gptq_round.cu: the arguments of struct cwp_gptq_round, and what its kernels share. */
struct launch_gptq_rows {
	uint64_t rows, cols, group, scales; /* scales of a row */
	uint32_t bits, symmetric, exact_scales, compensated;
	const uint32_t *d_order;
	const float *d_u;
	const float *d_weight;
	const uint8_t *d_mask;
	uint64_t mask_stride;
	uint8_t *d_codes;
	float *d_scales;
	int8_t *d_zeros;
	float *d_exact;
	float *d_w;            /* [rows, cols] in the order of the columns: what is left to be rounded */
	float *d_error;        /* [rows, GPTQ_COLUMNS] of the columns at hand, over U's diagonal; 16-byte aligned */
	int *d_failed;         /* 1: something was not finite */
	uint64_t first, width; /* the columns at hand */
};
/* w = weight in the order of the columns; *d_failed = 0. */
cudaError_t launch_gptq_gather(cudaStream_t stream, const struct launch_gptq_rows *p);
/* Scales and zeros of all groups, of the weights as they are. */
cudaError_t launch_gptq_scales(cudaStream_t stream, const struct launch_gptq_rows *p);
/* Rounds the columns at hand; without an order it finds scales of the groups that begin there. */
cudaError_t launch_gptq_columns(cudaStream_t stream, const struct launch_gptq_rows *p);
/* The errors of the columns at hand to all columns behind them. Each number is changed by one product after another, in the order of
 * the columns and without fusing, so that it is what plain C gives. */
cudaError_t launch_gptq_spread(cudaStream_t stream, const struct launch_gptq_rows *p);

#endif
