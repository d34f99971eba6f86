/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Life of the daemon: lock, store, recovery, plugins, sockets, ready; and the same backwards. */
#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "daemon/ctl/dispatch.h"
#include "daemon/ctl/jobs.h"
#include "daemon/ctl/server.h"
#include "daemon/ctl/watch.h"
#include "daemon/gpus.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/plugins.h"
#include "daemon/recover.h"
#include "daemon/retire.h"
#include "daemon/scratch.h"
#include "daemon/supervise.h"
#include "daemon/sweep.h"

#define TICK_MS 1000

double cwd_wall_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

double cwd_monotonic_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* ---- services for the others ---- */

struct task {
	uv_work_t request;
	struct cwd_daemon *daemon;
	void (*work)(void *arg);
	void (*done)(void *arg);
	void *arg;
};

static void on_work(uv_work_t *request)
{
	struct task *task = request->data;

	task->work(task->arg);
}

static void on_worked(uv_work_t *request, int status)
{
	struct task *task = request->data;
	struct cwd_daemon *daemon = task->daemon;

	(void)status; /* nothing cancels work */
	daemon->n_tasks--;
	task->done(task->arg);
	free(task);
	cwd_daemon_check_stopped(daemon);
}

int cwd_daemon_task(
	struct cwd_daemon *daemon, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
	struct task *task = malloc(sizeof *task);

	if (task == NULL) {
		return -ENOMEM;
	}
	*task = (struct task){.daemon = daemon, .work = work, .done = done, .arg = arg};
	task->request.data = task;
	if (uv_queue_work(daemon->loop, &task->request, on_work, on_worked) < 0) {
		free(task);
		return -ENOMEM;
	}
	daemon->n_tasks++;
	return 0;
}

void cwd_daemon_after_commit(
	struct cwd_daemon *daemon, void (*done)(struct cwd_batch *batch, void *arg), void *arg)
{
	struct cwd_batch *batch = cwd_batch_new();
	struct cwd_batch failed = {.rc = -ENOMEM};

	if (batch == NULL) {
		(void)cwb_err_set(&failed.err, -ENOMEM, "no memory");
		done(&failed, arg);
		return;
	}
	batch->done = done;
	batch->arg = arg;
	cwd_writer_put(daemon->writer, batch);
}

static void on_schedule(uv_timer_t *timer);

void cwd_daemon_poke(struct cwd_daemon *daemon)
{
	if (daemon->ready && !daemon->stopping) {
		(void)uv_timer_start(&daemon->schedule_timer, on_schedule, 0, 0); /* cannot fail */
	}
}

void cwd_daemon_drain(struct cwd_daemon *daemon, const char *reason)
{
	free(daemon->drain_reason);
	daemon->drain_reason = reason == NULL ? NULL : strdup(reason);
	daemon->capacity.draining = daemon->drain_reason != NULL;
	cwd_log(CWD_LOG_NOTICE, reason == NULL ? "jobs are accepted again" : "draining: %s",
		reason);
	cwd_daemon_poke(daemon);
}

/* ---- scheduling ---- */

/* Jobs whose condition can no longer be met are held, with the reason, rather than waiting for
 * ever. */
static void hold_hopeless(struct cwd_daemon *daemon)
{
	struct cwd_queue *queue = &daemon->queue;
	char reason[160];
	size_t i;

	for (i = 0; queue->counts[CWD_QUEUED] > 0 && i < queue->n_jobs; i++) {
		struct cwd_job *job = queue->jobs[i];
		int64_t id = 0;
		int state = -1;

		if (job->state != CWD_QUEUED || job->n_after == 0 || job->n_children > 0 ||
			cwd_schedule_dependency(queue, job, &id, &state) != CWD_WAIT_NEVER) {
			continue;
		}
		snprintf(reason, sizeof reason, "waits for job %lld, which %s%s", (long long)id,
			state < 0 ? "was removed" : "ended as ",
			state < 0 ? "" : cwd_state_name((enum cwd_state)state));
		(void)cwd_queue_move(queue, job, CWD_HELD, reason, NULL); /* queued, so it may */
	}
}

static void on_schedule(uv_timer_t *timer)
{
	struct cwd_daemon *daemon = timer->data;
	struct cwd_job *job;

	if (daemon->stopping) {
		return;
	}
	hold_hopeless(daemon);
	daemon->capacity.now = cwd_monotonic_now();
	/* A report takes next to nothing: it waits for no turn. */
	while (!daemon->capacity.draining &&
		(job = cwd_sweep_next_report(&daemon->queue, daemon->capacity.now)) != NULL) {
		cwd_supervise_start(daemon, job);
	}
	while ((job = cwd_schedule_next(&daemon->queue, &daemon->capacity)) != NULL) {
		cwd_supervise_start(daemon, job);
	}
}

static void on_tick(uv_timer_t *timer)
{
	struct cwd_daemon *daemon = timer->data;
	char status[160];

	cwd_server_tick(daemon);
	cwd_supervise_tick(daemon);
	if (!daemon->stopping) {
		cwd_retire(daemon);
		cwd_scratch_tick(daemon);
	}
	if (daemon->queue.n_jobs > 0) {
		cwd_daemon_poke(daemon); /* for those that wait before they are tried again */
	}
	snprintf(status, sizeof status, "STATUS=running %zu, queued %zu, held %zu%s\nWATCHDOG=1",
		daemon->queue.counts[CWD_RUNNING], daemon->queue.counts[CWD_QUEUED],
		daemon->queue.counts[CWD_HELD], daemon->drain_reason != NULL ? ", draining" : "");
	(void)cwd_notify(status, NULL); /* without systemd nobody listens */
}

/* ---- the queue's outlets ---- */

static void put_batch(struct cwd_batch *batch, void *arg)
{
	struct cwd_daemon *daemon = arg;

	cwd_writer_put(daemon->writer, batch);
}

static void on_event(const struct cwd_event *event, struct cwd_job *job, void *arg)
{
	struct cwd_daemon *daemon = arg;
	struct cwd_job *sweep =
		job == NULL || job->parent == 0 || event->kind != CWD_EVENT_STATE
			? NULL
			: cwd_queue_find(&daemon->queue, job->parent);

	cwd_watch_event(daemon, event, job);
	if (sweep != NULL) {
		cwd_supervise_note(daemon, sweep, job, event);
		cwd_watch_progress(daemon, sweep);
	}
}

/* ---- settings ---- */

static int is_same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

int cwd_daemon_reread(struct cwd_daemon *daemon, struct cwd_settings *ret, struct cwb_err *err)
{
	int rc = cwd_settings_reread(daemon->config, daemon->settings->user_mode, ret, err);

	if (rc < 0) {
		return rc;
	}
	if (!is_same(ret->sockets, daemon->settings->sockets) ||
		!is_same(ret->state, daemon->settings->state)) {
		return cwb_err_set(err, CWP_EVALUE,
			"%s: sockets and state cannot change while the daemon runs; restart it",
			ret->config == NULL ? "configuration" : ret->config);
	}
	return 0;
}

int cwd_daemon_apply(struct cwd_daemon *daemon, struct cwd_settings *settings)
{
	struct cwd_settings **all =
		reallocarray(daemon->all_settings, daemon->n_settings + 1, sizeof *all);
	struct cwd_settings *copy = malloc(sizeof *copy);

	if (all != NULL) {
		daemon->all_settings = all;
	}
	if (all == NULL || copy == NULL) {
		free(copy);
		return -ENOMEM;
	}
	*copy = *settings;
	memset(settings, 0, sizeof *settings);
	daemon->all_settings[daemon->n_settings++] = copy;
	daemon->settings = copy;
	daemon->capacity.threads = copy->threads;
	cwd_processors_find(copy->threads, &daemon->processors);
	daemon->capacity.memory = copy->memory;
	daemon->capacity.scratch = copy->scratch_limit;
	daemon->capacity.running = copy->running;
	daemon->capacity.gpu_jobs = copy->gpu_jobs;
	daemon->capacity.running_per_user = copy->running_per_user;
	cwd_log_set_level((enum cwd_level)copy->log_level);
	cwd_daemon_poke(daemon);
	return 0;
}

/* ---- end ---- */

static void close_handles(struct cwd_daemon *daemon)
{
	size_t i;

	uv_close((uv_handle_t *)&daemon->schedule_timer, NULL);
	uv_close((uv_handle_t *)&daemon->tick_timer, NULL);
	for (i = 0; i < sizeof daemon->signals / sizeof daemon->signals[0]; i++) {
		uv_close((uv_handle_t *)&daemon->signals[i], NULL);
	}
}

void cwd_daemon_check_stopped(struct cwd_daemon *daemon)
{
	if (daemon->stopping != 1 || daemon->supervisions != NULL || daemon->n_tasks > 0) {
		return;
	}
	daemon->stopping = 2;
	cwd_submit_abandon(daemon);
	cwd_judge_abandon(daemon);
	cwd_plugins_abandon(daemon);
	cwd_gpus_abandon(daemon);
	cwd_server_close(daemon);
	/* Its last callbacks may answer calls; connections close on the loop's next turn. */
	cwd_writer_stop(daemon->writer);
	daemon->writer = NULL;
	close_handles(daemon);
}

void cwd_daemon_stop(struct cwd_daemon *daemon, int exit_code)
{
	if (daemon->exit_code == 0) {
		daemon->exit_code = exit_code;
	}
	if (daemon->stopping) {
		return;
	}
	daemon->stopping = 1;
	(void)cwd_notify("STOPPING=1", NULL); /* without systemd nobody listens */
	cwd_server_stop_listening(daemon);
	cwd_supervise_stop_all(daemon);
	cwd_daemon_check_stopped(daemon);
}

static void on_signal(uv_signal_t *handle, int signum)
{
	struct cwd_daemon *daemon = handle->data;

	if (signum == SIGHUP) {
		cwd_log(CWD_LOG_NOTICE,
			"SIGHUP: use `cwpctl reload`, which says whether it worked");
		return;
	}
	cwd_log(CWD_LOG_NOTICE, "stopping");
	cwd_daemon_stop(daemon, 0);
}

/* ---- start ---- */

static void fail_start(struct cwd_daemon *daemon, const struct cwb_err *err)
{
	char text[64];

	cwd_log(CWD_LOG_ERROR, "%s", err->message);
	snprintf(text, sizeof text, "ERRNO=%d",
		err->code < 0 && err->code > -1000 ? -err->code : EINVAL);
	(void)cwd_notify(text, NULL); /* without systemd nobody listens */
	cwd_daemon_stop(daemon, err->code == -EADDRINUSE ? 75 : 78);
}

static void on_recovered(struct cwd_batch *batch, void *arg)
{
	struct cwd_daemon *daemon = arg;
	struct cwd_inherited inherited[CWD_INHERITED_MAX];
	struct cwb_err err = {0};
	size_t bad, good = cwd_plugins_count(daemon, &bad);
	int n;

	(void)batch; /* in trouble the writer goes on trying, and the loop runs without it */
	if (daemon->stopping) {
		return;
	}
	n = cwd_inherit(inherited, &err);
	if (n < 0 || cwd_server_start(daemon, inherited, n, &err) < 0) {
		fail_start(daemon, &err);
		return;
	}
	daemon->ready = 1;
	cwd_log(CWD_LOG_NOTICE, "ready: %s, state %s, %zu jobs, %zu plugins (%zu unusable)",
		daemon->settings->sockets, daemon->settings->state, daemon->queue.n_jobs, good,
		bad);
	(void)cwd_notify("READY=1", NULL); /* without systemd nobody waits for it */
	cwd_daemon_poke(daemon);
}

static void on_plugins(struct cwd_daemon *daemon, void *arg)
{
	(void)arg;
	cwd_daemon_after_commit(daemon, on_recovered, daemon);
}

/* A child that a killed daemon had forked and that was not yet its program holds the lock for a
 * moment: so not the first refusal counts, but that of two seconds. */
static int take_lock(int fd)
{
	const struct timespec pause = {.tv_nsec = 20000000};

	for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; tries++) {
		if (errno != EWOULDBLOCK || tries == 100) {
			return -1;
		}
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

static int make_state(const struct cwd_settings *settings, int *ret_lock, struct cwb_err *err)
{
	char *path;
	int fd, rc;

	rc = cwb_file_make_folders(settings->state, 0700, err);
	if (rc < 0 || asprintf(&path, "%s/logs", settings->state) < 0) {
		return rc < 0 ? rc : cwb_err_set(err, -ENOMEM, "no memory to start");
	}
	rc = cwb_file_make_folders(path, 0700, err);
	free(path);
	if (rc < 0 || asprintf(&path, "%s/lock", settings->state) < 0) {
		return rc < 0 ? rc : cwb_err_set(err, -ENOMEM, "no memory to start");
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		rc = cwb_err_errno(err, "%s", path);
	} else if (take_lock(fd) != 0) {
		rc = errno == EWOULDBLOCK
			     ? cwb_err_set(err, -EADDRINUSE,
				       "%s: another cwpd uses this state folder; stop it first",
				       path)
			     : cwb_err_errno(err, "%s", path);
		close(fd);
	}
	free(path);
	if (rc == 0) {
		*ret_lock = fd;
	}
	return rc;
}

static int open_store(struct cwd_daemon *daemon, struct cwb_err *err)
{
	char *path;
	int rc;

	if (asprintf(&path, "%s/cwpd.db", daemon->settings->state) < 0) {
		return cwb_err_set(err, -ENOMEM, "no memory to start");
	}
	rc = cwd_store_open(path, &daemon->store, err);
	free(path);
	if (rc == 0) {
		rc = cwd_queue_load(&daemon->queue, daemon->store, err);
	}
	return rc < 0 ? rc : cwd_writer_start(daemon->loop, daemon->store, &daemon->writer, err);
}

/* 10,000 connections one after another are fine with few descriptors; many at a time need more than
 * the usual 1,024. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
		(void)setrlimit(RLIMIT_NOFILE, &limit); /* then it is fewer */
	}
}

static void init_handles(struct cwd_daemon *daemon)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
	size_t i;

	/* None of these can fail but starting the signals, without which only KILL ends us. */
	(void)uv_timer_init(daemon->loop, &daemon->schedule_timer);
	(void)uv_timer_init(daemon->loop, &daemon->tick_timer);
	daemon->schedule_timer.data = daemon->tick_timer.data = daemon;
	(void)uv_timer_start(&daemon->tick_timer, on_tick, TICK_MS, TICK_MS);
	for (i = 0; i < 3; i++) {
		(void)uv_signal_init(daemon->loop, &daemon->signals[i]);
		daemon->signals[i].data = daemon;
		(void)uv_signal_start(&daemon->signals[i], on_signal, numbers[i]);
	}
}

static void start(struct cwd_daemon *daemon)
{
	struct cwb_err err = {0};

	daemon->queue.now = cwd_wall_now;
	daemon->queue.put = put_batch;
	daemon->queue.on_event = on_event;
	daemon->queue.arg = daemon;
	if (open_store(daemon, &err) < 0 || cwd_dispatch_init(&err) < 0) {
		fail_start(daemon, &err);
		return;
	}
	cwd_recover(daemon);
	if (cwd_plugins_scan(daemon, on_plugins, NULL, &err) < 0) {
		fail_start(daemon, &err);
	}
}

static void free_all(struct cwd_daemon *daemon)
{
	size_t i;

	cwd_plugins_free(daemon);
	cwd_gpus_free(daemon);
	cwd_server_free(daemon);
	cwd_queue_free(&daemon->queue);
	cwd_store_close(daemon->store);
	cwd_dispatch_free();
	for (i = 0; i < daemon->n_settings; i++) {
		cwd_settings_free(daemon->all_settings[i]);
		free(daemon->all_settings[i]);
	}
	free(daemon->all_settings);
	free(daemon->drain_reason);
	if (daemon->lock_fd >= 0) {
		close(daemon->lock_fd);
	}
}

static void name_handle(uv_handle_t *handle, void *arg)
{
	(void)arg;
	cwd_log(CWD_LOG_ERROR, "a handle is open at the end: %s",
		uv_handle_type_name(handle->type));
}

static int report_early(const struct cwb_err *err)
{
	cwd_log(CWD_LOG_ERROR, "%s", err->message);
	return err->code == -EADDRINUSE ? 75 : 78;
}

int cwd_daemon_run(struct cwd_settings *settings, const char *config)
{
	struct cwd_daemon daemon = {.lock_fd = -1, .config = config, .started = cwd_wall_now()};
	struct cwb_err err = {0};
	uv_loop_t loop;
	int code;

	if (cwd_daemon_apply(&daemon, settings) < 0) {
		cwd_settings_free(settings);
		return 1;
	}
	if (cwd_server_check(daemon.settings, &err) < 0 ||
		make_state(daemon.settings, &daemon.lock_fd, &err) < 0) {
		code = report_early(&err);
		free_all(&daemon);
		return code;
	}
	code = uv_loop_init(&loop);
	if (code < 0) {
		cwd_log(CWD_LOG_ERROR, "event loop: %s", uv_strerror(code));
		free_all(&daemon);
		return 1;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	raise_file_limit();
	daemon.loop = &loop;
	init_handles(&daemon);
	start(&daemon);
	(void)uv_run(&loop, UV_RUN_DEFAULT); /* 0: nothing is active any more */
	free_all(&daemon);
	if (uv_loop_close(&loop) != 0) {
		uv_walk(&loop, name_handle, NULL);
		return 1;
	}
	return daemon.exit_code;
}
