/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs, read: codes decoded in f32, protected values put in their places. */
#include "engine/format/output.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/format/output_state.h"

uint64_t cwe_grid_scales(const struct cwp_grid *grid, uint64_t cols)
{
	if (grid->granularity != CWP_PER_GROUP && grid->granularity != CWP_PER_BLOCK)
		return 1;
	return grid->group ? cols / grid->group + (cols % grid->group != 0) : 1;
}

void cwe_dequantize(const struct cwp_grid *grid, uint64_t rows, uint64_t cols, const uint8_t *codes, const float *scales,
	const int8_t *zeros, float *dst)
{
	uint64_t n = cwe_grid_scales(grid, cols), width = n > 1 ? grid->group : cols, r, g, c;

	for (r = 0; r < rows; r++) {
		for (g = 0; g < n; g++) {
			uint64_t end = g + 1 < n ? (g + 1) * width : cols;
			float scale = scales[r * n + g];
			int zero = zeros ? zeros[r * n + g] : 0;

			if (grid->code == CWP_CODE_E4M3)
				for (c = g * width; c < end; c++)
					dst[r * cols + c] = cwe_f32_from_e4m3(codes[r * cols + c]) * scale;
			else
				for (c = g * width; c < end; c++)
					dst[r * cols + c] = (float)((int8_t)codes[r * cols + c] - zero) * scale;
		}
	}
}

int cwe_output_is(const char *directory, const json_t *config)
{
	const char *method = json_string_value(json_object_get(json_object_get(config, "quantization_config"), "quant_method"));
	char *path;
	int there;

	if (method && cwe_output_reader_find(method))
		return 1;
	if (asprintf(&path, "%s/%s", directory, CWE_OVERLAY_FILE) < 0)
		return 0;
	there = access(path, F_OK) == 0;
	free(path);
	return there;
}

/* ---- rows of a quantized module ---- */

int cwe_output_read_scales(const struct cwe_output_reader *reader, const struct cwe_output_item *m, uint64_t row,
	uint64_t rows, float *ret, struct cwb_err *err)
{
	uint64_t n = cwe_grid_scales(&m->grid, m->cols), i;
	int rc = reader->scales(m, row, rows, n, ret, err);

	for (i = 0; i < rows * n && !rc; i++)
		if (!isfinite(ret[i]) || ret[i] < 0)
			rc = cwb_err_set(err, CWP_ENUMBER,
				"%s: tensor \"%s\": the scale of row %" PRIu64 " is %g: scales are finite and not negative",
				m->scale->file->input.path, m->scale->entry->name, row + i / n, (double)ret[i]);
	return rc;
}

static int read_module(const struct cwe_output_reader *reader, const struct cwe_output_item *m, uint64_t row, uint64_t rows,
	float *dst, struct cwb_err *err)
{
	uint64_t n = cwe_grid_scales(&m->grid, m->cols);
	uint8_t *codes = malloc(rows * m->cols + 1);
	float *scales = malloc(rows * n * sizeof *scales + 1);
	int8_t *zeros = m->grid.symmetric ? NULL : calloc(rows, n);
	int rc;

	if (!codes || !scales || (!m->grid.symmetric && !zeros)) {
		rc = cwb_err_set(err, -ENOMEM, "tensor \"%s\": out of memory", m->codes->entry->name);
		goto out;
	}
	rc = reader->codes(m, row, rows, codes, err);
	if (!rc)
		rc = cwe_output_read_scales(reader, m, row, rows, scales, err);
	if (!rc && zeros)
		rc = reader->zeros(m, row, rows, n, zeros, err);
	if (!rc)
		cwe_dequantize(&m->grid, rows, m->cols, codes, scales, zeros, dst);
	if (!rc && m->overlay)
		rc = cwe_overlay_apply(m->overlay, m->rows, m->cols, row, rows, dst, err);
out:
	free(codes);
	free(scales);
	free(zeros);
	return rc;
}

/* ---- struct cwe_weights ---- */

static uint64_t row_elements(const struct cwe_tensor *t)
{
	uint64_t n = 1;
	uint32_t d;

	for (d = 1; d < t->rank; d++)
		n *= t->shape[d];
	return n;
}

static int output_read_raw(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, void *dst,
	struct cwb_err *err)
{
	const struct cwe_output_weights *o = (struct cwe_output_weights *)w;
	const struct cwe_output_item *m = &o->item[t->index];
	uint64_t bytes = row_elements(t) * cwe_cwp_dtype_size(t->dtype), at, n, step;
	int rc = 0;

	if (!m->quantized)
		return cwe_checkpoint_read(m->codes, row * bytes, dst, rows * bytes, err);
	step = m->cols ? (1u << 20) / m->cols + 1 : 1;
	for (at = 0; at < rows && !rc; at += n) {
		n = rows - at < step ? rows - at : step;
		rc = read_module(o->reader, m, row + at, n, (float *)dst + at * m->cols, err);
	}
	return rc;
}

static int output_read_f32(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *dst,
	struct cwb_err *err)
{
	uint64_t n = row_elements(t) * rows;
	uint8_t *raw;
	int rc;

	if (t->dtype == CWP_F32)
		return output_read_raw(w, t, row, rows, dst, err);
	raw = malloc(n * cwe_cwp_dtype_size(t->dtype) + 1);
	if (!raw)
		return cwb_err_set(err, -ENOMEM, "tensor \"%s\": out of memory", t->name);
	rc = output_read_raw(w, t, row, rows, raw, err);
	if (!rc)
		cwe_f32_from_dtype(dst, raw, t->dtype, n);
	free(raw);
	return rc;
}

static void output_close(struct cwe_weights *w)
{
	cwe_output_state_free((struct cwe_output_weights *)w);
}

int cwe_output_weights_open(const char *directory, const json_t *config, struct cwe_weights **ret, struct cwb_err *err)
{
	static const struct cwe_weights_ops ops = {.read_f32 = output_read_f32, .read_raw = output_read_raw,
		.close = output_close, .input = cwe_output_input, .read_split = cwe_output_read_split};
	struct cwe_output_weights *o = NULL;
	int rc = cwe_output_state_open(directory, config, &o, err);

	if (rc)
		return rc;
	o->base.ops = &ops;
	*ret = &o->base;
	return 0;
}
