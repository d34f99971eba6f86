/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Attempts: begun, checkpointed and ended, each on disk before it counts. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/queue_p.h"

int cwd_queue_begin(struct cwd_queue *queue, struct cwd_job *job,
	void (*done)(struct cwd_batch *batch, void *arg), void *arg, struct cwb_err *err)
{
	struct cwd_attempt *attempt;
	struct cwd_batch *batch, *told;
	int rc = cwd_queue_check_move(job, CWD_RUNNING, err);

	if (rc < 0) {
		return rc;
	}
	batch = cwd_batch_new();
	told = cwd_batch_new();
	attempt = batch == NULL || told == NULL ? NULL : cwd_job_add_attempt(job, queue->now());
	if (attempt == NULL) {
		cwd_batch_free(batch);
		cwd_batch_free(told);
		return cwb_err_set(err, -ENOMEM, "no memory for an attempt");
	}
	cwd_queue_set_state(queue, job, CWD_RUNNING, NULL);
	if (job->started == 0) {
		job->started = attempt->started;
	}
	cwd_queue_add_update(batch, job);
	if (job->gpus != NULL) {
		cwd_queue_set_text(&attempt->gpus, job->gpus);
	}
	cwd_batch_add(batch, CWD_INSERT_ATTEMPT, "iids", job->id, (int64_t)attempt->number,
		attempt->started, attempt->gpus);
	batch->fetch_text = job->id;
	batch->done = done;
	batch->arg = arg;
	queue->put(batch, queue->arg);
	cwd_queue_put_with_event(queue, job, CWD_EVENT_STATE, told);
	return 0;
}

void cwd_queue_note_process(struct cwd_queue *queue, struct cwd_job *job, int64_t pid,
	uint64_t start_ticks, const char *boot)
{
	struct cwd_attempt *attempt = cwd_job_last_attempt(job);
	struct cwd_batch *batch = cwd_batch_new();

	attempt->pid = pid;
	attempt->start_ticks = start_ticks;
	cwd_queue_set_text(&attempt->boot, boot);
	if (batch == NULL) {
		return; /* only serves to find the worker after a crash */
	}
	cwd_batch_add(batch, CWD_UPDATE_ATTEMPT, "iisii", pid, (int64_t)start_ticks, boot, job->id,
		(int64_t)attempt->number);
	queue->put(batch, queue->arg);
}

void cwd_queue_checkpoint(struct cwd_queue *queue, struct cwd_job *job)
{
	struct cwd_attempt *attempt = cwd_job_last_attempt(job);
	struct cwd_batch *batch = cwd_batch_new();

	attempt->checkpoints++;
	job->interruptions = 0;
	cwd_queue_add_update(batch, job);
	if (batch != NULL) {
		cwd_batch_add(batch, CWD_COUNT_CHECKPOINT, "iii", (int64_t)attempt->checkpoints,
			job->id, (int64_t)attempt->number);
	}
	cwd_queue_put_with_event(queue, job, CWD_EVENT_CHECKPOINT, batch);
}

static void keep_error(struct cwd_job *job, const struct cwb_err *error)
{
	if (error == NULL || error->code == 0) {
		return;
	}
	if (job->error == NULL) {
		job->error = malloc(sizeof *job->error);
	}
	if (job->error != NULL) {
		*job->error = *error;
	}
}

int cwd_queue_end(struct cwd_queue *queue, struct cwd_job *job, const char *result, int exit_code,
	int signal, enum cwd_state to, const char *reason, const struct cwb_err *error,
	struct cwb_err *err)
{
	struct cwd_attempt *attempt = cwd_job_last_attempt(job);
	struct cwd_batch *batch;
	int rc = cwd_queue_check_move(job, to, err);

	if (rc < 0) {
		return rc;
	}
	if (job->state != CWD_RUNNING || attempt == NULL) {
		return cwb_err_set(err, CWP_ESTATE, "job %lld runs no attempt that could end",
			(long long)job->id);
	}
	attempt->ended = queue->now();
	snprintf(attempt->result, sizeof attempt->result, "%s", result);
	attempt->exit_code = exit_code;
	attempt->signal = signal;
	cwd_queue_set_text(&attempt->reason, reason);
	if (strcmp(result, "interrupted") == 0) {
		job->interruptions++;
	}
	keep_error(job, error);
	cwd_queue_set_state(queue, job, to, reason);
	batch = cwd_batch_new();
	cwd_queue_add_update(batch, job);
	if (batch != NULL) {
		cwd_batch_add(batch, CWD_END_ATTEMPT, "dsiisii", attempt->ended, attempt->result,
			(int64_t)exit_code, (int64_t)signal, reason, job->id,
			(int64_t)attempt->number);
	}
	cwd_queue_put_with_event(queue, job, CWD_EVENT_STATE, batch);
	return 0;
}
