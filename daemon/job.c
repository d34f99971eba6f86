/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* States, attempts and the text forms of a job's parts. */
#include "daemon/job.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "job/job.h"

static const char *const state_names[CWD_N_STATES] = {
	"queued", "held", "running", "paused", "done", "failed", "rejected", "cancelled"};

#define BIT(state) (1u << (state))

/* The one table of what may follow what. Queued, held and paused jobs become done when a manifest
 * shows at start that they were. */
static const unsigned int may_follow[CWD_N_STATES] = {
	[CWD_QUEUED] = BIT(CWD_HELD) | BIT(CWD_RUNNING) | BIT(CWD_CANCELLED) | BIT(CWD_DONE) |
		       BIT(CWD_FAILED),
	[CWD_HELD] = BIT(CWD_QUEUED) | BIT(CWD_CANCELLED) | BIT(CWD_DONE),
	[CWD_RUNNING] = BIT(CWD_QUEUED) | BIT(CWD_PAUSED) | BIT(CWD_DONE) | BIT(CWD_FAILED) |
			BIT(CWD_REJECTED) | BIT(CWD_CANCELLED),
	[CWD_PAUSED] = BIT(CWD_QUEUED) | BIT(CWD_CANCELLED) | BIT(CWD_DONE),
	[CWD_DONE] = 0,
	[CWD_FAILED] = BIT(CWD_QUEUED),
	[CWD_REJECTED] = BIT(CWD_QUEUED),
	[CWD_CANCELLED] = BIT(CWD_QUEUED),
};

const char *cwd_state_name(enum cwd_state state)
{
	return state_names[state];
}

int cwd_state_find(const char *name)
{
	int i;

	for (i = 0; i < CWD_N_STATES; i++) {
		if (strcmp(name, state_names[i]) == 0) {
			return i;
		}
	}
	return -1;
}

int cwd_state_is_final(enum cwd_state state)
{
	return state >= CWD_DONE;
}

int cwd_state_may(enum cwd_state from, enum cwd_state to)
{
	return (may_follow[from] & BIT(to)) != 0;
}

void cwd_job_free(struct cwd_job *job)
{
	size_t i;

	if (job == NULL) {
		return;
	}
	for (i = 0; i < job->n_attempts; i++) {
		free(job->attempts[i].reason);
		free(job->attempts[i].boot);
		free(job->attempts[i].gpus);
	}
	free(job->attempts);
	free(job->gpus);
	free(job->key);
	free(job->owner);
	free(job->name);
	free(job->directory);
	free(job->request);
	free(job->digest);
	free(job->model);
	free(job->output);
	free(job->after);
	free(job->reason);
	free(job->error);
	free(job->scratch);
	free(job->point);
	free(job);
}

struct cwd_attempt *cwd_job_last_attempt(struct cwd_job *job)
{
	return job->n_attempts == 0 ? NULL : &job->attempts[job->n_attempts - 1];
}

struct cwd_attempt *cwd_job_add_attempt(struct cwd_job *job, double now)
{
	struct cwd_attempt *attempts =
		reallocarray(job->attempts, job->n_attempts + 1, sizeof *attempts);
	struct cwd_attempt *attempt;

	if (attempts == NULL) {
		return NULL;
	}
	job->attempts = attempts;
	attempt = &attempts[job->n_attempts];
	memset(attempt, 0, sizeof *attempt);
	attempt->number = job->n_attempts == 0 ? 1 : attempts[job->n_attempts - 1].number + 1;
	attempt->started = now;
	attempt->exit_code = -1;
	strcpy(attempt->result, "running");
	job->n_attempts++;
	return attempt;
}

double cwd_job_seconds(const struct cwd_job *job)
{
	double sum = 0;
	size_t i;

	for (i = 0; i < job->n_attempts; i++) {
		if (job->attempts[i].ended > job->attempts[i].started) {
			sum += job->attempts[i].ended - job->attempts[i].started;
		}
	}
	return sum;
}

int64_t cwd_id_parse(const char *text)
{
	int64_t id = 0;
	size_t i, n = strlen(text);

	if (n == 0 || n > 18 || text[0] == '0') {
		return 0;
	}
	for (i = 0; i < n; i++) {
		if (!isdigit((unsigned char)text[i])) {
			return 0;
		}
		id = id * 10 + (text[i] - '0');
	}
	return id;
}

static const char *const condition_names[] = {"ok", "any", "notok"};

int cwd_after_parse_one(const char *text, struct cwd_after *ret, struct cwb_err *err)
{
	const char *colon = strchr(text, ':');
	struct cwd_after after = {.condition = CWD_AFTER_OK};
	int i, found = colon == NULL;

	for (i = 0; !found && i < 3; i++) {
		size_t length = strlen(condition_names[i]);

		if ((size_t)(colon - text) == length &&
			memcmp(text, condition_names[i], length) == 0) {
			after.condition = (enum cwd_condition)i;
			found = 1;
		}
	}
	after.id = found ? cwd_id_parse(colon == NULL ? text : colon + 1) : 0;
	if (after.id == 0) {
		return cwb_err_set(
			err, CWP_EFORMAT, "\"%.40s\" is not ID, ok:ID, any:ID or notok:ID", text);
	}
	*ret = after;
	return 0;
}

char *cwd_after_print(const struct cwd_after *after, size_t n)
{
	size_t size = n * 32 + 1, at = 0, i;
	char *text = calloc(1, size);

	for (i = 0; text != NULL && i < n; i++) {
		at += (size_t)snprintf(text + at, size - at, "%s%s:%" PRId64, i ? " " : "",
			condition_names[after[i].condition], after[i].id);
	}
	return text;
}

int cwd_after_parse(const char *text, struct cwd_after **ret, size_t *ret_n, struct cwb_err *err)
{
	struct cwd_after *after = NULL;
	size_t n = 0;
	char *copy = strdup(text), *save = NULL, *word;
	int rc = copy == NULL ? cwb_err_set(err, -ENOMEM, "no memory for a job") : 0;

	for (word = rc == 0 ? strtok_r(copy, " ", &save) : NULL; rc == 0 && word != NULL;
		word = strtok_r(NULL, " ", &save)) {
		struct cwd_after *more = reallocarray(after, n + 1, sizeof *after);

		if (more == NULL) {
			rc = cwb_err_set(err, -ENOMEM, "no memory for a job");
			break;
		}
		after = more;
		rc = cwd_after_parse_one(word, &after[n++], err);
	}
	free(copy);
	if (rc < 0) {
		free(after);
		return rc;
	}
	*ret = after;
	*ret_n = n;
	return 0;
}

char *cwd_resources_print(const struct cwd_resources *r)
{
	char *text;
	int asks = r->gpu[0] != '\0'; /* letters, digits and hyphens: the job's parser saw to that */

	if (asprintf(&text,
		    "{\"threads\":%" PRIu32 ",\"memory\":%" PRIu64 ",\"gpu_memory\":%" PRIu64
		    ",\"scratch\":%" PRIu64 ",\"time\":%" PRIu64 ",\"gpus\":%" PRIu32 "%s%s%s}",
		    r->threads, r->memory, r->gpu_memory, r->scratch, r->time, r->gpus, asks ? ",\"gpu\":\"" : "", r->gpu,
		    asks ? "\"" : "") < 0) {
		return NULL;
	}
	return text;
}

int cwd_resources_parse(const char *text, struct cwd_resources *ret, struct cwb_err *err)
{
	struct cwd_resources r = {0};
	uint64_t threads = 0, gpus = 0;
	const char *gpu = NULL;
	json_t *json;
	int rc = cwb_json_load(text, strlen(text), 4096, CWB_JSON_DEPTH, &json, err);

	if (rc < 0) {
		return rc;
	}
	rc = cwb_json_get_u64(json, "threads", CWB_JSON_REQUIRED, 0, UINT32_MAX, &threads, err);
	if (rc == 0) {
		rc = cwb_json_get_u64(
			json, "memory", CWB_JSON_REQUIRED, 0, INT64_MAX, &r.memory, err);
	}
	if (rc == 0) {
		rc = cwb_json_get_u64(
			json, "gpu_memory", CWB_JSON_REQUIRED, 0, INT64_MAX, &r.gpu_memory, err);
	}
	if (rc == 0) {
		rc = cwb_json_get_u64(
			json, "scratch", CWB_JSON_REQUIRED, 0, INT64_MAX, &r.scratch, err);
	}
	if (rc == 0) {
		rc = cwb_json_get_u64(json, "time", CWB_JSON_REQUIRED, 0, INT64_MAX, &r.time, err);
	}
	if (rc == 0) { /* earlier daemons wrote none */
		rc = cwb_json_get_u64(json, "gpus", CWB_JSON_OPTIONAL, 0, CWJ_GPUS_MAX, &gpus, err);
	}
	if (rc == 0) {
		rc = cwb_json_get_string(json, "gpu", CWB_JSON_OPTIONAL, &gpu, err);
	}
	if (rc == 0 && gpu != NULL) {
		snprintf(r.gpu, sizeof r.gpu, "%s", gpu);
	}
	json_decref(json);
	if (rc == 0) {
		r.threads = (uint32_t)threads;
		r.gpus = (uint32_t)gpus;
		*ret = r;
	}
	return rc;
}

char *cwd_error_print(const struct cwb_err *error)
{
	json_t *json = json_pack("{s:i, s:i, s:i, s:s, s:s, s:s}", "code", error->code, "line",
		error->line, "column", error->column, "field", error->field, "nearest",
		error->nearest, "message", error->message);
	char *text = json == NULL ? NULL : cwb_json_dump(json, NULL);

	json_decref(json);
	return text;
}

static void copy_text(char *buffer, size_t size, const char *text)
{
	snprintf(buffer, size, "%s", text == NULL ? "" : text);
}

int cwd_error_parse(const char *text, struct cwb_err *ret, struct cwb_err *err)
{
	struct cwb_err error = {0};
	int64_t code = 0, line = 0, column = 0;
	const char *field = NULL, *nearest = NULL, *message = NULL;
	json_t *json;
	int rc = cwb_json_load(text, strlen(text), 16384, CWB_JSON_DEPTH, &json, err);

	if (rc < 0) {
		return rc;
	}
	rc = cwb_json_get_i64(json, "code", CWB_JSON_REQUIRED, INT32_MIN, -1, &code, err);
	if (rc == 0) {
		rc = cwb_json_get_string(json, "message", CWB_JSON_REQUIRED, &message, err);
	}
	if (rc == 0) {
		rc = cwb_json_get_i64(json, "line", CWB_JSON_OPTIONAL, 0, INT32_MAX, &line, err);
	}
	if (rc == 0) {
		rc = cwb_json_get_i64(
			json, "column", CWB_JSON_OPTIONAL, 0, INT32_MAX, &column, err);
	}
	if (rc == 0) {
		rc = cwb_json_get_string(json, "field", CWB_JSON_OPTIONAL, &field, err);
	}
	if (rc == 0) {
		rc = cwb_json_get_string(json, "nearest", CWB_JSON_OPTIONAL, &nearest, err);
	}
	if (rc == 0) {
		error.code = (int)code;
		error.line = (int)line;
		error.column = (int)column;
		copy_text(error.field, sizeof error.field, field);
		copy_text(error.nearest, sizeof error.nearest, nearest);
		copy_text(error.message, sizeof error.message, message);
		*ret = error;
	}
	json_decref(json);
	return rc;
}

void cwd_progress_note(struct cwd_progress *progress, const struct cww_status *status, double now)
{
	if (!progress->known || progress->stage != status->stage || status->done < progress->done ||
		strcmp(progress->unit, status->unit) != 0) {
		memset(progress, 0, sizeof *progress);
		progress->known = 1;
		progress->stage = status->stage;
		snprintf(progress->unit, sizeof progress->unit, "%s", status->unit);
		progress->begun = progress->last_time = now;
		progress->last_done = status->done;
		progress->eta = -1;
	}
	progress->done = status->done;
	progress->total = status->total;
	if (now - progress->last_time >= 0.5 && status->done > progress->last_done) {
		double rate =
			(double)(status->done - progress->last_done) / (now - progress->last_time);

		/* Follows a change within some samples, but does not jump with each of them. */
		progress->rate = progress->rate > 0 ? 0.7 * progress->rate + 0.3 * rate : rate;
		progress->last_time = now;
		progress->last_done = status->done;
	}
	progress->eta = progress->rate > 0 && status->total > 0
				? (double)(status->total - status->done) / progress->rate
				: -1;
}

double cwd_progress_fraction(const struct cwd_progress *progress)
{
	if (!progress->known || progress->total == 0) {
		return -1;
	}
	return (double)progress->done / (double)progress->total;
}
