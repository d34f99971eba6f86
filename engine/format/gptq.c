/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The writing half of GPTQ checkpoints, version 1: codes without sign packed along the inputs, one group size for all
 * modules, zero points stored less one, scales of F16. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/format.h"

static const struct cwe_format_grid grids[] = {
	{"gptq", CWP_CODE_INT, CWE_SET(4) | CWE_SET(8), CWE_SET(CWP_PER_CHANNEL) | CWE_SET(CWP_PER_GROUP), CWE_SET(1),
		CWE_SET(CWP_ACT_NONE)},
};

static int check(const struct cwe_output_module *m, struct cwb_err *err)
{
	uint32_t per = 32 / m->grid.bits, group = m->grid.granularity == CWP_PER_GROUP ? m->grid.group : 1;

	if (cwe_module_is_expert(m->name) || !strcmp(m->name, "lm_head"))
		return cwb_err_set(err, CWP_EVALUE,
			"module \"%s\": engines do not load it in this format: choose write.format compressed-tensors, or add %s to "
			"quantize.skip",
			m->name, !strcmp(m->name, "lm_head") ? "lm_head" : "experts");
	if (m->rows % per || m->cols % per)
		return cwb_err_set(err, CWP_EVALUE,
			"module \"%s\": its %" PRIu64 " x %" PRIu64 " are no multiples of %" PRIu32 ", which share a word: add it to "
			"quantize.skip, or choose write.format compressed-tensors",
			m->name, m->rows, m->cols, per);
	if (m->grid.granularity == CWP_PER_GROUP && (group < 16 || group > 1024 || group & (group - 1)))
		return cwb_err_set(err, CWP_EVALUE,
			"module \"%s\": gptq has no groups of %" PRIu32 ": choose 32, 64 or 128 (16, 256, 512 and 1024 are allowed too), or "
			"granularity channel", m->name, group);
	if (m->cols % group)
		return cwb_err_set(err, CWP_EVALUE,
			"module \"%s\": groups of %" PRIu32 " do not divide its width of %" PRIu64
			", which no engine loads: choose a group that does",
			m->name, group, m->cols);
	return 0;
}

static uint64_t groups_of(const struct cwe_output_module *m)
{
	return cwe_grid_scales(&m->grid, m->cols);
}

static size_t tensors(const struct cwe_output_module *m, uint32_t source, struct cwe_format_tensor *ret)
{
	uint64_t per = 32 / m->grid.bits, groups = groups_of(m);

	(void)source;
	ret[0] = (struct cwe_format_tensor){".qweight", CWE_DTYPE_I32, 2, {m->cols / per, m->rows}};
	ret[1] = (struct cwe_format_tensor){".scales", CWE_DTYPE_F16, 2, {groups, m->rows}};
	ret[2] = (struct cwe_format_tensor){".qzeros", CWE_DTYPE_I32, 2, {groups, m->rows / per}};
	ret[3] = (struct cwe_format_tensor){".g_idx", CWE_DTYPE_I32, 1, {m->cols, 0}};
	return 4;
}

/* ---- the bytes ---- */

struct encoding {
	const struct cwe_output_module *m;
	const struct cwe_format_values *v;
	const struct cwe_format_sink *to;
	uint64_t groups, width; /* of a row; inputs of a group */
	float *scale;           /* [rows, groups], as F16 holds them */
};

static int nomem(const struct cwe_output_module *m, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "module \"%s\": out of memory", m->name);
}

/* F16 holds most values of BF16 that are scales. Those that are too small for it become the nearest that it has. */
static int round_scales(const struct encoding *e, struct cwb_err *err)
{
	uint64_t n = e->m->rows * e->groups, i;

	for (i = 0; i < n; i++) {
		e->scale[i] = cwe_f32_from_f16(cwe_f16_from_f32(e->v->scales[i]));
		if (!isfinite(e->scale[i]))
			return cwb_err_set(err, CWP_ENUMBER, "module \"%s\": the scale %g of row %" PRIu64
				" is too large for F16: choose write.format compressed-tensors", e->m->name, (double)e->v->scales[i],
				i / e->groups);
		if (e->scale[i] == 0)
			e->scale[i] = 0x1p-24f;
	}
	return 0;
}

/* A code without its sign, made anew where its scale is another. */
static uint32_t stored(const struct encoding *e, uint64_t row, uint64_t col)
{
	int top = 1 << (e->m->grid.bits - 1), code = (int8_t)e->v->codes[row * e->m->cols + col];
	uint64_t at = row * e->groups + col / e->width;

	if (e->scale[at] != e->v->scales[at]) {
		code = (int)lrintf((float)code * e->v->scales[at] / e->scale[at]);
		code = code < -top ? -top : code >= top ? top - 1 : code;
	}
	return (uint32_t)(code + top);
}

static void put32(uint8_t *to, uint32_t word)
{
	to[0] = (uint8_t)word;
	to[1] = (uint8_t)(word >> 8);
	to[2] = (uint8_t)(word >> 16);
	to[3] = (uint8_t)(word >> 24);
}

/* Word [r, row] holds the inputs r * per and following of a row. */
static int put_codes(const struct encoding *e, struct cwb_err *err)
{
	uint64_t rows = e->m->rows, per = 32 / e->m->grid.bits, words = e->m->cols / per, step = cwe_format_step(rows);
	uint8_t *buffer = malloc((step < words ? step : words) * rows * 4 + 1);
	uint64_t first, row, r, j;
	int rc = buffer ? 0 : nomem(e->m, err);

	for (first = 0; first < words && !rc; first += step) {
		uint64_t n = words - first < step ? words - first : step;

		for (row = 0; row < rows; row++)
			for (r = 0; r < n; r++) {
				uint32_t word = 0;

				for (j = 0; j < per; j++)
					word |= stored(e, row, (first + r) * per + j) << e->m->grid.bits * j;
				put32(buffer + (r * rows + row) * 4, word);
			}
		rc = e->to->put(e->to->arg, 0, first * rows * 4, buffer, n * rows * 4, err);
	}
	free(buffer);
	return rc;
}

static int put_scales(const struct encoding *e, struct cwb_err *err)
{
	uint64_t rows = e->m->rows, g, row;
	float *turned = malloc(rows * sizeof *turned + 1);
	uint8_t *raw = malloc(rows * 2 + 1);
	int rc = turned && raw ? 0 : nomem(e->m, err);

	for (g = 0; g < e->groups && !rc; g++) {
		for (row = 0; row < rows; row++)
			turned[row] = e->scale[row * e->groups + g];
		cwe_f32_to_dtype(raw, turned, CWP_F16, rows);
		rc = e->to->put(e->to->arg, 1, g * rows * 2, raw, rows * 2, err);
	}
	free(turned);
	free(raw);
	return rc;
}

/* The zero point of symmetric codes is half their range, and is stored less one. */
static int put_zeros(const struct encoding *e, struct cwb_err *err)
{
	uint32_t bits = e->m->grid.bits, word = 0, j;
	uint64_t n = e->m->rows / (32 / bits), g, i;
	uint8_t *raw = malloc(n * 4 + 1);
	int rc = raw ? 0 : nomem(e->m, err);

	for (j = 0; j < 32; j += bits)
		word |= ((1u << (bits - 1)) - 1) << j;
	for (i = 0; i < n && !rc; i++)
		put32(raw + 4 * i, word);
	for (g = 0; g < e->groups && !rc; g++)
		rc = e->to->put(e->to->arg, 2, g * n * 4, raw, n * 4, err);
	free(raw);
	return rc;
}

/* The group of each input: they stand in their order. */
static int put_order(const struct encoding *e, struct cwb_err *err)
{
	uint8_t *raw = malloc(e->m->cols * 4 + 1);
	uint64_t c;
	int rc;

	if (!raw)
		return nomem(e->m, err);
	for (c = 0; c < e->m->cols; c++)
		put32(raw + 4 * c, (uint32_t)(c / e->width));
	rc = e->to->put(e->to->arg, 3, 0, raw, e->m->cols * 4, err);
	free(raw);
	return rc;
}

static int encode(const struct cwe_output_module *m, uint32_t source, const struct cwe_format_values *v,
	const struct cwe_format_sink *to, struct cwb_err *err)
{
	struct encoding e = {.m = m, .v = v, .to = to, .groups = groups_of(m)};
	int rc;

	(void)source;
	e.width = m->cols / e.groups;
	e.scale = calloc(m->rows * e.groups + 1, sizeof *e.scale);
	rc = e.scale ? round_scales(&e, err) : nomem(m, err);
	if (!rc)
		rc = put_codes(&e, err);
	if (!rc)
		rc = put_scales(&e, err);
	if (!rc)
		rc = put_zeros(&e, err);
	if (!rc)
		rc = put_order(&e, err);
	free(e.scale);
	return rc;
}

/* ---- quantization_config ---- */

/* Modules that are not all of one kind, with what would do for all of them. */
static int refuse_mixture(const struct cwe_output_module *m, size_t count, size_t other, struct cwb_err *err)
{
	char sizes[96] = "", one[80], two[80];
	uint32_t g;
	size_t i, n;

	for (g = 128; g >= 16; g /= 2) {
		for (i = 0; i < count && m[i].cols % g == 0; i++)
			;
		n = strlen(sizes);
		if (i == count)
			snprintf(sizes + n, sizeof sizes - n, "%s%" PRIu32, n ? ", " : "group ", g);
	}
	cwe_grid_text(&m[0].grid, one, sizeof one);
	cwe_grid_text(&m[other].grid, two, sizeof two);
	return cwb_err_set(err, CWP_EVALUE,
		"gptq has one grid for all modules, not %s of \"%s\" and %s of \"%s\": choose %s%sgranularity channel", one, m[0].name,
		two, m[other].name, sizes, *sizes ? ", or " : "");
}

/* What is left alone, as GPT-QModel and vLLM read it: a pattern of the whole name with a minus before it. */
static json_t *dynamic_json(const char *const *ignore, size_t n)
{
	json_t *dynamic = json_object();
	char name[512];
	size_t i;

	for (i = 0; i < n; i++) {
		char *to = name + snprintf(name, sizeof name, "-:^");
		const char *from;

		for (from = ignore[i]; *from && to < name + sizeof name - 4; from++) {
			if (*from == '.')
				*to++ = '\\';
			*to++ = *from;
		}
		memcpy(to, "$", 2);
		json_object_set_new(dynamic, name, json_object());
	}
	return dynamic;
}

/* The same as transformers reads it: what is quantized, by whole names. */
static json_t *quantized_json(const struct cwe_output_module *m, size_t count)
{
	json_t *list = json_array(), *lists = json_array();
	size_t i;

	for (i = 0; i < count; i++)
		json_array_append_new(list, json_string(m[i].name));
	json_array_append_new(lists, list);
	return lists;
}

static int config(const struct cwe_output_module *m, size_t count, const char *const *ignore, size_t n_ignore, json_t **ret,
	struct cwb_err *err)
{
	json_t *object;
	size_t i;
	int kept = 0;

	for (i = 1; i < count; i++)
		if (m[i].grid.bits != m[0].grid.bits || m[i].grid.granularity != m[0].grid.granularity ||
			m[i].grid.group != m[0].grid.group)
			return refuse_mixture(m, count, i, err);
	object = json_pack("{s:s, s:i, s:i, s:b, s:b, s:b, s:s, s:s, s:o}", "quant_method", "gptq", "bits", (int)m[0].grid.bits,
		"group_size", m[0].grid.granularity == CWP_PER_GROUP ? (int)m[0].grid.group : -1, "desc_act", 0, "sym", 1, "lm_head",
		0, "checkpoint_format", "gptq", "pack_dtype", "int32", "dynamic", dynamic_json(ignore, n_ignore));
	for (i = 0; i < n_ignore; i++)
		kept |= strcmp(ignore[i], "lm_head") != 0;
	if (object && kept)
		json_object_set_new(object, "modules_in_block_to_quantize", quantized_json(m, count));
	if (!object)
		return cwb_err_set(err, -ENOMEM, "quantization_config: out of memory");
	*ret = object;
	return 0;
}

const struct cwe_format cwe_format_gptq = {.id = CWJ_FORMAT_GPTQ, .name = "gptq", .flags = CWE_FORMAT_SAFETENSORS,
	.carriers = CWE_SET(CWJ_CARRIER_OVERLAY) | CWE_SET(CWJ_CARRIER_NONE) | CWE_SET(CWJ_CARRIER_DENSE) |
		CWE_SET(CWJ_CARRIER_MODULES) | CWE_SET(CWJ_CARRIER_ADAPTER),
	.grid = grids, .n_grids = sizeof grids / sizeof *grids, .check = check, .tensors = tensors, .encode = encode,
	.config = config};
