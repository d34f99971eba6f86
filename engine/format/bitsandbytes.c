/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* bitsandbytes LLM.int8(): a row of codes and its greatest magnitude, SCB; a value is code * SCB / 127. Inputs are
 * quantized at run time, except channels that reach llm_int8_threshold. */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/json.h"
#include "engine/format/format.h"
#include "engine/format/output_state.h"

#define THRESHOLD 6.0 /* where the configuration names none */

/* ---- writing ---- */

/* By token without outliers is the same with a threshold of 0. */
static const struct cwe_format_grid grids[] = {
	{"LLM.int8", CWP_CODE_INT, CWE_SET(8), CWE_SET(CWP_PER_CHANNEL), CWE_SET(1), CWE_SET(CWP_ACT_INT8_TOKEN) | CWE_SET(CWP_ACT_INT8_OUTLIER)},
};

static int check(const struct cwe_output_module *m, struct cwb_err *err)
{
	if (cwe_module_is_expert(m->name))
		return cwb_err_set(err, CWP_EVALUE,
			"module \"%s\": bitsandbytes leaves the experts of a mixture alone: choose write.format compressed-tensors, or "
			"add experts to quantize.skip",
			m->name);
	return 0;
}

static size_t tensors(const struct cwe_output_module *m, uint32_t source, struct cwe_format_tensor *ret)
{
	(void)source;
	ret[0] = (struct cwe_format_tensor){".weight", CWE_DTYPE_I8, 2, {m->rows, m->cols}};
	ret[1] = (struct cwe_format_tensor){".SCB", CWE_DTYPE_F32, 1, {m->rows, 0}};
	ret[2] = (struct cwe_format_tensor){".weight_format", CWE_DTYPE_U8, 0, {0, 0}};
	return 3;
}

static int encode(const struct cwe_output_module *m, uint32_t source, const struct cwe_format_values *v,
	const struct cwe_format_sink *to, struct cwb_err *err)
{
	float *absmax = malloc(m->rows * sizeof *absmax + 1);
	uint8_t *raw = malloc(m->rows * 4 + 1), row_major = 0;
	uint64_t r;
	int rc = absmax && raw ? 0 : cwb_err_set(err, -ENOMEM, "module \"%s\": out of memory", m->name);

	(void)source;
	/* Scales have eight significant bits, so the product is exact, and divided by 127 the scale again. Where they are kept as
	 * they are, they come from a value of F16, which is the nearest one to the product. */
	for (r = 0; r < m->rows && !rc; r++) {
		absmax[r] = v->scales[r] * 127.0f;
		if (m->grid.exact_scales)
			absmax[r] = cwe_f32_from_f16(cwe_f16_from_f32(absmax[r]));
		if (!isfinite(absmax[r]))
			rc = cwb_err_set(err, CWP_ENUMBER, "module \"%s\": the scale %g of row %llu is too large for bitsandbytes", m->name,
				(double)v->scales[r], (unsigned long long)(m->first_row + r));
	}
	if (!rc) {
		cwe_f32_to_dtype(raw, absmax, CWP_F32, m->rows);
		rc = to->put(to->arg, 0, 0, v->codes, m->rows * m->cols, err);
	}
	if (!rc)
		rc = to->put(to->arg, 1, 0, raw, m->rows * 4, err);
	if (!rc)
		rc = to->put(to->arg, 2, 0, &row_major, 1, err);
	free(absmax);
	free(raw);
	return rc;
}

static int config(const struct cwe_output_module *m, size_t count, const char *const *ignore, size_t n_ignore, json_t **ret,
	struct cwb_err *err)
{
	json_t *skip = json_array(), *object = NULL;
	size_t i;

	for (i = 1; i < count; i++)
		if (m[i].grid.threshold != m[0].grid.threshold) {
			json_decref(skip);
			return cwb_err_set(err, CWP_EVALUE, "bitsandbytes has one threshold for all modules, not %g of \"%s\" and %g of \"%s\"",
				(double)m[0].grid.threshold, m[0].name, (double)m[i].grid.threshold, m[i].name);
		}
	for (i = 0; i < n_ignore; i++)
		json_array_append_new(skip, json_string(ignore[i]));
	/* The keys that transformers writes itself: older releases want them all. */
	object = json_pack("{s:s, s:b, s:b, s:b, s:b, s:f, s:O, s:b, s:b, s:s, s:s, s:s, s:b}", "quant_method", "bitsandbytes",
		"load_in_8bit", 1, "load_in_4bit", 0, "_load_in_8bit", 1, "_load_in_4bit", 0, "llm_int8_threshold",
		(double)m[0].grid.threshold, "llm_int8_skip_modules", skip, "llm_int8_enable_fp32_cpu_offload", 0,
		"llm_int8_has_fp16_weight", 0, "bnb_4bit_quant_type", "fp4", "bnb_4bit_compute_dtype", "float32",
		"bnb_4bit_quant_storage", "uint8", "bnb_4bit_use_double_quant", 0);
	json_decref(skip);
	if (!object)
		return cwb_err_set(err, -ENOMEM, "quantization_config: out of memory");
	*ret = object;
	return 0;
}

const struct cwe_format cwe_format_bitsandbytes = {.id = CWJ_FORMAT_BITSANDBYTES, .name = "bitsandbytes",
	.flags = CWE_FORMAT_SAFETENSORS | CWE_FORMAT_ROWS,
	.carriers = CWE_SET(CWJ_CARRIER_OVERLAY) | CWE_SET(CWJ_CARRIER_NONE) | CWE_SET(CWJ_CARRIER_DENSE) |
		CWE_SET(CWJ_CARRIER_MODULES) | CWE_SET(CWJ_CARRIER_ADAPTER),
	.grid = grids, .n_grids = sizeof grids / sizeof *grids, .check = check, .tensors = tensors, .encode = encode,
	.config = config};

/* ---- reading ---- */

static int config_read(const json_t *object, void **ret, struct cwb_err *err)
{
	struct cwp_grid *grid;
	double threshold = THRESHOLD;
	int eight = 0, four = 0;
	int rc = cwb_json_get_bool(object, "load_in_8bit", CWB_JSON_OPTIONAL, &eight, err);

	if (!rc)
		rc = cwb_json_get_bool(object, "load_in_4bit", CWB_JSON_OPTIONAL, &four, err);
	if (!rc)
		rc = cwb_json_get_number(object, "llm_int8_threshold", CWB_JSON_OPTIONAL, &threshold, err);
	if (rc)
		return rc;
	if (!eight || four)
		return cwb_err_set(err, CWP_EVALUE, "quantization_config: of bitsandbytes only load_in_8bit is supported: use the "
						    "original, unquantized model");
	if (threshold < 0 || threshold > 65504)
		return cwb_err_set(err, CWP_EVALUE, "quantization_config: llm_int8_threshold %g is not from 0 to 65504", threshold);
	grid = calloc(1, sizeof *grid);
	if (!grid)
		return cwb_err_set(err, -ENOMEM, "quantization_config: out of memory");
	*grid = (struct cwp_grid){.size = sizeof *grid, .code = CWP_CODE_INT, .bits = 8, .symmetric = 1,
		.granularity = CWP_PER_CHANNEL, .activation = CWP_ACT_INT8_OUTLIER, .threshold = (float)threshold};
	*ret = grid;
	return 0;
}

static const char *codes_suffix(const struct cwe_safetensors_entry *e)
{
	return e->dtype == CWE_DTYPE_I8 && cwe_output_ends_with(e->name, ".weight") ? ".weight" : NULL;
}

static int check_item(const void *config, const char *module, struct cwe_output_item *m, struct cwb_err *err)
{
	uint8_t layout = 0;
	int rc = cwe_output_take_matrix(m, err);

	(void)config;
	(void)module;
	if (rc)
		return rc;
	if (!m->scale)
		return cwe_output_misfit(m->codes, "its SCB is missing", err);
	if (m->scale->entry->dtype != CWE_DTYPE_F32 || m->scale->entry->rank != 1 || m->scale->entry->shape[0] != m->rows)
		return cwe_output_misfit(m->scale, "it must be F32, one value a row of the weight", err);
	if (!m->extra)
		return 0;
	if (m->extra->entry->dtype != CWE_DTYPE_U8 || m->extra->entry->bytes != 1)
		return cwe_output_misfit(m->extra, "it must be one U8", err);
	rc = cwe_checkpoint_read(m->extra, 0, &layout, 1, err);
	return rc ? rc : layout ? cwe_output_misfit(m->extra, "only rows (0) are supported: save the model again", err) : 0;
}

static int scales(const struct cwe_output_item *m, uint64_t row, uint64_t rows, uint64_t n, float *ret, struct cwb_err *err)
{
	int rc = cwe_output_read_shared(m->scale, 1, row, rows, n, ret, err);
	uint64_t r;

	for (r = 0; r < rows && !rc; r++)
		ret[r] /= 127.0f;
	return rc;
}

const struct cwe_output_reader cwe_output_reader_bitsandbytes = {
	.method = "bitsandbytes",
	.config_read = config_read,
	.config_free = free,
	.config_grid = cwe_output_one_grid,
	.codes_name = {".weight"},
	.codes_suffix = codes_suffix,
	.companion = {{".SCB", offsetof(struct cwe_output_item, scale)}, {".weight_format", offsetof(struct cwe_output_item, extra)}},
	.check = check_item,
	.codes = cwe_output_read_bytes,
	.scales = scales,
};
