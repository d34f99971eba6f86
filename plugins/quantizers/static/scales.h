/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Where the range of a group of weights ends, and the scale and zero point that follow from it. Protected weights take
 * no part: neither in the range nor in the error that the search for it looks at. All functions are pure. [any-thread] */
#pragma once

#include <stdint.h>

enum scale_method { SCALE_ABSMAX, SCALE_PERCENTILE, SCALE_MSE };

struct scale_rule {
	enum scale_method method;
	double percentile; /* of SCALE_PERCENTILE: 50 < percentile <= 100 */
	int bits;
	int symmetric;
};

/* Scale and zero point (0 where symmetric) of the columns [first, first + n) of a row; mask may be NULL, its bits are
 * those of the row.
 *
 * absmax: symmetric scale = absmax / (2^(bits-1) - 1); asymmetric (max - min) / (2^bits - 1), zero within the range.
 * percentile: the same of the range that holds so many per cent of the weights: by magnitude where symmetric, at each
 *   end where not (nearest rank, so that 100 is absmax).
 * mse: of the ranges 1.00, 0.99, .. 0.40 of absmax, the one with the least sum of squared errors of the rounded weights,
 *   the widest of equals. The scale is rounded before its error is taken. */
void scale_find(const struct scale_rule *rule, const float *row, const uint8_t *mask, uint64_t first, uint64_t n,
	float *ret_scale, int8_t *ret_zero);

/* The same of all groups of a row whose weights may be anything; ret_zeros is NULL where symmetric. 0 where one of them, protected
 * or not, is no finite number. */
int scales_find(const struct scale_rule *rule, const float *row, const uint8_t *mask, uint64_t cols, uint64_t group, float *ret_scales,
	int8_t *ret_zeros);

/* As scale_find where the range ends at a part (0 < part <= 1) of absmax: each end that lies beyond it is moved there. */
void scale_of_part(const struct scale_rule *rule, const float *row, const uint8_t *mask, uint64_t first, uint64_t n, float part,
	float *ret_scale, int8_t *ret_zero);
