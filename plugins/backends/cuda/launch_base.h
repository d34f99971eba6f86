/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Kernels of copies in BF16 and of products with few rows. Included by launch.h alone. */
#ifndef CUDA_LAUNCH_BASE_H
#define CUDA_LAUNCH_BASE_H

enum { CUDA_FEW = 16 /* rows of A that a product of few rows has at most */ };

/* round.cu: d_dst [rows, ld_dst] (BF16, ld_dst a multiple of 8, 16-byte aligned) = d_src [rows, cols] rounded to nearest even,
 * with zeros behind the columns. */
cudaError_t launch_round(cudaStream_t stream, void *d_dst, uint64_t ld_dst, const float *d_src, uint64_t rows, uint64_t cols,
	uint64_t ld_src);

/* few.cu: C [m, n] = (accumulate ? C : 0) + A [m, k] B^T, B [n, k], m at most CUDA_FEW, k at least 1. A row of C is the same
 * with any m. */
struct launch_few {
	uint64_t m, n, k;
	const void *d_a, *d_b; /* both f32; or both BF16: 16-byte aligned, lda and ldb multiples of 8, zeros behind the columns */
	uint64_t lda, ldb;
	int bf16;
	int accumulate;
	float *d_c;
	uint64_t ldc;
};
cudaError_t launch_few(cudaStream_t stream, const struct launch_few *p);

#endif
