/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs, written: the plan of all tensors, then copies and quantized modules in any order. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


#include "engine/format/support.h"
#include "engine/format/writer_state.h"
#include "job/job.h"

#define FILES (CWE_SAFETENSORS_IN_ORDER | CWE_SHARDS_DIGEST)

static int nomem(struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "output: out of memory");
}

/* ---- the plan ---- */

static enum cwe_dtype file_dtype(uint32_t dtype)
{
	return dtype == CWP_F32 ? CWE_DTYPE_F32 : dtype == CWP_F16 ? CWE_DTYPE_F16 : CWE_DTYPE_BF16;
}

/* Finds the source's tensor of a module and notes how it ends up. */
static int take_module(struct cwe_writer *w, const struct cwe_output_module *m, struct cwb_err *err)
{
	const struct cwe_tensor *t;
	struct cwe_writer_unit *u;
	char *name;
	int rc = 0;

	if (!m->grid.code)
		return 0;
	if (asprintf(&name, "%s.weight", m->name) < 0)
		return nomem(err);
	t = cwe_weights_find(w->source->weights, name);
	free(name);
	if (!t)
		return cwb_err_set(err, CWP_EMISSING, "module \"%s\": the model has no such weight", m->name);
	if (t->rank != 2 || t->shape[0] != m->rows || t->shape[1] != m->cols)
		return cwb_err_set(err, CWP_ESHAPE, "module \"%s\": %" PRIu64 " x %" PRIu64 " is not the shape of its weight",
			m->name, m->rows, m->cols);
	u = &w->unit[t - w->source->weights->tensors];
	if (u->module)
		return cwb_err_set(err, CWP_EVALUE, "module \"%s\" is named twice", m->name);
	rc = w->dense ? 0 : cwe_format_check(w->format, m, err);
	u->grid = m->grid;
	u->module = strdup(m->name);
	return rc ? rc : u->module ? 0 : nomem(err);
}

static int plan_tensor(struct cwe_writer *w, size_t unit, char *name, enum cwe_dtype dtype, uint32_t rank,
	const uint64_t *shape, struct cwb_err *err)
{
	struct cwe_safetensors_plan *p = &w->plan[w->n_plan];

	if (!name)
		return nomem(err);
	*p = (struct cwe_safetensors_plan){.name = name, .dtype = dtype, .rank = rank};
	memcpy(p->shape, shape, rank * sizeof *shape);
	w->plan_name[w->n_plan] = name;
	w->plan_unit[w->n_plan++] = unit;
	return 0;
}

static int plan_unit(struct cwe_writer *w, size_t number, struct cwb_err *err)
{
	struct cwe_writer_unit *u = &w->unit[number];
	struct cwe_format_tensor part[CWE_FORMAT_TENSORS_MAX];
	struct cwe_output_module m;
	size_t i, n;
	int rc = 0;

	u->first = w->n_plan;
	if (!u->module || w->dense) {
		rc = plan_tensor(w, number, strdup(u->source->name), file_dtype(u->source->dtype), u->source->rank,
			u->source->shape, err);
	} else {
		m = cwe_writer_unit_module(u);
		n = w->format->tensors(&m, cwe_writer_unit_dtype(u), part);
		for (i = 0; i < n && !rc; i++) {
			char *name;

			if (asprintf(&name, "%s%s", u->module, part[i].suffix) < 0)
				name = NULL;
			rc = plan_tensor(w, number, name, part[i].dtype, part[i].rank, part[i].shape, err);
		}
	}
	u->count = w->n_plan - u->first;
	return rc;
}

int cwe_writer_plan(struct cwe_writer *w, const struct cwe_output_module *module, size_t count, struct cwb_err *err)
{
	const struct cwe_weights *weights = w->source->weights;
	size_t i;
	int rc = 0;

	w->count = weights->count;
	w->unit = calloc(w->count + 1, sizeof *w->unit);
	w->plan = calloc(w->count * CWE_FORMAT_TENSORS_MAX + 1, sizeof *w->plan);
	w->plan_unit = calloc(w->count * CWE_FORMAT_TENSORS_MAX + 1, sizeof *w->plan_unit);
	w->plan_name = calloc(w->count * CWE_FORMAT_TENSORS_MAX + 1, sizeof *w->plan_name);
	if (!w->unit || !w->plan || !w->plan_unit || !w->plan_name)
		return nomem(err);
	for (i = 0; i < w->count; i++)
		w->unit[i].source = &weights->tensors[i];
	for (i = 0; i < count && !rc; i++)
		rc = take_module(w, &module[i], err);
	if (!rc && w->is_gguf)
		return cwe_writer_gguf_plan(w, module, count, err);
	/* In the order in which they will come, so that files are whole from the beginning on while they are written. */
	for (i = 0; i < count && !rc; i++) {
		const struct cwe_writer_unit *u = module[i].grid.code ? cwe_writer_find_module(w, module[i].name) : NULL;

		if (u)
			rc = plan_unit(w, (size_t)(u - w->unit), err);
	}
	for (i = 0; i < w->count && !rc; i++)
		if (!w->unit[i].module)
			rc = plan_unit(w, i, err);
	return rc;
}

/* ---- begin and end ---- */

int cwe_writer_begin(struct cwe_writer *w, struct cwe_source *source, const struct cwe_writer_options *o, struct cwb_err *err)
{
	w->source = source;
	w->values = source->weights;
	w->folder = w->journal = w->pieces = -1;
	w->is_gguf = o->format == CWJ_FORMAT_GGUF;
	w->format = cwe_format_find(o->carrier == CWJ_CARRIER_DENSE && !w->is_gguf ? CWJ_FORMAT_DENSE : o->format);
	if (!w->format)
		return cwb_err_set(err, CWP_EVALUE, "write.format: format %d is not known", o->format);
	if (o->carrier < 0 || o->carrier >= 32 || !(w->format->carriers & CWE_SET(o->carrier))) {
		char carriers[96];

		cwe_format_carriers_text(w->format, carriers, sizeof carriers);
		return cwb_err_set(err, CWP_EVALUE, "protect.carrier: write.format %s does not take this carrier: choose %s",
			w->format->name, carriers);
	}
	if (!o->shard)
		return cwb_err_set(err, CWP_EVALUE, "write.shard: 0 bytes a file");
	w->dense = w->is_gguf ? o->carrier == CWJ_CARRIER_DENSE : w->format->tensors == NULL;
	w->overlay = !w->dense && o->carrier == CWJ_CARRIER_OVERLAY;
	w->mask = w->dense && o->carrier != CWJ_CARRIER_NONE;
	w->adapter = o->carrier == CWJ_CARRIER_ADAPTER;
	w->exact = o->carrier != CWJ_CARRIER_NONE;
	return 0;
}

static int open_folder(struct cwe_writer *w, struct cwb_err *err)
{
	w->folder = open(w->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->folder < 0)
		return cwb_err_errno(err, "%s: the output folder cannot be opened", w->directory);
	if (!faccessat(w->folder, "manifest.json", F_OK, AT_SYMLINK_NOFOLLOW))
		return cwb_err_set(err, CWP_ESTATE, "%s: the output is finished already (it has a manifest.json): choose another folder",
			w->directory);
	return 0;
}

/* The file of overlay pieces holds at least what the journal says; the rest is from an unfinished module. */
static int open_pieces(struct cwe_writer *w, int *resume, struct cwb_err *err)
{
	struct stat st;

	w->pieces = openat(w->folder, CWE_WRITER_PIECES, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (w->pieces < 0 || fstat(w->pieces, &st))
		return cwb_err_errno(err, "%s: cannot be made", CWE_WRITER_PIECES);
	if ((uint64_t)st.st_size < w->pieces_size)
		*resume = 0;
	if (ftruncate(w->pieces, *resume ? (off_t)w->pieces_size : 0))
		return cwb_err_errno(err, "%s: cannot be cut", CWE_WRITER_PIECES);
	return 0;
}

/* Whether the engine's own files stand under their names. */
static int are_there(struct cwe_writer *w, uint64_t shard)
{
	struct cwe_shards *s = NULL;
	int there, kept;

	if (w->is_gguf)
		return !faccessat(w->folder, CWE_GGUF_FILE, F_OK, AT_SYMLINK_NOFOLLOW);
	if (cwe_shards_new(w->folder, CWE_SHARDS_LOOK, w->plan, w->plan_unit, w->n_plan, shard, &s, &kept, NULL))
		return 0;
	there = cwe_shards_published(s) && !faccessat(w->folder, "config.json", F_OK, AT_SYMLINK_NOFOLLOW);
	cwe_shards_free(s);
	return there && cwe_writer_adapter_there(w);
}

/* Whether an earlier attempt came to its end and everything still stands under its name. */
static int is_finished(struct cwe_writer *w, uint64_t shard)
{
	int there = are_there(w, shard);
	size_t i;

	for (i = 0; i < w->count && there; i++)
		if (w->unit[i].has_overlay)
			return !faccessat(w->folder, cwe_writer_overlay_name(w), F_OK, AT_SYMLINK_NOFOLLOW);
	return there;
}

static int open_files(struct cwe_writer *w, uint64_t shard, struct cwb_err *err)
{
	int resume = 0, kept = 0, rc = cwe_writer_journal_open(w, &resume, err);

	if (rc)
		return rc;
	if (resume && w->finished) {
		if (is_finished(w, shard))
			return 0;
		resume = w->finished = 0;
	}
	rc = cwe_shards_clean(w->folder, resume, err);
	if (!rc && !resume)
		rc = cwe_writer_adapter_remove(w, err);
	if (!rc && (w->overlay || w->mask || w->adapter))
		rc = open_pieces(w, &resume, err);
	if (!rc && w->is_gguf)
		rc = cwe_writer_gguf_open(w, resume, &kept, err);
	else if (!rc)
		rc = cwe_shards_new(w->folder, FILES | (resume ? CWE_SAFETENSORS_RESUME : 0), w->plan, w->plan_unit, w->n_plan, shard,
			&w->shards, &kept, err);
	if (rc)
		return rc;
	if (resume && !kept) {
		resume = 0;
		if (w->pieces >= 0 && ftruncate(w->pieces, 0))
			return cwb_err_errno(err, "%s: cannot be cut", CWE_WRITER_PIECES);
	}
	return cwe_writer_journal_begin(w, resume, err);
}

int cwe_writer_new(struct cwe_source *source, const struct cwe_writer_options *options,
	const struct cwe_output_module *module, size_t count, struct cwe_writer **ret, struct cwb_err *err)
{
	struct cwe_writer *w = calloc(1, sizeof *w);
	json_t *config = NULL;
	int rc = w ? cwe_writer_begin(w, source, options, err) : nomem(err);

	if (rc) {
		cwe_writer_free(w);
		return rc;
	}
	w->directory = strdup(options->directory);
	rc = w->directory ? open_folder(w, err) : nomem(err);
	if (!rc)
		rc = cwe_writer_plan(w, module, count, err);
	if (!rc && !w->dense && !w->is_gguf)
		rc = cwe_writer_config(w, &config, err); /* what cannot be said in it is refused now */
	json_decref(config);
	if (!rc)
		rc = open_files(w, options->shard, err);
	if (rc == -ENOENT && w->folder >= 0 && cwe_writer_place(w, err))
		rc = CWP_ESTATE; /* files cannot be made in a folder that is gone */
	if (rc) {
		cwe_writer_free(w);
		return rc;
	}
	*ret = w;
	return 0;
}

void cwe_writer_values(struct cwe_writer *w, struct cwe_weights *values)
{
	w->values = values;
}

void cwe_writer_threads(struct cwe_writer *w, struct cwe_pool *pool)
{
	w->pool = pool;
}

void cwe_writer_free(struct cwe_writer *w)
{
	size_t i;

	if (!w)
		return;
	(void)cwe_writer_sync(w, NULL); /* of an attempt that ends early */
	cwe_shards_free(w->shards);
	cwe_writer_gguf_free(w);
	for (i = 0; w->unit && i < w->count; i++)
		free(w->unit[i].module);
	for (i = 0; w->plan_name && i < w->n_plan; i++)
		free(w->plan_name[i]);
	if (w->pieces >= 0)
		close(w->pieces);
	if (w->journal >= 0)
		close(w->journal);
	if (w->folder >= 0)
		close(w->folder);
	free(w->unit);
	free(w->plan);
	free(w->plan_unit);
	free(w->plan_name);
	free(w->directory);
	free(w);
}

/* ---- what is there ---- */

struct cwe_output_module cwe_writer_unit_module(const struct cwe_writer_unit *u)
{
	return (struct cwe_output_module){
		.name = u->module, .rows = u->source->shape[0], .cols = u->source->shape[1], .grid = u->grid};
}

uint32_t cwe_writer_unit_dtype(const struct cwe_writer_unit *u)
{
	return u->source->stored ? u->source->stored : u->source->dtype;
}

void cwe_writer_unit_done(struct cwe_writer *w, struct cwe_writer_unit *u)
{
	size_t i;

	u->done = 1;
	if (w->is_gguf)
		cwe_writer_gguf_done(w, u);
	for (i = 0; i < u->count; i++)
		cwe_shards_done(w->shards, u->first + i);
}

struct cwe_writer_unit *cwe_writer_find_tensor(struct cwe_writer *w, const char *tensor)
{
	const struct cwe_tensor *t = cwe_weights_find(w->source->weights, tensor);

	return t ? &w->unit[t - w->source->weights->tensors] : NULL;
}

struct cwe_writer_unit *cwe_writer_find_module(struct cwe_writer *w, const char *module)
{
	struct cwe_writer_unit *u = NULL;
	char *name;

	if (asprintf(&name, "%s.weight", module) < 0)
		return NULL;
	u = cwe_writer_find_tensor(w, name);
	free(name);
	return u && u->module ? u : NULL;
}

uint64_t cwe_writer_protected(const struct cwe_writer *w, const char *module)
{
	const struct cwe_writer_unit *u = cwe_writer_find_module((struct cwe_writer *)w, module);

	return u && u->done ? u->protected_weights : 0;
}

int cwe_writer_has(const struct cwe_writer *w, const char *name)
{
	struct cwe_writer *any = (struct cwe_writer *)w;
	const struct cwe_writer_unit *u = cwe_writer_find_module(any, name);

	if (!u)
		u = cwe_writer_find_tensor(any, name);
	return u && (w->finished || u->done);
}
