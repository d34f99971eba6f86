/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sweeps: a job whose file has a matrix, and the jobs that it stands for. The sweep runs nothing
 * but its joint report, once its jobs have ended; until then its state follows from theirs:
 *
 * - running while one of them runs, while some have ended and others are queued, and until the
 * joint report is written;
 * - else queued while one of them is queued;
 * - else paused while one of them is paused, held while one is held;
 * - when all have ended: failed if one has failed (or the report), else cancelled if one was
 *   cancelled, else rejected if one was rejected, else done.
 *
 * Pure, as the queue is. */
#pragma once

#include "daemon/queue.h"
#include "daemon/schedule.h"

struct cwd_sweep_count {
	size_t n[CWD_N_STATES]; /* jobs of the sweep in each state */
	size_t all, ended;
};

void cwd_sweep_count(
	const struct cwd_queue *queue, const struct cwd_job *sweep, struct cwd_sweep_count *ret);
/* The i-th job of the sweep, from 0; NULL when it is gone. */
struct cwd_job *cwd_sweep_child(
	const struct cwd_queue *queue, const struct cwd_job *sweep, size_t i);

/* Brings the sweep's state up to date after one of its jobs changed (NULL: nothing happens). */
void cwd_sweep_refresh(struct cwd_queue *queue, struct cwd_job *sweep);
/* A sweep whose report failed is to write it again. */
void cwd_sweep_reopen(struct cwd_queue *queue, struct cwd_job *sweep);

/* A sweep whose jobs have ended and whose report is to be written now, or NULL. now: monotonic. */
struct cwd_job *cwd_sweep_next_report(const struct cwd_queue *queue, double now);
/* The state of a sweep when the attempt that wrote its report ended so. */
enum cwd_state cwd_sweep_after_report(
	const struct cwd_queue *queue, const struct cwd_job *sweep, enum cwd_state attempt);

/* "3 of 9 jobs have ended: 2 done, 1 failed". */
void cwd_sweep_say(
	const struct cwd_queue *queue, const struct cwd_job *sweep, char *buffer, size_t size);
/* As cwd_schedule_explain. */
int cwd_sweep_explain(const struct cwd_queue *queue, const struct cwd_capacity *capacity,
	const struct cwd_job *sweep, int i, char *buffer, size_t size);
