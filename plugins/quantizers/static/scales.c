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

/* An integer that orders as floats do; of the magnitude where asked for. */
static inline int32_t key_of(float v, int magnitude)
{
	const int32_t u = (int32_t)float_bits(v);

	return magnitude ? u & 0x7fffffff : u ^ (u < 0 ? 0x7fffffff : 0);
}

static inline float of_key(int32_t key)
{
	return bits_float((uint32_t)(key ^ (key < 0 ? 0x7fffffff : 0)));
}

/* Unprotected weights whose key is at most `limit`. */
static uint64_t count_up_to(const float *row, const uint8_t *mask, uint64_t first, uint64_t n, int magnitudes, int32_t limit)
{
	uint64_t count = 0;

	for (uint64_t c = first; c < first + n; c++) {
		count += key_of(row[c], magnitudes) <= limit && (mask == NULL || !is_protected(mask, c));
	}
	return count;
}

/* The rank-th smallest unprotected weight, from 1, found by halving the range of keys: 32 walks whatever the weights. */
static float nearest_rank(const float *row, const uint8_t *mask, uint64_t first, uint64_t n, int magnitudes, uint64_t rank)
{
	int64_t low = INT32_MIN, high = INT32_MAX;

	while (low < high) {
		const int64_t middle = low + (high - low) / 2;
		if (count_up_to(row, mask, first, n, magnitudes, (int32_t)middle) >= rank) {
			high = middle;
		} else {
			low = middle + 1;
		}
	}
	return of_key((int32_t)low);
}

static struct range percentile_range(const struct scale_rule *rule, const float *row, const uint8_t *mask, uint64_t first, uint64_t n)
{
	const uint64_t count = count_up_to(row, mask, first, n, rule->symmetric, INT32_MAX);
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

/* Sum of squared errors of the unprotected weights. */
static double squared_error(const struct scale_rule *rule, const float *row, const uint8_t *mask, uint64_t first, uint64_t n, float scale,
	int8_t zero)
{
	const float least = -(float)(1 << (rule->bits - 1)), greatest = -least - 1, z = (float)zero;
	double sum = 0;

	for (uint64_t c = first; c < first + n; c++) {
		const double error = (double)value_int(row[c], scale, z, least, greatest) - (double)row[c];
		sum += mask != NULL && is_protected(mask, c) ? 0 : error * error;
	}
	return sum;
}

static void search(const struct scale_rule *rule, const float *row, const uint8_t *mask, uint64_t first, uint64_t n, float *ret_scale,
	int8_t *ret_zero)
{
	const struct range whole = whole_range(rule, row, mask, first, n);
	double least = 0;

	for (int step = 0; step <= SHRINK_STEPS; step++) {
		const float part = 1 - 0.01f * (float)step;
		float scale;
		int8_t zero;
		scale_of_range(rule, (struct range){whole.low * part, whole.high * part}, &scale, &zero);
		/* Neighbours that round to the scale at hand have its error. */
		if (step > 0 && scale == *ret_scale && zero == *ret_zero) {
			continue;
		}
		const double error = squared_error(rule, row, mask, first, n, scale, zero);
		if (step == 0 || error < least) {
			least = error;
			*ret_scale = scale;
			*ret_zero = zero;
		}
	}
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

	if (rule->method == SCALE_ABSMAX && rule->symmetric && mask == NULL) {
		const float greatest = (float)((1 << (rule->bits - 1)) - 1);
		const int finite = row_finite_absmaxes(row, cols, group, ret_scales);
		for (uint64_t first = 0, i = 0; first < cols; first += group, i++) {
			ret_scales[i] = usable_scale(ret_scales[i] / greatest);
		}
		return finite;
	}
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
