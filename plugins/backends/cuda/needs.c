/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Upper bounds of what the backend takes for itself. */
#include "plugins/backends/cuda/arena.h"
#include "plugins/backends/cuda/bytes.h"
#include "plugins/backends/cuda/needs.h"

static const uint64_t MIB = 1 << 20;

void cuda_needs_find(const struct cwp_backend_use *use, int bf16, struct cuda_needs *ret)
{
	uint64_t operand = cuda_bytes_times(use->tokens, use->width);
	/* Less free memory than before open() is no measure on a device that others use too: this is more than drivers were seen to
	 * take for a context with the code of all kernels and of cuBLASLt. */
	ret->context = 600 * MIB;
	if (use->handles > 1) {
		ret->context += 600 * MIB; /* NCCL's own, likewise */
	}
	ret->workspace = CUDA_WORKSPACE;
	/* A whole layer as it is stored, two bytes each; norms and biases are in the rest. */
	ret->loading = cuda_arena_round(cuda_bytes_plus(cuda_bytes_times(2, use->weights), CUDA_LOAD_CHUNK));
	/* Starts of sequences, or four words for each of them. */
	ret->table = cuda_arena_round(cuda_bytes_plus(cuda_bytes_times(use->tokens, 32), 64 << 10));
	/* Partial sums and two f32 numbers for each one of the widest activation. */
	ret->scratch = cuda_arena_round(cuda_bytes_plus(cuda_bytes_times(operand, 2 * sizeof(float)), 64 * MIB));
	ret->copies = 0;
	if (bf16) {
		/* Two bytes each: the matrices of one layer, kept for all its pieces (a layer loaded ahead has none yet); the inputs
		 * of all its products and, in the backward pass, as many gradients; the two operands at work. The rest is for rows
		 * that are no multiple of 8 long and for places between copies. */
		uint64_t activations = cuda_bytes_plus(cuda_bytes_times(use->tokens, cuda_bytes_times(2, use->sum)),
			cuda_bytes_times(2, operand));
		ret->copies = cuda_arena_round(cuda_bytes_plus(cuda_bytes_times(2, cuda_bytes_plus(use->weights, activations)), 64 * MIB));
	}
}

uint64_t cuda_needs_own(const struct cuda_needs *n)
{
	uint64_t fixed = cuda_bytes_plus(cuda_bytes_plus(n->workspace, n->loading), cuda_bytes_times(CUDA_TABLES, n->table));
	return cuda_bytes_plus(fixed, cuda_bytes_plus(n->scratch, n->copies));
}

uint64_t cuda_needs_sum(const struct cuda_needs *n)
{
	return cuda_bytes_plus(n->context, cuda_bytes_plus(cuda_needs_own(n), CUDA_PAGE));
}
