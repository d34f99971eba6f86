/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One run of one job: the same path for a daemon's attempt and for `cwp-worker run`. */
#pragma once

#include <sched.h>

#include "base/err.h"
#include "job/sweep.h"

struct cwk_options {
	const char *file;       /* the job file's name for messages, or NULL */
	int status_fd;          /* -1: status on standard error */
	int control_fd;         /* -1: no control messages */
	const char *scratch;    /* folder; NULL: one beside the output, removed at the end */
	const char *cache;      /* folder of scores that jobs share; NULL: none */
	uint64_t cache_size, cache_age; /* bytes, seconds */
	const char **plugin_dir;
	size_t plugin_dirs;
	int finished_is_done;   /* a finished output of this same job is success */
	int trusted_only;       /* plugins from folders that only root or this user can change */
	uint32_t threads;       /* 0: as the job says */
	const cpu_set_t *cpus;  /* processors of this job alone, which the process has taken; NULL: none */
	const char *gpu;        /* UUIDs of those that this job has, commas between them; "none"; NULL: as the job says */
	uint64_t memory;        /* bytes that a job without limits.memory may come to for speed alone; 0: a quarter of the machine's */
	size_t control_length;  /* bytes after the job's text that were read with it */
	const char *control;
};

/* Runs the job; returns the program's exit code. */
int cwk_attempt(const struct cwj_job *job, const struct cwk_options *options);

/* Plans the job, or all jobs of a matrix: bounds as JSON on standard output; errors as JSON there too when json_errors is
 * not 0, else on standard error. Returns the program's exit code. */
int cwk_plan(const struct cwj_sweep *sweep, const struct cwk_options *options, int json_errors);

/* Prints an error as a compiler would: file:line:column: field: text. */
void cwk_error_print(const struct cwb_err *err);
/* {"error": {...}} on standard output. */
void cwk_error_json(const struct cwb_err *err);
