/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A CSV reader. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/error.h>

#include "plugins/evaluators/common/csv.h"

static int push(struct csv *csv, size_t *count, size_t *capacity, char *text, size_t length)
{
	if (*count == *capacity) {
		size_t more = *capacity > 0 ? 2 * *capacity : 256;
		struct csv_field *field = realloc(csv->field, more * sizeof *field);
		if (field == NULL) {
			return -ENOMEM;
		}
		csv->field = field;
		*capacity = more;
	}
	csv->field[*count].text = text;
	csv->field[*count].length = length;
	++*count;
	return 0;
}

/* A quoted field from the character after its quote; *at ends behind the closing quote. */
static int quoted(struct csv *csv, const char *data, size_t length, size_t *at, size_t *out)
{
	while (*at < length) {
		char c = data[(*at)++];
		if (c == '"' && *at < length && data[*at] == '"') {
			++*at;
		} else if (c == '"') {
			return *at == length || data[*at] == ',' || data[*at] == '\n' ||
					(data[*at] == '\r' && *at + 1 < length && data[*at + 1] == '\n') ? 0 : CWP_EFORMAT;
		} else if (c == '\n') {
			csv->line++;
		}
		csv->buffer[(*out)++] = c;
	}
	return CWP_EFORMAT;
}

static int end_record(struct csv *csv, size_t fields)
{
	if (csv->columns == 0) {
		csv->columns = fields;
	}
	csv->records++;
	return fields == csv->columns ? 0 : CWP_EFORMAT;
}

int csv_parse(const char *data, size_t length, struct csv *csv)
{
	size_t at = 0, out = 0, count = 0, capacity = 0, first = 0;
	memset(csv, 0, sizeof *csv);
	csv->line = 1;
	csv->buffer = malloc(length + length / 2 + 2); /* each field gets a NUL of its own, in place of its separator */
	if (csv->buffer == NULL) {
		return -ENOMEM;
	}
	if (length >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
		at = 3;
	}
	while (at < length) {
		size_t start = out;
		int r = 0;
		if (data[at] == '"') {
			at++;
			r = quoted(csv, data, length, &at, &out);
		} else {
			while (at < length && data[at] != ',' && data[at] != '\n' && !(data[at] == '\r' && at + 1 < length &&
				data[at + 1] == '\n')) {
				csv->buffer[out++] = data[at++];
			}
		}
		csv->buffer[out++] = '\0';
		r = r == 0 ? push(csv, &count, &capacity, csv->buffer + start, out - 1 - start) : r;
		if (r != 0) {
			return r;
		}
		if (at < length && data[at] == ',') {
			at++;
			if (at == length || data[at] == '\n') { /* an empty last field */
				csv->buffer[out++] = '\0';
				r = push(csv, &count, &capacity, csv->buffer + out - 1, 0);
				if (r != 0) {
					return r;
				}
			} else {
				continue;
			}
		}
		if (at < length && data[at] == '\r') {
			at++;
		}
		r = end_record(csv, count - first);
		if (r != 0) {
			return r;
		}
		first = count;
		if (at < length) {
			at++;
			csv->line++;
		}
	}
	return 0;
}

void csv_free(struct csv *csv)
{
	free(csv->buffer);
	free(csv->field);
	memset(csv, 0, sizeof *csv);
}

long csv_column(const struct csv *csv, const char *name)
{
	for (size_t i = 0; csv->records > 0 && i < csv->columns; i++) {
		if (strcmp(csv->field[i].text, name) == 0) {
			return (long)i;
		}
	}
	return -1;
}
