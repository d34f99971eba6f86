/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Protected values on their way: exact values from the source or as given, one piece a module while the job runs, and
 * protected.safetensors when all counts are known. A piece holds start, escapes, gaps or bitmap, and values. */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/format/writer_state.h"

#define BUFFER (1u << 20)

static int too_large(const struct cwe_writer_unit *u, const uint8_t *mask, uint64_t stride, uint64_t row, uint64_t rows,
	const float *rounded, struct cwb_err *err)
{
	uint64_t cols = u->source->shape[1], r, c;

	for (r = 0; r < rows; r++)
		for (c = 0; c < cols; c++)
			if (mask[(row + r) * stride + (c >> 3)] >> (c & 7) & 1 && rounded[r * cols + c] - rounded[r * cols + c] != 0)
				return cwb_err_set(err, CWP_ENUMBER, "module \"%s\": protected weight [%" PRIu64 ", %" PRIu64
					"] became %g, which the model's dtype cannot hold", u->module, row + r, c,
					(double)u->exact[(row + r) * cols + c]);
	return 0;
}

int cwe_writer_exact(struct cwe_writer *w, const struct cwe_writer_unit *u, const uint8_t *mask, uint64_t stride, uint64_t row,
	uint64_t rows, uint8_t *dst, struct cwb_err *err)
{
	uint64_t n = rows * u->source->shape[1];
	float *rounded;
	int rc;

	if (!u->exact)
		return cwe_weights_read_raw(w->values, u->source, row, rows, dst, err);
	rounded = malloc(n * sizeof *rounded + 1);
	if (!rounded)
		return cwb_err_set(err, -ENOMEM, "module \"%s\": out of memory", u->module);
	cwe_f32_to_dtype(dst, u->exact + row * u->source->shape[1], u->source->dtype, n);
	cwe_f32_from_dtype(rounded, dst, u->source->dtype, n);
	rc = too_large(u, mask, stride, row, rows, rounded, err);
	free(rounded);
	return rc;
}

int cwe_writer_restore(struct cwe_writer *w, const struct cwe_writer_unit *u, const uint8_t *mask, uint64_t stride,
	uint64_t row, uint64_t rows, uint8_t *dst, struct cwb_err *err)
{
	size_t size = cwe_cwp_dtype_size(u->source->dtype);
	uint64_t cols = u->source->shape[1], r, c;
	uint8_t *exact = malloc(rows * cols * size + 1);
	int rc;

	if (!exact)
		return cwb_err_set(err, -ENOMEM, "module \"%s\": out of memory", u->module);
	rc = cwe_writer_exact(w, u, mask, stride, row, rows, exact, err);
	for (r = 0; r < rows && !rc; r++) {
		const uint8_t *bits = mask + (row + r) * stride;

		for (c = 0; c < cols; c++)
			if (bits[c >> 3] >> (c & 7) & 1)
				memcpy(dst + (r * cols + c) * size, exact + (r * cols + c) * size, size);
	}
	free(exact);
	return rc;
}

const char *cwe_writer_overlay_name(const struct cwe_writer *w)
{
	return w->mask ? CWE_MASK_FILE : CWE_OVERLAY_FILE;
}

unsigned cwe_writer_overlay_size(const struct cwe_writer *w, const struct cwe_writer_unit *u)
{
	return w->mask ? 0 : (unsigned)cwe_cwp_dtype_size(u->source->dtype);
}

/* Where the parts of a piece begin, counted from the piece; the last is its end. */
struct parts {
	uint64_t start, escapes, positions, values, end;
};

static struct parts parts_of(const struct cwe_writer_unit *u)
{
	const struct cwe_overlay_plan *p = &u->overlay;
	uint64_t starts = 4 * (p->rows + 1);
	struct parts at = {0};

	at.escapes = starts;
	at.positions = starts + (p->kind == CWE_OVERLAY_ROWS && p->escapes ? starts : 0);
	at.values = at.positions + (p->kind == CWE_OVERLAY_ROWS ? p->gaps : p->rows * ((p->cols + 7) / 8));
	at.end = at.values + p->values * cwe_cwp_dtype_size(u->source->dtype);
	return at;
}

static int put(struct cwe_writer *w, const void *src, uint64_t bytes, uint64_t at, struct cwb_err *err)
{
	return cwb_file_pwrite(w->pieces, src, bytes, at, CWE_WRITER_PIECES, err);
}

/* Offsets of all rows, and gaps or bits row by row. */
static int put_positions(struct cwe_writer *w, const struct cwe_writer_unit *u, const uint8_t *mask, uint64_t stride,
	struct cwb_err *err)
{
	const struct cwe_overlay_plan *p = &u->overlay;
	const struct parts at = parts_of(u);
	uint64_t bitmap_row = (p->cols + 7) / 8, positions = 0, escapes = 0, values = 0, to = u->piece + at.positions, r, n, e;
	uint32_t *start = calloc(p->rows + 1, sizeof *start), *escaped = calloc(p->rows + 1, sizeof *escaped);
	uint8_t *row = malloc(p->cols + 1);
	int rc = 0;

	if (!start || !escaped || !row)
		rc = cwb_err_set(err, -ENOMEM, "module \"%s\": out of memory", u->module);
	for (r = 0; r < p->rows && !rc; r++) {
		const uint8_t *bits = mask + r * stride;

		if (p->kind == CWE_OVERLAY_ROWS) {
			n = cwe_overlay_gaps_row(bits, p->cols, row, &e);
			positions += n;
			escapes += e;
		} else {
			n = bitmap_row;
			memcpy(row, bits, n);
			if (p->cols % 8)
				row[n - 1] &= (uint8_t)((1u << p->cols % 8) - 1);
			values += cwe_overlay_count_row(bits, p->cols);
		}
		start[r + 1] = htole32((uint32_t)(p->kind == CWE_OVERLAY_ROWS ? positions : values));
		escaped[r + 1] = htole32((uint32_t)escapes);
		if (n)
			rc = put(w, row, n, to, err);
		to += n;
	}
	if (!rc)
		rc = put(w, start, 4 * (p->rows + 1), u->piece, err);
	if (!rc && p->kind == CWE_OVERLAY_ROWS && p->escapes)
		rc = put(w, escaped, 4 * (p->rows + 1), u->piece + at.escapes, err);
	free(start);
	free(escaped);
	free(row);
	return rc;
}

/* Exact values at protected positions, in row order. */
static int put_values(struct cwe_writer *w, const struct cwe_writer_unit *u, const uint8_t *mask, uint64_t stride,
	struct cwb_err *err)
{
	uint64_t rows = u->source->shape[0], cols = u->source->shape[1], step = cwe_format_step(cols), row, r, c;
	size_t size = cwe_cwp_dtype_size(u->source->dtype), n;
	uint64_t to = u->piece + parts_of(u).values;
	uint8_t *exact = malloc(step * cols * size + 1);
	int rc = exact ? 0 : cwb_err_set(err, -ENOMEM, "module \"%s\": out of memory", u->module);

	for (row = 0; row < rows && !rc; row += step) {
		uint64_t count = rows - row < step ? rows - row : step;

		rc = cwe_writer_exact(w, u, mask, stride, row, count, exact, err);
		for (r = 0, n = 0; r < count && !rc; r++) {
			const uint8_t *bits = mask + (row + r) * stride;

			for (c = 0; c < cols; c++) {
				if (!(bits[c >> 3] >> (c & 7) & 1))
					continue;
				memmove(exact + n * size, exact + (r * cols + c) * size, size);
				n++;
			}
		}
		if (!rc && n)
			rc = put(w, exact, n * size, to, err);
		to += n * size;
	}
	free(exact);
	return rc;
}

int cwe_writer_overlay_module(struct cwe_writer *w, struct cwe_writer_unit *u, const uint8_t *mask, uint64_t stride,
	struct cwb_err *err)
{
	unsigned size = cwe_writer_overlay_size(w, u);
	int rc = cwe_overlay_measure(mask, stride, u->source->shape[0], u->source->shape[1], size, &u->overlay, err);

	if (rc)
		return cwb_err_prefix(err, "module \"%s\"", u->module), rc;
	u->has_overlay = u->overlay.values != 0;
	u->piece = w->pieces_size;
	if (!u->has_overlay)
		return 0;
	rc = put_positions(w, u, mask, stride, err);
	if (!rc && !w->mask)
		rc = put_values(w, u, mask, stride, err);
	if (!rc && fdatasync(w->pieces))
		rc = cwb_err_errno(err, "%s: could not be brought to the disk", CWE_WRITER_PIECES);
	if (!rc)
		w->pieces_size += u->overlay.bytes;
	return rc;
}

/* One tensor of protected.safetensors and the bytes that it is made of. */
struct part {
	struct cwe_safetensors_plan plan;
	uint64_t from, bytes;
};

static int add_unit(const struct cwe_writer *w, struct part *part, size_t *n, const struct cwe_writer_unit *u, struct cwb_err *err)
{
	enum cwe_dtype dtype = u->source->dtype == CWP_F32   ? CWE_DTYPE_F32
			       : u->source->dtype == CWP_F16 ? CWE_DTYPE_F16
							     : CWE_DTYPE_BF16;
	struct cwe_overlay_tensor tensor[CWE_OVERLAY_TENSORS_MAX];
	size_t count = w->mask ? cwe_overlay_mask_tensors(&u->overlay, tensor) : cwe_overlay_tensors(&u->overlay, dtype, tensor), i;
	uint64_t from = u->piece;

	for (i = 0; i < count; i++) {
		struct part *p = &part[*n];
		char *name;

		if (asprintf(&name, "%s.%s", u->module, tensor[i].kind) < 0)
			return cwb_err_set(err, -ENOMEM, "%s: out of memory", CWE_OVERLAY_FILE);
		p->plan = (struct cwe_safetensors_plan){.name = name, .dtype = tensor[i].dtype, .rank = tensor[i].rank};
		memcpy(p->plan.shape, tensor[i].shape, sizeof tensor[i].shape);
		p->from = from;
		p->bytes = tensor[i].bytes;
		from += tensor[i].bytes;
		++*n;
	}
	return 0;
}

static int copy_part(struct cwe_writer *w, struct cwe_safetensors_writer *to, size_t i, const struct part *p, uint8_t *buffer,
	struct cwb_err *err)
{
	uint64_t at, n;
	int rc = 0;

	for (at = 0; at < p->bytes && !rc; at += n) {
		n = p->bytes - at < BUFFER ? p->bytes - at : BUFFER;
		rc = cwb_file_pread(w->pieces, buffer, n, p->from + at, CWE_WRITER_PIECES, err);
		if (!rc)
			rc = cwe_safetensors_writer_write(to, i, at, buffer, n, err);
	}
	return rc;
}

static int write_parts(struct cwe_writer *w, const struct part *part, size_t n, struct cwe_safetensors_writer **ret,
	struct cwb_err *err)
{
	const struct cwe_safetensors_text text = {CWE_OVERLAY_KEY, CWE_OVERLAY_VERSION};
	struct cwe_safetensors_plan *plan = calloc(n, sizeof *plan);
	struct cwe_safetensors_writer *to = NULL;
	uint8_t *buffer = malloc(BUFFER);
	size_t i;
	int rc;

	if (!plan || !buffer) {
		rc = cwb_err_set(err, -ENOMEM, "%s: out of memory", CWE_OVERLAY_FILE);
		goto out;
	}
	for (i = 0; i < n; i++)
		plan[i] = part[i].plan;
	rc = cwe_safetensors_writer_new(w->folder, cwe_writer_overlay_name(w), 0, plan, n, &text, 1, &to, NULL, err);
	for (i = 0; i < n && !rc; i++)
		rc = copy_part(w, to, i, &part[i], buffer, err);
	if (!rc)
		rc = cwe_safetensors_writer_sync(to, err);
	if (rc) {
		cwe_safetensors_writer_discard(to);
		cwe_safetensors_writer_free(to);
	} else {
		*ret = to;
	}
out:
	free(plan);
	free(buffer);
	return rc;
}

int cwe_writer_overlay_finish(struct cwe_writer *w, struct cwe_safetensors_writer **ret, struct cwb_err *err)
{
	struct part *part = calloc(4 * w->count + 1, sizeof *part);
	size_t n = 0, i;
	int rc = part ? 0 : cwb_err_set(err, -ENOMEM, "%s: out of memory", CWE_OVERLAY_FILE);

	*ret = NULL;
	for (i = 0; i < w->count && !rc; i++)
		if (w->unit[i].has_overlay)
			rc = add_unit(w, part, &n, &w->unit[i], err);
	if (!rc && n)
		rc = write_parts(w, part, n, ret, err);
	for (i = 0; i < n; i++)
		free((char *)part[i].plan.name);
	free(part);
	return rc;
}
