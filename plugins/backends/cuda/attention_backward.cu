// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Attention backward on tensor cores: with p = exp(s - lse), s = cap(scale q k^T) computed again,
//
//	dv = p^T dout,  dp = dout v^T,  ds = p (dp - delta) cap',  dq = scale ds k,  dk = scale ds^T q
//
// One kernel has blocks of keys and goes over all queries of all heads that share them, in one order; another has blocks of
// queries and goes over their keys. So every sum is in the registers of one warp. A warp has 16 rows: its scores are the
// accumulators of one product and, rounded to BF16, an operand of the next as they lie.
#include "plugins/backends/cuda/attention_mma.cuh"

template <int N> __device__ __forceinline__ void clear(float (&c)[N][4])
{
#pragma unroll
	for (int n = 0; n < N; n++) {
		c[n][0] = c[n][1] = c[n][2] = c[n][3] = 0.0F;
	}
}

// c [16, N] = a b^T and d [16, N] = e f^T, rows of D numbers; b and f from row0 on.
template <int D, int N> __device__ __forceinline__ void two_products(float (&c)[N / 8][4], float (&d)[N / 8][4], const part<D> &a,
	const part<D> &b, const part<D> &e, const part<D> &f, int row0)
{
	clear(c);
	clear(d);
#pragma unroll 4
	for (int col = 0; col < D; col += 16) {
		uint32_t left[4];
		load_parts(left, a.at(0, col));
#pragma unroll
		for (int n = 0; n < N; n += 16) {
			uint32_t right[4];
			load_parts(right, b.at(row0 + n, col));
			multiply(c[n / 8], left, right[0], right[1]);
			multiply(c[n / 8 + 1], left, right[2], right[3]);
		}
		load_parts(left, e.at(0, col));
#pragma unroll
		for (int n = 0; n < N; n += 16) {
			uint32_t right[4];
			load_parts(right, f.at(row0 + n, col));
			multiply(d[n / 8], left, right[0], right[1]);
			multiply(d[n / 8 + 1], left, right[2], right[3]);
		}
	}
}

// sum [16, OUT] += c [16, N] b, b [N, OUT] being rows from row0 and columns from col0 on.
template <int D, int OUT, int N>
__device__ __forceinline__ void add_product(float (&sum)[OUT / 8][4], const float (&c)[N / 8][4], const part<D> &b, int row0, int col0)
{
#pragma unroll
	for (int n = 0; n < N; n += 16) {
		uint32_t left[4];
		as_operand(left, c[n / 8], c[n / 8 + 1]);
#pragma unroll
		for (int col = 0; col < OUT; col += 16) {
			uint32_t right[4];
			load_parts_transposed(right, b.at(row0 + n, col0 + col));
			multiply(sum[col / 8], left, right[0], right[1]);
			multiply(sum[col / 8 + 1], left, right[2], right[3]);
		}
	}
}

// Products -> probabilities, and dp -> ds / scale. lse (in units of log 2), delta and seen: functions of n and i, the numbers of
// an element in this lane's share.
template <int N, typename L, typename E, typename F> __device__ __forceinline__ void gradients(
	float (&s)[N][4], float (&d)[N][4], const scoring &scoring, L lse, E delta, bool partly, F seen)
{
	if (scoring.cap > 0.0F) {
#pragma unroll
		for (int n = 0; n < N; n++) {
#pragma unroll
			for (int i = 0; i < 4; i++) {
				float t = hyperbolic(s[n][i] * scoring.inner);
				s[n][i] = power2(scoring.cap * t - lse(n, i));
				d[n][i] = s[n][i] * (d[n][i] - delta(n, i)) * (1.0F - t * t);
			}
		}
	} else {
#pragma unroll
		for (int n = 0; n < N; n++) {
#pragma unroll
			for (int i = 0; i < 4; i++) {
				s[n][i] = power2(s[n][i] * scoring.factor - lse(n, i));
				d[n][i] = s[n][i] * (d[n][i] - delta(n, i));
			}
		}
	}
	if (!partly) {
		return;
	}
#pragma unroll
	for (int n = 0; n < N; n++) {
#pragma unroll
		for (int i = 0; i < 4; i++) {
			bool keep = seen(n, i);
			s[n][i] = keep ? s[n][i] : 0.0F;
			d[n][i] = keep ? d[n][i] : 0.0F;
		}
	}
}

// This lane's share of rows [first, first + 16) of a head, times factor, to memory at matrix (its row 0 of the sequence).
template <int OUT> __device__ __forceinline__ void store_rows(const float (&sum)[OUT / 8][4], float *matrix, size_t ld, uint32_t first,
	uint32_t length, int col0, int lane, const attention_args &a, float factor)
{
#pragma unroll
	for (int half = 0; half < 2; half++) {
		uint32_t row = first + half * 8 + layout_sum_row(lane, 0);
		if (row >= length) {
			continue;
		}
		store_row(matrix + row * ld, nullptr, sum, half, col0, lane, a, factor);
	}
}

constexpr int ROWS = WARPS * 16;

template <int D, int BQ, int STAGES> struct keys_memory {
	static constexpr int keys = ROWS * D * 2;
	static constexpr int queries = BQ * D * 2;
	static constexpr int stage = 2 * queries + 2 * BQ * 4; // queries, dout, lse, delta
	static constexpr int all = 2 * keys + STAGES * stage;
};

// One tile of queries of one head: q, dout, lse, delta.
template <int D, int BQ> __device__ __forceinline__ void copy_stage(
	uint32_t to, const attention_args &a, const attention_block &block, uint32_t first, uint32_t local)
{
	copy_queries<D, BQ>(to, a.d_packed_q, a, block, first, local);
	copy_queries<D, BQ>(to + BQ * D * 2, a.d_packed_dout, a, block, first, local);
	if (threadIdx.x < 2 * BQ) {
		uint32_t row = first + threadIdx.x % BQ;
		bool valid = row < block.length;
		uint64_t at = block.start + (valid ? row : 0);
		const float *lse = a.d_read_lse + (a.kv_first * a.group + local) * a.tokens + at;
		const float *delta = a.d_delta + static_cast<uint64_t>(local) * a.rows + (at - a.row0);
		copy4(to + 2 * BQ * D * 2 + threadIdx.x * 4, threadIdx.x < BQ ? lse : delta, valid);
	}
	copies_commit();
}

// OUT columns of dk and dv are computed by one block of threads: a part of D where D is too wide for the registers.
// LEAST: blocks of a multiprocessor at once that registers must be enough for.
template <int D, int OUT, int BQ, int QS, int STAGES, int LEAST>
__global__ void __launch_bounds__(THREADS, LEAST) keys_kernel(const attention_args a)
{
	using memory = keys_memory<D, BQ, STAGES>;
	extern __shared__ __align__(128) unsigned char shared[];
	const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
	const int col0 = static_cast<int>(blockIdx.x % (D / OUT)) * OUT;
	const uint32_t kv = blockIdx.x / (D / OUT) % a.kv_count;
	// Blocks come in descending order within a sequence; the first keys are seen by most queries.
	const attention_block block = a.d_blocks[a.blocks - 1 - blockIdx.x / (D / OUT) / a.kv_count];
	const uint32_t length = block.length, first = block.first, own = first + warp * 16;
	const uint32_t last = a.window != 0 && a.window < length - first ? min(length, first + (ROWS - 1) + a.window) : length;
	const uint32_t tile0 = first / BQ, tiles = (last + BQ - 1) / BQ - tile0, steps = tiles * a.group;
	const uint32_t base = shared_address(shared), stages = base + 2 * memory::keys;
	const scoring scoring(a);
	float dk[OUT / 8][4], dv[OUT / 8][4];
	clear(dk);
	clear(dv);
	copy_keys<D, ROWS, false>(base, a.d_packed_k, a, block, first, length, kv);
	copy_keys<D, ROWS, false>(base + memory::keys, a.d_packed_v, a, block, first, length, kv);
	copy_stage<D, BQ>(stages, a, block, tile0 * BQ, kv * a.group);
	const part<D> k = rows_first<D>(base + warp * 16 * D * 2, lane), v = rows_first<D>(base + memory::keys + warp * 16 * D * 2, lane);
	uint32_t head = 0, tile = 0; // of the stage that is computed
	int stage = 0;
	for (uint32_t step = 0; step < steps; step++) {
		const uint32_t next_tile = tile + 1 < tiles ? tile + 1 : 0, next_head = next_tile == 0 ? head + 1 : head;
		const int next = STAGES == 2 ? stage ^ 1 : 0;
		copies_wait<0>();
		__syncthreads();
		if (STAGES == 2 && step + 1 < steps) {
			copy_stage<D, BQ>(stages + next * memory::stage, a, block, (tile0 + next_tile) * BQ, kv * a.group + next_head);
		}
		const uint32_t q_tile = stages + stage * memory::stage, dout_tile = q_tile + memory::queries;
		const float *lse = reinterpret_cast<const float *>(shared + 2 * memory::keys + stage * memory::stage + 2 * memory::queries);
#pragma unroll 1
		for (int sub = 0; sub < BQ; sub += QS) {
			const uint32_t query = (tile0 + tile) * BQ + sub;
			if (own >= length || query >= length || query + QS <= own ||
				(a.window != 0 && query >= own + 15 && query - (own + 15) >= a.window)) {
				continue;
			}
			const bool partly = query < own + 15 || query + QS > length || (a.window != 0 && query + QS - 1 - own >= a.window);
			float s[QS / 8][4], d[QS / 8][4];
			two_products<D, QS>(s, d, k, columns_first<D>(q_tile, lane), v, columns_first<D>(dout_tile, lane), sub);
			const float *row_lse = lse + sub + layout_sum_col(lane, 0), *row_delta = row_lse + BQ;
			gradients(
				s, d, scoring, [&](int n, int i) { return row_lse[n * 8 + (i & 1)] * LOG2E; },
				[&](int n, int i) { return row_delta[n * 8 + (i & 1)]; }, partly, [&](int n, int i) {
					const uint32_t q = query + n * 8 + layout_sum_col(lane, i);
					return q < length && sees(q, own + layout_sum_row(lane, i), a.window);
				});
			add_product<D, OUT, QS>(dv, s, rows_first<D>(dout_tile, lane), sub, col0);
			add_product<D, OUT, QS>(dk, d, rows_first<D>(q_tile, lane), sub, col0);
		}
		if (STAGES == 1 && step + 1 < steps) {
			__syncthreads();
			copy_stage<D, BQ>(stages, a, block, (tile0 + next_tile) * BQ, kv * a.group + next_head);
		}
		tile = next_tile;
		head = next_head;
		stage = next;
	}
	const size_t ld = static_cast<size_t>(a.kv_heads) * a.head_dim;
	const size_t at = block.start * ld + static_cast<size_t>(a.kv_first + kv) * a.head_dim;
	store_rows<OUT>(dk, a.d_dk + at, ld, own, length, col0, lane, a, a.scale);
	store_rows<OUT>(dv, a.d_dv + at, ld, own, length, col0, lane, a, 1.0F);
}

template <int D, int BN, int STAGES> struct queries_memory {
	static constexpr int queries = ROWS * D * 2;
	static constexpr int keys = BN * D * 2;
	static constexpr int all = 2 * queries + 2 * STAGES * keys;
};

template <int D, int BN, int STAGES, int LEAST>
__global__ void __launch_bounds__(THREADS, LEAST) queries_kernel(const attention_args a)
{
	using memory = queries_memory<D, BN, STAGES>;
	extern __shared__ __align__(128) unsigned char shared[];
	const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
	const uint32_t heads = a.kv_count * a.group, local = blockIdx.x % heads, kv = local / a.group;
	const uint32_t head = a.kv_first * a.group + local;
	const attention_block block = a.d_blocks[blockIdx.x / heads];
	const uint32_t length = block.length, own = block.first + warp * 16, own_last = min(own + 16, length); // one beyond
	const uint32_t last = min(block.first + ROWS, length), tiles = (last + BN - 1) / BN;
	const uint32_t base = shared_address(shared), k_tiles = base + 2 * memory::queries, v_tiles = k_tiles + STAGES * memory::keys;
	const scoring scoring(a);
	float dq[D / 8][4], lse[2], delta[2];
	clear(dq);
#pragma unroll
	for (int half = 0; half < 2; half++) {
		uint32_t row = own + half * 8 + layout_sum_row(lane, 0);
		bool valid = row < length;
		lse[half] = valid ? a.d_read_lse[head * a.tokens + block.start + row] * LOG2E : 0.0F;
		delta[half] = valid ? a.d_delta[static_cast<uint64_t>(local) * a.rows + (block.start - a.row0) + row] : 0.0F;
	}
	uint32_t tile = first_tile(block.first, a.window, BN);
	copy_queries<D, ROWS>(base, a.d_packed_q, a, block, block.first, local);
	copy_queries<D, ROWS>(base + memory::queries, a.d_packed_dout, a, block, block.first, local);
	copy_keys<D, BN, false>(k_tiles, a.d_packed_k, a, block, tile * BN, last, kv);
	copy_keys<D, BN, false>(v_tiles, a.d_packed_v, a, block, tile * BN, last, kv);
	copies_commit();
	const part<D> q = rows_first<D>(base + warp * 16 * D * 2, lane);
	const part<D> dout = rows_first<D>(base + memory::queries + warp * 16 * D * 2, lane);
	for (int stage = 0; tile < tiles; tile++) {
		const uint32_t key = tile * BN;
		const int next = STAGES == 2 ? stage ^ 1 : 0;
		copies_wait<0>();
		__syncthreads();
		if (STAGES == 2 && tile + 1 < tiles) {
			copy_keys<D, BN, false>(k_tiles + next * memory::keys, a.d_packed_k, a, block, key + BN, last, kv);
			copy_keys<D, BN, false>(v_tiles + next * memory::keys, a.d_packed_v, a, block, key + BN, last, kv);
			copies_commit();
		}
		if (own < length && key < own_last && (a.window == 0 || key + BN + a.window > own + 1)) {
			const bool partly = key + BN > own + 1 || (a.window != 0 && key + a.window < own_last);
			const uint32_t k_tile = k_tiles + stage * memory::keys, v_tile = v_tiles + stage * memory::keys;
			float s[BN / 8][4], d[BN / 8][4];
			two_products<D, BN>(s, d, q, columns_first<D>(k_tile, lane), dout, columns_first<D>(v_tile, lane), 0);
			gradients(
				s, d, scoring, [&](int, int i) { return lse[i >> 1]; }, [&](int, int i) { return delta[i >> 1]; }, partly,
				[&](int n, int i) {
					return sees(own + layout_sum_row(lane, i), key + n * 8 + layout_sum_col(lane, i), a.window);
				});
			add_product<D, D, BN>(dq, d, rows_first<D>(k_tile, lane), 0, 0);
		}
		if (STAGES == 1 && tile + 1 < tiles) {
			__syncthreads();
			copy_keys<D, BN, false>(k_tiles, a.d_packed_k, a, block, key + BN, last, kv);
			copy_keys<D, BN, false>(v_tiles, a.d_packed_v, a, block, key + BN, last, kv);
			copies_commit();
		}
		stage = next;
	}
	const size_t ld = static_cast<size_t>(a.heads) * a.head_dim;
	store_rows<D>(dq, a.d_dq + block.start * ld + static_cast<size_t>(head) * a.head_dim, ld, own, length, 0, lane, a, a.scale);
}

// Tiles: OUT, BQ, QS and stages of the kernel over queries; BN and stages of the one over keys.
template <int D, int OUT, int BQ, int QS, int STAGES, int LEAST = 1>
static cudaError_t backward_keys(const attention_args &a, cudaStream_t stream)
{
	const uint64_t work = static_cast<uint64_t>(a.blocks) * a.kv_count;
	return start(
		keys_kernel<D, OUT, BQ, QS, STAGES, LEAST>, work * (D / OUT), THREADS, keys_memory<D, BQ, STAGES>::all, stream, a);
}

template <int D, int BN, int STAGES, int LEAST = 1>
static cudaError_t backward_queries(const attention_args &a, cudaStream_t stream)
{
	const uint64_t work = static_cast<uint64_t>(a.blocks) * a.kv_count;
	return start(
		queries_kernel<D, BN, STAGES, LEAST>, work * a.group, THREADS, queries_memory<D, BN, STAGES>::all, stream, a);
}

template <int D, int OUT, int BQ, int QS, int BN, int STAGES>
static cudaError_t backward(const attention_args &a, cudaStream_t stream)
{
	cudaError_t e = backward_keys<D, OUT, BQ, QS, STAGES>(a, stream);
	return e != cudaSuccess ? e : backward_queries<D, BN, STAGES>(a, stream);
}

uint32_t attention_bf16_backward_rows(uint32_t head_dim)
{
	(void)head_dim;
	return ROWS;
}

cudaError_t attention_bf16_backward(const attention_args *a, cudaStream_t stream)
{
	if (a->head_dim <= 32) {
		return backward<32, 32, 64, 64, 64, 2>(*a, stream);
	}
	if (a->head_dim <= 64) {
		return backward<64, 64, 64, 32, 64, 2>(*a, stream);
	}
	if (a->head_dim <= 96) {
		return backward<96, 96, 64, 32, 64, 2>(*a, stream);
	}
	if (a->head_dim <= 128) {
		return backward<128, 128, 64, 32, 64, 2>(*a, stream);
	}
	return backward<256, 128, 32, 32, 32, 1>(*a, stream);
}
