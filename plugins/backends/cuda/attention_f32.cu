// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Attention in f32, forward and backward: tiles of B rows in shared memory, (B/2)^2 threads. For scores a thread has two rows
// and two columns, B/2 apart; for outputs, which are wider, one row and every B/4-th group of four columns.
#include <math.h>

#include "plugins/backends/cuda/attention_mma.cuh"

template <int D, int B> struct plain {
	static constexpr int threads = B * B / 4;
	static constexpr int across = B / 4;              // threads that share a row of outputs
	static constexpr int groups = D / 4 / across;     // of four columns that a thread has of it
	static constexpr int ld = D + 4;                  // of a tile's rows
	static constexpr int tile = B * ld;               // numbers
	static constexpr int ld_scores = B + 1;
	static constexpr int scores = (B * ld_scores + 3) / 4 * 4;
	static_assert(D % B == 0, "threads share a row of outputs evenly");
};

// Row `row` of all, of one head, into row `to` of a tile; zeros when not valid. A tile's threads each call it for their share.
template <int D, int B, typename F> __device__ __forceinline__ void load_tile(
	float *tile, const float *matrix, size_t ld, uint32_t head_dim, bool vector, F row_of)
{
	using shape = plain<D, B>;
	for (int at = static_cast<int>(threadIdx.x); at < B * (D / 4); at += shape::threads) {
		int row = at / (D / 4), col = at % (D / 4) * 4;
		uint32_t from = 0;
		float4 v = make_float4(0, 0, 0, 0);
		if (row_of(row, &from)) {
			const float *p = matrix + from * ld + col;
			if (vector) {
				v = col < head_dim ? *reinterpret_cast<const float4 *>(p) : v;
			} else {
				v.x = col < head_dim ? p[0] : 0.0F;
				v.y = col + 1 < head_dim ? p[1] : 0.0F;
				v.z = col + 2 < head_dim ? p[2] : 0.0F;
				v.w = col + 3 < head_dim ? p[3] : 0.0F;
			}
		}
		*reinterpret_cast<float4 *>(tile + row * shape::ld + col) = v;
	}
}

// c[i][j] = row y + i B/2 of the tile a times row x + j B/2 of the tile b.
template <int D, int B> __device__ __forceinline__ void dots(float (&c)[2][2], const float *a, const float *b, int y, int x)
{
	constexpr int ld = plain<D, B>::ld, half = B / 2 * ld;
	c[0][0] = c[0][1] = c[1][0] = c[1][1] = 0.0F;
	a += y * ld;
	b += x * ld;
#pragma unroll 4
	for (int d = 0; d < D; d += 4) {
		float4 p[2] = {*reinterpret_cast<const float4 *>(a + d), *reinterpret_cast<const float4 *>(a + half + d)};
		float4 q[2] = {*reinterpret_cast<const float4 *>(b + d), *reinterpret_cast<const float4 *>(b + half + d)};
#pragma unroll
		for (int i = 0; i < 2; i++) {
#pragma unroll
			for (int j = 0; j < 2; j++) {
				c[i][j] += p[i].x * q[j].x;
				c[i][j] += p[i].y * q[j].y;
				c[i][j] += p[i].z * q[j].z;
				c[i][j] += p[i].w * q[j].w;
			}
		}
	}
}

// sum += row `row` of scores [B, B] times the tile.
template <int D, int B>
__device__ __forceinline__ void add_rows(float4 (&sum)[plain<D, B>::groups], const float *scores, const float *tile, int row, int column)
{
	using shape = plain<D, B>;
#pragma unroll 4
	for (int n = 0; n < B; n++) {
		float p = scores[row * shape::ld_scores + n];
#pragma unroll
		for (int g = 0; g < shape::groups; g++) {
			float4 v = *reinterpret_cast<const float4 *>(tile + n * shape::ld + (g * shape::across + column) * 4);
			sum[g].x += p * v.x;
			sum[g].y += p * v.y;
			sum[g].z += p * v.z;
			sum[g].w += p * v.w;
		}
	}
}

template <int D, int B>
__device__ __forceinline__ void store_sums(
	float *row, const float4 (&sum)[plain<D, B>::groups], int column, float factor, uint32_t head_dim)
{
	using shape = plain<D, B>;
#pragma unroll
	for (int g = 0; g < shape::groups; g++) {
		const float v[4] = {sum[g].x, sum[g].y, sum[g].z, sum[g].w};
#pragma unroll
		for (int i = 0; i < 4; i++) {
			int col = (g * shape::across + column) * 4 + i;
			if (col < head_dim) {
				row[col] = v[i] * factor;
			}
		}
	}
}

// The score of a product, and the derivative of the cap.
__device__ __forceinline__ float plain_score(float product, const attention_args &a, float *ret_slope)
{
	float v = product * a.scale;
	*ret_slope = 1.0F;
	if (a.softcap > 0.0F) {
		float t = tanhf(v / a.softcap);
		*ret_slope = 1.0F - t * t;
		v = a.softcap * t;
	}
	return v;
}

template <int D, int B> __global__ void __launch_bounds__(plain<D, B>::threads) plain_forward_kernel(const attention_args a)
{
	using shape = plain<D, B>;
	extern __shared__ __align__(16) float memory[];
	float *q = memory, *k = q + shape::tile, *v = k + shape::tile, *scores = v + shape::tile;
	const int thread = static_cast<int>(threadIdx.x), y = thread / (B / 2), x = thread % (B / 2);
	const int row = thread / shape::across, column = thread % shape::across;
	const uint32_t heads = a.kv_count * a.group, head = a.kv_first * a.group + blockIdx.x % heads, kv = head / a.group;
	const attention_block block = a.d_blocks[blockIdx.x / heads];
	const size_t ldq = static_cast<size_t>(a.heads) * a.head_dim, ldk = static_cast<size_t>(a.kv_heads) * a.head_dim;
	const size_t at_q = static_cast<size_t>(head) * a.head_dim, at_k = static_cast<size_t>(kv) * a.head_dim;
	const uint32_t first = block.before + block.first, last = min(first + B, block.before + block.length);
	load_tile<D, B>(q, a.d_q + at_q, ldq, a.head_dim, a.vector, [&](int r, uint32_t *ret) {
		*ret = block.start + block.first + r;
		return block.first + r < block.length;
	});
	float4 out[shape::groups] = {};
	float max = -INFINITY, sum = 0.0F;
	for (uint32_t key = first_tile(first, a.window, B) * B; key < last; key += B) {
		auto row_of = [&](int r, uint32_t *ret) {
			*ret = key + r < last ? row_of_key(a, block, key + r) : 0;
			return key + r < last;
		};
		__syncthreads();
		load_tile<D, B>(k, a.d_k + at_k, ldk, a.head_dim, a.vector, row_of);
		load_tile<D, B>(v, a.d_v + at_k, ldk, a.head_dim, a.vector, row_of);
		__syncthreads();
		float s[2][2];
		dots<D, B>(s, q, k, y, x);
#pragma unroll
		for (int i = 0; i < 2; i++) {
#pragma unroll
			for (int j = 0; j < 2; j++) {
				int r = y + i * (B / 2), c = x + j * (B / 2);
				float slope, score = plain_score(s[i][j], a, &slope);
				scores[r * shape::ld_scores + c] = sees(first + r, key + c, a.window) ? score : -INFINITY;
			}
		}
		__syncthreads();
		// The threads that share a row keep its maximum and sum together.
		float *mine = scores + row * shape::ld_scores;
		float most = max, share = 0.0F;
		for (int n = column; n < B; n += shape::across) {
			most = fmaxf(most, mine[n]);
		}
		for (int n = 1; n < shape::across; n *= 2) {
			most = fmaxf(most, __shfl_xor_sync(0xffffffffU, most, n));
		}
		const float base = most == -INFINITY ? 0.0F : most, factor = expf(max - base);
		for (int n = column; n < B; n += shape::across) {
			mine[n] = expf(mine[n] - base);
			share += mine[n];
		}
		for (int n = 1; n < shape::across; n *= 2) {
			share += __shfl_xor_sync(0xffffffffU, share, n);
		}
		max = most;
		sum = sum * factor + share;
#pragma unroll
		for (int g = 0; g < shape::groups; g++) {
			out[g].x *= factor;
			out[g].y *= factor;
			out[g].z *= factor;
			out[g].w *= factor;
		}
		__syncthreads();
		add_rows<D, B>(out, scores, v, row, column);
	}
	const uint32_t query = block.first + row;
	if (query < block.length) {
		store_sums<D, B>(a.d_out + (block.start + query) * ldq + at_q, out, column, 1.0F / sum, a.head_dim);
		if (column == 0) {
			a.d_lse[head * a.tokens + block.start + query] = max + logf(sum);
		}
	}
}

// The probability and ds / scale of a product.
__device__ __forceinline__ void plain_gradient(
	float product, float dp, const attention_args &a, float lse, float delta, bool seen, float *ret_p, float *ret_ds)
{
	float slope, p = seen ? expf(plain_score(product, a, &slope) - lse) : 0.0F;
	*ret_p = p;
	*ret_ds = seen ? p * (dp - delta) * slope : 0.0F;
}

template <int D, int B> __global__ void __launch_bounds__(plain<D, B>::threads) plain_queries_kernel(const attention_args a)
{
	using shape = plain<D, B>;
	extern __shared__ __align__(16) float memory[];
	float *q = memory, *dout = q + shape::tile, *k = dout + shape::tile, *v = k + shape::tile, *scores = v + shape::tile;
	const int thread = static_cast<int>(threadIdx.x), y = thread / (B / 2), x = thread % (B / 2);
	const int row = thread / shape::across, column = thread % shape::across;
	const uint32_t heads = a.kv_count * a.group, local = blockIdx.x % heads, head = a.kv_first * a.group + local;
	const attention_block block = a.d_blocks[blockIdx.x / heads];
	const size_t ldq = static_cast<size_t>(a.heads) * a.head_dim, ldk = static_cast<size_t>(a.kv_heads) * a.head_dim;
	const size_t at_q = static_cast<size_t>(head) * a.head_dim, at_k = static_cast<size_t>(head / a.group) * a.head_dim;
	const uint32_t first = block.first, last = min(first + B, block.length);
	auto query_row = [&](int r, uint32_t *ret) {
		*ret = block.start + first + r;
		return first + r < last;
	};
	load_tile<D, B>(q, a.d_q + at_q, ldq, a.head_dim, a.vector, query_row);
	load_tile<D, B>(dout, a.d_dout + at_q, ldq, a.head_dim, a.vector, query_row);
	float lse[2] = {}, delta[2] = {};
#pragma unroll
	for (int i = 0; i < 2; i++) {
		uint32_t r = first + y + i * (B / 2);
		if (r < last) {
			lse[i] = a.d_read_lse[head * a.tokens + block.start + r];
			delta[i] = a.d_delta[static_cast<uint64_t>(local) * a.rows + (block.start - a.row0) + r];
		}
	}
	float4 dq[shape::groups] = {};
	for (uint32_t key = first_tile(first, a.window, B) * B; key < last; key += B) {
		auto key_row = [&](int r, uint32_t *ret) {
			*ret = block.start + key + r;
			return key + r < last;
		};
		__syncthreads();
		load_tile<D, B>(k, a.d_k + at_k, ldk, a.head_dim, a.vector, key_row);
		load_tile<D, B>(v, a.d_v + at_k, ldk, a.head_dim, a.vector, key_row);
		__syncthreads();
		float s[2][2], dp[2][2];
		dots<D, B>(s, q, k, y, x);
		dots<D, B>(dp, dout, v, y, x);
#pragma unroll
		for (int i = 0; i < 2; i++) {
#pragma unroll
			for (int j = 0; j < 2; j++) {
				int r = y + i * (B / 2), c = x + j * (B / 2);
				float p, ds;
				plain_gradient(s[i][j], dp[i][j], a, lse[i], delta[i], sees(first + r, key + c, a.window), &p, &ds);
				scores[r * shape::ld_scores + c] = ds;
			}
		}
		__syncthreads();
		add_rows<D, B>(dq, scores, k, row, column);
	}
	if (first + row < last) {
		store_sums<D, B>(a.d_dq + (block.start + first + row) * ldq + at_q, dq, column, a.scale, a.head_dim);
	}
}

template <int D, int B> __global__ void __launch_bounds__(plain<D, B>::threads) plain_keys_kernel(const attention_args a)
{
	using shape = plain<D, B>;
	extern __shared__ __align__(16) float memory[];
	float *q = memory, *dout = q + shape::tile, *k = dout + shape::tile, *v = k + shape::tile, *ps = v + shape::tile;
	float *ds = ps + shape::scores;
	const int thread = static_cast<int>(threadIdx.x), y = thread / (B / 2), x = thread % (B / 2);
	const int row = thread / shape::across, column = thread % shape::across;
	const uint32_t kv = blockIdx.x % a.kv_count;
	const attention_block block = a.d_blocks[a.blocks - 1 - blockIdx.x / a.kv_count];
	const size_t ldq = static_cast<size_t>(a.heads) * a.head_dim, ldk = static_cast<size_t>(a.kv_heads) * a.head_dim;
	const size_t at_k = static_cast<size_t>(a.kv_first + kv) * a.head_dim;
	const uint32_t first = block.first, length = block.length;
	const uint32_t last = a.window != 0 && a.window < length - first ? min(length, first + (B - 1) + a.window) : length;
	auto key_row = [&](int r, uint32_t *ret) {
		*ret = block.start + first + r;
		return first + r < length;
	};
	load_tile<D, B>(k, a.d_k + at_k, ldk, a.head_dim, a.vector, key_row);
	load_tile<D, B>(v, a.d_v + at_k, ldk, a.head_dim, a.vector, key_row);
	float4 dk[shape::groups] = {}, dv[shape::groups] = {};
	for (uint32_t local = kv * a.group; local < (kv + 1) * a.group; local++) {
		const uint32_t head = a.kv_first * a.group + local;
		const size_t at_q = static_cast<size_t>(head) * a.head_dim;
		for (uint32_t query = first; query < last; query += B) {
			auto query_row = [&](int r, uint32_t *ret) {
				*ret = block.start + query + r;
				return query + r < length;
			};
			__syncthreads();
			load_tile<D, B>(q, a.d_q + at_q, ldq, a.head_dim, a.vector, query_row);
			load_tile<D, B>(dout, a.d_dout + at_q, ldq, a.head_dim, a.vector, query_row);
			__syncthreads();
			// Rows are keys, columns are queries.
			float s[2][2], dp[2][2];
			dots<D, B>(s, k, q, y, x);
			dots<D, B>(dp, v, dout, y, x);
#pragma unroll
			for (int j = 0; j < 2; j++) {
				const uint32_t t = query + x + j * (B / 2);
				const bool valid = t < length;
				const float lse = valid ? a.d_read_lse[head * a.tokens + block.start + t] : 0.0F;
				const uint64_t at_delta = static_cast<uint64_t>(local) * a.rows + (block.start - a.row0) + t;
				const float delta = valid ? a.d_delta[at_delta] : 0.0F;
#pragma unroll
				for (int i = 0; i < 2; i++) {
					const int r = y + i * (B / 2), at = r * shape::ld_scores + x + j * (B / 2);
					const bool seen = valid && sees(t, first + r, a.window);
					plain_gradient(s[i][j], dp[i][j], a, lse, delta, seen, ps + at, ds + at);
				}
			}
			__syncthreads();
			add_rows<D, B>(dv, ps, dout, row, column);
			add_rows<D, B>(dk, ds, q, row, column);
		}
	}
	if (first + row < length) {
		const size_t at = (block.start + first + row) * ldk + at_k;
		store_sums<D, B>(a.d_dk + at, dk, column, a.scale, a.head_dim);
		store_sums<D, B>(a.d_dv + at, dv, column, 1.0F, a.head_dim);
	}
}

template <int D, int B> static cudaError_t plain_forward(const attention_args &a, cudaStream_t stream)
{
	using shape = plain<D, B>;
	return start(plain_forward_kernel<D, B>, static_cast<uint64_t>(a.blocks) * a.kv_count * a.group, shape::threads,
		(3 * shape::tile + shape::scores) * sizeof(float), stream, a);
}

template <int D, int B> static cudaError_t plain_backward(const attention_args &a, cudaStream_t stream)
{
	using shape = plain<D, B>;
	const uint64_t work = static_cast<uint64_t>(a.blocks) * a.kv_count;
	cudaError_t e = start(plain_keys_kernel<D, B>, work, shape::threads, (4 * shape::tile + 2 * shape::scores) * sizeof(float), stream, a);
	return e != cudaSuccess ? e
				: start(plain_queries_kernel<D, B>, work * a.group, shape::threads,
					  (4 * shape::tile + shape::scores) * sizeof(float), stream, a);
}

uint32_t attention_f32_rows(uint32_t head_dim)
{
	return head_dim > 128 ? 16 : 32;
}

cudaError_t attention_f32_forward(const attention_args *a, cudaStream_t stream)
{
	if (a->head_dim <= 32) {
		return plain_forward<32, 32>(*a, stream);
	}
	if (a->head_dim <= 64) {
		return plain_forward<64, 32>(*a, stream);
	}
	return a->head_dim <= 128 ? plain_forward<128, 32>(*a, stream) : plain_forward<256, 16>(*a, stream);
}

cudaError_t attention_f32_backward(const attention_args *a, cudaStream_t stream)
{
	if (a->head_dim <= 32) {
		return plain_backward<32, 32>(*a, stream);
	}
	if (a->head_dim <= 64) {
		return plain_backward<64, 32>(*a, stream);
	}
	return a->head_dim <= 128 ? plain_backward<128, 32>(*a, stream) : plain_backward<256, 16>(*a, stream);
}
