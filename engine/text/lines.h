/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The lines of a text file, one after another in bounded memory. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CWE_LINE_LIMIT ((size_t)16 << 20) /* bytes */

struct cwe_lines {
	const char *path; /* the caller's, for messages */
	int fd;
	char *buffer;
	size_t room, start, end; /* what is read and not yet given out lies between start and end */
	int at_end;
	uint64_t next;   /* offset in the file of buffer[start] */
	uint64_t offset; /* of the line that was given out last */
	size_t line;     /* its number, from 1 */
};

int cwe_lines_open(const char *path, struct cwe_lines *ret, struct cwb_err *err);
/* 1 and a line without its LF (CR stays), or 0 at the end. A byte order mark at the start of the
 * file is left out. *ret lives until the next call. CWP_ELIMIT: longer than CWE_LINE_LIMIT. */
int cwe_lines_next(struct cwe_lines *l, const char **ret, size_t *ret_length, struct cwb_err *err);
void cwe_lines_close(struct cwe_lines *l);

/* "<path>:<line>: ", the field if there is one, and the message; fills err->line and err->field.
 * Returns code. */
int cwe_lines_refuse(struct cwb_err *err, int code, const char *path, size_t line,
	const char *field, const char *format, ...) __attribute__((format(printf, 6, 7)));
