/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Overlay sizes for many thresholds in one walk over the scores. */
#include <assert.h>
#include <string.h>

#include "engine/format/overlay.h"
#include "engine/select/select.h"

/* How many thresholds are at or below a value that reaches the first. */
static uint32_t reached(const float *threshold, uint32_t n, float value)
{
	uint32_t low = 1, high = n;

	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (value >= threshold[middle]) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low;
}

void cwe_sizes_add(const float *score, uint64_t rows, uint64_t cols, const float *threshold, uint32_t n,
	struct cwe_sizes *sizes)
{
	/* Column behind the last protected one, for each threshold; columns fit 32 bits, as in the overlay. */
	uint32_t next[CWE_SIZES_MOST];

	assert(n > 0 && n <= CWE_SIZES_MOST && cols <= UINT32_MAX);
	for (uint64_t r = 0; r < rows; r++) {
		const float *row = score + r * cols;
		memset(next, 0, sizeof next);
		for (uint32_t c = 0; c < cols; c++) {
			if (!(row[c] >= threshold[0])) {
				continue;
			}
			uint32_t m = reached(threshold, n, row[c]);
			for (uint32_t i = 0; i < m; i++) {
				sizes->values[i]++;
				sizes->escapes[i] += (c - next[i]) / CWE_OVERLAY_ESCAPE;
				next[i] = c + 1;
			}
		}
	}
}
