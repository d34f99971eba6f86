/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Overlays, opened: which tensors make up which module. Nothing in the file is believed. */
#include "engine/format/overlay_p.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cwe_overlay {
	struct cwe_safetensors *file;
	size_t count;
	struct cwe_overlay_module *module; /* sorted by name */
	char **name;
};

int cwe_overlay_refuse(const struct cwe_overlay_module *m, struct cwb_err *err, const char *what)
{
	assert(m->file);
	return cwb_err_set(err, CWP_EFORMAT, "%s: module \"%s\": %s: the file is damaged, write the output again",
		m->file->input.path, m->name, what);
}

/* Puts a tensor to its module by the end of its name. */
static int take_entry(struct cwe_overlay_module *m, const char *kind, const struct cwe_safetensors_entry *e, int mask)
{
	const struct {
		const char *kind;
		const struct cwe_safetensors_entry **at;
		int dtype;
		unsigned rank;
	} known[] = {
		{"start", &m->start, CWE_DTYPE_U32, 1},
		{"escapes", &m->escapes, CWE_DTYPE_U32, 1},
		{"gaps", &m->gaps, CWE_DTYPE_U8, 1},
		{"bitmap", &m->bitmap, CWE_DTYPE_U8, 2},
		{"values", &m->values, -1, mask ? 2 : 1},
	};
	size_t i;

	for (i = 0; i < sizeof known / sizeof *known; i++) {
		if (strcmp(kind, known[i].kind) != 0)
			continue;
		if (*known[i].at || e->rank != known[i].rank)
			return -1;
		if (known[i].dtype < 0 ? !cwe_dtype_to_cwp(e->dtype) : (int)e->dtype != known[i].dtype)
			return -1;
		if (mask && known[i].dtype < 0 && e->shape[1])
			return -1;
		*known[i].at = e;
		return 0;
	}
	return -1;
}

/* All tensors of a module are there and fit each other. */
static int check_module(const struct cwe_overlay_module *m, struct cwb_err *err)
{
	if (!m->start || !m->values || !m->gaps == !m->bitmap || (m->bitmap && m->escapes))
		return cwe_overlay_refuse(m, err, "it needs the tensors start, values, and either gaps or bitmap");
	if (!m->start->shape[0])
		return cwe_overlay_refuse(m, err, "start has no element");
	if (m->escapes && m->escapes->shape[0] != m->start->shape[0])
		return cwe_overlay_refuse(m, err, "escapes and start have different lengths");
	if (m->bitmap && m->bitmap->shape[0] != m->start->shape[0] - 1)
		return cwe_overlay_refuse(m, err, "bitmap and start have different numbers of rows");
	return 0;
}

static int by_module(const void *a, const void *b)
{
	return strcmp(((const struct cwe_overlay_module *)a)->name, ((const struct cwe_overlay_module *)b)->name);
}

/* The module of a tensor's name, made when it is new. Names are sorted, but ".bias.x" may lie between two tensors of
 * one module, so all modules so far are searched from the end. */
static struct cwe_overlay_module *module_of(struct cwe_overlay *o, const char *name, size_t length)
{
	size_t i = o->count;

	while (i-- > 0) {
		const char *known = o->module[i].name;

		if (known && !strncmp(known, name, length) && !known[length])
			return &o->module[i];
	}
	o->name[o->count] = strndup(name, length);
	if (!o->name[o->count])
		return NULL;
	o->module[o->count] = (struct cwe_overlay_module){.name = o->name[o->count], .file = o->file};
	return &o->module[o->count++];
}

static int group_entries(struct cwe_overlay *o, int mask, struct cwb_err *err)
{
	size_t i, n = o->file->count;
	int rc;

	o->module = calloc(n + 1, sizeof *o->module);
	o->name = calloc(n + 1, sizeof *o->name);
	if (!o->module || !o->name)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", o->file->input.path);
	for (i = 0; i < n; i++) {
		const struct cwe_safetensors_entry *e = &o->file->entries[i];
		const char *dot = strrchr(e->name, '.');
		struct cwe_overlay_module *m;

		if (!dot || dot == e->name)
			return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%s\" belongs to no module", o->file->input.path,
				e->name);
		m = module_of(o, e->name, (size_t)(dot - e->name));
		if (!m)
			return cwb_err_set(err, -ENOMEM, "%s: out of memory", o->file->input.path);
		if (take_entry(m, dot + 1, e, mask))
			return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%s\" (%s, rank %" PRIu32 ") is not part of an overlay",
				o->file->input.path, e->name, cwe_dtype_name(e->dtype), e->rank);
	}
	for (i = 0; i < o->count; i++) {
		rc = check_module(&o->module[i], err);
		if (rc)
			return rc;
	}
	qsort(o->module, o->count, sizeof *o->module, by_module);
	return 0;
}

static int open_named(const char *directory, const char *name, int mask, struct cwe_overlay **ret, struct cwb_err *err)
{
	struct cwe_overlay *o = NULL;
	const char *version;
	char *path = NULL;
	int rc;

	if (asprintf(&path, "%s/%s", directory, name) < 0)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", directory);
	o = calloc(1, sizeof *o);
	if (!o) {
		rc = cwb_err_set(err, -ENOMEM, "%s: out of memory", path);
		goto out;
	}
	rc = cwe_safetensors_open(path, &o->file, err);
	if (rc)
		goto out;
	version = cwe_safetensors_metadata(o->file, CWE_OVERLAY_KEY);
	if (!version || strcmp(version, CWE_OVERLAY_VERSION) != 0) {
		rc = cwb_err_set(err, CWP_EFORMAT, "%s: overlay version \"%.20s\" is not known (known: %s): read it with a newer release",
			path, version ? version : "", CWE_OVERLAY_VERSION);
		goto out;
	}
	rc = group_entries(o, mask, err);
out:
	free(path);
	if (rc)
		cwe_overlay_close(o);
	else
		*ret = o;
	return rc;
}

int cwe_overlay_open(const char *directory, struct cwe_overlay **ret, struct cwb_err *err)
{
	return open_named(directory, CWE_OVERLAY_FILE, 0, ret, err);
}

int cwe_overlay_open_mask(const char *directory, struct cwe_overlay **ret, struct cwb_err *err)
{
	return open_named(directory, CWE_MASK_FILE, 1, ret, err);
}

void cwe_overlay_close(struct cwe_overlay *o)
{
	size_t i;

	if (!o)
		return;
	for (i = 0; i < o->count; i++)
		free(o->name[i]);
	free(o->name);
	free(o->module);
	cwe_safetensors_close(o->file);
	free(o);
}

size_t cwe_overlay_count(const struct cwe_overlay *o)
{
	return o->count;
}

const struct cwe_overlay_module *cwe_overlay_at(const struct cwe_overlay *o, size_t i)
{
	return &o->module[i];
}

const struct cwe_overlay_module *cwe_overlay_find(const struct cwe_overlay *o, const char *module)
{
	struct cwe_overlay_module key = {.name = module};

	return o->count ? bsearch(&key, o->module, o->count, sizeof key, by_module) : NULL;
}

uint64_t cwe_overlay_values(const struct cwe_overlay_module *m)
{
	return m->values->shape[0];
}

uint64_t cwe_overlay_bytes(const struct cwe_overlay_module *m)
{
	return m->start->bytes + m->values->bytes + (m->escapes ? m->escapes->bytes : 0) + (m->gaps ? m->gaps->bytes : 0) +
	       (m->bitmap ? m->bitmap->bytes : 0);
}
