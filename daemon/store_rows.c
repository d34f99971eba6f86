/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rows of the store: batches of writes, and reading at start. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/store_p.h"

static const struct {
	const char *sql;
	int n_values;
} statement_table[CWD_N_STATEMENTS] = {
	[CWD_INSERT_JOB] = {"INSERT INTO jobs (id, key, uid, owner, name, directory, text, "
			    "request, digest, model, output,"
			    " state, priority, rank, submitted, after, resources, reason)"
			    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		18},
	[CWD_UPDATE_JOB] = {"UPDATE jobs SET state = ?, started = ?, ended = ?, reason = ?, error "
			    "= ?, cancelling = ?,"
			    " interruptions = ?, scratch = ? WHERE id = ?",
		9},
	[CWD_UPDATE_SWEEP] =
		{"UPDATE jobs SET parent = ?, children = ?, point = ? WHERE id = ?", 4},
	[CWD_UPDATE_PRIORITY] = {"UPDATE jobs SET priority = ?, rank = ? WHERE id = ?", 3},
	[CWD_DELETE_JOB] = {"DELETE FROM jobs WHERE id = ?", 1},
	[CWD_INSERT_ATTEMPT] = {"INSERT INTO attempts (job, number, started, gpu) VALUES (?, ?, ?, ?)", 4},
	[CWD_UPDATE_ATTEMPT] = {"UPDATE attempts SET pid = ?, start_ticks = ?, boot = ? WHERE job "
				"= ? AND number = ?",
		5},
	[CWD_COUNT_CHECKPOINT] =
		{"UPDATE attempts SET checkpoints = ? WHERE job = ? AND number = ?", 3},
	[CWD_END_ATTEMPT] =
		{"UPDATE attempts SET ended = ?, result = ?, exit_code = ?, signal = ?, reason = ?"
		 " WHERE job = ? AND number = ?",
			7},
	[CWD_INSERT_EVENT] = {"INSERT INTO events (seq, time, job, kind, state, attempt, reason)"
			      " VALUES (?, ?, ?, ?, ?, ?, ?)",
		7},
	[CWD_PRUNE_EVENTS] = {"DELETE FROM events WHERE seq < ?", 1},
};

struct cwd_batch *cwd_batch_new(void)
{
	return calloc(1, sizeof(struct cwd_batch));
}

void cwd_batch_free(struct cwd_batch *batch)
{
	int i;

	if (batch == NULL) {
		return;
	}
	while (batch->first != NULL) {
		struct cwd_write *write = batch->first;

		batch->first = write->next;
		for (i = 0; i < write->n_values; i++) {
			free(write->values[i].text);
		}
		free(write);
	}
	free(batch->text);
	free(batch);
}

static int take_value(struct cwd_value *value, char type, va_list *args)
{
	const char *text;

	switch (type) {
	case 'i':
		value->type = CWD_INT;
		value->integer = va_arg(*args, int64_t);
		return 0;
	case 'd':
		value->type = CWD_REAL;
		value->real = va_arg(*args, double);
		return 0;
	case 'n':
		value->type = CWD_NULL;
		return 0;
	default:
		text = va_arg(*args, const char *);
		value->type = text == NULL ? CWD_NULL : CWD_TEXT;
		value->text = text == NULL ? NULL : strdup(text);
		return text != NULL && value->text == NULL ? -ENOMEM : 0;
	}
}

void cwd_batch_add(struct cwd_batch *batch, enum cwd_statement statement, const char *types, ...)
{
	struct cwd_write *write = calloc(1, sizeof *write);
	va_list args;

	if (write == NULL) {
		batch->out_of_memory = 1;
		return;
	}
	write->statement = statement;
	va_start(args, types);
	for (; *types != '\0' && write->n_values < CWD_VALUES_MAX; types++) {
		if (take_value(&write->values[write->n_values++], *types, &args) < 0) {
			batch->out_of_memory = 1;
		}
	}
	va_end(args);
	if (batch->last == NULL) {
		batch->first = write;
	} else {
		batch->last->next = write;
	}
	batch->last = write;
}

int cwd_store_prepare(struct cwd_store *store, struct cwb_err *err)
{
	int i;

	for (i = 0; i < CWD_N_STATEMENTS; i++) {
		if (sqlite3_prepare_v3(store->db, statement_table[i].sql, -1,
			    SQLITE_PREPARE_PERSISTENT, &store->statements[i], NULL) != SQLITE_OK) {
			return cwd_store_fail(store, err, statement_table[i].sql);
		}
	}
	return 0;
}

static int bind_value(sqlite3_stmt *statement, int at, const struct cwd_value *value)
{
	switch (value->type) {
	case CWD_INT:
		return sqlite3_bind_int64(statement, at, value->integer);
	case CWD_REAL:
		return sqlite3_bind_double(statement, at, value->real);
	case CWD_TEXT:
		return sqlite3_bind_text(statement, at, value->text, -1, SQLITE_STATIC);
	case CWD_NULL:
		break;
	}
	return sqlite3_bind_null(statement, at);
}

static int run_write(struct cwd_store *store, const struct cwd_write *write, struct cwb_err *err)
{
	sqlite3_stmt *statement = store->statements[write->statement];
	int i, rc = 0;

	if (write->n_values != statement_table[write->statement].n_values) {
		return cwb_err_set(err, -EINVAL, "statement %d wants %d values, not %d",
			(int)write->statement, statement_table[write->statement].n_values,
			write->n_values);
	}
	for (i = 0; rc == 0 && i < write->n_values; i++) {
		if (bind_value(statement, i + 1, &write->values[i]) != SQLITE_OK) {
			rc = cwd_store_fail(store, err, "bind");
		}
	}
	if (rc == 0 && sqlite3_step(statement) != SQLITE_DONE) {
		rc = cwd_store_fail(store, err, "write");
	}
	(void)sqlite3_reset(statement); /* repeats the error of the step */
	(void)sqlite3_clear_bindings(statement);
	return rc;
}

static int run_batch(struct cwd_store *store, struct cwd_batch *batch)
{
	const struct cwd_write *write;
	int rc = 0;

	cwb_err_clear(&batch->err);
	if (batch->out_of_memory) {
		rc = cwb_err_set(&batch->err, -ENOMEM, "no memory for a write");
	}
	for (write = batch->first; rc == 0 && write != NULL; write = write->next) {
		rc = run_write(store, write, &batch->err);
	}
	if (rc == 0 && batch->fetch_text != 0 && batch->text == NULL) {
		rc = cwd_store_text(store, batch->fetch_text, &batch->text, &batch->err);
	}
	batch->rc = rc;
	return rc;
}

static int command(struct cwd_store *store, const char *sql, struct cwb_err *err)
{
	return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK
		       ? 0
		       : cwd_store_fail(store, err, sql);
}

int cwd_store_apply(struct cwd_store *store, struct cwd_batch *first, struct cwb_err *err)
{
	struct cwd_batch *batch;
	struct cwb_err local = {0};
	int rc = command(store, "BEGIN IMMEDIATE", &local);

	for (batch = first; rc == 0 && batch != NULL; batch = batch->next) {
		rc = run_batch(store, batch);
		if (rc < 0) {
			local = batch->err;
		}
	}
	if (rc == 0) {
		rc = command(store, "COMMIT", &local);
	}
	if (rc < 0) {
		/* After some errors SQLite has rolled back already. */
		if (!sqlite3_get_autocommit(store->db)) {
			(void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
		}
		for (batch = first; batch != NULL; batch = batch->next) {
			batch->rc = rc;
			batch->err = local;
		}
		return cwb_err_set(err, rc, "%s", local.message);
	}
	return 0;
}

int cwd_store_text(struct cwd_store *store, int64_t id, char **ret, struct cwb_err *err)
{
	sqlite3_stmt *statement = NULL;
	int rc = 0, step;

	if (sqlite3_prepare_v2(store->db, "SELECT text FROM jobs WHERE id = ?", -1, &statement,
		    NULL) != SQLITE_OK ||
		sqlite3_bind_int64(statement, 1, id) != SQLITE_OK) {
		rc = cwd_store_fail(store, err, "text");
	} else {
		step = sqlite3_step(statement);
		if (step == SQLITE_DONE) {
			rc = cwb_err_set(
				err, CWP_EMISSING, "%s: no job %lld", store->path, (long long)id);
		} else if (step != SQLITE_ROW) {
			rc = cwd_store_fail(store, err, "text");
		} else {
			*ret = strdup((const char *)sqlite3_column_text(statement, 0));
			rc = *ret == NULL ? cwb_err_set(err, -ENOMEM, "no memory for a job") : 0;
		}
	}
	sqlite3_finalize(statement);
	return rc;
}

static sqlite3_stmt *statement_of(const struct cwd_row *row)
{
	return (sqlite3_stmt *)(uintptr_t)row;
}

int64_t cwd_row_int(const struct cwd_row *row, int column)
{
	return sqlite3_column_int64(statement_of(row), column);
}

double cwd_row_real(const struct cwd_row *row, int column)
{
	return sqlite3_column_double(statement_of(row), column);
}

const char *cwd_row_text(const struct cwd_row *row, int column)
{
	return (const char *)sqlite3_column_text(statement_of(row), column);
}

int cwd_row_is_null(const struct cwd_row *row, int column)
{
	return sqlite3_column_type(statement_of(row), column) == SQLITE_NULL;
}

int cwd_store_read(struct cwd_store *store, enum cwd_table table,
	int (*visit)(const struct cwd_row *row, void *arg), void *arg, struct cwb_err *err)
{
	static const char *const queries[] = {
		[CWD_JOBS] =
			("SELECT id, key, uid, owner, name, directory, request, digest, model, "
			 "output, state, priority,"
			 " rank, submitted, started, ended, after, resources, reason, error, "
			 "cancelling, interruptions,"
			 " scratch, parent, children, point FROM jobs ORDER BY id"),
		[CWD_ATTEMPTS] = ("SELECT job, number, started, ended, result, exit_code, signal, "
				  "checkpoints, reason, pid,"
				  " start_ticks, boot, gpu FROM attempts ORDER BY job, number"),
		[CWD_EVENTS] = "SELECT seq, time, job, kind, state, attempt, reason FROM events "
			       "ORDER BY seq",
	};
	sqlite3_stmt *statement = NULL;
	int step = SQLITE_ROW, rc = 0;

	if (sqlite3_prepare_v2(store->db, queries[table], -1, &statement, NULL) != SQLITE_OK) {
		return cwd_store_fail(store, err, "read");
	}
	while (rc == 0 && (step = sqlite3_step(statement)) == SQLITE_ROW) {
		rc = visit((const struct cwd_row *)statement, arg);
	}
	if (rc == 0 && step != SQLITE_DONE) {
		rc = cwd_store_fail(store, err, "read");
	}
	sqlite3_finalize(statement);
	return rc;
}

static int read_number(struct cwd_store *store, const char *sql, int64_t *ret, struct cwb_err *err)
{
	sqlite3_stmt *statement = NULL;
	int rc = 0;

	if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK ||
		sqlite3_step(statement) != SQLITE_ROW) {
		rc = cwd_store_fail(store, err, "read");
	} else {
		*ret = sqlite3_column_int64(statement, 0);
	}
	sqlite3_finalize(statement);
	return rc;
}

int cwd_store_last(
	struct cwd_store *store, int64_t *ret_job, int64_t *ret_event, struct cwb_err *err)
{
	int rc = read_number(store,
		"SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'jobs'", ret_job,
		err);

	return rc < 0 ? rc
		      : read_number(
				store, "SELECT coalesce(max(seq), 0) FROM events", ret_event, err);
}
