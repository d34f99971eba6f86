/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* org.cwpd.Jobs: looking at one job, and steering it. */
#include "daemon/ctl/jobs.h"

#include <stdio.h>
#include <string.h>

#include "daemon/ctl/dispatch.h"
#include "daemon/ctl/jobs_p.h"
#include "daemon/ctl/present.h"
#include "daemon/ctl/watch.h"
#include "daemon/scratch.h"
#include "daemon/retire.h"
#include "daemon/supervise.h"

#define REASON_MAX 200

void cwd_jobs_bad_state(struct cwd_call *call, const struct cwd_job *job, const char *reason)
{
	cwd_call_error(call, "org.cwpd.Jobs.BadState",
		json_pack("{s:s, s:s, s:s}", "id", cwd_call_string(call, "id"), "state",
			cwd_state_name(job->state), "reason", reason));
}

void cwd_jobs_reply_state(struct cwd_call *call, const struct cwd_job *job)
{
	cwd_call_reply_after_commit(call, json_pack("{s:s}", "state", cwd_state_name(job->state)));
}

/* Moves the job and answers. */
static void move(struct cwd_call *call, struct cwd_job *job, enum cwd_state to, const char *reason)
{
	struct cwb_err err = {0};

	if (cwd_queue_move(&call->daemon->queue, job, to, reason, &err) < 0) {
		cwd_jobs_bad_state(call, job, err.message);
		return;
	}
	cwd_daemon_poke(call->daemon);
	cwd_jobs_reply_state(call, job);
}

static void describe(struct cwd_call *call)
{
	struct cwd_job *job = cwd_call_job(call, "id");

	if (job != NULL) {
		cwd_call_reply(
			call, json_pack("{s:o}", "job", cwd_present_detail(call->daemon, job)));
	}
}

static void explain(struct cwd_call *call)
{
	struct cwd_job *job = cwd_call_job(call, "id");

	if (job != NULL) {
		cwd_call_reply(call, json_pack("{s:s, s:o}", "state", cwd_state_name(job->state),
					     "reasons", cwd_present_reasons(call->daemon, job)));
	}
}

/* "held by uid 1000: because", from what the caller gave. */
static void word_reason(const struct cwd_call *call, const char *what, char *buffer, size_t size)
{
	const char *reason = cwd_call_string(call, "reason");

	snprintf(buffer, size, "%s by uid %u%s%.*s", what, (unsigned)call->uid,
		reason == NULL ? "" : ": ", REASON_MAX, reason == NULL ? "" : reason);
}

static void cancel(struct cwd_call *call)
{
	struct cwd_job *job = cwd_call_job(call, "id");
	char reason[REASON_MAX + 64];

	if (job == NULL) {
		return;
	}
	word_reason(call, "cancelled", reason, sizeof reason);
	if (job->n_children > 0) {
		cwd_sweep_cancel(call, job, reason);
		return;
	}
	if (job->state == CWD_RUNNING) {
		cwd_supervise_stop(call->daemon, job, CWD_STOP_CANCEL);
		cwd_jobs_reply_state(call, job);
		return;
	}
	if (job->state == CWD_CANCELLED) {
		cwd_jobs_reply_state(call, job); /* a repeated cancel is no error */
		return;
	}
	if (cwd_state_is_final(job->state)) {
		cwd_jobs_bad_state(call, job, "the job has ended");
		return;
	}
	move(call, job, CWD_CANCELLED, reason);
	cwd_scratch_end(call->daemon, job);
}

static void hold(struct cwd_call *call)
{
	struct cwd_job *job = cwd_call_job(call, "id");
	char reason[REASON_MAX + 64];

	if (job == NULL) {
		return;
	}
	word_reason(call, "held", reason, sizeof reason);
	if (job->n_children > 0) {
		cwd_sweep_hold(call, job, reason);
		return;
	}
	if (job->state == CWD_RUNNING) {
		if (job->cancelling) {
			cwd_jobs_bad_state(call, job, "the job is being cancelled");
			return;
		}
		cwd_supervise_stop(call->daemon, job, CWD_STOP_PAUSE);
		cwd_jobs_reply_state(call, job);
	} else if (job->state == CWD_HELD || job->state == CWD_PAUSED) {
		cwd_jobs_reply_state(call, job);
	} else {
		move(call, job, CWD_HELD, reason);
	}
}

static void release(struct cwd_call *call)
{
	struct cwd_job *job = cwd_call_job(call, "id");

	if (job == NULL) {
		return;
	}
	if (job->n_children > 0) {
		cwd_sweep_release(call, job);
		return;
	}
	if (job->state != CWD_HELD && job->state != CWD_PAUSED) {
		cwd_jobs_bad_state(call, job, "only a held or paused job can be released");
		return;
	}
	move(call, job, CWD_QUEUED, NULL);
}

int cwd_jobs_is_taken(
	struct cwd_call *call, const struct cwd_job *job, const struct cwd_job *about)
{
	const struct cwd_job *other = cwd_queue_find_output(&call->daemon->queue, job->output);
	char reason[96];

	if (other == NULL) {
		return 0;
	}
	snprintf(reason, sizeof reason, "job %lld writes to the same output", (long long)other->id);
	cwd_jobs_bad_state(call, about, reason);
	return 1;
}

static void retry(struct cwd_call *call)
{
	struct cwd_job *job = cwd_call_job(call, "id");

	if (job == NULL) {
		return;
	}
	if (job->n_children > 0) {
		cwd_sweep_retry(call, job);
		return;
	}
	if (!cwd_state_is_final(job->state) || job->state == CWD_DONE) {
		cwd_jobs_bad_state(call, job, "only a failed, rejected or cancelled job can be retried");
		return;
	}
	if (cwd_jobs_is_taken(call, job, job)) {
		return;
	}
	move(call, job, CWD_QUEUED, NULL);
}

static void remove_job(struct cwd_call *call)
{
	struct cwd_job *job = cwd_call_job(call, "id");
	struct cwb_err err = {0};
	char reason[96];

	if (job == NULL) {
		return;
	}
	if (job->parent != 0) {
		snprintf(reason, sizeof reason,
			"it is a job of sweep %lld, which is removed as a whole",
			(long long)job->parent);
		cwd_jobs_bad_state(call, job, reason);
		return;
	}
	if (!cwd_state_is_final(job->state) || job->starting) {
		cwd_jobs_bad_state(call, job, "only a job that has ended can be removed; cancel it first");
		return;
	}
	if (cwd_retire_forget(call->daemon, job, &err) < 0) {
		cwd_call_fail(call, &err);
		return;
	}
	cwd_daemon_poke(call->daemon);
	cwd_call_reply_after_commit(call, NULL);
}

static void change_priority(struct cwd_daemon *daemon, struct cwd_job *job, int priority, int to_top)
{
	if (job->n_children > 0) {
		cwd_sweep_set_priority(daemon, job, priority, to_top);
	} else {
		cwd_queue_set_priority(&daemon->queue, job, priority, to_top);
	}
}

static void set_priority(struct cwd_call *call)
{
	struct cwd_job *job;
	int64_t priority = cwd_call_int(call, "priority", 0);

	if (priority < -100 || priority > 100) {
		cwd_call_error(call, "org.varlink.service.InvalidParameter",
			json_pack("{s:s}", "parameter", "priority"));
		return;
	}
	job = cwd_call_job(call, "id");
	if (job == NULL) {
		return;
	}
	if (cwd_state_is_final(job->state)) {
		cwd_jobs_bad_state(call, job, "the job has ended");
		return;
	}
	change_priority(call->daemon, job, (int)priority, 0);
	cwd_daemon_poke(call->daemon);
	cwd_call_reply_after_commit(call, json_pack("{s:i}", "priority", job->priority));
}

static void top(struct cwd_call *call)
{
	struct cwd_job *job = cwd_call_job(call, "id");

	if (job == NULL) {
		return;
	}
	if (!call->admin) {
		cwd_call_error(call, "org.varlink.service.PermissionDenied",
			NULL); /* it pushes others back */
		return;
	}
	if (job->state != CWD_QUEUED && job->state != CWD_HELD && job->state != CWD_PAUSED &&
		!(job->n_children > 0 && job->state == CWD_RUNNING)) {
		cwd_jobs_bad_state(call, job, "only a waiting job can be moved");
		return;
	}
	change_priority(call->daemon, job, 0, 1);
	cwd_daemon_poke(call->daemon);
	cwd_call_reply_after_commit(call, json_pack("{s:i}", "priority", job->priority));
}

const struct cwd_method cwd_jobs_methods[] = {
	{"Submit", cwd_jobs_submit, 0},
	{"List", cwd_jobs_list, 0},
	{"Describe", describe, 0},
	{"Cancel", cancel, 0},
	{"Hold", hold, 0},
	{"Release", release, 0},
	{"Retry", retry, 0},
	{"Remove", remove_job, 0},
	{"SetPriority", set_priority, 0},
	{"Top", top, 0},
	{"Follow", cwd_jobs_follow, 1},
	{"Log", cwd_jobs_log, 0},
	{"Wait", cwd_jobs_wait, 1},
	{"Report", cwd_jobs_report, 0},
	{"Gate", cwd_jobs_gate, 0},
	{"Compare", cwd_jobs_compare, 0},
	{"Explain", explain, 0},
	{NULL, NULL, 0},
};
