/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* From the tensors of a quantized checkpoint to weights: each quantized module with its companions, all shapes
 * checked against each other, nothing left over. */
#include "engine/format/output_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static int nomem(struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "output: out of memory");
}

int cwe_output_ends_with(const char *name, const char *tail)
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

int cwe_output_has_shape(const struct cwe_checkpoint_tensor *t, uint64_t rows, uint64_t cols)
{
	return t->entry->rank == 2 && t->entry->shape[0] == rows && t->entry->shape[1] == cols;
}

int cwe_output_misfit(const struct cwe_checkpoint_tensor *t, const char *what, struct cwb_err *err)
{
	return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%s\": %s", t->file->input.path, t->entry->name, what);
}

/* Where an item keeps a companion. */
static const struct cwe_checkpoint_tensor **slot(struct cwe_output_item *m, const struct cwe_output_companion *c)
{
	return (const struct cwe_checkpoint_tensor **)((char *)m + c->at);
}

static int add_quantized(struct cwe_output_weights *o, const struct cwe_checkpoint_tensor *t, const char *suffix, struct cwb_err *err)
{
	struct cwe_output_item *m = &o->item[o->count];
	const struct cwe_output_companion *c;
	char *module = strndup(t->entry->name, strlen(t->entry->name) - strlen(suffix));
	int rc = module ? 0 : nomem(err);

	if (rc)
		return rc;
	*m = (struct cwe_output_item){.quantized = 1, .codes = t};
	if (o->reader->config_grid(o->config, module, &m->grid)) {
		free(module);
		return cwe_output_misfit(t, "quantization_config names no group for it", err);
	}
	for (c = o->reader->companion; c < o->reader->companion + CWE_OUTPUT_COMPANIONS_MAX && c->suffix; c++)
		*slot(m, c) = companion(o, module, c->suffix);
	if (o->overlay)
		m->overlay = cwe_overlay_find(o->overlay, module);
	if (asprintf(&m->name, "%s.weight", module) < 0)
		m->name = NULL;
	rc = m->name ? 0 : nomem(err);
	if (!rc) {
		o->count++;
		rc = o->reader->check(o->config, module, m, err);
	}
	free(module);
	return rc;
}

static int add_plain(struct cwe_output_weights *o, const struct cwe_checkpoint_tensor *t, struct cwb_err *err)
{
	struct cwe_output_item *m = &o->item[o->count];

	if (!cwe_dtype_to_cwp(t->entry->dtype))
		return cwe_output_misfit(t, "its dtype is not supported here (F32, F16, BF16, or I8 and F8_E4M3 of a quantized weight)", err);
	if (t->entry->rank > CWE_RANK_MAX)
		return cwe_output_misfit(t, "it has too many dimensions", err);
	*m = (struct cwe_output_item){.codes = t, .name = strdup(t->entry->name)};
	if (!m->name)
		return nomem(err);
	o->count++;
	return 0;
}

/* ---- what readers share ---- */

int cwe_output_take_matrix(struct cwe_output_item *m, struct cwb_err *err)
{
	const struct cwe_safetensors_entry *e = m->codes->entry;

	if (e->rank != 2 || !e->shape[0] || !e->shape[1])
		return cwe_output_misfit(m->codes, "a quantized weight has two dimensions", err);
	m->rows = e->shape[0];
	m->cols = e->shape[1];
	return 0;
}

int cwe_output_one_grid(const void *config, const char *module, struct cwp_grid *ret)
{
	(void)module; /* what is stored as codes is quantized, whatever lists say of it */
	*ret = *(const struct cwp_grid *)config;
	return 0;
}

int cwe_output_read_bytes(const struct cwe_output_item *m, uint64_t row, uint64_t rows, uint8_t *ret, struct cwb_err *err)
{
	return cwe_checkpoint_read(m->codes, row * m->cols, ret, rows * m->cols, err);
}

int cwe_output_read_shared(const struct cwe_checkpoint_tensor *t, uint64_t share, uint64_t row, uint64_t rows, uint64_t n,
	float *ret, struct cwb_err *err)
{
	uint32_t dtype = cwe_dtype_to_cwp(t->entry->dtype);
	uint64_t size = cwe_cwp_dtype_size(dtype), first = row / share, count = rows ? (row + rows - 1) / share - first + 1 : 0, r;
	uint8_t *raw = malloc(count * n * size + 1);
	int rc;

	if (!raw)
		return cwb_err_set(err, -ENOMEM, "tensor \"%s\": out of memory", t->entry->name);
	rc = cwe_checkpoint_read(t, first * n * size, raw, count * n * size, err);
	for (r = 0; r < rows && !rc; r++)
		cwe_f32_from_dtype(ret + r * n, raw + ((row + r) / share - first) * n * size, dtype, n);
	free(raw);
	return rc;
}

/* ---- opening ---- */

/* Whether some tensor holds the codes of a module. */
static int has_codes(const struct cwe_output_weights *o, const char *module)
{
	const char *const *name = o->reader->codes_name;
	size_t i;

	for (i = 0; i < CWE_OUTPUT_CODES_MAX && name[i]; i++) {
		const struct cwe_checkpoint_tensor *t = companion(o, module, name[i]);
		const char *suffix = t ? o->reader->codes_suffix(t->entry) : NULL;

		if (suffix && !strcmp(suffix, name[i]))
			return 1;
	}
	return 0;
}

/* Companions are found by their module; one without a module is an error. */
static int check_owner(const struct cwe_output_weights *o, const struct cwe_checkpoint_tensor *t, const char *suffix,
	struct cwb_err *err)
{
	const char *name = t->entry->name;
	char *module = strndup(name, strlen(name) - strlen(suffix));
	int there;

	if (!module)
		return nomem(err);
	there = has_codes(o, module);
	free(module);
	return there ? 0 : cwe_output_misfit(t, "there is no quantized weight that it belongs to", err);
}

static int add_tensor(struct cwe_output_weights *o, const struct cwe_checkpoint_tensor *t, struct cwb_err *err)
{
	const char *suffix = o->reader->codes_suffix(t->entry);
	const struct cwe_output_companion *c;

	if (suffix)
		return add_quantized(o, t, suffix, err);
	for (c = o->reader->companion; c < o->reader->companion + CWE_OUTPUT_COMPANIONS_MAX && c->suffix; c++)
		if (cwe_output_ends_with(t->entry->name, c->suffix))
			return check_owner(o, t, c->suffix, err);
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

		if (!has_codes(o, m->name))
			return cwb_err_set(err, CWP_EFORMAT, "%s: module \"%s\" is not a quantized weight of this checkpoint",
				m->file->input.path, m->name);
	}
	return 0;
}

static const struct cwe_output_reader *const readers[] = {&cwe_output_reader_compressed_tensors,
	&cwe_output_reader_bitsandbytes, &cwe_output_reader_gptq, &cwe_output_reader_fp8};

const struct cwe_output_reader *cwe_output_reader_find(const char *method)
{
	size_t i;

	for (i = 0; i < sizeof readers / sizeof *readers; i++)
		if (!strcmp(readers[i]->method, method))
			return readers[i];
	return NULL;
}

static int unknown_method(const char *method, struct cwb_err *err)
{
	char known[160] = "";
	size_t i;

	for (i = 0; i < sizeof readers / sizeof *readers; i++) {
		size_t n = strlen(known);

		snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", readers[i]->method);
	}
	return cwb_err_set(err, CWP_EVALUE,
		"quantization_config: quant_method \"%.40s\" is not supported (of these: %s): use the original, unquantized model", method,
		known);
}

static int open_config(struct cwe_output_weights *o, const json_t *config, struct cwb_err *err)
{
	json_t *quantization = NULL;
	const char *method = NULL;
	int rc = cwb_json_get_object(config, "quantization_config", CWB_JSON_REQUIRED, &quantization, err);

	if (!rc)
		rc = cwb_json_get_string(quantization, "quant_method", CWB_JSON_REQUIRED, &method, err);
	if (rc)
		return rc;
	o->reader = cwe_output_reader_find(method);
	return o->reader ? o->reader->config_read(quantization, &o->config, err) : unknown_method(method, err);
}

static int open_parts(struct cwe_output_weights *o, const char *directory, const json_t *config, struct cwb_err *err)
{
	struct cwb_err local = {0};
	int rc = open_config(o, config, err);

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
	if (o->reader)
		o->reader->config_free(o->config);
	free(o);
}
