/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The texts of a record's columns. */
#include "engine/text/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static const json_t *member(const json_t *json, const char *name, size_t length)
{
	if (json_is_object(json)) {
		char key[128];
		if (length >= sizeof(key))
			return NULL;
		memcpy(key, name, length);
		key[length] = '\0';
		return json_object_get(json, key);
	}
	size_t index = 0;
	for (size_t i = 0; i < length; i++) {
		if (name[i] < '0' || name[i] > '9' || i == 9)
			return NULL;
		index = 10 * index + (size_t)(name[i] - '0');
	}
	return length > 0 ? json_array_get(json, index) : NULL;
}

const json_t *cwe_record_json(const json_t *json, const char *path)
{
	while (json && *path) {
		/* A member may have dots in its name. */
		const json_t *whole = json_is_object(json) ? json_object_get(json, path) : NULL;
		if (whole)
			return whole;
		size_t length = strcspn(path, ".");
		json = member(json, path, length);
		path += length + (path[length] == '.');
	}
	return json;
}

static int csv_text(const struct cwe_record *r, const char *column, struct cwe_text *ret)
{
	size_t index = r->csv->columns;
	if (column[0] == '#') {
		index = strtoul(column + 1, NULL, 10) - 1;
	} else if (r->header) {
		for (size_t i = 0; i < r->csv->columns && index == r->csv->columns; i++) {
			if (strcmp(r->header[i], column) == 0)
				index = i;
		}
	} else {
		unsigned long number = strtoul(column, NULL, 10);
		index = number > 0 ? number - 1 : index;
	}
	if (index >= r->csv->count)
		return 0;
	ret->text = r->csv->field[index].text;
	ret->length = r->csv->field[index].length;
	return 1;
}

int cwe_record_text(
	const struct cwe_record *r, const char *column, struct cwe_text *ret, const char **ret_type)
{
	if (r->csv)
		return csv_text(r, column, ret);
	const json_t *value = cwe_record_json(r->json, column);
	if (!value || json_is_null(value))
		return 0;
	if (json_is_integer(value)) {
		ret->length = (size_t)snprintf(ret->number, sizeof(ret->number),
			"%" JSON_INTEGER_FORMAT, json_integer_value(value));
		ret->text = ret->number;
		return 1;
	}
	if (!json_is_string(value)) {
		*ret_type = cwb_json_type_name(value);
		return CWP_EVALUE;
	}
	ret->text = json_string_value(value);
	ret->length = json_string_length(value);
	return 1;
}
