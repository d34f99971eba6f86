/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* org.cwpd.Jobs.Submit: checked on a thread, planned by a worker, stored, and only then answered.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/ctl/jobs.h"
#include "daemon/ctl/present.h"
#include "daemon/ctl/submit_p.h"

#define SUBMITS_MAX 256 /* at a time */
#define AFTER_MAX 64

void cwd_submit_free(struct cwd_submit *submit)
{
	if (submit->back != NULL) {
		*submit->back = submit->next;
		if (submit->next != NULL) {
			submit->next->back = submit->back;
		}
		submit->daemon->n_submits--;
	}
	for (size_t i = 0; i < submit->n_children; i++) {
		cwd_job_free(submit->children[i]);
	}
	free(submit->children);
	cwd_job_free(submit->job);
	cwj_sweep_free(submit->sweep);
	json_decref(submit->plan);
	free(submit->denied);
	free(submit);
}

void cwd_submit_error(struct cwd_submit *submit, const char *name, json_t *parameters)
{
	struct cwd_call *call = submit->call;

	cwd_submit_free(submit);
	cwd_call_error(call, name, parameters);
}

static json_t *invalid(const struct cwb_err *err)
{
	return json_pack("{s:o, s:i, s:i, s:o, s:o}", "path", cwd_present_text(err->field), "line",
		err->line, "column", err->column, "reason", cwd_present_text(err->message),
		"nearest", cwd_present_text(err->nearest));
}

void cwd_submit_invalid(struct cwd_submit *submit)
{
	struct cwb_err err = submit->err;

	if (err.code == -ENOMEM) {
		cwd_submit_error(submit, "org.cwpd.Jobs.Internal",
			json_pack("{s:s}", "reason", err.message));
	} else {
		cwd_submit_error(submit, "org.cwpd.Jobs.JobInvalid", invalid(&err));
	}
}

static size_t count_waiting(const struct cwd_daemon *daemon, uid_t uid)
{
	const struct cwd_submit *submit;
	size_t i, n = 0;

	for (i = 0; i < daemon->queue.n_jobs; i++) {
		const struct cwd_job *job = daemon->queue.jobs[i];

		n += job->uid == uid && !cwd_state_is_final(job->state) &&
		     job->state != CWD_RUNNING && job->n_children == 0;
	}
	for (submit = daemon->submits; submit != NULL; submit = submit->next) {
		n += submit->call->uid != uid ? 0 : submit->n_children > 0 ? submit->n_children : 1;
	}
	return n;
}

/* 1: the jobs of a sweep are more than may wait, and the call was answered. */
static int is_too_many(struct cwd_submit *submit)
{
	unsigned int quota = submit->daemon->settings->queued_per_user;
	size_t waiting = submit->n_children == 0 || quota == 0
				 ? 0
				 : count_waiting(submit->daemon, submit->call->uid);
	char reason[160];

	if (waiting <= quota) {
		return 0;
	}
	snprintf(reason, sizeof reason,
		"the matrix makes %zu jobs; with the %zu of yours that wait that is more than %u "
		"(quotas.queued)",
		submit->n_children, waiting - submit->n_children, quota);
	cwd_submit_error(
		submit, "org.cwpd.Jobs.QueueFull", json_pack("{s:s}", "reason", reason));
	return 1;
}

static void on_checked(void *arg)
{
	struct cwd_submit *submit = arg;

	if (submit->rc == CWP_EDENIED && submit->denied != NULL) {
		cwd_submit_error(submit, "org.cwpd.Jobs.PathNotAllowed",
			json_pack("{s:o, s:s, s:o}", "path", cwd_present_text(submit->denied),
				"field", submit->err.field, "reason",
				cwd_present_text(submit->err.message)));
	} else if (submit->rc < 0) {
		cwd_submit_invalid(submit);
	} else if (submit->daemon->stopping) {
		cwd_submit_error(submit, "org.cwpd.Jobs.Draining",
			json_pack("{s:s}", "reason", "the daemon is stopping"));
	} else if (cwd_submit_gpus_check(submit) < 0) {
		cwd_submit_invalid(submit);
	} else if (cwd_call_bool(submit->call, "dry_run") ||
		   (!cwd_submit_is_repeated(submit) && !cwd_submit_is_taken(submit) &&
			   !is_too_many(submit))) {
		submit->phase = CWD_WAITING;
		cwd_submit_plan_next(submit->daemon);
	}
}

/* ---- the call ---- */

static int is_key(const char *key)
{
	size_t i, n = strlen(key);

	for (i = 0; i < n; i++) {
		if (!isalnum((unsigned char)key[i]) && key[i] != '-') {
			return 0;
		}
	}
	return n >= 8 && n <= 64;
}

/* Name of the parameter that is wrong, or NULL. */
static const char *check_parameters(const struct cwd_call *call)
{
	int64_t priority = cwd_call_int(call, "priority", 0);

	if (cwd_call_string(call, "directory")[0] != '/') {
		return "directory";
	}
	if (!is_key(cwd_call_string(call, "key"))) {
		return "key";
	}
	if (priority < -100 || priority > 100) {
		return "priority";
	}
	return json_array_size(json_object_get(call->parameters, "after")) > AFTER_MAX ? "after"
										       : NULL;
}

/* 1: no more jobs for now, and the call was answered. */
static int refuse_now(struct cwd_call *call)
{
	struct cwd_daemon *daemon = call->daemon;
	unsigned int quota = daemon->settings->queued_per_user;
	char reason[128] = "";
	int trouble = cwd_writer_trouble(daemon->writer);

	if (daemon->drain_reason != NULL) {
		cwd_call_error(call, "org.cwpd.Jobs.Draining",
			json_pack("{s:o}", "reason", cwd_present_text(daemon->drain_reason)));
		return 1;
	}
	if (trouble != 0) {
		snprintf(reason, sizeof reason, "the store cannot be written: %s",
			cwb_err_text(trouble));
	} else if (daemon->n_submits >= SUBMITS_MAX) {
		snprintf(reason, sizeof reason, "%zu submissions are being checked; try again",
			daemon->n_submits);
	} else if (quota != 0 && count_waiting(daemon, call->uid) >= quota) {
		snprintf(reason, sizeof reason, "%u jobs of yours wait already (quotas.queued)",
			quota);
	}
	if (reason[0] == '\0') {
		return 0;
	}
	cwd_call_error(call, "org.cwpd.Jobs.QueueFull", json_pack("{s:s}", "reason", reason));
	return 1;
}

/* Fills job->after. 0, or the call was answered. */
static int take_after(struct cwd_call *call, struct cwd_job *job)
{
	const json_t *list = json_object_get(call->parameters, "after"), *element;
	size_t i, n = json_array_size(list);

	if (n == 0) {
		return 0;
	}
	job->after = calloc(n, sizeof *job->after);
	if (job->after == NULL) {
		cwd_call_error(
			call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", "no memory"));
		return -1;
	}
	json_array_foreach(list, i, element)
	{
		struct cwd_job *parent;

		if (cwd_after_parse_one(json_string_value(element), &job->after[i], NULL) < 0) {
			cwd_call_error(call, "org.varlink.service.InvalidParameter",
				json_pack("{s:s}", "parameter", "after"));
			return -1;
		}
		parent = cwd_queue_find(&call->daemon->queue, job->after[i].id);
		if (parent == NULL || !cwd_call_may_see(call, parent)) {
			cwd_call_error(
				call, "org.cwpd.Jobs.NoSuchJob", json_pack("{s:O}", "id", element));
			return -1;
		}
		job->n_after++;
	}
	return 0;
}

static struct cwd_job *new_job(struct cwd_call *call)
{
	struct cwd_job *job = calloc(1, sizeof *job);

	if (job == NULL || (job->key = strdup(cwd_call_string(call, "key"))) == NULL) {
		free(job);
		cwd_call_error(
			call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", "no memory"));
		return NULL;
	}
	if (take_after(call, job) < 0) {
		cwd_job_free(job);
		return NULL;
	}
	job->priority = (int)cwd_call_int(call, "priority", 0);
	job->state = CWD_QUEUED;
	if (cwd_call_bool(call, "hold")) {
		job->state = CWD_HELD;
		job->reason = strdup("held at submission"); /* without memory it has no reason */
	}
	return job;
}

void cwd_jobs_submit(struct cwd_call *call)
{
	const char *wrong = check_parameters(call);
	struct cwd_daemon *daemon = call->daemon;
	struct cwd_submit *submit;
	struct cwd_job *job;

	if (wrong != NULL) {
		cwd_call_error(call, "org.varlink.service.InvalidParameter",
			json_pack("{s:s}", "parameter", wrong));
		return;
	}
	if (refuse_now(call)) {
		return;
	}
	job = new_job(call);
	if (job == NULL) {
		return;
	}
	submit = calloc(1, sizeof *submit);
	if (submit == NULL) {
		cwd_job_free(job);
		cwd_call_error(
			call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", "no memory"));
		return;
	}
	submit->daemon = daemon;
	submit->settings = daemon->settings;
	submit->call = call;
	submit->job = job;
	submit->text = cwd_call_string(call, "job");
	submit->directory = cwd_call_string(call, "directory");
	submit->next = daemon->submits;
	submit->back = &daemon->submits;
	if (submit->next != NULL) {
		submit->next->back = &submit->next;
	}
	daemon->submits = submit;
	daemon->n_submits++;
	if (cwd_daemon_task(daemon, cwd_submit_check, on_checked, submit) < 0) {
		cwd_submit_error(submit, "org.cwpd.Jobs.Internal",
			json_pack("{s:s}", "reason", "no memory"));
	}
}

void cwd_submit_abandon(struct cwd_daemon *daemon)
{
	struct cwd_submit *submit, *next;

	for (submit = daemon->submits; submit != NULL; submit = next) {
		next = submit->next;
		if (submit->phase == CWD_PLANNING || submit->phase == CWD_WAITING) {
			if (submit->child != NULL) {
				cwd_child_abandon(submit->child);
			}
			cwd_submit_error(submit, "org.cwpd.Jobs.Draining",
				json_pack("{s:s}", "reason", "the daemon is stopping"));
		}
	}
}
