/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One tensor copied, one quantized module written in its format. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/packing.h"
#include "engine/format/writer_state.h"

/* What cwe_writer_module was given. */
struct result {
	const uint8_t *codes;
	const float *scales;
	const int8_t *zeros;
	const uint8_t *mask;
	uint64_t mask_stride;
};

static int nomem(struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "output: out of memory");
}

/* Elements in one row of any tensor, as cwe_weights counts rows. */
static uint64_t row_elements(const struct cwe_tensor *t)
{
	uint64_t n = 1;
	uint32_t d;

	for (d = 1; d < t->rank; d++)
		n *= t->shape[d];
	return n;
}

int cwe_writer_copy(struct cwe_writer *w, const char *tensor, struct cwb_err *err)
{
	struct cwe_writer_unit *u = cwe_writer_find_tensor(w, tensor);
	uint64_t rows, cols, step, row;
	size_t size;
	uint8_t *buffer;
	int rc = 0;

	if (!u || u->module)
		return cwb_err_set(err, CWP_EVALUE, "tensor \"%s\" is not one that is copied", tensor);
	if (w->finished)
		return 0;
	rows = u->source->rank ? u->source->shape[0] : 1;
	cols = row_elements(u->source);
	step = cwe_writer_step(cols);
	size = cwe_cwp_dtype_size(u->source->dtype);
	buffer = malloc(step * cols * size + 1);
	if (!buffer)
		return nomem(err);
	for (row = 0; row < rows && !rc; row += step) {
		uint64_t n = rows - row < step ? rows - row : step;

		rc = cwe_weights_read_raw(w->source->weights, u->source, row, n, buffer, err);
		if (!rc)
			rc = cwe_shards_write(w->shards, u->first, row * cols * size, buffer, n * cols * size, err);
	}
	free(buffer);
	u->done = !rc;
	return rc;
}

/* What the plugin gave must be what the format can hold. */
static int check_result(const struct cwe_writer_unit *u, const uint8_t *codes, const float *scales, struct cwb_err *err)
{
	uint64_t n = u->source->shape[0] * cwe_grid_scales(&u->grid, u->source->shape[1]), i;

	for (i = 0; i < n; i++) {
		uint32_t bits;

		memcpy(&bits, &scales[i], 4);
		if ((bits & 0xffff) || (bits >> 31 && bits << 1) || (bits >> 23 & 0xff) == 0xff)
			return cwb_err_set(err, CWP_EPLUGIN,
				"module \"%s\": scale %g is not a finite, positive value of BF16: the quantizer is faulty", u->module,
				(double)scales[i]);
	}
	if (u->grid.code != CWP_CODE_INT || u->grid.bits == 8)
		return 0;
	n = u->source->shape[0] * u->source->shape[1];
	for (i = 0; i < n; i++) {
		int code = codes[i] < 128 ? codes[i] : codes[i] - 256, top = 1 << (u->grid.bits - 1);

		if (code < -top || code >= top)
			return cwb_err_set(err, CWP_EPLUGIN, "module \"%s\": code %d needs more than %" PRIu32 " bits: the quantizer is faulty",
				u->module, code, u->grid.bits);
	}
	return 0;
}

static int write_packed(struct cwe_writer *w, const struct cwe_writer_unit *u, const uint8_t *codes, struct cwb_err *err)
{
	uint64_t rows = u->source->shape[0], cols = u->source->shape[1], row, r, n;
	uint64_t bytes = 4 * cwe_pack_words(cols, u->scheme.bits), step = cwe_writer_step(cols);
	uint8_t *buffer = malloc(step * bytes + 1);
	int rc = buffer ? 0 : nomem(err);

	for (row = 0; row < rows && !rc; row += step) {
		n = rows - row < step ? rows - row : step;
		for (r = 0; r < n; r++)
			cwe_pack_row(u->scheme.bits, codes + (row + r) * cols, cols, buffer + r * bytes);
		rc = cwe_shards_write(w->shards, u->first, row * bytes, buffer, n * bytes, err);
	}
	free(buffer);
	return rc;
}

static int write_scales(struct cwe_writer *w, const struct cwe_writer_unit *u, const float *scales, struct cwb_err *err)
{
	uint64_t n = u->source->shape[0] * cwe_ct_scales(&u->scheme, u->source->shape[1]);
	uint32_t dtype = cwe_dtype_to_cwp(w->plan[u->first + 1].dtype);
	size_t size = cwe_cwp_dtype_size(dtype);
	uint8_t *buffer = malloc(n * size + 1);
	int rc;

	if (!buffer)
		return nomem(err);
	cwe_f32_to_dtype(buffer, scales, dtype, n);
	rc = cwe_shards_write(w->shards, u->first + 1, 0, buffer, n * size, err);
	free(buffer);
	return rc;
}

static int write_zeros(struct cwe_writer *w, const struct cwe_writer_unit *u, const int8_t *zeros, struct cwb_err *err)
{
	uint64_t rows = u->source->shape[0], groups = cwe_ct_scales(&u->scheme, u->source->shape[1]);
	uint64_t bytes = 4 * cwe_pack_words(rows, u->scheme.bits) * groups;
	uint8_t *buffer;
	int rc;

	if (u->scheme.format != CWE_CT_PACK)
		return cwe_shards_write(w->shards, u->first + 2, 0, zeros, rows * groups, err);
	buffer = malloc(bytes + 1);
	if (!buffer)
		return nomem(err);
	cwe_pack_zeros(u->scheme.bits, zeros, rows, groups, buffer);
	rc = cwe_shards_write(w->shards, u->first + 2, 0, buffer, bytes, err);
	free(buffer);
	return rc;
}

static int write_compressed(struct cwe_writer *w, const struct cwe_writer_unit *u, const uint8_t *codes, const float *scales,
	const int8_t *zeros, struct cwb_err *err)
{
	uint8_t shape[16];
	int rc, d, b;

	if (u->scheme.format == CWE_CT_PACK)
		rc = write_packed(w, u, codes, err);
	else
		rc = cwe_shards_write(w->shards, u->first, 0, codes, u->source->shape[0] * u->source->shape[1], err);
	if (!rc)
		rc = write_scales(w, u, scales, err);
	if (!rc && !u->scheme.symmetric)
		rc = write_zeros(w, u, zeros, err);
	if (rc || u->scheme.format != CWE_CT_PACK)
		return rc;
	for (d = 0; d < 2; d++)
		for (b = 0; b < 8; b++)
			shape[8 * d + b] = (uint8_t)(u->source->shape[d] >> 8 * b);
	return cwe_shards_write(w->shards, u->first + u->count - 1, 0, shape, sizeof shape, err);
}

static int write_dense(struct cwe_writer *w, const struct cwe_writer_unit *u, const struct result *q, struct cwb_err *err)
{
	uint64_t rows = u->source->shape[0], cols = u->source->shape[1], step = cwe_writer_step(cols), row, n;
	uint64_t scales = cwe_grid_scales(&u->grid, cols);
	size_t size = cwe_cwp_dtype_size(u->source->dtype);
	float *value = malloc(step * cols * sizeof *value + 1);
	uint8_t *buffer = malloc(step * cols * size + 1);
	int rc = value && buffer ? 0 : nomem(err);

	for (row = 0; row < rows && !rc; row += step) {
		n = rows - row < step ? rows - row : step;
		cwe_dequantize(&u->grid, n, cols, q->codes + row * cols, q->scales + row * scales,
			q->zeros ? q->zeros + row * scales : NULL, value);
		cwe_f32_to_dtype(buffer, value, u->source->dtype, n * cols);
		if (q->mask)
			rc = cwe_writer_restore(w, u, q->mask, q->mask_stride, row, n, buffer, err);
		if (!rc)
			rc = cwe_shards_write(w->shards, u->first, row * cols * size, buffer, n * cols * size, err);
	}
	free(value);
	free(buffer);
	return rc;
}

int cwe_writer_module(struct cwe_writer *w, const struct cwe_output_module *module, const uint8_t *codes,
	const float *scales, const int8_t *zeros, const uint8_t *mask, uint64_t mask_stride, struct cwb_err *err)
{
	struct cwe_writer_unit *u = cwe_writer_find_module(w, module->name);
	struct result q = {codes, scales, zeros, w->exact ? mask : NULL, mask_stride};
	uint64_t row;
	int rc;

	if (!u)
		return cwb_err_set(err, CWP_EVALUE, "module \"%s\" is not one that is quantized", module->name);
	if (w->finished)
		return 0;
	if (!u->grid.symmetric && !zeros && u->grid.code == CWP_CODE_INT)
		return cwb_err_set(err, CWP_EPLUGIN, "module \"%s\": zero points are missing: the quantizer is faulty", module->name);
	rc = check_result(u, codes, scales, err);
	if (rc)
		return rc;
	u->done = u->has_overlay = 0;
	u->exact = module->exact;
	u->protected_weights = 0;
	for (row = 0; q.mask && row < module->rows; row++)
		u->protected_weights += cwe_overlay_count_row(q.mask + row * mask_stride, module->cols);
	u->overlay = (struct cwe_overlay_plan){0};
	if (w->dense)
		rc = write_dense(w, u, &q, err);
	else
		rc = write_compressed(w, u, codes, scales, zeros, err);
	if (!rc && w->overlay && mask)
		rc = cwe_writer_overlay_module(w, u, mask, mask_stride, err);
	if (!rc)
		rc = cwe_shards_sync(w->shards, u->first, err);
	if (!rc)
		rc = cwe_writer_journal_module(w, u, err);
	u->exact = NULL;
	u->done = !rc;
	return rc;
}
