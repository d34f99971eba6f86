/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
#include "plugins/quantizers/static/tensor.h"

#include <errno.h>
#include <stdlib.h>

#include "plugins/quantizers/rounding.h"
#include "plugins/quantizers/rows/rows.h"

/* The bits of all rows one after another, as those of a single long row. */
static uint8_t *one_mask(const struct cwp_quantizer_tile *tile)
{
	uint8_t *bits = calloc(tile->rows * tile->cols / 8 + 1, 1);

	for (uint64_t r = 0; bits != NULL && r < tile->rows; r++) {
		const uint8_t *mask = tile->mask + r * tile->mask_stride;
		for (uint64_t c = 0; c < tile->cols; c++) {
			const uint64_t at = r * tile->cols + c;
			bits[at >> 3] |= (uint8_t)(is_protected(mask, c) << (at & 7));
		}
	}
	return bits;
}

int quantize_tensor(const struct scale_rule *rule, const struct cwp_quantizer_tile *tile, const struct cwp_quantizer_result *result)
{
	const uint64_t n = tile->rows * tile->cols;
	uint8_t *mask = tile->mask != NULL ? one_mask(tile) : NULL;
	float scale;
	int8_t zero;

	if (tile->mask != NULL && mask == NULL) {
		return -ENOMEM;
	}
	if (!row_all_finite(tile->weight, n)) {
		free(mask);
		return CWP_ENUMBER;
	}
	scale_find(rule, tile->weight, mask, 0, n, &scale, &zero);
	free(mask);
	for (uint64_t r = 0; r < tile->rows; r++) {
		result->scales[r] = scale;
		if (!rule->symmetric) {
			result->zeros[r] = zero;
		}
	}
	row_codes_int(tile->weight, n, n, &scale, rule->symmetric ? NULL : &zero, rule->bits, result->codes);
	return 0;
}
