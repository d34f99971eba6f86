/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Inside of the store. */
#pragma once

#include <sqlite3.h>

#include "daemon/store.h"

struct cwd_store {
	sqlite3 *db;
	char *path;
	sqlite3_stmt *statements[CWD_N_STATEMENTS];
};

/* Fills err from the data base's last error. */
int cwd_store_fail(struct cwd_store *store, struct cwb_err *err, const char *what);

/* Prepares all statements. */
int cwd_store_prepare(struct cwd_store *store, struct cwb_err *err);
