/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The records of a calibration file, in each of its forms. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/text/items.h"
#include "engine/text/lines.h"

#define DOCUMENT_LIMIT ((size_t)256 << 20) /* bytes */

static int is_blank(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (!strchr(" \t\r\n\v\f", text[i]) || text[i] == '\0')
			return 0;
	}
	return 1;
}

static int no_memory(const struct cwe_items *items, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "%s: out of memory", items->path);
}

static int find_lines(struct cwe_items *items, struct cwe_lines *l, struct cwb_err *err)
{
	const char *text;
	size_t length;
	int rc;
	while ((rc = cwe_lines_next(l, &text, &length, err)) > 0) {
		if (is_blank(text, length))
			continue;
		const struct cwe_item place = {.offset = l->offset,
			.length = length,
			.line = l->line,
			.record = items->records + 1};
		rc = cwe_items_add(items, &place, text, length, err);
		if (rc < 0)
			return rc;
	}
	return rc;
}

/* A paragraph in the making: its lines, as they are in the file. */
struct paragraph {
	char *text;
	size_t length, room;
	uint64_t offset;
	size_t line;
};

static int add_line(struct cwe_items *items, struct paragraph *g, const struct cwe_lines *l,
	const char *text, size_t length, struct cwb_err *err)
{
	if (g->length == 0) {
		g->offset = l->offset;
		g->line = l->line;
	}
	if (g->length + length > CWE_LINE_LIMIT)
		return cwe_lines_refuse(err, CWP_ELIMIT, items->path, g->line, "",
			"a paragraph longer than %zu bytes", CWE_LINE_LIMIT);
	if (g->room - g->length < length + 1) {
		size_t room = 2 * g->room + length + 1024;
		char *grown = realloc(g->text, room);
		if (!grown)
			return no_memory(items, err);
		g->text = grown;
		g->room = room;
	}
	memcpy(g->text + g->length, text, length);
	g->length += length;
	g->text[g->length++] = '\n';
	return 0;
}

/* How many signs a heading of WikiText has, " = Title = " or " = = Title = = "; 0: it is none. */
static size_t heading_level(const char *text, size_t length, const char **ret, size_t *ret_length)
{
	size_t level = 0;
	while (length > 0 && strchr(" \r\n", text[length - 1]))
		length--;
	while (length > 0 && *text == ' ') {
		text++;
		length--;
	}
	while (length >= 5 && memcmp(text, "= ", 2) == 0 &&
		memcmp(text + length - 2, " =", 2) == 0) {
		level++;
		text += 2;
		length -= 4;
	}
	*ret = text;
	*ret_length = length;
	return level;
}

/* A title of the first level begins an article. */
static int add_article(
	struct cwe_items *items, const char *title, size_t length, struct cwb_err *err)
{
	char **grown = realloc(items->article, (items->articles + 1) * sizeof(*grown));
	if (!grown)
		return no_memory(items, err);
	items->article = grown;
	grown[items->articles] = strndup(title, length);
	if (!grown[items->articles])
		return no_memory(items, err);
	items->articles++;
	return 0;
}

static int end_paragraph(struct cwe_items *items, struct paragraph *g, struct cwb_err *err)
{
	if (g->length == 0)
		return 0;
	/* The last line end is not read again: the file's last line may have none. */
	const struct cwe_item place = {.offset = g->offset,
		.length = g->length - 1,
		.line = g->line,
		.record = items->records + 1,
		.article = items->articles};
	g->length = 0;
	return cwe_items_add(items, &place, g->text, place.length, err);
}

/* A heading ends a paragraph, and belongs to none. 1: the line is one. */
static int end_at_heading(struct cwe_items *items, struct paragraph *g, const char *text,
	size_t length, struct cwb_err *err)
{
	const char *title;
	size_t n;
	size_t level =
		items->row.form == CWE_FORM_ARTICLES ? heading_level(text, length, &title, &n) : 0;
	if (level == 0)
		return 0;
	int rc = end_paragraph(items, g, err);
	if (rc == 0 && level == 1)
		rc = add_article(items, title, n, err);
	return rc < 0 ? rc : 1;
}

static int find_paragraphs(struct cwe_items *items, struct cwe_lines *l, struct cwb_err *err)
{
	struct paragraph g = {0};
	const char *text;
	size_t length;
	int rc;
	while ((rc = cwe_lines_next(l, &text, &length, err)) > 0) {
		rc = end_at_heading(items, &g, text, length, err);
		if (rc == 0)
			rc = is_blank(text, length) ? end_paragraph(items, &g, err)
						    : add_line(items, &g, l, text, length, err);
		if (rc < 0)
			break;
	}
	if (rc == 0)
		rc = end_paragraph(items, &g, err);
	free(g.text);
	return rc;
}

static int find_text(struct cwe_items *items, struct cwb_err *err)
{
	struct cwe_lines l;
	int rc = cwe_lines_open(items->path, &l, err);
	if (rc < 0)
		return rc;
	rc = items->row.form == CWE_FORM_JSONL ? find_lines(items, &l, err)
					       : find_paragraphs(items, &l, err);
	if (rc == 0) {
		items->fd = l.fd; /* the same file, whatever the path names by then */
		l.fd = -1;
	}
	cwe_lines_close(&l);
	return rc;
}

static int add_records(struct cwe_items *items, const char *path, struct cwb_err *err)
{
	const json_t *array = cwe_record_json(items->document, path);
	if (!json_is_array(array))
		return cwb_err_set(err, CWP_EFORMAT, "%s: %s%s is %s, not an array of records%s",
			items->path, *path ? path : "the document", *path ? " of the document" : "",
			array ? cwb_json_type_name(array) : "absent",
			*path ? "" : "; columns: {records: ..} of the job says where it is");
	size_t n = json_array_size(array);
	const json_t **grown =
		realloc(items->record, (items->records + n + 1) * sizeof(*items->record));
	if (!grown)
		return no_memory(items, err);
	items->record = grown;
	for (size_t i = 0; i < n; i++) {
		struct cwe_item place = {.offset = items->records, .record = items->records + 1};
		items->record[items->records++] = json_array_get(array, i);
		int rc = cwe_items_add(items, &place, NULL, 0, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int find_document(struct cwe_items *items, struct cwb_err *err)
{
	int rc = cwb_json_load_file(
		items->path, DOCUMENT_LIMIT, CWB_JSON_DEPTH, &items->document, err);
	if (rc < 0)
		return rc;
	if (!items->row.records[0])
		return add_records(items, "", err);
	for (size_t i = 0; i < 2 && items->row.records[i] && rc == 0; i++)
		rc = add_records(items, items->row.records[i], err);
	return rc;
}

/* A column that the row names must be in the header, unless it may be absent by nature. */
static int check_header(const struct cwe_items *items, const char *column, struct cwb_err *err)
{
	char list[256] = "";
	size_t n = 0;
	if (!column || *column == '#')
		return 0;
	for (size_t i = 0; i < items->csv.columns; i++) {
		if (strcmp(items->header[i], column) == 0)
			return 0;
		if (n < sizeof(list))
			n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%.60s",
				i > 0 ? ", " : "", items->header[i]);
	}
	if (err && err->code == 0) {
		err->line = (int)items->csv.line;
		snprintf(err->field, sizeof(err->field), "%s", column);
	}
	return cwb_err_set(err, CWP_EMISSING, "%s:%zu: no column is named %s; there are %s",
		items->path, items->csv.line, column, list);
}

static int read_header(struct cwe_items *items, struct cwb_err *err)
{
	int rc = cwe_csv_next(&items->csv, err);
	if (rc <= 0)
		return rc < 0 ? rc
			      : cwb_err_set(err, CWP_EMISSING,
					"%s: no items; give a file that holds some, or leave the set out",
					items->path);
	items->header = calloc(items->csv.columns, sizeof(*items->header));
	if (!items->header)
		return no_memory(items, err);
	for (size_t i = 0; i < items->csv.columns; i++) {
		items->header[i] = strdup(items->csv.field[i].text);
		if (!items->header[i])
			return no_memory(items, err);
	}
	for (size_t i = 0; i < CWE_DATASET_COLUMNS && rc >= 0; i++)
		rc = check_header(items, items->row.column[i], err);
	for (size_t i = 0; i < CWE_DATASET_KEYS && rc >= 0; i++)
		rc = check_header(items, items->row.key[i], err);
	return rc < 0 ? rc : 0;
}

static int find_csv(struct cwe_items *items, struct cwb_err *err)
{
	struct cwe_csv *csv = &items->csv;
	int rc = cwe_csv_open(items->path, items->row.encoding, csv, err);
	if (rc == 0 && !items->row.no_header)
		rc = read_header(items, err);
	while (rc == 0 && (rc = cwe_csv_next(csv, err)) > 0) {
		const struct cwe_item place = {.offset = csv->offset,
			.length = csv->length,
			.line = csv->line,
			.record = csv->record};
		rc = cwe_items_add(items, &place, "", 0, err);
	}
	return rc;
}

int cwe_items_find(struct cwe_items *items, struct cwb_err *err)
{
	switch (items->row.form) {
	case CWE_FORM_CSV:
		return find_csv(items, err);
	case CWE_FORM_JSON:
		return find_document(items, err);
	default:
		return find_text(items, err);
	}
}
