/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Masks read from outputs. */
#include "engine/format/saved_mask.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "engine/format/overlay.h"
#include "engine/format/source.h"

#define MANIFEST_MAX (64u << 20)

struct cwe_saved_mask {
	struct cwe_overlay *overlay;
	size_t count;
	uint64_t *rows, *cols; /* [count] of the overlay's modules */
};

/* Shapes come from the output's weights: an overlay alone knows no width. */
static int take_shapes(struct cwe_saved_mask *m, const char *directory, const struct cwe_weights *weights, struct cwb_err *err)
{
	size_t i;
	int rc = 0;

	for (i = 0; i < m->count && !rc; i++) {
		const struct cwe_overlay_module *o = cwe_overlay_at(m->overlay, i);
		const struct cwe_tensor *t;
		char *name;

		if (asprintf(&name, "%s.weight", o->name) < 0)
			return cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
		t = cwe_weights_find(weights, name);
		free(name);
		if (!t || t->rank != 2)
			return cwb_err_set(err, CWP_EFORMAT, "%s: module \"%s\" of its mask is no matrix of its model: write the output again",
				directory, o->name);
		m->rows[i] = t->shape[0];
		m->cols[i] = t->shape[1];
		rc = cwe_overlay_check(o, m->rows[i], m->cols[i], err);
	}
	return rc;
}

static int open_overlay(struct cwe_saved_mask *m, const char *directory, struct cwb_err *err)
{
	char *path;
	int there, rc;

	if (asprintf(&path, "%s/%s", directory, CWE_OVERLAY_FILE) < 0)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
	there = access(path, F_OK) == 0 || errno != ENOENT;
	free(path);
	if (!there)
		return cwb_err_set(err, CWP_EMISSING, "%s: has no %s: name the output of a job that protected weights with carrier: "
			"overlay", directory, CWE_OVERLAY_FILE);
	rc = cwe_overlay_open(directory, &m->overlay, err);
	if (rc)
		return rc;
	m->count = cwe_overlay_count(m->overlay);
	m->rows = calloc(m->count + 1, sizeof *m->rows);
	m->cols = calloc(m->count + 1, sizeof *m->cols);
	return m->rows && m->cols ? 0 : cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
}

int cwe_saved_mask_open(const char *directory, struct cwe_saved_mask **ret, struct cwb_err *err)
{
	struct cwe_saved_mask *m = calloc(1, sizeof *m);
	struct cwe_source *source = NULL;
	int rc = m ? open_overlay(m, directory, err) : cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);

	if (!rc)
		rc = cwe_source_open(directory, 0, &source, err);
	if (!rc)
		rc = take_shapes(m, directory, source->weights, err);
	cwe_source_close(source);
	if (rc)
		cwe_saved_mask_close(m);
	else
		*ret = m;
	return rc;
}

void cwe_saved_mask_close(struct cwe_saved_mask *m)
{
	if (!m)
		return;
	cwe_overlay_close(m->overlay);
	free(m->rows);
	free(m->cols);
	free(m);
}

size_t cwe_saved_mask_count(const struct cwe_saved_mask *m)
{
	return m->count;
}

const char *cwe_saved_mask_module(const struct cwe_saved_mask *m, size_t i, uint64_t *ret_rows, uint64_t *ret_cols)
{
	*ret_rows = m->rows[i];
	*ret_cols = m->cols[i];
	return cwe_overlay_at(m->overlay, i)->name;
}

int64_t cwe_saved_mask_find(const struct cwe_saved_mask *m, const char *module)
{
	const struct cwe_overlay_module *found = cwe_overlay_find(m->overlay, module);

	return found ? found - cwe_overlay_at(m->overlay, 0) : -1;
}

int cwe_saved_mask_rows(const struct cwe_saved_mask *m, int64_t i, uint64_t cols, uint64_t row, uint64_t rows, uint8_t *bits,
	struct cwb_err *err)
{
	if (i < 0) {
		memset(bits, 0, rows * ((cols + 7) / 8));
		return 0;
	}
	return cwe_overlay_mask(cwe_overlay_at(m->overlay, (size_t)i), m->rows[i], m->cols[i], row, rows, bits, err);
}

int cwe_saved_mask_manifest(const char *directory, json_t **ret, struct cwb_err *err)
{
	char *path;
	int rc;

	*ret = NULL;
	if (asprintf(&path, "%s/manifest.json", directory) < 0)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
	if (access(path, F_OK) && errno == ENOENT)
		rc = 0;
	else
		rc = cwb_json_load_file(path, MANIFEST_MAX, CWB_JSON_DEPTH, ret, err);
	free(path);
	return rc;
}
