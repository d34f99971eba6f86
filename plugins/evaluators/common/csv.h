/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* CSV as RFC 4180 has it: quotes only at the very start of a field, "" inside them, line ends inside quotes, LF or CRLF
 * between records. Bounded by its input; allocates one table of fields. */
#ifndef CWP_EVALUATOR_CSV_H
#define CWP_EVALUATOR_CSV_H

#include <stddef.h>

struct csv_field {
	char *text; /* NUL-terminated, within the parsed buffer */
	size_t length;
};

struct csv {
	char *buffer;
	struct csv_field *field; /* [records * columns] */
	size_t records, columns; /* the header is record 0 */
	size_t line;             /* where a refused file went wrong */
};

/* Copies data. 0, -ENOMEM, or CWP_EFORMAT: a quote is not closed, text follows a closing quote, or a record has not
 * as many fields as the header (csv->line says where). Free with csv_free in every case. */
int csv_parse(const char *data, size_t length, struct csv *csv);
void csv_free(struct csv *csv);
/* The column of this name in the header, or -1. */
long csv_column(const struct csv *csv, const char *name);

#endif
