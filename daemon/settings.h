/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Where the daemon lives and what it allows: the configuration file, the environment and the
 * defaults, made into one. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cwd_list {
	size_t n;
	char **items;
};

struct cwd_settings {
	int user_mode;           /* serves the user that it runs as, and root */
	char *config;            /* file that was read, NULL: none */
	char *sockets;           /* folder */
	char *state;             /* folder */
	char *scratch;           /* folder, NULL: beside each output */
	char *cache;             /* folder of scores that jobs share, NULL: none */
	uint64_t cache_size, cache_age; /* bytes; seconds, 0: for ever */
	char *libexec;           /* folder of cwp-worker and cwp-probe */
	struct cwd_list plugins; /* folders */
	struct cwd_list inputs,
		outputs;  /* roots; none in user mode: everything that the user may */
	uint32_t threads; /* capacity */
	uint64_t memory;
	uint64_t scratch_limit;                     /* bytes of all running jobs; 0: not limited */
	int gpus_none;                              /* jobs get no GPU */
	struct cwd_list gpus;                       /* UUIDs of those that they may have; none: all */
	uint32_t gpu_jobs;                          /* at a time on one */
	uint32_t running;                           /* attempts at a time; 0: not limited */
	uint32_t running_per_user, queued_per_user; /* 0: not limited */
	uint64_t keep_scratch; /* seconds that a failed job keeps what a retry goes on from; 0: for ever */
	uint64_t keep_seconds;                      /* that a finished job is listed; 0: for ever */
	uint32_t keep_jobs;       /* finished jobs that are listed; 0: any number */
	uint32_t connections;     /* open at a time; half of them for one user */
	uint32_t message_timeout; /* seconds for the rest of a message whose first byte came */
	uint32_t plan_timeout;    /* seconds */
	uint32_t cancel_grace, term_grace; /* seconds from cancel to TERM, from TERM to KILL */
	uint32_t attempts; /* of a job that fails in a way that may pass, the first one included */
	uint64_t delay,
		longest_delay;  /* seconds before the second; doubled each time up to the longest */
	uint32_t interruptions; /* without a new checkpoint until the job fails */
	uint64_t log_limit;     /* bytes of a job's log */
	int log_level;          /* daemon/log.h */
};

/* config: --config's argument or NULL. Decides between user and system mode as job.md says, reads
 * the file and fills in defaults. *ret is filled, also on failure, and freed with
 * cwd_settings_free. Errors: those of the configuration file with place and field; CWP_EMISSING for
 * an environment that lacks what user mode needs. */
int cwd_settings_read(const char *config, struct cwd_settings *ret, struct cwb_err *err);
/* The same again for a daemon that runs: its mode stays. */
int cwd_settings_reread(
	const char *config, int user_mode, struct cwd_settings *ret, struct cwb_err *err);
void cwd_settings_free(struct cwd_settings *settings);

/* Path of one of our helper programs; freed with free(). */
char *cwd_settings_program(const struct cwd_settings *settings, const char *name);
