/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What belongs to one running daemon. All of it lives on the loop's thread. */
#pragma once

#include <uv.h>

#include "daemon/processors.h"
#include "daemon/queue.h"
#include "daemon/schedule.h"
#include "daemon/settings.h"
#include "daemon/writer.h"

struct cwd_server;
struct cwd_gpus;
struct cwd_plugins;
struct cwd_submit;
struct cwd_supervision;
struct cwd_watcher;

struct cwd_counters {
	uint64_t connections, refused_connections, calls, errors, bad_messages, submitted, attempts,
		interrupted;
};

struct cwd_daemon {
	uv_loop_t *loop;
	const struct cwd_settings *settings;
	struct cwd_settings *
		*all_settings; /* every one that was read: threads may still look at an older one */
	size_t n_settings;
	const char *config; /* --config */
	struct cwd_store *store;
	struct cwd_writer *writer;
	struct cwd_queue queue;
	struct cwd_capacity capacity;
	struct cwd_processors processors; /* of capacity.threads: running attempts have shares of them */
	struct cwd_server *server;
	struct cwd_plugins *plugins;
	struct cwd_gpus *gpus; /* being asked for; NULL: they are not */
	struct cwd_submit *submits; /* on their way into the queue */
	size_t n_submits, n_planning;
	struct cwd_judge *judges; /* calls of Gate and Compare */
	size_t n_judges;
	struct cwd_supervision *supervisions; /* attempts that are being started, run or end */
	struct cwd_watcher *watchers;         /* calls that wait for events */
	char *drain_reason;                   /* NULL: jobs are accepted and started */
	int ready, stopping;
	int exit_code;
	int lock_fd;
	int n_tasks; /* on libuv's threads */
	double started;
	double tidied; /* monotonic; the cache; 0: not yet */
	uv_timer_t schedule_timer, tick_timer;
	uv_signal_t signals[3];
	struct cwd_counters counters;
};

/* Runs the daemon until it is told to stop; returns its exit code. settings is taken; config is
 * --config's argument or NULL. */
int cwd_daemon_run(struct cwd_settings *settings, const char *config);

/* Reads the configuration again. Folders that cannot change without a restart are CWP_EVALUE. *ret
 * is filled in any case. */
int cwd_daemon_reread(struct cwd_daemon *daemon, struct cwd_settings *ret, struct cwb_err *err);
/* Takes the settings over. -ENOMEM: still the caller's. */
int cwd_daemon_apply(struct cwd_daemon *daemon, struct cwd_settings *settings);

/* Looks soon whether a job can start. */
void cwd_daemon_poke(struct cwd_daemon *daemon);

/* Begins an orderly end; exit_code is kept when it is the first that is not 0. */
void cwd_daemon_stop(struct cwd_daemon *daemon, int exit_code);
/* Goes on with the end when nothing runs any more. */
void cwd_daemon_check_stopped(struct cwd_daemon *daemon);

/* Calls done on the loop when all that was given to the writer before is on disk. */
void cwd_daemon_after_commit(
	struct cwd_daemon *daemon, void (*done)(struct cwd_batch *batch, void *arg), void *arg);

/* Runs work on a thread, then done on the loop. -ENOMEM: done is not called. */
int cwd_daemon_task(
	struct cwd_daemon *daemon, void (*work)(void *arg), void (*done)(void *arg), void *arg);

/* Drains: reason is shown to those who submit. NULL ends it. */
void cwd_daemon_drain(struct cwd_daemon *daemon, const char *reason);

double cwd_wall_now(void);      /* seconds since 1970 */
double cwd_monotonic_now(void); /* seconds */
