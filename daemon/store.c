/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Opening, migrating and checking the store. */
#include "daemon/store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/store_p.h"

#define APPLICATION_ID 0x43575044 /* "CWPD" */

/* Each entry takes the data base one version further, in a transaction of its own. Entries never
 * change. */
static const char *const migrations[] = {
	"CREATE TABLE jobs ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, uid INTEGER NOT NULL, owner "
	"TEXT NOT NULL,"
	" name TEXT NOT NULL, directory TEXT NOT NULL, text TEXT NOT NULL, request TEXT NOT NULL, "
	"digest TEXT NOT NULL,"
	" model TEXT NOT NULL, output TEXT NOT NULL,"
	" state TEXT NOT NULL CHECK (state IN ('queued', 'held', 'running', 'paused', 'done', "
	"'failed', 'rejected',"
	" 'cancelled')),"
	" priority INTEGER NOT NULL, rank INTEGER NOT NULL, submitted REAL NOT NULL, started REAL, "
	"ended REAL,"
	" after TEXT NOT NULL, resources TEXT NOT NULL, reason TEXT, error TEXT, cancelling "
	"INTEGER NOT NULL DEFAULT 0,"
	" interruptions INTEGER NOT NULL DEFAULT 0, scratch TEXT, UNIQUE (uid, key));"
	"CREATE TABLE attempts ("
	" job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, number INTEGER NOT NULL, "
	"started REAL NOT NULL,"
	" ended REAL, result TEXT NOT NULL DEFAULT 'running', exit_code INTEGER, signal INTEGER,"
	" checkpoints INTEGER NOT NULL DEFAULT 0, reason TEXT, pid INTEGER, start_ticks INTEGER, "
	"boot TEXT,"
	" PRIMARY KEY (job, number)) WITHOUT ROWID;"
	"CREATE TABLE events ("
	" seq INTEGER PRIMARY KEY, time REAL NOT NULL, job INTEGER NOT NULL, kind TEXT NOT NULL, "
	"state TEXT,"
	" attempt INTEGER, reason TEXT);",
	"ALTER TABLE jobs ADD COLUMN parent INTEGER REFERENCES jobs (id) ON DELETE CASCADE;"
	"ALTER TABLE jobs ADD COLUMN children INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE jobs ADD COLUMN point TEXT;"
	"CREATE INDEX jobs_parent ON jobs (parent);",
	"ALTER TABLE attempts ADD COLUMN gpu TEXT;",
};

#define VERSION ((int)(sizeof migrations / sizeof migrations[0]))

int cwd_store_fail(struct cwd_store *store, struct cwb_err *err, const char *what)
{
	int code = sqlite3_errcode(store->db);
	int rc = -EIO;

	if (code == SQLITE_FULL) {
		rc = -ENOSPC;
	} else if (code == SQLITE_NOMEM) {
		rc = -ENOMEM;
	} else if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) {
		rc = CWP_EFORMAT;
	} else if (code == SQLITE_CONSTRAINT) {
		rc = CWP_ESTATE;
	}
	return cwb_err_set(err, rc, "%s: %s: %s", store->path, what, sqlite3_errmsg(store->db));
}

static int run(struct cwd_store *store, const char *sql, const char *what, struct cwb_err *err)
{
	return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK
		       ? 0
		       : cwd_store_fail(store, err, what);
}

static int read_pragma(struct cwd_store *store, const char *sql, int64_t *ret, struct cwb_err *err)
{
	sqlite3_stmt *statement = NULL;
	int rc = 0;

	if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK ||
		sqlite3_step(statement) != SQLITE_ROW) {
		rc = cwd_store_fail(store, err, sql);
	} else {
		*ret = sqlite3_column_int64(statement, 0);
	}
	sqlite3_finalize(statement);
	return rc;
}

static int check_quickly(struct cwd_store *store, struct cwb_err *err)
{
	sqlite3_stmt *statement = NULL;
	int rc = 0;

	if (sqlite3_prepare_v2(store->db, "PRAGMA quick_check(1)", -1, &statement, NULL) !=
			SQLITE_OK ||
		sqlite3_step(statement) != SQLITE_ROW) {
		rc = cwd_store_fail(store, err, "check");
	} else if (strcmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0) {
		rc = cwb_err_set(err, CWP_EFORMAT,
			"%s: damaged: %s; move it aside (the daemon never starts with an empty"
			" queue on its own) or restore a copy",
			store->path, sqlite3_column_text(statement, 0));
	}
	sqlite3_finalize(statement);
	return rc;
}

static int migrate_once(struct cwd_store *store, int version, struct cwb_err *err)
{
	char sql[96];
	int rc = run(store, "BEGIN IMMEDIATE", "migrate", err);

	if (rc < 0) {
		return rc;
	}
	rc = run(store, migrations[version], "migrate", err);
	if (rc == 0) {
		sqlite3_snprintf(sizeof sql, sql,
			"PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID,
			version + 1);
		rc = run(store, sql, "migrate", err);
	}
	if (rc == 0) {
		rc = run(store, "COMMIT", "migrate", err);
	}
	if (rc < 0) {
		(void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL,
			NULL); /* the first error is the one to report */
	}
	return rc;
}

static int migrate(struct cwd_store *store, struct cwb_err *err)
{
	int64_t application = 0, version = 0, tables = 0;
	int rc = read_pragma(store, "PRAGMA application_id", &application, err);

	if (rc == 0) {
		rc = read_pragma(store, "PRAGMA user_version", &version, err);
	}
	if (rc == 0) {
		rc = read_pragma(store, "SELECT count(*) FROM sqlite_master", &tables, err);
	}
	if (rc < 0) {
		return rc;
	}
	if (application != APPLICATION_ID && (application != 0 || tables != 0)) {
		return cwb_err_set(err, CWP_EFORMAT,
			"%s: a data base, but not of cwpd (application_id %lld)", store->path,
			(long long)application);
	}
	if (version < 0 || version > VERSION) {
		return cwb_err_set(err, CWP_EFORMAT,
			"%s: written by a newer cwpd (version %lld, this one knows %d)",
			store->path, (long long)version, VERSION);
	}
	for (; rc == 0 && version < VERSION; version++) {
		rc = migrate_once(store, (int)version, err);
	}
	return rc;
}

static int set_up(struct cwd_store *store, struct cwb_err *err)
{
	int rc;

	(void)sqlite3_extended_result_codes(store->db, 0);
	(void)sqlite3_busy_timeout(store->db, 5000);
	(void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	/* In WAL, NORMAL may lose the last commits with the power; an accepted job must not be
	 * lost. */
	rc = run(store,
		"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON",
		"open", err);
	if (rc == 0) {
		rc = check_quickly(store, err);
	}
	if (rc == 0) {
		rc = migrate(store, err);
	}
	return rc < 0 ? rc : cwd_store_prepare(store, err);
}

int cwd_store_open(const char *path, struct cwd_store **ret, struct cwb_err *err)
{
	struct cwd_store *store = calloc(1, sizeof *store);
	int rc;

	if (store == NULL || (store->path = strdup(path)) == NULL) {
		free(store);
		return cwb_err_set(err, -ENOMEM, "no memory for the store");
	}
	if (sqlite3_open_v2(path, &store->db,
		    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
		    NULL) != SQLITE_OK) {
		rc = cwb_err_set(err, -EIO, "%s: %s", path,
			store->db == NULL ? "no memory" : sqlite3_errmsg(store->db));
	} else {
		rc = set_up(store, err);
	}
	if (rc < 0) {
		cwd_store_close(store);
		return rc;
	}
	*ret = store;
	return 0;
}

void cwd_store_close(struct cwd_store *store)
{
	int i;

	if (store == NULL) {
		return;
	}
	for (i = 0; i < CWD_N_STATEMENTS; i++) {
		sqlite3_finalize(store->statements[i]);
	}
	sqlite3_close(store->db);
	free(store->path);
	free(store);
}
