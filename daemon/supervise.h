/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Attempts: started when the scheduler says so, watched, stopped in steps, and what their end means
 * for the job. */
#pragma once

#include "daemon/daemon.h"

enum cwd_stop {
	CWD_STOP_NO,
	CWD_STOP_CANCEL,  /* asked to stop for good, then TERM, then KILL */
	CWD_STOP_PAUSE,   /* TERM (checkpoint and stop), then KILL; the job is paused */
	CWD_STOP_REQUEUE, /* the same; the job is queued again */
	CWD_STOP_TIME     /* the same; the job has failed: its time is over */
};

/* Starts an attempt of a queued job. Failures end as a failed job. */
void cwd_supervise_start(struct cwd_daemon *daemon, struct cwd_job *job);

/* The processors of the job's attempt as a list; NULL: none of its own. Valid until the attempt ends. */
const char *cwd_supervise_cpus(const struct cwd_job *job);

/* Stops the job's attempt. A cancel overrides a pause, not the other way round. */
void cwd_supervise_stop(struct cwd_daemon *daemon, struct cwd_job *job, enum cwd_stop stop);

/* Stops all attempts; they are queued again. */
void cwd_supervise_stop_all(struct cwd_daemon *daemon);

/* Looks for attempts whose time is over; once a second. */
void cwd_supervise_tick(struct cwd_daemon *daemon);

/* A line about one of its jobs in the log of a sweep. */
void cwd_supervise_note(struct cwd_daemon *daemon, const struct cwd_job *sweep,
	const struct cwd_job *job, const struct cwd_event *event);

/* The job's log file; freed with free(). */
char *cwd_supervise_log_path(const struct cwd_daemon *daemon, int64_t id);
