// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Inputs of Linears as their quantization leaves them.
#include "plugins/backends/cuda/launch.h"
#include "plugins/backends/cuda/rows.cuh"
#include "plugins/backends/cuda/scalar.h"

namespace {

struct to_e4m3 {
	float scale;

	__device__ void operator()(const float (&x)[1], float (&y)[1]) const
	{
		y[0] = scalar_fake_e4m3(x[0], scale);
	}
};

struct to_int8 {
	float scale;
	float zero;

	__device__ void operator()(const float (&x)[1], float (&y)[1]) const
	{
		y[0] = scalar_fake_int8(x[0], scale, zero);
	}
};

template <int W> __device__ __forceinline__ uint32_t largest(uint32_t m, const pack<float, W> &v)
{
#pragma unroll
	for (int w = 0; w < W; w++) {
		m = larger()(m, scalar_magnitude(v.v[w]));
	}
	return m;
}

// Numbers that share a scale, which is m / (448 or 127.5). Without a finite one all of them become NaN; where it is 0, 0.
template <bool FP8, int W> __device__ __forceinline__ pack<float, W> scaled(pack<float, W> v, uint32_t m)
{
	float scale = scalar_float(m) / (FP8 ? 448.0F : 127.5F);
	bool plain = isfinite(scale) && scale != 0.0F;
#pragma unroll
	for (int w = 0; w < W; w++) {
		if (plain) {
			v.v[w] = FP8 ? scalar_fake_e4m3(v.v[w], scale) : scalar_fake_int8(v.v[w], scale, 0.0F);
		} else {
			v.v[w] = scale == 0.0F ? 0.0F : NAN;
		}
	}
	return v;
}

template <bool FP8, int G, int K>
__global__ void __launch_bounds__(G ? THREADS : 1024) rows_kept(const float *x, uint64_t rows, uint64_t cols, float *y)
{
	row<G> r(rows);
	unsigned packs = (unsigned)(cols / 4);
	pack<float, 4> v[K];
	uint32_t m = 0;
	x += r.number * cols;
	y += r.number * cols;
#pragma unroll
	for (int k = 0; k < K; k++) {
		unsigned i = r.lane + k * r.step;
		v[k] = pack<float, 4>{};
		if (r.live && i < packs) {
			v[k] = load<4>(x, i);
		}
	}
#pragma unroll
	for (int k = 0; k < K; k++) {
		m = largest(m, v[k]);
	}
	m = reduce_row<G>(m, 0U, larger());
#pragma unroll
	for (int k = 0; k < K; k++) {
		unsigned i = r.lane + k * r.step;
		if (r.live && i < packs) {
			store<4>(y, i, scaled<FP8>(v[k], m));
		}
	}
}

template <bool FP8, int W> __global__ void __launch_bounds__(1024) rows_twice(const float *x, uint64_t cols, float *y)
{
	uint64_t packs = cols / W;
	uint32_t m = 0;
	x += blockIdx.x * cols;
	y += blockIdx.x * cols;
	for (uint64_t i = threadIdx.x; i < packs; i += blockDim.x) {
		m = largest(m, load<W>(x, i));
	}
	m = reduce_row<0>(m, 0U, larger());
	for (uint64_t i = threadIdx.x; i < packs; i += blockDim.x) {
		store<W>(y, i, scaled<FP8>(load<W>(x, i), m));
	}
}

template <bool FP8> cudaError_t fake_rows(cudaStream_t stream, const float *d_x, uint64_t rows, uint64_t cols, float *d_y)
{
	bool wide = packed(d_x, cols, cols) && aligned(d_y);
	if (wide && cols / 4 <= ROW_PACKS_MAX) {
		return launch_rows(rows, cols / 4, [&](auto shape, unsigned blocks, unsigned threads) {
			rows_kept<FP8, decltype(shape)::G, decltype(shape)::K><<<blocks, threads, 0, stream>>>(d_x, rows, cols, d_y);
		});
	}
	if (too_many(rows)) {
		return cudaErrorInvalidConfiguration;
	}
	unsigned threads = cols < 1024 ? 64 : 1024;
	if (wide) {
		rows_twice<FP8, 4><<<(unsigned)rows, threads, 0, stream>>>(d_x, cols, d_y);
	} else {
		rows_twice<FP8, 1><<<(unsigned)rows, threads, 0, stream>>>(d_x, cols, d_y);
	}
	return cudaGetLastError();
}

// Largest |F16(x)| of a column in a sequence. A block has 32 columns of one sequence; NaN is above all.
__global__ void __launch_bounds__(THREADS) columns(struct launch_outliers o, uint32_t across)
{
	__shared__ uint32_t part[THREADS / 32][32];
	uint64_t s = blockIdx.x / across, c = (uint64_t)(blockIdx.x % across) * 32 + threadIdx.x;
	uint64_t end = o.d_start[s + 1];
	uint32_t m = 0;
	if (c < o.cols) {
#pragma unroll 4
		for (uint64_t t = o.d_start[s] + threadIdx.y; t < end; t += THREADS / 32) {
			m = larger()(m, scalar_magnitude(scalar_round_f16(o.d_x[t * o.cols + c])));
		}
	}
	part[threadIdx.y][threadIdx.x] = m;
	__syncthreads();
	if (threadIdx.y == 0 && c < o.cols) {
		for (int i = 1; i < THREADS / 32; i++) {
			m = larger()(m, part[i][threadIdx.x]);
		}
		o.d_column[s * o.cols + c] = scalar_float(m);
	}
}

// A block for each row that the longest sequence has, of each sequence; a row of its own without sequences.
__global__ void __launch_bounds__(THREADS) outlier_rows(struct launch_outliers o, uint32_t longest)
{
	uint64_t s = blockIdx.x / longest, t = s;
	const float *column = nullptr;
	if (o.d_start) {
		t = o.d_start[s] + blockIdx.x % longest;
		if (t >= o.d_start[s + 1]) {
			return; // the whole block
		}
		column = o.d_column + s * o.cols;
	}
	const float *x = o.d_x + t * o.cols;
	float *y = o.d_y + t * o.cols;
	uint32_t m = 0;
	for (uint64_t i = threadIdx.x; i < o.cols; i += THREADS) {
		float h = fabsf(scalar_round_f16(x[i]));
		m = h >= o.threshold ? m : larger()(m, scalar_magnitude(h));
	}
	float most = scalar_float(reduce_row<0>(m, 0U, larger()));
	// In this order, as bitsandbytes rounds.
	float inverse = most == 0.0F ? 0.0F : 1.0F / most * 127.0F, step = most / 127.0F;
	for (uint64_t i = threadIdx.x; i < o.cols; i += THREADS) {
		float own = column ? column[i] : fabsf(scalar_round_f16(x[i]));
		y[i] = scalar_fake_outlier(x[i], inverse, step, o.threshold, own);
	}
}

} // namespace

cudaError_t launch_fake_static(cudaStream_t stream, int fp8, float scale, float zero, const float *d_x, uint64_t n, float *d_y)
{
	arrays<const float, 1> in = {{d_x}};
	arrays<float, 1> out = {{d_y}};
	return fp8 ? map<1, 1>(stream, in, out, to_e4m3{scale}, n) : map<1, 1>(stream, in, out, to_int8{scale, zero}, n);
}

cudaError_t launch_fake_rows(cudaStream_t stream, int fp8, const float *d_x, uint64_t rows, uint64_t cols, float *d_y)
{
	if (rows == 0 || cols == 0) {
		return cudaSuccess;
	}
	return fp8 ? fake_rows<true>(stream, d_x, rows, cols, d_y) : fake_rows<false>(stream, d_x, rows, cols, d_y);
}

cudaError_t launch_fake_outliers(cudaStream_t stream, const struct launch_outliers *o)
{
	uint64_t across = ceil_div(o->cols, 32);
	if (o->sequences == 0 || o->longest == 0 || o->cols == 0) {
		return cudaSuccess;
	}
	if (o->longest > 0x7fffffffU / o->sequences || across > 0x7fffffffU / o->sequences) {
		return cudaErrorInvalidConfiguration;
	}
	if (o->d_start) {
		columns<<<(unsigned)(across * o->sequences), dim3(32, THREADS / 32), 0, stream>>>(*o, (uint32_t)across);
		cudaError_t e = cudaGetLastError();
		if (e != cudaSuccess) {
			return e;
		}
	}
	outlier_rows<<<(unsigned)(o->longest * o->sequences), THREADS, 0, stream>>>(*o, (uint32_t)o->longest);
	return cudaGetLastError();
}
