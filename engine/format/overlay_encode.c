/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The writing half of the overlay: measuring masks, making column gaps, and the size of the file. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/overlay.h"
#include "engine/format/safetensors_writer.h"

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

void cwe_overlay_choose(struct cwe_overlay_plan *p, unsigned value_size)
{
	struct cwe_overlay_plan bitmap;

	p->kind = CWE_OVERLAY_ROWS;
	p->gaps = p->values + p->escapes;
	bitmap = *p;
	bitmap.kind = CWE_OVERLAY_BITMAP;
	p->bytes = cwe_overlay_plan_bytes(p, value_size);
	bitmap.bytes = cwe_overlay_plan_bytes(&bitmap, value_size);
	if (bitmap.bytes < p->bytes)
		*p = bitmap;
}

int cwe_overlay_measure(const uint8_t *mask, uint64_t stride, uint64_t rows, uint64_t cols, unsigned value_size,
	struct cwe_overlay_plan *ret, struct cwb_err *err)
{
	struct cwe_overlay_plan p = {.rows = rows, .cols = cols};
	uint64_t weights, r;

	if (__builtin_mul_overflow(rows, cols, &weights) || weights > UINT32_MAX)
		return cwb_err_set(err, CWP_ELIMIT,
			"a module of %" PRIu64 " x %" PRIu64 " weights is too large for the overlay (2^32 - 1 weights): "
			"choose protect.carrier dense",
			rows, cols);
	for (r = 0; r < rows; r++)
		count_gaps(mask + r * stride, cols, &p);
	cwe_overlay_choose(&p, value_size);
	*ret = p;
	return 0;
}

size_t cwe_overlay_tensors(const struct cwe_overlay_plan *p, enum cwe_dtype values,
	struct cwe_overlay_tensor ret[CWE_OVERLAY_TENSORS_MAX])
{
	uint64_t starts = p->rows + 1, bitmap_row = (p->cols + 7) / 8;
	size_t n = 0;

	if (!p->values)
		return 0;
	ret[n++] = (struct cwe_overlay_tensor){"start", CWE_DTYPE_U32, 1, {starts}, 4 * starts};
	if (p->kind == CWE_OVERLAY_ROWS && p->escapes)
		ret[n++] = (struct cwe_overlay_tensor){"escapes", CWE_DTYPE_U32, 1, {starts}, 4 * starts};
	if (p->kind == CWE_OVERLAY_ROWS)
		ret[n++] = (struct cwe_overlay_tensor){"gaps", CWE_DTYPE_U8, 1, {p->gaps}, p->gaps};
	else
		ret[n++] = (struct cwe_overlay_tensor){"bitmap", CWE_DTYPE_U8, 2, {p->rows, bitmap_row}, p->rows * bitmap_row};
	ret[n++] = (struct cwe_overlay_tensor){"values", values, 1, {p->values}, p->values * (cwe_dtype_bits(values) / 8)};
	return n;
}

size_t cwe_overlay_mask_tensors(const struct cwe_overlay_plan *p, struct cwe_overlay_tensor ret[CWE_OVERLAY_TENSORS_MAX])
{
	size_t n = cwe_overlay_tensors(p, CWE_DTYPE_BF16, ret);

	if (n)
		ret[n - 1] = (struct cwe_overlay_tensor){"values", CWE_DTYPE_BF16, 2, {p->values, 0}, 0};
	return n;
}

int cwe_overlay_file_bytes(const struct cwe_overlay_plan *plan, const char *const *name, const enum cwe_dtype *dtype,
	size_t count, uint64_t *ret_bytes, struct cwb_err *err)
{
	const struct cwe_safetensors_text text = {CWE_OVERLAY_KEY, CWE_OVERLAY_VERSION};
	struct cwe_safetensors_plan *tensor = calloc(CWE_OVERLAY_TENSORS_MAX * count + 1, sizeof *tensor);
	struct cwe_overlay_tensor part[CWE_OVERLAY_TENSORS_MAX];
	size_t n = 0, i, k;
	int rc = tensor ? 0 : -ENOMEM;

	for (i = 0; i < count && !rc; i++) {
		size_t parts = cwe_overlay_tensors(&plan[i], dtype[i], part);

		for (k = 0; k < parts && !rc; k++) {
			char *full;

			if (asprintf(&full, "%s.%s", name[i], part[k].kind) < 0) {
				rc = -ENOMEM;
				break;
			}
			tensor[n] = (struct cwe_safetensors_plan){.name = full, .dtype = part[k].dtype, .rank = part[k].rank};
			memcpy(tensor[n++].shape, part[k].shape, sizeof part[k].shape);
		}
	}
	*ret_bytes = 0;
	if (rc)
		rc = cwb_err_set(err, rc, "%s: out of memory", CWE_OVERLAY_FILE);
	else if (n)
		rc = cwe_safetensors_writer_measure(0, tensor, n, &text, 1, ret_bytes, err);
	for (i = 0; i < n; i++)
		free((char *)tensor[i].name);
	free(tensor);
	return rc;
}
