/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scores -> one bit each. */
#include <assert.h>
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
