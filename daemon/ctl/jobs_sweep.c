/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Steering a sweep: the same for each of its jobs that it makes sense for. */
#include "daemon/ctl/jobs_p.h"

#include "daemon/scratch.h"
#include "daemon/supervise.h"
#include "daemon/sweep.h"

static void reply(struct cwd_call *call, const struct cwd_job *sweep)
{
	cwd_daemon_poke(call->daemon);
	cwd_jobs_reply_state(call, sweep);
}

void cwd_sweep_cancel(struct cwd_call *call, struct cwd_job *sweep, const char *reason)
{
	struct cwd_daemon *daemon = call->daemon;
	size_t i;

	if (sweep->state == CWD_CANCELLED) {
		cwd_jobs_reply_state(call, sweep);
		return;
	}
	if (cwd_state_is_final(sweep->state)) {
		cwd_jobs_bad_state(call, sweep, "all of its jobs have ended");
		return;
	}
	/* First, so that a successor of this daemon goes on with it. */
	sweep->cancelling = 1;
	cwd_queue_save(&daemon->queue, sweep);
	for (i = sweep->n_children; i-- > 0;) { /* the last ones first: none begins meanwhile */
		struct cwd_job *job = cwd_sweep_child(&daemon->queue, sweep, i);

		if (job == NULL || cwd_state_is_final(job->state)) {
			continue;
		}
		if (job->state == CWD_RUNNING) {
			cwd_supervise_stop(daemon, job, CWD_STOP_CANCEL);
		} else {
			(void)cwd_queue_move(&daemon->queue, job, CWD_CANCELLED, reason,
				NULL); /* waits, so it may */
			cwd_scratch_end(daemon, job);
		}
	}
	if (sweep->run != NULL) {
		cwd_supervise_stop(daemon, sweep, CWD_STOP_CANCEL);
	}
	reply(call, sweep);
}

void cwd_sweep_hold(struct cwd_call *call, struct cwd_job *sweep, const char *reason)
{
	struct cwd_daemon *daemon = call->daemon;
	size_t i;

	if (cwd_state_is_final(sweep->state) || sweep->cancelling) {
		cwd_jobs_bad_state(call, sweep,
			sweep->cancelling ? "the sweep is being cancelled"
					  : "all of its jobs have ended");
		return;
	}
	for (i = sweep->n_children; i-- > 0;) {
		struct cwd_job *job = cwd_sweep_child(&daemon->queue, sweep, i);

		if (job != NULL && job->state == CWD_RUNNING && !job->cancelling) {
			cwd_supervise_stop(daemon, job, CWD_STOP_PAUSE);
		} else if (job != NULL && job->state == CWD_QUEUED) {
			(void)cwd_queue_move(&daemon->queue, job, CWD_HELD, reason,
				NULL); /* queued, so it may */
		}
	}
	reply(call, sweep);
}

void cwd_sweep_release(struct cwd_call *call, struct cwd_job *sweep)
{
	struct cwd_queue *queue = &call->daemon->queue;
	size_t i, n = 0;

	for (i = 0; i < sweep->n_children; i++) {
		struct cwd_job *job = cwd_sweep_child(queue, sweep, i);

		if (job != NULL && (job->state == CWD_HELD || job->state == CWD_PAUSED)) {
			(void)cwd_queue_move(
				queue, job, CWD_QUEUED, NULL, NULL); /* held, so it may */
			n++;
		}
	}
	if (n == 0) {
		cwd_jobs_bad_state(call, sweep, "none of its jobs is held or paused");
		return;
	}
	reply(call, sweep);
}

/* Whether it ended otherwise than done, so that it can be tried again. */
static int may_retry(const struct cwd_job *job)
{
	return cwd_state_is_final(job->state) && job->state != CWD_DONE;
}

void cwd_sweep_retry(struct cwd_call *call, struct cwd_job *sweep)
{
	struct cwd_queue *queue = &call->daemon->queue;
	size_t i, n = 0;

	for (i = 0; i < sweep->n_children; i++) {
		struct cwd_job *job = cwd_sweep_child(queue, sweep, i);

		if (job != NULL && may_retry(job)) {
			if (cwd_jobs_is_taken(call, job, sweep)) {
				return;
			}
			n++;
		}
	}
	if (n == 0 && !may_retry(sweep)) {
		cwd_jobs_bad_state(call, sweep,
			"only failed, rejected or cancelled jobs of a sweep can be retried");
		return;
	}
	for (i = 0; i < sweep->n_children; i++) {
		struct cwd_job *job = cwd_sweep_child(queue, sweep, i);

		if (job != NULL && may_retry(job)) {
			(void)cwd_queue_move(
				queue, job, CWD_QUEUED, NULL, NULL); /* ended, so it may */
		}
	}
	if (n == 0) {
		cwd_sweep_reopen(queue, sweep); /* it was the report that failed */
	}
	reply(call, sweep);
}

void cwd_sweep_set_priority(
	struct cwd_daemon *daemon, struct cwd_job *sweep, int priority, int to_top)
{
	size_t i;

	/* To the top from the last to the first, so that their order stays. */
	for (i = sweep->n_children; i-- > 0;) {
		struct cwd_job *job = cwd_sweep_child(&daemon->queue, sweep, i);

		if (job != NULL && !cwd_state_is_final(job->state)) {
			cwd_queue_set_priority(&daemon->queue, job, priority, to_top);
		}
	}
	cwd_queue_set_priority(&daemon->queue, sweep, priority, to_top);
}
