/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* In place of CUDA's own header, for a C++ compiler: enough of the language for kernels that use one dimension of blocks, shared
 * arrays, barriers, exchanges between lanes and atomic additions. emulator.cc runs them. */
#ifndef EMULATED_CUDA_RUNTIME_H
#define EMULATED_CUDA_RUNTIME_H

#include <cmath>
#include <cstring>
#include <functional>

#include <cuda_runtime_api.h>

using std::isfinite;
using std::isnan;

#define __host__
#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
/* Blocks run one after another. */
#define __shared__ static

struct dim3 {
	unsigned x, y, z;
	dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
	{
	}
};

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

/* Runs kernel() by all threads of all blocks. */
void emulated_start(dim3 grid, dim3 block, const std::function<void()> &kernel);
/* Gives `mine` to the other lanes of the warp and takes what `lane` gave; all 32 come here. At most 16 bytes. */
void emulated_exchange(const void *mine, size_t size, unsigned lane, void *other);
/* c [16, 8] += a [16, 8] b [8, 8] by a warp, each lane having what mma.m16n8k8 in f64 gives it. */
void emulated_multiply(double (&c)[4], const double (&a)[4], const double (&b)[2]);
void emulated_fail(const char *what);
void __syncthreads();

template <typename T> T __shfl_xor_sync(unsigned mask, T v, int distance, int width = 32)
{
	unsigned lane = (threadIdx.y * blockDim.x + threadIdx.x) % 32;
	T other;
	if (mask != 0xffffffffU || width != 32 || distance <= 0 || distance >= 32) {
		emulated_fail("an exchange that is not between all lanes of a warp");
	}
	emulated_exchange(&v, sizeof(v), lane ^ (unsigned)distance, &other);
	return other;
}

template <typename T> T __shfl_sync(unsigned mask, T v, int lane, int width = 32)
{
	T other;
	if (mask != 0xffffffffU || width != 32 || lane < 0 || lane >= 32) {
		emulated_fail("an exchange that is not between all lanes of a warp");
	}
	emulated_exchange(&v, sizeof(v), (unsigned)lane, &other);
	return other;
}

static inline unsigned __ballot_sync(unsigned mask, int v)
{
	unsigned all = 0;
	for (int lane = 0; lane < 32; lane++) {
		all |= (unsigned)(__shfl_sync(mask, v, lane) != 0) << lane;
	}
	return all;
}

/* Without an effect where the compiler fuses nothing. */
static inline float __fmul_rn(float a, float b)
{
	return a * b;
}

static inline float __fsub_rn(float a, float b)
{
	return a - b;
}

static inline double rsqrt(double v)
{
	return 1.0 / std::sqrt(v);
}

template <typename T> T atomicAdd(T *p, T v)
{
	T old = *p;
	*p += v;
	return old;
}

#endif
