/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Values of several parts: lists of texts, paths and words, and mappings of options. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "job/job.h"
#include "job/schema_value.h"

enum { MOST_OPTIONS = 256 };

/* Lists of texts, paths or words. */
static int read_texts(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, char *base)
{
	struct cwj_key element = {
		.kind = key->kind == CWJ_PATHS ? CWJ_PATH : CWJ_TEXT, .remedy = key->remedy};
	char ***texts = (char ***)(base + key->offset);
	size_t *count = (size_t *)(base + key->count);

	if (key->high > 0 && node->count > key->high) {
		return cwj_fail(r, node, CWP_EVALUE, "has %zu elements, at most %zu are allowed",
			node->count, (size_t)key->high);
	}
	*texts = calloc(node->count + 1, sizeof(char *));
	if (*texts == NULL) {
		return cwj_fail(r, node, -ENOMEM, "no memory for %zu elements", node->count);
	}
	for (size_t i = 0; i < node->count; i++) {
		const struct cwj_yaml *value = node->values[i];
		size_t mark = cwj_enter_index(r, i);
		int rc;
		if (value->kind != CWJ_YAML_SCALAR ||
			(!value->quoted && cwj_is_null(value->text))) {
			rc = cwj_fail_kind(r, value, "a text", "write plain words");
		} else {
			rc = cwj_scalar_read(r, &element, value, &(*texts)[i]);
		}
		cwj_leave(r, mark);
		if (rc < 0) {
			return rc;
		}
		*count = i + 1;
	}
	return 0;
}

static int read_words(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, uint32_t *ret)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < node->count; i++) {
		unsigned choice = 0;
		size_t mark = cwj_enter_index(r, i);
		int rc;
		if (node->values[i]->kind != CWJ_YAML_SCALAR) {
			rc = cwj_fail_kind(r, node->values[i], "a name", "write plain words");
		} else {
			rc = cwj_choice_find(r, key, node->values[i], &choice);
		}
		cwj_leave(r, mark);
		if (rc < 0) {
			return rc;
		}
		bits |= UINT32_C(1) << choice;
	}
	*ret = bits;
	return 0;
}

int cwj_options_read(
	struct cwj_reader *r, const struct cwj_yaml *node, void *ret_options, size_t *ret_count)
{
	struct cwj_option **ret = ret_options;
	int rc = 0;

	if (node->kind != CWJ_YAML_MAPPING) {
		return cwj_fail_kind(r, node, "a mapping", "write {option: value, ..}");
	}
	if (node->count > MOST_OPTIONS) {
		return cwj_fail(r, node, CWP_EVALUE, "has %zu options, at most %d are allowed",
			node->count, (int)MOST_OPTIONS);
	}
	*ret = calloc(node->count + 1, sizeof(struct cwj_option));
	if (*ret == NULL) {
		return cwj_fail(r, node, -ENOMEM, "no memory for %zu options", node->count);
	}
	for (size_t i = 0; rc == 0 && i < node->count; i++) {
		const struct cwj_yaml *key = node->keys[i], *value = node->values[i];
		struct cwj_option *option = &(*ret)[i];
		size_t mark = cwj_enter(r, key->text);
		*ret_count = i + 1;
		option->line = value->line;
		option->column = value->column;
		if (value->kind != CWJ_YAML_SCALAR) {
			rc = cwj_fail_kind(r, value, "a single value", "options are not nested");
		} else if (key->text[0] == '\0' || cwj_has_control(key->text) ||
			   cwj_has_control(value->text)) {
			rc = cwj_fail(r, value, CWP_EVALUE,
				"empty name, or control characters; write option: value");
		} else if (!value->quoted && cwj_is_null(value->text)) {
			rc = cwj_fail(r, value, CWP_EVALUE,
				"has no value; give one, or remove the option");
		} else {
			rc = cwj_text_store(r, key, key->text, &option->name);
			if (rc == 0) {
				rc = cwj_text_store(r, value, value->text, &option->value);
			}
		}
		cwj_leave(r, mark);
	}
	return rc;
}

int cwj_value_read(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, char *base)
{
	char remedy[256];

	switch (key->kind) {
	case CWJ_TEXTS:
	case CWJ_PATHS:
	case CWJ_WORDS:
		if (node->kind != CWJ_YAML_SEQUENCE) {
			return cwj_fail_kind(r, node, "a list", "write a list such as [a, b]");
		}
		if (key->kind == CWJ_WORDS) {
			return read_words(r, key, node, (uint32_t *)(base + key->offset));
		}
		return read_texts(r, key, node, base);
	case CWJ_OPTIONS:
		return cwj_options_read(r, node, base + key->offset, (size_t *)(base + key->count));
	default:
		if (node->kind != CWJ_YAML_SCALAR) {
			cwj_value_remedy(key, remedy, sizeof(remedy));
			return cwj_fail_kind(r, node, "a single value", remedy);
		}
		return cwj_scalar_read(r, key, node, base + key->offset);
	}
}
