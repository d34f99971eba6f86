/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Kernels of attention. Included by launch.h alone. */
#ifndef CUDA_LAUNCH_ATTENTION_H
#define CUDA_LAUNCH_ATTENTION_H

#include "plugins/backends/cuda/attention_plan.h"

/* Largest head. */
#define ATTENTION_HEAD_DIM 256

/* Work on blocks of rows and on the heads of keys [kv_first, kv_first + kv_count) with their heads of queries. */
struct attention_args {
	const struct attention_block *d_blocks;
	const struct attention_range *d_ranges;
	uint32_t blocks;
	uint32_t heads;
	uint32_t kv_heads;
	uint32_t group; /* heads / kv_heads */
	uint32_t head_dim;
	uint32_t kv_first;
	uint32_t kv_count;
	uint32_t window;
	uint32_t vector; /* f32 rows can be read and written 16 bytes at once */
	float scale;
	float softcap;
	uint64_t tokens;
	const float *d_q; /* f32 matrices of all tokens and heads */
	const float *d_k;
	const float *d_v;
	const float *d_dout;
	float *d_out;
	uint16_t *d_out_copy; /* out in BF16 besides; NULL: not wanted; of the kernels on tensor cores alone */
	float *d_lse;
	const float *d_read_out; /* of forward, for backward */
	const float *d_read_lse;
	float *d_dq;
	float *d_dk;
	float *d_dv;
	/* Of rows [row0, row0 + rows) and of the heads at work alone: rows in BF16 [rows, heads at work, packed_dim], packed_dim
	 * being head_dim rounded up to 8, and delta [heads at work, rows], the sum over a row of dout * out. */
	uint32_t row0;
	uint32_t rows;
	uint32_t packed_dim;
	void *d_packed_q;
	void *d_packed_k;
	void *d_packed_v;
	void *d_packed_dout;
	float *d_delta;
};

/* Rows of blocks that the kernels expect. */
uint32_t attention_bf16_forward_rows(uint32_t head_dim);
uint32_t attention_bf16_backward_rows(uint32_t head_dim);
uint32_t attention_f32_rows(uint32_t head_dim);

/* d_packed_k and d_packed_v; and for backward all of d_packed_ and d_delta. */
cudaError_t attention_pack_forward(const struct attention_args *a, cudaStream_t stream);
cudaError_t attention_pack_backward(const struct attention_args *a, cudaStream_t stream);
cudaError_t attention_bf16_forward(const struct attention_args *a, cudaStream_t stream);
cudaError_t attention_bf16_backward(const struct attention_args *a, cudaStream_t stream);
/* d_delta alone. */
cudaError_t attention_delta(const struct attention_args *a, cudaStream_t stream);
cudaError_t attention_f32_forward(const struct attention_args *a, cudaStream_t stream);
cudaError_t attention_f32_backward(const struct attention_args *a, cudaStream_t stream);

/* One query against the keys [0, keys) of d_k; d_partial: attention_decode_partial() bytes. */
struct attention_decode_args {
	const float *d_q;
	const float *d_k;
	const float *d_v;
	float *d_out;
	float *d_partial;
	uint64_t keys;
	uint32_t heads;
	uint32_t kv_heads;
	uint32_t head_dim;
	uint32_t vector;
	float scale;
	float softcap;
};

size_t attention_decode_partial(uint64_t keys, uint32_t heads, uint32_t head_dim);
cudaError_t attention_decode(const struct attention_decode_args *a, cudaStream_t stream);

#endif
