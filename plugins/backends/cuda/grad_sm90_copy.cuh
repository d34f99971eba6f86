// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Of grad_stats_sm90.cu alone: how a tile is laid out, and the warpgroup that copies.
#pragma once

#include "plugins/backends/cuda/sm90.cuh"
#include "plugins/backends/cuda/tensor_map.h"

namespace
{

constexpr int ROWS = 128;            // of a tile
constexpr int DEPTH = 64;            // tokens of a stage
constexpr int STEP = 16;             // tokens of one product
constexpr int PANEL = 64;            // columns that lie together in shared memory
constexpr int ROW_BYTES = PANEL * 2; // of a panel
constexpr int PANEL_BYTES = DEPTH * ROW_BYTES;
constexpr int GROUP = 128; // threads of a warpgroup
constexpr int THREADS = 3 * GROUP;
constexpr int PROCESSORS = 132; // that work is cut for, however many there are
constexpr size_t SHARED = 227 * 1024;

__host__ __device__ constexpr int stage_bytes(int width)
{
	return (ROWS / PANEL + width / PANEL) * PANEL_BYTES;
}

// Room for the barriers and for bringing the first stage to a multiple of 1024 bytes.
__host__ __device__ constexpr int stages(int width)
{
	return (int)((SHARED - 2048) / stage_bytes(width));
}

__host__ __device__ constexpr int shared_bytes(int width)
{
	return stages(width) * stage_bytes(width) + 2048;
}

// Tiles of a cluster below each other and side by side.
__host__ __device__ constexpr int tiles_down(int cluster)
{
	return cluster == 1 ? 1 : 2;
}

__host__ __device__ constexpr int tiles_across(int cluster)
{
	return cluster == 4 ? 2 : 1;
}

struct maps {
	CUtensorMap dy, x;           // whole stages: dY 64 tokens / tiles_across, X 64 / tiles_down
	CUtensorMap dy_step, x_step; // STEP tokens
};

struct work {
	const uint64_t *start;
	uint32_t samples;
	float *out; // [splits, rows, cols]
	uint64_t rows, cols;
	uint32_t down;   // clusters below each other
	uint32_t across; // and beside each other
	uint32_t splits;
	int add;   // to what out holds
	int pairs; // columns can be read and written two at a time
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr uint32_t LAST = 1u << 31; // of shared::left

// A tile and the samples [first, end), which are the tokens [token, end_token).
struct item {
	uint32_t row, col;
	uint32_t first, end;
	uint32_t token, end_token;
	float *out;
};

// Tiles that run together lie in a band of at most BAND columns, so that they share what they read in the second-level cache.
template <int WIDTH, int CLUSTER> __device__ __forceinline__ item item_at(const work &w, uint32_t index, uint32_t rank)
{
	constexpr uint32_t DOWN = tiles_down(CLUSTER), ACROSS = tiles_across(CLUSTER), BAND = 8 / ACROSS;
	uint32_t tiles = w.down * w.across, split = index / tiles;
	index %= tiles;
	uint32_t bands = (w.across + BAND - 1) / BAND, broad = (w.across + bands - 1) / bands;
	uint32_t band = index / (broad * w.down), first = band * broad, left = w.across - first;
	index -= first * w.down;
	broad = left < broad ? left : broad;
	item it;
	it.row = (index / broad * DOWN + rank / ACROSS) * ROWS;
	it.col = ((first + index % broad) * ACROSS + rank % ACROSS) * WIDTH;
	it.first = (uint32_t)((uint64_t)w.samples * split / w.splits);
	it.end = (uint32_t)((uint64_t)w.samples * (split + 1) / w.splits);
	it.token = (uint32_t)w.start[it.first];
	it.end_token = (uint32_t)w.start[it.end];
	it.out = w.out + split * w.rows * w.cols;
	return it;
}

// The place in the ring of stages.
template <int STAGES> struct ring {
	uint32_t stage, phase;

	__device__ __forceinline__ void advance()
	{
		if (++stage == STAGES) {
			stage = 0;
			phase ^= 1;
		}
	}
};

// Where things lie in shared memory.
template <int WIDTH> struct shared {
	uint32_t base;

	__device__ __forceinline__ uint32_t dy(uint32_t stage) const
	{
		return base + stage * stage_bytes(WIDTH);
	}
	__device__ __forceinline__ uint32_t x(uint32_t stage) const
	{
		return dy(stage) + ROWS / PANEL * PANEL_BYTES;
	}
	__device__ __forceinline__ uint32_t full(uint32_t stage) const
	{
		return base + stages(WIDTH) * stage_bytes(WIDTH) + stage * 16;
	}
	__device__ __forceinline__ uint32_t empty(uint32_t stage) const
	{
		return full(stage) + 8;
	}
	// A word with the stage: how many tokens its sample has from there on, and LAST in the last sample of a tile. So those who
	// multiply read no sample's end from device memory, for which the compiler would make them wait together with the reads of
	// the tile's statistic.
	__device__ __forceinline__ uint32_t left(uint32_t stage) const
	{
		return base + stages(WIDTH) * (stage_bytes(WIDTH) + 16) + stage * 4;
	}
};

// A whole stage of tokens from t on.
template <int WIDTH, int CLUSTER>
__device__ __forceinline__ void copy_stage(const maps &m, shared<WIDTH> s, uint32_t stage, const item &it, uint32_t t, uint32_t rank)
{
	constexpr uint32_t DOWN = tiles_down(CLUSTER), ACROSS = tiles_across(CLUSTER);
	uint32_t below = rank / ACROSS, beside = rank % ACROSS;
	sm90::barrier_expect(s.full(stage), stage_bytes(WIDTH));
#pragma unroll
	for (int i = 0; i < ROWS / PANEL; i++) {
		uint32_t to = s.dy(stage) + i * PANEL_BYTES, row = it.row + i * PANEL;
		if (ACROSS == 1) {
			sm90::copy_box(to, &m.dy, row, t, s.full(stage));
		} else {
			sm90::copy_box_to(to + beside * (PANEL_BYTES / ACROSS), &m.dy, row, t + beside * (DEPTH / ACROSS), s.full(stage),
				(uint16_t)(3 << (below * ACROSS)));
		}
	}
#pragma unroll
	for (int i = 0; i < WIDTH / PANEL; i++) {
		uint32_t to = s.x(stage) + i * PANEL_BYTES, col = it.col + i * PANEL;
		if (CLUSTER == 1) {
			sm90::copy_box(to, &m.x, col, t, s.full(stage));
		} else {
			sm90::copy_box_to(to + below * (PANEL_BYTES / DOWN), &m.x, col, t + below * (DEPTH / DOWN), s.full(stage),
				(uint16_t)((ACROSS == 1 ? 3 : 5) << beside));
		}
	}
}

// The end of a sample: so many steps.
template <int WIDTH>
__device__ __forceinline__ void copy_steps(const maps &m, shared<WIDTH> s, uint32_t stage, const item &it, uint32_t t, uint32_t steps)
{
	sm90::barrier_expect(s.full(stage), steps * (stage_bytes(WIDTH) / (DEPTH / STEP)));
#pragma unroll 1
	for (uint32_t k = 0; k < steps; k++) {
		uint32_t at = k * STEP * ROW_BYTES;
		for (int i = 0; i < ROWS / PANEL; i++) {
			sm90::copy_box(s.dy(stage) + i * PANEL_BYTES + at, &m.dy_step, it.row + i * PANEL, t + k * STEP, s.full(stage));
		}
		for (int i = 0; i < WIDTH / PANEL; i++) {
			sm90::copy_box(s.x(stage) + i * PANEL_BYTES + at, &m.x_step, it.col + i * PANEL, t + k * STEP, s.full(stage));
		}
	}
}

template <int WIDTH, int CLUSTER>
__device__ __forceinline__ void produce(const maps &m, const work &w, shared<WIDTH> s, uint32_t rank)
{
	ring<stages(WIDTH)> r = {0, 0};
	for (uint32_t index = blockIdx.x / CLUSTER; index < w.down * w.across * w.splits; index += gridDim.x / CLUSTER) {
		item it = item_at<WIDTH, CLUSTER>(w, index, rank);
		uint32_t end = it.token, next = it.first != it.end ? (uint32_t)w.start[it.first + 1] : end;
		for (uint32_t i = it.first; i < it.end; i++) {
			uint32_t t = end;
			end = next;
			next = i + 2 <= it.end ? (uint32_t)w.start[i + 2] : end;
			for (; t < end; t += DEPTH) {
				sm90::barrier_wait(s.empty(r.stage), r.phase ^ 1);
				sm90::store_shared(s.left(r.stage), end - t | (end == it.end_token ? LAST : 0));
				if (end - t > DEPTH - STEP) {
					copy_stage<WIDTH, CLUSTER>(m, s, r.stage, it, t, rank);
				} else {
					copy_steps<WIDTH>(m, s, r.stage, it, t, (end - t + STEP - 1) / STEP);
				}
				r.advance();
			}
		}
	}
}

#endif

} // namespace
