/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* CSV as RFC 4180 has it, record by record in bounded memory. A quote is special at the very start
 * of a field only; inside quotes "" is one, and line ends are text. Records end with LF or CR LF,
 * also mixed; empty lines between them are passed over. Every record has as many fields as the
 * first. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/text/encoding.h"

#define CWE_CSV_RECORD_LIMIT ((size_t)16 << 20) /* bytes, with quotes */
#define CWE_CSV_FIELD_LIMIT ((size_t)4 << 20)   /* bytes, without */
#define CWE_CSV_COLUMN_LIMIT ((size_t)4096)

struct cwe_csv_field {
	const char *text; /* UTF-8 with a NUL behind it */
	size_t length;
};

/* Where a record in the making stands: how far it was looked at, and in what. */
struct cwe_csv_scan {
	size_t at;
	size_t lines; /* line ends so far */
	enum { CWE_CSV_START, CWE_CSV_PLAIN, CWE_CSV_QUOTED, CWE_CSV_QUOTE, CWE_CSV_CR } state;
};

struct cwe_csv {
	const char *path; /* the caller's, for messages */
	enum cwe_encoding encoding;
	int fd;
	char *buffer;
	size_t room, start, end; /* what is read and not yet given out */
	int at_end;
	uint64_t next;    /* offset in the file of buffer[start] */
	size_t next_line; /* its line, from 1 */
	/* The record that was given out last. */
	uint64_t offset; /* of its bytes in the file, without its line end */
	size_t length;
	size_t record, line; /* from 1; the line where it begins */
	struct cwe_csv_field *field;
	size_t count;
	/* Its memory. */
	size_t field_room;
	char *text;
	size_t text_room;
	size_t columns; /* of the first record; 0 before it */
};

int cwe_csv_open(
	const char *path, enum cwe_encoding encoding, struct cwe_csv *ret, struct cwb_err *err);
/* 1 and the next record in csv->field, or 0 at the end. Fields live until the next call. A byte
 * order mark at the start of the file is left out. Errors name file, line, record and byte:
 * CWP_EFORMAT for what is not CSV, NUL, or not UTF-8; CWP_ELIMIT beyond the limits above. */
int cwe_csv_next(struct cwe_csv *csv, struct cwb_err *err);
/* One record again, from its bytes: csv->offset, record and line are the caller's, for messages. */
int cwe_csv_parse(struct cwe_csv *csv, const char *text, size_t length, struct cwb_err *err);
void cwe_csv_close(struct cwe_csv *csv);

/* "<path>:<line>: record <n>, byte <offset>: " and the message; fills err->line. Returns code. */
int cwe_csv_refuse(const struct cwe_csv *csv, uint64_t offset, int code, struct cwb_err *err,
	const char *format, ...) __attribute__((format(printf, 5, 6)));
