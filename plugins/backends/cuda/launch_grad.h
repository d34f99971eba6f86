/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Kernels of statistics of gradients. Included by launch.h alone. */
#ifndef CUDA_LAUNCH_GRAD_H
#define CUDA_LAUNCH_GRAD_H

/* out [rows, cols] += the sum over samples of |g| or g^2, g = dY_s^T X_s. X and dY are BF16 or f32, as the kernel's name says;
 * BF16 rows are 16-byte aligned, their distances multiples of 8. */
struct grad_launch {
	const void *d_x; /* [tokens, cols] */
	uint64_t ldx;
	const void *d_dy; /* [tokens, rows] */
	uint64_t lddy;
	uint64_t rows, cols;
	uint64_t tokens;
	const uint64_t *d_start; /* [samples + 1], on the device */
	uint32_t samples;
	int square; /* else |g| */
	float *d_out;
};

/* How the work is cut. Follows from shapes alone, so that results do too. */
struct grad_cut {
	uint32_t width;   /* columns of a tile */
	uint32_t cluster; /* blocks that share what they read, of the kernel for Hopper */
	uint32_t splits;  /* parts that the samples are cut into, for small matrices */
};

/* The bytes that the parts of a cut need on the device: 0 for one part. */
size_t cuda_grad_parts(const struct grad_launch *g, const struct grad_cut *cut);

/* Hopper's own kernel is there and takes this. */
int cuda_grad_sm90_can(const struct grad_launch *g, int capability);
struct grad_cut cuda_grad_sm90_cut(const struct grad_launch *g);
cudaError_t cuda_grad_sm90(const struct grad_launch *g, const struct grad_cut *cut, float *d_parts, cudaStream_t stream);

/* Any GPU from Ampere on. */
struct grad_cut cuda_grad_mma_cut(const struct grad_launch *g);
cudaError_t cuda_grad_mma(const struct grad_launch *g, const struct grad_cut *cut, float *d_parts, cudaStream_t stream);

/* X and dY f32, products and sums in f32. */
struct grad_cut cuda_grad_f32_cut(const struct grad_launch *g);
cudaError_t cuda_grad_f32(const struct grad_launch *g, const struct grad_cut *cut, float *d_parts, cudaStream_t stream);

/* One column: X [tokens, 1] and dY f32. NULL results are not wanted. */
struct grad_bias {
	const float *d_x;
	uint64_t ldx;
	const float *d_dy;
	uint64_t lddy;
	uint64_t rows;
	const uint64_t *d_start;
	uint32_t samples;
	float *d_sum, *d_abs, *d_sq;
};
cudaError_t cuda_grad_bias(const struct grad_bias *g, cudaStream_t stream);

/* out [n] += parts [splits, n], one part after another. */
cudaError_t cuda_grad_add_parts(float *d_out, const float *d_parts, uint64_t n, uint32_t splits, cudaStream_t stream);
/* In how many parts to take the samples, so that few tiles still fill a GPU of so many blocks. */
uint32_t cuda_grad_splits(uint64_t tiles, uint32_t samples, uint32_t blocks);

#endif
