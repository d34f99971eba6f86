/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Inside of org.cwpd.Jobs: answers that several methods give, and what they do to sweeps. */
#pragma once

#include "daemon/ctl/call.h"

/* Answers with BadState. */
void cwd_jobs_bad_state(struct cwd_call *call, const struct cwd_job *job, const char *reason);
/* Answers with the job's state when it is on disk. */
void cwd_jobs_reply_state(struct cwd_call *call, const struct cwd_job *job);
/* 1: another job that has not ended writes to the job's output, and the call (about job `about`)
 * was answered. */
int cwd_jobs_is_taken(
	struct cwd_call *call, const struct cwd_job *job, const struct cwd_job *about);

/* Each answers the call. */
void cwd_sweep_cancel(struct cwd_call *call, struct cwd_job *sweep, const char *reason);
void cwd_sweep_hold(struct cwd_call *call, struct cwd_job *sweep, const char *reason);
void cwd_sweep_release(struct cwd_call *call, struct cwd_job *sweep);
void cwd_sweep_retry(struct cwd_call *call, struct cwd_job *sweep);
/* Of its jobs that have not ended, and its own; answers nothing. */
void cwd_sweep_set_priority(
	struct cwd_daemon *daemon, struct cwd_job *sweep, int priority, int to_top);
