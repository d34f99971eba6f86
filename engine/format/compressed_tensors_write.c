/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The writing half of compressed-tensors. What is declared here was loaded by transformers and compared; what does not
 * load there is refused with a remedy. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/compressed_tensors.h"
#include "engine/format/packing.h"

#define EITHER (CWE_SET(0) | CWE_SET(1))
#define WHOLE (CWE_SET(CWP_PER_TENSOR) | CWE_SET(CWP_PER_CHANNEL))

static const struct cwe_format_grid grids[] = {
	{"int-quantized", CWP_CODE_INT, CWE_SET(8), WHOLE, EITHER, CWE_SET(CWP_ACT_INT8_TOKEN) | CWE_SET(CWP_ACT_INT8_TENSOR)},
	{"int-quantized", CWP_CODE_INT, CWE_SET(8), CWE_SET(CWP_PER_CHANNEL), CWE_SET(1), CWE_SET(CWP_ACT_INT8_OUTLIER)},
	{"float-quantized", CWP_CODE_E4M3, CWE_SET(8), WHOLE, CWE_SET(1), CWE_SET(CWP_ACT_FP8_TOKEN) | CWE_SET(CWP_ACT_FP8_TENSOR)},
	{"float-quantized", CWP_CODE_E4M3, CWE_SET(8), CWE_SET(CWP_PER_BLOCK), CWE_SET(1), CWE_SET(CWP_ACT_FP8_GROUP)},
	{"pack-quantized", CWP_CODE_INT, CWE_SET(4), CWE_SET(CWP_PER_CHANNEL) | CWE_SET(CWP_PER_GROUP), EITHER,
		CWE_SET(CWP_ACT_NONE)},
	{"pack-quantized", CWP_CODE_INT, CWE_SET(8), CWE_SET(CWP_PER_GROUP), EITHER, CWE_SET(CWP_ACT_NONE)},
	{"naive-quantized", CWP_CODE_INT, CWE_SET(8), WHOLE, EITHER, CWE_SET(CWP_ACT_NONE)},
	{"naive-quantized", CWP_CODE_E4M3, CWE_SET(8), WHOLE | CWE_SET(CWP_PER_BLOCK), CWE_SET(1), CWE_SET(CWP_ACT_NONE)},
};

static int check(const struct cwe_output_module *m, struct cwb_err *err)
{
	struct cwe_ct_scheme s = cwe_ct_scheme(&m->grid);

	if (cwe_module_is_expert(m->name) && s.format != CWE_CT_PACK && s.code == CWP_CODE_INT)
		return cwb_err_set(err, CWP_EVALUE,
			"module \"%s\": transformers cannot load experts in int8 by channel: choose granularity group or 4 bits, which are "
			"packed, or plugin fp8",
			m->name);
	if (m->grid.granularity == CWP_PER_GROUP && (!m->grid.group || m->cols % m->grid.group))
		return cwb_err_set(err, CWP_EVALUE,
			"module \"%s\": groups of %" PRIu32 " do not divide its width of %" PRIu64
			", which no engine loads: choose a group that does",
			m->name, m->grid.group, m->cols);
	/* The last block may be ragged, a group of inputs not. */
	if (m->grid.granularity == CWP_PER_BLOCK && (!m->grid.group || !m->grid.block_rows))
		return cwb_err_set(err, CWP_EVALUE, "module \"%s\": blocks of %" PRIu32 " x %" PRIu32 " hold nothing", m->name,
			m->grid.block_rows, m->grid.group);
	if (m->grid.activation == CWP_ACT_FP8_GROUP && (!m->grid.activation_group || m->cols % m->grid.activation_group))
		return cwb_err_set(err, CWP_EVALUE,
			"module \"%s\": groups of %" PRIu32 " inputs do not divide its width of %" PRIu64
			", which no engine runs: choose activations none, or add the module to quantize.skip",
			m->name, m->grid.activation_group, m->cols);
	return 0;
}

static size_t tensors(const struct cwe_output_module *m, uint32_t source, struct cwe_format_tensor *ret)
{
	struct cwe_ct_scheme s = cwe_ct_scheme(&m->grid);

	return cwe_ct_tensors(&s, m->rows, m->cols, source, ret);
}

static int nomem(const struct cwe_output_module *m, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "module \"%s\": out of memory", m->name);
}

/* What an encoding needs at hand. */
struct encoding {
	const struct cwe_output_module *m;
	struct cwe_ct_scheme scheme;
	struct cwe_format_tensor tensor[CWE_FORMAT_TENSORS_MAX];
	size_t count;
	const struct cwe_format_values *v;
	const struct cwe_format_sink *to;
};

static int put_packed(const struct encoding *e, struct cwb_err *err)
{
	uint64_t rows = e->m->rows, cols = e->m->cols, row, r, n;
	uint64_t bytes = 4 * cwe_pack_words(cols, e->scheme.bits), step = cwe_format_step(cols);
	uint8_t *buffer = malloc(step * bytes + 1);
	int rc = buffer ? 0 : nomem(e->m, err);

	for (row = 0; row < rows && !rc; row += step) {
		n = rows - row < step ? rows - row : step;
		for (r = 0; r < n; r++)
			cwe_pack_row(e->scheme.bits, e->v->codes + (row + r) * cols, cols, buffer + r * bytes);
		rc = e->to->put(e->to->arg, 0, row * bytes, buffer, n * bytes, err);
	}
	free(buffer);
	return rc;
}

/* Of rows that share scales the first one's are written. */
static uint64_t share(const struct encoding *e)
{
	return e->scheme.tensor ? e->m->rows : e->scheme.block_rows ? e->scheme.block_rows : 1;
}

static int put_scales(const struct encoding *e, struct cwb_err *err)
{
	uint64_t each = cwe_ct_scales(&e->scheme, e->m->cols), rows = cwe_ct_scale_rows(&e->scheme, e->m->rows), r;
	uint32_t dtype = cwe_dtype_to_cwp(e->tensor[1].dtype);
	size_t size = cwe_cwp_dtype_size(dtype);
	uint8_t *buffer = malloc(rows * each * size + 1);
	int rc;

	if (!buffer)
		return nomem(e->m, err);
	for (r = 0; r < rows; r++)
		cwe_f32_to_dtype(buffer + r * each * size, e->v->scales + r * share(e) * each, dtype, each);
	rc = e->to->put(e->to->arg, 1, 0, buffer, rows * each * size, err);
	free(buffer);
	return rc;
}

static int put_zeros(const struct encoding *e, struct cwb_err *err)
{
	uint64_t rows = e->m->rows, groups = cwe_ct_scales(&e->scheme, e->m->cols);
	uint64_t bytes = 4 * cwe_pack_words(rows, e->scheme.bits) * groups;
	uint8_t *buffer;
	int rc;

	if (e->scheme.format != CWE_CT_PACK)
		return e->to->put(e->to->arg, 2, 0, e->v->zeros, cwe_ct_scale_rows(&e->scheme, rows) * groups, err);
	buffer = malloc(bytes + 1);
	if (!buffer)
		return nomem(e->m, err);
	cwe_pack_zeros(e->scheme.bits, e->v->zeros, rows, groups, buffer);
	rc = e->to->put(e->to->arg, 2, 0, buffer, bytes, err);
	free(buffer);
	return rc;
}

static int put_shape(const struct encoding *e, struct cwb_err *err)
{
	const uint64_t size[2] = {e->m->whole_rows ? e->m->whole_rows : e->m->rows, e->m->cols};
	uint8_t shape[16];
	int d, b;

	for (d = 0; d < 2; d++)
		for (b = 0; b < 8; b++)
			shape[8 * d + b] = (uint8_t)(size[d] >> 8 * b);
	return e->to->put(e->to->arg, e->scheme.symmetric ? 2 : 3, 0, shape, sizeof shape, err);
}

/* The last tensors. */
static int put_input(const struct encoding *e, struct cwb_err *err)
{
	const size_t at = e->count - 1 - e->scheme.input_zero;
	uint8_t raw[4];
	int rc;

	cwe_f32_to_dtype(raw, &e->v->input_scale, CWP_F32, 1);
	rc = e->to->put(e->to->arg, at, 0, raw, sizeof raw, err);
	return !rc && e->scheme.input_zero ? e->to->put(e->to->arg, at + 1, 0, &e->v->input_zero, 1, err) : rc;
}

static int encode(const struct cwe_output_module *m, uint32_t source, const struct cwe_format_values *v,
	const struct cwe_format_sink *to, struct cwb_err *err)
{
	struct encoding e = {.m = m, .scheme = cwe_ct_scheme(&m->grid), .v = v, .to = to};
	int rc;

	e.count = cwe_ct_tensors(&e.scheme, m->rows, m->cols, source, e.tensor);
	if (e.scheme.format == CWE_CT_PACK)
		rc = put_packed(&e, err);
	else
		rc = to->put(to->arg, 0, 0, v->codes, m->rows * m->cols, err);
	if (!rc)
		rc = put_scales(&e, err);
	if (!rc && !e.scheme.symmetric)
		rc = put_zeros(&e, err);
	if (!rc && e.scheme.format == CWE_CT_PACK)
		rc = put_shape(&e, err);
	if (!rc && cwe_ct_fixed_inputs(&e.scheme))
		rc = put_input(&e, err);
	return rc;
}

/* What comes behind ".experts." does not count: the experts of a layer are one matrix to an engine. */
static int same_layer(const char *a, const char *b)
{
	size_t n = (size_t)(strstr(a, ".experts.") - a);

	return strncmp(a, b, n) == 0 && strncmp(b + n, ".experts.", 9) == 0;
}

/* Experts of a layer become one matrix, whose parts are of one kind. */
static int check_alike(const struct cwe_output_module *m, size_t count, struct cwb_err *err)
{
	const struct cwe_output_module *last = NULL;
	char one[80], two[80];
	size_t i;

	for (i = 0; i < count; i++) {
		struct cwe_ct_scheme a, b;

		if (!cwe_module_is_expert(m[i].name))
			continue;
		a = cwe_ct_scheme(&m[i].grid);
		b = last ? cwe_ct_scheme(&last->grid) : a;
		if (last && same_layer(last->name, m[i].name) && !cwe_ct_scheme_equal(&a, &b)) {
			cwe_grid_text(&last->grid, one, sizeof one);
			cwe_grid_text(&m[i].grid, two, sizeof two);
			return cwb_err_set(err, CWP_EVALUE,
				"transformers cannot load experts of a layer that are not all alike: \"%s\" has %s, \"%s\" %s: choose a group "
				"that divides the width of both, or granularity channel",
				last->name, one, m[i].name, two);
		}
		last = &m[i];
	}
	return 0;
}

/* Experts that are kept load only beside FP8, and only by whole layers. */
static int check_experts(const struct cwe_output_module *m, size_t count, const char *const *ignore, size_t n_ignore,
	struct cwb_err *err)
{
	size_t i, k;

	for (i = 0; i < n_ignore; i++) {
		if (!cwe_module_is_expert(ignore[i]))
			continue;
		for (k = 0; k < count; k++)
			if (m[k].grid.code != CWP_CODE_E4M3)
				return cwb_err_set(err, CWP_EVALUE,
					"module \"%s\" is kept, but transformers cannot load experts that are not quantized beside integers (\"%s\"): "
					"quantize them all, or choose plugin fp8",
					ignore[i], m[k].name);
			else if (same_layer(ignore[i], m[k].name))
				return cwb_err_set(err, CWP_EVALUE,
					"module \"%s\" is kept and \"%s\" is not: transformers reads experts of a layer wrongly that are not all "
					"alike: keep or quantize all of them",
					ignore[i], m[k].name);
	}
	return 0;
}

static int config(const struct cwe_output_module *m, size_t count, const char *const *ignore, size_t n_ignore, json_t **ret,
	struct cwb_err *err)
{
	struct cwe_ct_module *list = calloc(count + 1, sizeof *list);
	size_t i;
	int rc;

	if (!list)
		return cwb_err_set(err, -ENOMEM, "quantization_config: out of memory");
	rc = check_alike(m, count, err);
	if (!rc)
		rc = check_experts(m, count, ignore, n_ignore, err);
	for (i = 0; i < count; i++)
		list[i] = (struct cwe_ct_module){m[i].name, cwe_ct_scheme(&m[i].grid)};
	if (!rc)
		rc = cwe_ct_config(list, count, ignore, n_ignore, ret, err);
	free(list);
	return rc;
}

const struct cwe_format cwe_format_compressed_tensors = {.id = CWJ_FORMAT_COMPRESSED_TENSORS, .name = "compressed-tensors",
	.flags = CWE_FORMAT_SAFETENSORS | CWE_FORMAT_ROWS,
	.carriers = CWE_SET(CWJ_CARRIER_OVERLAY) | CWE_SET(CWJ_CARRIER_NONE) | CWE_SET(CWJ_CARRIER_DENSE) |
		CWE_SET(CWJ_CARRIER_MODULES) | CWE_SET(CWJ_CARRIER_ADAPTER),
	.grid = grids, .n_grids = sizeof grids / sizeof *grids, .check = check, .tensors = tensors, .encode = encode,
	.config = config};
