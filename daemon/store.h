/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The job store: SQLite, WAL, synchronous FULL, used by one thread at a time. Callers describe
 * writes as data, so that the loop can make them and the writer thread run them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum cwd_statement {
	CWD_INSERT_JOB, /* id key uid owner name directory text request digest model output state
			   priority rank submitted after resources reason */
	CWD_UPDATE_JOB, /* state started ended reason error cancelling interruptions scratch id */
	CWD_UPDATE_SWEEP,     /* parent children point id */
	CWD_UPDATE_PRIORITY,  /* priority rank id */
	CWD_DELETE_JOB,       /* id; the jobs of a sweep go with it */
	CWD_INSERT_ATTEMPT,   /* job number started gpu: several with commas between them */
	CWD_UPDATE_ATTEMPT,   /* pid start_ticks boot job number */
	CWD_COUNT_CHECKPOINT, /* checkpoints job number */
	CWD_END_ATTEMPT,      /* ended result exit_code signal reason job number */
	CWD_INSERT_EVENT,     /* seq time job kind state attempt reason */
	CWD_PRUNE_EVENTS,     /* seq: older ones go */
	CWD_N_STATEMENTS
};

enum cwd_value_type { CWD_NULL, CWD_INT, CWD_REAL, CWD_TEXT };

struct cwd_value {
	enum cwd_value_type type;
	int64_t integer;
	double real;
	char *text; /* owned */
};

#define CWD_VALUES_MAX 18

struct cwd_write {
	enum cwd_statement statement;
	int n_values;
	struct cwd_value values[CWD_VALUES_MAX];
	struct cwd_write *next;
};

/* What belongs together: all of it is on disk, or nothing. */
struct cwd_batch {
	struct cwd_write *first, *last;
	int out_of_memory;  /* a write could not be made: the batch fails */
	int may_fail;       /* otherwise the writer repeats it until it succeeds */
	int64_t fetch_text; /* also read this job's text (0: no) */
	char *text;         /* result of that, owned by the batch */
	int rc;             /* result, with err */
	struct cwb_err err;
	void (*done)(struct cwd_batch *batch,
		void *arg); /* on the loop, after the commit; may be NULL; then freed */
	void *arg;
	struct cwd_batch *next;
};

/* NULL when memory ran out. */
struct cwd_batch *cwd_batch_new(void);
void cwd_batch_free(struct cwd_batch *batch);

/* Appends a write and its values in order: "i" int64_t, "d" double, "s" text (copied, NULL is
 * null), "n" null (no argument). The number of values must be the statement's. Failures are kept in
 * the batch. */
void cwd_batch_add(struct cwd_batch *batch, enum cwd_statement statement, const char *types, ...);

struct cwd_store;

/* Opens or makes the data base, migrates and checks it. Errors: CWP_EFORMAT (not ours, damaged, or
 * of a newer version; what to do is in the message), -EIO. */
int cwd_store_open(const char *path, struct cwd_store **ret, struct cwb_err *err);
void cwd_store_close(struct cwd_store *store);

/* Runs batches in one transaction and fills rc and err of each. On failure nothing is written and
 * the result is that of the first bad batch. -ENOSPC: disk full. */
int cwd_store_apply(struct cwd_store *store, struct cwd_batch *first, struct cwb_err *err);

/* Text of a job; freed with free(). CWP_EMISSING: no such job. */
int cwd_store_text(struct cwd_store *store, int64_t id, char **ret, struct cwb_err *err);

/* A row as it was read; columns of the statement named. Texts live until the callback returns. */
struct cwd_row;
int64_t cwd_row_int(const struct cwd_row *row, int column);
double cwd_row_real(const struct cwd_row *row, int column);
const char *cwd_row_text(const struct cwd_row *row, int column); /* NULL is null */
int cwd_row_is_null(const struct cwd_row *row, int column);

enum cwd_table {
	CWD_JOBS, /* id key uid owner name directory request digest model output state priority rank
		     submitted started ended after resources reason error cancelling interruptions
		     scratch parent children point; by id */
	CWD_ATTEMPTS, /* job number started ended result exit_code signal checkpoints reason pid
			 start_ticks boot gpu; by both */
	CWD_EVENTS    /* seq time job kind state attempt reason; by seq */
};

/* Calls visit for each row until it returns non-zero, which is then the result. */
int cwd_store_read(struct cwd_store *store, enum cwd_table table,
	int (*visit)(const struct cwd_row *row, void *arg), void *arg, struct cwb_err *err);

/* The largest id that was ever given to a job, and the last event's number. */
int cwd_store_last(
	struct cwd_store *store, int64_t *ret_job, int64_t *ret_event, struct cwb_err *err);
