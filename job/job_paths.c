/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The folders of a job: its lists of adapters and of masks, and that its output is none of those that it reads.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job/job_check.h"
#include "job/job_table.h"
#include "job/schema_value.h"

/* A list of folders in the draft, or one folder alone. */
struct folders {
	char **path;
	size_t count;
};

static int refuse_repeated(struct cwj_reader *r, const struct cwj_yaml *node,
	const struct folders *f, const char *once)
{
	for (size_t i = 1; i < f->count; i++) {
		for (size_t j = 0; j < i; j++) {
			if (strcmp(f->path[i], f->path[j]) != 0) {
				continue;
			}
			size_t mark = cwj_enter_index(r, i);
			int rc = cwj_fail(r, node->values[i], CWP_EVALUE,
				"\"%.200s\" is listed twice; %s", f->path[i], once);
			cwj_leave(r, mark);
			return rc;
		}
	}
	return 0;
}

static int folders_read(struct cwj_reader *r, const struct cwj_key *key,
	const struct cwj_yaml *node, const char *once, struct folders *f)
{
	struct cwj_key list = {.kind = CWJ_PATHS,
		.offset = offsetof(struct folders, path),
		.count = offsetof(struct folders, count),
		.high = key->high,
		.remedy = key->remedy};
	int rc;

	if (node->kind == CWJ_YAML_SEQUENCE) {
		rc = cwj_value_read(r, &list, node, (char *)f);
		return rc == 0 ? refuse_repeated(r, node, f, once) : rc;
	}
	if (node->kind != CWJ_YAML_SCALAR) {
		return cwj_fail_kind(r, node, "a folder or a list of folders", key->remedy);
	}
	f->path = calloc(1, sizeof(*f->path));
	if (f->path == NULL) {
		return cwj_fail(r, node, -ENOMEM, "no memory for its path");
	}
	list.kind = CWJ_PATH;
	rc = cwj_scalar_read(r, &list, node, f->path);
	f->count = rc == 0;
	return rc;
}

/* Left out where there is none, so that it changes no digest. */
static int folders_json(json_t *object, const struct cwj_key *key, const struct folders *f)
{
	json_t *list = f->count > 0 ? json_array() : NULL;

	if (f->count == 0) {
		return 0;
	}
	for (size_t i = 0; list != NULL && i < f->count; i++) {
		if (json_array_append_new(list, json_string(f->path[i])) < 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return json_object_set_new(object, key->name, list) < 0 ? -ENOMEM : 0;
}

static void folders_free(struct folders *f)
{
	for (size_t i = 0; i < f->count; i++) {
		free(f->path[i]);
	}
	free(f->path);
}

/* An adapter counts once: listed twice it would be merged with twice its strength. */
static int adapters_read(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target)
{
	struct cwj_job *job = &((struct cwj_draft *)target)->job;
	struct folders f = {0};
	int rc = folders_read(r, key, node, "an adapter is merged once", &f);

	job->adapters = f.path;
	job->n_adapters = f.count;
	return rc;
}

static int adapters_json(json_t *object, const struct cwj_key *key, const void *target)
{
	const struct cwj_job *job = &((const struct cwj_draft *)target)->job;
	const struct folders f = {job->adapters, job->n_adapters};

	return folders_json(object, key, &f);
}

static void adapters_free(void *target)
{
	struct cwj_job *job = &((struct cwj_draft *)target)->job;
	struct folders f = {job->adapters, job->n_adapters};

	folders_free(&f);
	job->adapters = NULL;
	job->n_adapters = 0;
}

const struct cwj_custom cwj_adapters = {
	.read = adapters_read, .json = adapters_json, .free = adapters_free};

static int masks_read(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target)
{
	struct cwj_job *job = &((struct cwj_draft *)target)->job;
	struct folders f = {0};
	int rc = folders_read(r, key, node, "a mask counts once", &f);

	job->masks = f.path;
	job->n_masks = f.count;
	return rc;
}

static int masks_json(json_t *object, const struct cwj_key *key, const void *target)
{
	const struct cwj_job *job = &((const struct cwj_draft *)target)->job;
	const struct folders f = {job->masks, job->n_masks};

	return folders_json(object, key, &f);
}

static void masks_free(void *target)
{
	struct cwj_job *job = &((struct cwj_draft *)target)->job;
	struct folders f = {job->masks, job->n_masks};

	folders_free(&f);
	job->masks = NULL;
	job->n_masks = 0;
}

const struct cwj_custom cwj_masks = {.read = masks_read, .json = masks_json, .free = masks_free};

int cwj_job_paths_check(struct cwj_reader *r, const struct cwj_yaml *node, const void *draft)
{
	const struct cwj_job *job = &((const struct cwj_draft *)draft)->job;
	const char *same = strcmp(job->output, job->model) == 0 ? "model" : NULL;

	for (size_t i = 0; same == NULL && i < job->n_adapters; i++) {
		same = strcmp(job->output, job->adapters[i]) == 0 ? "adapter" : NULL;
	}
	for (size_t i = 0; same == NULL && i < job->n_masks; i++) {
		same = strcmp(job->output, job->masks[i]) == 0 ? "mask" : NULL;
	}
	if (same == NULL) {
		return 0;
	}
	size_t mark = cwj_enter(r, "output");
	int rc = cwj_fail(r, cwj_yaml_get(node, "output"), CWP_EVALUE,
		"\"%.200s\" is the %s itself; name a directory that does not exist yet",
		job->output, same);
	cwj_leave(r, mark);
	return rc;
}
