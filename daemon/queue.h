/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* All jobs, and the one way to change one: in memory at once, on disk in the same order through
 * `put`, and told to listeners after the commit. Knows neither sockets nor processes. */
#pragma once

#include "daemon/job.h"
#include "daemon/store.h"

#define CWD_EVENTS_MAX 10000 /* kept */

enum cwd_event_kind {
	CWD_EVENT_SUBMITTED,
	CWD_EVENT_STATE,
	CWD_EVENT_ATTEMPT,
	CWD_EVENT_CHECKPOINT,
	CWD_EVENT_PRIORITY,
	CWD_EVENT_REMOVED,
	CWD_EVENT_PROGRESS
};

struct cwd_event {
	int64_t seq;
	double time;
	int64_t job;
	enum cwd_event_kind kind;
	int state;    /* enum cwd_state, or -1 */
	int attempt;  /* 0: none */
	char *reason; /* may be NULL */
};

const char *cwd_event_name(enum cwd_event_kind kind);

struct cwd_queue {
	struct cwd_job **jobs; /* by id */
	size_t n_jobs, room;
	int64_t last_id, last_seq;
	int64_t first_rank;       /* the smallest rank given so far */
	struct cwd_event *events; /* by seq; the newest CWD_EVENTS_MAX or a few more */
	size_t n_events, events_room;
	size_t counts[CWD_N_STATES];                     /* of jobs that are no sweeps */
	uint64_t transitions[CWD_N_STATES];              /* into that state, since the start */
	double (*now)(void);                             /* seconds since 1970 */
	void (*put)(struct cwd_batch *batch, void *arg); /* to the writer; takes the batch */
	void (*on_event)(const struct cwd_event *event, struct cwd_job *job,
		void *arg); /* after the commit; job is
				NULL when it was removed */
	void *arg;
};

void cwd_queue_init(struct cwd_queue *queue);
void cwd_queue_free(struct cwd_queue *queue);

/* Fills the queue from the store, before there is a writer. */
int cwd_queue_load(struct cwd_queue *queue, struct cwd_store *store, struct cwb_err *err);

struct cwd_job *cwd_queue_find(const struct cwd_queue *queue, int64_t id);
struct cwd_job *cwd_queue_find_key(const struct cwd_queue *queue, uid_t uid, const char *key);
/* A job that is not final and writes to this output, or NULL. */
struct cwd_job *cwd_queue_find_output(const struct cwd_queue *queue, const char *output);
/* The first event with seq > cursor, as an index into events. */
size_t cwd_queue_event_after(const struct cwd_queue *queue, int64_t cursor);

/* Gives the job an id and a rank and makes the batch that stores it (text: of the job file). The
 * batch may fail; in its done the caller calls cwd_queue_added, or frees the job. NULL when memory
 * ran out. */
struct cwd_batch *cwd_queue_add(struct cwd_queue *queue, struct cwd_job *job, const char *text);
/* The parts of that, for several jobs in one batch: an id and a rank; and what stores the job, which
 * may be a sweep (its jobs have the next ids) or one of a sweep that was numbered before. */
void cwd_queue_number(struct cwd_queue *queue, struct cwd_job *job);
void cwd_queue_insert(struct cwd_batch *batch, const struct cwd_job *job, const char *text);
/* Room for n more jobs: cwd_queue_added of so many cannot fail. -ENOMEM. */
int cwd_queue_reserve(struct cwd_queue *queue, size_t n);
/* The job is on disk: from now on it is in the queue. On -ENOMEM the job is still the caller's. */
int cwd_queue_added(struct cwd_queue *queue, struct cwd_job *job);
/* The event of that. */
void cwd_queue_announce(struct cwd_queue *queue, struct cwd_job *job);

/* The one transition function (but for sweeps, whose state follows from their jobs'). CWP_ESTATE when the table forbids it. reason may be NULL. */
int cwd_queue_move(struct cwd_queue *queue, struct cwd_job *job, enum cwd_state to,
	const char *reason, struct cwb_err *err);
/* Stores the fields of CWD_UPDATE_JOB without a transition, after the caller changed one of them.
 */
void cwd_queue_save(struct cwd_queue *queue, struct cwd_job *job);
void cwd_queue_set_priority(struct cwd_queue *queue, struct cwd_job *job, int priority, int to_top);
/* Forgets a final job; a sweep with all of its jobs, which are final too. */
int cwd_queue_remove(struct cwd_queue *queue, struct cwd_job *job, struct cwb_err *err);

/* Begins an attempt of a queued job: moves it to running. The batch's done runs when it is on disk,
 * with the job's text in batch->text. */
int cwd_queue_begin(struct cwd_queue *queue, struct cwd_job *job,
	void (*done)(struct cwd_batch *batch, void *arg), void *arg, struct cwb_err *err);
void cwd_queue_note_process(struct cwd_queue *queue, struct cwd_job *job, int64_t pid,
	uint64_t start_ticks, const char *boot);
void cwd_queue_checkpoint(struct cwd_queue *queue, struct cwd_job *job);
/* Ends the last attempt and moves the job on, in one batch. result: of the attempt. error (may be
 * NULL) is kept with the job. */
int cwd_queue_end(struct cwd_queue *queue, struct cwd_job *job, const char *result, int exit_code,
	int signal, enum cwd_state to, const char *reason, const struct cwb_err *error,
	struct cwb_err *err);
