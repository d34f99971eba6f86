/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* protect.mask: the weights that earlier jobs protected, combined. */
#include "engine/pipeline/masks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/overlay.h"
#include "engine/format/saved_mask.h"
#include "engine/pipeline/mask.h"
#include "engine/pipeline/super.h"

static int place(struct cwb_err *err, int code)
{
	return cwe_run_place(err, code, 0, 0, "protect", "mask");
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(const struct cwe_run_module *const *)a)->name, (*(const struct cwe_run_module *const *)b)->name);
}

static int name_is(const void *name, const void *module)
{
	return strcmp(name, (*(const struct cwe_run_module *const *)module)->name);
}

/* Models of many experts have thousands of modules, and masks name them all. */
static int sort_modules(struct cwe_run *run, struct cwb_err *err)
{
	run->by_name = malloc((run->modules + 1) * sizeof *run->by_name);
	if (run->by_name == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the names of modules");
	}
	for (size_t i = 0; i < run->modules; i++) {
		run->by_name[i] = &run->module[i];
	}
	qsort(run->by_name, run->modules, sizeof *run->by_name, by_name);
	return 0;
}

/* run->modules where there is none of this name. */
static size_t find_module(const struct cwe_run *run, const char *name)
{
	const struct cwe_run_module **found = bsearch(name, run->by_name, run->modules, sizeof *run->by_name, name_is);
	return found != NULL ? (size_t)(*found - run->module) : run->modules;
}

static int check_fit(const struct cwe_run *run, const char *path, const struct cwe_saved_mask *mask, struct cwb_err *err)
{
	for (size_t i = 0; i < cwe_saved_mask_count(mask); i++) {
		uint64_t rows, cols;
		const char *name = cwe_saved_mask_module(mask, i, &rows, &cols);
		size_t k = find_module(run, name);
		if (k == run->modules) {
			return cwb_err_set(err, CWP_EUNKNOWN, "protect.mask: %s protects weights of \"%s\", which is no module of the model; "
				"name an output of this model, or of one of its shape", path, name);
		}
		const struct cwe_run_module *m = &run->module[k];
		if (rows != m->rows || cols != m->cols) {
			return cwb_err_set(err, CWP_ESHAPE, "protect.mask: %s has \"%s\" with %" PRIu64 " x %" PRIu64 " weights, the model "
				"with %" PRIu64 " x %" PRIu64 "; name an output of this model, or of one of its shape", path, name, rows, cols,
				m->rows, m->cols);
		}
		if (!m->quantized) {
			return cwb_err_set(err, CWP_EVALUE, "protect.mask: %s protects weights of \"%s\", which quantize.skip leaves as it "
				"is; take it out of quantize.skip", path, name);
		}
	}
	return 0;
}

int cwe_run_masks_open(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwj_job *job = run->job;
	if (!job->has_protect || job->n_masks == 0 || job->carrier == CWJ_CARRIER_NONE) {
		return 0;
	}
	int r = sort_modules(run, err);
	if (r != 0) {
		return place(err, r);
	}
	run->saved = calloc(job->n_masks, sizeof(struct cwe_saved_mask *));
	if (run->saved == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for masks");
	}
	for (size_t i = 0; r == 0 && i < job->n_masks; i++) {
		r = cwe_saved_mask_open(job->masks[i], &run->saved[i], err);
		if (r != 0 && err != NULL) {
			cwb_err_prefix(err, "protect.mask");
		}
		run->n_saved += r == 0;
		r = r == 0 ? check_fit(run, job->masks[i], run->saved[i], err) : r;
	}
	if (r == 0 && job->n_evaluations > 0) {
		r = cwe_run_warn(run, err, "protect.mask: what the masks' own jobs calibrated on is not known here, and is not left out of "
			"the evaluation");
	}
	return place(err, r);
}

void cwe_run_masks_close(struct cwe_run *run)
{
	for (size_t i = 0; i < run->n_saved; i++) {
		cwe_saved_mask_close(run->saved[i]);
	}
	free(run->saved);
	free(run->by_name);
	run->saved = NULL;
	run->by_name = NULL;
	run->n_saved = 0;
}

/* The file is what its job wrote, where there is a manifest to tell. */
static int check_digest(const struct cwe_run *run, const char *folder, const char *name, const char *path, struct cwb_err *err)
{
	json_t *manifest = NULL;
	int r = cwe_saved_mask_manifest(folder, &manifest, err);
	const json_t *file = json_object_get(json_object_get(manifest, "files"), name);
	const char *want = json_string_value(json_object_get(file, "sha256"));
	const char *found = json_string_value(json_object_get(json_object_get(run->inputs, path), "sha256"));
	int itself = strcmp(name, "manifest.json") == 0;
	if (r == 0 && manifest != NULL && !itself && (want == NULL || found == NULL || strcmp(want, found) != 0)) {
		r = cwb_err_set(err, CWP_EDIGEST, "protect.mask: %s is not what its manifest says that was written; run that job again",
			path);
	}
	json_decref(manifest);
	return place(err, r);
}

int cwe_run_masks_inputs(struct cwe_run *run, int (*add)(struct cwe_run *run, const char *path, struct cwb_err *err),
	struct cwb_err *err)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < run->n_saved; i++) {
		const char *name = cwe_saved_mask_file(run->saved[i]);
		char *path;
		if (asprintf(&path, "%s/%s", run->job->masks[i], name) < 0) {
			return cwb_err_set(err, -ENOMEM, "no memory for the list of inputs");
		}
		r = add(run, path, err);
		r = r == 0 ? check_digest(run, run->job->masks[i], name, path, err) : r;
		free(path);
	}
	return r;
}

/* One entry of a manifest's super_weights. */
static int take_super(struct cwe_run *run, const char *folder, const json_t *entry, struct cwb_err *err)
{
	const char *name = json_string_value(json_object_get(entry, "module"));
	const json_t *row = json_object_get(entry, "row"), *column = json_object_get(entry, "column");
	size_t k = name != NULL ? find_module(run, name) : run->modules;
	if (k == run->modules || !json_is_integer(row) || !json_is_integer(column) || json_integer_value(row) < 0 ||
		json_integer_value(column) < 0 || (uint64_t)json_integer_value(row) >= run->module[k].rows ||
		(uint64_t)json_integer_value(column) >= run->module[k].cols) {
		int r = cwb_err_set(err, CWP_EFORMAT, "protect.mask: %s/manifest.json: super_weights names a weight that the model does "
			"not have; run that job again", folder);
		return place(err, r);
	}
	return cwe_run_super_add(run, k, (uint64_t)json_integer_value(row), (uint64_t)json_integer_value(column), err);
}

static int take_supers(struct cwe_run *run, const char *folder, struct cwb_err *err)
{
	json_t *manifest = NULL, *entry;
	size_t i;
	int r = cwe_saved_mask_manifest(folder, &manifest, err);
	json_array_foreach (json_object_get(manifest, "super_weights"), i, entry) {
		r = r == 0 ? take_super(run, folder, entry, err) : r;
	}
	json_decref(manifest);
	return r;
}

int cwe_run_masks_select(struct cwe_run *run, struct cwb_err *err)
{
	int r = 0;
	for (size_t i = 0; r == 0 && run->job->super_weights && i < run->n_saved; i++) {
		r = take_supers(run, run->job->masks[i], err);
	}
	run->protecting = r == 0;
	return r == 0 ? cwe_run_mark_super(run, err) : r;
}

static void combine(enum cwj_combine_masks how, uint8_t *mask, const uint8_t *other, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i++) {
		mask[i] = how == CWJ_MASKS_UNION ? mask[i] | other[i] : how == CWJ_MASKS_INTERSECTION ? mask[i] & other[i]
			: (uint8_t)(mask[i] & ~other[i]);
	}
}

int cwe_run_masks_fill(struct cwe_run *run, const struct cwe_run_module *m, uint8_t *mask, uint64_t *ret_set,
	struct cwb_err *err)
{
	uint64_t stride = (m->cols + 7) / 8;
	uint8_t *other = malloc(CWE_ROW_TILE * stride);
	int r = other != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for masks");
	*ret_set = 0;
	for (uint64_t row = 0; r == 0 && row < m->rows; row += CWE_ROW_TILE) {
		uint64_t rows = m->rows - row < CWE_ROW_TILE ? m->rows - row : CWE_ROW_TILE;
		uint8_t *to = mask + row * stride;
		for (size_t i = 0; r == 0 && i < run->n_saved; i++) {
			r = cwe_saved_mask_rows(run->saved[i], cwe_saved_mask_find(run->saved[i], m->name), m->cols, row, rows,
				i == 0 ? to : other, err);
			if (r == 0 && i > 0) {
				combine(run->job->combine_masks, to, other, rows * stride);
			}
		}
		for (uint64_t k = 0; r == 0 && k < rows; k++) {
			*ret_set += cwe_overlay_count_row(to + k * stride, m->cols);
		}
	}
	free(other);
	return r;
}
