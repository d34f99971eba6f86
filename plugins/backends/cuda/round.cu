// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// f32 matrices rounded to BF16 with rows that tensor cores can read: 16-byte aligned, zeros behind the columns. The work is to
// move 4 bytes in and 2 out for each number; a thread makes 16-byte pieces of the target, several of them in flight.
#include <cuda_bf16.h>

#include "plugins/backends/cuda/launch.h"

namespace {

constexpr int THREADS = 256;
constexpr int EACH = 4; // pieces of 8 numbers that a thread makes

__device__ inline uint32_t pair(float low, float high)
{
	__nv_bfloat162 both = __floats2bfloat162_rn(low, high);
	return *reinterpret_cast<uint32_t *>(&both);
}

__device__ inline uint4 pack(const float x[8])
{
	return make_uint4(pair(x[0], x[1]), pair(x[2], x[3]), pair(x[4], x[5]), pair(x[6], x[7]));
}

// Rows one behind the other, whole pieces, 16-byte aligned: one long row.
__global__ void __launch_bounds__(THREADS) round_flat(uint4 *dst, const float4 *src, uint64_t pieces)
{
	uint64_t first = static_cast<uint64_t>(blockIdx.x) * (THREADS * EACH) + threadIdx.x;
	float4 low[EACH], high[EACH];
#pragma unroll
	for (int i = 0; i < EACH; i++) {
		uint64_t at = first + i * THREADS;
		if (at < pieces) {
			low[i] = src[2 * at];
			high[i] = src[2 * at + 1];
		}
	}
#pragma unroll
	for (int i = 0; i < EACH; i++) {
		uint64_t at = first + i * THREADS;
		if (at < pieces) {
			float x[8] = {low[i].x, low[i].y, low[i].z, low[i].w, high[i].x, high[i].y, high[i].z, high[i].w};
			dst[at] = pack(x);
		}
	}
}

// Any distance of rows and any alignment. `across` pieces make a row of the target.
template <typename Index, bool ALIGNED>
__global__ void __launch_bounds__(THREADS)
	round_rows(uint4 *dst, const float *src, uint64_t pieces, Index across, uint64_t cols, uint64_t ld)
{
	uint64_t first = static_cast<uint64_t>(blockIdx.x) * (THREADS * EACH) + threadIdx.x;
	float x[EACH][8];
#pragma unroll
	for (int i = 0; i < EACH; i++) {
		uint64_t at = first + i * THREADS;
		if (at >= pieces) {
			continue;
		}
		Index row = static_cast<Index>(at) / across;
		uint64_t col = static_cast<uint64_t>(static_cast<Index>(at) - row * across) * 8;
		const float *from = src + row * ld + col;
		if (ALIGNED && col + 8 <= cols) {
			float4 low = *reinterpret_cast<const float4 *>(from), high = *reinterpret_cast<const float4 *>(from + 4);
			x[i][0] = low.x, x[i][1] = low.y, x[i][2] = low.z, x[i][3] = low.w;
			x[i][4] = high.x, x[i][5] = high.y, x[i][6] = high.z, x[i][7] = high.w;
			continue;
		}
#pragma unroll
		for (int j = 0; j < 8; j++) {
			x[i][j] = col + j < cols ? from[j] : 0.0F;
		}
	}
#pragma unroll
	for (int i = 0; i < EACH; i++) {
		uint64_t at = first + i * THREADS;
		if (at < pieces) {
			dst[at] = pack(x[i]);
		}
	}
}

template <typename Index>
void start_rows(cudaStream_t stream, unsigned blocks, uint4 *dst, const float *src, uint64_t pieces, uint64_t across, uint64_t cols,
	uint64_t ld)
{
	Index n = static_cast<Index>(across);
	if (reinterpret_cast<uintptr_t>(src) % 16 == 0 && ld % 4 == 0) {
		round_rows<Index, true><<<blocks, THREADS, 0, stream>>>(dst, src, pieces, n, cols, ld);
	} else {
		round_rows<Index, false><<<blocks, THREADS, 0, stream>>>(dst, src, pieces, n, cols, ld);
	}
}

} // namespace

cudaError_t launch_round(cudaStream_t stream, void *d_dst, uint64_t ld_dst, const float *d_src, uint64_t rows, uint64_t cols,
	uint64_t ld_src)
{
	uint64_t across = ld_dst / 8, pieces = rows * across, blocks = (pieces + THREADS * EACH - 1) / (THREADS * EACH);
	uint4 *dst = static_cast<uint4 *>(d_dst);
	if (pieces == 0) {
		return cudaSuccess;
	}
	if (blocks > INT32_MAX) {
		return cudaErrorInvalidConfiguration;
	}
	unsigned n = static_cast<unsigned>(blocks);
	if (reinterpret_cast<uintptr_t>(d_src) % 16 == 0 && (ld_src == cols || rows == 1) && cols == ld_dst) {
		round_flat<<<n, THREADS, 0, stream>>>(dst, reinterpret_cast<const float4 *>(d_src), pieces);
	} else if (pieces <= UINT32_MAX) {
		start_rows<uint32_t>(stream, n, dst, d_src, pieces, across, cols, ld_src);
	} else {
		start_rows<uint64_t>(stream, n, dst, d_src, pieces, across, cols, ld_src);
	}
	return cudaGetLastError();
}
