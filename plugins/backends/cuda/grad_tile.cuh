// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// What the kernels of grad_stats_mma.cu and grad_stats_f32.cu share: how tiles lie, how tokens are gone through, how a tile's
// statistic is added.
#ifndef CUDA_GRAD_TILE_CUH
#define CUDA_GRAD_TILE_CUH

#include "plugins/backends/cuda/launch.h"

struct grad_work {
	const uint64_t *start;
	uint32_t samples;
	uint32_t across, down; // tiles beside and below each other
	uint64_t rows, cols;
	uint64_t ldx, lddy;
	float *out; // [splits, rows, cols]
	int add;    // to what out holds
};

// At most DEPTH tokens of one sample after the other: [at, at + left), left is 0 behind the last.
template <int DEPTH> struct grad_walk {
	const uint64_t *start;
	uint32_t sample, last;
	uint64_t at, end;

	__device__ __forceinline__ grad_walk(const grad_work &w, uint32_t split, uint32_t splits)
	{
		start = w.start;
		sample = (uint32_t)((uint64_t)w.samples * split / splits);
		last = (uint32_t)((uint64_t)w.samples * (split + 1) / splits);
		end = start[sample];
		at = end;
		settle();
	}
	__device__ __forceinline__ void settle()
	{
		while (at == end && sample < last) {
			end = start[++sample];
		}
	}
	__device__ __forceinline__ uint32_t left() const
	{
		return end - at < DEPTH ? (uint32_t)(end - at) : DEPTH;
	}
	__device__ __forceinline__ bool ends_sample() const
	{
		return end - at <= DEPTH;
	}
	__device__ __forceinline__ void advance()
	{
		at += left();
		settle();
	}
};

// Tiles that run together lie in a band of columns.
__device__ __forceinline__ void grad_tile_at(const grad_work &w, uint32_t index, uint32_t *row, uint32_t *col)
{
	constexpr uint32_t BAND = 8;
	uint32_t band = index / (BAND * w.down), first = band * BAND;
	uint32_t broad = w.across - first < BAND ? w.across - first : BAND;
	index -= first * w.down;
	*row = index / broad;
	*col = first + index % broad;
}

__device__ __forceinline__ void grad_add(const grad_work &w, float *out, uint64_t row, uint64_t col, float v)
{
	if (row < w.rows && col < w.cols) {
		float *at = out + row * w.cols + col;
		*at = w.add ? *at + v : v;
	}
}

#endif
