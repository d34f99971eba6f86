// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Cross entropy over a vocabulary in slices. A row of a slice is read once: each thread keeps a maximum and a sum that belongs
// to it, and the threads' sums are brought to the largest maximum at the end. A NaN logit makes its row's sum NaN; the best token
// passes over it.
#include "plugins/backends/cuda/launch.h"
#include "plugins/backends/cuda/rows.cuh"
#include "plugins/backends/cuda/scalar.h"

namespace {

enum { AHEAD = 4 }; // packs that a thread loads before it computes

__global__ void __launch_bounds__(THREADS) begin(struct launch_xent x)
{
	uint64_t t = (uint64_t)blockIdx.x * THREADS + threadIdx.x;
	if (t < x.rows) {
		x.d_max[t] = -INFINITY;
		x.d_sum[t] = 0.0;
		x.d_target_logit[t] = 0.0F;
		x.d_best[t] = -INFINITY;
		x.d_best_token[t] = 0;
	}
}

struct running {
	float max;
	uint32_t at; // the first place of max
	double sum;  // of exp(x - shift(max))
};

// Takes N packs of W numbers in; pack k has the places from at + k * step on. Without a number: -infinity.
template <int N, int W> __device__ __forceinline__ void take(struct running &r, const pack<float, W> (&v)[N], uint32_t at, uint32_t step)
{
	float top = -INFINITY, part = 0.0F;
#pragma unroll
	for (int k = 0; k < N; k++) {
#pragma unroll
		for (int w = 0; w < W; w++) {
			top = fmaxf(top, v[k].v[w]);
		}
	}
	if (top > r.max) {
		uint32_t place = at;
#pragma unroll
		for (int k = N - 1; k >= 0; k--) {
#pragma unroll
			for (int w = W - 1; w >= 0; w--) {
				place = v[k].v[w] == top ? at + k * step + w : place;
			}
		}
		r.sum = r.max == -INFINITY ? r.sum : r.sum * (double)expf(r.max - top);
		r.max = top;
		r.at = place;
	}
	float shift = scalar_shift(r.max);
#pragma unroll
	for (int k = 0; k < N; k++) {
#pragma unroll
		for (int w = 0; w < W; w++) {
			part += expf(v[k].v[w] - shift);
		}
	}
	r.sum += (double)part;
}

template <int W> __device__ __forceinline__ struct running walk(const float *x, uint32_t n)
{
	struct running r = {-INFINITY, 0, 0.0};
	uint32_t packs = n / W;
	for (uint64_t base = threadIdx.x; base < packs; base += THREADS * AHEAD) {
		pack<float, W> v[AHEAD];
#pragma unroll
		for (int k = 0; k < AHEAD; k++) {
			uint64_t i = base + k * THREADS;
#pragma unroll
			for (int w = 0; w < W; w++) {
				v[k].v[w] = -INFINITY;
			}
			if (i < packs) {
				v[k] = load<W>(x, i);
			}
		}
		take(r, v, (uint32_t)base * W, THREADS * W);
	}
	if (W > 1 && threadIdx.x < n % W) {
		pack<float, 1> last[1] = {load<1>(x, packs * W + threadIdx.x)};
		take(r, last, packs * W + threadIdx.x, 0);
	}
	return r;
}

template <int W> __global__ void __launch_bounds__(THREADS) slice(struct launch_xent x)
{
	__shared__ uint64_t ranks[32];
	__shared__ double sums[32];
	uint64_t t = blockIdx.x;
	const float *logits = x.d_logits + t * x.ld;
	struct running r = walk<W>(logits, (uint32_t)x.n);
	uint64_t rank = reduce_block(scalar_rank(r.max, r.at), (uint64_t)0, larger(), ranks);
	float best = scalar_rank_value(rank), old = x.d_max[t];
	float m = best > old ? best : old;
	double sum = reduce_block(scalar_rescaled(r.sum, r.max, m), 0.0, add(), sums);
	if (threadIdx.x != 0) {
		return;
	}
	uint32_t target = x.d_target[t];
	x.d_sum[t] = scalar_rescaled(x.d_sum[t], old, m) + sum;
	x.d_max[t] = m;
	if (best > x.d_best[t]) {
		x.d_best[t] = best;
		x.d_best_token[t] = x.first + scalar_rank_place(rank);
	}
	if (target >= x.first && target - x.first < x.n) {
		x.d_target_logit[t] = logits[target - x.first];
	}
}

template <int W> __global__ void __launch_bounds__(THREADS) backward(struct launch_xent x, uint32_t across)
{
	struct tile t = this_tile(across);
	if (t.row >= x.rows) {
		return;
	}
	uint64_t packs = x.n / W;
	float *g = x.d_logits + t.row * x.ld, weight = x.d_weight[t.row];
	uint16_t *copy = x.d_copy ? x.d_copy + t.row * x.ld : nullptr;
	// Without a weight a token takes no part in the loss, whatever its logits are: they are not read.
	bool part = weight != 0.0F;
	double lse = x.d_lse[t.row];
	float high = (float)lse, low = isfinite(high) ? (float)(lse - (double)high) : 0.0F;
	uint32_t target = x.d_target[t.row] - x.first; // at or above n: in another slice
	pack<float, W> v[TILE_PACKS];
#pragma unroll
	for (int u = 0; u < TILE_PACKS; u++) {
		uint64_t i = t.first + u * blockDim.x;
		if (part && i < packs) {
			v[u] = load<W>(g, i);
		}
	}
#pragma unroll
	for (int u = 0; u < TILE_PACKS; u++) {
		uint64_t i = t.first + u * blockDim.x;
		if (i < packs) {
			pack<float, W> p;
#pragma unroll
			for (int w = 0; w < W; w++) {
				float y = part ? __fmul_rn(weight, expf((v[u].v[w] - high) - low)) : 0.0F;
				p.v[w] = part && target == i * W + w ? __fsub_rn(y, weight) : y;
			}
			store<W>(g, i, p);
			store_rounded<W>(copy, i, p);
		}
	}
}

} // namespace

cudaError_t launch_xent_begin(cudaStream_t stream, const struct launch_xent *x)
{
	uint64_t blocks = ceil_div(x->rows, THREADS);
	if (blocks == 0) {
		return cudaSuccess;
	}
	if (too_many(blocks)) {
		return cudaErrorInvalidConfiguration;
	}
	begin<<<(unsigned)blocks, THREADS, 0, stream>>>(*x);
	return cudaGetLastError();
}

cudaError_t launch_xent_slice(cudaStream_t stream, const struct launch_xent *x)
{
	if (x->rows == 0 || x->n == 0) {
		return cudaSuccess;
	}
	if (too_many(x->rows) || x->n > UINT32_MAX) {
		return cudaErrorInvalidConfiguration;
	}
	if (aligned(x->d_logits) && x->ld % 4 == 0) {
		slice<4><<<(unsigned)x->rows, THREADS, 0, stream>>>(*x);
	} else {
		slice<1><<<(unsigned)x->rows, THREADS, 0, stream>>>(*x);
	}
	return cudaGetLastError();
}

cudaError_t launch_xent_backward(cudaStream_t stream, const struct launch_xent *x)
{
	if (x->rows == 0 || x->n == 0) {
		return cudaSuccess;
	}
	bool wide = packed(x->d_logits, x->n, x->ld);
	struct tiles t = cut_tiles(x->rows, wide ? x->n / 4 : x->n);
	if (t.blocks == 0) {
		return cudaErrorInvalidConfiguration;
	}
	if (wide) {
		backward<4><<<t.blocks, t.block, 0, stream>>>(*x, t.across);
	} else {
		backward<1><<<t.blocks, t.block, 0, stream>>>(*x, t.across);
	}
	return cudaGetLastError();
}
