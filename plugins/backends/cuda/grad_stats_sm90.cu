// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Statistics of per-sample gradients on Hopper. A block holds a tile of 128 rows by WIDTH columns: the gradient of one sample
// and the statistic, both in the registers of two warpgroups with 64 rows each. A third warpgroup only copies: 64 tokens of both
// operands a stage, in a ring of stages. Where a sample ends, the gradient is squared into the statistic and the next one
// begins; a warpgroup does so while the other still multiplies.
//
// Both operands are stored with their tokens as rows, which are steps of the reduction: tensor cores take them so, transposed.
// Blocks stay and take tile after tile; the copying warpgroup is then already in the next tile. Two blocks of a cluster have
// tiles one below the other, and each copies half of the columns' operand into both; of four, two are also side by side, and
// copy half of the rows' operand for each other. Block r of four has the tile r / 2 down and r % 2 across.
//
// The statistic so far is read when a tile begins and first needed when its first sample ends, so the reading costs no time.
#include "plugins/backends/cuda/launch.h"
#include "plugins/backends/cuda/sm90.cuh"
#include "plugins/backends/cuda/tensor_map.h"

namespace
{

constexpr int ROWS = 128;            // of a tile
constexpr int DEPTH = 64;            // tokens of a stage
constexpr int STEP = 16;             // tokens of one product
constexpr int PANEL = 64;            // columns that lie together in shared memory
constexpr int ROW_BYTES = PANEL * 2; // of a panel
constexpr int PANEL_BYTES = DEPTH * ROW_BYTES;
constexpr int GROUP = 128; // threads of a warpgroup
constexpr int THREADS = 3 * GROUP;
constexpr int PROCESSORS = 132; // that work is cut for, however many there are
constexpr size_t SHARED = 227 * 1024;

__host__ __device__ constexpr int stage_bytes(int width)
{
	return (ROWS / PANEL + width / PANEL) * PANEL_BYTES;
}

// Room for the barriers and for bringing the first stage to a multiple of 1024 bytes.
__host__ __device__ constexpr int stages(int width)
{
	return (int)((SHARED - 2048) / stage_bytes(width));
}

__host__ __device__ constexpr int shared_bytes(int width)
{
	return stages(width) * stage_bytes(width) + 2048;
}

// Tiles of a cluster below each other and side by side.
__host__ __device__ constexpr int tiles_down(int cluster)
{
	return cluster == 1 ? 1 : 2;
}

__host__ __device__ constexpr int tiles_across(int cluster)
{
	return cluster == 4 ? 2 : 1;
}

struct maps {
	CUtensorMap dy, x;           // whole stages: dY 64 tokens / tiles_across, X 64 / tiles_down
	CUtensorMap dy_step, x_step; // STEP tokens
};

struct work {
	const uint64_t *start;
	uint32_t samples;
	float *out; // [splits, rows, cols]
	uint64_t rows, cols;
	uint32_t down;   // clusters below each other
	uint32_t across; // and beside each other
	uint32_t splits;
	int add;   // to what out holds
	int pairs; // columns can be read and written two at a time
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr uint32_t LAST = 1u << 31; // of shared::left

// A tile and the samples [first, end), which are the tokens [token, end_token).
struct item {
	uint32_t row, col;
	uint32_t first, end;
	uint32_t token, end_token;
	float *out;
};

// Tiles that run together lie in a band of at most BAND columns, so that they share what they read in the second-level cache.
template <int WIDTH, int CLUSTER> __device__ __forceinline__ item item_at(const work &w, uint32_t index, uint32_t rank)
{
	constexpr uint32_t DOWN = tiles_down(CLUSTER), ACROSS = tiles_across(CLUSTER), BAND = 8 / ACROSS;
	uint32_t tiles = w.down * w.across, split = index / tiles;
	index %= tiles;
	uint32_t bands = (w.across + BAND - 1) / BAND, broad = (w.across + bands - 1) / bands;
	uint32_t band = index / (broad * w.down), first = band * broad, left = w.across - first;
	index -= first * w.down;
	broad = left < broad ? left : broad;
	item it;
	it.row = (index / broad * DOWN + rank / ACROSS) * ROWS;
	it.col = ((first + index % broad) * ACROSS + rank % ACROSS) * WIDTH;
	it.first = (uint32_t)((uint64_t)w.samples * split / w.splits);
	it.end = (uint32_t)((uint64_t)w.samples * (split + 1) / w.splits);
	it.token = (uint32_t)w.start[it.first];
	it.end_token = (uint32_t)w.start[it.end];
	it.out = w.out + split * w.rows * w.cols;
	return it;
}

// The place in the ring of stages.
template <int STAGES> struct ring {
	uint32_t stage, phase;

	__device__ __forceinline__ void advance()
	{
		if (++stage == STAGES) {
			stage = 0;
			phase ^= 1;
		}
	}
};

// Where things lie in shared memory.
template <int WIDTH> struct shared {
	uint32_t base;

	__device__ __forceinline__ uint32_t dy(uint32_t stage) const
	{
		return base + stage * stage_bytes(WIDTH);
	}
	__device__ __forceinline__ uint32_t x(uint32_t stage) const
	{
		return dy(stage) + ROWS / PANEL * PANEL_BYTES;
	}
	__device__ __forceinline__ uint32_t full(uint32_t stage) const
	{
		return base + stages(WIDTH) * stage_bytes(WIDTH) + stage * 16;
	}
	__device__ __forceinline__ uint32_t empty(uint32_t stage) const
	{
		return full(stage) + 8;
	}
	// A word with the stage: how many tokens its sample has from there on, and LAST in the last sample of a tile. So those who
	// multiply read no sample's end from device memory, for which the compiler would make them wait together with the reads of
	// the tile's statistic.
	__device__ __forceinline__ uint32_t left(uint32_t stage) const
	{
		return base + stages(WIDTH) * (stage_bytes(WIDTH) + 16) + stage * 4;
	}
};

// A whole stage of tokens from t on.
template <int WIDTH, int CLUSTER>
__device__ __forceinline__ void copy_stage(const maps &m, shared<WIDTH> s, uint32_t stage, const item &it, uint32_t t, uint32_t rank)
{
	constexpr uint32_t DOWN = tiles_down(CLUSTER), ACROSS = tiles_across(CLUSTER);
	uint32_t below = rank / ACROSS, beside = rank % ACROSS;
	sm90::barrier_expect(s.full(stage), stage_bytes(WIDTH));
#pragma unroll
	for (int i = 0; i < ROWS / PANEL; i++) {
		uint32_t to = s.dy(stage) + i * PANEL_BYTES, row = it.row + i * PANEL;
		if (ACROSS == 1) {
			sm90::copy_box(to, &m.dy, row, t, s.full(stage));
		} else {
			sm90::copy_box_to(to + beside * (PANEL_BYTES / ACROSS), &m.dy, row, t + beside * (DEPTH / ACROSS), s.full(stage),
				(uint16_t)(3 << (below * ACROSS)));
		}
	}
#pragma unroll
	for (int i = 0; i < WIDTH / PANEL; i++) {
		uint32_t to = s.x(stage) + i * PANEL_BYTES, col = it.col + i * PANEL;
		if (CLUSTER == 1) {
			sm90::copy_box(to, &m.x, col, t, s.full(stage));
		} else {
			sm90::copy_box_to(to + below * (PANEL_BYTES / DOWN), &m.x, col, t + below * (DEPTH / DOWN), s.full(stage),
				(uint16_t)((ACROSS == 1 ? 3 : 5) << beside));
		}
	}
}

// The end of a sample: so many steps.
template <int WIDTH>
__device__ __forceinline__ void copy_steps(const maps &m, shared<WIDTH> s, uint32_t stage, const item &it, uint32_t t, uint32_t steps)
{
	sm90::barrier_expect(s.full(stage), steps * (stage_bytes(WIDTH) / (DEPTH / STEP)));
#pragma unroll 1
	for (uint32_t k = 0; k < steps; k++) {
		uint32_t at = k * STEP * ROW_BYTES;
		for (int i = 0; i < ROWS / PANEL; i++) {
			sm90::copy_box(s.dy(stage) + i * PANEL_BYTES + at, &m.dy_step, it.row + i * PANEL, t + k * STEP, s.full(stage));
		}
		for (int i = 0; i < WIDTH / PANEL; i++) {
			sm90::copy_box(s.x(stage) + i * PANEL_BYTES + at, &m.x_step, it.col + i * PANEL, t + k * STEP, s.full(stage));
		}
	}
}

template <int WIDTH, int CLUSTER>
__device__ __forceinline__ void produce(const maps &m, const work &w, shared<WIDTH> s, uint32_t rank)
{
	ring<stages(WIDTH)> r = {0, 0};
	for (uint32_t index = blockIdx.x / CLUSTER; index < w.down * w.across * w.splits; index += gridDim.x / CLUSTER) {
		item it = item_at<WIDTH, CLUSTER>(w, index, rank);
		uint32_t end = it.token, next = it.first != it.end ? (uint32_t)w.start[it.first + 1] : end;
		for (uint32_t i = it.first; i < it.end; i++) {
			uint32_t t = end;
			end = next;
			next = i + 2 <= it.end ? (uint32_t)w.start[i + 2] : end;
			for (; t < end; t += DEPTH) {
				sm90::barrier_wait(s.empty(r.stage), r.phase ^ 1);
				sm90::store_shared(s.left(r.stage), end - t | (end == it.end_token ? LAST : 0));
				if (end - t > DEPTH - STEP) {
					copy_stage<WIDTH, CLUSTER>(m, s, r.stage, it, t, rank);
				} else {
					copy_steps<WIDTH>(m, s, r.stage, it, t, (end - t + STEP - 1) / STEP);
				}
				r.advance();
			}
		}
	}
}

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

template <int WIDTH, int CLUSTER, bool SQUARE>
__global__ void __launch_bounds__(THREADS, 1) grad_tiles(const __grid_constant__ maps m, const __grid_constant__ work w)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
	extern __shared__ char memory[];
	shared<WIDTH> s = {(sm90::shared_address(memory) + 1023) & ~1023u};
	uint32_t group = threadIdx.x / GROUP, rank = CLUSTER == 1 ? 0 : sm90::cluster_rank();
	if (threadIdx.x == 0) {
		for (uint32_t i = 0; i < stages(WIDTH); i++) {
			sm90::barrier_init(s.full(i), 1);
			sm90::barrier_init(s.empty(i), 2 * GROUP / 32 * feeders(CLUSTER));
		}
		sm90::barrier_init_fence();
	}
	if (CLUSTER == 1) {
		__syncthreads();
	} else {
		sm90::cluster_sync();
	}
	if (group == 0) {
		sm90::registers_less<40>();
		if (threadIdx.x == 0) {
			sm90::prefetch_map(&m.dy);
			sm90::prefetch_map(&m.x);
			produce<WIDTH, CLUSTER>(m, w, s, rank);
		}
	} else {
		sm90::registers_more<232>();
		consume<WIDTH, CLUSTER, SQUARE>(w, s, rank, group - 1);
	}
	if (CLUSTER != 1) {
		// Others still write into this block's memory and arrive at its barriers.
		sm90::cluster_sync();
	}
#endif
}

template <int WIDTH, int CLUSTER, bool SQUARE> cudaError_t start(const maps &m, const work &w, int processors, cudaStream_t stream)
{
	auto kernel = grad_tiles<WIDTH, CLUSTER, SQUARE>;
	cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes(WIDTH));
	if (e != cudaSuccess) {
		return e;
	}
	uint64_t items = (uint64_t)w.down * w.across * w.splits, most = processors / CLUSTER;
	cudaLaunchAttribute cluster = {};
	cluster.id = cudaLaunchAttributeClusterDimension;
	cluster.val.clusterDim.x = CLUSTER;
	cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
	cudaLaunchConfig_t c = {};
	c.gridDim = dim3((unsigned)(items < most ? items : most) * CLUSTER);
	c.blockDim = dim3(THREADS);
	c.dynamicSmemBytes = shared_bytes(WIDTH);
	c.stream = stream;
	c.attrs = &cluster;
	c.numAttrs = CLUSTER == 1 ? 0 : 1;
	if (CLUSTER > 2) {
		// A cluster lies in one part of the GPU; what does not fit at once would come after all others.
		int fit = 0;
		e = cudaOccupancyMaxActiveClusters(&fit, kernel, &c);
		if (e != cudaSuccess || fit < 1) {
			return e != cudaSuccess ? e : cudaErrorInvalidConfiguration;
		}
		c.gridDim.x = (unsigned)(items < (uint64_t)fit ? items : (uint64_t)fit) * CLUSTER;
	}
	return cudaLaunchKernelEx(&c, kernel, m, w);
}

template <int WIDTH, int CLUSTER>
cudaError_t start(const maps &m, const work &w, int processors, int square, cudaStream_t stream)
{
	return square ? start<WIDTH, CLUSTER, true>(m, w, processors, stream) : start<WIDTH, CLUSTER, false>(m, w, processors, stream);
}

constexpr bool built_for(const int *list, int n, int arch)
{
	return n != 0 && (list[0] == arch || built_for(list + 1, n - 1, arch));
}

uint64_t over(uint64_t n, uint64_t by)
{
	return (n + by - 1) / by;
}

} // namespace

int cuda_grad_sm90_can(const struct grad_launch *g, int capability)
{
	static constexpr int list[] = {__CUDA_ARCH_LIST__};
	uint64_t most = INT32_MAX - 1024;
	return built_for(list, sizeof(list) / sizeof(list[0]), 900) && capability == 90 && g->tokens <= most && g->rows <= most &&
	       g->cols <= most && over(g->rows, ROWS) * over(g->cols, 128) <= INT32_MAX / 32;
}

struct grad_cut cuda_grad_sm90_cut(const struct grad_launch *g)
{
	struct grad_cut cut = {192, 2, 1};
	uint64_t down = over(g->rows, ROWS * cut.cluster), clusters = PROCESSORS / cut.cluster;
	// What counts is how long the last cluster works. The narrower tile reads more for each product.
	uint64_t wide = over(down * over(g->cols, 192), clusters) * 192, narrow = over(down * over(g->cols, 128), clusters) * 128;
	if (narrow * 12 < wide * 11) {
		cut.width = 128;
	}
	cut.splits = cuda_grad_splits(down * over(g->cols, cut.width), g->samples, (uint32_t)clusters);
	return cut;
}

cudaError_t cuda_grad_sm90(const struct grad_launch *g, const struct grad_cut *cut, float *d_parts, cudaStream_t stream)
{
	struct maps m;
	cudaError_t e = cuda_tensor_map(&m.dy, g->d_dy, g->tokens, g->rows, g->lddy, DEPTH / tiles_across((int)cut->cluster));
	e = e != cudaSuccess ? e : cuda_tensor_map(&m.x, g->d_x, g->tokens, g->cols, g->ldx, DEPTH / tiles_down((int)cut->cluster));
	e = e != cudaSuccess ? e : cuda_tensor_map(&m.dy_step, g->d_dy, g->tokens, g->rows, g->lddy, STEP);
	e = e != cudaSuccess ? e : cuda_tensor_map(&m.x_step, g->d_x, g->tokens, g->cols, g->ldx, STEP);
	int device = 0, processors = 0;
	e = e != cudaSuccess ? e : cudaGetDevice(&device);
	e = e != cudaSuccess ? e : cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
	if (e != cudaSuccess) {
		return e;
	}
	struct work w = {};
	w.start = g->d_start;
	w.samples = g->samples;
	w.out = cut->splits == 1 ? g->d_out : d_parts;
	w.rows = g->rows;
	w.cols = g->cols;
	w.down = (uint32_t)over(g->rows, ROWS * tiles_down((int)cut->cluster));
	w.across = (uint32_t)over(g->cols, cut->width * tiles_across((int)cut->cluster));
	w.splits = cut->splits;
	w.add = cut->splits == 1;
	w.pairs = g->cols % 2 == 0 && (uintptr_t)w.out % 8 == 0;
	if (cut->width == 192) {
		e = cut->cluster == 4 ? start<192, 4>(m, w, processors, g->square, stream)
			: cut->cluster == 2 ? start<192, 2>(m, w, processors, g->square, stream)
					    : start<192, 1>(m, w, processors, g->square, stream);
	} else {
		e = cut->cluster == 4 ? start<128, 4>(m, w, processors, g->square, stream)
			: cut->cluster == 2 ? start<128, 2>(m, w, processors, g->square, stream)
					    : start<128, 1>(m, w, processors, g->square, stream);
	}
	return e != cudaSuccess || cut->splits == 1
		       ? e
		       : cuda_grad_add_parts(g->d_out, d_parts, g->rows * g->cols, cut->splits, stream);
}
