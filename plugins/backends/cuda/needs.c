/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Upper bounds of what the backend takes for itself. */
#include "plugins/backends/cuda/arena.h"
#include "plugins/backends/cuda/needs.h"

static const uint64_t MIB = 1 << 20;

static uint64_t plus(uint64_t a, uint64_t b)
{
	uint64_t sum = 0;
	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t times(uint64_t a, uint64_t b)
{
	uint64_t product = 0;
	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

void cuda_needs_find(const struct cwp_backend_use *use, int bf16, struct cuda_needs *ret)
{
	uint64_t operand = times(use->tokens, use->width);
	/* Less free memory than before open() is no measure on a device that others use too: this is more than drivers were seen to
	 * take for a context with the code of all kernels and of cuBLASLt. */
	ret->context = 600 * MIB;
	if (use->handles > 1) {
		ret->context += 600 * MIB; /* NCCL's own, likewise */
	}
	ret->workspace = CUDA_WORKSPACE;
	/* A whole layer as it is stored, two bytes each; norms and biases are in the rest. */
	ret->loading = cuda_arena_round(plus(times(2, use->weights), CUDA_LOAD_CHUNK));
	/* Starts of sequences, or four words for each of them. */
	ret->table = cuda_arena_round(plus(times(use->tokens, 32), 64 << 10));
	/* Partial sums and two f32 numbers for each one of the widest activation. */
	ret->scratch = cuda_arena_round(plus(times(operand, 2 * sizeof(float)), 64 * MIB));
	ret->copies = 0;
	if (bf16) {
		/* Two bytes each: the matrices of one layer, kept for all its pieces (a layer loaded ahead has none yet); the inputs
		 * of all its products and, in the backward pass, as many gradients; the two operands at work. The rest is for rows
		 * that are no multiple of 8 long and for places between copies. */
		uint64_t activations = plus(times(use->tokens, times(2, use->sum)), times(2, operand));
		ret->copies = cuda_arena_round(plus(times(2, plus(use->weights, activations)), 64 * MIB));
	}
}

uint64_t cuda_needs_own(const struct cuda_needs *n)
{
	uint64_t fixed = plus(plus(n->workspace, n->loading), times(CUDA_TABLES, n->table));
	return plus(fixed, plus(n->scratch, n->copies));
}

uint64_t cuda_needs_sum(const struct cuda_needs *n)
{
	return plus(n->context, plus(cuda_needs_own(n), CUDA_PAGE));
}
