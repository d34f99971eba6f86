/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Modules of compressed-tensors checkpoints: their tensors checked against each other, codes, scales and zero points. */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/compressed_tensors.h"
#include "engine/format/output_state.h"
#include "engine/format/packing.h"

static int config_read(const json_t *object, void **ret, struct cwb_err *err)
{
	struct cwe_ct_config *c = NULL;
	int rc = cwe_ct_config_read(object, &c, err);

	*ret = c;
	return rc;
}

static void config_free(void *config)
{
	cwe_ct_config_free(config);
}

static int config_grid(const void *config, const char *module, struct cwp_grid *ret)
{
	const struct cwe_ct_scheme *s = cwe_ct_config_find(config, module);

	if (!s)
		return -1;
	*ret = cwe_ct_grid(s);
	return 0;
}

static const char *codes_suffix(const struct cwe_safetensors_entry *e)
{
	if (cwe_output_ends_with(e->name, ".weight_packed"))
		return ".weight_packed";
	return cwe_output_ends_with(e->name, ".weight") && (e->dtype == CWE_DTYPE_I8 || e->dtype == CWE_DTYPE_F8_E4M3) ? ".weight" :
															 NULL;
}

/* ---- shapes ---- */

/* weight_shape of a packed module: the matrix before packing. */
static int read_shape(struct cwe_output_item *m, struct cwb_err *err)
{
	const struct cwe_safetensors_entry *e = m->shape->entry;
	uint8_t raw[16];
	unsigned size = cwe_dtype_bits(e->dtype) / 8, d, b;
	uint64_t value[2] = {0, 0};
	int rc;

	if ((e->dtype != CWE_DTYPE_I64 && e->dtype != CWE_DTYPE_I32) || e->rank != 1 || e->shape[0] != 2)
		return cwe_output_misfit(m->shape, "it must be I64 [2]", err);
	rc = cwe_checkpoint_read(m->shape, 0, raw, 2ull * size, err);
	if (rc)
		return rc;
	for (d = 0; d < 2; d++)
		for (b = 0; b < size; b++)
			value[d] |= (uint64_t)raw[d * size + b] << 8 * b;
	m->rows = value[0];
	m->cols = value[1];
	if (!m->rows || !m->cols || m->cols > INT32_MAX || m->codes->entry->dtype != CWE_DTYPE_I32 ||
		!cwe_output_has_shape(m->codes, m->rows, cwe_pack_words(m->cols, m->scheme.bits)))
		return cwe_output_misfit(m->codes, "it must be I32 of the size that weight_shape and num_bits give", err);
	return 0;
}

static int check_codes(struct cwe_output_item *m, struct cwb_err *err)
{
	const struct cwe_safetensors_entry *e = m->codes->entry;
	int packed = cwe_output_ends_with(e->name, ".weight_packed");

	if (packed != (m->scheme.format == CWE_CT_PACK) ||
		(!packed && (e->dtype == CWE_DTYPE_F8_E4M3) != (m->scheme.code == CWP_CODE_E4M3)))
		return cwe_output_misfit(m->codes, "it does not fit the format in quantization_config", err);
	if (packed) {
		if (!m->shape)
			return cwe_output_misfit(m->codes, "its weight_shape is missing", err);
		return read_shape(m, err);
	}
	return cwe_output_take_matrix(m, err);
}

static int is_one(const struct cwe_checkpoint_tensor *t)
{
	return t->entry->rank == 1 && t->entry->shape[0] == 1;
}

/* The one scale of all inputs, and its zero point: read here, so that they are at hand. */
static int check_input(struct cwe_output_item *m, struct cwb_err *err)
{
	uint32_t dtype;
	uint8_t raw[4];
	int rc;

	if (!cwe_ct_fixed_inputs(&m->scheme))
		return m->input || m->input_shift ? cwe_output_misfit(m->input ? m->input : m->input_shift,
							    "quantization_config knows no fixed scale of its inputs", err) : 0;
	if (!m->input)
		return cwe_output_misfit(m->codes, "its input_scale is missing", err);
	dtype = cwe_dtype_to_cwp(m->input->entry->dtype);
	if (!dtype || !is_one(m->input))
		return cwe_output_misfit(m->input, "it must be one number: F32, BF16 or F16 [1]", err);
	rc = cwe_checkpoint_read(m->input, 0, raw, cwe_cwp_dtype_size(dtype), err);
	if (rc)
		return rc;
	cwe_f32_from_dtype(&m->input_scale, raw, dtype, 1);
	if (!isfinite(m->input_scale) || m->input_scale <= 0)
		return cwe_output_misfit(m->input, "it must be finite and positive", err);
	if (!m->scheme.input_zero)
		return m->input_shift ? cwe_output_misfit(m->input_shift, "symmetric inputs have no zero point", err) : 0;
	if (!m->input_shift)
		return cwe_output_misfit(m->codes, "its input_zero_point is missing", err);
	if (m->input_shift->entry->dtype != CWE_DTYPE_I8 || !is_one(m->input_shift))
		return cwe_output_misfit(m->input_shift, "it must be I8 [1]", err);
	return cwe_checkpoint_read(m->input_shift, 0, &m->input_zero, 1, err);
}

static int check_companions(const struct cwe_output_item *m, struct cwb_err *err)
{
	uint64_t n, rows = cwe_ct_scale_rows(&m->scheme, m->rows);

	if (m->scheme.activation_group && m->cols % m->scheme.activation_group)
		return cwe_output_misfit(m->codes, "its width is no multiple of the groups of its inputs", err);
	if (m->scheme.group && !m->scheme.block_rows && m->cols % m->scheme.group)
		return cwe_output_misfit(m->codes, "its width is no multiple of the group size", err);
	n = cwe_ct_scales(&m->scheme, m->cols);
	if (!m->scale)
		return cwe_output_misfit(m->codes, "its weight_scale is missing", err);
	if (!cwe_dtype_to_cwp(m->scale->entry->dtype))
		return cwe_output_misfit(m->scale, "scales are F32, BF16 or F16", err);
	if (m->scheme.tensor ? !is_one(m->scale) : !cwe_output_has_shape(m->scale, rows, n))
		return cwe_output_misfit(m->scale, "its shape does not fit the weight and the strategy", err);
	if (m->scheme.symmetric)
		return m->zero ? cwe_output_misfit(m->zero, "a symmetric weight has no zero point", err) : 0;
	if (!m->zero)
		return cwe_output_misfit(m->codes, "its weight_zero_point is missing", err);
	if (m->scheme.format == CWE_CT_PACK) {
		if (m->scheme.tensor || m->zero->entry->dtype != CWE_DTYPE_I32 ||
			!cwe_output_has_shape(m->zero, cwe_pack_words(m->rows, m->scheme.bits), n))
			return cwe_output_misfit(m->zero, "it must be I32 [ceil(rows * bits / 32), groups]", err);
		return 0;
	}
	if (m->zero->entry->dtype != CWE_DTYPE_I8 ||
		(m->scheme.tensor ? !is_one(m->zero) : !cwe_output_has_shape(m->zero, rows, n)))
		return cwe_output_misfit(m->zero, "it must be I8 of the scale's shape", err);
	return 0;
}

static int check(const void *config, const char *module, struct cwe_output_item *m, struct cwb_err *err)
{
	int rc;

	m->scheme = *cwe_ct_config_find(config, module);
	rc = check_codes(m, err);
	if (!rc)
		rc = check_companions(m, err);
	return rc ? rc : check_input(m, err);
}

/* ---- values ---- */

static int read_codes(const struct cwe_output_item *m, uint64_t row, uint64_t rows, uint8_t *codes, struct cwb_err *err)
{
	uint64_t bytes, r;
	uint8_t *packed;
	int rc;

	if (m->scheme.format != CWE_CT_PACK)
		return cwe_output_read_bytes(m, row, rows, codes, err);
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
	uint64_t share = m->scheme.tensor ? m->rows : m->scheme.block_rows ? m->scheme.block_rows : 1;

	return cwe_output_read_shared(m->scale, share, row, rows, n, scales, err);
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

const struct cwe_output_reader cwe_output_reader_compressed_tensors = {
	.method = "compressed-tensors",
	.config_read = config_read,
	.config_free = config_free,
	.config_grid = config_grid,
	.codes_name = {".weight", ".weight_packed"},
	.codes_suffix = codes_suffix,
	.companion = {{".weight_scale", offsetof(struct cwe_output_item, scale)},
		{".weight_zero_point", offsetof(struct cwe_output_item, zero)},
		{".weight_shape", offsetof(struct cwe_output_item, shape)}, {".input_scale", offsetof(struct cwe_output_item, input)},
		{".input_zero_point", offsetof(struct cwe_output_item, input_shift)}},
	.check = check,
	.codes = read_codes,
	.scales = read_scales,
	.zeros = read_zeros,
};
