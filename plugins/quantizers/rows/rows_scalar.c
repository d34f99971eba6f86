/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Ranges and codes in plain C: what the other tiers are compared with. */
#include "plugins/quantizers/rounding.h"
#include "plugins/quantizers/rows/rows.h"

static uint32_t top(const float *v, uint64_t n)
{
	return float_bits(absmax_of(v, NULL, 0, n));
}

static void tops(const float *v, uint64_t n, uint64_t group, float *ret)
{
	for (uint64_t first = 0, i = 0; first < n; first += group, i++) {
		ret[i] = bits_float(top(v + first, n - first < group ? n - first : group));
	}
}

static uint32_t top_masked(const float *v, const uint8_t *mask, uint64_t first, uint64_t n)
{
	return float_bits(absmax_of(v, mask, first, n));
}

static void code_ints(const float *v, uint64_t n, float scale, float zero, float low, float high, uint8_t *codes)
{
	for (uint64_t i = 0; i < n; i++) {
		codes[i] = (uint8_t)code_int(v[i], scale, zero, low, high);
	}
}

const struct row_kernels row_kernels_scalar = {top, tops, top_masked, range_of, code_ints, codes_e4m3};
