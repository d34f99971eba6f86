/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The store on disk: what is written is read again, batches are whole, foreign and newer files are
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "daemon/store.h"

static char folder[64];
static char path[96];

static int set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/cwp-store-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/db", folder);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

static struct cwd_store *open_store(void)
{
	struct cwd_store *store;
	struct cwb_err err = {0};

	if (cwd_store_open(path, &store, &err) < 0) {
		fail_msg("%s", err.message);
	}
	return store;
}

static void add_job(struct cwd_batch *batch, int64_t id, const char *key)
{
	cwd_batch_add(batch, CWD_INSERT_JOB, "isisssssssssiidsss", id, key, (int64_t)7, "owner",
		"name", "/dir", "the text", "request", "digest", "/model", "/output", "queued",
		(int64_t)3, id, 1.5, "", "{}", NULL);
}

static int apply(struct cwd_store *store, struct cwd_batch *batch)
{
	int rc = cwd_store_apply(store, batch, NULL);

	cwd_batch_free(batch);
	return rc;
}

static int count_rows(const struct cwd_row *row, void *arg)
{
	(void)row;
	++*(int *)arg;
	return 0;
}

static int count(struct cwd_store *store, enum cwd_table table)
{
	int n = 0;

	assert_int_equal(cwd_store_read(store, table, count_rows, &n, NULL), 0);
	return n;
}

static int check_job(const struct cwd_row *row, void *arg)
{
	(void)arg;
	assert_int_equal(cwd_row_int(row, 0), 5);
	assert_string_equal(cwd_row_text(row, 1), "key-5");
	assert_string_equal(cwd_row_text(row, 10), "running");
	assert_true(cwd_row_real(row, 13) == 1.5);
	assert_true(cwd_row_is_null(row, 19));
	assert_string_equal(cwd_row_text(row, 18), "because");
	assert_int_equal(cwd_row_int(row, 20), 1);
	return 0;
}

static void test_written_is_read(void **state)
{
	struct cwd_store *store = open_store();
	struct cwd_batch *batch = cwd_batch_new();
	int64_t job, event;
	char *text;

	(void)state;
	add_job(batch, 5, "key-5");
	cwd_batch_add(batch, CWD_UPDATE_JOB, "sddssiisi", "running", 2.0, 0.0, "because", NULL,
		(int64_t)1, (int64_t)0, NULL, (int64_t)5);
	cwd_batch_add(batch, CWD_INSERT_ATTEMPT, "iids", (int64_t)5, (int64_t)1, 2.0, "GPU-1");
	cwd_batch_add(batch, CWD_INSERT_EVENT, "idissis", (int64_t)9, 2.0, (int64_t)5, "state",
		"running", (int64_t)1, NULL);
	assert_int_equal(apply(store, batch), 0);
	cwd_store_close(store);
	store = open_store();
	assert_int_equal(cwd_store_read(store, CWD_JOBS, check_job, NULL, NULL), 0);
	assert_int_equal(count(store, CWD_ATTEMPTS), 1);
	assert_int_equal(count(store, CWD_EVENTS), 1);
	assert_int_equal(cwd_store_text(store, 5, &text, NULL), 0);
	assert_string_equal(text, "the text");
	free(text);
	assert_int_equal(cwd_store_text(store, 6, &text, NULL), CWP_EMISSING);
	/* The number of a removed job is remembered, its attempts go with it. */
	batch = cwd_batch_new();
	cwd_batch_add(batch, CWD_DELETE_JOB, "i", (int64_t)5);
	assert_int_equal(apply(store, batch), 0);
	assert_int_equal(count(store, CWD_ATTEMPTS), 0);
	assert_int_equal(cwd_store_last(store, &job, &event, NULL), 0);
	assert_int_equal(job, 5);
	assert_int_equal(event, 9);
	batch = cwd_batch_new();
	cwd_batch_add(batch, CWD_PRUNE_EVENTS, "i", (int64_t)10);
	assert_int_equal(apply(store, batch), 0);
	assert_int_equal(count(store, CWD_EVENTS), 0);
	cwd_store_close(store);
}

/* The rows of a sweep's jobs go with its own. */
static void test_sweeps(void **state)
{
	struct cwd_store *store = open_store();
	struct cwd_batch *batch = cwd_batch_new();

	(void)state;
	add_job(batch, 1, "other");
	add_job(batch, 2, "sweep");
	cwd_batch_add(batch, CWD_UPDATE_SWEEP, "nisi", (int64_t)2, "[]", (int64_t)2);
	for (int64_t id = 3; id <= 4; id++) {
		add_job(batch, id, id == 3 ? "a" : "b");
		cwd_batch_add(batch, CWD_UPDATE_SWEEP, "iisi", (int64_t)2, (int64_t)0, "{}", id);
		cwd_batch_add(batch, CWD_INSERT_ATTEMPT, "iids", id, (int64_t)1, 2.0, NULL);
	}
	assert_int_equal(apply(store, batch), 0);
	batch = cwd_batch_new();
	cwd_batch_add(batch, CWD_UPDATE_SWEEP, "iisi", (int64_t)99, (int64_t)0, "{}", (int64_t)4);
	assert_int_equal(apply(store, batch), CWP_ESTATE); /* no such sweep */
	cwd_store_close(store);
	store = open_store();
	assert_int_equal(count(store, CWD_JOBS), 4);
	batch = cwd_batch_new();
	cwd_batch_add(batch, CWD_DELETE_JOB, "i", (int64_t)2);
	assert_int_equal(apply(store, batch), 0);
	assert_int_equal(count(store, CWD_JOBS), 1);
	assert_int_equal(count(store, CWD_ATTEMPTS), 0);
	cwd_store_close(store);
}

static void test_all_or_nothing(void **state)
{
	struct cwd_store *store = open_store();
	struct cwd_batch *batch = cwd_batch_new(), *second = cwd_batch_new();

	(void)state;
	add_job(batch, 1, "same-key");
	add_job(batch, 2, "same-key");
	assert_int_equal(apply(store, batch), CWP_ESTATE);
	assert_int_equal(count(store, CWD_JOBS), 0);
	/* Two batches in one transaction: both, or none, and each knows. */
	batch = cwd_batch_new();
	add_job(batch, 1, "key-1");
	cwd_batch_add(second, CWD_INSERT_ATTEMPT, "iids", (int64_t)99, (int64_t)1, 2.0, NULL);
	batch->next = second;
	assert_int_equal(cwd_store_apply(store, batch, NULL), CWP_ESTATE);
	assert_int_equal(batch->rc, CWP_ESTATE);
	assert_int_equal(second->rc, CWP_ESTATE);
	assert_true(second->err.message[0]);
	assert_int_equal(count(store, CWD_JOBS), 0);
	batch->next = NULL;
	batch->fetch_text = 1;
	assert_int_equal(cwd_store_apply(store, batch, NULL), 0);
	assert_string_equal(batch->text, "the text");
	cwd_batch_free(batch);
	cwd_batch_free(second);
	/* A state that is none, and a wrong number of values. */
	batch = cwd_batch_new();
	cwd_batch_add(batch, CWD_UPDATE_JOB, "sddssiisi", "asleep", 2.0, 0.0, NULL, NULL,
		(int64_t)1, (int64_t)0, NULL, (int64_t)1);
	assert_int_equal(apply(store, batch), CWP_ESTATE);
	batch = cwd_batch_new();
	cwd_batch_add(batch, CWD_DELETE_JOB, "ii", (int64_t)1, (int64_t)1);
	assert_true(apply(store, batch) < 0);
	assert_int_equal(count(store, CWD_JOBS), 1);
	cwd_store_close(store);
}

static void run_sql(const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void refuses(const char *words)
{
	struct cwd_store *store;
	struct cwb_err err = {0};

	assert_int_equal(cwd_store_open(path, &store, &err), CWP_EFORMAT);
	if (strstr(err.message, words) == NULL) {
		fail_msg("%s", err.message);
	}
}

static void test_foreign_files(void **state)
{
	FILE *file;

	(void)state;
	run_sql("CREATE TABLE theirs (a)");
	refuses("not of cwpd");
	unlink(path);
	cwd_store_close(open_store());
	run_sql("PRAGMA user_version = 1000");
	refuses("newer cwpd");
	run_sql("PRAGMA user_version = -1");
	refuses("newer cwpd");
	unlink(path);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs("this is no data base at all, not even a little, though it is long enough to be "
	      "looked at as if it were one "
	      "of them, with a header of a hundred bytes",
		file);
	fclose(file);
	refuses("not a database");
}

static void test_settings(void **state)
{
	struct cwd_store *store = open_store();
	sqlite3 *db;
	sqlite3_stmt *statement;

	(void)state;
	cwd_store_close(store);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_string_equal((const char *)sqlite3_column_text(statement, 0), "wal");
	sqlite3_finalize(statement);
	assert_int_equal(
		sqlite3_prepare_v2(db, "PRAGMA application_id", -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_int_equal(sqlite3_column_int(statement, 0), 0x43575044);
	sqlite3_finalize(statement);
	sqlite3_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_written_is_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sweeps, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_all_or_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_foreign_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_settings, set_up, tear_down)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
