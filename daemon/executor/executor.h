/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One attempt somewhere: started, told to stop, ended. The local executor is a process; others keep
 * to the same face. */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "wire/status.h"

struct cwd_run;

struct cwd_run_end {
	int rc; /* 0, or why it never ran, or how it broke the protocol (then err says more) */
	struct cwb_err err;
	int exit_code; /* when rc is 0 and signal is 0 */
	int signal;
};

struct cwd_run_events {
	void (*status)(const struct cww_status *status, void *arg);
	void (*output)(const char *bytes, size_t length, void *arg); /* standard output and error */
	void (*ended)(const struct cwd_run_end *end,
		void *arg); /* once, after all others; nothing of it is left */
	void *arg;
};

struct cwd_run_options {
	char *const *argv;
	const char *job; /* text of the job file; copied */
	struct cwd_run_events events;
};

/* Starts an attempt; ended is always called, from the loop, also when it cannot be started. Only
 * -ENOMEM is returned. */
int cwd_local_start(uv_loop_t *loop, const struct cwd_run_options *options, struct cwd_run **ret,
	struct cwb_err *err);

/* Process id, 0 when it was never started. */
int64_t cwd_run_pid(const struct cwd_run *run);
/* Asks the worker to stop for good. */
void cwd_run_cancel(struct cwd_run *run);
/* Sends a signal to the worker (TERM) or to its whole process group (KILL). */
void cwd_run_signal(struct cwd_run *run, int signal);

/* Start time of a process in clock ticks since boot, as in /proc/PID/stat; 0 when there is no such
 * process. */
uint64_t cwd_process_start_ticks(int64_t pid);
/* Boot id, "" when the system has none. */
void cwd_boot_id(char ret[40]);
