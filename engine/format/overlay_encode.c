/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The writing half of the overlay: measuring masks, making column gaps. */
#include <inttypes.h>
#include <string.h>

#include "engine/format/overlay.h"

/* The next protected column at or after c, or cols. */
static uint64_t next_column(const uint8_t *mask, uint64_t c, uint64_t cols)
{
	while (c < cols) {
		unsigned rest = mask[c >> 3] >> (c & 7);

		if (rest) {
			c += (unsigned)__builtin_ctz(rest);
			return c < cols ? c : cols;
		}
		c = (c | 7) + 1;
	}
	return cols;
}

uint64_t cwe_overlay_count_row(const uint8_t *mask, uint64_t cols)
{
	uint64_t n = 0, i;

	for (i = 0; i < cols / 8; i++)
		n += (unsigned)__builtin_popcount(mask[i]);
	if (cols % 8)
		n += (unsigned)__builtin_popcount(mask[i] & ((1u << cols % 8) - 1));
	return n;
}

uint64_t cwe_overlay_gaps_row(const uint8_t *mask, uint64_t cols, uint8_t *dst, uint64_t *ret_escapes)
{
	uint64_t at = 0, n = 0, escapes = 0, c;

	for (c = next_column(mask, 0, cols); c < cols; c = next_column(mask, at, cols)) {
		while (c - at >= CWE_OVERLAY_ESCAPE) {
			dst[n++] = CWE_OVERLAY_ESCAPE;
			at += CWE_OVERLAY_ESCAPE;
			escapes++;
		}
		dst[n++] = (uint8_t)(c - at);
		at = c + 1;
	}
	*ret_escapes = escapes;
	return n;
}

/* Counts of one row without storing its gaps. */
static void count_gaps(const uint8_t *mask, uint64_t cols, struct cwe_overlay_plan *p)
{
	uint64_t at = 0, c;

	for (c = next_column(mask, 0, cols); c < cols; c = next_column(mask, at, cols)) {
		p->escapes += (c - at) / CWE_OVERLAY_ESCAPE;
		p->values++;
		at = c + 1;
	}
}

uint64_t cwe_overlay_plan_bytes(const struct cwe_overlay_plan *p, unsigned value_size)
{
	uint64_t starts = 4 * (p->rows + 1), positions;

	if (p->kind == CWE_OVERLAY_ROWS)
		positions = p->gaps + (p->escapes ? starts : 0);
	else
		positions = p->rows * ((p->cols + 7) / 8);
	return starts + positions + p->values * value_size;
}

int cwe_overlay_measure(const uint8_t *mask, uint64_t stride, uint64_t rows, uint64_t cols, unsigned value_size,
	struct cwe_overlay_plan *ret, struct cwb_err *err)
{
	struct cwe_overlay_plan p = {.rows = rows, .cols = cols}, bitmap;
	uint64_t weights, r;

	if (__builtin_mul_overflow(rows, cols, &weights) || weights > UINT32_MAX)
		return cwb_err_set(err, CWP_ELIMIT,
			"a module of %" PRIu64 " x %" PRIu64 " weights is too large for the overlay (2^32 - 1 weights): "
			"choose protect.carrier dense",
			rows, cols);
	for (r = 0; r < rows; r++)
		count_gaps(mask + r * stride, cols, &p);
	p.gaps = p.values + p.escapes;
	bitmap = p;
	bitmap.kind = CWE_OVERLAY_BITMAP;
	p.bytes = cwe_overlay_plan_bytes(&p, value_size);
	bitmap.bytes = cwe_overlay_plan_bytes(&bitmap, value_size);
	*ret = p.bytes <= bitmap.bytes ? p : bitmap;
	return 0;
}
