/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scores -> one bit each. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/select/select.h"

uint64_t cwe_mask_fill(const float *score, uint64_t rows, uint64_t cols, float threshold, uint8_t *mask, uint64_t stride)
{
	uint64_t set = 0;

	assert(stride >= (cols + 7) / 8);
	for (uint64_t r = 0; r < rows; r++) {
		const float *in = score + r * cols;
		uint8_t *out = mask + r * stride;
		memset(out, 0, stride);
		for (uint64_t c = 0; c < cols; c++) {
			unsigned bit = in[c] >= threshold;
			out[c >> 3] |= (uint8_t)(bit << (c & 7));
			set += bit;
		}
	}
	return set;
}

static int row_threshold(const float *score, uint64_t cols, uint64_t k, float *ret)
{
	struct cwe_threshold t;
	int r = cwe_threshold_begin(&t, k, NULL);
	if (r != 0) {
		return r;
	}
	do {
		cwe_threshold_feed(&t, score, cols);
	} while ((r = cwe_threshold_next(&t, NULL)) == 1);
	if (r == 0) {
		*ret = cwe_threshold_value(&t, NULL, NULL);
	}
	cwe_threshold_end(&t);
	return r;
}

static int descending(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return x > y ? -1 : x < y;
}

/* The first place of a value in a sorted row, where it is. */
static uint64_t place_of(const float *sorted, uint64_t n, float value)
{
	uint64_t low = 0;

	while (low < n) {
		uint64_t middle = low + (n - low) / 2;
		if (sorted[middle] > value) {
			low = middle + 1;
		} else {
			n = middle;
		}
	}
	return low;
}

void cwe_row_places(float *score, uint64_t rows, uint64_t cols, float *spare)
{
	assert(cols <= 1u << 24);
	for (uint64_t r = 0; r < rows; r++) {
		float *row = score + r * cols;
		memcpy(spare, row, cols * sizeof *row);
		qsort(spare, cols, sizeof *spare, descending);
		for (uint64_t c = 0; c < cols; c++) {
			row[c] = -(float)place_of(spare, cols, row[c]);
		}
	}
}

int cwe_mask_fill_rows(const float *score, uint64_t rows, uint64_t cols, double fraction, uint8_t *mask, uint64_t stride,
	uint64_t *ret_set)
{
	uint64_t k = cwe_fraction_count(fraction, cols);
	*ret_set = 0;
	for (uint64_t i = 0; i < rows; i++) {
		float threshold = INFINITY;
		int r = k > 0 ? row_threshold(score + i * cols, cols, k, &threshold) : 0;
		if (r != 0) {
			return r;
		}
		*ret_set += cwe_mask_fill(score + i * cols, 1, cols, threshold, mask + i * stride, stride);
	}
	return 0;
}
