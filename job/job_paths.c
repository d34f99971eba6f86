/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The folders of a job: its list of adapters, and that its output is none of those that it reads.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job/job_check.h"
#include "job/job_table.h"
#include "job/schema_value.h"

/* An adapter counts once: listed twice it would be merged with twice its strength. */
static int refuse_repeated(
	struct cwj_reader *r, const struct cwj_yaml *node, const struct cwj_job *job)
{
	for (size_t i = 1; i < job->n_adapters; i++) {
		for (size_t j = 0; j < i; j++) {
			if (strcmp(job->adapters[i], job->adapters[j]) != 0) {
				continue;
			}
			size_t mark = cwj_enter_index(r, i);
			int rc = cwj_fail(r, node->values[i], CWP_EVALUE,
				"\"%.200s\" is listed twice; an adapter is merged once",
				job->adapters[i]);
			cwj_leave(r, mark);
			return rc;
		}
	}
	return 0;
}

static int adapters_read(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target)
{
	struct cwj_job *job = &((struct cwj_draft *)target)->job;
	struct cwj_key list = {.kind = CWJ_PATHS,
		.offset = offsetof(struct cwj_job, adapters),
		.count = offsetof(struct cwj_job, n_adapters),
		.high = key->high,
		.remedy = key->remedy};
	int rc;

	if (node->kind == CWJ_YAML_SEQUENCE) {
		rc = cwj_value_read(r, &list, node, (char *)job);
		return rc == 0 ? refuse_repeated(r, node, job) : rc;
	}
	if (node->kind != CWJ_YAML_SCALAR) {
		return cwj_fail_kind(r, node, "a folder or a list of folders", key->remedy);
	}
	job->adapters = calloc(1, sizeof(*job->adapters));
	if (job->adapters == NULL) {
		return cwj_fail(r, node, -ENOMEM, "no memory for its path");
	}
	list.kind = CWJ_PATH;
	rc = cwj_scalar_read(r, &list, node, job->adapters);
	job->n_adapters = rc == 0;
	return rc;
}

/* Left out where there is none, so that it changes no digest. */
static int adapters_json(json_t *object, const struct cwj_key *key, const void *target)
{
	const struct cwj_job *job = &((const struct cwj_draft *)target)->job;
	json_t *list = job->n_adapters > 0 ? json_array() : NULL;

	if (job->n_adapters == 0) {
		return 0;
	}
	for (size_t i = 0; list != NULL && i < job->n_adapters; i++) {
		if (json_array_append_new(list, json_string(job->adapters[i])) < 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return json_object_set_new(object, key->name, list) < 0 ? -ENOMEM : 0;
}

static void adapters_free(void *target)
{
	struct cwj_job *job = &((struct cwj_draft *)target)->job;

	for (size_t i = 0; i < job->n_adapters; i++) {
		free(job->adapters[i]);
	}
	free(job->adapters);
	job->adapters = NULL;
	job->n_adapters = 0;
}

const struct cwj_custom cwj_adapters = {
	.read = adapters_read, .json = adapters_json, .free = adapters_free};

int cwj_job_paths_check(struct cwj_reader *r, const struct cwj_yaml *node, const void *draft)
{
	const struct cwj_job *job = &((const struct cwj_draft *)draft)->job;
	const char *same = strcmp(job->output, job->model) == 0 ? "model" : NULL;

	for (size_t i = 0; same == NULL && i < job->n_adapters; i++) {
		same = strcmp(job->output, job->adapters[i]) == 0 ? "adapter" : NULL;
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
