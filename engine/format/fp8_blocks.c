/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Fine-grained FP8 (quant_method fp8): E4M3 codes with one F32 factor a block of rows and columns, weight_scale_inv, by
 * which they are multiplied whatever its name says. Engines quantize inputs by groups of a block's columns; they take
 * the size of blocks from shapes, so that blocks must divide every module. */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/format/format.h"
#include "engine/format/output_state.h"

/* ---- writing ---- */

static const struct cwe_format_grid grids[] = {
	{"fine-grained fp8", CWP_CODE_E4M3, CWE_SET(8), CWE_SET(CWP_PER_BLOCK), CWE_SET(1), CWE_SET(CWP_ACT_FP8_GROUP)},
};

static int check(const struct cwe_output_module *m, struct cwb_err *err)
{
	const struct cwp_grid *g = &m->grid;

	if (!g->group || !g->block_rows || m->rows % g->block_rows || m->cols % g->group)
		return cwb_err_set(err, CWP_EVALUE,
			"module \"%s\": blocks of %" PRIu32 " x %" PRIu32 " do not divide its %" PRIu64 " x %" PRIu64
			", and engines read such a module wrongly: choose blocks that do or write.format compressed-tensors, or add it to "
			"quantize.skip",
			m->name, g->block_rows, g->group, m->rows, m->cols);
	if (g->activation_group != g->group)
		return cwb_err_set(err, CWP_EVALUE,
			"module \"%s\": its inputs have groups of %" PRIu32 ", but engines of fp8 take the width of a block, %" PRIu32, m->name,
			g->activation_group, g->group);
	return 0;
}

static size_t tensors(const struct cwe_output_module *m, uint32_t source, struct cwe_format_tensor *ret)
{
	(void)source;
	ret[0] = (struct cwe_format_tensor){".weight", CWE_DTYPE_F8_E4M3, 2, {m->rows, m->cols}};
	ret[1] = (struct cwe_format_tensor){
		".weight_scale_inv", CWE_DTYPE_F32, 2, {m->rows / m->grid.block_rows, m->cols / m->grid.group}};
	return 2;
}

static int encode(const struct cwe_output_module *m, uint32_t source, const struct cwe_format_values *v,
	const struct cwe_format_sink *to, struct cwb_err *err)
{
	uint64_t n = m->cols / m->grid.group, blocks = m->rows / m->grid.block_rows, r;
	uint8_t *raw = malloc(blocks * n * 4 + 1);
	int rc = raw ? 0 : cwb_err_set(err, -ENOMEM, "module \"%s\": out of memory", m->name);

	(void)source;
	for (r = 0; r < blocks && !rc; r++) /* rows of a block have the same scales */
		cwe_f32_to_dtype(raw + r * n * 4, v->scales + r * m->grid.block_rows * n, CWP_F32, n);
	if (!rc)
		rc = to->put(to->arg, 0, 0, v->codes, m->rows * m->cols, err);
	if (!rc)
		rc = to->put(to->arg, 1, 0, raw, blocks * n * 4, err);
	free(raw);
	return rc;
}

static int config(const struct cwe_output_module *m, size_t count, const char *const *ignore, size_t n_ignore, json_t **ret,
	struct cwb_err *err)
{
	const struct cwp_grid *g = &m[0].grid;
	json_t *skip, *object;
	size_t i;

	for (i = 1; i < count; i++)
		if (m[i].grid.block_rows != g->block_rows || m[i].grid.group != g->group)
			return cwb_err_set(err, CWP_EVALUE, "fp8 has one size of blocks for all modules, not %" PRIu32 " x %" PRIu32
				" of \"%s\" and %" PRIu32 " x %" PRIu32 " of \"%s\"", g->block_rows, g->group, m[0].name, m[i].grid.block_rows,
				m[i].grid.group, m[i].name);
	skip = json_array();
	for (i = 0; i < n_ignore; i++)
		json_array_append_new(skip, json_string(ignore[i]));
	/* Engines read one name of the list or the other. */
	object = json_pack("{s:s, s:s, s:[ii], s:O, s:O}", "quant_method", "fp8", "activation_scheme", "dynamic", "weight_block_size",
		(int)g->block_rows, (int)g->group, "modules_to_not_convert", skip, "ignored_layers", skip);
	json_decref(skip);
	if (!object)
		return cwb_err_set(err, -ENOMEM, "quantization_config: out of memory");
	*ret = object;
	return 0;
}

const struct cwe_format cwe_format_fp8 = {.id = CWJ_FORMAT_FP8, .name = "fp8", .flags = CWE_FORMAT_SAFETENSORS | CWE_FORMAT_ROWS,
	.carriers = CWE_SET(CWJ_CARRIER_OVERLAY) | CWE_SET(CWJ_CARRIER_NONE) | CWE_SET(CWJ_CARRIER_DENSE) |
		CWE_SET(CWJ_CARRIER_MODULES) | CWE_SET(CWJ_CARRIER_ADAPTER),
	.grid = grids, .n_grids = sizeof grids / sizeof *grids, .check = check, .tensors = tensors, .encode = encode,
	.config = config};

/* ---- reading ---- */

static int config_read(const json_t *object, void **ret, struct cwb_err *err)
{
	struct cwp_grid *grid;
	const char *scheme = "dynamic", *scales = "float";
	json_t *block = NULL;
	json_int_t rows, cols;
	int rc = cwb_json_get_array(object, "weight_block_size", CWB_JSON_REQUIRED, &block, err);

	if (!rc)
		rc = cwb_json_get_string(object, "activation_scheme", CWB_JSON_OPTIONAL, &scheme, err);
	if (!rc)
		rc = cwb_json_get_string(object, "scale_fmt", CWB_JSON_OPTIONAL, &scales, err);
	if (rc)
		return rc;
	rows = json_integer_value(json_array_get(block, 0));
	cols = json_integer_value(json_array_get(block, 1));
	if (json_array_size(block) != 2 || rows < 1 || rows > 65536 || cols < 1 || cols > 65536)
		return cwb_err_set(err, CWP_EVALUE, "quantization_config: weight_block_size is not two sizes from 1 to 65536");
	if (strcmp(scheme, "dynamic") != 0 || strcmp(scales, "float") != 0)
		return cwb_err_set(err, CWP_EVALUE, "quantization_config: activation_scheme \"%.20s\" with scale_fmt \"%.20s\" is not "
						    "supported (dynamic with float is): use the original, unquantized model", scheme, scales);
	grid = calloc(1, sizeof *grid);
	if (!grid)
		return cwb_err_set(err, -ENOMEM, "quantization_config: out of memory");
	*grid = (struct cwp_grid){.size = sizeof *grid, .code = CWP_CODE_E4M3, .bits = 8, .symmetric = 1,
		.granularity = CWP_PER_BLOCK, .group = (uint32_t)cols, .block_rows = (uint32_t)rows, .activation = CWP_ACT_FP8_GROUP,
		.activation_group = (uint32_t)cols};
	*ret = grid;
	return 0;
}

static const char *codes_suffix(const struct cwe_safetensors_entry *e)
{
	return e->dtype == CWE_DTYPE_F8_E4M3 && cwe_output_ends_with(e->name, ".weight") ? ".weight" : NULL;
}

static int check_item(const void *config, const char *module, struct cwe_output_item *m, struct cwb_err *err)
{
	int rc = cwe_output_take_matrix(m, err);

	(void)config;
	(void)module;
	if (rc)
		return rc;
	if (m->rows % m->grid.block_rows || m->cols % m->grid.group)
		return cwe_output_misfit(m->codes, "weight_block_size does not divide its shape", err);
	if (!m->scale)
		return cwe_output_misfit(m->codes, "its weight_scale_inv is missing", err);
	if (!cwe_dtype_to_cwp(m->scale->entry->dtype))
		return cwe_output_misfit(m->scale, "scales are F32, BF16 or F16", err);
	if (!cwe_output_has_shape(m->scale, m->rows / m->grid.block_rows, m->cols / m->grid.group))
		return cwe_output_misfit(m->scale, "its shape does not fit the weight and weight_block_size", err);
	return 0;
}

static int scales(const struct cwe_output_item *m, uint64_t row, uint64_t rows, uint64_t n, float *ret, struct cwb_err *err)
{
	return cwe_output_read_shared(m->scale, m->grid.block_rows, row, rows, n, ret, err);
}

const struct cwe_output_reader cwe_output_reader_fp8 = {
	.method = "fp8",
	.config_read = config_read,
	.config_free = free,
	.config_grid = cwe_output_one_grid,
	.codes_name = {".weight"},
	.codes_suffix = codes_suffix,
	.companion = {{".weight_scale_inv", offsetof(struct cwe_output_item, scale)}},
	.check = check_item,
	.codes = cwe_output_read_bytes,
	.scales = scales,
};
