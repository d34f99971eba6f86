// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Attention forward on tensor cores. A block of threads has BM queries of one head; each warp has 16 MT of them and all their
// keys, tile after tile, with a running maximum, a running sum and an output that is rescaled when the maximum grows. Keys and
// values come from packed rows in BF16 by asynchronous copies, the next tile while the present one is multiplied.
#include "plugins/backends/cuda/attention_mma.cuh"

// Queries of f32 rows to a tile in BF16; zeros outside.
template <int D, int BM> __device__ __forceinline__ void load_queries(
	unsigned char *tile, const attention_args &a, const attention_block &block, uint32_t head)
{
	constexpr int CHUNKS = D / 8;
	const size_t ld = static_cast<size_t>(a.heads) * a.head_dim;
	const float *q = a.d_q + static_cast<size_t>(block.start + block.first) * ld + static_cast<size_t>(head) * a.head_dim;
#pragma unroll 4
	for (int at = static_cast<int>(threadIdx.x); at < BM * CHUNKS; at += THREADS) {
		int row = at / CHUNKS, col = at % CHUNKS * 8;
		float v[8] = {};
		if (block.first + row < block.length) {
			const float *from = q + row * ld + col;
			if (a.vector) {
#pragma unroll
				for (int i = 0; i < 8; i += 4) {
					if (col + i < a.head_dim) {
						*reinterpret_cast<float4 *>(v + i) = __ldg(reinterpret_cast<const float4 *>(from + i));
					}
				}
			} else {
#pragma unroll
				for (int i = 0; i < 8; i++) {
					v[i] = col + i < a.head_dim ? from[i] : 0.0F;
				}
			}
		}
		*reinterpret_cast<uint4 *>(tile + layout_at(D, row, col)) =
			make_uint4(pair(v[0], v[1]), pair(v[2], v[3]), pair(v[4], v[5]), pair(v[6], v[7]));
	}
}

// What a warp keeps of its queries while it goes over the keys.
template <int D, int MT> struct running {
	float out[MT][D / 8][4];
	float max[MT][2];
	float sum[MT][2]; // this lane's share
};

// s = the products of a warp's queries and a tile's keys.
template <int D, int MT, int BN>
__device__ __forceinline__ void products(float (&s)[MT][BN / 8][4], const part<D> &queries, const part<D> &keys)
{
#pragma unroll
	for (int m = 0; m < MT; m++) {
#pragma unroll
		for (int n = 0; n < BN / 8; n++) {
			s[m][n][0] = s[m][n][1] = s[m][n][2] = s[m][n][3] = 0.0F;
		}
	}
#pragma unroll (D > 96 ? 4 : D / 16)
	for (int d = 0; d < D; d += 16) {
		uint32_t q[MT][4];
#pragma unroll
		for (int m = 0; m < MT; m++) {
			load_parts(q[m], queries.at(m * 16, d));
		}
#pragma unroll
		for (int n = 0; n < BN; n += 16) {
			uint32_t k[4];
			load_parts(k, keys.at(n, d));
#pragma unroll
			for (int m = 0; m < MT; m++) {
				multiply(s[m][n / 8], q[m], k[0], k[1]);
				multiply(s[m][n / 8 + 1], q[m], k[2], k[3]);
			}
		}
	}
}

// f of every number of a warp's scores, with its row and column in them.
template <int MT, int N, typename F> __device__ __forceinline__ void each(float (&s)[MT][N][4], F f)
{
#pragma unroll
	for (int m = 0; m < MT; m++) {
#pragma unroll
		for (int n = 0; n < N; n++) {
#pragma unroll
			for (int i = 0; i < 4; i++) {
				s[m][n][i] = f(s[m][n][i], m * 16 + (i >> 1) * 8, n * 8 + (i & 1));
			}
		}
	}
}

// Products -> scores; what is not seen becomes -inf. query, key: of element (0, 0) of this lane's first fragment.
template <int MT, int N> __device__ __forceinline__ void to_scores(
	float (&s)[MT][N][4], const scoring &scoring, uint32_t query, uint32_t key, uint32_t window, bool partly)
{
	if (scoring.cap > 0.0F) {
		each(s, [&](float v, int, int) { return scoring.cap * hyperbolic(v * scoring.inner); });
	} else {
		each(s, [&](float v, int, int) { return v * scoring.factor; });
	}
	if (partly) {
		each(s, [&](float v, int row, int col) { return sees(query + row, key + col, window) ? v : -INFINITY; });
	}
}

// Scores -> probabilities relative to the running maximum; the sums and outputs follow it.
template <int D, int MT, int BN> __device__ __forceinline__ void soften(float (&s)[MT][BN / 8][4], running<D, MT> &r)
{
#pragma unroll
	for (int m = 0; m < MT; m++) {
#pragma unroll
		for (int half = 0; half < 2; half++) {
			float max = r.max[m][half];
#pragma unroll
			for (int n = 0; n < BN / 8; n++) {
				max = fmaxf(max, fmaxf(s[m][n][half * 2], s[m][n][half * 2 + 1]));
			}
			max = fmaxf(max, __shfl_xor_sync(0xffffffffU, max, 1));
			max = fmaxf(max, __shfl_xor_sync(0xffffffffU, max, 2));
			// Nothing seen yet: every score is -inf, and so is the maximum.
			float base = max == -INFINITY ? 0.0F : max, factor = power2(r.max[m][half] - base), sum = 0.0F;
			r.max[m][half] = max;
#pragma unroll
			for (int n = 0; n < BN / 8; n++) {
#pragma unroll
				for (int i = half * 2; i < half * 2 + 2; i++) {
					s[m][n][i] = power2(s[m][n][i] - base);
					sum += s[m][n][i];
				}
			}
			r.sum[m][half] = r.sum[m][half] * factor + sum;
			if (__any_sync(0xffffffffU, factor != 1.0F)) {
#pragma unroll
				for (int d = 0; d < D / 8; d++) {
					r.out[m][d][half * 2] *= factor;
					r.out[m][d][half * 2 + 1] *= factor;
				}
			}
		}
	}
}

// out += probabilities times values.
template <int D, int MT, int BN>
__device__ __forceinline__ void add_values(const float (&s)[MT][BN / 8][4], running<D, MT> &r, const part<D> &values)
{
#pragma unroll
	for (int n = 0; n < BN; n += 16) {
		uint32_t p[MT][4];
#pragma unroll
		for (int m = 0; m < MT; m++) {
			as_operand(p[m], s[m][n / 8], s[m][n / 8 + 1]);
		}
#pragma unroll
		for (int d = 0; d < D; d += 16) {
			uint32_t v[4];
			load_parts_transposed(v, values.at(n, d));
#pragma unroll
			for (int m = 0; m < MT; m++) {
				multiply(r.out[m][d / 8], p[m], v[0], v[1]);
				multiply(r.out[m][d / 8 + 1], p[m], v[2], v[3]);
			}
		}
	}
}

// first: the warp's first query within the sequence.
template <int D, int MT> __device__ __forceinline__ void finish(
	const running<D, MT> &r, const attention_args &a, const attention_block &block, uint32_t head, uint32_t first, int lane)
{
	const size_t ld = static_cast<size_t>(a.heads) * a.head_dim;
#pragma unroll
	for (int m = 0; m < MT; m++) {
#pragma unroll
		for (int half = 0; half < 2; half++) {
			float sum = r.sum[m][half];
			sum += __shfl_xor_sync(0xffffffffU, sum, 1);
			sum += __shfl_xor_sync(0xffffffffU, sum, 2);
			uint32_t query = first + m * 16 + half * 8 + layout_sum_row(lane, 0);
			if (query >= block.length) {
				continue;
			}
			float factor = 1.0F / sum;
			const size_t at = static_cast<size_t>(block.start + query) * ld + static_cast<size_t>(head) * a.head_dim;
			__nv_bfloat16 *copy = a.d_out_copy ? reinterpret_cast<__nv_bfloat16 *>(a.d_out_copy) + at : nullptr;
			if ((lane & 3) == 0) {
				a.d_lse[head * a.tokens + block.start + query] = r.max[m][half] * LN2 + logf(sum);
			}
			store_row(a.d_out + at, copy, r.out[m], half, 0, lane, a, factor);
		}
	}
}

template <int D, int MT, int BN, int STAGES> struct forward_memory {
	static constexpr int queries = WARPS * 16 * MT * D * 2;
	static constexpr int keys = BN * D * 2;
	static constexpr int all = queries + 2 * STAGES * keys;
};

// LEAST: blocks of a multiprocessor at once that registers must be enough for.
template <int D, int MT, int BN, int STAGES, int LEAST>
__global__ void __launch_bounds__(THREADS, LEAST) forward_kernel(const attention_args a)
{
	using memory = forward_memory<D, MT, BN, STAGES>;
	extern __shared__ __align__(128) unsigned char shared[];
	const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
	const uint32_t heads = a.kv_count * a.group, local = blockIdx.x % heads, kv = local / a.group;
	const uint32_t head = a.kv_first * a.group + local;
	const attention_block block = a.d_blocks[blockIdx.x / heads];
	const uint32_t keys = block.before + block.length, first = block.before + block.first;
	const uint32_t last = min(first + WARPS * 16 * MT, keys);
	const uint32_t tiles = (last + BN - 1) / BN;
	const uint32_t k_tiles = shared_address(shared) + memory::queries, v_tiles = k_tiles + STAGES * memory::keys;
	const uint32_t warp_first = first + warp * 16 * MT, warp_last = min(warp_first + 16 * MT, keys); // one beyond
	const scoring scoring(a);
	running<D, MT> r;
#pragma unroll
	for (int m = 0; m < MT; m++) {
		r.max[m][0] = r.max[m][1] = -INFINITY;
		r.sum[m][0] = r.sum[m][1] = 0.0F;
#pragma unroll
		for (int d = 0; d < D / 8; d++) {
			r.out[m][d][0] = r.out[m][d][1] = r.out[m][d][2] = r.out[m][d][3] = 0.0F;
		}
	}
	uint32_t tile = first_tile(first, a.window, BN);
	copy_keys<D, BN, true>(k_tiles, a.d_packed_k, a, block, tile * BN, last, kv);
	copy_keys<D, BN, true>(v_tiles, a.d_packed_v, a, block, tile * BN, last, kv);
	copies_commit();
	load_queries<D, WARPS * 16 * MT>(shared, a, block, head);
	const part<D> queries = rows_first<D>(shared_address(shared) + warp * 16 * MT * D * 2, lane);
	for (int stage = 0; tile < tiles; tile++) {
		const uint32_t key = tile * BN;
		copies_wait<0>();
		__syncthreads();
		const int next = STAGES == 2 ? stage ^ 1 : 0;
		if (STAGES == 2 && tile + 1 < tiles) {
			copy_keys<D, BN, true>(k_tiles + next * memory::keys, a.d_packed_k, a, block, key + BN, last, kv);
			copy_keys<D, BN, true>(v_tiles + next * memory::keys, a.d_packed_v, a, block, key + BN, last, kv);
			copies_commit();
		}
		if (warp_first < keys && key < warp_last && (a.window == 0 || key + BN + a.window > warp_first + 1)) {
			const bool partly = key + BN > warp_first + 1 || (a.window != 0 && key + a.window < warp_last);
			float s[MT][BN / 8][4];
			products<D, MT, BN>(s, queries, columns_first<D>(k_tiles + stage * memory::keys, lane));
			to_scores(s, scoring, warp_first + layout_sum_row(lane, 0), key + layout_sum_col(lane, 0), a.window, partly);
			soften<D, MT, BN>(s, r);
			add_values<D, MT, BN>(s, r, rows_first<D>(v_tiles + stage * memory::keys, lane));
		}
		if (STAGES == 1 && tile + 1 < tiles) {
			__syncthreads();
			copy_keys<D, BN, true>(k_tiles, a.d_packed_k, a, block, key + BN, last, kv);
			copy_keys<D, BN, true>(v_tiles, a.d_packed_v, a, block, key + BN, last, kv);
			copies_commit();
		}
		stage = next;
	}
	finish<D, MT>(r, a, block, head, block.first + warp * 16 * MT, lane);
}

template <int D, int MT, int BN, int STAGES, int LEAST = 1> static cudaError_t forward(const attention_args &a, cudaStream_t stream)
{
	return start(forward_kernel<D, MT, BN, STAGES, LEAST>, static_cast<uint64_t>(a.blocks) * a.kv_count * a.group, THREADS,
		forward_memory<D, MT, BN, STAGES>::all, stream, a);
}

uint32_t attention_bf16_forward_rows(uint32_t head_dim)
{
	return head_dim > 128 ? 64 : 128;
}

cudaError_t attention_bf16_forward(const attention_args *a, cudaStream_t stream)
{
	if (a->head_dim <= 32) {
		return forward<32, 2, 64, 2>(*a, stream);
	}
	if (a->head_dim <= 64) {
		return forward<64, 2, 64, 2>(*a, stream);
	}
	if (a->head_dim <= 96) {
		return forward<96, 2, 32, 2>(*a, stream);
	}
	if (a->head_dim <= 128) {
		return forward<128, 2, 32, 2>(*a, stream);
	}
	return forward<256, 1, 32, 2>(*a, stream);
}
