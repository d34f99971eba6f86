// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// RMS normalization of rows, forward and backward. Rows that fit stay in registers between the sum and what is made of it.
#include "plugins/backends/cuda/launch.h"
#include "plugins/backends/cuda/rows.cuh"

namespace {

template <int W> __device__ __forceinline__ float dot(const pack<float, W> &a, const pack<float, W> &b)
{
	float s = 0.0F;
#pragma unroll
	for (int w = 0; w < W; w++) {
		s += a.v[w] * b.v[w];
	}
	return s;
}

__device__ __forceinline__ float rstd_of(float sum, uint64_t cols, float eps)
{
	return 1.0F / sqrtf(sum / (float)cols + eps);
}

template <int W>
__device__ __forceinline__ void put_normal(float *y, uint16_t *copy, const float *w, float offset, uint64_t i, pack<float, W> v, float rstd)
{
	pack<float, W> m = load<W>(w, i);
#pragma unroll
	for (int k = 0; k < W; k++) {
		v.v[k] = v.v[k] * rstd * (m.v[k] + offset);
	}
	store<W>(y, i, v);
	store_rounded<W>(copy, i, v);
}

template <int G, int K>
__global__ void __launch_bounds__(G ? THREADS : 1024) forward_kept(const float *x, const float *w, float offset, float eps,
	uint64_t rows, uint64_t cols, float *y, uint16_t *copy, float *rstd)
{
	row<G> r(rows);
	unsigned packs = (unsigned)(cols / 4);
	pack<float, 4> v[K];
	float sum = 0.0F;
	x += r.number * cols;
	y += r.number * cols;
	copy = copy ? copy + r.number * cols : nullptr;
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
		sum += dot(v[k], v[k]);
	}
	float s = rstd_of(reduce_row<G>(sum, 0.0F, add()), cols, eps);
#pragma unroll
	for (int k = 0; k < K; k++) {
		unsigned i = r.lane + k * r.step;
		if (r.live && i < packs) {
			put_normal(y, copy, w, offset, i, v[k], s);
		}
	}
	if (r.live && r.lane == 0) {
		rstd[r.number] = s;
	}
}

// Rows of any length, read twice.
template <int W>
__global__ void __launch_bounds__(1024) forward_twice(const float *x, const float *w, float offset, float eps, uint64_t cols,
	float *y, uint16_t *copy, float *rstd)
{
	uint64_t packs = cols / W;
	float sum = 0.0F;
	x += blockIdx.x * cols;
	y += blockIdx.x * cols;
	copy = copy ? copy + blockIdx.x * cols : nullptr;
	for (uint64_t i = threadIdx.x; i < packs; i += blockDim.x) {
		pack<float, W> v = load<W>(x, i);
		sum += dot(v, v);
	}
	float s = rstd_of(reduce_row<0>(sum, 0.0F, add()), cols, eps);
	for (uint64_t i = threadIdx.x; i < packs; i += blockDim.x) {
		put_normal(y, copy, w, offset, i, load<W>(x, i), s);
	}
	if (threadIdx.x == 0) {
		rstd[blockIdx.x] = s;
	}
}

// d = dy * (w + offset)
template <int W> __device__ __forceinline__ pack<float, W> weighted(pack<float, W> d, const float *w, float offset, uint64_t i)
{
	pack<float, W> m = load<W>(w, i);
#pragma unroll
	for (int k = 0; k < W; k++) {
		d.v[k] *= m.v[k] + offset;
	}
	return d;
}

template <int W>
__device__ __forceinline__ void put_gradient(float *dx, uint16_t *copy, int accumulate, uint64_t i, const pack<float, W> &d,
	const pack<float, W> &x, float rstd, float c)
{
	pack<float, W> v = {};
	if (accumulate) {
		v = load<W>(dx, i);
	}
#pragma unroll
	for (int k = 0; k < W; k++) {
		float g = rstd * (d.v[k] - x.v[k] * c);
		v.v[k] = accumulate ? v.v[k] + g : g;
	}
	store<W>(dx, i, v);
	store_rounded<W>(copy, i, v);
}

template <int G, int K>
__global__ void __launch_bounds__(G ? THREADS : 1024) backward_kept(const float *dy, const float *x, const float *w, float offset,
	const float *rstd, uint64_t rows, uint64_t cols, int accumulate, float *dx, uint16_t *copy)
{
	row<G> r(rows);
	unsigned packs = (unsigned)(cols / 4);
	pack<float, 4> d[K], v[K];
	float sum = 0.0F;
	dy += r.number * cols;
	x += r.number * cols;
	dx += r.number * cols;
	copy = copy ? copy + r.number * cols : nullptr;
#pragma unroll
	for (int k = 0; k < K; k++) {
		unsigned i = r.lane + k * r.step;
		d[k] = v[k] = pack<float, 4>{};
		if (r.live && i < packs) {
			d[k] = load<4>(dy, i);
			v[k] = load<4>(x, i);
		}
	}
#pragma unroll
	for (int k = 0; k < K; k++) {
		unsigned i = r.lane + k * r.step;
		if (r.live && i < packs) {
			d[k] = weighted(d[k], w, offset, i);
			sum += dot(d[k], v[k]);
		}
	}
	float s = r.live ? rstd[r.number] : 0.0F;
	float c = reduce_row<G>(sum, 0.0F, add()) / (float)cols * s * s;
#pragma unroll
	for (int k = 0; k < K; k++) {
		unsigned i = r.lane + k * r.step;
		if (r.live && i < packs) {
			put_gradient(dx, copy, accumulate, i, d[k], v[k], s, c);
		}
	}
}

template <int W>
__global__ void __launch_bounds__(1024) backward_twice(const float *dy, const float *x, const float *w, float offset,
	const float *rstd, uint64_t cols, int accumulate, float *dx, uint16_t *copy)
{
	uint64_t packs = cols / W;
	float sum = 0.0F, s = rstd[blockIdx.x];
	dy += blockIdx.x * cols;
	x += blockIdx.x * cols;
	dx += blockIdx.x * cols;
	copy = copy ? copy + blockIdx.x * cols : nullptr;
	for (uint64_t i = threadIdx.x; i < packs; i += blockDim.x) {
		sum += dot(weighted(load<W>(dy, i), w, offset, i), load<W>(x, i));
	}
	float c = reduce_row<0>(sum, 0.0F, add()) / (float)cols * s * s;
	for (uint64_t i = threadIdx.x; i < packs; i += blockDim.x) {
		put_gradient(dx, copy, accumulate, i, weighted(load<W>(dy, i), w, offset, i), load<W>(x, i), s, c);
	}
}

// A block has 32 columns of one sample; its 8 warps take every eighth row, and their sums are added in order.
__global__ void __launch_bounds__(THREADS) gradient_of_w(const float *dy, const float *x, const float *rstd, uint64_t cols,
	uint32_t across, const uint64_t *start, float *dw)
{
	__shared__ float part[THREADS / 32][32];
	uint64_t sample = blockIdx.x / across, c = (uint64_t)(blockIdx.x % across) * 32 + threadIdx.x;
	uint64_t end = start[sample + 1];
	float sum = 0.0F;
	if (c < cols) {
#pragma unroll 4
		for (uint64_t t = start[sample] + threadIdx.y; t < end; t += THREADS / 32) {
			sum += dy[t * cols + c] * (x[t * cols + c] * rstd[t]);
		}
	}
	part[threadIdx.y][threadIdx.x] = sum;
	__syncthreads();
	if (threadIdx.y == 0 && c < cols) {
		for (int i = 1; i < THREADS / 32; i++) {
			sum += part[i][threadIdx.x];
		}
		dw[sample * cols + c] = sum;
	}
}

} // namespace

cudaError_t launch_rmsnorm(cudaStream_t stream, const float *d_x, const float *d_w, float offset, float eps, uint64_t rows,
	uint64_t cols, float *d_y, uint16_t *d_copy, float *d_rstd)
{
	bool wide = packed(d_x, cols, cols) && aligned(d_y) && aligned(d_w);
	if (rows == 0 || cols == 0) {
		return cudaSuccess;
	}
	if (wide && cols / 4 <= ROW_PACKS_MAX) {
		return launch_rows(rows, cols / 4, [&](auto shape, unsigned blocks, unsigned threads) {
			forward_kept<decltype(shape)::G, decltype(shape)::K>
				<<<blocks, threads, 0, stream>>>(d_x, d_w, offset, eps, rows, cols, d_y, d_copy, d_rstd);
		});
	}
	if (too_many(rows)) {
		return cudaErrorInvalidConfiguration;
	}
	unsigned threads = cols < 1024 ? 128 : 1024;
	if (wide) {
		forward_twice<4><<<(unsigned)rows, threads, 0, stream>>>(d_x, d_w, offset, eps, cols, d_y, d_copy, d_rstd);
	} else {
		forward_twice<1><<<(unsigned)rows, threads, 0, stream>>>(d_x, d_w, offset, eps, cols, d_y, d_copy, d_rstd);
	}
	return cudaGetLastError();
}

cudaError_t launch_rmsnorm_dx(cudaStream_t stream, const float *d_dy, const float *d_x, const float *d_w, float offset,
	const float *d_rstd, uint64_t rows, uint64_t cols, int accumulate, float *d_dx, uint16_t *d_copy)
{
	bool wide = packed(d_x, cols, cols) && aligned(d_dy) && aligned(d_w) && aligned(d_dx);
	if (rows == 0 || cols == 0) {
		return cudaSuccess;
	}
	if (wide && cols / 4 <= ROW_PACKS_MAX) {
		return launch_rows(rows, cols / 4, [&](auto shape, unsigned blocks, unsigned threads) {
			backward_kept<decltype(shape)::G, decltype(shape)::K>
				<<<blocks, threads, 0, stream>>>(d_dy, d_x, d_w, offset, d_rstd, rows, cols, accumulate, d_dx, d_copy);
		});
	}
	if (too_many(rows)) {
		return cudaErrorInvalidConfiguration;
	}
	unsigned threads = cols < 1024 ? 128 : 1024;
	if (wide) {
		backward_twice<4><<<(unsigned)rows, threads, 0, stream>>>(
			d_dy, d_x, d_w, offset, d_rstd, cols, accumulate, d_dx, d_copy);
	} else {
		backward_twice<1><<<(unsigned)rows, threads, 0, stream>>>(
			d_dy, d_x, d_w, offset, d_rstd, cols, accumulate, d_dx, d_copy);
	}
	return cudaGetLastError();
}

cudaError_t launch_rmsnorm_dw(cudaStream_t stream, const float *d_dy, const float *d_x, const float *d_rstd, uint64_t cols,
	uint64_t samples, const uint64_t *d_start, float *d_dw)
{
	uint64_t across = ceil_div(cols, 32);
	if (samples == 0 || cols == 0) {
		return cudaSuccess;
	}
	if (across > 0x7fffffffU / samples) {
		return cudaErrorInvalidConfiguration;
	}
	gradient_of_w<<<(unsigned)(across * samples), dim3(32, THREADS / 32), 0, stream>>>(
		d_dy, d_x, d_rstd, cols, (uint32_t)across, d_start, d_dw);
	return cudaGetLastError();
}
