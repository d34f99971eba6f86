/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A structure back to JSON along its table, in the table's order, and its memory given back. What
 * is written is a valid file of the same schema: JSON is YAML. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/quantity.h"
#include "job/job.h"
#include "job/schema.h"

static json_t *texts_json(char *const *texts, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; array != NULL && i < count; i++) {
		if (json_array_append_new(array, json_string(texts[i])) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *words_json(const char *const *names, uint32_t bits)
{
	json_t *array = json_array();

	for (size_t i = 0; array != NULL && names[i] != NULL; i++) {
		if ((bits >> i & 1) != 0 &&
			json_array_append_new(array, json_string(names[i])) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *options_json(const struct cwj_option *options, size_t count)
{
	json_t *object = json_object();

	for (size_t i = 0; object != NULL && i < count; i++) {
		if (json_object_set_new(object, options[i].name, json_string(options[i].value)) <
			0) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

static json_t *list_json(const struct cwj_table *table, const char *items, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; array != NULL && i < count; i++) {
		if (json_array_append_new(array, cwj_table_json(table, items + i * table->size)) <
			0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *quantity_json(uint64_t value, int is_size)
{
	char text[CWB_QUANTITY_TEXT];

	if (is_size) {
		cwb_size_print(value, text);
	} else {
		cwb_time_print(value, text);
	}
	return json_string(text);
}

static json_t *value_json(const struct cwj_key *key, const char *base)
{
	const void *target = base + key->offset;

	switch (key->kind) {
	case CWJ_TEXT:
	case CWJ_ID:
	case CWJ_LABEL:
	case CWJ_PATH:
	case CWJ_WORD:
		return json_string(*(char *const *)target);
	case CWJ_SIZE:
	case CWJ_TIME:
		return quantity_json(*(const uint64_t *)target, key->kind == CWJ_SIZE);
	case CWJ_COUNT:
		return json_integer((json_int_t) * (const uint64_t *)target);
	case CWJ_SMALL:
		return json_integer(*(const uint32_t *)target);
	case CWJ_NUMBER:
		return json_real(*(const double *)target);
	case CWJ_SWITCH:
		return json_boolean(*(const int *)target);
	case CWJ_CHOICE:
		return json_string(key->names[*(const unsigned *)target]);
	case CWJ_TEXTS:
	case CWJ_PATHS:
		return texts_json(*(char **const *)target, *(const size_t *)(base + key->count));
	case CWJ_WORDS:
		return words_json(key->names, *(const uint32_t *)target);
	case CWJ_OPTIONS:
		return options_json(
			*(struct cwj_option *const *)target, *(const size_t *)(base + key->count));
	case CWJ_MAPPING:
		return cwj_table_json(key->table, target);
	case CWJ_LIST:
		return list_json(
			key->table, *(char *const *)target, *(const size_t *)(base + key->count));
	case CWJ_CUSTOM:
		break;
	}
	return NULL;
}

static int is_left_out(const struct cwj_key *key, const char *base)
{
	switch (key->kind) {
	case CWJ_TEXT:
	case CWJ_ID:
	case CWJ_LABEL:
	case CWJ_PATH:
	case CWJ_WORD:
		return *(char *const *)(base + key->offset) == NULL;
	case CWJ_MAPPING:
		return key->present != 0 && *(const int *)(base + key->present) == 0;
	default:
		return 0;
	}
}

json_t *cwj_table_json(const struct cwj_table *table, const void *target)
{
	const char *base = target;
	json_t *object = json_object();

	for (const struct cwj_key *key = table->keys; object != NULL && key->name != NULL; key++) {
		int rc = 0;
		if (key->kind == CWJ_CUSTOM) {
			rc = key->custom->json(object, key, base + key->offset);
		} else if (!is_left_out(key, base)) {
			rc = json_object_set_new(object, key->name, value_json(key, base));
		}
		if (rc < 0) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

static void free_texts(char **texts, size_t count)
{
	for (size_t i = 0; texts != NULL && i < count; i++) {
		free(texts[i]);
	}
	free(texts);
}

static void free_options(struct cwj_option *options, size_t count)
{
	for (size_t i = 0; options != NULL && i < count; i++) {
		free(options[i].name);
		free(options[i].value);
	}
	free(options);
}

static void free_items(const struct cwj_table *table, char *items, size_t count)
{
	for (size_t i = 0; items != NULL && i < count; i++) {
		cwj_table_free(table, items + i * table->size);
	}
	free(items);
}

static void free_key(const struct cwj_key *key, char *base)
{
	void **target = (void **)(base + key->offset);
	size_t *count = (size_t *)(base + key->count);

	switch (key->kind) {
	case CWJ_TEXT:
	case CWJ_ID:
	case CWJ_LABEL:
	case CWJ_PATH:
	case CWJ_WORD:
		free(*target);
		*target = NULL;
		return;
	case CWJ_TEXTS:
	case CWJ_PATHS:
		free_texts(*target, *count);
		break;
	case CWJ_OPTIONS:
		free_options(*target, *count);
		break;
	case CWJ_LIST:
		free_items(key->table, *target, *count);
		break;
	case CWJ_MAPPING:
		cwj_table_free(key->table, base + key->offset);
		return;
	case CWJ_CUSTOM:
		if (key->custom->free != NULL) {
			key->custom->free(base + key->offset);
		}
		return;
	default:
		return;
	}
	*target = NULL;
	*count = 0;
}

void cwj_table_free(const struct cwj_table *table, void *target)
{
	for (const struct cwj_key *key = table->keys; key->name != NULL; key++) {
		free_key(key, target);
	}
}
