/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* All records of a data file in memory, for evaluators: CSV, JSON lines, or a JSON document. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/text/dataset.h"

#define CWE_RECORDS_LIMIT ((size_t)1 << 26) /* records of one file */

struct cwe_records;

/* Reads and checks the whole file. data: a published set (see struct cwe_dataset), whose form and encoding hold; NULL: the
 * path's ending says the form, .csv with a header, .jsonl or .json. records: of a JSON document the path of its array, NULL
 * for what the set says, else the document itself. Errors name file, line and record: CWP_EUNKNOWN (no such set),
 * CWP_EVALUE (another ending), CWP_EFORMAT, CWP_ELIMIT. [any-thread] */
int cwe_records_open(const char *path, const char *data, const char *records, struct cwe_records **ret, struct cwb_err *err);
void cwe_records_close(struct cwe_records *r); /* NULL is allowed */
uint64_t cwe_records_count(const struct cwe_records *r);
/* Where record i begins: its line, of a JSON document its number; both from 1. */
uint64_t cwe_records_line(const struct cwe_records *r, uint64_t i);
/* A column as struct cwp_host has it: 1 and the text, which lives as long as r; 0: absent or null; CWP_EVALUE: an array or an
 * object; -ENOMEM. */
int cwe_records_text(struct cwe_records *r, uint64_t i, const char *column, const char **ret, size_t *ret_length);
/* The same where absent, null, empty or holding a NUL is an error that names file, line and column: CWP_EMISSING, CWP_EVALUE.
 * 0 and the text. */
int cwe_records_need(struct cwe_records *r, uint64_t i, const char *column, const char **ret, size_t *ret_length,
	struct cwb_err *err);
/* How record i of a published set is known again (cwe_dataset_identity). 1; 0 for other data; -ENOMEM. */
int cwe_records_identity(const struct cwe_records *r, uint64_t i, char ret[CWE_ITEM_IDENTITY]);
