/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The items of a calibration file. A first pass over the file keeps of each item its place and
 * digests only, so that memory does not grow with the texts; those that are chosen are read again.
 */
#include "engine/text/items.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/text/lines.h"
#include "engine/text/utf8.h"

static const struct {
	const char *field[CWE_ITEM_PARTS];
	size_t count;
	size_t optional; /* how many of the first may be absent */
} shapes[] = {
	[CWE_ITEM_TEXT] = {{"text"}, 1, 0},
	[CWE_ITEM_ANSWER] = {{"prompt", "answer"}, 2, 0},
	[CWE_ITEM_PAIR] = {{"context", "more", "less"}, 3, 1},
};

void cwe_item_text_free(struct cwe_item_text *t)
{
	json_decref(t->json);
	free(t->owned);
	*t = (struct cwe_item_text){0};
}

static int is_blank(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (!strchr(" \t\r\n\v\f", text[i]) || text[i] == '\0')
			return 0;
	}
	return 1;
}

static int parse_json(const struct cwe_items *items, size_t line, const char *text, size_t length,
	struct cwe_item_text *t, struct cwb_err *err)
{
	struct cwb_err inner = {0};
	int rc = cwb_json_load(text, length, CWE_LINE_LIMIT, CWB_JSON_DEPTH, &t->json, &inner);
	if (rc < 0)
		return cwe_lines_refuse(err, rc, items->path, line, "", "%s", inner.message);
	if (!json_is_object(t->json))
		return cwe_lines_refuse(
			err, CWP_EVALUE, items->path, line, "", "not a JSON object");
	t->count = shapes[items->kind].count;
	for (size_t i = 0; i < t->count; i++) {
		const char *field = shapes[items->kind].field[i];
		const json_t *value = json_object_get(t->json, field);
		if (i < shapes[items->kind].optional && (!value || json_is_null(value))) {
			t->part[i] = "";
			continue;
		}
		if (!value)
			return cwe_lines_refuse(
				err, CWP_EMISSING, items->path, line, field, "absent");
		if (!json_is_string(value))
			return cwe_lines_refuse(err, CWP_EVALUE, items->path, line, field,
				"not a string but %s", cwb_json_type_name(value));
		t->part[i] = json_string_value(value);
		t->length[i] = json_string_length(value);
		/* A text may be empty (data sets have such lines): it is left out where tokens are
		 * counted. */
		if (t->length[i] == 0 && items->kind != CWE_ITEM_TEXT &&
			i >= shapes[items->kind].optional)
			return cwe_lines_refuse(err, CWP_EVALUE, items->path, line, field, "empty");
	}
	return 0;
}

static int parse_paragraph(const struct cwe_items *items, size_t line, const char *text,
	size_t length, struct cwe_item_text *t, struct cwb_err *err)
{
	size_t good = cwe_utf8_check(text, length);
	if (good < length)
		return cwe_lines_refuse(err, CWP_EFORMAT, items->path, line, "",
			"not UTF-8 at byte %zu of the paragraph (0x%02X): convert the file", good,
			(unsigned char)text[good]);
	t->owned = malloc(length + 1);
	if (!t->owned)
		return cwe_lines_refuse(err, -ENOMEM, items->path, line, "", "out of memory");
	size_t n = 0;
	for (size_t i = 0; i < length; i++) {
		if (text[i] != '\r' || i + 1 == length || text[i + 1] != '\n')
			t->owned[n++] = text[i];
	}
	while (n > 0 && (t->owned[n - 1] == '\n' || t->owned[n - 1] == '\r'))
		n--;
	t->owned[n] = '\0';
	t->part[0] = t->owned;
	t->length[0] = n;
	t->count = 1;
	return 0;
}

static int parse(const struct cwe_items *items, size_t line, const char *text, size_t length,
	struct cwe_item_text *t, struct cwb_err *err)
{
	*t = (struct cwe_item_text){0};
	int rc = items->paragraphs ? parse_paragraph(items, line, text, length, t, err)
				   : parse_json(items, line, text, length, t, err);
	if (rc < 0)
		cwe_item_text_free(t);
	return rc;
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

/* What is the same for every item of one call. */
struct place {
	uint64_t seed;
	const char *set;
};

static int add_item(struct cwe_items *items, const struct place *p, uint64_t offset, size_t line,
	const char *text, size_t length, struct cwb_err *err)
{
	struct cwe_item_text t;
	int rc = parse(items, line, text, length, &t, err);
	if (rc < 0)
		return rc;
	if (items->count == items->room) {
		size_t room = items->room ? 2 * items->room : 256;
		struct cwe_item *item = realloc(items->item, room * sizeof(*item));
		if (item) {
			items->item = item;
			items->room = room;
		} else {
			rc = -ENOMEM;
		}
	}
	if (rc == 0) {
		struct cwe_item *item = &items->item[items->count++];
		*item = (struct cwe_item){.offset = offset, .length = length, .line = line};
		rc = digest_text(&t, item->digest);
		if (rc == 0)
			rc = cwe_item_key(p->seed, p->set, item->digest, item->key);
	}
	cwe_item_text_free(&t);
	return rc < 0 ? cwb_err_set(err, rc, "%s: out of memory", items->path) : 0;
}

static int find_lines(
	struct cwe_items *items, const struct place *p, struct cwe_lines *l, struct cwb_err *err)
{
	const char *text;
	size_t length;
	int rc;
	while ((rc = cwe_lines_next(l, &text, &length, err)) > 0) {
		if (is_blank(text, length))
			continue;
		rc = add_item(items, p, l->offset, l->line, text, length, err);
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
			return cwb_err_set(err, -ENOMEM, "%s: out of memory", items->path);
		g->text = grown;
		g->room = room;
	}
	memcpy(g->text + g->length, text, length);
	g->length += length;
	g->text[g->length++] = '\n';
	return 0;
}

static int end_paragraph(
	struct cwe_items *items, const struct place *p, struct paragraph *g, struct cwb_err *err)
{
	if (g->length == 0)
		return 0;
	/* The last line end is not read again: the file's last line may have none. */
	int rc = add_item(items, p, g->offset, g->line, g->text, g->length - 1, err);
	g->length = 0;
	return rc;
}

static int find_paragraphs(
	struct cwe_items *items, const struct place *p, struct cwe_lines *l, struct cwb_err *err)
{
	struct paragraph g = {0};
	const char *text;
	size_t length;
	int rc;
	while ((rc = cwe_lines_next(l, &text, &length, err)) > 0) {
		rc = is_blank(text, length) ? end_paragraph(items, p, &g, err)
					    : add_line(items, &g, l, text, length, err);
		if (rc < 0)
			break;
	}
	if (rc == 0)
		rc = end_paragraph(items, p, &g, err);
	free(g.text);
	return rc;
}

static int compare_keys(const void *a, const void *b)
{
	const struct cwe_item *x = a;
	const struct cwe_item *y = b;
	int order = memcmp(x->key, y->key, sizeof(x->key));
	return order != 0 ? order : x->offset < y->offset ? -1 : x->offset > y->offset;
}

int cwe_items_open(const char *path, enum cwe_item_kind kind, uint64_t seed, const char *set,
	struct cwe_items *ret, struct cwb_err *err)
{
	size_t n = strlen(path);
	int json = n >= 6 && strcmp(path + n - 6, ".jsonl") == 0;
	struct cwe_lines l;
	struct place p = {seed, set};
	*ret = (struct cwe_items){
		.path = path, .kind = kind, .paragraphs = kind == CWE_ITEM_TEXT && !json, .fd = -1};
	int rc = cwe_lines_open(path, &l, err);
	if (rc < 0)
		return rc;
	rc = ret->paragraphs ? find_paragraphs(ret, &p, &l, err) : find_lines(ret, &p, &l, err);
	if (rc == 0 && ret->count == 0)
		rc = cwb_err_set(err, CWP_EMISSING, "%s: no items", path);
	if (rc == 0) {
		qsort(ret->item, ret->count, sizeof(*ret->item), compare_keys);
		ret->fd = l.fd; /* the same file, whatever the path names by then */
		l.fd = -1;
	}
	cwe_lines_close(&l);
	return rc;
}

void cwe_items_close(struct cwe_items *items)
{
	if (items->fd >= 0)
		close(items->fd);
	free(items->item);
	*items = (struct cwe_items){.fd = -1};
}

int cwe_items_text(
	const struct cwe_items *items, size_t item, struct cwe_item_text *ret, struct cwb_err *err)
{
	const struct cwe_item *it = &items->item[item];
	uint8_t digest[CWB_DIGEST_SIZE];
	char *text = malloc(it->length + 1);
	if (!text)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory", items->path);
	int rc = cwb_file_pread(items->fd, text, it->length, it->offset, items->path, err);
	if (rc == 0)
		rc = parse(items, it->line, text, it->length, ret, err);
	free(text);
	if (rc < 0)
		return rc;
	rc = digest_text(ret, digest);
	if (rc == 0 && memcmp(digest, it->digest, sizeof(digest)) != 0)
		rc = cwe_lines_refuse(
			err, CWP_EDIGEST, items->path, it->line, "", "changed while it was read");
	if (rc < 0)
		cwe_item_text_free(ret);
	return rc;
}
