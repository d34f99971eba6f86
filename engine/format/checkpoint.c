/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The safetensors files of a Hugging Face directory. */
#include "engine/format/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"
#define INDEX_MAX (64u << 20)
#define FILES_MAX 4096

static int no_memory(const char *directory, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "%s: out of memory for its list of tensors", directory);
}

static int open_file(struct cwe_checkpoint *c, const char *directory, const char *name, struct cwb_err *err)
{
	char *path;
	int rc;

	if (asprintf(&path, "%s/%s", directory, name) < 0)
		return no_memory(directory, err);
	rc = cwe_safetensors_open(path, &c->file[c->files], err);
	if (!rc)
		c->files++;
	free(path);
	return rc;
}

static int by_name(const void *a, const void *b)
{
	const struct cwe_checkpoint_tensor *x = a, *y = b;

	return strcmp(x->entry->name, y->entry->name);
}

/* Sorts all tensors of all files; no name may come twice. */
static int collect(struct cwe_checkpoint *c, const char *directory, struct cwb_err *err)
{
	size_t total = 0;

	for (size_t i = 0; i < c->files; i++)
		total += c->file[i]->count;
	c->tensors = calloc(total + 1, sizeof *c->tensors);
	if (!c->tensors)
		return no_memory(directory, err);
	for (size_t i = 0; i < c->files; i++)
		for (size_t j = 0; j < c->file[i]->count; j++)
			c->tensors[c->count++] = (struct cwe_checkpoint_tensor){c->file[i], &c->file[i]->entries[j]};
	qsort(c->tensors, c->count, sizeof *c->tensors, by_name);
	for (size_t i = 1; i < c->count; i++)
		if (!by_name(&c->tensors[i - 1], &c->tensors[i]))
			return cwb_err_set(err, CWP_EFORMAT, "%s: tensor \"%.200s\" is in %s too", c->tensors[i].file->input.path,
				c->tensors[i].entry->name, c->tensors[i - 1].file->input.path);
	return 0;
}

static int load_index(const char *path, json_t **ret, struct cwb_err *err)
{
	json_t *index;
	int rc = cwb_json_load_file(path, INDEX_MAX, CWB_JSON_DEPTH, &index, err);

	if (rc)
		return rc;
	if (!json_is_object(json_object_get(index, "weight_map"))) {
		json_decref(index);
		return cwb_err_set(err, CWP_EFORMAT, "%s: \"weight_map\" is absent or no object", path);
	}
	*ret = index;
	return 0;
}

/* The index must not reach outside its directory. */
static int check_file_name(const char *path, const char *tensor, const json_t *value, struct cwb_err *err)
{
	const char *name = json_string_value(value);

	if (!name)
		return cwb_err_set(err, CWP_EFORMAT, "%s: weight_map: \"%.200s\" maps to something else than a file name",
			path, tensor);
	if (!*name || name[0] == '.' || strchr(name, '/'))
		return cwb_err_set(err, CWP_EFORMAT,
			"%s: weight_map: \"%.200s\" maps to \"%.100s\"; only plain file names of the same directory are allowed",
			path, tensor, name);
	return 0;
}

static int open_shards(struct cwe_checkpoint *c, const char *directory, const char *path, const json_t *map,
	struct cwb_err *err)
{
	json_t *seen = json_object(), *value;
	const char *tensor;
	int rc = 0;

	if (!seen)
		return no_memory(directory, err);
	json_object_foreach((json_t *)map, tensor, value) {
		rc = check_file_name(path, tensor, value, err);
		if (rc)
			break;
		if (json_object_get(seen, json_string_value(value)))
			continue;
		if (c->files == FILES_MAX) {
			rc = cwb_err_set(err, CWP_EFORMAT, "%s: weight_map names more than %d files", path, FILES_MAX);
			break;
		}
		rc = open_file(c, directory, json_string_value(value), err);
		if (rc) {
			cwb_err_prefix(err, "%s: weight_map: \"%.200s\"", path, tensor);
			break;
		}
		if (json_object_set_new(seen, json_string_value(value), json_true())) {
			rc = no_memory(directory, err);
			break;
		}
	}
	json_decref(seen);
	return rc;
}

/* Readers take names from the index only: what it does not name is left out, and what it names must be there. */
static int keep_mapped(struct cwe_checkpoint *c, const char *path, const json_t *map, struct cwb_err *err)
{
	const char *tensor;
	json_t *value;
	size_t kept = 0;

	json_object_foreach((json_t *)map, tensor, value) {
		const struct cwe_checkpoint_tensor *t = cwe_checkpoint_find(c, tensor);
		const char *base = t ? strrchr(t->file->input.path, '/') + 1 : NULL;

		if (!t || strcmp(base, json_string_value(value)) != 0)
			return cwb_err_set(err, CWP_EFORMAT, "%s: weight_map: tensor \"%.200s\" is not in \"%.100s\"", path,
				tensor, json_string_value(value));
	}
	for (size_t i = 0; i < c->count; i++)
		if (json_object_get(map, c->tensors[i].entry->name))
			c->tensors[kept++] = c->tensors[i];
	c->count = kept;
	return 0;
}

static int open_sharded(struct cwe_checkpoint *c, const char *directory, struct cwb_err *err)
{
	json_t *index = NULL, *map;
	char *path;
	int rc;

	if (asprintf(&path, "%s/" INDEX, directory) < 0)
		return no_memory(directory, err);
	if (access(path, F_OK) && errno == ENOENT) {
		rc = cwb_err_set(err, CWP_EMISSING, "%s: neither " SINGLE " nor " INDEX " is there", directory);
		goto out;
	}
	rc = load_index(path, &index, err);
	if (rc)
		goto out;
	map = json_object_get(index, "weight_map");
	c->file = calloc(FILES_MAX, sizeof(struct cwe_safetensors *));
	rc = c->file ? open_shards(c, directory, path, map, err) : no_memory(directory, err);
	if (!rc)
		rc = collect(c, directory, err);
	if (!rc)
		rc = keep_mapped(c, path, map, err);
out:
	json_decref(index);
	free(path);
	return rc;
}

static int open_single(struct cwe_checkpoint *c, const char *directory, struct cwb_err *err)
{
	int rc;

	c->file = calloc(1, sizeof(struct cwe_safetensors *));
	if (!c->file)
		return no_memory(directory, err);
	rc = open_file(c, directory, SINGLE, err);
	return rc ? rc : collect(c, directory, err);
}

int cwe_checkpoint_open(const char *directory, struct cwe_checkpoint **ret, struct cwb_err *err)
{
	struct cwe_checkpoint *c = calloc(1, sizeof *c);
	char *single = NULL;
	int rc;

	if (!c || asprintf(&single, "%s/" SINGLE, directory) < 0) {
		free(c);
		return no_memory(directory, err);
	}
	if (access(single, F_OK) && errno == ENOENT)
		rc = open_sharded(c, directory, err);
	else
		rc = open_single(c, directory, err);
	free(single);
	if (rc) {
		cwe_checkpoint_close(c);
		return rc;
	}
	*ret = c;
	return 0;
}

void cwe_checkpoint_close(struct cwe_checkpoint *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->files; i++)
		cwe_safetensors_close(c->file[i]);
	free(c->file);
	free(c->tensors);
	free(c);
}

const struct cwe_checkpoint_tensor *cwe_checkpoint_find(const struct cwe_checkpoint *c, const char *name)
{
	struct cwe_safetensors_entry entry = {.name = name};
	struct cwe_checkpoint_tensor key = {NULL, &entry};

	return bsearch(&key, c->tensors, c->count, sizeof *c->tensors, by_name);
}

int cwe_checkpoint_read(const struct cwe_checkpoint_tensor *t, uint64_t offset, void *dst, uint64_t bytes,
	struct cwb_err *err)
{
	return cwe_safetensors_read(t->file, t->entry, offset, dst, bytes, err);
}
