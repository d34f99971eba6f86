/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Products by cuBLASLt, made ready once for each shape: the way is chosen by the shape alone, so that the same product gives
 * the same bytes. */
#ifndef CUDA_PLANS_H
#define CUDA_PLANS_H

#include "plugins/backends/cuda/cuda.h"

/* C [m, n] (f32) = (accumulate ? C : 0) + op(A) op(B), row-major as in matmul(). */
struct cuda_product {
	uint64_t m, n, k;
	uint64_t lda, ldb, ldc;
	uint32_t trans_a, trans_b;
	uint32_t bf16;                /* A and B; else f32 */
	uint32_t align_a, align_b, align_c; /* bytes, of each row */
};

/* Of the rows of a matrix: the most that is known, at most 16. */
uint32_t cuda_alignment(const void *p, uint64_t ld, uint32_t element);
int cuda_plans_run(struct cuda *b, const struct cuda_product *p, const void *d_a, const void *d_b, int accumulate, float *d_c);

#endif
