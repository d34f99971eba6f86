// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Statistics of per-sample gradients of one column, of biases say: g[r] is the sum over a sample's tokens of dY[t][r] * x[t]. A
// block has 32 rows; its 32 warps take every 32nd token each, and the first adds what they have, always in the same order.
#include "plugins/backends/cuda/launch.h"

namespace
{

constexpr int ROWS = 32;
constexpr int WARPS = 32;

// The sum over this warp's tokens of [begin, end).
__device__ __forceinline__ float partial(const struct grad_bias &g, uint64_t row, uint64_t begin, uint64_t end)
{
	float sum = 0;
	if (row < g.rows) {
#pragma unroll 8
		for (uint64_t t = begin + threadIdx.x / 32; t < end; t += WARPS) {
			sum = fmaf(g.d_dy[t * g.lddy + row], g.d_x[t * g.ldx], sum);
		}
	}
	return sum;
}

__global__ void __launch_bounds__(ROWS *WARPS) bias(const struct grad_bias g)
{
	// Two, so that one barrier a sample is enough: a warp that is ahead writes the other one.
	__shared__ float partials[2][WARPS][ROWS];
	uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
	uint64_t row = (uint64_t)blockIdx.x * ROWS + lane, end = g.d_start[0];
	float sum = 0, magnitude = 0, square = 0;
	for (uint32_t i = 0; i < g.samples; i++) {
		uint64_t begin = end;
		end = g.d_start[i + 1];
		partials[i % 2][warp][lane] = partial(g, row, begin, end);
		__syncthreads();
		if (warp != 0) {
			continue;
		}
		float v = 0;
#pragma unroll
		for (int k = 0; k < WARPS; k++) {
			v += partials[i % 2][k][lane];
		}
		sum += v;
		magnitude += fabsf(v);
		square = fmaf(v, v, square);
	}
	if (warp != 0 || row >= g.rows) {
		return;
	}
	if (g.d_sum) {
		g.d_sum[row] += sum;
	}
	if (g.d_abs) {
		g.d_abs[row] += magnitude;
	}
	if (g.d_sq) {
		g.d_sq[row] += square;
	}
}

} // namespace

cudaError_t cuda_grad_bias(const struct grad_bias *g, cudaStream_t stream)
{
	bias<<<(unsigned)((g->rows + ROWS - 1) / ROWS), ROWS * WARPS, 0, stream>>>(*g);
	return cudaGetLastError();
}
