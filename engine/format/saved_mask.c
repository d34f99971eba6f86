/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Masks read from outputs, whatever carries their protected weights: an overlay, a mask beside a dense checkpoint, the
 * selectors of an adapter, or the names of whole modules in the manifest. */
#include "engine/format/saved_mask.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "engine/format/adapter.h"
#include "engine/format/overlay.h"
#include "engine/format/source.h"

#define MANIFEST "manifest.json"
#define MANIFEST_MAX (64u << 20)

struct entry {
	const char *name;
	uint64_t rows, cols;
	const struct cwe_overlay_module *overlay; /* or NULL */
	struct cwe_adapter_selector selector;     /* rank 0: none */
};

struct cwe_saved_mask {
	struct cwe_overlay *overlay;
	struct cwe_adapter *adapter;
	json_t *manifest;   /* where whole modules are named */
	const char *file;   /* that holds the mask */
	size_t count;
	struct entry *entry; /* [count], sorted by name */
};

static int nomem(const char *directory, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
}

/* Shapes come from the output's weights: a mask alone knows no width. */
static int take_shape(struct entry *e, const char *directory, const struct cwe_weights *weights, struct cwb_err *err)
{
	const struct cwe_tensor *t;
	char *name;

	if (asprintf(&name, "%s.weight", e->name) < 0)
		return nomem(directory, err);
	t = cwe_weights_find(weights, name);
	free(name);
	if (!t || t->rank != 2)
		return cwb_err_set(err, CWP_EFORMAT, "%s: module \"%s\" of its mask is no matrix of its model: write the output again",
			directory, e->name);
	e->rows = t->shape[0];
	e->cols = t->shape[1];
	return e->overlay ? cwe_overlay_check(e->overlay, e->rows, e->cols, err) : 0;
}

static int take_overlay(struct cwe_saved_mask *m, const char *directory, struct cwb_err *err)
{
	size_t i;

	m->count = cwe_overlay_count(m->overlay);
	m->entry = calloc(m->count + 1, sizeof *m->entry);
	if (!m->entry)
		return nomem(directory, err);
	for (i = 0; i < m->count; i++) {
		m->entry[i].overlay = cwe_overlay_at(m->overlay, i);
		m->entry[i].name = m->entry[i].overlay->name;
	}
	return 0;
}

static int take_adapter(struct cwe_saved_mask *m, const char *directory, struct cwb_err *err)
{
	size_t i;
	int rc;

	m->entry = calloc(m->adapter->count + 1, sizeof *m->entry);
	if (!m->entry)
		return nomem(directory, err);
	for (i = 0; i < m->adapter->count; i++) {
		rc = cwe_adapter_selector(m->adapter, &m->adapter->module[i], &m->entry[i].selector, err);
		if (rc)
			return rc;
		m->entry[m->count++].name = m->adapter->module[i].name;
	}
	return 0;
}

static int take_kept(struct cwe_saved_mask *m, const char *directory, struct cwb_err *err)
{
	const json_t *list = json_object_get(m->manifest, "kept_modules");
	size_t n = json_array_size(list), i;

	m->entry = calloc(n + 1, sizeof *m->entry);
	if (!m->entry)
		return nomem(directory, err);
	for (i = 0; i < n; i++) {
		m->entry[i].name = json_string_value(json_array_get(list, i));
		if (!m->entry[i].name)
			return cwb_err_set(err, CWP_EFORMAT, "%s/" MANIFEST ": kept_modules holds more than names: run that job again",
				directory);
		m->count++;
	}
	return 0;
}

static int open_file(struct cwe_saved_mask *m, const char *directory, struct cwb_err *err)
{
	int rc;

	if (cwe_source_is_there(directory, CWE_OVERLAY_FILE) || cwe_source_is_there(directory, CWE_MASK_FILE)) {
		int plain = cwe_source_is_there(directory, CWE_OVERLAY_FILE);

		m->file = plain ? CWE_OVERLAY_FILE : CWE_MASK_FILE;
		rc = plain ? cwe_overlay_open(directory, &m->overlay, err) : cwe_overlay_open_mask(directory, &m->overlay, err);
		return rc ? rc : take_overlay(m, directory, err);
	}
	rc = cwe_adapter_open_beside(directory, &m->adapter, err);
	if (rc)
		return rc;
	m->file = m->adapter ? CWE_OUTPUT_ADAPTER "/" CWE_ADAPTER_WEIGHTS_FILE : MANIFEST;
	if (m->adapter)
		return take_adapter(m, directory, err);
	rc = cwe_saved_mask_manifest(directory, &m->manifest, err);
	if (rc)
		return rc;
	if (!json_array_size(json_object_get(m->manifest, "kept_modules")))
		return cwb_err_set(err, CWP_EMISSING, "%s: has no %s nor another mask: name the output of a job that protected weights, with "
			"another carrier than none", directory, CWE_OVERLAY_FILE);
	return take_kept(m, directory, err);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* Sorted, none twice, all of them modules of the output. */
static int check_entries(struct cwe_saved_mask *m, const char *directory, struct cwb_err *err)
{
	struct cwe_source *source = NULL;
	size_t i;
	int rc = cwe_source_open(directory, 0, &source, err);

	if (m->count)
		qsort(m->entry, m->count, sizeof *m->entry, by_name);
	for (i = 0; i < m->count && !rc; i++) {
		if (i && !strcmp(m->entry[i - 1].name, m->entry[i].name))
			rc = cwb_err_set(err, CWP_EFORMAT, "%s: module \"%s\" is twice in its mask: run that job again", directory,
				m->entry[i].name);
		else
			rc = take_shape(&m->entry[i], directory, source->weights, err);
	}
	cwe_source_close(source);
	return rc;
}

int cwe_saved_mask_open(const char *directory, struct cwe_saved_mask **ret, struct cwb_err *err)
{
	struct cwe_saved_mask *m = calloc(1, sizeof *m);
	int rc = m ? open_file(m, directory, err) : nomem(directory, err);

	if (!rc)
		rc = check_entries(m, directory, err);
	if (rc)
		cwe_saved_mask_close(m);
	else
		*ret = m;
	return rc;
}

void cwe_saved_mask_close(struct cwe_saved_mask *m)
{
	size_t i;

	if (!m)
		return;
	for (i = 0; m->entry && i < m->count; i++)
		free(m->entry[i].selector.index);
	free(m->entry);
	cwe_overlay_close(m->overlay);
	cwe_adapter_close(m->adapter);
	json_decref(m->manifest);
	free(m);
}

const char *cwe_saved_mask_file(const struct cwe_saved_mask *m)
{
	return m->file;
}

size_t cwe_saved_mask_count(const struct cwe_saved_mask *m)
{
	return m->count;
}

const char *cwe_saved_mask_module(const struct cwe_saved_mask *m, size_t i, uint64_t *ret_rows, uint64_t *ret_cols)
{
	*ret_rows = m->entry[i].rows;
	*ret_cols = m->entry[i].cols;
	return m->entry[i].name;
}

int64_t cwe_saved_mask_find(const struct cwe_saved_mask *m, const char *module)
{
	struct entry key = {.name = module};
	const struct entry *found = m->count ? bsearch(&key, m->entry, m->count, sizeof key, by_name) : NULL;

	return found ? found - m->entry : -1;
}

/* All of a module's weights. */
static void fill(uint8_t *bits, uint64_t rows, uint64_t cols)
{
	uint64_t stride = (cols + 7) / 8, r;

	memset(bits, 0xff, rows * stride);
	for (r = 0; r < rows && cols % 8; r++)
		bits[r * stride + stride - 1] = (uint8_t)((1u << cols % 8) - 1);
}

int cwe_saved_mask_rows(const struct cwe_saved_mask *m, int64_t i, uint64_t cols, uint64_t row, uint64_t rows, uint8_t *bits,
	struct cwb_err *err)
{
	const struct entry *e = i < 0 ? NULL : &m->entry[i];

	if (!e)
		memset(bits, 0, rows * ((cols + 7) / 8));
	else if (e->overlay)
		return cwe_overlay_mask(e->overlay, e->rows, e->cols, row, rows, bits, err);
	else if (e->selector.rank)
		cwe_adapter_selector_mask(&e->selector, cols, row, rows, bits);
	else
		fill(bits, rows, cols);
	return 0;
}

int cwe_saved_mask_manifest(const char *directory, json_t **ret, struct cwb_err *err)
{
	char *path;
	int rc;

	*ret = NULL;
	if (asprintf(&path, "%s/" MANIFEST, directory) < 0)
		return nomem(directory, err);
	if (access(path, F_OK) && errno == ENOENT)
		rc = 0;
	else
		rc = cwb_json_load_file(path, MANIFEST_MAX, CWB_JSON_DEPTH, ret, err);
	free(path);
	return rc;
}
