/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Ranges and codes of rows, in the instruction set that the machine has. All tiers give the same bits: divisions are those
 * of IEEE 754, ties go to even, and no sum is formed. What each function computes, rounding.h says in plain C: the same
 * name without `row_`. [any-thread] */
#ifndef CWP_QUANTIZERS_ROWS_H
#define CWP_QUANTIZERS_ROWS_H

#include <stdint.h>

enum row_tier { ROW_SCALAR, ROW_AVX2, ROW_AVX512 };

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
	/* e4m3_bits of v / scale, where v [n] are finite. */
	void (*code_e4m3)(const float *v, uint64_t n, float scale, uint8_t *codes);
};

/* The best tier of this machine, and its kernels or those of a lower one. */
enum row_tier row_best(void);
const struct row_kernels *row_kernels_of(enum row_tier tier);

/* From now on the row_ functions take these: for tests and benchmarks. The machine must have the tier. */
void row_kernels_use(enum row_tier tier);

/* The inside of a tier, for row_kernels_of alone. */
extern const struct row_kernels row_kernels_scalar, row_kernels_avx2, row_kernels_avx512;

/* With the best tier, or the one that $CWP_CPU names where the machine has it. */
int row_all_finite(const float *v, uint64_t n);
float row_absmax_of(const float *row, const uint8_t *mask, uint64_t first, uint64_t n);
/* row_absmax_of -> *ret; 0 where one of the columns, protected or not, is not finite. One walk where mask is NULL. */
int row_finite_absmax(const float *row, const uint8_t *mask, uint64_t first, uint64_t n, float *ret);
/* The absmax of each group of a row -> ret [groups]; 0 where one of the columns is not finite. */
int row_finite_absmaxes(const float *row, uint64_t cols, uint64_t group, float *ret);
void row_range_of(const float *row, const uint8_t *mask, uint64_t first, uint64_t n, float *ret_low, float *ret_high);
void row_codes_int(const float *row, uint64_t cols, uint64_t group, const float *scales, const int8_t *zeros, int bits,
	uint8_t *codes);
void row_codes_e4m3(const float *row, uint64_t cols, float scale, uint8_t *codes);

#endif
