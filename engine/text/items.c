/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The items of a calibration file. A first pass over the file keeps of each item its place and
 * digests only, so that memory does not grow with the texts; those that are chosen are read again.
 * A JSON document alone stays in memory. */
#include "engine/text/items.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/text/lines.h"
#include "engine/text/utf8.h"

void cwe_item_text_free(struct cwe_item_text *t)
{
	cwe_parts_free(&t->parts);
	*t = (struct cwe_item_text){0};
}

int cwe_items_refuse(const struct cwe_items *items, const struct cwe_item *place,
	struct cwb_err *err, int code, const char *field, const char *format, ...)
{
	char text[512];
	char where[96] = "";
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (items->row.form == CWE_FORM_JSON)
		snprintf(where, sizeof(where), " record %zu:", place->record);
	else if (items->row.form == CWE_FORM_CSV)
		snprintf(where, sizeof(where), "%zu: record %zu, byte %" PRIu64 ":", place->line,
			place->record, place->offset);
	else
		snprintf(where, sizeof(where), "%zu:", place->line);
	if (err && err->code == 0) {
		err->line = (int)place->line;
		snprintf(err->field, sizeof(err->field), "%s", field);
	}
	return cwb_err_set(
		err, code, "%s:%s %s%s%s", items->path, where, field, *field ? ": " : "", text);
}

/* Plain text: CR LF becomes LF, and line ends at the end are left out. */
static int make_text(const struct cwe_items *items, const struct cwe_item *place, const char *text,
	size_t length, struct cwe_parts *parts, struct cwb_err *err)
{
	size_t good = cwe_utf8_check(text, length);
	if (good < length)
		return cwe_items_refuse(items, place, err, CWP_EFORMAT, "",
			"not UTF-8 at byte %zu of the paragraph (0x%02X): convert the file", good,
			(unsigned char)text[good]);
	while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r'))
		length--;
	for (size_t i = 0; i < length;) {
		size_t n = i;
		while (n < length && (text[n] != '\r' || n + 1 == length || text[n + 1] != '\n'))
			n++;
		cwe_parts_add(parts, text + i, n - i);
		i = n + 1;
	}
	return 0;
}

/* Of CoNLL-U: the two comments, "# sent_id = x" and "# text = y". */
static int make_sentence(const struct cwe_items *items, const struct cwe_item *place,
	const char *text, size_t length, struct cwe_item_text *t, struct cwb_err *err)
{
	static const char id[] = "# sent_id = ";
	static const char content[] = "# text = ";
	for (size_t at = 0; at < length;) {
		const char *line = text + at;
		const char *end = memchr(line, '\n', length - at);
		size_t n = end ? (size_t)(end - line) : length - at;
		at += n + 1;
		if (n > 0 && line[n - 1] == '\r')
			n--;
		if (n >= sizeof(id) && memcmp(line, id, sizeof(id) - 1) == 0 &&
			cwe_dataset_identity_of(items->set->data, line + sizeof(id) - 1,
				n - (sizeof(id) - 1), t->identity) < 0)
			return -ENOMEM;
		if (n >= sizeof(content) && memcmp(line, content, sizeof(content) - 1) == 0)
			return make_text(items, place, line + sizeof(content) - 1,
				n - (sizeof(content) - 1), &t->parts, err);
	}
	return 1;
}

static int make_record(struct cwe_items *items, const struct cwe_item *place,
	struct cwe_source_item *from, struct cwe_item_text *t, struct cwb_err *err)
{
	const struct cwe_dataset *row = &items->row;
	struct cwe_text value;
	const char *type;
	from->row = row;
	from->set = items->set;
	from->kind = items->kind;
	from->record.header = items->header;
	from->record.number = place->record;
	if (row->where && items->kind == CWE_ITEM_REFUSAL) {
		int rc = cwe_record_text(&from->record, row->where, &value, &type);
		if (rc <= 0)
			return cwe_items_refuse(
				items, place, err, CWP_EMISSING, row->where, "absent");
		if (strcmp(value.text, row->is) != 0)
			return 1;
	}
	int rc = row->make(from, &t->parts);
	if (rc < 0)
		return cwe_items_refuse(items, place, err, rc, t->parts.field ? t->parts.field : "",
			"%s", t->parts.wrong ? t->parts.wrong : "wrong");
	return rc;
}

static int make_json(struct cwe_items *items, const struct cwe_item *place, const char *text,
	size_t length, struct cwe_source_item *from, json_t **ret, struct cwb_err *err)
{
	struct cwb_err inner = {0};
	int rc = 0;
	if (!text) {
		*ret = json_incref((json_t *)items->record[place->offset]);
	} else {
		rc = cwb_json_load(text, length, CWE_LINE_LIMIT, CWB_JSON_DEPTH, ret, &inner);
		if (rc < 0)
			return cwe_items_refuse(items, place, err, rc, "", "%s", inner.message);
	}
	from->record.json = *ret;
	if (!json_is_object(*ret))
		return cwe_items_refuse(items, place, err, CWP_EVALUE, "", "not a JSON object");
	return 0;
}

static int digest_text(const struct cwe_item_text *t, uint8_t ret[CWB_DIGEST_SIZE])
{
	struct cwb_digest d = {0};
	int rc = cwb_digest_begin(&d);
	if (rc < 0)
		return rc;
	size_t first = t->count == CWE_ITEM_PARTS && t->length[0] == 0; /* an absent context */
	for (size_t i = first; i < t->count; i++) {
		if (i > first)
			cwb_digest_update(&d, "\n", 1);
		cwb_digest_update(&d, t->part[i], t->length[i]);
	}
	return cwb_digest_end(&d, ret);
}

/* Parts, digest and identity of a whole item. */
static int finish(struct cwe_items *items, const struct cwe_item *place,
	const struct cwe_source_item *from, struct cwe_item_text *t,
	uint8_t digest[CWB_DIGEST_SIZE])
{
	char hex[CWB_DIGEST_HEX];
	cwe_parts_end(&t->parts);
	if (t->parts.failed)
		return -ENOMEM;
	t->count = t->parts.count;
	t->separator = t->parts.separator;
	for (size_t i = 0; i < t->count; i++) {
		t->part[i] = cwe_parts_text(&t->parts, i);
		t->length[i] = t->parts.size[i];
	}
	int rc = digest_text(t, digest);
	if (rc < 0 || t->identity[0])
		return rc;
	/* A text names itself, so that others know it without a digest of ours. */
	if (items->kind == CWE_ITEM_TEXT && place->article == 0 && !items->row.key[0] &&
		!items->row.key_file)
		return cwe_dataset_identity_of(
			items->set->data, t->part[0], t->length[0], t->identity);
	cwb_digest_hex(digest, hex);
	hex[32] = '\0';
	if (place->article > 0) {
		const char *title = items->article[place->article - 1];
		return cwe_dataset_identity_of(items->set->data, title, strlen(title), t->identity);
	}
	return from->record.csv || from->record.json
		       ? cwe_dataset_identity(from, hex, t->identity)
		       : cwe_dataset_identity_of(items->set->data, hex, 32, t->identity);
}

/* An item from its bytes. 1: the record is no item. */
static int make(struct cwe_items *items, const struct cwe_item *place, const char *text,
	size_t length, struct cwe_item_text *t, uint8_t digest[CWB_DIGEST_SIZE],
	struct cwb_err *err)
{
	struct cwe_source_item from = {0};
	json_t *json = NULL;
	int rc = 0;
	*t = (struct cwe_item_text){0};
	switch (items->row.form) {
	case CWE_FORM_PARAGRAPHS:
	case CWE_FORM_ARTICLES:
		rc = make_text(items, place, text, length, &t->parts, err);
		break;
	case CWE_FORM_SENTENCES:
		rc = make_sentence(items, place, text, length, t, err);
		break;
	case CWE_FORM_CSV:
		from.record.csv = &items->csv;
		rc = make_record(items, place, &from, t, err);
		break;
	case CWE_FORM_JSON:
	case CWE_FORM_JSONL:
		rc = make_json(items, place, text, length, &from, &json, err);
		if (rc == 0)
			rc = make_record(items, place, &from, t, err);
		break;
	}
	if (rc == 0)
		rc = finish(items, place, &from, t, digest);
	json_decref(json);
	if (rc != 0)
		cwe_item_text_free(t);
	return rc == -ENOMEM ? cwb_err_set(err, rc, "%s: out of memory", items->path) : rc;
}

int cwe_item_key(uint64_t seed, const char *set, const uint8_t digest[CWB_DIGEST_SIZE],
	uint8_t ret[CWB_DIGEST_SIZE])
{
	char number[32];
	struct cwb_digest d = {0};
	int n = snprintf(number, sizeof(number), "%" PRIu64 "\n", seed);
	int rc = cwb_digest_begin(&d);
	if (rc < 0)
		return rc;
	cwb_digest_update(&d, number, (size_t)n);
	cwb_digest_update(&d, set, strlen(set));
	cwb_digest_update(&d, "\n", 1);
	cwb_digest_update(&d, digest, CWB_DIGEST_SIZE);
	return cwb_digest_end(&d, ret);
}

int cwe_items_add(struct cwe_items *items, const struct cwe_item *place, const char *text,
	size_t length, struct cwb_err *err)
{
	struct cwe_item_text t;
	struct cwe_item item = *place;
	int rc = make(items, place, text, length, &t, item.digest, err);
	items->records += items->row.form != CWE_FORM_JSON;
	if (rc == 1) {
		items->passed++;
		return 0;
	}
	if (rc < 0)
		return rc;
	cwe_item_text_free(&t);
	rc = cwe_item_key(items->seed, items->set->name, item.digest, item.key);
	if (rc == 0 && items->count == items->room) {
		size_t room = items->room ? 2 * items->room : 256;
		struct cwe_item *grown = realloc(items->item, room * sizeof(*grown));
		if (grown) {
			items->item = grown;
			items->room = room;
		} else {
			rc = -ENOMEM;
		}
	}
	if (rc < 0)
		return cwb_err_set(err, rc, "%s: out of memory", items->path);
	items->item[items->count++] = item;
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	const struct cwe_item *x = a;
	const struct cwe_item *y = b;
	int order = memcmp(x->key, y->key, sizeof(x->key));
	return order != 0 ? order : x->offset < y->offset ? -1 : x->offset > y->offset;
}

int cwe_items_open(
	const struct cwj_set *set, uint64_t seed, struct cwe_items *ret, struct cwb_err *err)
{
	*ret = (struct cwe_items){
		.set = set, .path = set->path, .seed = seed, .fd = -1, .csv = {.fd = -1}};
	int rc = cwe_dataset_find(set, &ret->row, &ret->kind, err);
	if (rc == 0)
		rc = cwe_items_find(ret, err);
	if (rc == 0 && ret->count == 0)
		rc = ret->passed > 0 ? cwb_err_set(err, CWP_EMISSING,
					       "%s: no items: none of its %zu records is one",
					       set->path, ret->records)
				     : cwb_err_set(err, CWP_EMISSING,
					       "%s: no items; give a file that holds some, or leave the set out",
					       set->path);
	if (rc == 0)
		qsort(ret->item, ret->count, sizeof(*ret->item), compare_keys);
	return rc;
}

void cwe_items_close(struct cwe_items *items)
{
	if (items->fd >= 0)
		close(items->fd);
	for (size_t i = 0; items->header && i < items->csv.columns; i++)
		free(items->header[i]);
	free(items->header);
	cwe_csv_close(&items->csv);
	for (size_t i = 0; i < items->articles; i++)
		free(items->article[i]);
	free(items->article);
	free(items->record);
	json_decref(items->document);
	free(items->item);
	*items = (struct cwe_items){.fd = -1, .csv = {.fd = -1}};
}

/* The bytes of an item, read again. */
static int read_again(
	struct cwe_items *items, const struct cwe_item *item, char **ret, struct cwb_err *err)
{
	*ret = malloc(item->length + 1);
	if (!*ret)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", items->path);
	int is_csv = items->row.form == CWE_FORM_CSV;
	int rc = cwb_file_pread(is_csv ? items->csv.fd : items->fd, *ret, item->length,
		item->offset, items->path, err);
	if (rc == 0 && is_csv) {
		items->csv.offset = item->offset;
		items->csv.record = item->record;
		items->csv.line = item->line;
		rc = cwe_csv_parse(&items->csv, *ret, item->length, err);
	}
	return rc;
}

int cwe_items_text(
	struct cwe_items *items, size_t item, struct cwe_item_text *ret, struct cwb_err *err)
{
	const struct cwe_item *it = &items->item[item];
	uint8_t digest[CWB_DIGEST_SIZE];
	char *text = NULL;
	int rc = 0;
	if (items->row.form != CWE_FORM_JSON)
		rc = read_again(items, it, &text, err);
	if (rc == 0)
		rc = make(items, it, text, it->length, ret, digest, err);
	free(text);
	if (rc < 0)
		return rc;
	if (rc == 0 && memcmp(digest, it->digest, sizeof(digest)) == 0)
		return 0;
	if (rc == 0)
		cwe_item_text_free(ret);
	return cwe_items_refuse(items, it, err, CWP_EDIGEST, "", "changed while it was read");
}
