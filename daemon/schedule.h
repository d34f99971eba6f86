/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which job runs next, and why another does not. Pure: decides from the queue alone. */
#pragma once

#include "daemon/queue.h"

struct cwd_gpu {
	char uuid[CWD_GPU_UUID];
	char name[128];
	uint64_t memory; /* bytes */
};

struct cwd_capacity {
	uint32_t threads;
	uint64_t memory;         /* bytes */
	uint64_t scratch;        /* bytes; 0: not limited */
	double now;              /* monotonic seconds */
	size_t running;          /* attempts at a time at most; 0: not limited */
	size_t running_per_user; /* the same for one user */
	int draining;            /* no job starts */
	size_t n_gpus;
	struct cwd_gpu *gpus;    /* borrowed */
	uint32_t gpu_jobs;       /* at a time on one; 0: 1 */
};

/* The queued job that starts now, or NULL. Priority first, then order of submission; a job that
 * waits for another one is passed over, but a job that waits for threads or memory is not, so that
 * large jobs get their turn. One that waits for GPUs alone is passed by those that need none, as
 * long as the threads and memory stay free that it needs itself, but by none that needs a GPU: those
 * that come free are kept until it has all that it asks for. */
struct cwd_job *cwd_schedule_next(
	const struct cwd_queue *queue, const struct cwd_capacity *capacity);

enum cwd_wait { CWD_WAIT_NO, CWD_WAIT_YES, CWD_WAIT_NEVER };

/* Whether a condition of the job is open (YES: ret_id is that job), or can no longer be met (NEVER:
 * ret_id, and ret_state is that job's state, or -1 when it was removed). */
enum cwd_wait cwd_schedule_dependency(
	const struct cwd_queue *queue, const struct cwd_job *job, int64_t *ret_id, int *ret_state);

/* One sentence for each reason why the job is not running, in order of weight; call n times with i
 * from 0 until it returns 0. */
int cwd_schedule_explain(const struct cwd_queue *queue, const struct cwd_capacity *capacity,
	const struct cwd_job *job, int i, char *buffer, size_t size);

/* What the job takes of the capacity: never more than there is, so that it can start at all. */
struct cwd_resources cwd_schedule_need(
	const struct cwd_job *job, const struct cwd_capacity *capacity);
