/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A job and its attempts as the daemon holds them in memory; the store has the same, and the job's
 * text. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "wire/status.h"

enum cwd_state {
	CWD_QUEUED,
	CWD_HELD,
	CWD_RUNNING,
	CWD_PAUSED,
	CWD_DONE,
	CWD_FAILED,
	CWD_REJECTED,
	CWD_CANCELLED,
	CWD_N_STATES
};

const char *cwd_state_name(enum cwd_state state);
/* The state of that name, or -1. */
int cwd_state_find(const char *name);
/* done, failed, rejected, cancelled */
int cwd_state_is_final(enum cwd_state state);
/* Whether a job may go from one state to another. */
int cwd_state_may(enum cwd_state from, enum cwd_state to);

enum cwd_condition { CWD_AFTER_OK, CWD_AFTER_ANY, CWD_AFTER_NOTOK };

struct cwd_after {
	int64_t id;
	enum cwd_condition condition;
};

#define CWD_GPU_UUID 64 /* bytes of a UUID with its end */

struct cwd_resources {
	uint32_t threads;                     /* 0: all that the daemon has */
	uint64_t memory, gpu_memory, scratch; /* bytes; 0: nothing, or not known */
	uint64_t time;                        /* seconds of all attempts together; 0: not limited */
	uint32_t gpus;                        /* at a time, where it needs any; 0: 1 */
	char gpu[CWD_GPU_UUID];               /* the GPU that it asks for, the first of several; "": any */
};

struct cwd_attempt {
	int number;            /* from 1 */
	double started, ended; /* seconds since 1970; ended 0: not yet */
	char result[16];       /* running, done, failed, rejected, cancelled, interrupted, paused */
	int exit_code;         /* -1: none */
	int signal;            /* 0: none */
	int checkpoints;
	char *reason;         /* may be NULL */
	int64_t pid;          /* 0: not known */
	uint64_t start_ticks; /* of /proc/PID/stat */
	char *boot;           /* boot id, may be NULL */
	char *gpus;           /* UUIDs of those that it had, commas between them; NULL: none */
};

/* How far a running attempt is, with a rate that follows slowly. */
struct cwd_progress {
	int known;
	enum cww_stage stage;
	int of_jobs; /* of a sweep: counts its jobs, there is no stage */
	uint64_t done, total;
	char unit[32];
	double rate;      /* units a second; 0: not known */
	double eta;       /* seconds; negative: not known */
	double begun;     /* monotonic seconds when the stage began */
	double last_time; /* of the last rate sample */
	uint64_t last_done;
};

struct cwd_job {
	int64_t id;
	char *key, *owner, *name, *directory, *request, *digest, *model, *output;
	uid_t uid;
	enum cwd_state state;
	int priority;
	int64_t rank;                     /* order among equal priorities; smaller is earlier */
	double submitted, started, ended; /* 0: not yet */
	int64_t parent;    /* the sweep that it is a job of; 0: none */
	size_t n_children; /* of a sweep: its jobs, whose ids follow its own; 0: it is no sweep */
	char *point;       /* as JSON, of a sweep: the fields that it varies; of its jobs: their values */
	size_t n_after;
	struct cwd_after *after;
	struct cwd_resources resources;
	char *reason;          /* of the state; may be NULL */
	struct cwb_err *error; /* of the last failure; may be NULL */
	int cancelling;        /* cancel was asked for while running */
	int failures;          /* that may pass, one after another */
	double not_before; /* monotonic seconds; waits until then after such a failure; 0: does not
			    */
	int interruptions; /* since the last checkpoint */
	char *gpus; /* UUIDs of those that it has while it starts and runs, commas between them; NULL: none */
	char *scratch;     /* folder that may hold something of this job; may be NULL */
	size_t n_attempts;
	struct cwd_attempt *attempts;
	struct cwd_progress progress;
	int unstored; /* changes that are not on disk yet */
	int starting; /* its attempt is being prepared, or runs */
	int cleaning; /* its scratch folder is being removed: it cannot start */
	void *run;    /* the running attempt: daemon/supervise.h */
};

void cwd_job_free(struct cwd_job *job);

/* The attempt that was begun last, or NULL. */
struct cwd_attempt *cwd_job_last_attempt(struct cwd_job *job);
/* A new attempt at the end; NULL when memory ran out. */
struct cwd_attempt *cwd_job_add_attempt(struct cwd_job *job, double now);
/* Seconds that all ended attempts took. */
double cwd_job_seconds(const struct cwd_job *job);

/* Text forms for the store; NULL when memory ran out. Parsing: CWP_EFORMAT. */
char *cwd_after_print(const struct cwd_after *after, size_t n);
int cwd_after_parse(const char *text, struct cwd_after **ret, size_t *ret_n, struct cwb_err *err);
/* One condition as a client writes it: "7", "ok:7", "any:7", "notok:7". */
int cwd_after_parse_one(const char *text, struct cwd_after *ret, struct cwb_err *err);
char *cwd_resources_print(const struct cwd_resources *resources);
int cwd_resources_parse(const char *text, struct cwd_resources *ret, struct cwb_err *err);
char *cwd_error_print(const struct cwb_err *error);
int cwd_error_parse(const char *text, struct cwb_err *ret, struct cwb_err *err);

/* Id as clients write it: decimal, no sign, no leading zero. 0 when it is none. */
int64_t cwd_id_parse(const char *text);

/* Notes a progress message. now: monotonic seconds. */
void cwd_progress_note(struct cwd_progress *progress, const struct cww_status *status, double now);
/* Share of the stage that is done, 0 to 1; negative: not known. */
double cwd_progress_fraction(const struct cwd_progress *progress);
