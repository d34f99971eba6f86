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
#include "plugins/backends/cuda/grad_sm90_sum.cuh"
#include "plugins/backends/cuda/launch.h"

namespace
{

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
		// Blocks that need not wait for each other gain more than those that share: on H100 a tenth on 576 x 1536, a quarter with
		// samples of 20 tokens.
		cut.width = 128;
		cut.cluster = 1;
		down = over(g->rows, ROWS);
		clusters = PROCESSORS;
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
