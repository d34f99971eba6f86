// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Products of few rows with a matrix that is read once: text that is generated. A warp makes some columns of C; its lanes take
// pieces of k in turn, and their sums are added in a fixed order. Each element is one chain of fused operations that neither the
// number of rows nor that of columns at a time changes. The work is to read B: 16 bytes a lane, several in flight.
#include "plugins/backends/cuda/launch.h"

namespace {

constexpr int WARPS = 4;
constexpr int LANES = 32;

struct bf16 {
	static constexpr int PIECE = 8;
	typedef uint16_t type;
};

struct f32 {
	static constexpr int PIECE = 4;
	typedef float type;
};

// The two numbers of a word of BF16.
__device__ inline void widen(uint32_t word, float *x)
{
	x[0] = __uint_as_float(word << 16);
	x[1] = __uint_as_float(word & 0xffff0000U);
}

template <typename T, bool WHOLE> struct piece;

template <bool WHOLE> struct piece<bf16, WHOLE> {
	uint4 word;
	__device__ void load(const uint16_t *from, uint64_t)
	{
		word = __ldg(reinterpret_cast<const uint4 *>(from));
	}
	__device__ void get(float x[8]) const
	{
		widen(word.x, x);
		widen(word.y, x + 2);
		widen(word.z, x + 4);
		widen(word.w, x + 6);
	}
};

// 16-byte aligned and k a multiple of 4.
template <> struct piece<f32, true> {
	float4 word;
	__device__ void load(const float *from, uint64_t)
	{
		word = __ldg(reinterpret_cast<const float4 *>(from));
	}
	__device__ void get(float x[4]) const
	{
		x[0] = word.x, x[1] = word.y, x[2] = word.z, x[3] = word.w;
	}
};

template <> struct piece<f32, false> {
	float word[4];
	__device__ void load(const float *from, uint64_t left)
	{
#pragma unroll
		for (int j = 0; j < 4; j++) {
			word[j] = static_cast<uint64_t>(j) < left ? __ldg(from + j) : 0.0F;
		}
	}
	__device__ void get(float x[4]) const
	{
#pragma unroll
		for (int j = 0; j < 4; j++) {
			x[j] = word[j];
		}
	}
};

// M: rows, at least p.m; COLS: columns of a warp.
template <typename T, bool WHOLE, int M, int COLS> __global__ void __launch_bounds__(WARPS *LANES) few(struct launch_few p)
{
	constexpr int PIECE = T::PIECE;
	constexpr int AHEAD = M <= 2 ? 4 : M <= 4 ? 2 : 1; // pieces of B in flight for each column
	int lane = threadIdx.x % LANES;
	uint64_t col = (static_cast<uint64_t>(blockIdx.x) * WARPS + threadIdx.x / LANES) * COLS;
	if (col >= p.n) {
		return; // the whole warp
	}
	const typename T::type *a[M], *b[COLS];
	float sum[M][COLS];
#pragma unroll
	for (int j = 0; j < COLS; j++) {
		b[j] = static_cast<const typename T::type *>(p.d_b) + (col + j < p.n ? col + j : p.n - 1) * p.ldb;
	}
#pragma unroll
	for (int i = 0; i < M; i++) {
		a[i] = static_cast<const typename T::type *>(p.d_a) + (i < p.m ? i : p.m - 1) * p.lda;
#pragma unroll
		for (int j = 0; j < COLS; j++) {
			sum[i][j] = 0.0F;
		}
	}
	for (uint64_t first = static_cast<uint64_t>(lane) * PIECE; first < p.k; first += AHEAD * LANES * PIECE) {
		piece<T, WHOLE> of_b[AHEAD][COLS];
#pragma unroll
		for (int s = 0; s < AHEAD; s++) {
			uint64_t at = first + s * LANES * PIECE;
#pragma unroll
			for (int j = 0; j < COLS; j++) {
				if (at < p.k) {
					of_b[s][j].load(b[j] + at, p.k - at);
				}
			}
		}
#pragma unroll
		for (int s = 0; s < AHEAD; s++) {
			uint64_t at = first + s * LANES * PIECE;
			if (at >= p.k) {
				break;
			}
#pragma unroll
			for (int i = 0; i < M; i++) {
				piece<T, WHOLE> of_a;
				float x[PIECE];
				of_a.load(a[i] + at, p.k - at);
				of_a.get(x);
#pragma unroll
				for (int j = 0; j < COLS; j++) {
					float y[PIECE];
					of_b[s][j].get(y);
#pragma unroll
					for (int l = 0; l < PIECE; l++) {
						sum[i][j] = fmaf(x[l], y[l], sum[i][j]);
					}
				}
			}
		}
	}
#pragma unroll
	for (int i = 0; i < M; i++) {
#pragma unroll
		for (int j = 0; j < COLS; j++) {
#pragma unroll
			for (int away = LANES / 2; away > 0; away /= 2) {
				sum[i][j] += __shfl_xor_sync(0xffffffffU, sum[i][j], away);
			}
			// All lanes have the sum; they take turns at writing.
			if (lane == (i * COLS + j) % LANES && i < p.m && col + j < p.n) {
				float *c = p.d_c + i * p.ldc + col + j;
				*c = p.accumulate ? *c + sum[i][j] : sum[i][j];
			}
		}
	}
}

template <typename T, bool WHOLE, int M, int COLS> void start(cudaStream_t stream, const struct launch_few &p)
{
	unsigned blocks = static_cast<unsigned>((p.n + WARPS * COLS - 1) / (WARPS * COLS));
	few<T, WHOLE, M, COLS><<<blocks, WARPS * LANES, 0, stream>>>(p);
}

template <typename T, bool WHOLE> void start_rows(cudaStream_t stream, const struct launch_few &p)
{
	if (p.m == 1) {
		start<T, WHOLE, 1, 1>(stream, p);
	} else if (p.m == 2) {
		start<T, WHOLE, 2, 1>(stream, p);
	} else if (p.m <= 4) {
		start<T, WHOLE, 4, 2>(stream, p);
	} else if (p.m <= 8) {
		start<T, WHOLE, 8, 4>(stream, p);
	} else {
		start<T, WHOLE, 16, 4>(stream, p);
	}
}

bool is_whole(const struct launch_few &p)
{
	return p.k % 4 == 0 && p.lda % 4 == 0 && p.ldb % 4 == 0 && reinterpret_cast<uintptr_t>(p.d_a) % 16 == 0 &&
		reinterpret_cast<uintptr_t>(p.d_b) % 16 == 0;
}

} // namespace

cudaError_t launch_few(cudaStream_t stream, const struct launch_few *p)
{
	if (p->m == 0 || p->n == 0) {
		return cudaSuccess;
	}
	if (p->m > CUDA_FEW || p->n > INT32_MAX) {
		return cudaErrorInvalidConfiguration;
	}
	if (p->bf16) {
		start_rows<bf16, true>(stream, *p);
	} else if (is_whole(*p)) {
		start_rows<f32, true>(stream, *p);
	} else {
		start_rows<f32, false>(stream, *p);
	}
	return cudaGetLastError();
}
