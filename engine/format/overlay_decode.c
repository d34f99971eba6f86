/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rows of an overlay, decoded: every offset, gap and count is checked against the module's shape before it is used. */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/overlay_p.h"

/* What decoding a range of rows needs. */
struct span {
	uint32_t *start;    /* [rows + 1] */
	uint32_t *escapes;  /* [rows + 1] or NULL */
	uint8_t *positions; /* gap bytes, or rows of the bitmap */
	uint8_t *values;
	uint64_t first;  /* index of the first value */
	uint64_t count;  /* values of these rows */
};

static void span_free(struct span *s)
{
	free(s->start);
	free(s->escapes);
	free(s->positions);
	free(s->values);
}

static int load_u32(const struct cwe_overlay_module *m, const struct cwe_safetensors_entry *e, uint64_t from, uint64_t n,
	uint32_t **ret, struct cwb_err *err)
{
	uint64_t i;
	int rc;

	*ret = calloc(n, sizeof **ret);
	if (!*ret)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", m->file->input.path);
	rc = cwe_safetensors_read(m->file, e, from * 4, *ret, n * 4, err);
	for (i = 0; !rc && i < n; i++)
		(*ret)[i] = le32toh((*ret)[i]);
	return rc;
}

static int load_bytes(const struct cwe_overlay_module *m, const struct cwe_safetensors_entry *e, uint64_t from, uint64_t n,
	uint8_t **ret, struct cwb_err *err)
{
	*ret = malloc(n ? n : 1);
	if (!*ret)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", m->file->input.path);
	return cwe_safetensors_read(m->file, e, from, *ret, n, err);
}

/* Ascending, at most cols a row, and at the ends exactly what the other tensors hold. */
static int check_starts(const struct cwe_overlay_module *m, uint64_t total, uint64_t cols, uint64_t row, uint64_t rows,
	const struct span *s, struct cwb_err *err)
{
	uint64_t positions = m->gaps ? m->gaps->shape[0] : m->values->shape[0];
	uint64_t r, escapes = 0;

	if (!row && (s->start[0] || (s->escapes && s->escapes[0])))
		return cwe_overlay_refuse(m, err, "start does not begin with 0");
	if (s->start[0] > positions)
		return cwe_overlay_refuse(m, err, "start lies behind the last position");
	if (s->escapes && s->escapes[0] > s->start[0])
		return cwe_overlay_refuse(m, err, "more escapes than gaps");
	for (r = 0; r < rows; r++) {
		if (s->start[r + 1] < s->start[r] || s->start[r + 1] - s->start[r] > cols || s->start[r + 1] > positions)
			return cwe_overlay_refuse(m, err, "start is not ascending, or leaves the row or the file");
		if (!s->escapes)
			continue;
		if (s->escapes[r + 1] < s->escapes[r] ||
			s->escapes[r + 1] - s->escapes[r] > s->start[r + 1] - s->start[r])
			return cwe_overlay_refuse(m, err, "escapes are not ascending, or more than the row's gaps");
	}
	if (s->escapes)
		escapes = s->escapes[rows];
	if (row + rows == total &&
		(s->start[rows] != positions || s->start[rows] - escapes != m->values->shape[0]))
		return cwe_overlay_refuse(m, err, "start does not end with the number of positions and values");
	if (s->start[rows] - escapes > m->values->shape[0])
		return cwe_overlay_refuse(m, err, "more positions than values");
	return 0;
}

static int span_load(const struct cwe_overlay_module *m, uint64_t total, uint64_t cols, uint64_t row, uint64_t rows,
	int values, struct span *s, struct cwb_err *err)
{
	unsigned size = cwe_dtype_bits(m->values->dtype) / 8;
	uint64_t stride = (cols + 7) / 8;
	int rc;

	if (m->start->shape[0] - 1 != total || (m->bitmap && m->bitmap->shape[1] != stride))
		return cwe_overlay_refuse(m, err, "its shape is not that of the quantized weight");
	rc = load_u32(m, m->start, row, rows + 1, &s->start, err);
	if (!rc && m->escapes)
		rc = load_u32(m, m->escapes, row, rows + 1, &s->escapes, err);
	if (!rc)
		rc = check_starts(m, total, cols, row, rows, s, err);
	if (rc)
		return rc;
	s->first = s->start[0] - (s->escapes ? s->escapes[0] : 0);
	s->count = s->start[rows] - (s->escapes ? s->escapes[rows] : 0) - s->first;
	if (m->gaps)
		rc = load_bytes(m, m->gaps, s->start[0], s->start[rows] - s->start[0], &s->positions, err);
	else
		rc = load_bytes(m, m->bitmap, row * stride, rows * stride, &s->positions, err);
	if (!rc && values)
		rc = load_bytes(m, m->values, s->first * size, s->count * size, &s->values, err);
	return rc;
}

/* Where a row goes; NULL for what is not wanted. */
struct sink {
	const float *value; /* of this row's positions */
	float *dst;         /* [cols] */
	uint8_t *bits;      /* [(cols + 7) / 8] */
};

static void put(const struct sink *to, uint64_t column, uint64_t number)
{
	if (to->dst)
		to->dst[column] = to->value[number];
	if (to->bits)
		to->bits[column >> 3] |= (uint8_t)(1u << (column & 7));
}

/* One row of gaps: its values in order. Returns the number of values, or -1. */
static int64_t decode_gaps(const uint8_t *gap, uint64_t n, uint64_t cols, uint64_t limit, const struct sink *to)
{
	uint64_t at = 0, count = 0, i;

	for (i = 0; i < n; i++) {
		if (gap[i] == CWE_OVERLAY_ESCAPE) {
			at += CWE_OVERLAY_ESCAPE;
			if (at >= cols)
				return -1;
			continue;
		}
		at += gap[i];
		if (at >= cols || count >= limit)
			return -1;
		put(to, at, count);
		count++;
		at++;
	}
	return n && gap[n - 1] == CWE_OVERLAY_ESCAPE ? -1 : (int64_t)count;
}

static int64_t decode_bits(const uint8_t *bits, uint64_t cols, uint64_t limit, const struct sink *to)
{
	uint64_t count = 0, c;

	if (cols % 8 && bits[cols / 8] >> cols % 8)
		return -1;
	for (c = 0; c < cols; c++) {
		if (!(bits[c >> 3] >> (c & 7) & 1))
			continue;
		if (count >= limit)
			return -1;
		put(to, c, count);
		count++;
	}
	return (int64_t)count;
}

static int decode_rows(const struct cwe_overlay_module *m, uint64_t cols, uint64_t rows, const struct span *s,
	const struct sink *sink, struct cwb_err *err)
{
	uint64_t stride = (cols + 7) / 8;
	uint64_t r, at = 0;

	assert(s->start);
	for (r = 0; r < rows; r++) {
		uint64_t n = s->start[r + 1] - s->start[r];
		uint64_t expected = n - (s->escapes ? s->escapes[r + 1] - s->escapes[r] : 0);
		const struct sink to = {sink->value ? sink->value + at : NULL, sink->dst ? sink->dst + r * cols : NULL,
			sink->bits ? sink->bits + r * stride : NULL};
		int64_t got;

		if (m->gaps)
			got = decode_gaps(s->positions + (s->start[r] - s->start[0]), n, cols, expected, &to);
		else
			got = decode_bits(s->positions + r * stride, cols, expected, &to);
		if (got < 0 || (uint64_t)got != expected)
			return cwe_overlay_refuse(m, err, "a column lies beyond the width, or a row's count of values is wrong");
		at += expected;
	}
	return 0;
}

int cwe_overlay_apply(const struct cwe_overlay_module *m, uint64_t total, uint64_t cols, uint64_t row, uint64_t rows,
	float *dst, struct cwb_err *err)
{
	struct span s = {0};
	float *value = NULL;
	int rc;

	if (row > total || rows > total - row)
		return cwb_err_set(err, CWP_EVALUE, "module \"%s\": rows %" PRIu64 " + %" PRIu64 " lie outside its %" PRIu64, m->name,
			row, rows, total);
	rc = span_load(m, total, cols, row, rows, 1, &s, err);
	if (rc)
		goto out;
	value = malloc((s.count ? s.count : 1) * sizeof *value);
	if (!value) {
		rc = cwb_err_set(err, -ENOMEM, "%s: out of memory", m->file->input.path);
		goto out;
	}
	cwe_f32_from_dtype(value, s.values, cwe_dtype_to_cwp(m->values->dtype), s.count);
	rc = decode_rows(m, cols, rows, &s, &(struct sink){.value = value, .dst = dst}, err);
out:
	free(value);
	span_free(&s);
	return rc;
}

int cwe_overlay_mask(const struct cwe_overlay_module *m, uint64_t total, uint64_t cols, uint64_t row, uint64_t rows,
	uint8_t *bits, struct cwb_err *err)
{
	struct span s = {0};
	int rc;

	if (row > total || rows > total - row)
		return cwb_err_set(err, CWP_EVALUE, "module \"%s\": rows %" PRIu64 " + %" PRIu64 " lie outside its %" PRIu64, m->name,
			row, rows, total);
	memset(bits, 0, rows * ((cols + 7) / 8));
	rc = span_load(m, total, cols, row, rows, 0, &s, err);
	if (!rc)
		rc = decode_rows(m, cols, rows, &s, &(struct sink){.bits = bits}, err);
	span_free(&s);
	return rc;
}

int cwe_overlay_check(const struct cwe_overlay_module *m, uint64_t total, uint64_t cols, struct cwb_err *err)
{
	uint64_t step = cols ? (1u << 20) / cols + 1 : total, row;
	int rc = 0;

	for (row = 0; !rc && (row < total || !row); row += step) {
		uint64_t rows = total - row < step ? total - row : step;
		struct span s = {0};

		rc = span_load(m, total, cols, row, rows, 0, &s, err);
		if (!rc)
			rc = decode_rows(m, cols, rows, &s, &(struct sink){0}, err);
		span_free(&s);
	}
	return rc;
}
