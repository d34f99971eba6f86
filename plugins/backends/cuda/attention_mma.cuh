// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// What kernels of attention on tensor cores share: instructions, tiles in shared memory, scores.
#ifndef CUDA_ATTENTION_MMA_CUH
#define CUDA_ATTENTION_MMA_CUH

#include <cuda_bf16.h>

#include "plugins/backends/cuda/attention_layout.h"
#include "plugins/backends/cuda/launch.h"

constexpr float LOG2E = 1.4426950408889634F;
constexpr float LN2 = 0.6931471805599453F;
constexpr int WARPS = 4;
constexpr int THREADS = WARPS * 32;

__device__ __forceinline__ uint32_t shared_address(const void *p)
{
	return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Copies 16 (or 4) bytes; zeros when not valid. The address must be readable either way.
__device__ __forceinline__ void copy16(uint32_t to, const void *from, bool valid)
{
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)),
		"r"(valid ? 16 : 0)
		: "memory");
}

__device__ __forceinline__ void copy4(uint32_t to, const void *from, bool valid)
{
	asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)),
		"r"(valid ? 4 : 0)
		: "memory");
}

__device__ __forceinline__ void copies_commit()
{
	asm volatile("cp.async.commit_group;" ::: "memory");
}

// All groups but the last N are there.
template <int N> __device__ __forceinline__ void copies_wait()
{
	asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

__device__ __forceinline__ void load_parts(uint32_t (&r)[4], uint32_t at)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
		: "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
		: "r"(at)
		: "memory");
}

__device__ __forceinline__ void load_parts_transposed(uint32_t (&r)[4], uint32_t at)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
		: "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
		: "r"(at)
		: "memory");
}

// c [16, 8] += a [16, 16] b [16, 8]
__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
		     "{%0, %1, %2, %3};"
		: "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
		: "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The first number lies in the lower half.
__device__ __forceinline__ uint32_t pair(float first, float second)
{
	uint32_t r;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(second), "f"(first));
	return r;
}

// Two neighbouring accumulators [16, 8] as one operand [16, 16].
__device__ __forceinline__ void as_operand(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4])
{
	a[0] = pair(left[0], left[1]);
	a[1] = pair(left[2], left[3]);
	a[2] = pair(right[0], right[1]);
	a[3] = pair(right[2], right[3]);
}

__device__ __forceinline__ float power2(float x)
{
	float y;
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}

// 1 - 2 / (e^2x + 1): exact to about 1e-7 everywhere, and 1 or -1 where e^2x is infinite or 0.
__device__ __forceinline__ float hyperbolic(float x)
{
	return 1.0F - __fdividef(2.0F, power2(x * (2.0F * LOG2E)) + 1.0F);
}

// A lane's addresses of the 16x16 parts of a tile of rows of D numbers.
template <int D> struct part {
	uint32_t base;
	uint32_t turn;
	__device__ __forceinline__ part(uint32_t tile, int row, int col)
		: base(tile + layout_fixed(D, row)), turn(layout_turn(D, row, col))
	{
	}
	__device__ __forceinline__ uint32_t at(int row0, int col0) const
	{
		return base + row0 * (D * 2) + layout_varying(turn, col0);
	}
};

template <int D> __device__ __forceinline__ part<D> rows_first(uint32_t tile, int lane)
{
	return part<D>(tile, layout_rows_row(lane), layout_rows_col(lane));
}

template <int D> __device__ __forceinline__ part<D> columns_first(uint32_t tile, int lane)
{
	return part<D>(tile, layout_cols_row(lane), layout_cols_col(lane));
}

// How a product becomes a score in units of log 2: factor * product, or with a cap cap * tanh(inner * product).
struct scoring {
	float factor;
	float cap; // 0: none
	float inner;
	__device__ __forceinline__ explicit scoring(const attention_args &a)
		: factor(a.scale * LOG2E), cap(a.softcap * LOG2E), inner(a.softcap > 0.0F ? a.scale / a.softcap : 0.0F)
	{
	}
};

// Whether the token at `query` sees the one at `key`.
__device__ __forceinline__ bool sees(uint32_t query, uint32_t key, uint32_t window)
{
	return key <= query && (window == 0 || query - key < window);
}

// The row of a sequence's key: its prefix's ranges come first, then its own rows.
__device__ __forceinline__ uint32_t row_of_key(const attention_args &a, const attention_block &block, uint32_t key)
{
	if (key >= block.before) {
		return block.start + (key - block.before);
	}
	uint32_t r = block.range;
	while (r + 1 < block.range + block.ranges && key >= a.d_ranges[r].key + a.d_ranges[r].count) {
		r++;
	}
	return a.d_ranges[r].row + (key - a.d_ranges[r].key);
}

// The first key of a tile that queries from `first` on see; tiles are of N keys.
__device__ __forceinline__ uint32_t first_tile(uint32_t first, uint32_t window, uint32_t n)
{
	return window != 0 && first + 1 > window ? (first + 1 - window) / n : 0;
}

// Keys [key, key + N) of one head from packed rows to a tile; zeros beyond `keys`. PREFIX: the sequence may have one.
template <int D, int N, bool PREFIX>
__device__ __forceinline__ void copy_keys(uint32_t tile, const void *packed, const attention_args &a, const attention_block &block,
	uint32_t key, uint32_t keys, uint32_t kv)
{
	constexpr int CHUNKS = D / 8;
	static_assert(N * CHUNKS % THREADS == 0, "every thread copies as much");
	const __nv_bfloat16 *from = static_cast<const __nv_bfloat16 *>(packed);
	const uint32_t ld = a.kv_count * a.packed_dim;
#pragma unroll 2
	for (int i = 0; i < N * CHUNKS / THREADS; i++) {
		int at = i * THREADS + static_cast<int>(threadIdx.x), row = at / CHUNKS, col = at % CHUNKS * 8;
		bool valid = key + row < keys && col < a.packed_dim;
		uint32_t own = block.start + key + row;
		uint64_t place = valid ? (PREFIX ? row_of_key(a, block, key + row) : own) - a.row0 : 0;
		copy16(tile + layout_at(D, row, col), from + place * ld + (valid ? kv * a.packed_dim + col : 0), valid);
	}
}

// Rows [first, first + N) of one sequence and one head of queries from packed rows to a tile; zeros beyond its length.
template <int D, int N>
__device__ __forceinline__ void copy_queries(uint32_t tile, const void *packed, const attention_args &a,
	const attention_block &block, uint32_t first, uint32_t head)
{
	constexpr int CHUNKS = D / 8;
	static_assert(N * CHUNKS % THREADS == 0, "every thread copies as much");
	const __nv_bfloat16 *from = static_cast<const __nv_bfloat16 *>(packed);
	const uint32_t ld = a.kv_count * a.group * a.packed_dim;
#pragma unroll 2
	for (int i = 0; i < N * CHUNKS / THREADS; i++) {
		int at = i * THREADS + static_cast<int>(threadIdx.x), row = at / CHUNKS, col = at % CHUNKS * 8;
		bool valid = first + row < block.length && col < a.packed_dim;
		uint64_t place = valid ? block.start - a.row0 + first + row : 0;
		copy16(tile + layout_at(D, row, col), from + place * ld + (valid ? head * a.packed_dim + col : 0), valid);
	}
}

// A lane's numbers of one row of accumulators, times factor, to a head's row from col0 on; half: the upper or the lower eight
// rows of the accumulators. copy: the same row rounded to BF16 besides, or NULL.
template <int N> __device__ __forceinline__ void store_row(float *row, __nv_bfloat16 *copy, const float (&sum)[N][4], int half, int col0,
	int lane, const attention_args &a, float factor)
{
	col0 += layout_sum_col(lane, 0);
	if (a.vector) {
#pragma unroll
		for (int n = 0; n < N; n++) {
			if (col0 + n * 8 < a.head_dim) {
				float2 v = make_float2(sum[n][half * 2] * factor, sum[n][half * 2 + 1] * factor);
				*reinterpret_cast<float2 *>(row + col0 + n * 8) = v;
				if (copy != nullptr) {
					*reinterpret_cast<uint32_t *>(copy + col0 + n * 8) = pair(v.x, v.y);
				}
			}
		}
		return;
	}
#pragma unroll
	for (int n = 0; n < N; n++) {
#pragma unroll
		for (int i = 0; i < 2; i++) {
			if (col0 + n * 8 + i < a.head_dim) {
				float v = sum[n][half * 2 + i] * factor;
				row[col0 + n * 8 + i] = v;
				if (copy != nullptr) {
					copy[col0 + n * 8 + i] = __float2bfloat16_rn(v);
				}
			}
		}
	}
}

// Starts a kernel with that much dynamic shared memory.
template <typename K>
inline cudaError_t start(K kernel, uint64_t blocks, int threads, size_t shared, cudaStream_t stream, const attention_args &a)
{
	if (blocks == 0) {
		return cudaSuccess;
	}
	cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
	if (e != cudaSuccess) {
		return e;
	}
	kernel<<<static_cast<unsigned>(blocks), threads, shared, stream>>>(a);
	return cudaGetLastError();
}

#endif
