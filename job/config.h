/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The daemon's configuration: what cwpd.yaml(5) describes, as a checked structure. Paths are text
 * here; whether they exist, and who owns them, is the daemon's business. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "job/job.h"

enum cwj_executor { CWJ_EXECUTOR_LOCAL, CWJ_EXECUTOR_SLURM };
enum cwj_log_level { CWJ_LOG_INFO, CWJ_LOG_ERROR, CWJ_LOG_WARNING, CWJ_LOG_DEBUG };
enum cwj_log_target { CWJ_LOG_AUTO, CWJ_LOG_JOURNAL, CWJ_LOG_STDERR };

/* Bits of cwj_notify.events. */
enum cwj_event {
	CWJ_EVENT_QUEUED = 1 << 0,
	CWJ_EVENT_STARTED = 1 << 1,
	CWJ_EVENT_DONE = 1 << 2,
	CWJ_EVENT_FAILED = 1 << 3,
	CWJ_EVENT_REJECTED = 1 << 4,
	CWJ_EVENT_CANCELLED = 1 << 5,
	CWJ_EVENT_INTERRUPTED = 1 << 6
};

struct cwj_queue {
	char *name;
	enum cwj_executor executor;
	uint32_t jobs;   /* running at once in this queue; 0: as limits.jobs */
	char *partition; /* slurm; NULL: its default */
	int line, column;
};

/* Something to run or call when a job changes its state: either command or url. */
struct cwj_notify {
	uint32_t events; /* enum cwj_event; default: done, failed, rejected, cancelled */
	size_t n_command;
	char **command; /* program (absolute path) and arguments; the event's JSON comes on standard
			   input */
	char *url;      /* http:// or https://; the event's JSON is posted */
	uint64_t time;  /* seconds until it is given up; default 30 */
	int line, column;
};

struct cwj_config_limits {
	uint32_t jobs;        /* running at once; default 1 */
	uint32_t threads;     /* of all running jobs together; 0: all that the daemon may use */
	uint64_t memory;      /* bytes, of all running jobs together; 0: what the machine has */
	uint64_t scratch;     /* bytes, of all running jobs together; 0: what the file system has */
	uint32_t gpu_jobs;    /* running at once on one GPU, as far as its memory goes; default 1: each has a whole one */
	uint32_t connections; /* open at once; default 256 */
	uint64_t grace; /* seconds between asking a worker to stop, SIGTERM, and SIGKILL; default 10
			 */
};

struct cwj_quotas {
	uint32_t queued;  /* jobs of one user that wait, default 1000; 0: any number */
	uint32_t running; /* jobs of one user that run; 0: any number */
	uint64_t log;     /* bytes that one job may log, default 16 MiB */
};

struct cwj_retry {
	uint32_t attempts; /* of a job that fails in a way that may pass, the first one included;
			      default 3 */
	uint64_t delay;    /* seconds before the second, doubled each time; default 10 */
	uint64_t longest_delay; /* default 600 */
	uint32_t interruptions; /* without a new checkpoint, before a job fails; default 20 */
};

struct cwj_retention {
	uint64_t scratch;  /* seconds that a failed job keeps what a retry goes on from, default 24 h; 0: for ever */
	uint64_t finished; /* seconds that a finished job is listed, default 720 h; 0: for ever */
	uint32_t jobs;     /* finished jobs that are listed at most, default 10000; 0: any number */
};

/* Scores that jobs share. The defaults hold for `cwp-worker run --cache` too. */
#define CWJ_CACHE_SIZE (UINT64_C(20) << 30)
#define CWJ_CACHE_AGE (UINT64_C(168) * 3600)
struct cwj_config_cache {
	char *path;    /* absolute folder; NULL: below scratch where that is given, else below state */
	uint64_t size; /* bytes; 0: nothing is kept */
	uint64_t age;  /* seconds that an unused entry stays; 0: for ever */
};

struct cwj_config {
	char *sockets; /* absolute folders; NULL: what the daemon's mode (system or user) says */
	char *state;
	char *scratch;               /* NULL: beside each job's output */
	struct cwj_config_cache cache;
	size_t n_plugin_directories; /* 0: the folder that was fixed when cwpd was built */
	char **plugin_directories;
	size_t n_settings;
	struct cwj_plugin_use *settings; /* options of plugins for all jobs, such as backends' */
	size_t n_input_roots, n_output_roots; /* 0: wherever the caller may read or write */
	char **input_roots, **output_roots;
	struct cwj_config_limits limits;
	int gpus_none;
	size_t n_gpus;
	char **gpus; /* UUIDs that jobs may have; none of both: all that there are */
	struct cwj_quotas quotas;
	size_t n_queues; /* at least 1: "default", local */
	struct cwj_queue *queues;
	struct cwj_retry retry;
	struct cwj_retention retention;
	size_t n_notify;
	struct cwj_notify *notify;
	enum cwj_log_level log_level;
	enum cwj_log_target log_target;
};

/* Parses and checks a configuration; an empty text, or one of comments only, gives the defaults.
 * directory: absolute, for relative paths. Codes, err and messages as those of cwj_job_parse. *ret
 * is freed with cwj_config_free. [any-thread] */
int cwj_config_parse(const char *text, size_t length, const char *directory,
	struct cwj_config **ret, struct cwb_err *err);
/* Reads at most 1 MiB from path; relative paths are relative to the file's own folder. Messages
 * begin with
 * "<path>:<line>:<column>: ". */
int cwj_config_read(const char *path, struct cwj_config **ret, struct cwb_err *err);
void cwj_config_free(struct cwj_config *config); /* NULL is allowed */

/* The configuration with all defaults filled in; a new reference, NULL only when memory ran out. */
json_t *cwj_config_json(const struct cwj_config *config);
