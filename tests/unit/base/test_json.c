/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Bounded JSON: what is refused before and while parsing, typed fields, and stable text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"

static json_t *load(const char *text)
{
	struct cwb_err err = {0};
	json_t *json = NULL;

	assert_int_equal(
		cwb_json_load(text, strlen(text), 1 << 20, CWB_JSON_DEPTH, &json, &err), 0);
	assert_non_null(json);
	return json;
}

static void refuses_what_is_no_json(void **state)
{
	static const char *const wrong[] = {"", " ", "7", "\"a\"", "{", "{} {}", "{\"a\":1,}",
		"{\"a\":1,\"a\":2}", "[\"\\u0000\"]", "{\"a\\u0000\":1}", "[nan]", "[1e999]",
		"[99999999999999999999]", "[\"\xff\"]", "['a']", "[\"\\ud800\"]", "\ufeff{}"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct cwb_err err = {0};
		json_t *json = NULL;
		int rc = cwb_json_load(
			wrong[i], strlen(wrong[i]), 1 << 20, CWB_JSON_DEPTH, &json, &err);
		assert_int_equal(rc, CWP_EFORMAT);
		assert_null(json);
		assert_true(err.line >= 1);
		assert_true(err.column >= 1);
	}
}

static void says_where(void **state)
{
	static const char text[] = "{\n  \"a\": 1,\n  \"b\": x\n}";
	struct cwb_err err = {0};
	json_t *json = NULL;

	(void)state;
	assert_int_equal(cwb_json_load(text, strlen(text), 1000, 4, &json, &err), CWP_EFORMAT);
	assert_int_equal(err.line, 3);
	assert_non_null(strstr(err.message, "line 3"));
}

/* Places within a part are those of the whole text. */
static void reads_a_part(void **state)
{
	static const char text[] = "[1,\n \xC3\xA9{\"a\":[2]}{\"a\":x}\n{\"b\":1,\n\"b\":2}]";
	struct cwb_err err = {0};
	json_t *json = NULL;

	(void)state;
	assert_int_equal(cwb_json_load_part(text, 7, 16, 9, 2, &json, &err), 0);
	assert_int_equal(json_integer_value(json_array_get(json_object_get(json, "a"), 0)), 2);
	json_decref(json);
	json = NULL;
	assert_int_equal(cwb_json_load_part(text, 7, 16, 8, 2, &json, &err), CWP_ELIMIT);
	cwb_err_clear(&err);
	assert_int_equal(cwb_json_load_part(text, 7, 16, 9, 1, &json, &err), CWP_ELIMIT);
	cwb_err_clear(&err);
	assert_int_equal(cwb_json_load_part(text, 16, 23, 100, 4, &json, &err), CWP_EFORMAT);
	assert_int_equal(err.line, 2);
	assert_int_equal(err.column, 17);
	cwb_err_clear(&err);
	assert_int_equal(cwb_json_load_part(text, 24, 38, 100, 4, &json, &err), CWP_EFORMAT);
	assert_int_equal(err.line, 4);
	assert_int_equal(err.column, 3);
	assert_null(json);
}

static void refuses_size_and_depth_beforehand(void **state)
{
	struct cwb_err err = {0};
	json_t *json = NULL;
	static char deep[200000];

	(void)state;
	assert_int_equal(cwb_json_load("[1,2]", 5, 4, 4, &json, &err), CWP_ELIMIT);
	cwb_err_clear(&err);
	assert_int_equal(cwb_json_load("[[[1]]]", 7, 100, 2, &json, &err), CWP_ELIMIT);
	cwb_err_clear(&err);
	assert_int_equal(cwb_json_load("[[{}]]", 6, 100, 3, &json, &err), 0);
	json_decref(json);
	/* Brackets within strings nest nothing, also behind an escaped quote. */
	assert_int_equal(cwb_json_load("[\"[[[\\\"[[[\"]", 12, 100, 1, &json, &err), 0);
	json_decref(json);
	memset(deep, '[', sizeof(deep));
	assert_int_equal(
		cwb_json_load(deep, sizeof(deep), sizeof(deep), CWB_JSON_DEPTH, &json, &err),
		CWP_ELIMIT);
}

static void reads_typed_fields(void **state)
{
	json_t *o = load("{\"s\":\"text\",\"b\":true,\"i\":-7,\"u\":9,\"r\":0.5,\"o\":{},\"a\":[],"
			 "\"n\":null}");
	struct cwb_err err = {0};
	const char *s = NULL;
	int b = 0;
	int64_t i = 0;
	uint64_t u = 0;
	double r = 0;
	json_t *j = NULL;

	(void)state;
	assert_int_equal(cwb_json_get_string(o, "s", CWB_JSON_REQUIRED, &s, &err), 0);
	assert_string_equal(s, "text");
	assert_int_equal(cwb_json_get_bool(o, "b", CWB_JSON_REQUIRED, &b, &err), 0);
	assert_int_equal(b, 1);
	assert_int_equal(cwb_json_get_i64(o, "i", CWB_JSON_REQUIRED, -7, 0, &i, &err), 0);
	assert_int_equal(i, -7);
	assert_int_equal(cwb_json_get_u64(o, "u", CWB_JSON_REQUIRED, 0, UINT64_MAX, &u, &err), 0);
	assert_int_equal(u, 9);
	assert_int_equal(cwb_json_get_number(o, "r", CWB_JSON_REQUIRED, &r, &err), 0);
	assert_true(r == 0.5);
	assert_int_equal(cwb_json_get_number(o, "u", CWB_JSON_REQUIRED, &r, &err), 0);
	assert_true(r == 9);
	assert_int_equal(cwb_json_get_object(o, "o", CWB_JSON_REQUIRED, &j, &err), 0);
	assert_true(json_is_object(j));
	assert_int_equal(cwb_json_get_array(o, "a", CWB_JSON_REQUIRED, &j, &err), 0);
	assert_true(json_is_array(j));
	assert_int_equal(err.code, 0);
	json_decref(o);
}

static void names_the_field_that_does_not_fit(void **state)
{
	json_t *o = load("{\"s\":\"text\",\"i\":-7,\"r\":1.0,\"n\":null}");
	struct cwb_err err = {0};
	const char *s = "kept";
	int b = 5;
	int64_t i = 5;
	uint64_t u = 5;
	double r = 5;
	json_t *j = NULL;

	(void)state;
	assert_int_equal(cwb_json_get_string(o, "i", CWB_JSON_OPTIONAL, &s, &err), CWP_EVALUE);
	assert_string_equal(err.field, "i");
	assert_string_equal(err.message, "i: needs a string, found integer");
	cwb_err_clear(&err);
	assert_int_equal(cwb_json_get_i64(o, "i", CWB_JSON_REQUIRED, 0, 10, &i, &err), CWP_EVALUE);
	assert_string_equal(err.message, "i: -7 is outside 0..10");
	cwb_err_clear(&err);
	assert_int_equal(
		cwb_json_get_u64(o, "i", CWB_JSON_REQUIRED, 0, UINT64_MAX, &u, &err), CWP_EVALUE);
	assert_int_equal(cwb_json_get_i64(o, "r", CWB_JSON_REQUIRED, 0, 10, &i, NULL), CWP_EVALUE);
	assert_int_equal(cwb_json_get_bool(o, "i", CWB_JSON_REQUIRED, &b, NULL), CWP_EVALUE);
	assert_int_equal(cwb_json_get_number(o, "s", CWB_JSON_REQUIRED, &r, NULL), CWP_EVALUE);
	assert_int_equal(cwb_json_get_object(o, "s", CWB_JSON_REQUIRED, &j, NULL), CWP_EVALUE);
	assert_int_equal(cwb_json_get_array(o, "s", CWB_JSON_REQUIRED, &j, NULL), CWP_EVALUE);
	/* Absent and null are the same. */
	cwb_err_clear(&err);
	assert_int_equal(cwb_json_get_string(o, "n", CWB_JSON_REQUIRED, &s, &err), CWP_EMISSING);
	assert_string_equal(err.field, "n");
	assert_int_equal(cwb_json_get_string(o, "x", CWB_JSON_REQUIRED, &s, NULL), CWP_EMISSING);
	assert_int_equal(cwb_json_get_string(o, "n", CWB_JSON_OPTIONAL, &s, NULL), 0);
	assert_int_equal(cwb_json_get_u64(o, "x", CWB_JSON_OPTIONAL, 0, 9, &u, NULL), 0);
	assert_string_equal(s, "kept");
	assert_int_equal(b, 5);
	assert_int_equal(i, 5);
	assert_int_equal(u, 5);
	assert_true(r == 5);
	assert_null(j);
	json_decref(o);
}

static void writes_the_same_bytes_for_the_same_value(void **state)
{
	json_t *a = load("{\"b\": [1, 0.1], \"a\": {\"y\": null, \"x\": \"\\u20ac\"}}");
	json_t *b = load("{\"a\":{\"x\":\"\342\202\254\",\"y\":null},\"b\":[1,1e-1]}");
	size_t length = 0;
	char *x = cwb_json_dump(a, &length), *y = cwb_json_dump(b, NULL);

	(void)state;
	assert_string_equal(x, y);
	assert_int_equal(length, strlen(x));
	assert_string_equal(
		x, "{\"a\":{\"x\":\"\342\202\254\",\"y\":null},\"b\":[1,0.10000000000000001]}");
	free(x);
	free(y);
	x = cwb_json_text(a, JSON_INDENT(1) | JSON_SORT_KEYS | JSON_REAL_PRECISION(3), &length);
	assert_int_equal(length, strlen(x));
	assert_non_null(strstr(x, "0.1\n"));
	free(x);
	json_decref(a);
	json_decref(b);
}

static void reads_files(void **state)
{
	char path[] = "/tmp/cwb-json-XXXXXX";
	int fd = mkstemp(path);
	struct cwb_err err = {0};
	json_t *json = NULL;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "{\"a\":\n}", 7), 7);
	assert_int_equal(cwb_json_load_file(path, 1000, 4, &json, &err), CWP_EFORMAT);
	assert_int_equal(err.line, 2);
	assert_memory_equal(err.message, path, strlen(path));
	assert_int_equal(pwrite(fd, "{\"a\":1}", 7, 0), 7);
	cwb_err_clear(&err);
	assert_int_equal(cwb_json_load_file(path, 1000, 4, &json, &err), 0);
	json_decref(json);
	assert_int_equal(cwb_json_load_file(path, 6, 4, &json, &err), CWP_ELIMIT);
	close(fd);
	unlink(path);
	cwb_err_clear(&err);
	assert_true(cwb_json_load_file(path, 6, 4, &json, &err) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_what_is_no_json),
		cmocka_unit_test(says_where),
		cmocka_unit_test(reads_a_part),
		cmocka_unit_test(refuses_size_and_depth_beforehand),
		cmocka_unit_test(reads_typed_fields),
		cmocka_unit_test(names_the_field_that_does_not_fit),
		cmocka_unit_test(writes_the_same_bytes_for_the_same_value),
		cmocka_unit_test(reads_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
