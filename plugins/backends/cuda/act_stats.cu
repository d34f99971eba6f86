// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Statistics of columns in f64: blocks of rows give partial sums, which are then added in the order of the rows. How the rows are
// cut follows from the shape alone.
#include "plugins/backends/cuda/launch.h"
#include "plugins/backends/cuda/rows.cuh"
#include "plugins/backends/cuda/scalar.h"

namespace {

enum {
	SUM = 1,
	SQ = 2,
	MAX = 4,
	ABS = 8, // alone
	WARPS = THREADS / 32, // of a block: each takes every eighth row
	BLOCKS = 2048,        // that are wanted, about
	LEAST_ROWS = 8 * WARPS,
	AHEAD = 4 // rows that a thread loads before it adds
};

// Where the partial results are: [parts, cols] each, those of f64 first.
struct partial {
	double *sum; // or of |x|
	double *sq;
	uint32_t *max;
};

struct cut {
	uint64_t across; // blocks side by side
	uint64_t parts;  // blocks of rows
	uint64_t rows;   // of a part
};

// Always in packs of 4 columns, so that a matrix is cut alike wherever it lies.
struct cut cut_columns(uint64_t rows, uint64_t cols)
{
	struct cut c;
	c.across = ceil_div(cols, 32 * 4);
	uint64_t most = ceil_div(rows, LEAST_ROWS), wanted = ceil_div(BLOCKS, c.across);
	c.rows = ceil_div(rows, most < wanted ? most : wanted);
	c.parts = ceil_div(rows, c.rows);
	return c;
}

template <int WANT> struct totals {
	double sum[4], sq[4];
	uint32_t max[4];

	__device__ __forceinline__ void clear()
	{
#pragma unroll
		for (int k = 0; k < 4; k++) {
			sum[k] = sq[k] = 0.0;
			max[k] = 0;
		}
	}

	__device__ __forceinline__ void take(int k, float x)
	{
		double v = (double)x;
		if (WANT & SUM) {
			sum[k] += v;
		}
		if (WANT & SQ) {
			sq[k] += v * v;
		}
		if (WANT & ABS) {
			sum[k] += fabs(v);
		}
		if (WANT & MAX) {
			max[k] = larger()(max[k], scalar_magnitude(x));
		}
	}
};

// Reads 4 neighbouring columns of a row, those that there are.
template <bool WIDE> __device__ __forceinline__ pack<float, 4> columns(const float *x, uint64_t c, uint64_t cols)
{
	pack<float, 4> v = {};
	if constexpr (WIDE) {
		v = load<4>(x + c, 0);
	} else {
#pragma unroll
		for (int k = 0; k < 4; k++) {
			if (c + k < cols) {
				v.v[k] = x[c + k];
			}
		}
	}
	return v;
}

// Adds what the warps have, in their order, and stores it. part [WARPS, 128] is read and written between barriers.
template <typename T, typename F>
__device__ __forceinline__ void gather(const T (&v)[4], T (*part)[32 * 4], T *out, uint64_t first, uint64_t cols, F f)
{
	__syncthreads();
#pragma unroll
	for (int k = 0; k < 4; k++) {
		part[threadIdx.y][threadIdx.x * 4 + k] = v[k];
	}
	__syncthreads();
	unsigned c = threadIdx.y * 32 + threadIdx.x;
	if (c < 32 * 4 && first + c < cols) {
		T total = part[0][c];
#pragma unroll
		for (int w = 1; w < WARPS; w++) {
			total = f(total, part[w][c]);
		}
		out[first + c] = total;
	}
}

template <int WANT, bool WIDE>
__global__ void __launch_bounds__(THREADS, 4) partial_sums(const float *x, uint64_t rows, uint64_t cols, uint64_t ld, struct cut cut,
	struct partial p)
{
	__shared__ double part[WARPS][32 * 4];
	uint64_t number = blockIdx.x / (uint32_t)cut.across, first = (uint64_t)(blockIdx.x % (uint32_t)cut.across) * (32 * 4);
	uint64_t top = number * cut.rows, end = rows - top < cut.rows ? rows : top + cut.rows, c = first + threadIdx.x * 4;
	struct totals<WANT> t;
	t.clear();
	if (c < cols) {
		for (uint64_t r = top + threadIdx.y; r < end; r += WARPS * AHEAD) {
			pack<float, 4> v[AHEAD];
#pragma unroll
			for (int a = 0; a < AHEAD; a++) {
				v[a] = pack<float, 4>{};
				if (r + a * WARPS < end) {
					v[a] = columns<WIDE>(x + (r + a * WARPS) * ld, c, cols);
				}
			}
#pragma unroll
			for (int a = 0; a < AHEAD; a++) {
#pragma unroll
				for (int k = 0; k < 4; k++) {
					t.take(k, v[a].v[k]);
				}
			}
		}
	}
	if (WANT & (SUM | ABS)) {
		gather(t.sum, part, p.sum + number * cols, first, cols, add());
	}
	if (WANT & SQ) {
		gather(t.sq, part, p.sq + number * cols, first, cols, add());
	}
	if (WANT & MAX) {
		gather(t.max, reinterpret_cast<uint32_t(*)[32 * 4]>(part), p.max + number * cols, first, cols, larger());
	}
}

__device__ void add_parts(const double *part, uint64_t parts, uint64_t cols, uint64_t c, double *out)
{
	double sum = 0.0;
#pragma unroll 8
	for (uint64_t i = 0; i < parts; i++) {
		sum += part[i * cols + c];
	}
	out[c] += sum;
}

__device__ void largest_part(const uint32_t *part, uint64_t parts, uint64_t cols, uint64_t c, float *out)
{
	uint32_t most = scalar_magnitude(out[c]);
#pragma unroll 8
	for (uint64_t i = 0; i < parts; i++) {
		most = larger()(most, part[i * cols + c]);
	}
	out[c] = scalar_float(most);
}

__global__ void __launch_bounds__(64) whole(struct launch_columns s, uint64_t parts, struct partial p)
{
	uint64_t c = (uint64_t)blockIdx.x * 64 + threadIdx.x;
	if (c >= s.cols) {
		return;
	}
	if (s.d_sum) {
		add_parts(p.sum, parts, s.cols, c, s.d_sum);
	}
	if (s.d_sq) {
		add_parts(p.sq, parts, s.cols, c, s.d_sq);
	}
	if (s.d_abs) {
		add_parts(p.sum, parts, s.cols, c, s.d_abs);
	}
	if (s.d_absmax) {
		largest_part(p.max, parts, s.cols, c, s.d_absmax);
	}
}

template <int WANT> void start(cudaStream_t stream, const struct launch_columns *s, struct cut c, struct partial p)
{
	unsigned blocks = (unsigned)(c.across * c.parts);
	dim3 block(32, WARPS);
	if (packed(s->d_x, s->cols, s->ld)) {
		partial_sums<WANT, true><<<blocks, block, 0, stream>>>(s->d_x, s->rows, s->cols, s->ld, c, p);
	} else {
		partial_sums<WANT, false><<<blocks, block, 0, stream>>>(s->d_x, s->rows, s->cols, s->ld, c, p);
	}
}

using starter = void (*)(cudaStream_t, const struct launch_columns *, struct cut, struct partial);

const starter starters[ABS + 1] = {nullptr, start<SUM>, start<SQ>, start<SUM | SQ>, start<MAX>, start<SUM | MAX>, start<SQ | MAX>,
	start<SUM | SQ | MAX>, start<ABS>};

} // namespace

size_t launch_columns_scratch(uint64_t rows, uint64_t cols)
{
	if (rows == 0 || cols == 0) {
		return 0;
	}
	return (size_t)(cut_columns(rows, cols).parts * cols * (2 * sizeof(double) + sizeof(uint32_t)));
}

cudaError_t launch_columns(cudaStream_t stream, const struct launch_columns *s)
{
	int want = s->d_abs ? ABS : (s->d_sum ? SUM : 0) | (s->d_sq ? SQ : 0) | (s->d_absmax ? MAX : 0);
	if (s->rows == 0 || s->cols == 0 || want == 0) {
		return cudaSuccess;
	}
	struct cut c = cut_columns(s->rows, s->cols);
	if (c.across > 0x7fffffffU / c.parts) {
		return cudaErrorInvalidConfiguration;
	}
	struct partial p;
	p.sum = (double *)s->d_scratch;
	p.sq = p.sum + c.parts * s->cols;
	p.max = (uint32_t *)(p.sq + c.parts * s->cols);
	starters[want](stream, s, c, p);
	cudaError_t e = cudaGetLastError();
	if (e == cudaSuccess) {
		whole<<<(unsigned)ceil_div(s->cols, 64), 64, 0, stream>>>(*s, c.parts, p);
		e = cudaGetLastError();
	}
	return e;
}
