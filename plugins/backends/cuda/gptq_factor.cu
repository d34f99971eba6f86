// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Cholesky factor of a matrix and its inverse in f64, in one walk and in place. Where a block column of L is known, it is taken out
// of the matrix, and all that is left is changed by products with it: right of it the matrix that remains to be factored, left of it
// rows of L^-1 that are not complete. gptq.c says in which order.
#include "plugins/backends/cuda/launch.h"
#include "plugins/backends/cuda/rows.cuh"

namespace {

enum {
	TILE = 128,                // rows and columns of C that a block of threads has
	SLAB = 8,                  // steps of the sum that are loaded at once
	STRIDE = 12,               // doubles between rows of a slab: no two lanes that read fragments meet in a bank
	EACH = TILE * SLAB / THREADS,
	GROUP = 8,                 // rows of tiles that are gone through together, so that they share what they read
	LANES = 32
};

__device__ __forceinline__ uint64_t column_at(const uint32_t *order, uint64_t i)
{
	return order != nullptr ? order[i] : i;
}

// A block has one row. A column without input is tied to no other.
__global__ void __launch_bounds__(THREADS) fill(struct launch_gptq_fill p)
{
	const uint64_t i = blockIdx.x, n = p.n, mine = column_at(p.d_order, n - 1 - i);
	const uint64_t panel = (i / GPTQ_PANEL + 1) * GPTQ_PANEL, end = panel < n ? panel : n;
	const bool alive = p.d_gram[mine * n + mine] > 0.0F;
	double *row = p.d_m + i * p.ld;

	if (i == 0 && threadIdx.x == 0) {
		*p.d_failed = 0;
	}
	for (uint64_t k = threadIdx.x; k < end; k += THREADS) {
		double v = 0.0;
		if (k < i && alive) {
			const uint64_t other = column_at(p.d_order, n - 1 - k);
			const uint64_t upper = mine < other ? mine * n + other : other * n + mine;
			v = p.d_gram[other * n + other] > 0.0F ? (double)p.d_gram[upper] : 0.0;
		} else if (k == i) {
			v = alive ? (double)p.d_gram[mine * n + mine] + p.damping : 1.0;
		}
		row[k] = v;
	}
}

// One block of threads, each with some rows of a column in registers: right of the column at hand what remains of A, left of it rows of
// L^-1 that are not complete. A step's column and row go through shared memory, in turns through two arrays of each: so a step needs one
// barrier.
__global__ void __launch_bounds__(THREADS) diagonal(double *m, uint64_t ld, unsigned size, int *failed)
{
	constexpr unsigned OWN = GPTQ_BLOCK * GPTQ_BLOCK / THREADS;
	__shared__ double columns[2][GPTQ_BLOCK], rows[2][GPTQ_BLOCK], before[GPTQ_BLOCK];
	const unsigned c = threadIdx.x % GPTQ_BLOCK, first = threadIdx.x / GPTQ_BLOCK * OWN;
	double v[OWN];

	if (*failed) {
		return;
	}
#pragma unroll
	for (unsigned w = 0; w < OWN; w++) {
		v[w] = first + w < size && c <= first + w ? m[(first + w) * ld + c] : 0.0;
		if (c == first + w) {
			before[c] = v[w];
		}
	}
	for (unsigned begin = 0; begin < size; begin += OWN) {
#pragma unroll
		for (unsigned u = 0; u < OWN; u++) {
			const unsigned j = begin + u;
			double *column = columns[u % 2], *row = rows[u % 2];
			if (j >= size) {
				break;
			}
			if (c == j) {
#pragma unroll
				for (unsigned w = 0; w < OWN; w++) {
					column[first + w] = v[w];
				}
			}
			if (first == begin) {
				row[c] = v[u];
			}
			__syncthreads();
			const double pivot = column[j];
			// Less is what rounding leaves of a zero.
			if (!(pivot > 1e-14 * before[j]) || !isfinite(pivot)) {
				if (threadIdx.x == 0) {
					*failed = 1;
				}
				return;
			}
			const double inverse = rsqrt(pivot), right = (c > j ? column[c] : c < j ? row[c] : 1.0) * inverse;
#pragma unroll
			for (unsigned w = 0; w < OWN; w++) {
				if (first + w > j) {
					v[w] = (c == j ? 0.0 : v[w]) - column[first + w] * inverse * right;
				} else if (first + w == j) {
					v[w] = right;
				}
			}
		}
	}
#pragma unroll
	for (unsigned w = 0; w < OWN; w++) {
		if (first + w < size && c < size) {
			m[(first + w) * ld + c] = c <= first + w ? v[w] : 0.0;
		}
	}
}

// c [16, 8] += a [16, 8] b [8, 8] by a warp. A lane (g = lane / 4, t = lane % 4) has a of (g, t), (g + 8, t), (g, t + 4),
// (g + 8, t + 4); b of (t, g), (t + 4, g); c of (g, 2 t), (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1).
__device__ __forceinline__ void multiply(double (&c)[4], const double (&a)[4], const double (&b)[2])
{
#if defined(EMULATED_CUDA_RUNTIME_H)
	emulated_multiply(c, a, b);
#elif !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
	asm("mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
	    : "+d"(c[0]), "+d"(c[1]), "+d"(c[2]), "+d"(c[3])
	    : "d"(a[0]), "d"(a[1]), "d"(a[2]), "d"(a[3]), "d"(b[0]), "d"(b[1]));
#else
#pragma unroll
	for (int half = 0; half < 2; half++) {
#pragma unroll
		for (int k = 0; k < 2; k++) {
			asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
			    : "+d"(c[2 * half]), "+d"(c[2 * half + 1])
			    : "d"(a[2 * k + half]), "d"(b[k]));
		}
	}
#endif
}

// EACH numbers of a slab of A or T, whose rows are along the sum.
__device__ __forceinline__ void fetch_rows(double (&v)[EACH], const double *a, uint64_t ld, uint64_t row0, uint64_t rows, uint64_t at,
	uint64_t depth)
{
	const uint64_t k = at + threadIdx.x % SLAB;
#pragma unroll
	for (int u = 0; u < EACH; u++) {
		const uint64_t r = row0 + threadIdx.x / SLAB + u * (THREADS / SLAB);
		v[u] = r < rows && k < depth ? a[r * ld + k] : 0.0;
	}
}

__device__ __forceinline__ void put_rows(double *slab, const double (&v)[EACH])
{
#pragma unroll
	for (int u = 0; u < EACH; u++) {
		slab[(threadIdx.x / SLAB + u * (THREADS / SLAB)) * STRIDE + threadIdx.x % SLAB] = v[u];
	}
}

// The same of X, whose columns are along the sum; neighbouring lanes have other steps, so that they do not meet in a bank.
__device__ __forceinline__ unsigned step_of(int u)
{
	return threadIdx.x / TILE * EACH + (u + threadIdx.x / 4) % EACH;
}

__device__ __forceinline__ void fetch_columns(double (&v)[EACH], const double *x, uint64_t ld, uint64_t col0, uint64_t cols, uint64_t at,
	uint64_t depth)
{
	const uint64_t c = col0 + threadIdx.x % TILE;
#pragma unroll
	for (int u = 0; u < EACH; u++) {
		const uint64_t k = at + step_of(u);
		v[u] = c < cols && k < depth ? x[k * ld + c] : 0.0;
	}
}

__device__ __forceinline__ void put_columns(double *slab, const double (&v)[EACH])
{
#pragma unroll
	for (int u = 0; u < EACH; u++) {
		slab[threadIdx.x % TILE * STRIDE + step_of(u)] = v[u];
	}
}

// A warp has 64 rows and 32 columns of the tile.
__device__ __forceinline__ void multiply_slab(double (&c)[4][4][4], const double *left, const double *right)
{
	const unsigned lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, g = lane / 4, t = lane % 4;
	const double *l = left + (warp / 4 * 64 + g) * STRIDE + t, *r = right + (warp % 4 * 32 + g) * STRIDE + t;
	double a[4][4];
#pragma unroll
	for (int i = 0; i < 4; i++) {
		a[i][0] = l[i * 16 * STRIDE];
		a[i][1] = l[(i * 16 + 8) * STRIDE];
		a[i][2] = l[i * 16 * STRIDE + 4];
		a[i][3] = l[(i * 16 + 8) * STRIDE + 4];
	}
#pragma unroll
	for (int k = 0; k < 4; k++) {
		const double b[2] = {r[k * 8 * STRIDE], r[k * 8 * STRIDE + 4]};
#pragma unroll
		for (int i = 0; i < 4; i++) {
			multiply(c[i][k], a[i], b);
		}
	}
}

// col0, cols: the columns of C that the tile begins with and may have. Of each part of a thread's numbers all are loaded before one is
// stored, so that they wait together.
__device__ __forceinline__ void put_tile(const struct launch_gptq_product &p, const double (&c)[4][4][4], uint64_t row0, uint64_t col0,
	uint64_t cols)
{
	const unsigned lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		const uint64_t r0 = row0 + warp / 4 * 64 + i * 16 + lane / 4, at0 = col0 + warp % 4 * 32 + lane % 4 * 2;
		double old[16];
#pragma unroll
		for (int k = 0; k < 16; k++) {
			const uint64_t r = r0 + k / 8 * 8, at = at0 + k % 8 / 2 * 8 + k % 2;
			const bool nothing = p.assign || (at >= p.zero && at < p.split);
			old[k] = !nothing && r < p.rows && at < cols && at <= r + p.diagonal ? p.d_c[r * p.ldc + at] : 0.0;
		}
#pragma unroll
		for (int k = 0; k < 16; k++) {
			const uint64_t r = r0 + k / 8 * 8, at = at0 + k % 8 / 2 * 8 + k % 2;
			const double sum = c[i][k % 8 / 2][k / 8 * 2 + k % 2];
			if (r < p.rows && at < cols && at <= r + p.diagonal) {
				p.d_c[r * p.ldc + at] = p.assign ? sum : old[k] - sum;
			}
		}
	}
}

// Tiles of X's columns come first, those of T's behind them.
__global__ void __launch_bounds__(THREADS, 1) product(struct launch_gptq_product p, uint64_t down, uint64_t across)
{
	__shared__ double left[2][TILE * STRIDE], right[2][TILE * STRIDE];
	const uint64_t first = blockIdx.x / (GROUP * across) * GROUP, high = down - first < GROUP ? down - first : GROUP;
	const uint64_t inside = blockIdx.x % (GROUP * across), of_x = (p.split + TILE - 1) / TILE;
	const uint64_t row0 = (first + inside % high) * TILE, tile = inside / high;
	const bool columns = tile < of_x;
	const uint64_t col0 = columns ? tile * TILE : p.split + (tile - of_x) * TILE, cols = columns ? p.split : p.cols;
	double c[4][4][4] = {}, a[EACH], b[EACH];

	if (*p.d_failed || col0 > row0 + TILE - 1 + p.diagonal) {
		return;
	}
	for (uint64_t at = 0, buffer = 0; at < p.depth + SLAB; at += SLAB, buffer ^= 1) {
		if (at < p.depth) {
			fetch_rows(a, p.d_a, p.lda, row0, p.rows, at, p.depth);
			if (columns) {
				fetch_columns(b, p.d_x, p.ldx, col0, cols, at, p.depth);
			} else {
				fetch_rows(b, p.d_t, p.ldt, col0 - p.split, p.cols - p.split, at, p.depth);
			}
		}
		if (at > 0) {
			multiply_slab(c, left[buffer ^ 1], right[buffer ^ 1]);
		}
		if (at < p.depth) {
			put_rows(left[buffer], a);
			if (columns) {
				put_columns(right[buffer], b);
			} else {
				put_rows(right[buffer], b);
			}
		}
		__syncthreads();
	}
	put_tile(p, c, row0, col0, cols);
}

__global__ void __launch_bounds__(THREADS) finish(const double *m, uint64_t n, uint64_t ld, float *u)
{
	const uint64_t i = blockIdx.x;
	const double *row = m + (n - 1 - i) * ld;
	for (uint64_t k = threadIdx.x; k < n; k += THREADS) {
		u[i * n + k] = k >= i ? (float)row[n - 1 - k] : 0.0F;
	}
}

} // namespace

cudaError_t launch_gptq_fill(cudaStream_t stream, const struct launch_gptq_fill *p)
{
	if (too_many(p->n)) {
		return cudaErrorInvalidConfiguration;
	}
	fill<<<(unsigned)p->n, THREADS, 0, stream>>>(*p);
	return cudaGetLastError();
}

cudaError_t launch_gptq_diagonal(cudaStream_t stream, double *d_m, uint64_t ld, unsigned size, int *d_failed)
{
	diagonal<<<1, THREADS, 0, stream>>>(d_m, ld, size, d_failed);
	return cudaGetLastError();
}

cudaError_t launch_gptq_product(cudaStream_t stream, const struct launch_gptq_product *p)
{
	const uint64_t down = ceil_div(p->rows, TILE), across = ceil_div(p->split, TILE) + ceil_div(p->cols - p->split, TILE);
	if (down == 0 || across == 0) {
		return cudaSuccess;
	}
	if (too_many(down) || too_many(across) || too_many(down * across)) {
		return cudaErrorInvalidConfiguration;
	}
	product<<<(unsigned)(down * across), THREADS, 0, stream>>>(*p, down, across);
	return cudaGetLastError();
}

cudaError_t launch_gptq_finish(cudaStream_t stream, const double *d_m, uint64_t n, uint64_t ld, float *d_u)
{
	if (too_many(n)) {
		return cudaErrorInvalidConfiguration;
	}
	finish<<<(unsigned)n, THREADS, 0, stream>>>(d_m, n, ld, d_u);
	return cudaGetLastError();
}
