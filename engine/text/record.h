/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A record of a data file, whatever its form, and the texts of its columns. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "engine/text/csv.h"

struct cwe_record {
	const struct cwe_csv *csv; /* the record at hand, or */
	const json_t *json;        /* NULL with csv */
	char *const *header;       /* [csv->columns] names; NULL: columns have numbers from 1 */
	size_t number;             /* from 1 in its file */
};

struct cwe_text {
	const char *text;
	size_t length;
	char number[24]; /* what text points at when the value is an integer */
};

/* A column: of CSV its name, or its number where there is no header or with # in front; of JSON
 * members and array indices with dots between, such as instances.0.output. 1 and the text (of an
 * integer its digits), 0 when it is absent or null, or CWP_EVALUE when it is neither text nor
 * integer: *ret_type is what it is then. ret belongs to the record, and must not be copied. */
int cwe_record_text(const struct cwe_record *r, const char *column, struct cwe_text *ret,
	const char **ret_type);
/* The JSON value of such a path, or NULL. */
const json_t *cwe_record_json(const json_t *json, const char *path);
