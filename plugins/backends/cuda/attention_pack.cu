// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// What attention prepares: BF16 copies of the rows and heads at work, and delta, the sum over a row of dout * out.
#include "plugins/backends/cuda/attention_mma.cuh"

// Eight numbers of a row from col on; 0 beyond head_dim.
__device__ __forceinline__ void load8(float (&v)[8], const float *row, uint32_t col, const attention_args &a)
{
	if (a.vector) {
#pragma unroll
		for (int i = 0; i < 8; i += 4) {
			float4 x = col + i < a.head_dim ? __ldg(reinterpret_cast<const float4 *>(row + col + i)) : make_float4(0, 0, 0, 0);
			v[i] = x.x;
			v[i + 1] = x.y;
			v[i + 2] = x.z;
			v[i + 3] = x.w;
		}
	} else {
#pragma unroll
		for (int i = 0; i < 8; i++) {
			v[i] = col + i < a.head_dim ? row[col + i] : 0.0F;
		}
	}
}

__device__ __forceinline__ void store8(void *packed, uint64_t chunk, const float (&v)[8])
{
	static_cast<uint4 *>(packed)[chunk] = make_uint4(pair(v[0], v[1]), pair(v[2], v[3]), pair(v[4], v[5]), pair(v[6], v[7]));
}

// One thread a chunk of 8. count: heads at work of this matrix, from the first on, of `all`.
__global__ void __launch_bounds__(256)
pack_kernel(const attention_args a, const float *from, void *to, uint32_t first, uint32_t count, uint32_t all)
{
	const uint64_t chunk = static_cast<uint64_t>(blockIdx.x) * 256 + threadIdx.x;
	const uint32_t chunks = a.packed_dim / 8;
	const uint64_t row_head = chunk / chunks, row = row_head / count;
	if (row >= a.rows) {
		return;
	}
	const uint32_t head = first + static_cast<uint32_t>(row_head % count), col = static_cast<uint32_t>(chunk % chunks) * 8;
	float v[8];
	load8(v, from + ((a.row0 + row) * all + head) * a.head_dim, col, a);
	store8(to, chunk, v);
}

// Several lanes (a power of two, at least the chunks of a row) a row of one head; packs dout when there is a place for it.
__global__ void __launch_bounds__(256) delta_kernel(const attention_args a, uint32_t lanes)
{
	const uint64_t row_head = (static_cast<uint64_t>(blockIdx.x) * 256 + threadIdx.x) / lanes;
	const uint32_t chunk = threadIdx.x % lanes, chunks = a.packed_dim / 8, heads = a.kv_count * a.group;
	const uint64_t row = row_head / heads;
	const uint32_t local = static_cast<uint32_t>(row_head % heads);
	float sum = 0.0F;
	if (row < a.rows && chunk < chunks) {
		const uint64_t at = ((a.row0 + row) * a.heads + a.kv_first * a.group + local) * a.head_dim;
		float x[8], y[8];
		load8(x, a.d_dout + at, chunk * 8, a);
		load8(y, a.d_read_out + at, chunk * 8, a);
#pragma unroll
		for (int i = 0; i < 8; i++) {
			sum += x[i] * y[i];
		}
		if (a.d_packed_dout != nullptr) {
			store8(a.d_packed_dout, row_head * chunks + chunk, x);
		}
	}
	for (uint32_t n = lanes / 2; n > 0; n /= 2) {
		sum += __shfl_xor_sync(0xffffffffU, sum, n);
	}
	if (row < a.rows && chunk == 0) {
		a.d_delta[static_cast<uint64_t>(local) * a.rows + row] = sum;
	}
}

static cudaError_t pack(const attention_args &a, const float *from, void *to, uint32_t first, uint32_t count, uint32_t all,
	cudaStream_t stream)
{
	const uint64_t chunks = static_cast<uint64_t>(a.rows) * count * (a.packed_dim / 8);
	pack_kernel<<<static_cast<unsigned>((chunks + 255) / 256), 256, 0, stream>>>(a, from, to, first, count, all);
	return cudaGetLastError();
}

cudaError_t attention_delta(const attention_args *a, cudaStream_t stream)
{
	uint32_t lanes = 1;
	while (lanes * 8 < a->packed_dim) {
		lanes *= 2;
	}
	const uint64_t threads = static_cast<uint64_t>(a->rows) * a->kv_count * a->group * lanes;
	delta_kernel<<<static_cast<unsigned>((threads + 255) / 256), 256, 0, stream>>>(*a, lanes);
	return cudaGetLastError();
}

cudaError_t attention_pack_forward(const attention_args *a, cudaStream_t stream)
{
	cudaError_t e = pack(*a, a->d_k, a->d_packed_k, a->kv_first, a->kv_count, a->kv_heads, stream);
	return e != cudaSuccess ? e : pack(*a, a->d_v, a->d_packed_v, a->kv_first, a->kv_count, a->kv_heads, stream);
}

cudaError_t attention_pack_backward(const attention_args *a, cudaStream_t stream)
{
	cudaError_t e = attention_pack_forward(a, stream);
	if (e == cudaSuccess) {
		e = pack(*a, a->d_q, a->d_packed_q, a->kv_first * a->group, a->kv_count * a->group, a->heads, stream);
	}
	return e != cudaSuccess ? e : attention_delta(a, stream);
}
