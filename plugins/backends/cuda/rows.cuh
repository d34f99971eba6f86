// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// What kernels of elements, rows and columns share: packs of neighbouring elements that are loaded at once, maps over arrays,
// tiles of matrices, sums over a group of threads.
#ifndef CUDA_ROWS_CUH
#define CUDA_ROWS_CUH

#include <stdint.h>

#include <cuda_bf16.h>
#include <cuda_runtime.h>

enum { THREADS = 256 }; // of a block, where nothing else is said

// W elements that one load or store moves; addresses are multiples of its size.
template <typename T, int W> struct alignas(sizeof(T) * W) pack {
	T v[W];
};

template <int W, typename T> static __device__ __forceinline__ pack<T, W> load(const T *p, uint64_t i)
{
	return reinterpret_cast<const pack<T, W> *>(p)[i];
}

template <int W, typename T> static __device__ __forceinline__ void store(T *p, uint64_t i, const pack<T, W> &x)
{
	reinterpret_cast<pack<T, W> *>(p)[i] = x;
}

// Packs rounded to BF16: a copy for products beside what is stored as f32. p of NULL: none is wanted.
template <int W> static __device__ __forceinline__ void store_rounded(uint16_t *p, uint64_t i, const pack<float, W> &x)
{
	if (p == nullptr) {
		return;
	}
	if constexpr (W % 2 == 0) {
		pack<uint32_t, W / 2> y;
#pragma unroll
		for (int w = 0; w < W; w += 2) {
			__nv_bfloat162 both = __floats2bfloat162_rn(x.v[w], x.v[w + 1]);
			y.v[w / 2] = *reinterpret_cast<uint32_t *>(&both);
		}
		reinterpret_cast<pack<uint32_t, W / 2> *>(p)[i] = y;
	} else {
		reinterpret_cast<__nv_bfloat16 *>(p)[i] = __float2bfloat16_rn(x.v[0]);
	}
}

// Whether packs of 4 elements can be loaded from p.
template <typename T> static inline bool aligned(const T *p)
{
	return reinterpret_cast<uintptr_t>(p) % (4 * sizeof(T)) == 0;
}

// Whether a matrix with rows `ld` elements apart is made of whole packs of 4; cols: its columns.
static inline bool packed(const float *p, uint64_t cols, uint64_t ld)
{
	return aligned(p) && cols % 4 == 0 && ld % 4 == 0;
}

static inline uint64_t ceil_div(uint64_t a, uint64_t b)
{
	return a / b + (a % b != 0);
}

// A grid has less than 2^31 blocks in its first dimension; more cannot be wanted of any memory, but is refused, not cut.
static inline bool too_many(uint64_t blocks)
{
	return blocks > 0x7fffffffU;
}

// Elements. f(x, y) computes the OUTS results y of the INS arguments x, which all have the same number.

template <typename T, int N> struct arrays {
	T *p[N];
};

// Copies in BF16 of results, each NULL where none is wanted.
template <int N> struct rounded {
	uint16_t *p[N];
};

template <typename O, int OUTS, int W>
static __device__ __forceinline__ void put(const arrays<O, OUTS> &out, int, int a, uint64_t i, const pack<O, W> &y)
{
	store<W>(out.p[a], i, y);
}

template <int OUTS, int W>
static __device__ __forceinline__ void put(
	const arrays<float, OUTS> &out, const rounded<OUTS> &copies, int a, uint64_t i, const pack<float, W> &y)
{
	store<W>(out.p[a], i, y);
	store_rounded<W>(copies.p[a], i, y);
}

template <int INS, int OUTS, int W, int U, typename I, typename O, typename C, typename F>
static __device__ __forceinline__ void map_pack(const pack<I, W> (&x)[INS], arrays<O, OUTS> out, const C &copies, const F &f, uint64_t i)
{
	pack<O, W> y[OUTS];
#pragma unroll
	for (int w = 0; w < W; w++) {
		I one[INS];
		O result[OUTS];
#pragma unroll
		for (int a = 0; a < INS; a++) {
			one[a] = x[a].v[w];
		}
		f(one, result);
#pragma unroll
		for (int a = 0; a < OUTS; a++) {
			y[a].v[w] = result[a];
		}
	}
#pragma unroll
	for (int a = 0; a < OUTS; a++) {
		put(out, copies, a, i, y[a]);
	}
}

// All of a thread's loads come before its first store: results may lie where arguments lay.
// C: rounded<OUTS>, or int where there are no copies.
template <int INS, int OUTS, int W, int U, typename I, typename O, typename C, typename F>
static __global__ void __launch_bounds__(THREADS) map_kernel(arrays<const I, INS> in, arrays<O, OUTS> out, C copies, F f, uint64_t n)
{
	uint64_t packs = n / W, first = (uint64_t)blockIdx.x * (THREADS * U) + threadIdx.x;
	pack<I, W> x[U][INS];
#pragma unroll
	for (int u = 0; u < U; u++) {
		uint64_t i = first + u * THREADS;
#pragma unroll
		for (int a = 0; a < INS; a++) {
			if (i < packs) {
				x[u][a] = load<W>(in.p[a], i);
			}
		}
	}
#pragma unroll
	for (int u = 0; u < U; u++) {
		uint64_t i = first + u * THREADS;
		if (i < packs) {
			map_pack<INS, OUTS, W, U>(x[u], out, copies, f, i);
		}
	}
	if (W > 1 && blockIdx.x == 0 && threadIdx.x < n % W) {
		uint64_t i = packs * W + threadIdx.x;
		pack<I, 1> last[INS];
#pragma unroll
		for (int a = 0; a < INS; a++) {
			last[a] = load<1>(in.p[a], i);
		}
		map_pack<INS, OUTS, 1, U>(last, out, copies, f, i);
	}
}

template <int INS, int OUTS, typename I, typename O, typename F, typename C = int>
static cudaError_t map(cudaStream_t stream, arrays<const I, INS> in, arrays<O, OUTS> out, F f, uint64_t n, C copies = C())
{
	constexpr int U = INS > 2 ? 2 : 4;
	bool wide = true;
	for (int a = 0; a < INS; a++) {
		wide = wide && aligned(in.p[a]);
	}
	for (int a = 0; a < OUTS; a++) {
		wide = wide && aligned(out.p[a]);
	}
	if (n == 0) {
		return cudaSuccess;
	}
	uint64_t blocks = ceil_div(ceil_div(n, wide ? 4 : 1), THREADS * U);
	if (too_many(blocks)) {
		return cudaErrorInvalidConfiguration;
	}
	if (wide) {
		map_kernel<INS, OUTS, 4, U><<<(unsigned)blocks, THREADS, 0, stream>>>(in, out, copies, f, n);
	} else {
		map_kernel<INS, OUTS, 1, U><<<(unsigned)blocks, THREADS, 0, stream>>>(in, out, copies, f, n);
	}
	return cudaGetLastError();
}

// Tiles of a matrix [rows, packs]: a block has blockDim.y rows and TILE_PACKS * blockDim.x packs of each.

enum { TILE_PACKS = 4 };

struct tile {
	uint64_t row;   // of this thread
	uint64_t first; // pack; the others follow blockDim.x apart
};

static __device__ __forceinline__ struct tile this_tile(uint32_t across)
{
	struct tile t;
	t.row = (uint64_t)(blockIdx.x / across) * blockDim.y + threadIdx.y;
	t.first = (uint64_t)(blockIdx.x % across) * (blockDim.x * TILE_PACKS) + threadIdx.x;
	return t;
}

struct tiles {
	dim3 block;
	uint32_t across; // tiles side by side
	uint32_t blocks; // 0: too many
};

static inline struct tiles cut_tiles(uint64_t rows, uint64_t packs)
{
	unsigned width = 1;
	while (width < THREADS && width < packs) {
		width *= 2;
	}
	struct tiles t = {dim3(width, THREADS / width), 0, 0};
	uint64_t across = ceil_div(packs, (uint64_t)width * TILE_PACKS), down = ceil_div(rows, t.block.y);
	if (across <= 0x7fffffffU / down) {
		t.across = (uint32_t)across;
		t.blocks = (uint32_t)(across * down);
	}
	return t;
}

// Groups of threads. Every thread of the group comes here and gets the result; the order depends on the group's size alone.

struct add {
	template <typename T> __device__ T operator()(T a, T b) const
	{
		return a + b;
	}
};

struct larger {
	template <typename T> __device__ T operator()(T a, T b) const
	{
		return a > b ? a : b;
	}
};

// Of G neighbouring threads of a warp, G a power of two; all threads of the warp come here.
template <int G, typename T, typename F> static __device__ __forceinline__ T reduce_lanes(T v, F f)
{
#pragma unroll
	for (int d = G / 2; d > 0; d /= 2) {
		v = f(v, __shfl_xor_sync(0xffffffffU, v, d, 32));
	}
	return v;
}

// Of a block of whole warps (blockDim.y == 1). shared [32] is used once in a kernel: nothing waits before it is written.
template <typename T, typename F> static __device__ __forceinline__ T reduce_block(T v, T nothing, F f, T *shared)
{
	unsigned lane = threadIdx.x % 32, warps = blockDim.x / 32;
	v = reduce_lanes<32>(v, f);
	if (lane == 0) {
		shared[threadIdx.x / 32] = v;
	}
	__syncthreads();
	return reduce_lanes<32>(lane < warps ? shared[lane] : nothing, f);
}

// Rows of G threads each (G of 0: of a whole block), of which each has packs of 4 in registers, at most K.

template <int G> struct row {
	uint64_t number;
	unsigned lane;
	unsigned step;
	bool live; // number is one of the matrix; without it the thread only helps in sums

	__device__ __forceinline__ explicit row(uint64_t rows)
	{
		number = G ? (uint64_t)blockIdx.x * (THREADS / (G ? G : 1)) + threadIdx.x / (G ? G : 1) : blockIdx.x;
		lane = G ? threadIdx.x % (G ? G : 1) : threadIdx.x;
		step = G ? G : blockDim.x;
		live = number < rows;
	}
};

template <int G, typename T, typename F> static __device__ __forceinline__ T reduce_row(T v, T nothing, F f)
{
	if constexpr (G > 0) {
		return reduce_lanes<G>(v, f);
	} else {
		__shared__ T shared[32];
		return reduce_block(v, nothing, f, shared);
	}
}

// Calls launch(kernel's G and K as types, blocks, threads) for rows of `packs` packs: narrow rows share a block.
enum { ROW_PACKS = 4, ROW_PACKS_MAX = ROW_PACKS * 1024 };

template <int G_, int K_> struct row_shape {
	static constexpr int G = G_, K = K_;
};

template <typename L> static cudaError_t launch_rows(uint64_t rows, uint64_t packs, L launch)
{
	uint64_t blocks = rows;
	unsigned threads = THREADS;
	if (packs <= 16) {
		blocks = ceil_div(rows, THREADS / 16);
	} else if (packs <= 32 * ROW_PACKS) {
		blocks = ceil_div(rows, THREADS / 32);
	} else {
		threads = packs <= 128 * ROW_PACKS ? 128 : packs <= 256 * ROW_PACKS ? 256 : packs <= 512 * ROW_PACKS ? 512 : 1024;
	}
	if (too_many(blocks)) {
		return cudaErrorInvalidConfiguration;
	}
	if (packs <= 16) {
		launch(row_shape<16, 1>(), (unsigned)blocks, threads);
	} else if (packs <= 32) {
		launch(row_shape<32, 1>(), (unsigned)blocks, threads);
	} else if (packs <= 32 * ROW_PACKS) {
		launch(row_shape<32, ROW_PACKS>(), (unsigned)blocks, threads);
	} else {
		launch(row_shape<0, ROW_PACKS>(), (unsigned)blocks, threads);
	}
	return cudaGetLastError();
}

#endif
