/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A job's log file: whole lines of printable UTF-8, each with its time and origin, capped in length
 * and in number. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CWD_JOBLOG_LINE_MAX 4096

struct cwd_joblog {
	int fd;
	uint64_t size, limit;           /* bytes */
	int full;                       /* said so */
	char line[CWD_JOBLOG_LINE_MAX]; /* of raw output, not ended yet */
	size_t length;
};

/* Opens path for appending. */
int cwd_joblog_open(struct cwd_joblog *log, const char *path, uint64_t limit, struct cwb_err *err);
/* Ends an unfinished line and closes. Fine on a closed log (fd -1). */
void cwd_joblog_close(struct cwd_joblog *log);
/* Raw bytes that a worker printed. */
void cwd_joblog_output(struct cwd_joblog *log, const char *bytes, size_t length);
/* One line; origin is a word: info, warning, daemon. */
void cwd_joblog_line(struct cwd_joblog *log, const char *origin, const char *text, size_t length);
