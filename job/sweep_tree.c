/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Fields of a tree by their paths, such as calibrate.critical[0].samples, and a tree as YAML text.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "job/schema_value.h"
#include "job/sweep_p.h"

enum { LONGEST_PART = 64 };

static int fail_memory(struct cwj_reader *r, const struct cwj_yaml *node)
{
	return cwj_fail(r, node, -ENOMEM, "no memory for the matrix");
}

static struct cwj_yaml *new_node(
	enum cwj_yaml_kind kind, const char *text, size_t length, const struct cwj_yaml *place)
{
	struct cwj_yaml *node = calloc(1, sizeof(*node));

	if (node != NULL && text != NULL && (node->text = strndup(text, length)) == NULL) {
		free(node);
		return NULL;
	}
	if (node != NULL) {
		node->kind = kind;
		node->line = place->line;
		node->column = place->column;
	}
	return node;
}

/* A key without a value at the end of a mapping; its index, or SIZE_MAX. */
static size_t add_key(struct cwj_yaml *mapping, struct cwj_yaml *key)
{
	size_t n = mapping->count + 1;
	struct cwj_yaml **keys = key == NULL ? NULL : reallocarray(mapping->keys, n, sizeof(*keys));
	struct cwj_yaml **values = NULL;

	if (keys != NULL) {
		mapping->keys = keys;
		values = reallocarray(mapping->values, n, sizeof(*values));
	}
	if (values == NULL) {
		cwj_yaml_free(key);
		return SIZE_MAX;
	}
	mapping->values = values;
	mapping->keys[n - 1] = key;
	mapping->values[n - 1] = NULL;
	mapping->count = n;
	return n - 1;
}

static size_t find_key(const struct cwj_yaml *mapping, const char *name, size_t length)
{
	for (size_t i = 0; i < mapping->count; i++) {
		if (strlen(mapping->keys[i]->text) == length &&
			memcmp(mapping->keys[i]->text, name, length) == 0) {
			return i;
		}
	}
	return SIZE_MAX;
}

/* The place of a part of the path, for errors: right at the part, where no quotes or escapes stand
 * between. */
static struct cwj_yaml place_of(const struct cwj_yaml *path, const char *part)
{
	struct cwj_yaml place = {.kind = CWJ_YAML_SCALAR,
		.line = path->line,
		.column = path->column,
		.text = path->text};

	if (!path->quoted) {
		place.column += (int)(part - path->text);
	}
	return place;
}

/* What stands in the slot, where the path goes on into it. A missing mapping is made. */
static int descend(struct cwj_reader *r, const struct cwj_yaml *place, struct cwj_slot *slot,
	enum cwj_yaml_kind kind, struct cwj_yaml **ret)
{
	struct cwj_yaml **value = &slot->parent->values[slot->index];

	if (*value == NULL && kind == CWJ_YAML_MAPPING) {
		*value = new_node(kind, NULL, 0, place);
		if (*value == NULL) {
			return fail_memory(r, place);
		}
	}
	if (*value == NULL || (*value)->kind != kind) {
		return cwj_fail(r, place, CWP_EVALUE,
			"the file has no %s here that \"%.80s\" could name a part of",
			kind == CWJ_YAML_MAPPING ? "mapping" : "list", place->text);
	}
	*ret = *value;
	return 0;
}

/* "[3]" at *part: into that element of the list in the slot. */
static int step_index(
	struct cwj_reader *r, const struct cwj_yaml *path, const char **part, struct cwj_slot *slot)
{
	const char *p = *part + 1;
	struct cwj_yaml place = place_of(path, *part), *list = NULL;
	size_t digits = strspn(p, "0123456789"), index = 0;

	if (digits == 0 || digits > 4 || p[digits] != ']' || (digits > 1 && p[0] == '0')) {
		return cwj_fail(r, &place, CWP_EVALUE,
			"\"%.80s\": an element of a list is written as [0], [1], ..", path->text);
	}
	int rc = descend(r, &place, slot, CWJ_YAML_SEQUENCE, &list);
	if (rc < 0 || list == NULL) {
		return rc;
	}
	for (size_t i = 0; i < digits; i++) {
		index = index * 10 + (size_t)(p[i] - '0');
	}
	if (index >= list->count) {
		return cwj_fail(r, &place, CWP_EVALUE,
			"\"%.80s\": the list has %zu element%s, the first is [0]", path->text,
			list->count, list->count == 1 ? "" : "s");
	}
	*slot = (struct cwj_slot){.parent = list, .index = index, .kept = list->values[index]};
	*part = p + digits + 1;
	return 0;
}

/* A name at *part: into that key of the mapping. */
static int step_name(struct cwj_reader *r, const struct cwj_yaml *path, const char **part,
	struct cwj_yaml *mapping, struct cwj_slot *slot)
{
	struct cwj_yaml place = place_of(path, *part);
	size_t length = strcspn(*part, ".[");

	if (length == 0 || length > LONGEST_PART) {
		return cwj_fail(r, &place, CWP_EVALUE,
			"\"%.80s\" is no path of a field; write one such as protect.fraction or "
			"calibrate.critical[0].samples",
			path->text);
	}
	size_t index = find_key(mapping, *part, length);
	if (index == SIZE_MAX) {
		index = add_key(mapping, new_node(CWJ_YAML_SCALAR, *part, length, &place));
	}
	if (index == SIZE_MAX || mapping->values == NULL) {
		return fail_memory(r, &place);
	}
	*slot = (struct cwj_slot){
		.parent = mapping, .index = index, .kept = mapping->values[index]};
	*part += length;
	return 0;
}

int cwj_slot_find(struct cwj_reader *r, struct cwj_yaml *root, const struct cwj_yaml *path,
	struct cwj_slot *ret)
{
	const char *part = path->text;
	struct cwj_slot slot = {0};
	struct cwj_yaml *mapping = root;
	int rc = step_name(r, path, &part, mapping, &slot);

	while (rc == 0 && slot.parent != NULL && *part != '\0') {
		if (*part == '[') {
			rc = step_index(r, path, &part, &slot);
			continue;
		}
		struct cwj_yaml place = place_of(path, part);
		if (*part != '.') { /* what follows an index */
			rc = cwj_fail(r, &place, CWP_EVALUE,
				"\"%.80s\": a dot is missing behind the index", path->text);
			break;
		}
		part++;
		rc = descend(r, &place, &slot, CWJ_YAML_MAPPING, &mapping);
		if (rc == 0) {
			rc = step_name(r, path, &part, mapping, &slot);
		}
	}
	if (rc == 0) {
		*ret = slot;
	}
	return rc;
}

int cwj_slot_key(
	struct cwj_reader *r, struct cwj_yaml *root, const char *name, struct cwj_slot *ret)
{
	size_t index = find_key(root, name, strlen(name));

	if (index == SIZE_MAX) {
		index = add_key(root, new_node(CWJ_YAML_SCALAR, name, strlen(name), root));
	}
	if (index == SIZE_MAX || root->values == NULL) {
		return fail_memory(r, root);
	}
	*ret = (struct cwj_slot){.parent = root, .index = index, .kept = root->values[index]};
	return 0;
}

void cwj_slot_set(const struct cwj_slot *slot, struct cwj_yaml *value)
{
	slot->parent->values[slot->index] = value;
}

/* ---- text ---- */

struct buffer {
	char *text;
	size_t length, room;
};

static int append(void *data, unsigned char *bytes, size_t size)
{
	struct buffer *b = data;
	size_t need = b->length + size + 1;

	if (need > b->room) {
		size_t room = need < 4096 ? 4096 : need * 2;
		char *text = realloc(b->text, room);
		if (text == NULL) {
			return 0;
		}
		b->text = text;
		b->room = room;
	}
	memcpy(b->text + b->length, bytes, size);
	b->length += size;
	b->text[b->length] = '\0';
	return 1;
}

static int emit_scalar(yaml_emitter_t *emitter, const struct cwj_yaml *node)
{
	yaml_event_t event;
	yaml_scalar_style_t style =
		node->quoted ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE;

	return yaml_scalar_event_initialize(&event, NULL, NULL, (yaml_char_t *)node->text,
		       (int)strlen(node->text), 1, 1, style) &&
	       yaml_emitter_emit(emitter, &event);
}

/* Recursion is bounded by the depth of trees. */
static int emit(yaml_emitter_t *emitter, const struct cwj_yaml *node, const char *without)
{
	yaml_event_t event;
	int is_mapping = node->kind == CWJ_YAML_MAPPING;

	if (node->kind == CWJ_YAML_SCALAR) {
		return emit_scalar(emitter, node);
	}
	int ok = is_mapping ? yaml_mapping_start_event_initialize(
				      &event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE)
			    : yaml_sequence_start_event_initialize(
				      &event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE);
	ok = ok && yaml_emitter_emit(emitter, &event);
	for (size_t i = 0; ok && i < node->count; i++) {
		if (is_mapping && without != NULL && strcmp(node->keys[i]->text, without) == 0) {
			continue;
		}
		ok = (!is_mapping || emit_scalar(emitter, node->keys[i])) &&
		     emit(emitter, node->values[i], NULL);
	}
	ok = ok && (is_mapping ? yaml_mapping_end_event_initialize(&event)
			       : yaml_sequence_end_event_initialize(&event));
	return ok && yaml_emitter_emit(emitter, &event);
}

int cwj_yaml_print(const struct cwj_yaml *root, const char *without, char **ret, size_t *ret_length,
	struct cwb_err *err)
{
	struct buffer buffer = {0};
	yaml_emitter_t emitter;
	yaml_event_t event;

	if (!yaml_emitter_initialize(&emitter)) {
		return cwb_err_set(err, -ENOMEM, "no memory to write a job file");
	}
	yaml_emitter_set_output(&emitter, append, &buffer);
	yaml_emitter_set_unicode(&emitter, 1);
	yaml_emitter_set_width(&emitter, -1);
	int ok = yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) &&
		 yaml_emitter_emit(&emitter, &event) &&
		 yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) &&
		 yaml_emitter_emit(&emitter, &event) && emit(&emitter, root, without) &&
		 yaml_document_end_event_initialize(&event, 1) &&
		 yaml_emitter_emit(&emitter, &event) && yaml_stream_end_event_initialize(&event) &&
		 yaml_emitter_emit(&emitter, &event);
	yaml_emitter_delete(&emitter);
	if (!ok || buffer.text == NULL) {
		free(buffer.text);
		return cwb_err_set(err, -ENOMEM, "no memory to write a job file");
	}
	*ret = buffer.text;
	*ret_length = buffer.length;
	return 0;
}
