/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Ranges, codes and errors of rows, in the instruction set that the machine has. All tiers give the same bits: divisions are those
 * of IEEE 754, ties go to even, and sums are formed in one order. What each function computes, rounding.h says in plain C: the same
 * name without `row_`. [any-thread] */
#ifndef CWP_QUANTIZERS_ROWS_H
#define CWP_QUANTIZERS_ROWS_H

#include <stdint.h>

enum row_tier { ROW_SCALAR, ROW_AVX2, ROW_AVX512 };

enum { ROW_GRIDS = 64, ROW_ERRORS = 4 };

/* Grids of whole numbers, by one of which some weights will be rounded: each a scale, which is greater than 0, and a zero point. */
struct row_grids {
	uint32_t n; /* at most ROW_GRIDS */
	float low, high;
	float scale[ROW_GRIDS], zero[ROW_GRIDS];
};

struct row_kernels {
	/* Bits of the largest magnitude of v [n], 0 for none: from 0x7f800000 on some value is not finite. */
	uint32_t (*top)(const float *v, uint64_t n);
	/* The same of each group of v [n], as floats: infinite or NaN where some value is. */
	void (*tops)(const float *v, uint64_t n, uint64_t group, float *ret);
	/* The same of v[first], .. v[first + n - 1] whose bits in mask are not set. */
	uint32_t (*top_masked)(const float *v, const uint8_t *mask, uint64_t first, uint64_t n);
	/* Least and greatest, zero included; mask as above or NULL. No NaN. */
	void (*range)(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, float *ret_low, float *ret_high);
	/* code_int of v [n], which are finite. */
	void (*code_int)(const float *v, uint64_t n, float scale, float zero, float low, float high, uint8_t *codes);
	/* e4m3_bits of v / scale, where v [n] are finite. What follows v may be fetched, if there is anything. */
	void (*code_e4m3)(const float *v, uint64_t n, float scale, uint8_t *codes);
	/* For each grid the sum of squares of value_int less the weight, over v[first], .. v[first + n - 1] whose bits in mask, which may
	 * be NULL, are not set: in f64, in the order of the weights. These are finite, and smaller than 2^16 times any scale. */
	void (*squares)(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, const struct row_grids *grids, double *ret);
	/* How many of them have a key of at most `limit`; row_key, or the magnitude's bits. No NaN. */
	uint64_t (*count)(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, int magnitudes, int32_t limit);
	/* value_int of v [n] less v, which are as for squares. */
	void (*errors)(const float *v, uint64_t n, float scale, float zero, float low, float high, float *ret);
	/* y = e gram of each row of e [ROW_ERRORS, n], in f32 and in the order of gram's rows, which are `stride` floats apart. */
	void (*weigh)(const float *e, uint64_t n, const float *gram, uint64_t stride, float *y);
};

/* An integer that orders as floats do. */
static inline int32_t row_key(int32_t bits)
{
	return bits ^ (bits < 0 ? 0x7fffffff : 0);
}

/* The best tier of this machine, and its kernels or those of a lower one. */
enum row_tier row_best(void);
const struct row_kernels *row_kernels_of(enum row_tier tier);

/* From now on the row_ functions take these: for tests and benchmarks. The machine must have the tier. */
void row_kernels_use(enum row_tier tier);

/* The inside of a tier: the tables for row_kernels_of alone, the functions for the tables. */
void row_code_e4m3_avx2(const float *v, uint64_t n, float scale, uint8_t *codes);
void row_squares_avx2(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, const struct row_grids *grids, double *ret);
void row_squares_avx512(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, const struct row_grids *grids, double *ret);
void row_errors_avx2(const float *v, uint64_t n, float scale, float zero, float low, float high, float *ret);
void row_weigh_avx2(const float *e, uint64_t n, const float *gram, uint64_t stride, float *y);
uint64_t row_count_avx2(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, int magnitudes, int32_t limit);
void row_errors_avx512(const float *v, uint64_t n, float scale, float zero, float low, float high, float *ret);
void row_weigh_avx512(const float *e, uint64_t n, const float *gram, uint64_t stride, float *y);
uint64_t row_count_avx512(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, int magnitudes, int32_t limit);
extern const struct row_kernels row_kernels_scalar, row_kernels_avx2, row_kernels_avx512;

/* With the best tier, or the one that $CWP_CPU names where the machine has it. */
int row_all_finite(const float *v, uint64_t n);
float row_absmax_of(const float *row, const uint8_t *mask, uint64_t first, uint64_t n);
/* row_absmax_of -> *ret; 0 where one of the columns, protected or not, is not finite. One walk where mask is NULL. */
int row_finite_absmax(const float *row, const uint8_t *mask, uint64_t first, uint64_t n, float *ret);
/* The absmax of each group of a row -> ret [groups]; 0 where one of the columns is not finite. */
int row_finite_absmaxes(const float *row, uint64_t cols, uint64_t group, float *ret);
void row_range_of(const float *row, const uint8_t *mask, uint64_t first, uint64_t n, float *ret_low, float *ret_high);
void row_squares(const float *row, const uint8_t *mask, uint64_t first, uint64_t n, const struct row_grids *grids, double *ret);
void row_errors(const float *v, uint64_t n, float scale, float zero, float low, float high, float *ret);
void row_weigh(const float *e, uint64_t n, const float *gram, uint64_t stride, float *y);
uint64_t row_count(const float *row, const uint8_t *mask, uint64_t first, uint64_t n, int magnitudes, int32_t limit);
void row_codes_int(const float *row, uint64_t cols, uint64_t group, const float *scales, const int8_t *zeros, int bits,
	uint8_t *codes);
/* Codes of a row of symmetric groups and their scales, which are those of absmax; 0 where one of the columns is not finite. */
int row_quantize_int(const float *row, uint64_t cols, uint64_t group, int bits, float *ret_scales, uint8_t *codes);
void row_codes_e4m3(const float *row, uint64_t cols, float scale, uint8_t *codes);

#endif
