/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs, measured and checked from their headers and overlays. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "engine/format/adapter.h"
#include "engine/format/output_gguf.h"
#include "engine/format/output_state.h"

#define CONFIG_MAX (16u << 20)

static uint64_t elements(const struct cwe_safetensors_entry *e)
{
	uint64_t n = 1;
	uint32_t d;

	for (d = 0; d < e->rank; d++)
		n *= e->shape[d];
	return n;
}

static uint64_t bytes_of(const struct cwe_checkpoint_tensor *t)
{
	return t ? t->entry->bytes : 0;
}

static void measure_item(const struct cwe_output_item *m, struct cwe_output_size *size)
{
	if (!m->quantized) {
		size->other_weights += elements(m->codes->entry);
		size->other_bytes += m->codes->entry->bytes;
		return;
	}
	size->modules++;
	size->quantized_weights += m->rows * m->cols;
	size->quantized_bytes += bytes_of(m->codes) + bytes_of(m->scale) + bytes_of(m->zero) + bytes_of(m->shape) +
				 bytes_of(m->extra);
	if (m->overlay) {
		size->protected_weights += cwe_overlay_values(m->overlay);
		size->protected_bytes += cwe_overlay_bytes(m->overlay);
	}
}

/* The factors of an adapter; one of each pair must be a selector. */
static int measure_factors(const struct cwe_adapter *a, struct cwe_output_size *size, struct cwb_err *err)
{
	struct cwe_adapter_selector s;
	size_t i;
	int rc = 0;

	for (i = 0; i < a->count && !rc; i++) {
		const struct cwe_adapter_module *m = &a->module[i];

		rc = cwe_adapter_selector(a, m, &s, err);
		if (rc)
			break;
		size->protected_weights += s.rank * (s.by_row ? m->a->shape[1] : m->b->shape[0]);
		size->protected_bytes += m->a->bytes + m->b->bytes;
		free(s.index);
	}
	return rc;
}

/* The same of an adapter beside the weights, where there is one. */
static int measure_adapter(const char *directory, struct cwe_output_size *size, struct cwb_err *err)
{
	struct cwe_adapter *a = NULL;
	int rc = cwe_adapter_open_beside(directory, &a, err);

	if (!rc && a)
		rc = measure_factors(a, size, err);
	cwe_adapter_close(a);
	return rc;
}

/* Every module of the adapter is a quantized weight, and one of its factors a selector. */
static int check_adapter(const char *directory, struct cwe_output_weights *o, struct cwb_err *err)
{
	struct cwe_output_size size = {0};
	struct cwe_adapter *a = NULL;
	size_t *tensor = NULL, i;
	int rc = cwe_adapter_open_beside(directory, &a, err);

	if (rc || !a)
		return rc;
	tensor = calloc(a->count + 1, sizeof *tensor);
	rc = tensor ? cwe_adapter_find(a, &o->base, tensor, err) : cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
	for (i = 0; i < a->count && !rc; i++)
		if (!o->item[tensor[i]].quantized)
			rc = cwb_err_set(err, CWP_EFORMAT, "%s: module \"%s\" is not a quantized weight of this checkpoint",
				a->file->input.path, a->module[i].name);
	free(tensor);
	if (!rc)
		rc = measure_factors(a, &size, err);
	cwe_adapter_close(a);
	return rc;
}

static int measure_dense(const char *directory, struct cwe_output_size *size, struct cwb_err *err)
{
	struct cwe_checkpoint *c = NULL;
	size_t i;
	int rc = cwe_checkpoint_open(directory, &c, err);

	if (rc)
		return rc;
	for (i = 0; i < c->count; i++) {
		size->other_weights += elements(c->tensors[i].entry);
		size->other_bytes += c->tensors[i].entry->bytes;
	}
	cwe_checkpoint_close(c);
	return 0;
}

int cwe_output_measure(const char *directory, struct cwe_output_size *ret, struct cwb_err *err)
{
	struct cwe_output_size size = {0};
	struct cwe_output_weights *o = NULL;
	json_t *config = NULL;
	char *path;
	size_t i;
	int rc;

	if (cwe_output_gguf_is(directory))
		return cwe_output_gguf_measure(directory, ret, err);
	if (asprintf(&path, "%s/config.json", directory) < 0)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
	rc = cwb_json_load_file(path, CONFIG_MAX, CWB_JSON_DEPTH, &config, err);
	free(path);
	if (rc)
		return rc;
	if (!cwe_output_is(directory, config)) {
		rc = measure_dense(directory, &size, err);
	} else {
		rc = cwe_output_state_open(directory, config, &o, err);
		for (i = 0; !rc && i < o->count; i++)
			measure_item(&o->item[i], &size);
		cwe_output_state_free(o);
		if (!rc)
			rc = measure_adapter(directory, &size, err);
	}
	json_decref(config);
	if (!rc)
		*ret = size;
	return rc;
}

double cwe_output_bits(const struct cwe_output_size *size)
{
	if (!size->quantized_weights)
		return 0;
	return 8.0 * (double)(size->quantized_bytes + size->protected_bytes) / (double)size->quantized_weights;
}

/* Scales of all rows, and the overlay. */
static int check_item(const struct cwe_output_weights *o, const struct cwe_output_item *m, struct cwb_err *err)
{
	uint64_t n, row, step;
	float *scales;
	int rc = 0;

	if (!m->quantized)
		return 0;
	n = cwe_grid_scales(&m->grid, m->cols);
	step = (1u << 18) / n + 1;
	scales = malloc((step < m->rows ? step : m->rows) * n * sizeof *scales);
	if (!scales)
		return cwb_err_set(err, -ENOMEM, "tensor \"%s\": out of memory", m->codes->entry->name);
	for (row = 0; row < m->rows && !rc; row += step)
		rc = cwe_output_read_scales(o->reader, m, row, m->rows - row < step ? m->rows - row : step, scales, err);
	free(scales);
	if (!rc && m->overlay)
		rc = cwe_overlay_check(m->overlay, m->rows, m->cols, err);
	return rc;
}

int cwe_output_check(const char *directory, const json_t *config, struct cwb_err *err)
{
	struct cwe_output_weights *o = NULL;
	struct cwe_checkpoint *c = NULL;
	size_t i;
	int rc;

	if (!cwe_output_is(directory, config)) {
		rc = cwe_checkpoint_open(directory, &c, err);
		cwe_checkpoint_close(c);
		return rc;
	}
	rc = cwe_output_state_open(directory, config, &o, err);
	if (rc)
		return rc;
	for (i = 0; i < o->count && !rc; i++)
		rc = check_item(o, &o->item[i], err);
	if (!rc)
		rc = check_adapter(directory, o, err);
	cwe_output_state_free(o);
	return rc;
}
