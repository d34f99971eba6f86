/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which kernels this machine runs, and rows in terms of them. */
#include "plugins/quantizers/rows/rows.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/quantizers/rounding.h"

enum { NEAR = 1024 }; /* columns, a page of them, that are looked at and then divided while the processor fetches what follows */

enum row_tier row_best(void)
{
#if defined(ROW_X86)
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
		return ROW_SCALAR;
	}
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
			__builtin_cpu_supports("avx512dq")
		? ROW_AVX512 : ROW_AVX2;
#else
	return ROW_SCALAR;
#endif
}

const struct row_kernels *row_kernels_of(enum row_tier tier)
{
#if defined(ROW_X86)
	if (tier != ROW_SCALAR) {
		return tier == ROW_AVX512 ? &row_kernels_avx512 : &row_kernels_avx2;
	}
#endif
	(void)tier;
	return &row_kernels_scalar;
}

/* The backend refuses a tier that the machine lacks; here, where all give the same, the best one stands in for it. */
static enum row_tier wanted(void)
{
	static const char *const name[] = {"scalar", "avx2", "avx512"};
	const char *forced = getenv("CWP_CPU");
	enum row_tier best = row_best();

	for (int i = 0; forced != NULL && i < (int)best; i++) {
		if (strcmp(forced, name[i]) == 0) {
			return (enum row_tier)i;
		}
	}
	return best;
}

static _Atomic(const struct row_kernels *) chosen;

void row_kernels_use(enum row_tier tier)
{
	atomic_store_explicit(&chosen, row_kernels_of(tier), memory_order_release);
}

/* Threads that come first at the same time find the same. */
static const struct row_kernels *kernels(void)
{
	const struct row_kernels *k = atomic_load_explicit(&chosen, memory_order_acquire);

	if (k == NULL) {
		k = row_kernels_of(wanted());
		atomic_store_explicit(&chosen, k, memory_order_release);
	}
	return k;
}

int row_all_finite(const float *v, uint64_t n)
{
	return kernels()->top(v, n) < 0x7f800000;
}

float row_absmax_of(const float *row, const uint8_t *mask, uint64_t first, uint64_t n)
{
	return bits_float(mask == NULL ? kernels()->top(row + first, n) : kernels()->top_masked(row, mask, first, n));
}

/* Without a mask the largest shows what is not finite: infinite, or a NaN, which no comparison holds for. */
int row_finite_absmax(const float *row, const uint8_t *mask, uint64_t first, uint64_t n, float *ret)
{
	*ret = row_absmax_of(row, mask, first, n);
	return mask != NULL ? row_all_finite(row + first, n) : *ret <= FLT_MAX;
}

int row_finite_absmaxes(const float *row, uint64_t cols, uint64_t group, float *ret)
{
	int finite = 1;

	kernels()->tops(row, cols, group, ret);
	for (uint64_t first = 0, i = 0; first < cols; first += group, i++) {
		finite &= ret[i] <= FLT_MAX;
	}
	return finite;
}

void row_range_of(const float *row, const uint8_t *mask, uint64_t first, uint64_t n, float *ret_low, float *ret_high)
{
	kernels()->range(row, mask, first, n, ret_low, ret_high);
}

void row_squares(const float *row, const uint8_t *mask, uint64_t first, uint64_t n, const struct row_grids *grids, double *ret)
{
	kernels()->squares(row, mask, first, n, grids, ret);
}

void row_errors(const float *v, uint64_t n, float scale, float zero, float low, float high, float *ret)
{
	kernels()->errors(v, n, scale, zero, low, high, ret);
}

void row_weigh(const float *e, uint64_t n, const float *gram, uint64_t stride, float *y)
{
	kernels()->weigh(e, n, gram, stride, y);
}

uint64_t row_count(const float *row, const uint8_t *mask, uint64_t first, uint64_t n, int magnitudes, int32_t limit)
{
	return kernels()->count(row, mask, first, n, magnitudes, limit);
}

void row_codes_int(const float *row, uint64_t cols, uint64_t group, const float *scales, const int8_t *zeros, int bits,
	uint8_t *codes)
{
	const struct row_kernels *k = kernels();
	const float low = -(float)(1 << (bits - 1)), high = -low - 1;

	for (uint64_t first = 0, g = 0; first < cols; first += group, g++) {
		const uint64_t n = cols - first < group ? cols - first : group;
		k->code_int(row + first, n, scales[g], zeros != NULL ? (float)zeros[g] : 0, low, high, codes + first);
	}
}

int row_quantize_int(const float *row, uint64_t cols, uint64_t group, int bits, float *scales, uint8_t *codes)
{
	const uint64_t step = group < NEAR ? NEAR / group * group : group;
	const float greatest = (float)((1 << (bits - 1)) - 1);

	for (uint64_t first = 0, n; first < cols; first += n) {
		n = cols - first < step ? cols - first : step;
		const uint64_t groups = (n - 1) / group + 1;
		if (!row_finite_absmaxes(row + first, n, group, scales)) {
			return 0;
		}
		for (uint64_t i = 0; i < groups; i++) {
			scales[i] = usable_scale(scales[i] / greatest);
		}
		row_codes_int(row + first, n, group, scales, NULL, bits, codes + first);
		scales += groups;
	}
	return 1;
}

void row_codes_e4m3(const float *row, uint64_t cols, float scale, uint8_t *codes)
{
	kernels()->code_e4m3(row, cols, scale, codes);
}
