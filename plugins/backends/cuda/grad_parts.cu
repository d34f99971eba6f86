// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Small matrices have few tiles: their samples are cut into parts, whose statistics are added up here.
#include "plugins/backends/cuda/launch.h"

namespace
{

constexpr int THREADS = 256;
constexpr uint32_t MOST = 16;

__global__ void __launch_bounds__(THREADS) add_parts(float *out, const float *parts, uint64_t n, uint32_t splits)
{
	uint64_t i = (uint64_t)blockIdx.x * THREADS + threadIdx.x;
	if (i >= n) {
		return;
	}
	float sum = parts[i];
#pragma unroll 4
	for (uint32_t k = 1; k < splits; k++) {
		sum += parts[k * n + i];
	}
	out[i] += sum;
}

} // namespace

uint32_t cuda_grad_splits(uint64_t tiles, uint32_t samples, uint32_t blocks)
{
	uint64_t splits = tiles != 0 ? blocks / tiles : 1;
	splits = splits < MOST ? splits : MOST;
	splits = splits < samples ? splits : samples;
	return splits != 0 ? (uint32_t)splits : 1;
}

size_t cuda_grad_parts(const struct grad_launch *g, const struct grad_cut *cut)
{
	return cut->splits == 1 ? 0 : (size_t)(g->rows * g->cols) * cut->splits * sizeof(float);
}

cudaError_t cuda_grad_add_parts(float *d_out, const float *d_parts, uint64_t n, uint32_t splits, cudaStream_t stream)
{
	add_parts<<<(unsigned)((n + THREADS - 1) / THREADS), THREADS, 0, stream>>>(d_out, d_parts, n, splits);
	return cudaGetLastError();
}
