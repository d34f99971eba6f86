/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One tensor copied, one quantized module written in its format. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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
	if (w->is_gguf) {
		rc = cwe_writer_gguf_copy(w, u, err);
		if (!rc)
			cwe_writer_unit_done(w, u);
		return rc;
	}
	rows = u->source->rank ? u->source->shape[0] : 1;
	cols = row_elements(u->source);
	step = cwe_format_step(cols);
	size = cwe_cwp_dtype_size(u->source->dtype);
	buffer = malloc(step * cols * size + 1);
	if (!buffer)
		return nomem(err);
	for (row = 0; row < rows && !rc; row += step) {
		uint64_t n = rows - row < step ? rows - row : step;

		rc = cwe_weights_read_raw(w->values, u->source, row, n, buffer, err);
		if (!rc)
			rc = cwe_shards_write(w->shards, u->first, row * cols * size, buffer, n * cols * size, err);
	}
	free(buffer);
	if (!rc)
		cwe_writer_unit_done(w, u);
	return rc;
}

static int check_scale(const struct cwe_writer_unit *u, float scale, struct cwb_err *err)
{
	uint32_t bits;

	memcpy(&bits, &scale, 4);
	if ((bits & 0xffff && !u->grid.exact_scales) || (bits >> 31 && bits << 1) || (bits >> 23 & 0xff) == 0xff)
		return cwb_err_set(err, CWP_EPLUGIN,
			"module \"%s\": scale %g is not a finite, positive %s: the quantizer is faulty", u->module, (double)scale,
			u->grid.exact_scales ? "number" : "value of BF16");
	return 0;
}

/* Rows that share scales have the same ones. */
static int check_shared(const struct cwe_writer_unit *u, uint64_t rows, const float *scales, const int8_t *zeros, struct cwb_err *err)
{
	uint64_t n = cwe_grid_scales(&u->grid, u->source->shape[1]), row, at;
	uint64_t share = u->grid.granularity == CWP_PER_TENSOR ? rows : u->grid.granularity == CWP_PER_BLOCK ? u->grid.block_rows : 1;

	for (row = 0; share > 1 && row < rows; row++) {
		at = row / share * share;
		if (memcmp(scales + row * n, scales + at * n, n * sizeof *scales) != 0 ||
			(zeros && memcmp(zeros + row * n, zeros + at * n, n) != 0))
			return cwb_err_set(err, CWP_EPLUGIN, "module \"%s\": row %" PRIu64
				" has other scales than those it shares them with: the quantizer is faulty", u->module, row);
	}
	return 0;
}

static int check_input(const struct cwe_writer_unit *u, float scale, struct cwb_err *err)
{
	if (!cwe_activation_is_fixed(u->grid.activation))
		return 0;
	if (!(scale > 0))
		return cwb_err_set(err, CWP_EPLUGIN, "module \"%s\": the scale of its inputs is %g: the quantizer is faulty", u->module,
			(double)scale);
	return check_scale(u, scale, err);
}

static int check_scales(const struct cwe_writer_unit *u, const float *scales, uint64_t n, struct cwb_err *err)
{
	uint64_t i;
	int rc = 0;

	for (i = 0; i < n && !rc; i++)
		rc = check_scale(u, scales[i], err);
	return rc;
}

/* Whether all of n codes fit `bits`: moved so that the least is 0, one that does not has an upper bit. */
static int codes_fit(const uint8_t *codes, uint64_t n, uint32_t bits)
{
	typedef uint8_t lanes __attribute__((vector_size(16)));
	const uint8_t top = (uint8_t)(1u << (bits - 1)), above = (uint8_t)~((2u << (bits - 1)) - 1);
	lanes found = {0}, x;
	uint64_t i = 0;
	uint8_t any = 0;
	size_t k;

	for (; n - i >= sizeof x; i += sizeof x) {
		memcpy(&x, codes + i, sizeof x);
		found |= x + top;
	}
	for (; i < n; i++)
		any |= (uint8_t)(codes[i] + top);
	for (k = 0; k < sizeof x; k++)
		any |= found[k];
	return !(any & above);
}

int cwe_writer_check_values(const struct cwe_writer_unit *u, uint64_t rows, const struct cwe_format_values *v, struct cwb_err *err)
{
	uint64_t n = rows * u->source->shape[1], i;
	int rc = check_scales(u, v->scales, rows * cwe_grid_scales(&u->grid, u->source->shape[1]), err);

	if (!rc)
		rc = check_shared(u, rows, v->scales, v->zeros, err);
	if (!rc && !u->grid.symmetric && !v->zeros && u->grid.code == CWP_CODE_INT)
		return cwb_err_set(err, CWP_EPLUGIN, "module \"%s\": zero points are missing: the quantizer is faulty", u->module);
	if (rc || u->grid.code != CWP_CODE_INT || u->grid.bits == 8 || codes_fit(v->codes, n, u->grid.bits))
		return rc;
	for (i = 0; codes_fit(&v->codes[i], 1, u->grid.bits);)
		i++;
	return cwb_err_set(err, CWP_EPLUGIN, "module \"%s\": code %d needs more than %" PRIu32 " bits: the quantizer is faulty",
		u->module, v->codes[i] < 128 ? v->codes[i] : v->codes[i] - 256, u->grid.bits);
}

static int write_dense(struct cwe_writer *w, const struct cwe_writer_unit *u, const struct result *q, struct cwb_err *err)
{
	uint64_t rows = u->source->shape[0], cols = u->source->shape[1], row, n;
	uint64_t step = w->is_gguf ? cwe_gguf_step(cwe_writer_gguf_place(w, u)) : cwe_format_step(cols);
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
		if (!rc && w->is_gguf)
			rc = cwe_gguf_put_rows(w->gguf_file, cwe_writer_gguf_place(w, u), row, n, cols * size, buffer, err);
		else if (!rc)
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
	const struct cwe_format_values values = {codes, scales, zeros, module->input_scale, module->input_zero};
	struct result q = {codes, scales, zeros, w->exact ? mask : NULL, mask_stride};
	uint64_t row;
	int rc, pieces = (w->overlay || w->mask) && mask;

	if (!u)
		return cwb_err_set(err, CWP_EVALUE, "module \"%s\" is not one that is quantized", module->name);
	if (w->finished)
		return 0;
	rc = cwe_writer_check_values(u, module->rows, &values, err);
	if (!rc)
		rc = check_input(u, module->input_scale, err);
	if (rc)
		return rc;
	w->waiting -= (size_t)u->waiting;
	if (w->is_gguf && u->done)
		cwe_writer_gguf_again(w, u);
	u->done = u->has_overlay = u->waiting = 0;
	u->exact = module->exact;
	u->protected_weights = 0;
	for (row = 0; q.mask && !pieces && row < module->rows; row++)
		u->protected_weights += cwe_overlay_count_row(q.mask + row * mask_stride, module->cols);
	u->overlay = (struct cwe_overlay_plan){0};
	u->pair = (struct cwe_writer_pair){0};
	if (w->dense)
		rc = write_dense(w, u, &q, err);
	else if (w->is_gguf)
		rc = cwe_writer_gguf_codes(w, u, codes, scales, err);
	else
		rc = cwe_writer_encode_all(w, u, &values, err);
	if (!rc && pieces) {
		rc = cwe_writer_overlay_module(w, u, mask, mask_stride, err);
		u->protected_weights = u->overlay.values;
	}
	if (!rc && w->adapter && mask)
		rc = cwe_writer_adapter_module(w, u, &(struct cwe_writer_values){codes, scales, zeros, mask, mask_stride}, err);
	u->exact = NULL;
	if (rc)
		return rc;
	cwe_writer_unit_done(w, u);
	return cwe_writer_journal_module(w, u, err);
}
