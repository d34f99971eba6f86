/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Submissions into the store: each once, and answered when it is on disk. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/ctl/present.h"
#include "daemon/ctl/submit_p.h"
#include "daemon/log.h"
#include "daemon/sweep.h"

static json_t *plan_reply(const struct cwd_submit *submit)
{
	return json_pack("{s:o, s:O?}", "resources", cwd_present_resources(&submit->job->resources),
		"plan", submit->plan);
}

static json_t *id_reply(int64_t id, json_t *plan)
{
	char text[24];

	snprintf(text, sizeof text, "%" PRId64, id);
	return plan == NULL ? json_pack("{s:s}", "id", text)
			    : json_pack("{s:s, s:o}", "id", text, "plan", plan);
}

static void on_repeated(struct cwd_batch *batch, void *arg)
{
	struct cwd_submit *submit = arg;
	struct cwd_job *job =
		cwd_queue_find_key(&submit->daemon->queue, submit->job->uid, submit->job->key);
	struct cwd_call *call = submit->call;

	(void)batch; /* only says that the earlier submission has been stored, or not */
	if (job == NULL) {
		cwd_submit_error(submit, "org.cwpd.Jobs.Internal",
			json_pack("{s:s}", "reason",
				"the first submission with this key failed; try again"));
		return;
	}
	cwd_submit_free(submit);
	cwd_call_reply(call, id_reply(job->id, NULL));
}

static int same_key(const struct cwd_job *a, const struct cwd_job *b)
{
	return a->uid == b->uid && strcmp(a->key, b->key) == 0;
}

/* Another submission that is being stored with the same key, or NULL. */
static const struct cwd_job *find_storing(const struct cwd_submit *submit)
{
	const struct cwd_submit *other;

	for (other = submit->daemon->submits; other != NULL; other = other->next) {
		if (other != submit && other->phase == CWD_STORING &&
			same_key(other->job, submit->job)) {
			return other->job;
		}
	}
	return NULL;
}

/* Whether the submission writes to that output. */
static int writes_to(const struct cwd_submit *submit, const char *output)
{
	size_t i;

	for (i = 0; i < submit->n_children; i++) {
		if (strcmp(submit->children[i]->output, output) == 0) {
			return 1;
		}
	}
	return strcmp(submit->job->output, output) == 0;
}

/* A job of the queue, or of another submission that is being stored, that writes to that output. */
static const struct cwd_job *find_writer(const struct cwd_submit *submit, const char *output)
{
	const struct cwd_job *job = cwd_queue_find_output(&submit->daemon->queue, output);
	const struct cwd_submit *other;

	for (other = submit->daemon->submits; job == NULL && other != NULL; other = other->next) {
		if (other != submit && other->phase == CWD_STORING && writes_to(other, output)) {
			job = other->job;
		}
	}
	return job;
}

/* 1: the key was used before, and the call is being answered. */
int cwd_submit_is_repeated(struct cwd_submit *submit)
{
	const struct cwd_job *job =
		cwd_queue_find_key(&submit->daemon->queue, submit->job->uid, submit->job->key);
	char id[24];

	if (job == NULL) {
		job = find_storing(submit);
	}
	if (job == NULL) {
		return 0;
	}
	if (strcmp(job->request, submit->job->request) != 0) {
		snprintf(id, sizeof id, "%" PRId64, job->id);
		cwd_submit_error(submit, "org.cwpd.Jobs.KeyReused",
			json_pack("{s:s, s:s}", "key", submit->job->key, "id", id));
		return 1;
	}
	cwd_daemon_after_commit(submit->daemon, on_repeated, submit);
	return 1;
}

/* 1: another job writes there, and the call was answered. */
int cwd_submit_is_taken(struct cwd_submit *submit)
{
	const char *output = submit->job->output;
	const struct cwd_job *other = find_writer(submit, output);
	size_t i;

	for (i = 0; other == NULL && i < submit->n_children; i++) {
		output = submit->children[i]->output;
		other = find_writer(submit, output);
	}
	if (other == NULL) {
		return 0;
	}
	(void)cwb_err_set(&submit->err, CWP_ESTATE,
		"output: %s: job %lld writes there; choose another folder or remove that"
		" job",
		output, (long long)other->id);
	snprintf(submit->err.field, sizeof submit->err.field, "output");
	cwd_submit_invalid(submit);
	return 1;
}

static void on_stored(struct cwd_batch *batch, void *arg)
{
	struct cwd_submit *submit = arg;
	struct cwd_daemon *daemon = submit->daemon;
	struct cwd_call *call = submit->call;
	struct cwd_job *job = submit->job;
	size_t i, n = submit->n_children;
	json_t *plan;

	if (batch->rc < 0 || cwd_queue_reserve(&daemon->queue, n + 1) < 0) {
		char reason[sizeof batch->err.message + 32];

		snprintf(reason, sizeof reason, "the job cannot be stored: %s", batch->err.message);
		cwd_submit_error(submit,
			batch->rc == -ENOSPC ? "org.cwpd.Jobs.QueueFull" : "org.cwpd.Jobs.Internal",
			json_pack("{s:s}", "reason", reason));
		return;
	}
	daemon->counters.submitted++;
	cwd_log(CWD_LOG_INFO, "job %lld: submitted by %s: %s", (long long)job->id, job->owner,
		job->name);
	plan = plan_reply(submit);
	(void)cwd_queue_added(&daemon->queue, job); /* there is room, here and below */
	for (i = 0; i < n; i++) {
		(void)cwd_queue_added(&daemon->queue, submit->children[i]);
		submit->children[i] = NULL;
	}
	submit->job = NULL;
	cwd_submit_free(submit);
	cwd_queue_announce(&daemon->queue, job);
	for (i = 0; i < n; i++) {
		cwd_queue_announce(&daemon->queue, cwd_sweep_child(&daemon->queue, job, i));
	}
	cwd_daemon_poke(daemon);
	cwd_call_reply(call, id_reply(job->id, plan));
}

/* The sweep and its jobs with the ids behind its own; those that are calibrated as an earlier one
 * wait for its end, however it ends. */
static struct cwd_batch *add_sweep(struct cwd_submit *submit)
{
	struct cwd_queue *queue = &submit->daemon->queue;
	struct cwd_batch *batch = cwd_batch_new();
	size_t i;

	if (batch == NULL) {
		return NULL;
	}
	batch->may_fail = 1;
	cwd_queue_number(queue, submit->job);
	cwd_queue_insert(batch, submit->job, submit->text);
	for (i = 0; i < submit->n_children; i++) {
		const struct cwj_sweep_point *point = &submit->sweep->points[i];
		struct cwd_job *job = submit->children[i];

		cwd_queue_number(queue, job);
		job->parent = submit->job->id;
		if (point->first != i) {
			job->after[job->n_after++] =
				(struct cwd_after){.id = submit->children[point->first]->id,
					.condition = CWD_AFTER_ANY};
		}
		cwd_queue_insert(batch, job, point->text);
	}
	return batch;
}

void cwd_submit_store(struct cwd_submit *submit)
{
	struct cwd_batch *batch;

	if (cwd_call_bool(submit->call, "dry_run")) {
		struct cwd_call *call = submit->call;
		json_t *plan = plan_reply(submit);

		cwd_submit_free(submit);
		cwd_call_reply(call, json_pack("{s:o}", "plan", plan));
		return;
	}
	if (cwd_submit_is_repeated(submit) || cwd_submit_is_taken(submit)) {
		return;
	}
	submit->phase = CWD_STORING;
	batch = submit->n_children > 0
			? add_sweep(submit)
			: cwd_queue_add(&submit->daemon->queue, submit->job, submit->text);
	if (batch == NULL) {
		cwd_submit_error(submit, "org.cwpd.Jobs.Internal",
			json_pack("{s:s}", "reason", "no memory"));
		return;
	}
	batch->done = on_stored;
	batch->arg = submit;
	cwd_writer_put(submit->daemon->writer, batch);
}
