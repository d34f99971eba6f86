/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The row of the table that a job's set means, and the identity of items. */
#include "engine/text/dataset.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "base/nearest.h"

static const char *const kind_names[] = {
	[CWE_ITEM_TEXT] = "text",
	[CWE_ITEM_ANSWER] = "answers",
	[CWE_ITEM_PAIR] = "pairs",
	[CWE_ITEM_REFUSAL] = "refusals",
};

static int refuse(const struct cwj_set *set, struct cwb_err *err, int code, const char *field,
	const char *format, ...) __attribute__((format(printf, 5, 6)));

static int refuse(const struct cwj_set *set, struct cwb_err *err, int code, const char *field,
	const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (err && err->code == 0) {
		err->line = set->line;
		err->column = set->column;
		snprintf(err->field, sizeof(err->field), "%s", field);
	}
	return cwb_err_set(err, code, "calibration set \"%s\": %s", set->name, text);
}

static const char *file_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static int has_ending(const char *path, const char *ending)
{
	size_t n = strlen(path);
	size_t k = strlen(ending);
	return n >= k && strcmp(path + n - k, ending) == 0;
}

/* The row of a set that fits the file; NULL and the ending of one that does not, or NULL and NULL. */
static const struct cwe_dataset *row_of(const char *data, const char *path, const char **ret_ending)
{
	for (size_t i = 0; i < cwe_dataset_count; i++) {
		const struct cwe_dataset *row = &cwe_datasets[i];
		if (strcmp(row->name, data) != 0)
			continue;
		if (has_ending(path, row->ending))
			return row;
		*ret_ending = row->ending;
	}
	return NULL;
}

static int find_row(const struct cwj_set *set, struct cwe_dataset *ret, struct cwb_err *err)
{
	const char *ending = NULL;
	const struct cwe_dataset *row = row_of(set->data, set->path, &ending);
	if (row) {
		*ret = *row;
		return 0;
	}
	if (ending)
		return refuse(set, err, CWP_EVALUE, "path",
			"data %s comes in files whose names end in %s, and %s does not; data csv, "
			"json and jsonl read files whose columns the job names",
			set->data, ending, file_name(set->path));
	const char *near =
		cwb_nearest(set->data, &cwe_datasets[0].name, cwe_dataset_count, sizeof(*ret));
	if (err && err->code == 0)
		snprintf(err->nearest, sizeof(err->nearest), "%s", near ? near : "");
	return refuse(set, err, CWP_EUNKNOWN, "data",
		"data \"%s\" is not known%s%s%s; there are samples, text, answers, pairs, csv, "
		"json, "
		"jsonl and the published sets of cwp-job(5)",
		set->data, near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static const char *column_of(const struct cwj_set *set, const char *role)
{
	for (size_t i = 0; i < set->n_columns; i++) {
		if (strcmp(set->columns[i].name, role) == 0)
			return set->columns[i].value;
	}
	return NULL;
}

static int is_number(const char *text)
{
	return *text >= '1' && *text <= '9' && strspn(text, "0123456789") == strlen(text) &&
	       strlen(text) < 6;
}

static int check_columns(const struct cwj_set *set, struct cwe_dataset *ret, struct cwb_err *err)
{
	static const char *const roles[] = {
		"text", "prompt", "input", "answer", "context", "more", "less", "id", "records"};
	size_t numbers = 0;
	size_t columns = 0;
	for (size_t i = 0; i < set->n_columns; i++) {
		const struct cwj_option *o = &set->columns[i];
		size_t k = 0;
		while (k < sizeof(roles) / sizeof(*roles) && strcmp(roles[k], o->name) != 0)
			k++;
		if (k == sizeof(roles) / sizeof(*roles) ||
			(strcmp(o->name, "records") == 0 && ret->form != CWE_FORM_JSON))
			return refuse(set, err, CWP_EUNKNOWN, "columns",
				"columns: \"%s\" is not known; there are text, prompt, input, "
				"answer, "
				"context, more, less and id, and with data json records",
				o->name);
		columns++;
		numbers += is_number(o->value);
	}
	if (ret->form != CWE_FORM_CSV)
		return 0;
	if (numbers > 0 && numbers < columns)
		return refuse(set, err, CWP_EVALUE, "columns",
			"columns: name all of them (the file's first record is a header), or give "
			"all of them numbers from 1 (it has none)");
	ret->no_header = numbers > 0;
	return 0;
}

/* A row from the columns that the job names. */
static int own_row(const struct cwj_set *set, struct cwe_dataset *ret, struct cwb_err *err)
{
	const char *text = column_of(set, "text");
	const char *prompt = column_of(set, "prompt");
	const char *answer = column_of(set, "answer");
	const char *more = column_of(set, "more");
	const char *less = column_of(set, "less");
	int rc = check_columns(set, ret, err);
	if (rc < 0)
		return rc;
	ret->records[0] = column_of(set, "records");
	ret->key[0] = column_of(set, "id");
	ret->column[1] = column_of(set, "input");
	if (text && !prompt && !answer && !more && !less && !ret->column[1]) {
		ret->makes = CWE_MAKES(CWE_ITEM_TEXT);
		ret->usual = CWE_ITEM_TEXT;
		ret->column[0] = text;
	} else if (prompt && !text && !more && !less) {
		ret->makes = CWE_MAKES(CWE_ITEM_TEXT) | CWE_MAKES(CWE_ITEM_REFUSAL) |
			     (answer ? CWE_MAKES(CWE_ITEM_ANSWER) : 0);
		ret->usual = answer ? CWE_ITEM_ANSWER : CWE_ITEM_REFUSAL;
		ret->column[0] = prompt;
		ret->column[2] = answer;
	} else if (more && less && !text && !prompt && !answer && !ret->column[1]) {
		ret->makes = CWE_MAKES(CWE_ITEM_PAIR);
		ret->usual = CWE_ITEM_PAIR;
		ret->column[0] = column_of(set, "context");
		ret->column[1] = more;
		ret->column[2] = less;
	} else {
		return refuse(set, err, CWP_EVALUE, "columns",
			"columns: data %s needs the columns of one kind of item: text; or prompt "
			"(with input and answer if there are such); or more and less (with "
			"context if there is one)",
			set->data);
	}
	return 0;
}

static int choose_kind(const struct cwj_set *set, const struct cwe_dataset *row,
	enum cwe_item_kind *ret, struct cwb_err *err)
{
	*ret = set->as == CWJ_AS_AUTO ? row->usual : (enum cwe_item_kind)(set->as - 1);
	if (row->makes & CWE_MAKES(*ret))
		return 0;
	char list[80] = "";
	for (size_t i = 0, n = 0; i < sizeof(kind_names) / sizeof(*kind_names); i++) {
		if (row->makes & CWE_MAKES(i))
			n += (size_t)snprintf(
				list + n, sizeof(list) - n, "%s%s", n ? ", " : "", kind_names[i]);
	}
	return refuse(set, err, CWP_EVALUE, "as", "data %s cannot be read as %s; it can as %s",
		set->data, kind_names[*ret], list);
}

static int in_mac_roman(const struct cwe_dataset *row, const char *path)
{
	return row->mac_roman && strstr(file_name(path), row->mac_roman);
}

int cwe_dataset_find(const struct cwj_set *set, struct cwe_dataset *ret,
	enum cwe_item_kind *ret_kind, struct cwb_err *err)
{
	struct cwe_dataset row = {0};
	int rc = find_row(set, &row, err);
	int own = rc == 0 && row.makes == 0;
	if (rc < 0)
		return rc;
	if (set->n_columns > 0 && !own)
		return refuse(set, err, CWP_EVALUE, "columns",
			"columns belongs to data csv, json and jsonl; the columns of %s are known",
			set->data);
	if (set->language && !row.by_language)
		return refuse(set, err, CWP_EVALUE, "language",
			"data %s has no column for each language: choose the language by the file",
			set->data);
	if (own)
		rc = own_row(set, &row, err);
	if (rc == 0)
		rc = choose_kind(set, &row, ret_kind, err);
	if (rc < 0)
		return rc;
	if (row.by_language)
		row.column[0] = set->language ? set->language : "en";
	if (set->charset != CWJ_CHARSET_AUTO)
		row.encoding = (enum cwe_encoding)(set->charset - 1);
	else if (in_mac_roman(&row, set->path))
		row.encoding = CWE_ENCODING_MAC_ROMAN;
	if (row.encoding != CWE_ENCODING_UTF8 && row.form != CWE_FORM_CSV)
		return refuse(set, err, CWP_EVALUE, "charset",
			"charset other than utf-8 is for CSV: convert %s", file_name(set->path));
	if (!row.make)
		row.make = cwe_make_columns;
	*ret = row;
	return 0;
}

int cwe_dataset_published(const char *data, const char *path, struct cwe_dataset *ret, struct cwb_err *err)
{
	const char *ending = NULL;
	const struct cwe_dataset *row = row_of(data, path, &ending);
	if (!row && ending)
		return cwb_err_set(err, CWP_EVALUE, "%s: data %s comes in files whose names end in %s", path, data, ending);
	if (!row)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: no set is known as \"%s\"", path, data);
	*ret = *row;
	ret->encoding = in_mac_roman(row, path) ? CWE_ENCODING_MAC_ROMAN : CWE_ENCODING_UTF8;
	return 0;
}

enum cwe_item_kind cwe_dataset_kind(const struct cwj_set *set)
{
	struct cwe_dataset row = {0};
	enum cwe_item_kind kind = CWE_ITEM_TEXT;
	return cwe_dataset_find(set, &row, &kind, NULL) == 0 ? kind : CWE_ITEM_TEXT;
}

int cwe_dataset_identity_of(
	const char *data, const char *key, size_t length, char ret[CWE_ITEM_IDENTITY])
{
	char hex[CWB_DIGEST_HEX];
	int plain = length > 0 && length <= 64;
	for (size_t i = 0; plain && i < length; i++)
		plain = (unsigned char)key[i] > ' ' && (unsigned char)key[i] < 0x7F;
	if (plain) {
		snprintf(ret, CWE_ITEM_IDENTITY, "%s/%.*s", data, (int)length, key);
		return 0;
	}
	int rc = cwb_digest_buffer(key, length, hex);
	if (rc == 0)
		snprintf(ret, CWE_ITEM_IDENTITY, "%s/%.32s", data, hex);
	return rc;
}

/* The file's name without its ending, and without _n or _en before it. */
static size_t stem(const char *name)
{
	size_t n = strcspn(name, ".");
	if (n > 2 && memcmp(name + n - 2, "_n", 2) == 0)
		return n - 2;
	return n > 3 && memcmp(name + n - 3, "_en", 3) == 0 ? n - 3 : n;
}

int cwe_dataset_identity(
	const struct cwe_source_item *from, const char *digest, char ret[CWE_ITEM_IDENTITY])
{
	const struct cwe_dataset *row = from->row;
	struct cwe_parts key = {0};
	if (row->key_file) {
		const char *name = file_name(from->set->path);
		cwe_parts_add(&key, name, stem(name));
	}
	for (size_t i = 0; i < CWE_DATASET_KEYS && row->key[i]; i++) {
		struct cwe_text t;
		const char *type;
		if (key.length > 0)
			cwe_parts_add(&key, "/", 1);
		if (cwe_record_text(&from->record, row->key[i], &t, &type) > 0)
			cwe_parts_add(&key, t.text, t.length);
	}
	if (row->key_number) {
		char number[32];
		int n = snprintf(number, sizeof(number), "/%zu", from->record.number);
		cwe_parts_add(&key, number, (size_t)n);
	}
	int rc = key.failed ? -ENOMEM : 0;
	if (rc == 0)
		rc = key.length > 0
			     ? cwe_dataset_identity_of(from->set->data, key.text, key.length, ret)
			     : cwe_dataset_identity_of(
				       from->set->data, digest, strlen(digest), ret);
	cwe_parts_free(&key);
	return rc;
}
