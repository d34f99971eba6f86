// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// GPTQ's rounding of rows, to the last bit what plugins/quantizers/static makes of the same factor: nothing is fused, and each number
// is changed by one product after another. A warp has a row's part of the columns at hand in registers; what their errors make good
// behind them is a product of tiles.
#include <float.h>

#include "plugins/backends/cuda/launch.h"
#include "plugins/backends/cuda/rows.cuh"
#include "plugins/backends/cuda/scalar.h"

namespace {

enum {
	LANES = 32,
	EACH = GPTQ_COLUMNS / LANES, // columns of a lane, LANES apart
	WARPS = THREADS / LANES
};

constexpr unsigned ALL = 0xffffffffU;

// ---- numbers, as plugins/quantizers/rounding.h has them ----

__device__ __forceinline__ float clamp(float v, float low, float high)
{
	v = v < low ? low : v;
	return v > high ? high : v;
}

__device__ __forceinline__ float usable_scale(float exact, bool as_it_is)
{
	const uint32_t u = scalar_bits(exact);
	const float s = as_it_is ? exact : scalar_float((u + 0x7fffU + (u >> 16 & 1U)) & 0xffff0000U);
	return s >= FLT_MIN ? s : 1.0F;
}

// The code as a number. Adding 1.5 * 2^23 leaves no bits for a fraction.
__device__ __forceinline__ float code_of(float w, float scale, float zero, float low, float high)
{
	const float q = clamp(w / scale, low - high - 1.0F, high - low + 1.0F);
	return clamp((q + 12582912.0F) - 12582912.0F + zero, low, high);
}

// What is known of a group's weights: where it ends on both sides, or its largest magnitude's bits.
struct range {
	uint32_t top;
	float low, high;
};

__device__ __forceinline__ void widen(struct range &range, float w)
{
	range.top = larger()(range.top, scalar_magnitude(w));
	range.low = w < range.low ? w : range.low;
	range.high = w > range.high ? w : range.high;
}

// Of all lanes.
__device__ __forceinline__ struct range whole(struct range range)
{
	range.top = reduce_lanes<LANES>(range.top, larger());
	range.high = reduce_lanes<LANES>(range.high, larger());
	range.low = -reduce_lanes<LANES>(-range.low, larger());
	return range;
}

__device__ __forceinline__ float least_code(uint32_t bits)
{
	return -(float)(1U << (bits - 1));
}

__device__ __forceinline__ void find_grid(const struct launch_gptq_rows &k, const struct range &range, float *scale, float *zero)
{
	const float least = least_code(k.bits), greatest = -least - 1.0F;
	if (k.symmetric) {
		*scale = usable_scale(scalar_float(range.top) / greatest, k.exact_scales);
		*zero = 0.0F;
		return;
	}
	// In f64, where the difference cannot overflow.
	*scale = usable_scale((float)(((double)range.high - (double)range.low) / (double)(greatest - least)), k.exact_scales);
	*zero = code_of(-range.low, *scale, least, least, greatest);
}

__device__ __forceinline__ bool is_kept(const struct launch_gptq_rows &k, uint64_t r, uint64_t column)
{
	return k.d_mask != nullptr && k.d_mask[r * k.mask_stride + (column >> 3)] >> (column & 7) & 1;
}

__device__ __forceinline__ void put_grid(const struct launch_gptq_rows &k, uint64_t r, uint64_t i, float scale, float zero)
{
	k.d_scales[r * k.scales + i] = scale;
	if (k.d_zeros != nullptr) {
		k.d_zeros[r * k.scales + i] = (int8_t)zero;
	}
}

// ---- kernels ----

__global__ void __launch_bounds__(THREADS) gather(struct launch_gptq_rows k)
{
	const uint64_t at = (uint64_t)blockIdx.x * THREADS + threadIdx.x;
	if (at == 0) {
		*k.d_failed = 0;
	}
	if (at < k.rows * k.cols) {
		const uint64_t r = at / k.cols, i = at - r * k.cols;
		k.d_w[at] = k.d_weight[r * k.cols + (k.d_order != nullptr ? k.d_order[i] : i)];
	}
}

// A warp has one group of a row.
__global__ void __launch_bounds__(THREADS) scales(struct launch_gptq_rows k)
{
	const uint64_t number = (uint64_t)blockIdx.x * WARPS + threadIdx.x / LANES;
	if (number >= k.rows * k.scales) {
		return;
	}
	const uint64_t r = number / k.scales, i = number - r * k.scales, first = i * k.group;
	const uint64_t end = k.cols - first < k.group ? k.cols : first + k.group;
	struct range range = {0, 0.0F, 0.0F};
	for (uint64_t c = first + threadIdx.x % LANES; c < end; c += LANES) {
		widen(range, is_kept(k, r, c) ? 0.0F : k.d_weight[r * k.cols + c]);
	}
	float scale, zero;
	find_grid(k, whole(range), &scale, &zero);
	if (threadIdx.x % LANES == 0) {
		put_grid(k, r, i, scale, zero);
	}
}

// A lane's columns of those at hand.
struct columns {
	float left[EACH];      // what is left to be rounded
	float diagonal[EACH];  // of U
	float scale[EACH], zero[EACH];
	float value[EACH];     // a protected one's own; then what it is worth
	float code[EACH], error[EACH];
	uint32_t column[EACH];
	uint32_t kept[EACH];   // of all lanes
};

__device__ __forceinline__ void load_columns(const struct launch_gptq_rows &k, uint64_t r, unsigned lane, struct columns &x)
{
#pragma unroll
	for (int q = 0; q < EACH; q++) {
		const unsigned i = q * LANES + lane;
		const uint64_t at = k.first + i;
		const bool live = i < k.width;
		x.column[q] = (uint32_t)(live && k.d_order != nullptr ? k.d_order[at] : at);
		x.left[q] = live ? k.d_w[r * k.cols + at] : 0.0F;
		x.diagonal[q] = live ? k.d_u[at * k.cols + at] : 1.0F;
		const bool kept = live && is_kept(k, r, x.column[q]);
		x.kept[q] = __ballot_sync(ALL, kept);
		x.value[q] = kept && !k.compensated ? k.d_weight[r * k.cols + x.column[q]] : 0.0F;
		x.scale[q] = 1.0F;
		x.zero[q] = x.code[q] = x.error[q] = 0.0F;
		// Without an order, groups that begin here get theirs on the way.
		const uint32_t group = x.column[q] / (uint32_t)k.group;
		if (live && (k.d_order != nullptr || group * k.group < k.first)) {
			x.scale[q] = k.d_scales[r * k.scales + group];
			x.zero[q] = k.d_zeros != nullptr ? (float)k.d_zeros[r * k.scales + group] : 0.0F;
		}
	}
}

// Of the group that begins with the column `begin`, of weights as they are now.
__device__ __forceinline__ void find_scale(const struct launch_gptq_rows &k, uint64_t r, unsigned lane, uint64_t begin, struct columns &x)
{
	const uint64_t end = k.cols - begin < k.group ? k.cols : begin + k.group;
	struct range range = {0, 0.0F, 0.0F};
	float scale, zero;
#pragma unroll
	for (int q = 0; q < EACH; q++) {
		const unsigned i = q * LANES + lane;
		if (i < k.width && k.first + i >= begin && k.first + i < end && !(x.kept[q] >> lane & 1)) {
			widen(range, x.left[q]);
		}
	}
	for (uint64_t c = k.first + k.width + lane; c < end; c += LANES) {
		widen(range, is_kept(k, r, c) ? 0.0F : k.d_w[r * k.cols + c]);
	}
	find_grid(k, whole(range), &scale, &zero);
#pragma unroll
	for (int q = 0; q < EACH; q++) {
		const uint64_t at = k.first + q * LANES + lane;
		const bool mine = at >= begin && at < end;
		x.scale[q] = mine ? scale : x.scale[q];
		x.zero[q] = mine ? zero : x.zero[q];
	}
	if (lane == 0) {
		put_grid(k, r, begin / k.group, scale, zero);
	}
}

__device__ __forceinline__ void store_columns(const struct launch_gptq_rows &k, uint64_t r, unsigned lane, const struct columns &x)
{
#pragma unroll
	for (int q = 0; q < EACH; q++) {
		const unsigned i = q * LANES + lane;
		const uint64_t at = r * k.cols + x.column[q];
		if (i >= k.width) {
			continue;
		}
		k.d_error[r * GPTQ_COLUMNS + i] = x.error[q];
		k.d_codes[at] = (uint8_t)(int8_t)x.code[q];
		if (k.d_exact != nullptr && x.kept[q] >> lane & 1) {
			k.d_exact[at] = x.value[q];
		}
	}
}

// Columns [q * LANES, ...), one after another. False: one is not finite.
template <int Q>
__device__ __forceinline__ bool round_columns(const struct launch_gptq_rows &k, uint64_t r, unsigned lane, uint64_t *next, struct columns &x)
{
	const float least = least_code(k.bits), greatest = -least - 1.0F;
	const int width = (int)k.width - Q * LANES, count = width < LANES ? width : LANES;
	const float *row = k.d_u + (k.first + Q * LANES) * k.cols + k.first;
	for (int l = 0; l < count; l++, row += k.cols) {
		float u[EACH];
#pragma unroll
		for (int q = Q; q < EACH; q++) {
			u[q] = q * LANES + lane < k.width ? row[q * LANES + lane] : 0.0F;
		}
		if (k.d_order == nullptr && k.first + Q * LANES + l == *next) {
			find_scale(k, r, lane, *next, x);
			*next += k.group;
		}
		const float left = __shfl_sync(ALL, x.left[Q], l), over = __shfl_sync(ALL, x.diagonal[Q], l);
		const float scale = __shfl_sync(ALL, x.scale[Q], l), zero = __shfl_sync(ALL, x.zero[Q], l);
		const bool kept = x.kept[Q] >> l & 1;
		if (!(left - left == 0.0F)) {
			return false;
		}
		float value = left;
		if (kept && !k.compensated) {
			value = __shfl_sync(ALL, x.value[Q], l);
		}
		const float code = code_of(value, scale, zero, least, greatest);
		const float rounded = kept ? value : __fmul_rn(code - zero, scale), error = __fsub_rn(left, rounded) / over;
		if ((int)lane == l) {
			x.code[Q] = code;
			x.error[Q] = error;
			x.value[Q] = value;
		}
#pragma unroll
		for (int q = Q; q < EACH; q++) {
			x.left[q] = __fsub_rn(x.left[q], __fmul_rn(error, u[q]));
		}
	}
	return true;
}

// A warp has a row.
__global__ void __launch_bounds__(THREADS) round_block(struct launch_gptq_rows k)
{
	const uint64_t r = (uint64_t)blockIdx.x * WARPS + threadIdx.x / LANES;
	const unsigned lane = threadIdx.x % LANES;
	if (r >= k.rows) {
		return;
	}
	struct columns x;
	load_columns(k, r, lane, x);
	uint64_t next = (k.first + k.group - 1) / k.group * k.group; // where a group begins
	if (!(round_columns<0>(k, r, lane, &next, x) && round_columns<1>(k, r, lane, &next, x) && round_columns<2>(k, r, lane, &next, x) &&
			round_columns<3>(k, r, lane, &next, x))) {
		*k.d_failed = 1;
		return;
	}
	store_columns(k, r, lane, x);
}

enum {
	TILE = 128, // rows and columns
	SLAB = 8,   // errors that are loaded at once
	STRIDE = TILE + 4
};

// What a thread fetches of: a row of errors and a column of U. NULL: zeros instead.
struct source {
	const float *error, *u;
	uint64_t ld;
	unsigned width;
};

// Four neighbouring errors, and four elements of the column two rows apart.
__device__ __forceinline__ void fetch(const struct source &s, unsigned at, float (&e)[4], float (&u)[4])
{
	const unsigned p = at + threadIdx.x % 2 * 4, q = at + threadIdx.x / TILE;
#pragma unroll
	for (unsigned i = 0; i < 4; i++) {
		e[i] = s.error != nullptr && p + i < s.width ? s.error[p + i] : 0.0F;
		u[i] = s.u != nullptr && q + 2 * i < s.width ? s.u[(q + 2 * i) * s.ld] : 0.0F;
	}
}

__device__ __forceinline__ void put(float *errors, float *us, const float (&e)[4], const float (&u)[4])
{
#pragma unroll
	for (int i = 0; i < 4; i++) {
		errors[(threadIdx.x % 2 * 4 + i) * STRIDE + threadIdx.x / 2] = e[i];
		us[(threadIdx.x / TILE + 2 * i) * STRIDE + threadIdx.x % TILE] = u[i];
	}
}

// A thread has 8 x 8 numbers: its own four rows and the four half a tile behind them, of every 16th column, so that neighbours store
// side by side.
__device__ __forceinline__ unsigned own_row(unsigned y, int i)
{
	return y * 4 + i % 4 + i / 4 * (TILE / 2);
}

__device__ __forceinline__ unsigned own_column(unsigned x, int j)
{
	return x + j * 16;
}

__device__ __forceinline__ void subtract_slab(float (&w)[8][8], const float *errors, const float *us)
{
	const unsigned x = threadIdx.x % 16, y = threadIdx.x / 16;
#pragma unroll
	for (int p = 0; p < SLAB; p++) {
		const pack<float, 4> e0 = load<4>(errors + p * STRIDE, y), e1 = load<4>(errors + p * STRIDE + TILE / 2, y);
#pragma unroll
		for (int j = 0; j < 8; j++) {
			const float u = us[p * STRIDE + own_column(x, j)];
#pragma unroll
			for (int i = 0; i < 8; i++) {
				w[i][j] = __fsub_rn(w[i][j], __fmul_rn(i < 4 ? e0.v[i % 4] : e1.v[i % 4], u));
			}
		}
	}
}

__global__ void __launch_bounds__(THREADS, 2) spread(struct launch_gptq_rows k, uint64_t down)
{
	alignas(16) __shared__ float errors[2][SLAB * STRIDE];
	alignas(16) __shared__ float us[2][SLAB * STRIDE];
	const unsigned x = threadIdx.x % 16, y = threadIdx.x / 16;
	const uint64_t row0 = blockIdx.x % down * TILE, col0 = k.first + k.width + blockIdx.x / down * TILE;
	float w[8][8], e[4], u[4];
#pragma unroll
	for (int i = 0; i < 8; i++) {
		const uint64_t r = row0 + own_row(y, i);
#pragma unroll
		for (int j = 0; j < 8; j++) {
			const uint64_t c = col0 + own_column(x, j);
			w[i][j] = r < k.rows && c < k.cols ? k.d_w[r * k.cols + c] : 0.0F;
		}
	}
	const unsigned width = (unsigned)k.width;
	const uint64_t mine = row0 + threadIdx.x / 2, column = col0 + threadIdx.x % TILE;
	const struct source from = {mine < k.rows ? k.d_error + mine * GPTQ_COLUMNS : nullptr,
		column < k.cols ? k.d_u + k.first * k.cols + column : nullptr, k.cols, width};
	for (unsigned at = 0, buffer = 0; at < width + SLAB; at += SLAB, buffer ^= 1) {
		if (at < width) {
			fetch(from, at, e, u);
		}
		if (at > 0) {
			subtract_slab(w, errors[buffer ^ 1], us[buffer ^ 1]);
		}
		if (at < width) {
			put(errors[buffer], us[buffer], e, u);
		}
		__syncthreads();
	}
#pragma unroll
	for (int i = 0; i < 8; i++) {
		const uint64_t r = row0 + own_row(y, i);
#pragma unroll
		for (int j = 0; j < 8; j++) {
			const uint64_t c = col0 + own_column(x, j);
			if (r < k.rows && c < k.cols) {
				k.d_w[r * k.cols + c] = w[i][j];
			}
		}
	}
}

} // namespace

cudaError_t launch_gptq_gather(cudaStream_t stream, const struct launch_gptq_rows *p)
{
	const uint64_t blocks = ceil_div(p->rows * p->cols, THREADS);
	if (too_many(blocks)) {
		return cudaErrorInvalidConfiguration;
	}
	gather<<<(unsigned)blocks, THREADS, 0, stream>>>(*p);
	return cudaGetLastError();
}

cudaError_t launch_gptq_scales(cudaStream_t stream, const struct launch_gptq_rows *p)
{
	const uint64_t blocks = ceil_div(p->rows * p->scales, WARPS);
	if (too_many(blocks)) {
		return cudaErrorInvalidConfiguration;
	}
	scales<<<(unsigned)blocks, THREADS, 0, stream>>>(*p);
	return cudaGetLastError();
}

cudaError_t launch_gptq_columns(cudaStream_t stream, const struct launch_gptq_rows *p)
{
	const uint64_t blocks = ceil_div(p->rows, WARPS);
	if (too_many(blocks)) {
		return cudaErrorInvalidConfiguration;
	}
	round_block<<<(unsigned)blocks, THREADS, 0, stream>>>(*p);
	return cudaGetLastError();
}

cudaError_t launch_gptq_spread(cudaStream_t stream, const struct launch_gptq_rows *p)
{
	const uint64_t down = ceil_div(p->rows, TILE), across = ceil_div(p->cols - p->first - p->width, TILE);
	if (across == 0) {
		return cudaSuccess;
	}
	if (too_many(down) || too_many(across) || too_many(down * across)) {
		return cudaErrorInvalidConfiguration;
	}
	spread<<<(unsigned)(down * across), THREADS, 0, stream>>>(*p, down);
	return cudaGetLastError();
}
