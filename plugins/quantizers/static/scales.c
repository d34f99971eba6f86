/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
#include "plugins/quantizers/static/scales.h"

#include <math.h>

#include "plugins/quantizers/rounding.h"
#include "plugins/quantizers/rows/rows.h"

enum { SHRINK_STEPS = 60 }; /* of a hundredth of the range each */

struct range {
	float low, high; /* low <= 0 <= high; symmetric: -low == high */
};

static void scale_of_range(const struct scale_rule *rule, struct range range, float *scale, int8_t *zero)
{
	const float least = -(float)(1 << (rule->bits - 1)), greatest = -least - 1;

	if (rule->symmetric) {
		*scale = usable_scale(range.high / greatest);
		*zero = 0;
		return;
	}
	/* In f64, where the difference cannot overflow. */
	*scale = usable_scale((float)(((double)range.high - (double)range.low) / (double)(greatest - least)));
	/* The code that stands for zero, such that `low` gets the least code. */
	*zero = code_int(-range.low, *scale, least, least, greatest);
}

static struct range whole_range(const struct scale_rule *rule, const float *row, const uint8_t *mask, uint64_t first, uint64_t n)
{
	struct range range;

	if (rule->symmetric) {
		range.high = row_absmax_of(row, mask, first, n);
		range.low = -range.high;
	} else {
		row_range_of(row, mask, first, n, &range.low, &range.high);
	}
	return range;
}

/* The rank-th smallest unprotected weight, from 1, found by halving the range of keys: 32 walks whatever the weights. */
static float nearest_rank(const float *row, const uint8_t *mask, uint64_t first, uint64_t n, int magnitudes, uint64_t rank)
{
	int64_t low = INT32_MIN, high = INT32_MAX;

	while (low < high) {
		const int64_t middle = low + (high - low) / 2;
		if (row_count(row, mask, first, n, magnitudes, (int32_t)middle) >= rank) {
			high = middle;
		} else {
			low = middle + 1;
		}
	}
	return bits_float((uint32_t)row_key((int32_t)low)); /* its own inverse */
}

static struct range percentile_range(const struct scale_rule *rule, const float *row, const uint8_t *mask, uint64_t first, uint64_t n)
{
	const uint64_t count = row_count(row, mask, first, n, rule->symmetric, INT32_MAX);
	struct range range = {0, 0};

	if (count == 0) {
		return range;
	}
	uint64_t rank = (uint64_t)ceil(rule->percentile / 100 * (double)count);
	rank = rank < 1 ? 1 : rank > count ? count : rank;
	range.high = nearest_rank(row, mask, first, n, rule->symmetric, rank);
	if (rule->symmetric) {
		range.low = -range.high;
		return range;
	}
	range.low = nearest_rank(row, mask, first, n, 0, count - rank + 1);
	range.high = range.high > 0 ? range.high : 0;
	range.low = range.low < 0 ? range.low : 0;
	return range;
}

/* The ranges' grids, from the widest on; neighbours that round to the same are one. */
static void shrink(const struct scale_rule *rule, struct range whole, struct row_grids *g)
{
	g->n = 0;
	g->low = -(float)(1 << (rule->bits - 1));
	g->high = -g->low - 1;
	for (int step = 0; step <= SHRINK_STEPS; step++) {
		const float part = 1 - 0.01f * (float)step;
		float scale;
		int8_t zero;
		scale_of_range(rule, (struct range){whole.low * part, whole.high * part}, &scale, &zero);
		if (g->n == 0 || scale != g->scale[g->n - 1] || (float)zero != g->zero[g->n - 1]) {
			g->scale[g->n] = scale;
			g->zero[g->n++] = (float)zero;
		}
	}
}

static void search(const struct scale_rule *rule, const float *row, const uint8_t *mask, uint64_t first, uint64_t n, float *ret_scale,
	int8_t *ret_zero)
{
	_Static_assert((int)SHRINK_STEPS < (int)ROW_GRIDS, "a grid for each step");
	struct row_grids grids;
	double error[ROW_GRIDS];
	uint32_t best = 0;

	shrink(rule, whole_range(rule, row, mask, first, n), &grids);
	if (grids.n > 1) {
		row_squares(row, mask, first, n, &grids, error);
	}
	for (uint32_t i = 1; i < grids.n; i++) {
		best = error[i] < error[best] ? i : best;
	}
	*ret_scale = grids.scale[best];
	*ret_zero = (int8_t)grids.zero[best];
}

void scale_find(const struct scale_rule *rule, const float *row, const uint8_t *mask, uint64_t first, uint64_t n, float *ret_scale,
	int8_t *ret_zero)
{
	switch (rule->method) {
	case SCALE_MSE:
		search(rule, row, mask, first, n, ret_scale, ret_zero);
		return;
	case SCALE_PERCENTILE:
		scale_of_range(rule, percentile_range(rule, row, mask, first, n), ret_scale, ret_zero);
		return;
	case SCALE_ABSMAX:
		scale_of_range(rule, whole_range(rule, row, mask, first, n), ret_scale, ret_zero);
	}
}

int scales_find(const struct scale_rule *rule, const float *row, const uint8_t *mask, uint64_t cols, uint64_t group, float *ret_scales,
	int8_t *ret_zeros)
{
	int8_t none;

	if (!row_all_finite(row, cols)) {
		return 0;
	}
	for (uint64_t first = 0, i = 0; first < cols; first += group, i++) {
		scale_find(rule, row, mask, first, cols - first < group ? cols - first : group, &ret_scales[i],
			ret_zeros != NULL ? &ret_zeros[i] : &none);
	}
	return 1;
}

void scale_of_part(const struct scale_rule *rule, const float *row, const uint8_t *mask, uint64_t first, uint64_t n, float part,
	float *ret_scale, int8_t *ret_zero)
{
	struct range range = whole_range(rule, row, mask, first, n);
	const float most = (range.high > -range.low ? range.high : -range.low) * part;

	range.high = range.high > most ? most : range.high;
	range.low = range.low < -most ? -most : range.low;
	scale_of_range(rule, range, ret_scale, ret_zero);
}
