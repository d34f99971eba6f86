// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Counting magnitudes. Blocks count in their own memory and add to the whole at their end: whole numbers add up to the same in any
// order.
#include <cwp/scorer.h>

#include "plugins/backends/cuda/launch.h"
#include "plugins/backends/cuda/rows.cuh"
#include "plugins/backends/cuda/scalar.h"

namespace {

enum {
	COUNTERS = 2,      // sets of bins of a block, for fewer meetings
	AHEAD = 4,         // packs that a thread loads before it counts
	A_BLOCK = 1 << 29, // packs that a block may count at most: bins have 32 bits
	EACH = 4           // blocks of a multiprocessor
};

__device__ __forceinline__ void count(uint32_t *bins, float x)
{
	atomicAdd(&bins[scalar_bin(x, CWP_HISTOGRAM_FIRST, CWP_HISTOGRAM_BINS)], 1U);
}

// Blocks take pieces of THREADS * AHEAD packs of a row in turn.
template <int W>
__global__ void __launch_bounds__(THREADS) histogram(const float *x, uint64_t rows, uint64_t packs, uint64_t ld, unsigned tail,
	unsigned long long *total)
{
	__shared__ uint32_t bins[COUNTERS][CWP_HISTOGRAM_BINS];
	for (unsigned i = threadIdx.x; i < CWP_HISTOGRAM_BINS; i += THREADS) {
		for (int k = 0; k < COUNTERS; k++) {
			bins[k][i] = 0;
		}
	}
	__syncthreads();
	uint32_t *own = bins[threadIdx.x / 32 % COUNTERS];
	uint64_t across = (packs + THREADS * AHEAD - 1) / (THREADS * AHEAD);
	for (uint64_t piece = blockIdx.x; piece < rows * across; piece += gridDim.x) {
		uint64_t r = rows == 1 ? 0 : piece / across, first = (piece - r * across) * (THREADS * AHEAD) + threadIdx.x;
		pack<float, W> v[AHEAD];
#pragma unroll
		for (int a = 0; a < AHEAD; a++) {
			if (first + a * THREADS < packs) {
				v[a] = load<W>(x + r * ld, first + a * THREADS);
			}
		}
#pragma unroll
		for (int a = 0; a < AHEAD; a++) {
#pragma unroll
			for (int w = 0; w < W; w++) {
				if (first + a * THREADS < packs) {
					count(own, v[a].v[w]);
				}
			}
		}
	}
	if (blockIdx.x == 0 && threadIdx.x < tail) {
		count(own, x[packs * W + threadIdx.x]);
	}
	__syncthreads();
	for (unsigned i = threadIdx.x; i < CWP_HISTOGRAM_BINS; i += THREADS) {
		uint32_t n = 0;
		for (int k = 0; k < COUNTERS; k++) {
			n += bins[k][i];
		}
		if (n) {
			atomicAdd(&total[i], (unsigned long long)n);
		}
	}
}

} // namespace

cudaError_t launch_histogram(cudaStream_t stream, int processors, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld,
	uint64_t *d_count)
{
	if (rows == 0 || cols == 0) {
		return cudaSuccess;
	}
	if (ld == cols) { // one long row
		cols *= rows;
		rows = 1;
	}
	bool wide = rows == 1 ? aligned(d_x) : packed(d_x, cols, ld);
	uint64_t packs = wide ? cols / 4 : cols, pieces = rows * ceil_div(packs, THREADS * AHEAD);
	uint64_t blocks = (uint64_t)EACH * (uint64_t)processors, least = ceil_div(rows * packs, A_BLOCK);
	blocks = blocks > pieces ? pieces : blocks;
	blocks = blocks < least ? least : blocks;
	blocks = blocks < 1 ? 1 : blocks;
	unsigned tail = wide ? (unsigned)(cols % 4) : 0;
	auto *total = reinterpret_cast<unsigned long long *>(d_count);
	if (too_many(blocks)) {
		return cudaErrorInvalidConfiguration;
	}
	if (wide) {
		histogram<4><<<(unsigned)blocks, THREADS, 0, stream>>>(d_x, rows, packs, ld, tail, total);
	} else {
		histogram<1><<<(unsigned)blocks, THREADS, 0, stream>>>(d_x, rows, packs, ld, tail, total);
	}
	return cudaGetLastError();
}
