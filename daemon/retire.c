/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Jobs that are forgotten: rows, logs, scratch folders. */
#include "daemon/retire.h"

#include <stdlib.h>
#include <unistd.h>

#include "daemon/scratch.h"
#include "daemon/supervise.h"
#include "daemon/sweep.h"

static void remove_log(const struct cwd_daemon *daemon, int64_t id)
{
	char *log = cwd_supervise_log_path(daemon, id);

	if (log != NULL) {
		(void)unlink(log); /* there may be none */
		free(log);
	}
}

int cwd_retire_forget(struct cwd_daemon *daemon, struct cwd_job *job, struct cwb_err *err)
{
	int64_t id = job->id;
	size_t n = job->n_children, i;
	int rc;

	cwd_scratch_forget(daemon, job);
	for (i = 0; i < n; i++) {
		struct cwd_job *child = cwd_sweep_child(&daemon->queue, job, i);

		if (child != NULL) {
			cwd_scratch_forget(daemon, child);
		}
	}
	rc = cwd_queue_remove(&daemon->queue, job, err);
	for (i = 0; rc == 0 && i <= n; i++) {
		remove_log(daemon, id + (int64_t)i); /* a sweep's jobs have the next ids */
	}
	return rc;
}

/* A sweep as long as nothing of it runs or is being cleaned. */
static int may_retire(const struct cwd_daemon *daemon, const struct cwd_job *job)
{
	size_t i;

	if (job->parent != 0 || !cwd_state_is_final(job->state) || job->starting || job->cleaning) {
		return 0;
	}
	for (i = 0; i < job->n_children; i++) {
		const struct cwd_job *child = cwd_sweep_child(&daemon->queue, job, i);

		if (child != NULL && child->cleaning) {
			return 0;
		}
	}
	return 1;
}

void cwd_retire(struct cwd_daemon *daemon)
{
	const struct cwd_settings *settings = daemon->settings;
	struct cwd_queue *queue = &daemon->queue;
	double now = cwd_wall_now();
	size_t finished = 0, i;

	for (i = 0; i < queue->n_jobs; i++) {
		finished += queue->jobs[i]->parent == 0 && cwd_state_is_final(queue->jobs[i]->state);
	}
	for (i = 0; i < queue->n_jobs;) {
		struct cwd_job *job = queue->jobs[i];
		int old = settings->keep_seconds != 0 &&
			  now - job->ended > (double)settings->keep_seconds;

		if (!may_retire(daemon, job) || !(old || (settings->keep_jobs != 0 && finished > settings->keep_jobs))) {
			i++;
			continue;
		}
		(void)cwd_retire_forget(daemon, job, NULL); /* final, so it may */
		finished--;
	}
}
