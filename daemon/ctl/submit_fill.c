/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A submitted text, checked, as the job (or the sweep and its jobs) that the queue gets. On a
 * thread. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/json.h"
#include "daemon/ctl/submit_p.h"
#include "daemon/roots.h"
#include "wire/message.h"

#define NAME_SIZE 201

static char *owner_name(uid_t uid)
{
	struct passwd entry, *found = NULL;
	char buffer[4096], *name;

	if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found != NULL) {
		return strdup(found->pw_name);
	}
	return asprintf(&name, "%u", (unsigned)uid) < 0 ? NULL : name;
}

/* The job's name, or that of its output, short and printable. */
static char *job_name(const char *name, const char *output)
{
	const char *slash = strrchr(output, '/');
	char *text = malloc(NAME_SIZE);

	name = name != NULL ? name : slash != NULL ? slash + 1 : output;
	if (text != NULL) {
		cww_escape(name, strlen(name), text, NAME_SIZE);
	}
	return text;
}

/* What makes two submissions the same one. */
static char *request_digest(const char *directory, const char *text)
{
	struct cwb_digest digest = {0};
	char hex[CWB_DIGEST_HEX];

	if (cwb_digest_begin(&digest) < 0) {
		return NULL;
	}
	cwb_digest_update(&digest, directory, strlen(directory) + 1);
	cwb_digest_update(&digest, text, strlen(text));
	return cwb_digest_end_hex(&digest, hex) < 0 ? NULL : strdup(hex);
}

/* What a job has from the call and from its file. */
static int fill_job(
	const struct cwd_submit *submit, struct cwd_job *job, const struct cwj_job *parsed)
{
	char digest[65];

	if (cwj_job_digest(parsed, digest) < 0) {
		return -ENOMEM;
	}
	job->uid = submit->call->uid;
	job->owner = owner_name(job->uid);
	job->name = job_name(parsed->name, parsed->output);
	job->directory = strdup(submit->directory);
	job->request = request_digest(submit->directory, submit->text);
	job->digest = strdup(digest);
	job->model = strdup(parsed->model);
	job->output = strdup(parsed->output);
	job->resources.threads = parsed->limits.threads;
	job->resources.time = parsed->limits.time;
	job->resources.gpus = parsed->limits.gpus;
	if (strncmp(parsed->backend, "cuda:", 5) == 0) {
		snprintf(job->resources.gpu, sizeof job->resources.gpu, "%s", parsed->backend + 5);
	}
	return job->owner && job->name && job->directory && job->request && job->digest &&
			       job->model && job->output
		       ? 0
		       : -ENOMEM;
}

static int replace(char **text, char *value)
{
	free(*text);
	*text = value;
	return value != NULL ? 0 : -ENOMEM;
}

/* What the sweep itself has otherwise than its first job. */
static int fill_sweep(struct cwd_submit *submit)
{
	const struct cwj_sweep *sweep = submit->sweep;
	struct cwd_job *job = submit->job;
	json_t *paths = json_array();
	char digest[65];
	size_t k;
	int rc = cwj_sweep_digest(sweep, digest);

	for (k = 0; rc == 0 && k < sweep->n_keys; k++) {
		rc = json_array_append_new(paths, json_string(sweep->keys[k].path)) == 0 ? 0
											 : -ENOMEM;
	}
	if (rc < 0 || replace(&job->digest, strdup(digest)) < 0 ||
		replace(&job->output, strdup(sweep->output)) < 0 ||
		replace(&job->name, job_name(sweep->name, sweep->output)) < 0 ||
		replace(&job->point, cwb_json_dump(paths, NULL)) < 0) {
		rc = -ENOMEM;
	}
	json_decref(paths);
	job->n_children = sweep->n_points;
	job->resources.time = 0; /* its jobs have that limit, each its own */
	for (k = 0; k < sweep->n_points; k++) {
		uint32_t gpus = sweep->points[k].job->limits.gpus;

		job->resources.gpus = gpus > job->resources.gpus ? gpus : job->resources.gpus;
	}
	return rc;
}

/* One job of the sweep; its id and that of the sweep come later. */
static int fill_child(struct cwd_submit *submit, size_t i)
{
	const struct cwd_job *sweep = submit->job;
	struct cwd_job *job = calloc(1, sizeof *job);
	json_t *values = cwj_sweep_values(submit->sweep, i);
	int rc = -ENOMEM;

	submit->children[i] = job;
	if (job != NULL && values != NULL) {
		job->priority = sweep->priority;
		job->state = sweep->state;
		job->reason = sweep->reason == NULL ? NULL : strdup(sweep->reason);
		job->point = cwb_json_dump(values, NULL);
		/* No key of a client's has a slash. */
		if (asprintf(&job->key, "%s/%zu", sweep->key, i + 1) < 0) {
			job->key = NULL;
		}
		/* One more than the submission's, for the job that is calibrated first. */
		job->after = calloc(sweep->n_after + 1, sizeof *job->after);
	}
	if (job != NULL && job->key != NULL && job->point != NULL && job->after != NULL) {
		if (sweep->n_after > 0) {
			memcpy(job->after, sweep->after, sweep->n_after * sizeof *job->after);
		}
		job->n_after = sweep->n_after;
		rc = fill_job(submit, job, submit->sweep->points[i].job);
	}
	json_decref(values);
	return rc;
}

static int fill(struct cwd_submit *submit)
{
	size_t i, n = submit->sweep->n_points;
	int rc = fill_job(submit, submit->job, submit->sweep->points[0].job);

	if (rc < 0 || submit->sweep->n_keys == 0) {
		return rc;
	}
	rc = fill_sweep(submit);
	submit->children = rc == 0 ? calloc(n, sizeof *submit->children) : NULL;
	if (submit->children == NULL) {
		return -ENOMEM;
	}
	submit->n_children = n;
	for (i = 0; rc == 0 && i < n; i++) {
		rc = fill_child(submit, i);
	}
	return rc;
}

/* Each job's paths; of a sweep its folder too, in which theirs lie. */
static int check_roots(struct cwd_submit *submit)
{
	const struct cwj_sweep *sweep = submit->sweep;
	const char *path = NULL;
	size_t i;
	int rc = 0;

	if (sweep->n_keys > 0) {
		struct cwj_job folder = *sweep->points[0].job;

		folder.output = sweep->output;
		rc = cwd_roots_check(
			submit->settings, &folder, submit->call->uid, &path, &submit->err);
		submit->denied = path == NULL ? NULL : strdup(path);
	}
	for (i = 0; rc == 0 && i < sweep->n_points; i++) {
		path = NULL;
		rc = cwd_roots_check(submit->settings, sweep->points[i].job, submit->call->uid,
			&path, &submit->err);
		submit->denied = path == NULL ? NULL : strdup(path);
	}
	return rc;
}

void cwd_submit_check(void *arg)
{
	struct cwd_submit *submit = arg;

	submit->rc = cwj_sweep_parse(submit->text, strlen(submit->text), submit->directory,
		&submit->sweep, &submit->err);
	if (submit->rc == 0) {
		submit->rc = check_roots(submit);
	}
	if (submit->rc == 0 && fill(submit) < 0) {
		submit->rc = cwb_err_set(&submit->err, -ENOMEM, "no memory for a job");
	}
}
