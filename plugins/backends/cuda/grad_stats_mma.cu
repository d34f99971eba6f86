// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Statistics of per-sample gradients in BF16 on any GPU from Ampere on. A block holds a tile of 128 x 128 in the registers of 8
// warps (64 x 32 each): the gradient of one sample and the statistic. 32 tokens of both operands a stage come by asynchronous
// copies; tokens behind a sample's end and columns behind the matrix's are copied as 0.
#include <cuda_bf16.h>

#include "plugins/backends/cuda/grad_tile.cuh"
#include "plugins/backends/cuda/launch.h"

namespace
{

constexpr int TILE = 128;
constexpr int DEPTH = 32;
constexpr int STAGES = 3;
constexpr int THREADS = 256;
constexpr int PITCH = TILE + 8; // elements; a row more shifts the banks by 4, so that 8 rows of 16 bytes meet no bank twice
constexpr int CHUNKS = TILE / 8;
constexpr uint32_t PROCESSORS = 132; // that work is cut for, however many there are

struct stage {
	__nv_bfloat16 dy[DEPTH][PITCH], x[DEPTH][PITCH];
};

// 16 bytes, or 0 in their place.
__device__ __forceinline__ void copy16(void *to, const void *from, bool there)
{
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from),
		"r"(there ? 16 : 0)
		: "memory");
}

// `left` tokens from `at` on, columns from `col` on.
__device__ __forceinline__ void copy_panel(
	__nv_bfloat16 (*to)[PITCH], const __nv_bfloat16 *from, uint64_t ld, uint64_t cols, uint64_t at, uint32_t left, uint64_t col)
{
#pragma unroll
	for (int i = 0; i < DEPTH * CHUNKS / THREADS; i++) {
		uint32_t k = threadIdx.x / CHUNKS + i * (THREADS / CHUNKS), c = threadIdx.x % CHUNKS * 8;
		bool there = k < left && col + c < cols;
		copy16(&to[k][c], there ? from + (at + k) * ld + col + c : from, there);
	}
}

// Four 8 x 8 matrices, transposed; lanes 8 * i + r give row r of matrix i.
__device__ __forceinline__ void load4(uint32_t (&r)[4], const __nv_bfloat16 *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
		     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
		     : "r"((uint32_t)__cvta_generic_to_shared(row))
		     : "memory");
}

__device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
		     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// g [64, 32] += this warp's part of the stage's product.
__device__ __forceinline__ void multiply_stage(float (&g)[4][4][4], const stage &s, uint32_t row, uint32_t col)
{
	uint32_t lane = threadIdx.x % 32, r = lane % 8, i = lane / 8;
#pragma unroll
	for (int k = 0; k < DEPTH; k += 16) {
		uint32_t a[4][4], b[2][4];
#pragma unroll
		for (int m = 0; m < 4; m++) {
			load4(a[m], &s.dy[k + i / 2 * 8 + r][row + m * 16 + i % 2 * 8]);
		}
#pragma unroll
		for (int n = 0; n < 2; n++) {
			load4(b[n], &s.x[k + i % 2 * 8 + r][col + n * 16 + i / 2 * 8]);
		}
#pragma unroll
		for (int m = 0; m < 4; m++) {
#pragma unroll
			for (int n = 0; n < 4; n++) {
				multiply(g[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
			}
		}
	}
}

template <bool SQUARE>
__global__ void __launch_bounds__(THREADS, 1)
	grad_tiles(const grad_work w, const __nv_bfloat16 *__restrict__ x, const __nv_bfloat16 *__restrict__ dy)
{
	extern __shared__ char memory[];
	stage *stages = (stage *)memory;
	uint32_t tile_row, tile_col, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
	grad_tile_at(w, blockIdx.x, &tile_row, &tile_col);
	uint64_t row = (uint64_t)tile_row * TILE, col = (uint64_t)tile_col * TILE;
	uint32_t warp_row = warp / 4 * 64, warp_col = warp % 4 * 32;
	float *out = w.out + blockIdx.y * w.rows * w.cols;
	float g[4][4][4] = {}, stat[4][4][4] = {};
	grad_walk<DEPTH> ahead(w, blockIdx.y, gridDim.y), here = ahead;
	auto fetch = [&](uint32_t i) {
		if (ahead.left() != 0) {
			copy_panel(stages[i].dy, dy, w.lddy, w.rows, ahead.at, ahead.left(), row);
			copy_panel(stages[i].x, x, w.ldx, w.cols, ahead.at, ahead.left(), col);
			ahead.advance();
		}
		asm volatile("cp.async.commit_group;" ::: "memory");
	};
	for (int i = 0; i < STAGES - 1; i++) {
		fetch(i);
	}
	for (uint32_t i = 0; here.left() != 0; i = i + 1 == STAGES ? 0 : i + 1) {
		asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory");
		// What all have copied is here, and all are done with the stage that is filled next.
		__syncthreads();
		fetch(i == 0 ? STAGES - 1 : i - 1);
		multiply_stage(g, stages[i], warp_row, warp_col);
		if (here.ends_sample()) {
#pragma unroll
			for (int k = 0; k < 64; k++) {
				float &v = g[k / 16][k / 4 % 4][k % 4], &s = stat[k / 16][k / 4 % 4][k % 4];
				s = SQUARE ? fmaf(v, v, s) : s + fabsf(v);
				v = 0;
			}
		}
		here.advance();
	}
#pragma unroll
	for (int k = 0; k < 64; k++) {
		int m = k / 16, n = k / 4 % 4, e = k % 4;
		grad_add(w, out, row + warp_row + m * 16 + lane / 4 + e / 2 * 8, col + warp_col + n * 8 + lane % 4 * 2 + e % 2, stat[m][n][e]);
	}
}

uint64_t over(uint64_t n, uint64_t by)
{
	return (n + by - 1) / by;
}

} // namespace

struct grad_cut cuda_grad_mma_cut(const struct grad_launch *g)
{
	struct grad_cut cut = {TILE, 1, cuda_grad_splits(over(g->rows, TILE) * over(g->cols, TILE), g->samples, PROCESSORS)};
	return cut;
}

cudaError_t cuda_grad_mma(const struct grad_launch *g, const struct grad_cut *cut, float *d_parts, cudaStream_t stream)
{
	struct grad_work w = {};
	w.start = g->d_start;
	w.samples = g->samples;
	w.across = (uint32_t)over(g->cols, TILE);
	w.down = (uint32_t)over(g->rows, TILE);
	w.rows = g->rows;
	w.cols = g->cols;
	w.ldx = g->ldx;
	w.lddy = g->lddy;
	w.out = cut->splits == 1 ? g->d_out : d_parts;
	w.add = cut->splits == 1;
	auto kernel = g->square ? grad_tiles<true> : grad_tiles<false>;
	cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, STAGES * sizeof(stage));
	if (e != cudaSuccess) {
		return e;
	}
	dim3 grid(w.across * w.down, cut->splits);
	kernel<<<grid, THREADS, STAGES * sizeof(stage), stream>>>(w, (const __nv_bfloat16 *)g->d_x, (const __nv_bfloat16 *)g->d_dy);
	e = cudaGetLastError();
	return e != cudaSuccess || cut->splits == 1
		       ? e
		       : cuda_grad_add_parts(g->d_out, d_parts, g->rows * g->cols, cut->splits, stream);
}
