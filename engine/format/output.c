/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs, read: codes decoded in f32, protected values put in their places. */
#include "engine/format/output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "engine/format/output_state.h"
#include "engine/format/packing.h"

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

	if (method && !strcmp(method, "compressed-tensors"))
		return 1;
	if (asprintf(&path, "%s/%s", directory, CWE_OVERLAY_FILE) < 0)
		return 0;
	there = access(path, F_OK) == 0;
	free(path);
	return there;
}

uint32_t cwe_output_activation(const json_t *config, const char *module)
{
	struct cwe_ct_config *c = NULL;
	const struct cwe_ct_scheme *s;
	uint32_t activation = CWP_ACT_NONE;

	if (cwe_ct_config_read(json_object_get(config, "quantization_config"), &c, NULL))
		return CWP_ACT_NONE;
	s = cwe_ct_config_find(c, module);
	if (s)
		activation = s->activation;
	cwe_ct_config_free(c);
	return activation;
}

/* ---- rows of a quantized module ---- */

static int read_codes(const struct cwe_output_item *m, uint64_t row, uint64_t rows, uint8_t *codes, struct cwb_err *err)
{
	uint64_t bytes, r;
	uint8_t *packed;
	int rc;

	if (m->scheme.format != CWE_CT_PACK)
		return cwe_checkpoint_read(m->codes, row * m->cols, codes, rows * m->cols, err);
	bytes = 4 * cwe_pack_words(m->cols, m->scheme.bits);
	packed = malloc(rows * bytes + 1);
	if (!packed)
		return cwb_err_set(err, -ENOMEM, "tensor \"%s\": out of memory", m->codes->entry->name);
	rc = cwe_checkpoint_read(m->codes, row * bytes, packed, rows * bytes, err);
	for (r = 0; r < rows && !rc; r++)
		cwe_unpack_row(m->scheme.bits, packed + r * bytes, m->cols, codes + r * m->cols);
	free(packed);
	return rc;
}

static int read_scales(const struct cwe_output_item *m, uint64_t row, uint64_t rows, uint64_t n, float *scales,
	struct cwb_err *err)
{
	uint32_t dtype = cwe_dtype_to_cwp(m->scale->entry->dtype);
	size_t size = cwe_cwp_dtype_size(dtype);
	uint64_t count = m->scheme.tensor ? 1 : rows * n, r;
	uint8_t *raw = malloc(count * size + 1);
	int rc;

	if (!raw)
		return cwb_err_set(err, -ENOMEM, "tensor \"%s\": out of memory", m->scale->entry->name);
	rc = cwe_checkpoint_read(m->scale, m->scheme.tensor ? 0 : row * n * size, raw, count * size, err);
	if (!rc)
		cwe_f32_from_dtype(scales, raw, dtype, count);
	for (r = 1; r < rows && m->scheme.tensor && !rc; r++)
		scales[r] = scales[0];
	free(raw);
	return rc;
}

static int read_zeros(const struct cwe_output_item *m, uint64_t row, uint64_t rows, uint64_t n, int8_t *zeros,
	struct cwb_err *err)
{
	uint64_t per, first, words, r, g;
	uint8_t *packed;
	int rc;

	if (m->scheme.format != CWE_CT_PACK) {
		rc = cwe_checkpoint_read(m->zero, m->scheme.tensor ? 0 : row * n, zeros, m->scheme.tensor ? 1 : rows * n, err);
		for (r = 1; r < rows && m->scheme.tensor && !rc; r++)
			zeros[r] = zeros[0];
		return rc;
	}
	per = 32 / m->scheme.bits;
	first = row / per;
	words = (row + rows - 1) / per - first + 1;
	packed = malloc(words * n * 4 + 1);
	if (!packed)
		return cwb_err_set(err, -ENOMEM, "tensor \"%s\": out of memory", m->zero->entry->name);
	rc = cwe_checkpoint_read(m->zero, first * n * 4, packed, words * n * 4, err);
	for (r = 0; r < rows && !rc; r++)
		for (g = 0; g < n; g++)
			zeros[r * n + g] = cwe_unpack_zero(m->scheme.bits, packed, row, row + r, n, g);
	free(packed);
	return rc;
}

/* The grid that cwe_dequantize wants. */
static struct cwp_grid grid_of(const struct cwe_ct_scheme *s)
{
	return (struct cwp_grid){.size = sizeof(struct cwp_grid), .code = s->code, .bits = s->bits, .symmetric = s->symmetric,
		.granularity = s->group ? CWP_PER_GROUP : CWP_PER_CHANNEL, .group = s->group, .activation = s->activation};
}

static int read_module(const struct cwe_output_item *m, uint64_t row, uint64_t rows, float *dst, struct cwb_err *err)
{
	struct cwp_grid grid = grid_of(&m->scheme);
	uint64_t n = cwe_ct_scales(&m->scheme, m->cols);
	uint8_t *codes = malloc(rows * m->cols + 1);
	float *scales = malloc(rows * n * sizeof *scales + 1);
	int8_t *zeros = m->scheme.symmetric ? NULL : calloc(rows, n);
	int rc;

	if (!codes || !scales || (!m->scheme.symmetric && !zeros)) {
		rc = cwb_err_set(err, -ENOMEM, "tensor \"%s\": out of memory", m->codes->entry->name);
		goto out;
	}
	rc = read_codes(m, row, rows, codes, err);
	if (!rc)
		rc = read_scales(m, row, rows, n, scales, err);
	if (!rc && zeros)
		rc = read_zeros(m, row, rows, n, zeros, err);
	if (!rc)
		cwe_dequantize(&grid, rows, m->cols, codes, scales, zeros, dst);
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
	const struct cwe_output_item *m = &((struct cwe_output_weights *)w)->item[t->index];
	uint64_t bytes = row_elements(t) * cwe_cwp_dtype_size(t->dtype), at, n, step;
	int rc = 0;

	if (!m->quantized)
		return cwe_checkpoint_read(m->codes, row * bytes, dst, rows * bytes, err);
	step = m->cols ? (1u << 20) / m->cols + 1 : 1;
	for (at = 0; at < rows && !rc; at += n) {
		n = rows - at < step ? rows - at : step;
		rc = read_module(m, row + at, n, (float *)dst + at * m->cols, err);
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
	static const struct cwe_weights_ops ops = {output_read_f32, output_read_raw, output_close};
	struct cwe_output_weights *o = NULL;
	int rc = cwe_output_state_open(directory, config, &o, err);

	if (rc)
		return rc;
	o->base.ops = &ops;
	*ret = &o->base;
	return 0;
}
