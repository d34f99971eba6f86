// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Operations on single elements.
#include "plugins/backends/cuda/launch.h"
#include "plugins/backends/cuda/rows.cuh"
#include "plugins/backends/cuda/scalar.h"

namespace {

struct from_bf16 {
	__device__ void operator()(const uint16_t (&x)[1], float (&y)[1]) const
	{
		y[0] = scalar_from_bf16(x[0]);
	}
};

struct from_f16 {
	__device__ void operator()(const uint16_t (&x)[1], float (&y)[1]) const
	{
		y[0] = scalar_from_f16(x[0]);
	}
};

struct to_bf16 {
	__device__ void operator()(const float (&x)[1], uint16_t (&y)[1]) const
	{
		y[0] = scalar_to_bf16(x[0]);
	}
};

struct to_f16 {
	__device__ void operator()(const float (&x)[1], uint16_t (&y)[1]) const
	{
		y[0] = scalar_to_f16(x[0]);
	}
};

struct sum {
	__device__ void operator()(const float (&x)[2], float (&y)[1]) const
	{
		y[0] = x[0] + x[1];
	}
};

struct capped {
	float cap;

	__device__ void operator()(const float (&x)[1], float (&y)[1]) const
	{
		y[0] = scalar_softcap(x[0], cap);
	}
};

struct capped_backward {
	float cap;

	__device__ void operator()(const float (&x)[2], float (&y)[1]) const
	{
		y[0] = scalar_softcap_backward(x[0], x[1], cap);
	}
};

template <int W>
__global__ void __launch_bounds__(THREADS) add_bias(float *y, const float *bias, uint64_t rows, uint64_t cols, uint32_t across)
{
	struct tile t = this_tile(across);
	uint64_t packs = cols / W;
	pack<float, W> v[TILE_PACKS];
	if (t.row >= rows) {
		return;
	}
	y += t.row * cols;
#pragma unroll
	for (int u = 0; u < TILE_PACKS; u++) {
		uint64_t i = t.first + u * blockDim.x;
		if (i < packs) {
			v[u] = load<W>(y, i);
		}
	}
#pragma unroll
	for (int u = 0; u < TILE_PACKS; u++) {
		uint64_t i = t.first + u * blockDim.x;
		if (i < packs) {
			pack<float, W> p = load<W>(bias, i);
#pragma unroll
			for (int w = 0; w < W; w++) {
				p.v[w] = v[u].v[w] + p.v[w];
			}
			store<W>(y, i, p);
		}
	}
}

} // namespace

cudaError_t launch_from_bf16(cudaStream_t stream, float *d_dst, const uint16_t *d_src, uint64_t n)
{
	return map<1, 1>(stream, arrays<const uint16_t, 1>{{d_src}}, arrays<float, 1>{{d_dst}}, from_bf16(), n);
}

cudaError_t launch_from_f16(cudaStream_t stream, float *d_dst, const uint16_t *d_src, uint64_t n)
{
	return map<1, 1>(stream, arrays<const uint16_t, 1>{{d_src}}, arrays<float, 1>{{d_dst}}, from_f16(), n);
}

cudaError_t launch_to_bf16(cudaStream_t stream, uint16_t *d_dst, const float *d_src, uint64_t n)
{
	return map<1, 1>(stream, arrays<const float, 1>{{d_src}}, arrays<uint16_t, 1>{{d_dst}}, to_bf16(), n);
}

cudaError_t launch_to_f16(cudaStream_t stream, uint16_t *d_dst, const float *d_src, uint64_t n)
{
	return map<1, 1>(stream, arrays<const float, 1>{{d_src}}, arrays<uint16_t, 1>{{d_dst}}, to_f16(), n);
}

cudaError_t launch_add(cudaStream_t stream, float *d_y, const float *d_x, uint64_t n, uint16_t *d_copy)
{
	return map<2, 1>(stream, arrays<const float, 2>{{d_y, d_x}}, arrays<float, 1>{{d_y}}, sum(), n,
		rounded<1>{{d_copy}});
}

cudaError_t launch_add_bias(cudaStream_t stream, float *d_y, const float *d_bias, uint64_t rows, uint64_t cols)
{
	if (rows == 0 || cols == 0) {
		return cudaSuccess;
	}
	bool wide = packed(d_y, cols, cols) && aligned(d_bias);
	struct tiles t = cut_tiles(rows, wide ? cols / 4 : cols);
	if (t.blocks == 0) {
		return cudaErrorInvalidConfiguration;
	}
	if (wide) {
		add_bias<4><<<t.blocks, t.block, 0, stream>>>(d_y, d_bias, rows, cols, t.across);
	} else {
		add_bias<1><<<t.blocks, t.block, 0, stream>>>(d_y, d_bias, rows, cols, t.across);
	}
	return cudaGetLastError();
}

cudaError_t launch_softcap(cudaStream_t stream, float *d_x, uint64_t n, float cap)
{
	return map<1, 1>(stream, arrays<const float, 1>{{d_x}}, arrays<float, 1>{{d_x}}, capped{cap}, n);
}

cudaError_t launch_softcap_backward(cudaStream_t stream, float *d_dx, const float *d_y, uint64_t n, float cap)
{
	return map<2, 1>(stream, arrays<const float, 2>{{d_dx, d_y}}, arrays<float, 1>{{d_dx}}, capped_backward{cap}, n);
}
