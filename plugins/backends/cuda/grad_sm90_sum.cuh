// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Of grad_stats_sm90.cu alone: the warpgroups that multiply and add.
#pragma once

#include "plugins/backends/cuda/grad_sm90_copy.cuh"

namespace
{

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Waits for eight times two numbers that are being read.
__device__ __forceinline__ void hold_read(float *d)
{
#pragma unroll
	for (int j = 0; j < 8; j++) {
		asm volatile("add.f32 %0, %0, 0f00000000;" : "+f"(d[4 * j])::"memory");
		asm volatile("add.f32 %0, %0, 0f00000000;" : "+f"(d[4 * j + 1])::"memory");
	}
}

// The statistic of this thread's part of a tile: d as the product's. Columns two at a time, or one at a time.
template <int N, bool READ, bool PAIRS> __device__ __forceinline__ void exchange(const work &w, const item &it, uint32_t group, float (&d)[N])
{
	uint32_t lane = threadIdx.x % 32, warp = threadIdx.x % GROUP / 32;
	uint64_t row = it.row + group * PANEL + warp * 16 + lane / 4, col = it.col + lane % 4 * 2;
	float *p = it.out + row * w.cols + col;
#pragma unroll
	for (int h = 0; h < 2; h++) {
#pragma unroll
		for (int j = 0; j < N / 4; j++) {
			float *at = p + 8 * h * w.cols + 8 * j, &a = d[4 * j + 2 * h], &b = d[4 * j + 2 * h + 1];
			bool one = row + 8 * h < w.rows && col + 8 * j < w.cols, two = one && (PAIRS || col + 8 * j + 1 < w.cols);
			if (READ) {
				a = b = 0;
			}
			if (PAIRS && READ && one) {
				asm volatile("ld.global.v2.f32 {%0, %1}, [%2];" : "=f"(a), "=f"(b) : "l"(at) : "memory");
			} else if (PAIRS && one) {
				*(float2 *)at = make_float2(a, b);
			}
			if (!PAIRS && READ) {
				a = one ? at[0] : 0;
				b = two ? at[1] : 0;
				if (j % 8 == 7) {
					// More than 63 reads under way are waited for wherever the compiler counts them.
					hold_read(d + 4 * (j - 7) + 2 * h);
				}
			} else if (!PAIRS) {
				if (one) {
					at[0] = a;
				}
				if (two) {
					at[1] = b;
				}
			}
		}
	}
}

template <int N, bool READ> __device__ __forceinline__ void exchange(const work &w, const item &it, uint32_t group, float (&d)[N])
{
	if (w.pairs) {
		exchange<N, READ, true>(w, it, group, d);
	} else {
		exchange<N, READ, false>(w, it, group, d);
	}
}

// Clears dY's rows from `left` on in the step that they are in. The other operand there is the next sample's, or 0.
__device__ __forceinline__ void clear_rest(uint32_t dy, uint32_t left, uint32_t group)
{
	uint32_t thread = threadIdx.x % GROUP, row = left + thread / 8;
	if (row < (left + STEP - 1) / STEP * STEP) {
		asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(dy + row * ROW_BYTES + thread % 8 * 16), "r"(0) : "memory");
	}
	sm90::proxy_fence();
	asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "n"(GROUP) : "memory");
}

// Blocks that copy into this one's memory, itself included.
__host__ __device__ constexpr int feeders(int cluster)
{
	return cluster == 4 ? 3 : cluster;
}

// A warp is done with a stage.
template <int WIDTH, int CLUSTER> __device__ __forceinline__ void release(shared<WIDTH> s, uint32_t stage)
{
	uint32_t lane = threadIdx.x % 32;
	if (CLUSTER == 1) {
		if (lane == 0) {
			sm90::barrier_arrive(s.empty(stage));
		}
	} else if (lane < feeders(CLUSTER)) {
		sm90::barrier_arrive(s.empty(stage), CLUSTER == 4 ? sm90::cluster_rank() ^ lane : lane);
	}
}

// The operands of a stage, with what a sample's end leaves open cleared.
template <int WIDTH> struct operands {
	static constexpr uint32_t ADVANCE = STEP * ROW_BYTES >> 4; // of a description by a step
	uint64_t dy, x;

	__device__ __forceinline__ operands(shared<WIDTH> s, ring<stages(WIDTH)> r, uint32_t group, uint32_t left)
	{
		uint32_t at = s.dy(r.stage) + group * PANEL_BYTES;
		sm90::barrier_wait(s.full(r.stage), r.phase);
		if (left < DEPTH && left % STEP != 0) {
			clear_rest(at, left, group);
		}
		dy = sm90::describe_panels(at, PANEL_BYTES);
		x = sm90::describe_panels(s.x(r.stage), PANEL_BYTES);
	}
};

// g = the next sample's gradient; returns whether the tile has another one. While the products of one stage run, those of the
// next are already begun; there is no branch between a stage's products, which would make the compiler wait for them.
template <int WIDTH, int CLUSTER>
__device__ __forceinline__ bool gradient(float (&g)[WIDTH / 2], shared<WIDTH> s, ring<stages(WIDTH)> &r, uint32_t group)
{
	sm90::barrier_wait(s.full(r.stage), r.phase);
	uint32_t said = sm90::load_shared(s.left(r.stage)), left = said & ~LAST, before = 0;
	int keep = 0;
	while (left > DEPTH - STEP) {
		operands<WIDTH> o(s, r, group, left);
		sm90::hold(g);
		sm90::wgmma_fence();
#pragma unroll
		for (int k = 0; k < DEPTH / STEP; k++) {
			sm90::wgmma<WIDTH>::multiply(g, o.dy + k * o.ADVANCE, o.x + k * o.ADVANCE, k == 0 ? keep : 1);
		}
		sm90::wgmma_commit();
		sm90::hold(g);
		sm90::wgmma_wait<1>();
		if (keep) {
			release<WIDTH, CLUSTER>(s, before);
		}
		keep = 1;
		before = r.stage;
		r.advance();
		left -= left < DEPTH ? left : DEPTH;
	}
	sm90::wgmma_wait<0>();
	sm90::hold(g);
	if (keep) {
		release<WIDTH, CLUSTER>(s, before);
	}
	if (left == 0) {
		return !(said & LAST);
	}
	operands<WIDTH> o(s, r, group, left);
#pragma unroll 1
	for (; left != 0; left -= left < STEP ? left : STEP) {
		sm90::hold(g);
		sm90::wgmma_fence();
		sm90::wgmma<WIDTH>::multiply(g, o.dy, o.x, keep);
		sm90::wgmma_commit();
		sm90::wgmma_wait<0>();
		sm90::hold(g);
		keep = 1;
		o.dy += o.ADVANCE;
		o.x += o.ADVANCE;
	}
	release<WIDTH, CLUSTER>(s, r.stage);
	r.advance();
	return !(said & LAST);
}

template <int WIDTH, int CLUSTER, bool SQUARE>
__device__ __forceinline__ void consume(const work &w, shared<WIDTH> s, uint32_t rank, uint32_t group)
{
	constexpr int N = WIDTH / 2;
	float g[N], stat[N];
	ring<stages(WIDTH)> r = {0, 0};
#pragma unroll
	for (int i = 0; i < N; i++) {
		g[i] = 0;
	}
	for (uint32_t index = blockIdx.x / CLUSTER; index < w.down * w.across * w.splits; index += gridDim.x / CLUSTER) {
		item it = item_at<WIDTH, CLUSTER>(w, index, rank);
		uint32_t tokens;
		// Waits for the two, before other reads begin that must not be waited for.
		asm volatile("sub.u32 %0, %1, %2;" : "=r"(tokens) : "r"(it.end_token), "r"(it.token) : "memory");
		if (w.add) {
			exchange<N, true>(w, it, group, stat);
		} else {
#pragma unroll
			for (int i = 0; i < N; i++) {
				stat[i] = 0;
			}
		}
		for (bool more = tokens != 0; more;) {
			more = gradient<WIDTH, CLUSTER>(g, s, r, group);
#pragma unroll
			for (int k = 0; k < N; k++) {
				stat[k] = SQUARE ? fmaf(g[k], g[k], stat[k]) : stat[k] + fabsf(g[k]);
			}
		}
		exchange<N, false>(w, it, group, stat);
	}
}

#endif

} // namespace
