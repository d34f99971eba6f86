/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* libyaml's events -> a tree with places. Text, depth and nodes are bounded, and whatever could
 * make a small text large or ambiguous (aliases, anchors, tags, repeated keys, several documents)
 * is refused. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "job/yaml.h"

enum { MOST_BYTES = 1 << 20, MOST_DEPTH = 32, MOST_NODES = 20000 };

struct reader {
	yaml_parser_t parser;
	const char *text;
	size_t length;
	size_t nodes;
	struct cwb_err *err;
};

static int fail_at(struct cwb_err *err, size_t line, size_t column, int code, const char *text)
{
	if (err != NULL && err->code == 0) {
		err->line = (int)line;
		err->column = (int)column;
	}
	return cwb_err_set(err, code, "%s", text);
}

static int fail_mark(struct reader *r, const yaml_mark_t *mark, const char *text)
{
	return fail_at(r->err, mark->line + 1, mark->column + 1, CWP_EFORMAT, text);
}

/* Line and column, both from 1, of a byte of the text; columns count characters as libyaml's do. */
static void find_place(const char *text, size_t offset, size_t *ret_line, size_t *ret_column)
{
	size_t line = 1, column = 1;

	for (size_t i = 0; i < offset; i++) {
		if (text[i] == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)text[i] & 0xc0) != 0x80) {
			column++;
		}
	}
	*ret_line = line;
	*ret_column = column;
}

/* Whether the place that libyaml stumbled over, or the white space that begins its line, is a tab:
 * the message for that ("found character that cannot start any token") helps nobody. */
static int is_tab_place(const struct reader *r, const yaml_mark_t *mark)
{
	size_t line = 0, i = 0;

	while (i < r->length && line < mark->line) {
		line += r->text[i++] == '\n';
	}
	for (; i < r->length && (r->text[i] == ' ' || r->text[i] == '\t'); i++) {
		if (r->text[i] == '\t') {
			return 1;
		}
	}
	return 0;
}

static int fail_parser(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	size_t line, column;

	switch (p->error) {
	case YAML_MEMORY_ERROR:
		return cwb_err_set(r->err, -ENOMEM, "no memory to read the YAML text");
	case YAML_READER_ERROR:
		find_place(r->text, p->problem_offset < r->length ? p->problem_offset : r->length,
			&line, &column);
		if (strstr(p->problem, "control") == NULL) {
			return fail_at(r->err, line, column, CWP_EFORMAT,
				"is not UTF-8 text; save the file as UTF-8");
		}
		return fail_at(r->err, line, column, CWP_EFORMAT,
			"holds a control character; remove it, or write it as an escape within "
			"double quotes");
	default:
		if (is_tab_place(r, &p->problem_mark)) {
			return fail_mark(
				r, &p->problem_mark, "a tab cannot indent YAML; use spaces");
		}
		if (r->err != NULL && r->err->code == 0) {
			r->err->line = (int)p->problem_mark.line + 1;
			r->err->column = (int)p->problem_mark.column + 1;
		}
		return cwb_err_set(r->err, CWP_EFORMAT, "not valid YAML: %s%s%s",
			p->problem != NULL ? p->problem : "cannot be read",
			p->context != NULL ? " " : "", p->context != NULL ? p->context : "");
	}
}

static int next_event(struct reader *r, yaml_event_t *event)
{
	if (!yaml_parser_parse(&r->parser, event)) {
		return fail_parser(r);
	}
	return 0;
}

/* What a tree may not hold, whichever node it stands on. */
static int refuse_extras(struct reader *r, const yaml_event_t *event, const yaml_char_t *anchor,
	const yaml_char_t *tag)
{
	if (anchor != NULL) {
		return fail_mark(r, &event->start_mark,
			"anchors (&name) are not allowed; write the value out");
	}
	if (tag != NULL) {
		return fail_mark(r, &event->start_mark,
			"tags (!name) are not allowed; write the plain value");
	}
	return 0;
}

static struct cwj_yaml *new_node(
	struct reader *r, const yaml_event_t *event, enum cwj_yaml_kind kind)
{
	if (++r->nodes > MOST_NODES) {
		fail_mark(r, &event->start_mark,
			"holds more than 20000 values; no such file needs so many");
		return NULL;
	}
	struct cwj_yaml *node = calloc(1, sizeof(*node));
	if (node == NULL) {
		cwb_err_set(r->err, -ENOMEM, "no memory to read the YAML text");
		return NULL;
	}
	node->kind = kind;
	node->line = (int)event->start_mark.line + 1;
	node->column = (int)event->start_mark.column + 1;
	return node;
}

static struct cwj_yaml *read_scalar(struct reader *r, const yaml_event_t *event)
{
	const char *value = (const char *)event->data.scalar.value;
	size_t length = event->data.scalar.length;

	if (refuse_extras(r, event, event->data.scalar.anchor, event->data.scalar.tag) < 0) {
		return NULL;
	}
	if (memchr(value, '\0', length) != NULL) {
		fail_mark(r, &event->start_mark, "a text holds a NUL character (\\0); remove it");
		return NULL;
	}
	struct cwj_yaml *node = new_node(r, event, CWJ_YAML_SCALAR);
	if (node == NULL) {
		return NULL;
	}
	node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	node->text = strndup(value, length);
	if (node->text == NULL) {
		cwb_err_set(r->err, -ENOMEM, "no memory to read the YAML text");
		cwj_yaml_free(node);
		return NULL;
	}
	return node;
}

static struct cwj_yaml *read_node(struct reader *r, const yaml_event_t *event, int depth);

/* Room for one more child, in both arrays of a mapping; grows by doubling. */
static int make_room(struct reader *r, struct cwj_yaml *node)
{
	if ((node->count & (node->count - 1)) != 0) {
		return 0;
	}
	size_t capacity = node->count == 0 ? 1 : node->count * 2;
	struct cwj_yaml **values = realloc(node->values, capacity * sizeof(struct cwj_yaml *));
	if (values == NULL) {
		return cwb_err_set(r->err, -ENOMEM, "no memory to read the YAML text");
	}
	node->values = values;
	if (node->kind == CWJ_YAML_MAPPING) {
		struct cwj_yaml **keys = realloc(node->keys, capacity * sizeof(struct cwj_yaml *));
		if (keys == NULL) {
			return cwb_err_set(r->err, -ENOMEM, "no memory to read the YAML text");
		}
		node->keys = keys;
	}
	return 0;
}

/* Reads children until the end event; keys and values take turns in a mapping. */
static int read_children(struct reader *r, struct cwj_yaml *node, yaml_event_type_t end, int depth)
{
	for (;;) {
		yaml_event_t event;
		struct cwj_yaml *key = NULL;

		int rc = next_event(r, &event);
		if (rc < 0) {
			return rc;
		}
		if (event.type == end) {
			yaml_event_delete(&event);
			return 0;
		}
		if (node->kind == CWJ_YAML_MAPPING) {
			if (event.type != YAML_SCALAR_EVENT && event.type != YAML_ALIAS_EVENT) {
				rc = fail_mark(r, &event.start_mark, "a key must be a plain word");
				yaml_event_delete(&event);
				return rc;
			}
			key = read_node(r, &event, depth + 1);
			yaml_event_delete(&event);
			if (key == NULL) {
				return CWP_EFORMAT;
			}
			rc = next_event(r, &event);
			if (rc < 0) {
				cwj_yaml_free(key);
				return rc;
			}
		}
		struct cwj_yaml *value = read_node(r, &event, depth + 1);
		yaml_event_delete(&event);
		if (value == NULL || make_room(r, node) < 0) {
			cwj_yaml_free(key);
			cwj_yaml_free(value);
			return CWP_EFORMAT;
		}
		if (key != NULL) {
			node->keys[node->count] = key;
		}
		node->values[node->count++] = value;
	}
}

static int compare_keys(const void *a, const void *b)
{
	const struct cwj_yaml *x = *(const struct cwj_yaml *const *)a,
			      *y = *(const struct cwj_yaml *const *)b;
	int order = strcmp(x->text, y->text);

	if (order != 0) {
		return order;
	}
	if (x->line != y->line) {
		return x->line < y->line ? -1 : 1;
	}
	return (x->column > y->column) - (x->column < y->column);
}

/* Sorted copies instead of a comparison of all pairs, which a hostile text could make slow. */
static int refuse_repeated_keys(struct reader *r, const struct cwj_yaml *node)
{
	int rc = 0;

	if (node->count < 2) {
		return 0;
	}
	struct cwj_yaml **sorted = malloc(node->count * sizeof(struct cwj_yaml *));
	if (sorted == NULL) {
		return cwb_err_set(r->err, -ENOMEM, "no memory to read the YAML text");
	}
	memcpy(sorted, node->keys, node->count * sizeof(struct cwj_yaml *));
	qsort(sorted, node->count, sizeof(struct cwj_yaml *), compare_keys);
	for (size_t i = 1; rc == 0 && i < node->count; i++) {
		if (strcmp(sorted[i - 1]->text, sorted[i]->text) == 0) {
			if (r->err != NULL && r->err->code == 0) {
				r->err->line = sorted[i]->line;
				r->err->column = sorted[i]->column;
			}
			rc = cwb_err_set(r->err, CWP_EFORMAT,
				"key \"%.64s\" stands here a second time (first in line %d); "
				"remove one",
				sorted[i]->text, sorted[i - 1]->line);
		}
	}
	free(sorted);
	return rc;
}

static struct cwj_yaml *read_collection(
	struct reader *r, const yaml_event_t *event, enum cwj_yaml_kind kind, int depth)
{
	if (depth > MOST_DEPTH) {
		fail_mark(r, &event->start_mark, "nests more than 32 levels deep");
		return NULL;
	}
	struct cwj_yaml *node = new_node(r, event, kind);
	if (node == NULL) {
		return NULL;
	}
	yaml_event_type_t end =
		kind == CWJ_YAML_MAPPING ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
	if (read_children(r, node, end, depth) < 0 ||
		(kind == CWJ_YAML_MAPPING && refuse_repeated_keys(r, node) < 0)) {
		cwj_yaml_free(node);
		return NULL;
	}
	return node;
}

/* NULL with r->err filled. Recursion ends at MOST_DEPTH. */
static struct cwj_yaml *read_node(struct reader *r, const yaml_event_t *event, int depth)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return read_scalar(r, event);
	case YAML_SEQUENCE_START_EVENT:
		if (refuse_extras(r, event, event->data.sequence_start.anchor,
			    event->data.sequence_start.tag) < 0) {
			return NULL;
		}
		return read_collection(r, event, CWJ_YAML_SEQUENCE, depth);
	case YAML_MAPPING_START_EVENT:
		if (refuse_extras(r, event, event->data.mapping_start.anchor,
			    event->data.mapping_start.tag) < 0) {
			return NULL;
		}
		return read_collection(r, event, CWJ_YAML_MAPPING, depth);
	case YAML_ALIAS_EVENT:
		fail_mark(r, &event->start_mark,
			"aliases (*name) are not allowed; write the value out");
		return NULL;
	default:
		fail_mark(r, &event->start_mark, "not valid YAML: a value is missing here");
		return NULL;
	}
}

/* Stream start, document start, one node, document end, stream end: nothing else. */
static int read_document(struct reader *r, struct cwj_yaml **ret)
{
	yaml_event_t event;
	int rc = next_event(r, &event); /* stream start */

	if (rc < 0) {
		return rc;
	}
	yaml_event_delete(&event);
	rc = next_event(r, &event);
	if (rc < 0) {
		return rc;
	}
	if (event.type != YAML_DOCUMENT_START_EVENT) {
		rc = fail_mark(r, &event.start_mark, "is empty");
		yaml_event_delete(&event);
		return rc;
	}
	if (event.data.document_start.tag_directives.start !=
		event.data.document_start.tag_directives.end) {
		rc = fail_mark(r, &event.start_mark,
			"tag directives (%TAG) are not allowed; remove the line");
	}
	yaml_event_delete(&event);
	if (rc < 0 || (rc = next_event(r, &event)) < 0) {
		return rc;
	}
	*ret = read_node(r, &event, 1);
	yaml_event_delete(&event);
	if (*ret == NULL) {
		return CWP_EFORMAT;
	}
	rc = next_event(r, &event); /* document end */
	if (rc < 0) {
		return rc;
	}
	yaml_event_delete(&event);
	rc = next_event(r, &event);
	if (rc < 0) {
		return rc;
	}
	if (event.type != YAML_STREAM_END_EVENT) {
		rc = fail_mark(r, &event.start_mark,
			"a second document (---) begins here; only one is allowed");
	}
	yaml_event_delete(&event);
	return rc;
}

int cwj_yaml_parse(const char *text, size_t length, struct cwj_yaml **ret, struct cwb_err *err)
{
	struct cwb_err own = {0};
	struct reader r = {
		.text = text, .length = length, .err = err != NULL && err->code == 0 ? err : &own};
	struct cwj_yaml *tree = NULL;
	size_t line, column;

	if (length > MOST_BYTES) {
		return cwb_err_set(err, CWP_EFORMAT,
			"text of %zu bytes is longer than the %d that are allowed", length,
			(int)MOST_BYTES);
	}
	const char *nul = length > 0 ? memchr(text, '\0', length) : NULL;
	if (nul != NULL) {
		find_place(text, (size_t)(nul - text), &line, &column);
		return fail_at(err, line, column, CWP_EFORMAT,
			"holds a NUL byte; this is not a text file");
	}
	if (!yaml_parser_initialize(&r.parser)) {
		return cwb_err_set(err, -ENOMEM, "no memory to read the YAML text");
	}
	/* Fixed, so that no byte order mark can change how the text is read. */
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, length);
	int rc = read_document(&r, &tree);
	yaml_parser_delete(&r.parser);
	if (rc < 0) {
		cwj_yaml_free(tree);
		/* A failed node leaves its own code (such as -ENOMEM) in the error. */
		return r.err->code != 0 ? r.err->code : rc;
	}
	*ret = tree;
	return 0;
}

void cwj_yaml_free(struct cwj_yaml *tree)
{
	if (tree == NULL) {
		return;
	}
	for (size_t i = 0; i < tree->count; i++) {
		if (tree->keys != NULL) {
			cwj_yaml_free(tree->keys[i]);
		}
		cwj_yaml_free(tree->values[i]);
	}
	free(tree->keys);
	free(tree->values);
	free(tree->text);
	free(tree);
}

const struct cwj_yaml *cwj_yaml_get(const struct cwj_yaml *mapping, const char *key)
{
	if (mapping->kind != CWJ_YAML_MAPPING) {
		return NULL;
	}
	for (size_t i = 0; i < mapping->count; i++) {
		if (strcmp(mapping->keys[i]->text, key) == 0) {
			return mapping->values[i];
		}
	}
	return NULL;
}
