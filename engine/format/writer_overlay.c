/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Protected values on their way: exact values from the source or as given, one piece a module while the job runs
 * (writer_positions.c), and protected.safetensors when all counts are known. */
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

int cwe_writer_overlay_module(struct cwe_writer *w, struct cwe_writer_unit *u, const uint8_t *mask, uint64_t stride,
	struct cwb_err *err)
{
	int rc;

	u->piece = w->pieces_size;
	rc = cwe_writer_put_piece(w, u, mask, stride, err);
	if (rc)
		return rc;
	u->has_overlay = u->overlay.values != 0;
	if (!u->has_overlay)
		return 0;
	if (fdatasync(w->pieces))
		return cwb_err_errno(err, "%s: could not be brought to the disk", CWE_WRITER_PIECES);
	w->pieces_size += u->overlay.bytes;
	return 0;
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
