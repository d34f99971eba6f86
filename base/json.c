/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* jansson behind limits. Its own depth limit is 2048, fixed when it was compiled: too deep for
 * small stacks. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/json_stream.h"

/* The deepest nesting, found without parsing; brackets within strings do not count. On text that is
 * no JSON the answer does not matter: the parser refuses it. */
static unsigned measure_depth(const char *text, size_t length)
{
	unsigned depth = 0, deepest = 0;
	int in_string = 0;

	for (size_t i = 0; i < length; i++) {
		char c = text[i];
		if (in_string) {
			if (c == '\\') {
				i++;
			} else if (c == '"') {
				in_string = 0;
			}
		} else if (c == '"') {
			in_string = 1;
		} else if (c == '{' || c == '[') {
			depth++;
			deepest = depth > deepest ? depth : deepest;
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return deepest;
}

/* jansson's reason, with the place in the whole text of which it read the part from start on. */
static int refuse_syntax(
	const json_error_t *reason, const char *text, size_t start, struct cwb_err *err)
{
	int line = 1, column = 1;
	int is_first = err != NULL && err->code == 0;

	cwb_json_stream_place(text, start, &line, &column);
	if (reason->line > 1) {
		column = 1;
	}
	line += reason->line > 0 ? reason->line - 1 : 0;
	column += reason->column > 0 ? reason->column - 1 : 0;
	int rc = cwb_err_set(err, CWP_EFORMAT, "not valid JSON, line %d column %d: %s", line,
		column, reason->text);
	if (is_first) {
		err->line = line;
		err->column = column;
	}
	return rc;
}

int cwb_json_load_part(const char *text, size_t start, size_t end, size_t limit, unsigned depth,
	json_t **ret, struct cwb_err *err)
{
	json_error_t reason;
	size_t length = end - start;

	if (length > limit) {
		return cwb_err_set(err, CWP_ELIMIT,
			"JSON text of %zu bytes, at most %zu are allowed", length, limit);
	}
	unsigned deepest = measure_depth(text + start, length);
	if (deepest > depth) {
		return cwb_err_set(err, CWP_ELIMIT,
			"JSON text nests %u levels, at most %u are allowed", deepest, depth);
	}
	json_t *json = json_loadb(text + start, length, JSON_REJECT_DUPLICATES, &reason);
	if (json == NULL) {
		if (json_error_code(&reason) == json_error_out_of_memory) {
			return cwb_err_set(
				err, -ENOMEM, "no memory for a JSON text of %zu bytes", length);
		}
		return refuse_syntax(&reason, text, start, err);
	}
	*ret = json;
	return 0;
}

int cwb_json_load(const char *text, size_t length, size_t limit, unsigned depth, json_t **ret,
	struct cwb_err *err)
{
	return cwb_json_load_part(text, 0, length, limit, depth, ret, err);
}

int cwb_json_load_file(
	const char *path, size_t limit, unsigned depth, json_t **ret, struct cwb_err *err)
{
	char *text;
	size_t length;
	int rc = cwb_file_read(path, limit, &text, &length, err);

	if (rc < 0) {
		return rc;
	}
	struct cwb_err reason = {0};
	rc = cwb_json_load(text, length, limit, depth, ret, &reason);
	if (rc < 0) {
		int is_first = err != NULL && err->code == 0;
		cwb_err_set(err, rc, "%s: %s", path, reason.message);
		if (is_first) {
			err->line = reason.line;
			err->column = reason.column;
		}
	}
	free(text);
	return rc;
}

struct text {
	char *data; /* with room for a NUL */
	size_t length, capacity;
	int failed;
};

static int append(const char *bytes, size_t size, void *arg)
{
	struct text *t = arg;

	if (t->failed || size > SIZE_MAX / 4 - t->length) {
		t->failed = 1;
		return -1;
	}
	if (t->length + size + 1 > t->capacity) {
		size_t capacity = (t->length + size + 1) * 2;
		char *grown = realloc(t->data, capacity);
		if (grown == NULL) {
			t->failed = 1;
			return -1;
		}
		t->data = grown;
		t->capacity = capacity;
	}
	memcpy(t->data + t->length, bytes, size);
	t->length += size;
	return 0;
}

char *cwb_json_text(const json_t *json, size_t flags, size_t *ret_length)
{
	struct text t = {0};
	int rc = json_dump_callback(json, append, &t, flags | JSON_ENCODE_ANY);

	if (rc < 0 || t.failed || t.length == 0) {
		free(t.data);
		return NULL;
	}
	t.data[t.length] = '\0';
	if (ret_length != NULL) {
		*ret_length = t.length;
	}
	return t.data;
}

char *cwb_json_dump(const json_t *json, size_t *ret_length)
{
	return cwb_json_text(
		json, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17), ret_length);
}

json_t *cwb_json_finite(double x)
{
	return isfinite(x) ? json_real(x) : json_null();
}

const char *cwb_json_type_name(const json_t *json)
{
	switch (json == NULL ? JSON_NULL : json_typeof(json)) {
	case JSON_OBJECT:
		return "object";
	case JSON_ARRAY:
		return "array";
	case JSON_STRING:
		return "string";
	case JSON_INTEGER:
		return "integer";
	case JSON_REAL:
		return "number";
	case JSON_TRUE:
	case JSON_FALSE:
		return "boolean";
	case JSON_NULL:
	default:
		break;
	}
	return "null";
}

static int fail(struct cwb_err *err, int code, const char *key, const char *text)
{
	if (err != NULL && err->code == 0) {
		cwb_err_set(err, code, "%s: %s", key, text);
		snprintf(err->field, sizeof(err->field), "%s", key);
	}
	return code;
}

static int wrong_type(struct cwb_err *err, const char *key, const char *wanted, const json_t *found)
{
	char text[96];

	snprintf(text, sizeof(text), "needs %s, found %s", wanted, cwb_json_type_name(found));
	return fail(err, CWP_EVALUE, key, text);
}

/* 1 and the value, 0 when it is absent and may be, or a negative code. */
static int find(const json_t *object, const char *key, enum cwb_json_need need, json_t **ret,
	struct cwb_err *err)
{
	json_t *value = json_object_get(object, key);

	if (value == NULL || json_is_null(value)) {
		return need == CWB_JSON_OPTIONAL ? 0 : fail(err, CWP_EMISSING, key, "is required");
	}
	*ret = value;
	return 1;
}

int cwb_json_get_string(const json_t *object, const char *key, enum cwb_json_need need,
	const char **ret, struct cwb_err *err)
{
	json_t *value;
	int rc = find(object, key, need, &value, err);

	if (rc <= 0) {
		return rc;
	}
	if (!json_is_string(value)) {
		return wrong_type(err, key, "a string", value);
	}
	*ret = json_string_value(value);
	return 0;
}

int cwb_json_get_bool(const json_t *object, const char *key, enum cwb_json_need need, int *ret,
	struct cwb_err *err)
{
	json_t *value;
	int rc = find(object, key, need, &value, err);

	if (rc <= 0) {
		return rc;
	}
	if (!json_is_boolean(value)) {
		return wrong_type(err, key, "true or false", value);
	}
	*ret = json_is_true(value);
	return 0;
}

int cwb_json_get_i64(const json_t *object, const char *key, enum cwb_json_need need, int64_t low,
	int64_t high, int64_t *ret, struct cwb_err *err)
{
	json_t *value;
	char text[128];
	int rc = find(object, key, need, &value, err);

	if (rc <= 0) {
		return rc;
	}
	if (!json_is_integer(value)) {
		return wrong_type(err, key, "an integer", value);
	}
	int64_t number = json_integer_value(value);
	if (number < low || number > high) {
		snprintf(text, sizeof(text), "%" PRId64 " is outside %" PRId64 "..%" PRId64, number,
			low, high);
		return fail(err, CWP_EVALUE, key, text);
	}
	*ret = number;
	return 0;
}

int cwb_json_get_u64(const json_t *object, const char *key, enum cwb_json_need need, uint64_t low,
	uint64_t high, uint64_t *ret, struct cwb_err *err)
{
	int64_t number = -1;
	int rc = cwb_json_get_i64(object, key, need, low > INT64_MAX ? INT64_MAX : (int64_t)low,
		high > INT64_MAX ? INT64_MAX : (int64_t)high, &number, err);

	if (rc == 0 && number >= 0) {
		*ret = (uint64_t)number;
	}
	return rc;
}

int cwb_json_get_number(const json_t *object, const char *key, enum cwb_json_need need, double *ret,
	struct cwb_err *err)
{
	json_t *value;
	int rc = find(object, key, need, &value, err);

	if (rc <= 0) {
		return rc;
	}
	if (!json_is_number(value)) {
		return wrong_type(err, key, "a number", value);
	}
	*ret = json_number_value(value);
	return 0;
}

int cwb_json_get_object(const json_t *object, const char *key, enum cwb_json_need need,
	json_t **ret, struct cwb_err *err)
{
	json_t *value;
	int rc = find(object, key, need, &value, err);

	if (rc <= 0) {
		return rc;
	}
	if (!json_is_object(value)) {
		return wrong_type(err, key, "an object", value);
	}
	*ret = value;
	return 0;
}

int cwb_json_get_array(const json_t *object, const char *key, enum cwb_json_need need, json_t **ret,
	struct cwb_err *err)
{
	json_t *value;
	int rc = find(object, key, need, &value, err);

	if (rc <= 0) {
		return rc;
	}
	if (!json_is_array(value)) {
		return wrong_type(err, key, "an array", value);
	}
	*ret = value;
	return 0;
}
