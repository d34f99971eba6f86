/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* All records of a data file in memory. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/text/lines.h"
#include "engine/text/records.h"

#define DOCUMENT_LIMIT ((size_t)256 << 20) /* bytes */

struct entry {
	uint64_t line;
	size_t number; /* from 1 in the file, a header counted */
	char **field;  /* [columns] of CSV; the texts lie behind it */
	json_t *json;  /* else */
};

/* A text that was made of a number. */
struct made {
	struct made *next;
	char text[32];
};

struct cwe_records {
	char *path;
	struct cwe_dataset row;
	int published;
	char **header; /* [columns] of CSV with one, else NULL */
	size_t columns;
	json_t *document;
	struct entry *entry;
	size_t count, room;
	struct made *made;
};

static int no_memory(const struct cwe_records *r, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "%s: out of memory", r->path);
}

static int add(struct cwe_records *r, const struct entry *e, struct cwb_err *err)
{
	if (r->count == CWE_RECORDS_LIMIT)
		return cwb_err_set(err, CWP_ELIMIT, "%s: more than %zu records; divide the file", r->path, CWE_RECORDS_LIMIT);
	if (r->count == r->room) {
		size_t room = r->room > 0 ? 2 * r->room : 64;
		struct entry *grown = realloc(r->entry, room * sizeof(*grown));

		if (!grown)
			return no_memory(r, err);
		r->entry = grown;
		r->room = room;
	}
	r->entry[r->count++] = *e;
	return 0;
}

/* The fields of the record at hand, in one piece of memory. */
static char **copy_fields(const struct cwe_csv *csv)
{
	size_t bytes = csv->columns * sizeof(char *);

	for (size_t i = 0; i < csv->columns; i++)
		bytes += csv->field[i].length + 1;
	char **field = malloc(bytes);
	char *text = field ? (char *)(field + csv->columns) : NULL;

	for (size_t i = 0; field && i < csv->columns; i++) {
		memcpy(text, csv->field[i].text, csv->field[i].length + 1);
		field[i] = text;
		text += csv->field[i].length + 1;
	}
	return field;
}

static int read_csv(struct cwe_records *r, struct cwb_err *err)
{
	struct cwe_csv csv;
	int rc = cwe_csv_open(r->path, r->row.encoding, &csv, err);

	if (rc < 0)
		return rc;
	while (rc >= 0 && (rc = cwe_csv_next(&csv, err)) > 0) {
		struct entry e = {.line = csv.line, .number = csv.record, .field = copy_fields(&csv)};

		if (!e.field) {
			rc = no_memory(r, err);
		} else if (r->columns == 0 && !r->row.no_header) {
			r->header = e.field;
		} else if ((rc = add(r, &e, err)) < 0) {
			free(e.field);
		}
		r->columns = csv.columns;
	}
	cwe_csv_close(&csv);
	return rc;
}

static int is_blank(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
			return 0;
	}
	return 1;
}

static int read_line(struct cwe_records *r, const char *text, size_t length, size_t line, struct cwb_err *err)
{
	struct cwb_err inner = {0};
	struct entry e = {.line = line, .number = r->count + 1};
	int rc = cwb_json_load(text, length, CWE_LINE_LIMIT, CWB_JSON_DEPTH, &e.json, &inner);

	if (rc < 0)
		return cwe_lines_refuse(err, rc, r->path, line, "", "%s", inner.message);
	rc = json_is_object(e.json) ? add(r, &e, err) : cwe_lines_refuse(err, CWP_EVALUE, r->path, line, "", "not a JSON object");
	if (rc < 0)
		json_decref(e.json);
	return rc;
}

static int read_lines(struct cwe_records *r, struct cwb_err *err)
{
	struct cwe_lines l;
	const char *text;
	size_t length;
	int rc = cwe_lines_open(r->path, &l, err);

	if (rc < 0)
		return rc;
	while (rc >= 0 && (rc = cwe_lines_next(&l, &text, &length, err)) > 0) {
		if (!is_blank(text, length))
			rc = read_line(r, text, length, l.line, err);
	}
	cwe_lines_close(&l);
	return rc;
}

static int read_array(struct cwe_records *r, const char *path, struct cwb_err *err)
{
	const json_t *array = cwe_record_json(r->document, path);
	int rc = 0;

	if (!json_is_array(array))
		return cwb_err_set(err, CWP_EFORMAT, "%s: %s is %s, not an array of records", r->path,
			*path ? path : "the document", array ? cwb_json_type_name(array) : "absent");
	for (size_t i = 0; rc == 0 && i < json_array_size(array); i++) {
		struct entry e = {.line = r->count + 1, .number = r->count + 1, .json = json_incref(json_array_get(array, i))};

		rc = json_is_object(e.json) ? add(r, &e, err) :
			cwb_err_set(err, CWP_EVALUE, "%s: record %zu is not a JSON object", r->path, r->count + 1);
		if (rc < 0)
			json_decref(e.json);
	}
	return rc;
}

static int read_document(struct cwe_records *r, const char *records, struct cwb_err *err)
{
	int rc = cwb_json_load_file(r->path, DOCUMENT_LIMIT, CWB_JSON_DEPTH, &r->document, err);

	if (rc == 0 && (records || !r->row.records[0]))
		return read_array(r, records ? records : "", err);
	for (size_t i = 0; rc == 0 && i < 2 && r->row.records[i]; i++)
		rc = read_array(r, r->row.records[i], err);
	return rc;
}

static int choose_form(struct cwe_records *r, const char *data, struct cwb_err *err)
{
	static const struct {
		const char *ending;
		enum cwe_form form;
	} forms[] = {{".csv", CWE_FORM_CSV}, {".jsonl", CWE_FORM_JSONL}, {".json", CWE_FORM_JSON}};
	size_t n = strlen(r->path);

	if (data) {
		r->published = 1;
		return cwe_dataset_published(data, r->path, &r->row, err);
	}
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		size_t k = strlen(forms[i].ending);

		if (n >= k && strcmp(r->path + n - k, forms[i].ending) == 0) {
			r->row.form = forms[i].form;
			return 0;
		}
	}
	return cwb_err_set(err, CWP_EVALUE, "%s: records are read from files whose names end in .csv, .jsonl or .json", r->path);
}

int cwe_records_open(const char *path, const char *data, const char *records, struct cwe_records **ret, struct cwb_err *err)
{
	struct cwe_records *r = calloc(1, sizeof(*r));

	if (!r || !(r->path = strdup(path))) {
		free(r);
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", path);
	}
	int rc = choose_form(r, data, err);

	if (rc == 0 && r->row.form == CWE_FORM_CSV)
		rc = read_csv(r, err);
	else if (rc == 0 && r->row.form == CWE_FORM_JSONL)
		rc = read_lines(r, err);
	else if (rc == 0 && r->row.form == CWE_FORM_JSON)
		rc = read_document(r, records, err);
	else if (rc == 0)
		rc = cwb_err_set(err, CWP_EVALUE, "%s: data %s is a text and has no records", path, data);
	if (rc < 0) {
		cwe_records_close(r);
		return rc;
	}
	*ret = r;
	return 0;
}

void cwe_records_close(struct cwe_records *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->count; i++) {
		free(r->entry[i].field);
		json_decref(r->entry[i].json);
	}
	while (r->made) {
		struct made *m = r->made;

		r->made = m->next;
		free(m);
	}
	json_decref(r->document);
	free(r->entry);
	free(r->header);
	free(r->path);
	free(r);
}

uint64_t cwe_records_count(const struct cwe_records *r)
{
	return r->count;
}

uint64_t cwe_records_line(const struct cwe_records *r, uint64_t i)
{
	return i < r->count ? r->entry[i].line : 0;
}

static int csv_text(const struct cwe_records *r, const struct entry *e, const char *column, const char **ret, size_t *ret_length)
{
	size_t index = r->columns;

	if (column[0] == '#') {
		unsigned long number = strtoul(column + 1, NULL, 10);

		index = number > 0 ? number - 1 : index;
	}
	for (size_t i = 0; r->header && column[0] != '#' && i < r->columns && index == r->columns; i++) {
		if (strcmp(r->header[i], column) == 0)
			index = i;
	}
	if (index >= r->columns)
		return 0;
	*ret = e->field[index];
	*ret_length = strlen(e->field[index]);
	return 1;
}

/* A number's digits, kept with the records. */
static int number_text(struct cwe_records *r, const json_t *value, const char **ret, size_t *ret_length)
{
	struct made *m = malloc(sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->next = r->made;
	r->made = m;
	if (json_is_integer(value))
		snprintf(m->text, sizeof(m->text), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else
		snprintf(m->text, sizeof(m->text), "%.17g", json_real_value(value));
	*ret = m->text;
	*ret_length = strlen(m->text);
	return 1;
}

int cwe_records_text(struct cwe_records *r, uint64_t i, const char *column, const char **ret, size_t *ret_length)
{
	if (i >= r->count)
		return 0;
	if (!r->entry[i].json)
		return csv_text(r, &r->entry[i], column, ret, ret_length);
	const json_t *value = cwe_record_json(r->entry[i].json, column);

	if (!value || json_is_null(value))
		return 0;
	if (json_is_number(value))
		return number_text(r, value, ret, ret_length);
	if (json_is_boolean(value)) {
		*ret = json_is_true(value) ? "true" : "false";
		*ret_length = strlen(*ret);
		return 1;
	}
	if (!json_is_string(value))
		return CWP_EVALUE;
	*ret = json_string_value(value);
	*ret_length = json_string_length(value);
	return 1;
}

int cwe_records_need(struct cwe_records *r, uint64_t i, const char *column, const char **ret, size_t *ret_length,
	struct cwb_err *err)
{
	const char *text = NULL;
	size_t length = 0;
	int rc = cwe_records_text(r, i, column, &text, &length);

	if (rc == -ENOMEM)
		return no_memory(r, err);
	if (rc > 0 && length > 0 && !memchr(text, '\0', length)) {
		*ret = text;
		*ret_length = length;
		return 0;
	}
	return cwe_lines_refuse(err, rc < 0 || length > 0 ? CWP_EVALUE : CWP_EMISSING, r->path, cwe_records_line(r, i), column, "%s",
		rc < 0 ? "is not a text" : length > 0 ? "holds a NUL character" : rc > 0 ? "is empty" : "is missing");
}

int cwe_records_identity(const struct cwe_records *r, uint64_t i, char ret[CWE_ITEM_IDENTITY])
{
	if (!r->published || i >= r->count)
		return 0;
	const struct entry *e = &r->entry[i];
	struct cwe_csv_field *field = r->columns > 0 ? calloc(r->columns, sizeof(*field)) : NULL;
	struct cwe_csv csv = {.field = field, .count = r->columns, .columns = r->columns};
	struct cwj_set set = {.data = (char *)(uintptr_t)r->row.name, .path = r->path};
	const struct cwe_source_item from = {.row = &r->row, .set = &set,
		.record = {.csv = e->field ? &csv : NULL, .json = e->json, .header = r->header, .number = e->number}};

	if (r->columns > 0 && !field)
		return -ENOMEM;
	for (size_t k = 0; e->field && k < r->columns; k++)
		field[k] = (struct cwe_csv_field){e->field[k], strlen(e->field[k])};
	int rc = cwe_dataset_identity(&from, "", ret);

	free(field);
	return rc < 0 ? rc : 1;
}
