/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* From the tensors of a compressed-tensors checkpoint to weights: each quantized module with its companions, all shapes
 * checked against each other, nothing left over. */
#include "engine/format/output_state.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/format/packing.h"

static int nomem(struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "output: out of memory");
}

static int ends_with(const char *name, const char *tail)
{
	size_t n = strlen(name), t = strlen(tail);

	return n > t && !strcmp(name + n - t, tail);
}

static const struct cwe_checkpoint_tensor *companion(const struct cwe_output_weights *o, const char *module, const char *suffix)
{
	const struct cwe_checkpoint_tensor *t = NULL;
	char *name;

	if (asprintf(&name, "%s%s", module, suffix) < 0)
		return NULL;
	t = cwe_checkpoint_find(o->checkpoint, name);
	free(name);
	return t;
}

static int has_shape(const struct cwe_checkpoint_tensor *t, uint64_t rows, uint64_t cols)
{
	return t->entry->rank == 2 && t->entry->shape[0] == rows && t->entry->shape[1] == cols;
}

static int misfit(const struct cwe_checkpoint_tensor *t, const char *what, struct cwb_err *err)
{
	return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%s\": %s", t->file->input.path, t->entry->name, what);
}

/* weight_shape of a packed module: the matrix before packing. */
static int read_shape(struct cwe_output_item *m, struct cwb_err *err)
{
	const struct cwe_safetensors_entry *e = m->shape->entry;
	uint8_t raw[16];
	unsigned size = cwe_dtype_bits(e->dtype) / 8, d, b;
	uint64_t value[2] = {0, 0};
	int rc;

	if ((e->dtype != CWE_DTYPE_I64 && e->dtype != CWE_DTYPE_I32) || e->rank != 1 || e->shape[0] != 2)
		return misfit(m->shape, "it must be I64 [2]", err);
	rc = cwe_checkpoint_read(m->shape, 0, raw, 2ull * size, err);
	if (rc)
		return rc;
	for (d = 0; d < 2; d++)
		for (b = 0; b < size; b++)
			value[d] |= (uint64_t)raw[d * size + b] << 8 * b;
	m->rows = value[0];
	m->cols = value[1];
	if (!m->rows || !m->cols || m->cols > INT32_MAX || m->codes->entry->dtype != CWE_DTYPE_I32 ||
		!has_shape(m->codes, m->rows, cwe_pack_words(m->cols, m->scheme.bits)))
		return misfit(m->codes, "it must be I32 of the size that weight_shape and num_bits give", err);
	return 0;
}

static int check_codes(struct cwe_output_item *m, struct cwb_err *err)
{
	const struct cwe_safetensors_entry *e = m->codes->entry;
	int packed = ends_with(e->name, ".weight_packed");

	if (packed != (m->scheme.format == CWE_CT_PACK) ||
		(!packed && (e->dtype == CWE_DTYPE_F8_E4M3) != (m->scheme.code == CWP_CODE_E4M3)))
		return misfit(m->codes, "it does not fit the format in quantization_config", err);
	if (packed) {
		if (!m->shape)
			return misfit(m->codes, "its weight_shape is missing", err);
		return read_shape(m, err);
	}
	if (e->rank != 2 || !e->shape[0] || !e->shape[1])
		return misfit(m->codes, "a quantized weight has two dimensions", err);
	m->rows = e->shape[0];
	m->cols = e->shape[1];
	return 0;
}

static int check_companions(const struct cwe_output_item *m, struct cwb_err *err)
{
	uint64_t n;

	if (m->scheme.group && m->cols % m->scheme.group)
		return misfit(m->codes, "its width is no multiple of the group size", err);
	n = cwe_ct_scales(&m->scheme, m->cols);
	if (!m->scale)
		return misfit(m->codes, "its weight_scale is missing", err);
	if (!cwe_dtype_to_cwp(m->scale->entry->dtype))
		return misfit(m->scale, "scales are F32, BF16 or F16", err);
	if (m->scheme.tensor ? m->scale->entry->rank != 1 || m->scale->entry->shape[0] != 1 : !has_shape(m->scale, m->rows, n))
		return misfit(m->scale, "its shape does not fit the weight and the strategy", err);
	if (m->scheme.symmetric)
		return m->zero ? misfit(m->zero, "a symmetric weight has no zero point", err) : 0;
	if (!m->zero)
		return misfit(m->codes, "its weight_zero_point is missing", err);
	if (m->scheme.format == CWE_CT_PACK) {
		if (m->scheme.tensor || m->zero->entry->dtype != CWE_DTYPE_I32 ||
			!has_shape(m->zero, cwe_pack_words(m->rows, m->scheme.bits), n))
			return misfit(m->zero, "it must be I32 [ceil(rows * bits / 32), groups]", err);
		return 0;
	}
	if (m->zero->entry->dtype != CWE_DTYPE_I8 ||
		(m->scheme.tensor ? m->zero->entry->rank != 1 || m->zero->entry->shape[0] != 1 : !has_shape(m->zero, m->rows, n)))
		return misfit(m->zero, "it must be I8 of the scale's shape", err);
	return 0;
}

static int add_quantized(struct cwe_output_weights *o, const struct cwe_checkpoint_tensor *t, struct cwb_err *err)
{
	struct cwe_output_item *m = &o->item[o->count];
	const char *name = t->entry->name;
	size_t n = strlen(name) - strlen(ends_with(name, ".weight_packed") ? ".weight_packed" : ".weight");
	const struct cwe_ct_scheme *s;
	char *module = strndup(name, n);
	int rc = module ? 0 : nomem(err);

	if (rc)
		return rc;
	s = cwe_ct_config_find(o->config, module);
	if (!s) {
		free(module);
		return misfit(t, "quantization_config names no group for it", err);
	}
	*m = (struct cwe_output_item){.quantized = 1, .scheme = *s, .codes = t};
	m->scale = companion(o, module, ".weight_scale");
	m->zero = companion(o, module, ".weight_zero_point");
	m->shape = companion(o, module, ".weight_shape");
	if (o->overlay)
		m->overlay = cwe_overlay_find(o->overlay, module);
	if (asprintf(&m->name, "%s.weight", module) < 0)
		m->name = NULL;
	free(module);
	if (!m->name)
		return nomem(err);
	o->count++;
	rc = check_codes(m, err);
	return rc ? rc : check_companions(m, err);
}

static int add_plain(struct cwe_output_weights *o, const struct cwe_checkpoint_tensor *t, struct cwb_err *err)
{
	struct cwe_output_item *m = &o->item[o->count];

	if (!cwe_dtype_to_cwp(t->entry->dtype))
		return misfit(t, "its dtype is not supported here (F32, F16, BF16, or I8 and F8_E4M3 of a quantized weight)", err);
	if (t->entry->rank > CWE_RANK_MAX)
		return misfit(t, "it has too many dimensions", err);
	*m = (struct cwe_output_item){.codes = t, .name = strdup(t->entry->name)};
	if (!m->name)
		return nomem(err);
	o->count++;
	return 0;
}

/* Companions are found by their module; one without a module is an error. */
static int check_owner(const struct cwe_output_weights *o, const struct cwe_checkpoint_tensor *t, const char *suffix,
	struct cwb_err *err)
{
	const char *name = t->entry->name;
	char *module = strndup(name, strlen(name) - strlen(suffix));
	const struct cwe_checkpoint_tensor *codes;

	if (!module)
		return nomem(err);
	codes = companion(o, module, ".weight_packed");
	if (!codes)
		codes = companion(o, module, ".weight");
	free(module);
	if (!codes || cwe_dtype_to_cwp(codes->entry->dtype))
		return misfit(t, "there is no quantized weight that it belongs to", err);
	return 0;
}

static int add_tensor(struct cwe_output_weights *o, const struct cwe_checkpoint_tensor *t, struct cwb_err *err)
{
	static const char *const companions[] = {".weight_scale", ".weight_zero_point", ".weight_shape"};
	const char *name = t->entry->name;
	size_t i;

	if (ends_with(name, ".weight_packed") ||
		(ends_with(name, ".weight") && (t->entry->dtype == CWE_DTYPE_I8 || t->entry->dtype == CWE_DTYPE_F8_E4M3)))
		return add_quantized(o, t, err);
	for (i = 0; i < sizeof companions / sizeof *companions; i++)
		if (ends_with(name, companions[i]))
			return check_owner(o, t, companions[i], err);
	return add_plain(o, t, err);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct cwe_output_item *)a)->name, ((const struct cwe_output_item *)b)->name);
}

static int fill_tensors(struct cwe_output_weights *o, struct cwb_err *err)
{
	size_t i;

	qsort(o->item, o->count, sizeof *o->item, by_name);
	for (i = 0; i < o->count; i++) {
		const struct cwe_output_item *m = &o->item[i];
		struct cwe_tensor *t = &o->tensor[i];

		if (i && !strcmp(m->name, o->item[i - 1].name))
			return cwb_err_set(err, CWP_EFORMAT, "weight \"%s\" is there twice", m->name);
		*t = (struct cwe_tensor){.name = m->name, .index = i};
		if (m->quantized) {
			t->dtype = CWP_F32;
			t->rank = 2;
			t->shape[0] = m->rows;
			t->shape[1] = m->cols;
		} else {
			t->dtype = cwe_dtype_to_cwp(m->codes->entry->dtype);
			t->rank = m->codes->entry->rank;
			memcpy(t->shape, m->codes->entry->shape, t->rank * sizeof *t->shape);
		}
	}
	o->base.count = o->count;
	o->base.tensors = o->tensor;
	return 0;
}

/* Every module of the overlay belongs to a quantized weight. */
static int check_overlay(const struct cwe_output_weights *o, struct cwb_err *err)
{
	size_t i, used = 0;

	for (i = 0; i < o->count; i++) {
		const struct cwe_overlay_module *m = o->item[i].overlay;

		if (!m)
			continue;
		used++;
		if (m->start->shape[0] != o->item[i].rows + 1)
			return cwb_err_set(err, CWP_EFORMAT, "%s: module \"%s\" has %" PRIu64 " rows, its quantized weight %" PRIu64,
				m->file->input.path, m->name, m->start->shape[0] - 1, o->item[i].rows);
	}
	for (i = 0; o->overlay && used < cwe_overlay_count(o->overlay) && i < cwe_overlay_count(o->overlay); i++) {
		const struct cwe_overlay_module *m = cwe_overlay_at(o->overlay, i);
		const struct cwe_checkpoint_tensor *t = companion(o, m->name, ".weight_packed");

		if (!t)
			t = companion(o, m->name, ".weight");
		if (!t || cwe_dtype_to_cwp(t->entry->dtype))
			return cwb_err_set(err, CWP_EFORMAT, "%s: module \"%s\" is not a quantized weight of this checkpoint",
				m->file->input.path, m->name);
	}
	return 0;
}

static int open_parts(struct cwe_output_weights *o, const char *directory, const json_t *config, struct cwb_err *err)
{
	struct cwb_err local = {0};
	json_t *quantization = NULL;
	int rc = cwb_json_get_object(config, "quantization_config", CWB_JSON_REQUIRED, &quantization, err);

	if (!rc)
		rc = cwe_ct_config_read(quantization, &o->config, err);
	if (rc)
		return cwb_err_prefix(err, "%s/config.json", directory), rc;
	rc = cwe_checkpoint_open(directory, &o->checkpoint, err);
	if (rc)
		return rc;
	rc = cwe_overlay_open(directory, &o->overlay, &local);
	if (rc && rc != -ENOENT)
		return cwb_err_set(err, rc, "%s", local.message);
	return 0;
}

int cwe_output_state_open(const char *directory, const json_t *config, struct cwe_output_weights **ret, struct cwb_err *err)
{
	struct cwe_output_weights *o = calloc(1, sizeof *o);
	size_t i;
	int rc;

	if (!o)
		return nomem(err);
	rc = open_parts(o, directory, config, err);
	if (!rc) {
		o->item = calloc(o->checkpoint->count + 1, sizeof *o->item);
		o->tensor = calloc(o->checkpoint->count + 1, sizeof *o->tensor);
		if (!o->item || !o->tensor)
			rc = nomem(err);
	}
	for (i = 0; !rc && i < o->checkpoint->count; i++)
		rc = add_tensor(o, &o->checkpoint->tensors[i], err);
	if (!rc)
		rc = check_overlay(o, err);
	if (!rc)
		rc = fill_tensors(o, err);
	if (rc) {
		cwe_output_state_free(o);
		return rc;
	}
	*ret = o;
	return 0;
}

void cwe_output_state_free(struct cwe_output_weights *o)
{
	size_t i;

	if (!o)
		return;
	for (i = 0; i < o->count; i++)
		free(o->item[i].name);
	free(o->item);
	free(o->tensor);
	cwe_overlay_close(o->overlay);
	cwe_checkpoint_close(o->checkpoint);
	cwe_ct_config_free(o->config);
	free(o);
}
