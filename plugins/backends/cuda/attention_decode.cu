// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Attention of one new token in f32. The keys are cut into chunks by their number alone; a block of threads has one chunk and
// one head of keys with all its heads of queries. A second kernel merges the chunks in their order.
#include <math.h>

#include "plugins/backends/cuda/attention_mma.cuh"

constexpr int DECODE_THREADS = 256;
constexpr int BATCH = 8; // heads of queries at once

static __host__ __device__ uint32_t chunk_keys(uint32_t head_dim)
{
	return head_dim > 128 ? 32 : 64;
}

// Numbers of a row in shared memory.
static __host__ __device__ uint32_t row_numbers(uint32_t head_dim)
{
	return (head_dim + 3) / 4 * 4 + 4;
}

// A chunk's rows of one head to shared memory; zeros beyond them.
__device__ __forceinline__ void load_chunk(
	float *to, const float *from, uint32_t count, uint32_t chunk, size_t ld_from, const attention_decode_args &a)
{
	const uint32_t ld = row_numbers(a.head_dim), across = ld / 4 - 1;
	for (uint32_t at = threadIdx.x; at < chunk * across; at += DECODE_THREADS) {
		const uint32_t row = at / across, col = at % across * 4;
		const bool valid = row < count;
		const float *p = from + (valid ? row * ld_from + col : 0);
		if (a.vector) {
			copy16(shared_address(to + row * ld + col), p, valid);
			continue;
		}
		for (uint32_t i = 0; i < 4; i++) {
			to[row * ld + col + i] = valid && col + i < a.head_dim ? p[i] : 0.0F;
		}
	}
}

// Scores of a batch of heads, and per head their maximum, the exponentials and their sum.
__device__ __forceinline__ void decode_scores(float *scores, float *largest, float *sums, const float *q, const float *k,
	uint32_t batch, uint32_t count, uint32_t chunk, const attention_decode_args &a)
{
	const uint32_t ld = row_numbers(a.head_dim);
	for (uint32_t at = threadIdx.x; at < batch * chunk; at += DECODE_THREADS) {
		const float *x = q + at / chunk * ld, *y = k + at % chunk * ld;
		float sum = 0.0F;
		for (uint32_t d = 0; d + 4 < ld; d += 4) {
			const float4 u = *reinterpret_cast<const float4 *>(x + d), w = *reinterpret_cast<const float4 *>(y + d);
			sum += u.x * w.x;
			sum += u.y * w.y;
			sum += u.z * w.z;
			sum += u.w * w.w;
		}
		sum *= a.scale;
		sum = a.softcap > 0.0F ? a.softcap * tanhf(sum / a.softcap) : sum;
		scores[at] = at % chunk < count ? sum : -INFINITY;
	}
	__syncthreads();
	const uint32_t head = threadIdx.x / 32, lane = threadIdx.x % 32;
	if (head < batch) {
		float most = -INFINITY, sum = 0.0F;
		for (uint32_t n = lane; n < chunk; n += 32) {
			most = fmaxf(most, scores[head * chunk + n]);
		}
		for (int n = 16; n > 0; n /= 2) {
			most = fmaxf(most, __shfl_xor_sync(0xffffffffU, most, n));
		}
		for (uint32_t n = lane; n < chunk; n += 32) {
			float p = expf(scores[head * chunk + n] - most);
			scores[head * chunk + n] = p;
			sum += p;
		}
		for (int n = 16; n > 0; n /= 2) {
			sum += __shfl_xor_sync(0xffffffffU, sum, n);
		}
		if (lane == 0) {
			largest[head] = most;
			sums[head] = sum;
		}
	}
	__syncthreads();
}

__global__ void __launch_bounds__(DECODE_THREADS) decode_kernel(const attention_decode_args a, uint32_t chunks)
{
	extern __shared__ __align__(16) float memory[];
	__shared__ float largest[BATCH], sums[BATCH];
	const uint32_t chunk = chunk_keys(a.head_dim), ld = row_numbers(a.head_dim), group = a.heads / a.kv_heads;
	const uint32_t part = blockIdx.x / a.kv_heads, kv = blockIdx.x % a.kv_heads;
	const uint64_t first = static_cast<uint64_t>(part) * chunk, left = a.keys - first;
	const uint32_t count = left < chunk ? static_cast<uint32_t>(left) : chunk;
	const size_t ld_from = static_cast<size_t>(a.kv_heads) * a.head_dim, at = first * ld_from + static_cast<size_t>(kv) * a.head_dim;
	float *k = memory, *v = k + chunk * ld, *q = v + chunk * ld, *scores = q + BATCH * ld;
	load_chunk(k, a.d_k + at, count, chunk, ld_from, a);
	load_chunk(v, a.d_v + at, count, chunk, ld_from, a);
	copies_commit();
	for (uint32_t done = 0; done < group; done += BATCH) {
		const uint32_t batch = min(static_cast<uint32_t>(BATCH), group - done), head0 = kv * group + done;
		for (uint32_t i = threadIdx.x; i < batch * ld; i += DECODE_THREADS) {
			const uint32_t d = i % ld;
			q[i] = d < a.head_dim ? a.d_q[static_cast<size_t>(head0 + i / ld) * a.head_dim + d] : 0.0F;
		}
		copies_wait<0>();
		__syncthreads();
		decode_scores(scores, largest, sums, q, k, batch, count, chunk, a);
		for (uint32_t i = threadIdx.x; i < batch * a.head_dim; i += DECODE_THREADS) {
			const uint32_t local = i / a.head_dim, d = i % a.head_dim, head = head0 + local;
			float sum = 0.0F;
#pragma unroll 8
			for (uint32_t n = 0; n < count; n++) {
				sum += scores[local * chunk + n] * v[n * ld + d];
			}
			if (chunks == 1) {
				a.d_out[static_cast<size_t>(head) * a.head_dim + d] = sum / sums[local];
				continue;
			}
			float *to = a.d_partial + (static_cast<size_t>(part) * a.heads + head) * (a.head_dim + 2);
			to[2 + d] = sum;
			if (d == 0) {
				to[0] = largest[local];
				to[1] = sums[local];
			}
		}
		__syncthreads();
	}
}

// One block a head, one thread a column.
__global__ void __launch_bounds__(ATTENTION_HEAD_DIM) merge_kernel(const attention_decode_args a, uint32_t chunks)
{
	const uint32_t head = blockIdx.x, d = threadIdx.x;
	const size_t ld = a.head_dim + 2, step = a.heads * ld;
	const float *from = a.d_partial + head * ld;
	if (d >= a.head_dim) {
		return;
	}
	float most = -INFINITY, sum = 0.0F, out = 0.0F;
#pragma unroll 8
	for (uint32_t i = 0; i < chunks; i++) {
		most = fmaxf(most, from[i * step]);
	}
#pragma unroll 4
	for (uint32_t i = 0; i < chunks; i++) {
		const float factor = expf(from[i * step] - most);
		sum += factor * from[i * step + 1];
		out += factor * from[i * step + 2 + d];
	}
	a.d_out[static_cast<size_t>(head) * a.head_dim + d] = out / sum;
}

static uint32_t chunks_of(uint64_t keys, uint32_t head_dim)
{
	return static_cast<uint32_t>((keys + chunk_keys(head_dim) - 1) / chunk_keys(head_dim));
}

size_t attention_decode_partial(uint64_t keys, uint32_t heads, uint32_t head_dim)
{
	const size_t chunks = chunks_of(keys, head_dim);
	return chunks == 1 ? 0 : chunks * heads * (head_dim + 2) * sizeof(float);
}

cudaError_t attention_decode(const attention_decode_args *a, cudaStream_t stream)
{
	const uint32_t chunk = chunk_keys(a->head_dim), ld = row_numbers(a->head_dim), chunks = chunks_of(a->keys, a->head_dim);
	const size_t shared = (2 * chunk * ld + BATCH * ld + BATCH * chunk) * sizeof(float);
	cudaError_t e = cudaFuncSetAttribute(decode_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
	if (e != cudaSuccess) {
		return e;
	}
	decode_kernel<<<chunks * a->kv_heads, DECODE_THREADS, shared, stream>>>(*a, chunks);
	e = cudaGetLastError();
	if (e == cudaSuccess && chunks > 1) {
		merge_kernel<<<a->heads, (a->head_dim + 31) / 32 * 32, 0, stream>>>(*a, chunks);
		e = cudaGetLastError();
	}
	return e;
}
