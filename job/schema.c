/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reads a YAML tree along a table: finds each key, hands its value to the kind's reader, and says
 * precisely what does not fit. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "job/schema.h"
#include "job/schema_value.h"

int cwj_fail(struct cwj_reader *r, const struct cwj_yaml *node, int code, const char *format, ...)
{
	char text[512];
	va_list ap;

	if (r->err->code != 0) {
		return r->err->code;
	}
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	r->err->line = node->line;
	r->err->column = node->column;
	snprintf(r->err->field, sizeof(r->err->field), "%s", r->field);
	return cwb_err_set(r->err, code, "%s%s%s", r->field, r->field[0] != '\0' ? ": " : "", text);
}

int cwj_fail_name(struct cwj_reader *r, const struct cwj_yaml *node, const char *what,
	const char *const *first, size_t count, size_t stride)
{
	char list[256] = "";
	size_t used = 0;
	const char *nearest = cwb_nearest(node->text, first, count, stride);

	if (nearest != NULL) {
		int is_first = r->err->code == 0;
		int rc = cwj_fail(r, node, CWP_EUNKNOWN,
			"\"%.64s\" is not %s; did you mean \"%s\"?", node->text, what, nearest);
		if (is_first) {
			snprintf(r->err->nearest, sizeof(r->err->nearest), "%s", nearest);
		}
		return rc;
	}
	for (size_t i = 0; i < count; i++) {
		const char *name = *(const char *const *)((const char *)first + i * stride);
		int n = snprintf(
			list + used, sizeof(list) - used, "%s%s", used > 0 ? ", " : "", name);
		if (n < 0 || used + (size_t)n >= sizeof(list)) {
			break;
		}
		used += (size_t)n;
	}
	if (used == 0) {
		return cwj_fail(r, node, CWP_EUNKNOWN, "\"%.64s\" is not %s", node->text, what);
	}
	return cwj_fail(r, node, CWP_EUNKNOWN, "\"%.64s\" is not %s; write one of: %s", node->text,
		what, list);
}

int cwj_fail_missing(
	struct cwj_reader *r, const struct cwj_yaml *mapping, const char *key, const char *remedy)
{
	size_t mark = cwj_enter(r, key);
	int rc = cwj_fail(r, mapping, CWP_EMISSING, "is required; %s", remedy);

	cwj_leave(r, mark);
	return rc;
}

size_t cwj_enter(struct cwj_reader *r, const char *key)
{
	size_t mark = strlen(r->field);

	snprintf(r->field + mark, sizeof(r->field) - mark, "%s%.64s", mark > 0 ? "." : "", key);
	return mark;
}

size_t cwj_enter_index(struct cwj_reader *r, size_t index)
{
	size_t mark = strlen(r->field);

	snprintf(r->field + mark, sizeof(r->field) - mark, "[%zu]", index);
	return mark;
}

void cwj_leave(struct cwj_reader *r, size_t mark)
{
	r->field[mark] = '\0';
}

static const struct cwj_key *find_key(
	const struct cwj_table *table, const char *name, size_t *ret_count)
{
	const struct cwj_key *found = NULL;
	size_t count = 0;

	for (const struct cwj_key *key = table->keys; key->name != NULL; key++, count++) {
		if (strcmp(key->name, name) == 0) {
			found = key;
		}
	}
	*ret_count = count;
	return found;
}

static int read_list(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, char *base)
{
	const struct cwj_table *table = key->table;
	char **items = (char **)(base + key->offset);
	size_t *count = (size_t *)(base + key->count);

	if (node->kind != CWJ_YAML_SEQUENCE) {
		return cwj_fail_kind(r, node, "a list", "begin each element with \"- \"");
	}
	if (key->high > 0 && node->count > key->high) {
		return cwj_fail(r, node, CWP_EVALUE, "has %zu elements, at most %zu are allowed",
			node->count, (size_t)key->high);
	}
	if (node->count == 0) {
		return 0;
	}
	*items = calloc(node->count, table->size);
	if (*items == NULL) {
		return cwj_fail(r, node, -ENOMEM, "no memory for %zu elements", node->count);
	}
	for (size_t i = 0; i < node->count; i++) {
		size_t mark = cwj_enter_index(r, i);
		/* Counted before it is read, so that a half-read element is freed. */
		*count = i + 1;
		int rc = cwj_table_read(r, table, node->values[i], *items + i * table->size);
		cwj_leave(r, mark);
		if (rc < 0) {
			return rc;
		}
	}
	return 0;
}

static int read_key(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, char *base)
{
	int rc;

	if (node->kind == CWJ_YAML_SCALAR && !node->quoted && cwj_is_null(node->text)) {
		return cwj_fail(r, node, CWP_EVALUE, "has no value; give one, or remove the key");
	}
	switch (key->kind) {
	case CWJ_MAPPING:
		rc = cwj_table_read(r, key->table, node, base + key->offset);
		if (rc == 0 && key->present != 0) {
			*(int *)(base + key->present) = 1;
		}
		return rc;
	case CWJ_LIST:
		return read_list(r, key, node, base);
	case CWJ_CUSTOM:
		return key->custom->read(r, key, node, base + key->offset);
	default:
		rc = cwj_value_read(r, key, node, base);
		return rc == 0 && key->check != NULL ? key->check(r, node, base) : rc;
	}
}

static int require_keys(
	struct cwj_reader *r, const struct cwj_table *table, const struct cwj_yaml *node)
{
	for (const struct cwj_key *key = table->keys; key->name != NULL; key++) {
		if (key->required && cwj_yaml_get(node, key->name) == NULL) {
			char remedy[256];
			cwj_value_remedy(key, remedy, sizeof(remedy));
			return cwj_fail_missing(r, node, key->name, remedy);
		}
	}
	return 0;
}

int cwj_table_read(struct cwj_reader *r, const struct cwj_table *table, const struct cwj_yaml *node,
	void *target)
{
	if (table->fill != NULL) {
		table->fill(target);
	}
	if (node->kind != CWJ_YAML_MAPPING) {
		return cwj_fail_kind(
			r, node, "a mapping", "write \"key: value\" lines, or {key: value, ..}");
	}
	if (table->place != 0) {
		int *place = (int *)((char *)target + table->place - 1);
		place[0] = node->line;
		place[1] = node->column;
	}
	for (size_t i = 0; i < node->count; i++) {
		size_t count;
		const struct cwj_key *key = find_key(table, node->keys[i]->text, &count);
		size_t mark = cwj_enter(r, node->keys[i]->text);
		int rc;
		if (key == NULL) {
			rc = cwj_fail_name(r, node->keys[i], "a key here", &table->keys[0].name,
				count, sizeof(table->keys[0]));
		} else {
			rc = read_key(r, key, node->values[i], target);
		}
		cwj_leave(r, mark);
		if (rc < 0) {
			return rc;
		}
	}
	int rc = require_keys(r, table, node);
	return rc == 0 && table->check != NULL ? table->check(r, node, target) : rc;
}
