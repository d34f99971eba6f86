/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Attempts from start to end. */
#include "daemon/supervise.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpus.h"
#include "base/file.h"
#include "base/quantity.h"
#include "daemon/ctl/watch.h"
#include "daemon/executor/executor.h"
#include "daemon/joblog.h"
#include "daemon/log.h"
#include "daemon/schedule_gpu.h"
#include "daemon/scratch.h"
#include "daemon/sweep.h"
#include "daemon/verdict.h"

struct cwd_supervision {
	struct cwd_daemon *daemon;
	struct cwd_job *job; /* running, so it stays */
	struct cwd_run *run; /* NULL before and after */
	struct cwd_joblog log;
	uv_timer_t timer;
	enum cwd_stop stop;
	int termed;
	char *text, *scratch, *log_path;
	cpu_set_t cpus; /* its share of the processors; none: they are not divided */
	char *cpus_text; /* the same; NULL: none */
	char *folder; /* to be made for the output; NULL: none */
	struct cwb_err err;
	struct cwd_facts facts;
	struct cwd_run_end end;
	uint64_t log_limit;
	double begun; /* monotonic */
	struct cwd_supervision *next, **back;
};

char *cwd_supervise_log_path(const struct cwd_daemon *daemon, int64_t id)
{
	char *path;

	return asprintf(&path, "%s/logs/%lld.log", daemon->settings->state, (long long)id) < 0
		       ? NULL
		       : path;
}

/* Where the outputs of its sweep lie; NULL for other jobs. */
static char *sweep_folder(const struct cwd_daemon *daemon, const struct cwd_job *job)
{
	const struct cwd_job *sweep =
		job->parent != 0 ? cwd_queue_find(&daemon->queue, job->parent) : NULL;

	return sweep != NULL ? strdup(sweep->output) : NULL;
}

static void say(struct cwd_supervision *s, const char *origin, const char *text)
{
	cwd_joblog_line(&s->log, origin, text, strlen(text));
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct cwd_supervision *s = handle->data;
	struct cwd_daemon *daemon = s->daemon;

	free(s->text);
	free(s->scratch);
	free(s->log_path);
	free(s->cpus_text);
	free(s->folder);
	free(s);
	cwd_daemon_check_stopped(daemon);
}

/* Twice as long after each failure, up to a bound. */
static void wait_before_next(const struct cwd_daemon *daemon, struct cwd_job *job)
{
	uint64_t delay = daemon->settings->delay;
	int i;

	for (i = 0; i < job->failures && delay < daemon->settings->longest_delay; i++) {
		delay *= 2;
	}
	if (delay > daemon->settings->longest_delay) {
		delay = daemon->settings->longest_delay;
	}
	job->failures++;
	job->not_before = cwd_monotonic_now() + (double)delay;
}

static void conclude(struct cwd_supervision *s)
{
	struct cwd_daemon *daemon = s->daemon;
	struct cwd_job *job = s->job;
	struct cwd_verdict verdict;
	struct cwb_err err = {0};

	s->facts.end = &s->end;
	s->facts.stop = s->stop;
	s->facts.failures = job->failures;
	s->facts.failures_max = (int)daemon->settings->attempts;
	s->facts.interruptions = job->interruptions;
	s->facts.interruptions_max = (int)daemon->settings->interruptions;
	cwd_verdict_reach(&s->facts, &verdict);
	if (job->n_children > 0) {
		verdict.state = cwd_sweep_after_report(&daemon->queue, job, verdict.state);
		if (verdict.state >= CWD_FAILED && verdict.reason[0] == '\0') {
			cwd_sweep_say(&daemon->queue, job, verdict.reason, sizeof verdict.reason);
		}
	}
	say(s, "daemon", verdict.result);
	if (verdict.reason[0]) {
		say(s, "daemon", verdict.reason);
	}
	cwd_joblog_close(&s->log);
	job->run = NULL;
	job->starting = 0;
	daemon->counters.interrupted += strcmp(verdict.result, "interrupted") == 0;
	if (cwd_queue_end(&daemon->queue, job, verdict.result,
		    s->end.rc == 0 && s->end.signal == 0 ? s->end.exit_code : -1, s->end.signal,
		    verdict.state, verdict.reason[0] ? verdict.reason : NULL, &verdict.error,
		    &err) < 0) {
		cwd_log(CWD_LOG_ERROR, "%s", err.message);
	}
	cwd_log(CWD_LOG_INFO, "job %lld: attempt %d: %s%s%s", (long long)job->id,
		cwd_job_last_attempt(job)->number, verdict.result, verdict.reason[0] ? ": " : "",
		verdict.reason);
	if (verdict.try_again) {
		wait_before_next(daemon, job);
	}
	if (job->n_children > 0) {
		cwd_sweep_refresh(&daemon->queue, job);
	}
	cwd_scratch_end(daemon, job);
	*s->back = s->next;
	if (s->next != NULL) {
		s->next->back = s->back;
	}
	uv_close((uv_handle_t *)&s->timer, on_timer_closed);
	cwd_daemon_poke(daemon);
}

static void on_status(const struct cww_status *status, void *arg)
{
	struct cwd_supervision *s = arg;

	switch (status->kind) {
	case CWW_STATUS_PROGRESS:
		cwd_progress_note(&s->job->progress, status, cwd_monotonic_now());
		cwd_watch_progress(s->daemon, s->job);
		break;
	case CWW_STATUS_LOG:
		say(s, cww_level_name(status->level), status->text);
		break;
	case CWW_STATUS_CHECKPOINT:
		cwd_queue_checkpoint(&s->daemon->queue, s->job);
		break;
	case CWW_STATUS_END:
		s->facts.said_end = 1;
		s->facts.result = status->result;
		s->facts.error = status->error;
		break;
	case CWW_STATUS_PLAN:
		break; /* the bounds of the plan at submit are the ones that count */
	}
}

static void on_output(const char *bytes, size_t length, void *arg)
{
	struct cwd_supervision *s = arg;

	cwd_joblog_output(&s->log, bytes, length);
}

static void on_ended(const struct cwd_run_end *end, void *arg)
{
	struct cwd_supervision *s = arg;

	s->run = NULL;
	s->end = *end;
	conclude(s);
}

static void on_timer(uv_timer_t *timer)
{
	struct cwd_supervision *s = timer->data;

	if (s->run == NULL) {
		return;
	}
	if (!s->termed) {
		s->termed = 1;
		say(s, "daemon", "sending TERM");
		cwd_run_signal(s->run, SIGTERM);
		(void)uv_timer_start(
			timer, on_timer, (uint64_t)s->daemon->settings->term_grace * 1000, 0);
	} else {
		say(s, "daemon", "sending KILL");
		cwd_run_signal(s->run, SIGKILL);
	}
}

/* The first step of a stop; the timer does the others. */
static void press(struct cwd_supervision *s)
{
	if (s->run == NULL) {
		return; /* looked at when the worker would be started */
	}
	if (s->stop == CWD_STOP_CANCEL && !s->termed) {
		say(s, "daemon", "asking the worker to stop");
		cwd_run_cancel(s->run);
		(void)uv_timer_start(
			&s->timer, on_timer, (uint64_t)s->daemon->settings->cancel_grace * 1000, 0);
	} else if (!s->termed) {
		on_timer(&s->timer);
	}
}

static void end_before_start(struct cwd_supervision *s, int rc, const struct cwb_err *err)
{
	s->end.rc = rc;
	if (err != NULL) {
		s->end.err = *err;
	}
	conclude(s);
}

static void add_argument(char **argv, size_t *n, const char *text)
{
	argv[(*n)++] = (char *)(uintptr_t)text;
}

static int start_worker(struct cwd_supervision *s, struct cwb_err *err)
{
	const struct cwd_settings *settings = s->daemon->settings;
	struct cwd_run_options options = {.job = s->text,
		.events = {.status = on_status, .output = on_output, .ended = on_ended, .arg = s}};
	char *program = cwd_settings_program(settings, "cwp-worker");
	char size[CWB_QUANTITY_TEXT], age[CWB_QUANTITY_TEXT], memory[CWB_QUANTITY_TEXT];
	char **argv = calloc(24 + 2 * settings->plugins.n, sizeof *argv);
	size_t n = 0, i;
	int rc;

	if (program == NULL || argv == NULL) {
		free(program);
		free(argv);
		return cwb_err_set(err, -ENOMEM, "no memory to start a worker");
	}
	add_argument(argv, &n, program);
	add_argument(argv, &n, "attempt");
	add_argument(argv, &n, "--job-fd");
	add_argument(argv, &n, "0");
	add_argument(argv, &n, "--status-fd");
	add_argument(argv, &n, "3");
	add_argument(argv, &n, "--scratch");
	add_argument(argv, &n, s->scratch);
	add_argument(argv, &n, "--directory");
	add_argument(argv, &n, s->job->directory);
	if (s->job->n_children == 0 && (settings->gpus_none || s->daemon->capacity.n_gpus > 0)) {
		add_argument(argv, &n, "--gpu");
		add_argument(argv, &n, s->job->gpus != NULL ? s->job->gpus : "none");
	}
	if (s->cpus_text != NULL) {
		add_argument(argv, &n, "--cpus");
		add_argument(argv, &n, s->cpus_text);
	}
	if (s->job->resources.memory > 0) {
		/* What was reserved for it. */
		cwb_size_print(s->job->resources.memory, memory);
		add_argument(argv, &n, "--memory");
		add_argument(argv, &n, memory);
	}
	if (settings->cache != NULL) {
		cwb_size_print(settings->cache_size, size);
		cwb_time_print(settings->cache_age, age);
		add_argument(argv, &n, "--cache");
		add_argument(argv, &n, settings->cache);
		add_argument(argv, &n, "--cache-size");
		add_argument(argv, &n, size);
		add_argument(argv, &n, "--cache-age");
		add_argument(argv, &n, age);
	}
	for (i = 0; i < settings->plugins.n; i++) {
		add_argument(argv, &n, "--plugin-dir");
		add_argument(argv, &n, settings->plugins.items[i]);
	}
	options.argv = argv;
	rc = cwd_local_start(s->daemon->loop, &options, &s->run, err);
	free(program);
	free(argv);
	return rc;
}

/* On a thread. */
static void prepare(void *arg)
{
	struct cwd_supervision *s = arg;

	/* The folder of a sweep is nobody's output of its own: it is made for its jobs'. */
	if (s->folder != NULL && cwb_file_make_folders(s->folder, 0777, &s->err) < 0) {
		return;
	}
	if (cwb_file_make_folders(s->scratch, 0700, &s->err) == 0) {
		(void)cwd_joblog_open(&s->log, s->log_path, s->log_limit, &s->err);
	}
}

static void on_prepared(void *arg)
{
	struct cwd_supervision *s = arg;
	char boot[40];
	int64_t pid;
	int rc;

	if (s->err.code != 0 || s->stop != CWD_STOP_NO) {
		end_before_start(s, s->err.code, &s->err);
		return;
	}
	rc = start_worker(s, &s->err);
	if (rc < 0) {
		end_before_start(s, rc, &s->err);
		return;
	}
	s->begun = cwd_monotonic_now();
	s->daemon->counters.attempts++;
	pid = cwd_run_pid(s->run);
	if (pid > 0) {
		cwd_boot_id(boot);
		cwd_queue_note_process(
			&s->daemon->queue, s->job, pid, cwd_process_start_ticks(pid), boot);
		cwd_log(CWD_LOG_INFO, "job %lld: attempt %d started, process %lld%s%s",
			(long long)s->job->id, cwd_job_last_attempt(s->job)->number,
			(long long)pid, s->cpus_text != NULL ? ", processors " : "",
			s->cpus_text != NULL ? s->cpus_text : "");
	}
	free(s->text);
	s->text = NULL;
}

static void on_begun(struct cwd_batch *batch, void *arg)
{
	struct cwd_supervision *s = arg;

	if (batch->rc < 0) {
		end_before_start(s, batch->rc, &batch->err);
		return;
	}
	s->text = batch->text;
	batch->text = NULL;
	if (s->stop != CWD_STOP_NO) {
		end_before_start(s, 0, NULL);
		return;
	}
	if (cwd_daemon_task(s->daemon, prepare, on_prepared, s) < 0) {
		(void)cwb_err_set(&s->err, -ENOMEM, "no memory to start a worker");
		end_before_start(s, -ENOMEM, &s->err);
	}
}

/* Notes which GPUs the job has from now on. -1: no memory. */
static int take_gpus(const struct cwd_daemon *daemon, struct cwd_job *job)
{
	const struct cwd_gpu *gpus[CWJ_GPUS_MAX];
	size_t n = cwd_schedule_gpus(&daemon->queue, &daemon->capacity, job, gpus);

	free(job->gpus);
	job->gpus = n > 0 ? cwd_schedule_gpu_list(gpus, n) : NULL;
	return n > 0 && job->gpus == NULL ? -1 : 0;
}

/* As many processors as threads were counted for it. Without memory it has none of its own, and runs on all. */
static void give_share(struct cwd_supervision *s)
{
	struct cwd_daemon *daemon = s->daemon;
	struct cwd_resources need = cwd_schedule_need(s->job, &daemon->capacity);
	const struct cwd_supervision *other;
	char text[CWB_CPUS_TEXT];
	cpu_set_t taken, share;

	/* A report takes next to nothing. */
	if (daemon->processors.n == 0 || s->job->n_children > 0) {
		return;
	}
	CPU_ZERO(&taken);
	for (other = daemon->supervisions; other != NULL; other = other->next) {
		CPU_OR(&taken, &taken, &other->cpus);
	}
	if (cwd_processors_choose(&daemon->processors, &taken, need.threads, &share) != 0) {
		return; /* attempts run whose shares came from another configuration */
	}
	cwb_cpus_print(&share, text);
	s->cpus_text = strdup(text);
	if (s->cpus_text != NULL) {
		s->cpus = share;
	}
}

void cwd_supervise_start(struct cwd_daemon *daemon, struct cwd_job *job)
{
	struct cwd_supervision *s = calloc(1, sizeof *s);
	struct cwb_err err = {0};
	int rc = 0, given = take_gpus(daemon, job);

	if (s != NULL) {
		s->daemon = daemon;
		s->job = job;
		s->log.fd = -1;
		s->log_limit = daemon->settings->log_limit;
		s->timer.data = s;
		s->scratch = cwd_scratch_path(daemon, job);
		s->log_path = cwd_supervise_log_path(daemon, job->id);
		s->folder = sweep_folder(daemon, job);
		free(job->scratch);
		job->scratch = s->scratch == NULL ? NULL : strdup(s->scratch);
	}
	if (s == NULL || given < 0 || job->scratch == NULL || s->log_path == NULL) {
		rc = cwb_err_set(&err, -ENOMEM, "no memory to start a worker");
	} else {
		rc = cwd_queue_begin(&daemon->queue, job, on_begun, s, &err);
	}
	if (rc < 0) {
		cwd_log(CWD_LOG_ERROR, "job %lld: %s", (long long)job->id, err.message);
		(void)cwd_queue_move(
			&daemon->queue, job, CWD_FAILED, err.message, NULL); /* queued, so it may */
		if (s != NULL) {
			free(s->scratch);
			free(s->log_path);
			free(s->folder);
			free(s);
		}
		return;
	}
	(void)uv_timer_init(daemon->loop, &s->timer); /* cannot fail */
	job->starting = 1;
	job->run = s;
	give_share(s);
	s->next = daemon->supervisions;
	s->back = &daemon->supervisions;
	if (s->next != NULL) {
		s->next->back = &s->next;
	}
	daemon->supervisions = s;
}

const char *cwd_supervise_cpus(const struct cwd_job *job)
{
	const struct cwd_supervision *s = job->run;

	return s != NULL ? s->cpus_text : NULL;
}

void cwd_supervise_stop(struct cwd_daemon *daemon, struct cwd_job *job, enum cwd_stop stop)
{
	struct cwd_supervision *s = job->run;

	if (s == NULL || s->stop == CWD_STOP_CANCEL || s->stop == stop) {
		return;
	}
	s->stop = stop;
	if (stop == CWD_STOP_CANCEL) {
		job->cancelling = 1;
		cwd_queue_save(
			&daemon->queue, job); /* a successor of this daemon must not run it again */
	}
	press(s);
}

void cwd_supervise_stop_all(struct cwd_daemon *daemon)
{
	struct cwd_supervision *s;

	for (s = daemon->supervisions; s != NULL; s = s->next) {
		if (s->stop == CWD_STOP_NO) {
			s->stop = CWD_STOP_REQUEUE;
		}
		if (s->run != NULL && !s->termed) {
			on_timer(&s->timer);
		}
	}
}

void cwd_supervise_tick(struct cwd_daemon *daemon)
{
	double now = cwd_monotonic_now();
	struct cwd_supervision *s;

	for (s = daemon->supervisions; s != NULL; s = s->next) {
		double limit = (double)s->job->resources.time;

		if (s->run != NULL && limit > 0 && s->stop == CWD_STOP_NO &&
			cwd_job_seconds(s->job) + now - s->begun > limit) {
			cwd_supervise_stop(daemon, s->job, CWD_STOP_TIME);
		}
	}
}

void cwd_supervise_note(struct cwd_daemon *daemon, const struct cwd_job *sweep,
	const struct cwd_job *job, const struct cwd_event *event)
{
	char *path = cwd_supervise_log_path(daemon, sweep->id), *text = NULL;
	struct cwd_joblog log = {.fd = -1};

	/* Without memory, or where it cannot be written, the line is lost: events have the same. */
	if (path != NULL && asprintf(&text, "job %lld (%s): %s%s%s", (long long)job->id, job->name,
				    cwd_state_name((enum cwd_state)event->state),
				    event->reason != NULL ? ": " : "",
				    event->reason != NULL ? event->reason : "") < 0) {
		text = NULL;
	}
	if (text != NULL && cwd_joblog_open(&log, path, daemon->settings->log_limit, NULL) == 0) {
		cwd_joblog_line(&log, "daemon", text, strlen(text));
		cwd_joblog_close(&log);
	}
	free(text);
	free(path);
}
