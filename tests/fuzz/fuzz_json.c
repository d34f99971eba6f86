/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Fuzzing of the JSON event reader: it must take just what jansson takes (which sees white space in
 * some NUL bytes), give the same values, and count the same members when it passes them over. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/json_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds) {
		abort();
	}
}

static void next(struct cwb_json_stream *s, struct cwb_json_item *item)
{
	must(cwb_json_stream_next(s, item, NULL) > 0);
}

static void compare(
	struct cwb_json_stream *s, const struct cwb_json_item *item, const json_t *json);

static void compare_member(struct cwb_json_stream *s, const struct cwb_json_item *key,
	const struct cwb_json_item *value, const json_t *object)
{
	char *name = malloc(key->length + 1);

	must(name != NULL);
	memcpy(name, key->text, key->length);
	name[key->length] = '\0';
	const json_t *member = json_object_get(object, name);
	free(name);
	must(member != NULL);
	compare(s, value, member);
}

static void compare(struct cwb_json_stream *s, const struct cwb_json_item *item, const json_t *json)
{
	switch (json_typeof(json)) {
	case JSON_STRING:
		must(item->event == CWB_JSON_STRING && item->length == json_string_length(json) &&
			memcmp(item->text, json_string_value(json), item->length) == 0);
		break;
	case JSON_INTEGER:
		must(item->event == CWB_JSON_INTEGER && item->integer == json_integer_value(json));
		break;
	case JSON_REAL:
		must(item->event == CWB_JSON_REAL && item->real == json_real_value(json));
		break;
	case JSON_ARRAY:
		must(item->event == CWB_JSON_ARRAY);
		for (size_t i = 0; i < json_array_size(json); i++) {
			struct cwb_json_item element;
			next(s, &element);
			compare(s, &element, json_array_get(json, i));
		}
		struct cwb_json_item end;
		next(s, &end);
		must(end.event == CWB_JSON_ARRAY_END);
		break;
	case JSON_OBJECT:
		must(item->event == CWB_JSON_OBJECT);
		for (struct cwb_json_item key;;) {
			struct cwb_json_item value;
			next(s, &key);
			if (key.event == CWB_JSON_OBJECT_END) {
				break;
			}
			must(key.event == CWB_JSON_KEY);
			next(s, &value);
			compare_member(s, &key, &value, json);
		}
		break;
	case JSON_TRUE:
		must(item->event == CWB_JSON_TRUE);
		break;
	case JSON_FALSE:
		must(item->event == CWB_JSON_FALSE);
		break;
	case JSON_NULL:
	default:
		must(item->event == CWB_JSON_NULL);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct cwb_json_stream s;
	struct cwb_json_item item;
	struct cwb_err err = {0};
	size_t count = 0;
	json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);

	cwb_json_stream_open(&s, text, 0, size, CWB_JSON_STREAM_DEPTH);
	int rc = cwb_json_stream_next(&s, &item, &err);
	if (rc > 0) {
		rc = cwb_json_stream_skip(&s, &count, NULL, &err);
	}
	if (rc == 0) {
		rc = cwb_json_stream_next(&s, &item, &err);
	}
	cwb_json_stream_close(&s);
	must(rc < 0 ? err.code == rc : rc == CWB_JSON_END);
	if (json != NULL && rc == 0) {
		must(count ==
			(json_is_object(json) ? json_object_size(json) : json_array_size(json)));
		cwb_json_stream_open(&s, text, 0, size, CWB_JSON_STREAM_DEPTH);
		next(&s, &item);
		compare(&s, &item, json);
		cwb_json_stream_close(&s);
	} else if (json != NULL) {
		must(rc == CWP_ELIMIT || memchr(data, '\0', size) != NULL);
	} else if (rc == 0) {
		/* Only keys that come twice, of which the reader knows nothing. */
		json = json_loadb(text, size, 0, NULL);
		must(json != NULL);
	}
	json_decref(json);
	return 0;
}
