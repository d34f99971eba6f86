// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Rows gathered, scattered and multiplied: what mixtures of experts need.
#include "plugins/backends/cuda/launch.h"
#include "plugins/backends/cuda/rows.cuh"

namespace {

// y = f * x, of rows that may be one and the same.
template <int W>
__global__ void __launch_bounds__(THREADS) gather(const float *x, const uint32_t *index, const float *factor, uint64_t rows,
	uint64_t cols, float *y, uint16_t *copy, uint32_t across)
{
	struct tile t = this_tile(across);
	if (t.row >= rows) {
		return;
	}
	uint64_t packs = cols / W;
	float f = factor ? factor[t.row] : 1.0F;
	pack<float, W> v[TILE_PACKS];
	x += (index ? (uint64_t)index[t.row] : t.row) * cols;
	y += t.row * cols;
	copy = copy ? copy + t.row * cols : nullptr;
#pragma unroll
	for (int u = 0; u < TILE_PACKS; u++) {
		uint64_t i = t.first + u * blockDim.x;
		if (i < packs) {
			v[u] = load<W>(x, i);
		}
	}
#pragma unroll
	for (int u = 0; u < TILE_PACKS; u++) {
		uint64_t i = t.first + u * blockDim.x;
		if (i < packs) {
#pragma unroll
			for (int w = 0; w < W; w++) {
				v[u].v[w] *= f;
			}
			store<W>(y, i, v[u]);
			store_rounded<W>(copy, i, v[u]);
		}
	}
}

// y += f * x
template <int W>
__global__ void __launch_bounds__(THREADS) scatter(const float *x, const uint32_t *index, const float *factor, uint64_t rows,
	uint64_t cols, float *y, uint32_t across)
{
	struct tile t = this_tile(across);
	if (t.row >= rows) {
		return;
	}
	uint64_t packs = cols / W;
	float f = factor ? factor[t.row] : 1.0F;
	pack<float, W> v[TILE_PACKS], z[TILE_PACKS];
	x += t.row * cols;
	y += (index ? (uint64_t)index[t.row] : t.row) * cols;
#pragma unroll
	for (int u = 0; u < TILE_PACKS; u++) {
		uint64_t i = t.first + u * blockDim.x;
		if (i < packs) {
			v[u] = load<W>(x, i);
			z[u] = load<W>(y, i);
		}
	}
#pragma unroll
	for (int u = 0; u < TILE_PACKS; u++) {
		uint64_t i = t.first + u * blockDim.x;
		if (i < packs) {
#pragma unroll
			for (int w = 0; w < W; w++) {
				z[u].v[w] = fmaf(f, v[u].v[w], z[u].v[w]);
			}
			store<W>(y, i, z[u]);
		}
	}
}

template <int G, int W>
__global__ void __launch_bounds__(THREADS) dot(const float *x, const float *y, uint64_t rows, uint64_t cols, float *out)
{
	row<G> r(rows);
	uint64_t packs = r.live ? cols / W : 0;
	float sum = 0.0F;
	x += r.number * cols;
	y += r.number * cols;
#pragma unroll 4
	for (uint64_t i = r.lane; i < packs; i += r.step) {
		pack<float, W> a = load<W>(x, i), b = load<W>(y, i);
#pragma unroll
		for (int w = 0; w < W; w++) {
			sum += a.v[w] * b.v[w];
		}
	}
	sum = reduce_row<G>(sum, 0.0F, add());
	if (r.live && r.lane == 0) {
		out[r.number] = sum;
	}
}

} // namespace

cudaError_t launch_gather_rows(cudaStream_t stream, const float *d_x, const uint32_t *d_index, const float *d_factor,
	uint64_t rows, uint64_t cols, float *d_y, uint16_t *d_copy)
{
	if (rows == 0 || cols == 0) {
		return cudaSuccess;
	}
	bool wide = packed(d_x, cols, cols) && aligned(d_y);
	struct tiles t = cut_tiles(rows, wide ? cols / 4 : cols);
	if (t.blocks == 0) {
		return cudaErrorInvalidConfiguration;
	}
	if (wide) {
		gather<4><<<t.blocks, t.block, 0, stream>>>(d_x, d_index, d_factor, rows, cols, d_y, d_copy, t.across);
	} else {
		gather<1><<<t.blocks, t.block, 0, stream>>>(d_x, d_index, d_factor, rows, cols, d_y, d_copy, t.across);
	}
	return cudaGetLastError();
}

cudaError_t launch_scatter_rows(cudaStream_t stream, const float *d_x, const uint32_t *d_index, const float *d_factor,
	uint64_t rows, uint64_t cols, float *d_y)
{
	if (rows == 0 || cols == 0) {
		return cudaSuccess;
	}
	bool wide = packed(d_x, cols, cols) && aligned(d_y);
	struct tiles t = cut_tiles(rows, wide ? cols / 4 : cols);
	if (t.blocks == 0) {
		return cudaErrorInvalidConfiguration;
	}
	if (wide) {
		scatter<4><<<t.blocks, t.block, 0, stream>>>(d_x, d_index, d_factor, rows, cols, d_y, t.across);
	} else {
		scatter<1><<<t.blocks, t.block, 0, stream>>>(d_x, d_index, d_factor, rows, cols, d_y, t.across);
	}
	return cudaGetLastError();
}

cudaError_t launch_dot_rows(cudaStream_t stream, const float *d_x, const float *d_y, uint64_t rows, uint64_t cols, float *d_dot)
{
	if (rows == 0 || cols == 0) {
		return cudaSuccess;
	}
	bool wide = packed(d_x, cols, cols) && aligned(d_y), narrow = cols <= 1024;
	uint64_t blocks = narrow ? ceil_div(rows, THREADS / 32) : rows;
	if (too_many(blocks)) {
		return cudaErrorInvalidConfiguration;
	}
	if (wide && narrow) {
		dot<32, 4><<<(unsigned)blocks, THREADS, 0, stream>>>(d_x, d_y, rows, cols, d_dot);
	} else if (wide) {
		dot<0, 4><<<(unsigned)blocks, THREADS, 0, stream>>>(d_x, d_y, rows, cols, d_dot);
	} else if (narrow) {
		dot<32, 1><<<(unsigned)blocks, THREADS, 0, stream>>>(d_x, d_y, rows, cols, d_dot);
	} else {
		dot<0, 1><<<(unsigned)blocks, THREADS, 0, stream>>>(d_x, d_y, rows, cols, d_dot);
	}
	return cudaGetLastError();
}
