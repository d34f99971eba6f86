/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The reading half of GPTQ checkpoints, versions 1 and 2, whose inputs stand in their order. */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/format/output_state.h"

/* What the configuration says of all modules; the grid is first, for cwe_output_one_grid. */
struct gptq {
	struct cwp_grid grid;
	int64_t group;   /* -1: a row has one */
	int zero_offset; /* what is added to a stored zero point */
};

static int read_numbers(const json_t *object, struct gptq *c, struct cwb_err *err)
{
	uint64_t bits = 0;
	int rc = cwb_json_get_u64(object, "bits", CWB_JSON_REQUIRED, 1, 8, &bits, err);

	c->group = 128;
	if (!rc)
		rc = cwb_json_get_i64(object, "group_size", CWB_JSON_OPTIONAL, -1, INT32_MAX, &c->group, err);
	if (rc)
		return rc;
	if (bits != 2 && bits != 4 && bits != 8)
		return cwb_err_set(err, CWP_EVALUE, "quantization_config: gptq with %" PRIu64 " bits is not supported (2, 4 and 8 are)",
			bits);
	if (!c->group)
		return cwb_err_set(err, CWP_EVALUE, "quantization_config: group_size is 0");
	/* Zero points are read even where they say nothing new. */
	c->grid = (struct cwp_grid){.size = sizeof c->grid, .code = CWP_CODE_INT, .bits = (uint32_t)bits,
		.granularity = c->group > 0 ? CWP_PER_GROUP : CWP_PER_CHANNEL, .group = c->group > 0 ? (uint32_t)c->group : 0};
	return 0;
}

/* Modules that are left alone are told by their tensors; such with other numbers are not supported. */
static int check_dynamic(const json_t *object, struct cwb_err *err)
{
	json_t *dynamic = NULL, *value;
	const char *key;
	int rc = cwb_json_get_object(object, "dynamic", CWB_JSON_OPTIONAL, &dynamic, err);

	json_object_foreach (dynamic, key, value)
		if (!rc && strncmp(key, "-:", 2) != 0)
			rc = cwb_err_set(err, CWP_EVALUE, "quantization_config: dynamic \"%.60s\" gives modules numbers of their own, which "
							  "is not supported", key);
	return rc;
}

static int config_read(const json_t *object, void **ret, struct cwb_err *err)
{
	const char *version = "gptq";
	struct gptq *c;
	int act = 0, rc = cwb_json_get_string(object, "checkpoint_format", CWB_JSON_OPTIONAL, &version, err);

	if (!rc)
		rc = cwb_json_get_bool(object, "desc_act", CWB_JSON_OPTIONAL, &act, err);
	if (!rc)
		rc = check_dynamic(object, err);
	if (rc)
		return rc;
	if (strcmp(version, "gptq") != 0 && strcmp(version, "gptq_v2") != 0)
		return cwb_err_set(err, CWP_EVALUE, "quantization_config: checkpoint_format \"%.40s\" is not supported (gptq and gptq_v2 "
						    "are)", version);
	c = calloc(1, sizeof *c);
	if (!c)
		return cwb_err_set(err, -ENOMEM, "quantization_config: out of memory");
	c->zero_offset = !strcmp(version, "gptq");
	rc = read_numbers(object, c, err);
	if (rc)
		free(c);
	else
		*ret = c;
	return rc;
}

static const char *codes_suffix(const struct cwe_safetensors_entry *e)
{
	return cwe_output_ends_with(e->name, ".qweight") ? ".qweight" : NULL;
}

static uint32_t get32(const uint8_t *from)
{
	return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

/* Inputs of another order than their own would need the order of act-order, which we do not follow. */
static int check_order(const struct cwe_output_item *m, struct cwb_err *err)
{
	uint64_t width = m->grid.group ? m->grid.group : m->cols, at, i, n;
	uint8_t raw[4096];
	int rc = 0;

	if (m->extra->entry->dtype != CWE_DTYPE_I32 || m->extra->entry->rank != 1 || m->extra->entry->shape[0] != m->cols)
		return cwe_output_misfit(m->extra, "it must be I32, one value an input", err);
	for (at = 0; at < m->cols && !rc; at += n) {
		n = m->cols - at < sizeof raw / 4 ? m->cols - at : sizeof raw / 4;
		rc = cwe_checkpoint_read(m->extra, at * 4, raw, n * 4, err);
		for (i = 0; i < n && !rc; i++)
			if (get32(raw + 4 * i) != (at + i) / width)
				rc = cwe_output_misfit(m->extra, "its groups are not in order (desc_act), which is not supported", err);
	}
	return rc;
}

static int check(const void *config, const char *module, struct cwe_output_item *m, struct cwb_err *err)
{
	const struct gptq *c = config;
	const struct cwe_safetensors_entry *e = m->codes->entry;
	uint64_t per = 32 / c->grid.bits, groups;

	(void)module;
	m->zero_offset = c->zero_offset;
	if (e->dtype != CWE_DTYPE_I32 || e->rank != 2 || !e->shape[0] || !e->shape[1] || e->shape[0] > INT32_MAX / per)
		return cwe_output_misfit(m->codes, "it must be I32 [inputs * bits / 32, outputs]", err);
	m->rows = e->shape[1];
	m->cols = e->shape[0] * per;
	if (c->group > 0 && m->cols % (uint64_t)c->group)
		return cwe_output_misfit(m->codes, "its width is no multiple of the group size", err);
	if (m->rows % per)
		return cwe_output_misfit(m->codes, "its outputs do not fill whole words of zero points", err);
	groups = cwe_grid_scales(&m->grid, m->cols);
	if (!m->scale)
		return cwe_output_misfit(m->codes, "its scales are missing", err);
	if (!cwe_dtype_to_cwp(m->scale->entry->dtype) || !cwe_output_has_shape(m->scale, groups, m->rows))
		return cwe_output_misfit(m->scale, "it must be F16, BF16 or F32 [groups, outputs]", err);
	if (!m->zero)
		return cwe_output_misfit(m->codes, "its qzeros are missing", err);
	if (m->zero->entry->dtype != CWE_DTYPE_I32 || !cwe_output_has_shape(m->zero, groups, m->rows / per))
		return cwe_output_misfit(m->zero, "it must be I32 [groups, outputs * bits / 32]", err);
	return m->extra ? check_order(m, err) : 0;
}

/* ---- values: the files have outputs side by side ---- */

static int nomem(const struct cwe_checkpoint_tensor *t, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "tensor \"%s\": out of memory", t->entry->name);
}

static int codes(const struct cwe_output_item *m, uint64_t row, uint64_t rows, uint8_t *ret, struct cwb_err *err)
{
	uint64_t per = 32 / m->grid.bits, words = m->cols / per, w, r, j;
	uint32_t mask = (1u << m->grid.bits) - 1, half = 1u << (m->grid.bits - 1);
	uint8_t *raw = malloc(rows * 4 + 1);
	int rc = raw ? 0 : nomem(m->codes, err);

	for (w = 0; w < words && !rc; w++) {
		rc = cwe_checkpoint_read(m->codes, (w * m->rows + row) * 4, raw, rows * 4, err);
		for (r = 0; r < rows && !rc; r++) {
			uint32_t word = get32(raw + 4 * r);

			for (j = 0; j < per; j++)
				ret[r * m->cols + w * per + j] = (uint8_t)((word >> m->grid.bits * j & mask) - half);
		}
	}
	free(raw);
	return rc;
}

static int scales(const struct cwe_output_item *m, uint64_t row, uint64_t rows, uint64_t n, float *ret, struct cwb_err *err)
{
	uint32_t dtype = cwe_dtype_to_cwp(m->scale->entry->dtype);
	size_t size = cwe_cwp_dtype_size(dtype);
	uint8_t *raw = malloc(rows * size + 1);
	float *turned = malloc(rows * sizeof *turned + 1);
	uint64_t g, r;
	int rc = raw && turned ? 0 : nomem(m->scale, err);

	for (g = 0; g < n && !rc; g++) {
		rc = cwe_checkpoint_read(m->scale, (g * m->rows + row) * size, raw, rows * size, err);
		if (rc)
			break;
		cwe_f32_from_dtype(turned, raw, dtype, rows);
		for (r = 0; r < rows; r++)
			ret[r * n + g] = turned[r];
	}
	free(raw);
	free(turned);
	return rc;
}

static int zeros(const struct cwe_output_item *m, uint64_t row, uint64_t rows, uint64_t n, int8_t *ret, struct cwb_err *err)
{
	uint64_t per = 32 / m->grid.bits, first = row / per, words = (row + rows - 1) / per - first + 1, g, r;
	uint32_t mask = (1u << m->grid.bits) - 1, half = 1u << (m->grid.bits - 1), offset = (uint32_t)m->zero_offset;
	uint8_t *raw = malloc(words * 4 + 1);
	int rc = raw ? 0 : nomem(m->zero, err);

	for (g = 0; g < n && !rc; g++) {
		rc = cwe_checkpoint_read(m->zero, (g * (m->rows / per) + first) * 4, raw, words * 4, err);
		for (r = 0; r < rows && !rc; r++) {
			uint32_t stored = get32(raw + 4 * ((row + r) / per - first)) >> (row + r) % per * m->grid.bits & mask;

			ret[r * n + g] = (int8_t)(((stored + offset) & mask) - half);
		}
	}
	free(raw);
	return rc;
}

const struct cwe_output_reader cwe_output_reader_gptq = {
	.method = "gptq",
	.config_read = config_read,
	.config_free = free,
	.config_grid = cwe_output_one_grid,
	.codes_name = {".qweight"},
	.codes_suffix = codes_suffix,
	.companion = {{".scales", offsetof(struct cwe_output_item, scale)}, {".qzeros", offsetof(struct cwe_output_item, zero)},
		{".g_idx", offsetof(struct cwe_output_item, extra)}},
	.check = check,
	.codes = codes,
	.scales = scales,
	.zeros = zeros,
};
