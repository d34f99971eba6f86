/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* compressed-tensors: grid -> scheme -> tensors and quantization_config. */
#include "engine/format/compressed_tensors.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/packing.h"

struct cwe_ct_scheme cwe_ct_scheme(const struct cwp_grid *grid)
{
	int grouped = grid->granularity == CWP_PER_GROUP, blocks = grid->granularity == CWP_PER_BLOCK;
	struct cwe_ct_scheme s = {.code = grid->code, .bits = grid->bits, .symmetric = grid->symmetric != 0,
		.group = grouped || blocks ? grid->group : 0, .block_rows = blocks ? grid->block_rows : 0,
		.tensor = grid->granularity == CWP_PER_TENSOR, .activation = grid->activation, .activation_group = grid->activation_group,
		.input_zero = grid->input_zero != 0 && grid->activation == CWP_ACT_INT8_TENSOR};

	/* Outlier channels are not known here: all are quantized by token. */
	if (grid->activation == CWP_ACT_INT8_OUTLIER)
		s.activation = CWP_ACT_INT8_TOKEN;
	if (grid->activation != CWP_ACT_NONE)
		s.format = grid->code == CWP_CODE_E4M3 ? CWE_CT_FLOAT : CWE_CT_INT;
	/* 8 bits by channel stay unpacked, unless the job asked for groups: then all its modules are packed. */
	else if (grid->code == CWP_CODE_INT && (grid->bits != 8 || grouped || grid->fallback))
		s.format = CWE_CT_PACK;
	else
		s.format = CWE_CT_NAIVE;
	return s;
}

int cwe_ct_scheme_equal(const struct cwe_ct_scheme *a, const struct cwe_ct_scheme *b)
{
	return a->format == b->format && a->code == b->code && a->bits == b->bits && a->symmetric == b->symmetric &&
	       a->group == b->group && a->block_rows == b->block_rows && a->tensor == b->tensor && a->activation == b->activation &&
	       a->activation_group == b->activation_group && a->input_zero == b->input_zero;
}

uint64_t cwe_ct_scales(const struct cwe_ct_scheme *s, uint64_t cols)
{
	return s->group ? cols / s->group + (cols % s->group != 0) : 1;
}

uint64_t cwe_ct_scale_rows(const struct cwe_ct_scheme *s, uint64_t rows)
{
	return s->tensor ? 1 : s->block_rows ? rows / s->block_rows + (rows % s->block_rows != 0) : rows;
}

struct cwp_grid cwe_ct_grid(const struct cwe_ct_scheme *s)
{
	uint32_t granularity = s->tensor ? CWP_PER_TENSOR : s->block_rows ? CWP_PER_BLOCK : s->group ? CWP_PER_GROUP : CWP_PER_CHANNEL;

	return (struct cwp_grid){.size = sizeof(struct cwp_grid), .code = s->code, .bits = s->bits, .symmetric = s->symmetric,
		.granularity = granularity, .group = s->group, .block_rows = s->block_rows, .activation = s->activation,
		.activation_group = s->activation_group, .input_zero = s->input_zero};
}

int cwe_ct_fixed_inputs(const struct cwe_ct_scheme *s)
{
	return cwe_activation_is_fixed(s->activation);
}

/* Scales are values of BF16. Packed modules keep them in the model's dtype, as WNA16 kernels want, where that is BF16;
 * F16 could not hold them all, and transformers rounds results to the scales' dtype when it must dequantize at once
 * (zero points): F32 then, and for 8 bits. */
static enum cwe_dtype scale_dtype(const struct cwe_ct_scheme *s, uint32_t source)
{
	return s->format == CWE_CT_PACK && s->symmetric && source == CWP_BF16 ? CWE_DTYPE_BF16 : CWE_DTYPE_F32;
}

size_t cwe_ct_tensors(const struct cwe_ct_scheme *s, uint64_t rows, uint64_t cols, uint32_t source,
	struct cwe_format_tensor ret[CWE_FORMAT_TENSORS_MAX])
{
	uint64_t scales = cwe_ct_scales(s, cols), scale_rows = cwe_ct_scale_rows(s, rows);
	uint32_t rank = s->tensor ? 1 : 2;
	int packed = s->format == CWE_CT_PACK;
	size_t n = 0;

	if (packed)
		ret[n++] = (struct cwe_format_tensor){".weight_packed", CWE_DTYPE_I32, 2, {rows, cwe_pack_words(cols, s->bits)}};
	else
		ret[n++] = (struct cwe_format_tensor){
			".weight", s->code == CWP_CODE_E4M3 ? CWE_DTYPE_F8_E4M3 : CWE_DTYPE_I8, 2, {rows, cols}};
	ret[n++] = (struct cwe_format_tensor){".weight_scale", scale_dtype(s, source), rank, {scale_rows, scales}};
	if (!s->symmetric && packed)
		ret[n++] = (struct cwe_format_tensor){
			".weight_zero_point", CWE_DTYPE_I32, 2, {cwe_pack_words(rows, s->bits), scales}};
	else if (!s->symmetric)
		ret[n++] = (struct cwe_format_tensor){".weight_zero_point", CWE_DTYPE_I8, rank, {scale_rows, scales}};
	if (packed)
		ret[n++] = (struct cwe_format_tensor){".weight_shape", CWE_DTYPE_I64, 1, {2}};
	if (cwe_ct_fixed_inputs(s))
		ret[n++] = (struct cwe_format_tensor){".input_scale", CWE_DTYPE_F32, 1, {1}};
	if (s->input_zero)
		ret[n++] = (struct cwe_format_tensor){".input_zero_point", CWE_DTYPE_I8, 1, {1}};
	return n;
}

static const char *format_name(enum cwe_ct_format format)
{
	switch (format) {
	case CWE_CT_INT:
		return "int-quantized";
	case CWE_CT_FLOAT:
		return "float-quantized";
	case CWE_CT_NAIVE:
		return "naive-quantized";
	case CWE_CT_PACK:
		return "pack-quantized";
	}
	return "dense";
}

static json_t *activations_json(const struct cwe_ct_scheme *s)
{
	int integer = s->activation == CWP_ACT_INT8_TOKEN || s->activation == CWP_ACT_INT8_TENSOR, fixed = cwe_ct_fixed_inputs(s);
	int grouped = s->activation == CWP_ACT_FP8_GROUP;
	json_t *a;

	if (s->activation == CWP_ACT_NONE)
		return json_null();
	a = json_pack("{s:i, s:s, s:b, s:s, s:b}", "num_bits", 8, "type", integer ? "int" : "float", "symmetric", !s->input_zero, "strategy",
		fixed ? "tensor" : grouped ? "group" : "token", "dynamic", !fixed);
	if (a && grouped)
		json_object_set_new(a, "group_size", json_integer(s->activation_group));
	return a;
}

/* A config group without its targets. Only keys that all releases of the library know. */
static json_t *group_json(const struct cwe_ct_scheme *s)
{
	json_t *weights = json_pack("{s:i, s:s, s:b, s:s, s:b}", "num_bits", (int)s->bits, "type",
		s->code == CWP_CODE_E4M3 ? "float" : "int", "symmetric", (int)s->symmetric, "strategy",
		s->tensor ? "tensor" : s->block_rows ? "block" : s->group ? "group" : "channel", "dynamic", 0);
	json_t *activations = activations_json(s);

	if (weights && s->block_rows)
		json_object_set_new(weights, "block_structure", json_pack("[ii]", (int)s->block_rows, (int)s->group));
	else if (weights && s->group)
		json_object_set_new(weights, "group_size", json_integer(s->group));
	return json_pack("{s:s, s:o, s:o, s:n}", "format", format_name(s->format), "weights", weights, "input_activations",
		activations, "output_activations");
}

/* The distinct schemes, in the order in which the modules come. Returns their number. */
static size_t distinct(const struct cwe_ct_module *module, size_t count, struct cwe_ct_scheme *scheme)
{
	size_t n = 0, i, k;

	for (i = 0; i < count; i++) {
		for (k = 0; k < n && !cwe_ct_scheme_equal(&scheme[k], &module[i].scheme); k++)
			;
		if (k == n)
			scheme[n++] = module[i].scheme;
	}
	return n;
}

static json_t *targets_json(const struct cwe_ct_module *module, size_t count, const struct cwe_ct_scheme *scheme, int only)
{
	json_t *targets = json_array();
	size_t i;

	if (only)
		json_array_append_new(targets, json_string("Linear"));
	for (i = 0; i < count && !only; i++)
		if (cwe_ct_scheme_equal(scheme, &module[i].scheme))
			json_array_append_new(targets, json_string(module[i].name));
	return targets;
}

/* Zero points of packed codes load in transformers only when it dequantizes at once, which knows one scheme. */
static int check_zeros(const struct cwe_ct_scheme *scheme, size_t n, int *ret_dequantize, struct cwb_err *err)
{
	size_t i;

	*ret_dequantize = 0;
	for (i = 0; i < n; i++)
		if (scheme[i].format == CWE_CT_PACK && !scheme[i].symmetric)
			*ret_dequantize = 1;
	if (*ret_dequantize && n > 1)
		return cwb_err_set(err, CWP_EVALUE,
			"asymmetric packed codes with %zu different grids: no engine loads that: choose a group size that divides "
			"every module's width, or symmetric true",
			n);
	return 0;
}

int cwe_ct_config(const struct cwe_ct_module *module, size_t count, const char *const *ignore, size_t n_ignore,
	json_t **ret, struct cwb_err *err)
{
	struct cwe_ct_scheme *scheme = calloc(count + 1, sizeof *scheme);
	json_t *groups = json_object(), *ignored = json_array(), *config = NULL;
	int dequantize = 0, mixed = 0, rc = 0;
	size_t n, i;

	if (!scheme)
		rc = cwb_err_set(err, -ENOMEM, "quantization_config: out of memory");
	n = scheme ? distinct(module, count, scheme) : 0;
	if (!rc)
		rc = check_zeros(scheme, n, &dequantize, err);
	for (i = 0; i < n && !rc; i++) {
		json_t *group = group_json(&scheme[i]);
		char name[32];

		snprintf(name, sizeof name, "group_%zu", i);
		json_object_set_new(group, "targets", targets_json(module, count, &scheme[i], n == 1));
		json_object_set_new(groups, name, group);
		mixed |= scheme[i].format != scheme[0].format;
	}
	for (i = 0; i < n_ignore; i++)
		json_array_append_new(ignored, json_string(ignore[i]));
	if (!rc) {
		config = json_pack("{s:s, s:s, s:s, s:O, s:O}", "quant_method", "compressed-tensors", "format",
			mixed ? "mixed-precision" : format_name(scheme[0].format), "quantization_status", "compressed",
			"config_groups", groups, "ignore", ignored);
		if (config && dequantize)
			json_object_set_new(config, "dequantize", json_true());
		if (!config)
			rc = cwb_err_set(err, -ENOMEM, "quantization_config: out of memory");
	}
	json_decref(groups);
	json_decref(ignored);
	free(scheme);
	if (!rc)
		*ret = config;
	return rc;
}
