/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Recovery at start. */
#include "daemon/recover.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "daemon/executor/executor.h"
#include "daemon/log.h"
#include "daemon/scratch.h"
#include "daemon/sweep.h"

#define MANIFEST_MAX ((size_t)16 << 20)
#define KILL_TRIES 500 /* of 10 ms */

int cwd_recover_is_finished(const char *output, const char *digest)
{
	const char *found = NULL;
	json_t *manifest = NULL;
	char *path;
	int finished = 0;

	if (asprintf(&path, "%s/manifest.json", output) < 0) {
		return 0;
	}
	if (cwb_json_load_file(path, MANIFEST_MAX, CWB_JSON_DEPTH, &manifest, NULL) == 0 &&
		cwb_json_get_string(manifest, "job_digest", CWB_JSON_REQUIRED, &found, NULL) == 0) {
		/* What its gate rejected has yet to be taken off its name: an attempt does that and says so. */
		finished = strcmp(found, digest) == 0 && !json_is_true(json_object_get(manifest, "rejected"));
	}
	json_decref(manifest);
	free(path);
	return finished;
}

/* A worker that was killed right after its manifest left the mark of an unfinished folder behind. */
static void remove_mark(const struct cwd_job *job)
{
	char *path;

	if (asprintf(&path, "%s/.cwp-job", job->output) >= 0) {
		(void)unlink(path); /* most often there is none; where it stays, it is no part of the output */
		free(path);
	}
}

static int is_alive(const struct cwd_attempt *attempt)
{
	uint64_t ticks = cwd_process_start_ticks(attempt->pid);

	return ticks != 0 && ticks == attempt->start_ticks;
}

/* A worker notices the end of its standard input; this is for one that did not yet, or hangs. */
static void kill_worker(const struct cwd_job *job, const struct cwd_attempt *attempt)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	char boot[40];
	int i;

	cwd_boot_id(boot);
	if (attempt->pid <= 1 || attempt->boot == NULL || strcmp(attempt->boot, boot) != 0 ||
		!is_alive(attempt)) {
		return;
	}
	cwd_log(CWD_LOG_NOTICE,
		"job %" PRId64 ": process %" PRId64 " outlived the last daemon and is killed",
		job->id, attempt->pid);
	if (kill((pid_t)-attempt->pid, SIGKILL) != 0) {
		(void)kill((pid_t)attempt->pid, SIGKILL); /* it is looked at below */
	}
	for (i = 0; i < KILL_TRIES && is_alive(attempt); i++) {
		(void)nanosleep(&pause, NULL); /* cut short is fine */
	}
	if (i == KILL_TRIES) {
		cwd_log(CWD_LOG_ERROR, "job %" PRId64 ": process %" PRId64 " cannot be killed",
			job->id, attempt->pid);
	}
}

static void recover_running(struct cwd_daemon *daemon, struct cwd_job *job)
{
	struct cwd_attempt *attempt = cwd_job_last_attempt(job);
	struct cwd_queue *queue = &daemon->queue;
	struct cwb_err err = {0};

	if (attempt == NULL) { /* a job becomes running together with its attempt */
		(void)cwd_queue_move(
			queue, job, CWD_QUEUED, "found running without an attempt", NULL);
		return;
	}
	kill_worker(job, attempt);
	daemon->counters.interrupted++;
	if (cwd_recover_is_finished(job->output, job->digest)) {
		remove_mark(job);
		(void)cwd_queue_end(queue, job, "done", -1, 0, CWD_DONE,
			"its manifest was complete when the daemon started", NULL, &err);
	} else if (job->cancelling) {
		(void)cwd_queue_end(queue, job, "cancelled", -1, 0, CWD_CANCELLED,
			"cancelled before the daemon stopped", NULL, &err);
	} else if (job->interruptions + 1 >= (int)daemon->settings->interruptions) {
		struct cwb_err error = {0};

		(void)cwb_err_set(&error, CWP_ELIMIT,
			"interrupted %d times without a new checkpoint, last: the daemon stopped",
			job->interruptions + 1);
		(void)cwd_queue_end(
			queue, job, "interrupted", -1, 0, CWD_FAILED, error.message, &error, &err);
	} else {
		(void)cwd_queue_end(queue, job, "interrupted", -1, 0, CWD_QUEUED,
			"the attempt was interrupted: the daemon stopped", NULL, &err);
	}
	if (err.code != 0) {
		cwd_log(CWD_LOG_ERROR, "%s", err.message);
	}
	cwd_log(CWD_LOG_NOTICE, "job %" PRId64 " was running and is now %s", job->id,
		cwd_state_name(job->state));
}

/* Of a sweep only its report may have been running; that is written again, as long as it is not the
 * report that kills. */
static void recover_report(struct cwd_daemon *daemon, struct cwd_job *sweep)
{
	struct cwd_attempt *attempt = cwd_job_last_attempt(sweep);
	struct cwb_err error = {0};

	if (attempt == NULL || strcmp(attempt->result, "running") != 0) {
		return;
	}
	kill_worker(sweep, attempt);
	daemon->counters.interrupted++;
	if (sweep->interruptions + 1 < (int)daemon->settings->interruptions) {
		(void)cwd_queue_end(&daemon->queue, sweep, "interrupted", -1, 0, CWD_RUNNING,
			"its report was interrupted: the daemon stopped", NULL, NULL); /* running, so it may */
		return;
	}
	(void)cwb_err_set(&error, CWP_ELIMIT, "its report was interrupted %d times", sweep->interruptions + 1);
	(void)cwd_queue_end(&daemon->queue, sweep, "interrupted", -1, 0, CWD_FAILED, error.message,
		&error, NULL); /* as above */
}

/* What the last daemon had begun with a sweep, and did not get to do with all of its jobs. */
static void recover_sweep(struct cwd_daemon *daemon, struct cwd_job *sweep)
{
	size_t i;

	for (i = 0; sweep->cancelling && i < sweep->n_children; i++) {
		struct cwd_job *job = cwd_sweep_child(&daemon->queue, sweep, i);

		if (job != NULL && !cwd_state_is_final(job->state)) {
			(void)cwd_queue_move(&daemon->queue, job, CWD_CANCELLED,
				"its sweep was cancelled before the daemon stopped", NULL); /* none runs yet */
			cwd_scratch_end(daemon, job);
		}
	}
	cwd_sweep_refresh(&daemon->queue, sweep);
}

static void check_done(struct cwd_daemon *daemon, struct cwd_job *job)
{
	static const char lost[] = "the manifest of its output is gone";
	char *path;

	if (asprintf(&path, "%s/manifest.json", job->output) < 0) {
		return;
	}
	if (access(path, F_OK) != 0 && errno == ENOENT && job->reason == NULL) {
		cwd_log(CWD_LOG_WARNING, "job %" PRId64 ": done, but %s is gone", job->id, path);
		job->reason = strdup(lost);
		cwd_queue_save(&daemon->queue, job);
	}
	free(path);
}

void cwd_recover(struct cwd_daemon *daemon)
{
	struct cwd_queue *queue = &daemon->queue;
	size_t i;

	for (i = 0; i < queue->n_jobs; i++) {
		struct cwd_job *job = queue->jobs[i];

		if (job->n_children > 0) {
			recover_report(daemon, job);
		} else if (job->state == CWD_RUNNING) {
			recover_running(daemon, job);
		} else if (!cwd_state_is_final(job->state) && job->n_attempts > 0 &&
			   cwd_recover_is_finished(job->output, job->digest)) {
			remove_mark(job);
			(void)cwd_queue_move(queue, job, CWD_DONE,
				"its manifest was complete when the daemon started", NULL);
		} else if (job->state == CWD_DONE) {
			check_done(daemon, job);
		}
		cwd_scratch_end(daemon, job);
	}
	for (i = 0; i < queue->n_jobs; i++) {
		if (queue->jobs[i]->n_children > 0) {
			recover_sweep(daemon, queue->jobs[i]);
		}
	}
	cwd_scratch_recover(daemon);
	if (queue->n_events > 0) {
		struct cwd_batch *batch = cwd_batch_new();

		if (batch != NULL) {
			cwd_batch_add(
				batch, CWD_PRUNE_EVENTS, "i", queue->last_seq - CWD_EVENTS_MAX);
			cwd_writer_put(daemon->writer, batch);
		}
	}
}
