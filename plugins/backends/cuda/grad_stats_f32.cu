// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Statistics of per-sample gradients in f32: each element is one chain of fused additions over tokens, then over samples. A
// block holds a tile of 128 x 64, a thread 8 x 4 of it: the gradient of one sample and the statistic.
#include "plugins/backends/cuda/grad_tile.cuh"
#include "plugins/backends/cuda/launch.h"

namespace
{

constexpr int ROWS = 128, COLS = 64;
constexpr int DEPTH = 16;
constexpr int THREADS = 256;
constexpr uint32_t PROCESSORS = 132; // that work is cut for, however many there are

struct stage {
	float dy[DEPTH][ROWS], x[DEPTH][COLS];
};

// Tokens behind `left` and columns behind `cols` become 0.
template <int WIDTH>
__device__ __forceinline__ void copy_panel(
	float (*to)[WIDTH], const float *from, uint64_t ld, uint64_t cols, uint64_t at, uint32_t left, uint64_t col)
{
#pragma unroll
	for (int i = 0; i < DEPTH * WIDTH / THREADS; i++) {
		uint32_t k = threadIdx.x / WIDTH + i * (THREADS / WIDTH), c = threadIdx.x % WIDTH;
		bool there = k < left && col + c < cols;
		asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"((uint32_t)__cvta_generic_to_shared(&to[k][c])),
			"l"(there ? from + (at + k) * ld + col + c : from), "r"(there ? 4 : 0)
			: "memory");
	}
}

// g += the stage's product: rows `row` .. + 3 and those 64 further, columns `col` .. + 3.
__device__ __forceinline__ void multiply_stage(float (&g)[8][4], const stage &s, uint32_t row, uint32_t col)
{
#pragma unroll
	for (int k = 0; k < DEPTH; k++) {
		float4 a0 = *(const float4 *)&s.dy[k][row], a1 = *(const float4 *)&s.dy[k][row + ROWS / 2];
		float4 b0 = *(const float4 *)&s.x[k][col];
		float a[8] = {a0.x, a0.y, a0.z, a0.w, a1.x, a1.y, a1.z, a1.w}, b[4] = {b0.x, b0.y, b0.z, b0.w};
#pragma unroll
		for (int i = 0; i < 8; i++) {
#pragma unroll
			for (int j = 0; j < 4; j++) {
				g[i][j] = fmaf(a[i], b[j], g[i][j]);
			}
		}
	}
}

template <bool SQUARE>
__global__ void __launch_bounds__(THREADS, 2)
	grad_tiles(const grad_work w, const float *__restrict__ x, const float *__restrict__ dy)
{
	__shared__ stage stages[2];
	uint32_t tile_row, tile_col;
	grad_tile_at(w, blockIdx.x, &tile_row, &tile_col);
	uint64_t row = (uint64_t)tile_row * ROWS, col = (uint64_t)tile_col * COLS;
	uint32_t my_row = threadIdx.x / 16 * 4, my_col = threadIdx.x % 16 * 4;
	float *out = w.out + blockIdx.y * w.rows * w.cols;
	float g[8][4] = {}, stat[8][4] = {};
	grad_walk<DEPTH> ahead(w, blockIdx.y, gridDim.y), here = ahead;
	auto fetch = [&](uint32_t i) {
		if (ahead.left() != 0) {
			copy_panel<ROWS>(stages[i].dy, dy, w.lddy, w.rows, ahead.at, ahead.left(), row);
			copy_panel<COLS>(stages[i].x, x, w.ldx, w.cols, ahead.at, ahead.left(), col);
			ahead.advance();
		}
		asm volatile("cp.async.commit_group;" ::: "memory");
	};
	fetch(0);
	for (uint32_t i = 0; here.left() != 0; i ^= 1) {
		asm volatile("cp.async.wait_group 0;" ::: "memory");
		// What all have copied is here, and all are done with the stage that is filled next.
		__syncthreads();
		fetch(i ^ 1);
		multiply_stage(g, stages[i], my_row, my_col);
		if (here.ends_sample()) {
#pragma unroll
			for (int k = 0; k < 32; k++) {
				float &v = g[k / 4][k % 4], &s = stat[k / 4][k % 4];
				s = SQUARE ? fmaf(v, v, s) : s + fabsf(v);
				v = 0;
			}
		}
		here.advance();
	}
#pragma unroll
	for (int k = 0; k < 32; k++) {
		grad_add(w, out, row + my_row + k / 16 * (ROWS / 2) + k / 4 % 4, col + my_col + k % 4, stat[k / 4][k % 4]);
	}
}

uint64_t over(uint64_t n, uint64_t by)
{
	return (n + by - 1) / by;
}

} // namespace

struct grad_cut cuda_grad_f32_cut(const struct grad_launch *g)
{
	struct grad_cut cut = {COLS, 1, cuda_grad_splits(over(g->rows, ROWS) * over(g->cols, COLS), g->samples, 2 * PROCESSORS)};
	return cut;
}

cudaError_t cuda_grad_f32(const struct grad_launch *g, const struct grad_cut *cut, float *d_parts, cudaStream_t stream)
{
	struct grad_work w = {};
	w.start = g->d_start;
	w.samples = g->samples;
	w.across = (uint32_t)over(g->cols, COLS);
	w.down = (uint32_t)over(g->rows, ROWS);
	w.rows = g->rows;
	w.cols = g->cols;
	w.ldx = g->ldx;
	w.lddy = g->lddy;
	w.out = cut->splits == 1 ? g->d_out : d_parts;
	w.add = cut->splits == 1;
	auto kernel = g->square ? grad_tiles<true> : grad_tiles<false>;
	dim3 grid(w.across * w.down, cut->splits);
	kernel<<<grid, THREADS, 0, stream>>>(w, (const float *)g->d_x, (const float *)g->d_dy);
	cudaError_t e = cudaGetLastError();
	return e != cudaSuccess || cut->splits == 1
		       ? e
		       : cuda_grad_add_parts(g->d_out, d_parts, g->rows * g->cols, cut->splits, stream);
}
