/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Ranges, codes and errors in plain C: what the other tiers are compared with. */
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

static double square(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, const struct row_grids *g, uint32_t i)
{
	double sum = 0;

	for (uint64_t c = first; c < first + n; c++) {
		const double error = (double)value_int(v[c], g->scale[i], g->zero[i], g->low, g->high) - (double)v[c];
		sum += mask != NULL && is_protected(mask, c) ? 0 : error * error;
	}
	return sum;
}

static void squares(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, const struct row_grids *grids, double *ret)
{
	for (uint32_t i = 0; i < grids->n; i++) {
		ret[i] = square(v, mask, first, n, grids, i);
	}
}

static uint64_t count(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, int magnitudes, int32_t limit)
{
	uint64_t sum = 0;

	for (uint64_t c = first; c < first + n; c++) {
		const int32_t bits = (int32_t)float_bits(v[c]), key = magnitudes ? bits & 0x7fffffff : row_key(bits);
		sum += key <= limit && (mask == NULL || !is_protected(mask, c));
	}
	return sum;
}

static void errors(const float *v, uint64_t n, float scale, float zero, float low, float high, float *ret)
{
	for (uint64_t i = 0; i < n; i++) {
		ret[i] = value_int(v[i], scale, zero, low, high) - v[i];
	}
}

static void weigh_row(const float *e, uint64_t n, const float *gram, uint64_t stride, float *restrict y)
{
	memset(y, 0, n * sizeof(*y));
	for (uint64_t j = 0; j < n; j++) {
		const float *restrict g = gram + j * stride;
		const float f = e[j];
		for (uint64_t k = 0; k < n; k++) {
			y[k] += f * g[k];
		}
	}
}

static void weigh(const float *e, uint64_t n, const float *gram, uint64_t stride, float *y)
{
	for (uint64_t i = 0; i < ROW_ERRORS; i++) {
		weigh_row(e + i * n, n, gram, stride, y + i * n);
	}
}

const struct row_kernels row_kernels_scalar = {top, tops, top_masked, range_of, code_ints, codes_e4m3, squares, count, errors, weigh};
