/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* JSON event by event: what comes, what is refused and where; and that jansson takes the same
 * texts. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/json_stream.h"

static void __attribute__((format(printf, 3, 4))) append(
	char *out, size_t size, const char *format, ...)
{
	size_t used = strlen(out);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(out + used, size - used, format, args);
	va_end(args);
}

/* All events of a text, a letter each with its value; the message when there is an error. The text
 * is a copy of its exact size, so that a sanitizer sees a step beyond it. */
static const char *events_of(const char *text, size_t length, unsigned depth, struct cwb_err *err)
{
	static char out[2048];
	static const char letters[] = "E{}[]KSIRTFN";
	char *exact = malloc(length > 0 ? length : 1);
	struct cwb_json_stream s;
	struct cwb_json_item item;
	int rc;

	assert_non_null(exact);
	memcpy(exact, text, length);
	out[0] = '\0';
	cwb_json_stream_open(&s, exact, 0, length, depth);
	while ((rc = cwb_json_stream_next(&s, &item, err)) > 0) {
		assert_int_equal(rc, item.event);
		assert_true(item.start < item.end && item.end <= length);
		append(out, sizeof(out), "%c", letters[item.event]);
		if (item.event == CWB_JSON_KEY || item.event == CWB_JSON_STRING) {
			append(out, sizeof(out), "(%.*s)", (int)item.length, item.text);
		} else if (item.event == CWB_JSON_INTEGER) {
			append(out, sizeof(out), "(%" PRId64 ")", item.integer);
		} else if (item.event == CWB_JSON_REAL) {
			append(out, sizeof(out), "(%g)", item.real);
		}
	}
	if (rc < 0) {
		assert_int_equal(cwb_json_stream_next(&s, &item, NULL), CWP_ESTATE);
		append(out, sizeof(out), "!");
	} else {
		/* The end stays the end. */
		assert_int_equal(cwb_json_stream_next(&s, &item, err), CWB_JSON_END);
	}
	cwb_json_stream_close(&s);
	free(exact);
	return out;
}

static const char *events(const char *text)
{
	struct cwb_err err = {0};
	const char *out = events_of(text, strlen(text), CWB_JSON_STREAM_DEPTH, &err);

	if (err.code != 0) {
		fail_msg("%s: %s", text, err.message);
	}
	return out;
}

static void gives_events(void **state)
{
	(void)state;
	assert_string_equal(events("{}"), "{}");
	assert_string_equal(events(" [ ] "), "[]");
	assert_string_equal(
		events("{\"a\":1,\"b\":[true,false,null],\"\":{}}"), "{K(a)I(1)K(b)[TFN]K(){}}");
	assert_string_equal(events("[[],[[]],{\"x\" :\t\"y\"}\r\n]"), "[[][[]]{K(x)S(y)}]");
	assert_string_equal(events("[0,-0,-7,9223372036854775807,-9223372036854775808]"),
		"[I(0)I(0)I(-7)I(9223372036854775807)I(-9223372036854775808)]");
	assert_string_equal(
		events("[1.5,-2e3,0.25E-2,1e-999,-0.0]"), "[R(1.5)R(-2000)R(0.0025)R(0)R(-0)]");
}

static void reads_strings(void **state)
{
	(void)state;
	assert_string_equal(events("[\"\"]"), "[S()]");
	assert_string_equal(events("[\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\"]"), "[S(a\"\\/\b\f\n\r\tz)]");
	assert_string_equal(events("[\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"]"),
		"[S(A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80)]");
	assert_string_equal(events("[\"\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEF\xBF\xBF"
				   "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\"]"),
		"[S(\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEF\xBF\xBF"
		"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF)]");
	/* More than the first room for a string with escapes. */
	char text[1500] = "[\"\\n";
	memset(text + 4, 'x', 1000);
	memcpy(text + 1004, "\\t\"]", 5);
	const char *out = events(text);
	assert_int_equal(strlen(out), 1000 + 2 + strlen("[S()]"));
	assert_memory_equal(out, "[S(\nxx", 6);
}

/* A key stays while its value is read. */
static void keeps_the_key(void **state)
{
	static const char text[] = "{\"k\\u0065y\":\"v\\u0061lue\",\"n\\t\":1.5}";
	struct cwb_json_stream s;
	struct cwb_json_item key, value;

	(void)state;
	cwb_json_stream_open(&s, text, 0, strlen(text), 8);
	assert_int_equal(cwb_json_stream_next(&s, &key, NULL), CWB_JSON_OBJECT);
	assert_int_equal(cwb_json_stream_next(&s, &key, NULL), CWB_JSON_KEY);
	assert_int_equal(cwb_json_stream_next(&s, &value, NULL), CWB_JSON_STRING);
	assert_int_equal(key.length, 3);
	assert_memory_equal(key.text, "key", 3);
	assert_int_equal(value.length, 5);
	assert_memory_equal(value.text, "value", 5);
	assert_int_equal(cwb_json_stream_next(&s, &key, NULL), CWB_JSON_KEY);
	assert_int_equal(cwb_json_stream_next(&s, &value, NULL), CWB_JSON_REAL);
	assert_memory_equal(key.text, "n\t", 2);
	cwb_json_stream_close(&s);
}

static const struct {
	const char *text;
	int line, column;
	const char *message;
} refusals[] = {
	{"", 1, 1, "[ or { expected, found the end"},
	{"  ", 1, 3, "[ or { expected, found the end"},
	{"7", 1, 1, "[ or { expected, found '7'"},
	{"\"a\"", 1, 1, "[ or { expected, found '\"'"},
	{"true", 1, 1, "[ or { expected"},
	{"\xEF\xBB\xBF{}", 1, 1, "[ or { expected, found byte 0xEF"},
	{"{", 1, 2, "a key in quotes or } expected, found the end"},
	{"[", 1, 2, "a value or ] expected, found the end"},
	{"{]", 1, 2, "a key in quotes or } expected, found ']'"},
	{"[}", 1, 2, "a value or ] expected, found '}'"},
	{"{1:2}", 1, 2, "a key in quotes or } expected, found '1'"},
	{"{\"a\"}", 1, 5, "a key has no : behind it"},
	{"{\"a\"", 1, 5, "a key has no : behind it"},
	{"{\"a\":}", 1, 6, "a value expected, found '}'"},
	{"{\"a\":1,}", 1, 8, "a key in quotes expected, found '}'"},
	{"{\"a\":1 \"b\":2}", 1, 8, ", or } expected, found '\"'"},
	{"[1,]", 1, 4, "a value expected, found ']'"},
	{"[1 2]", 1, 4, ", or ] expected, found '2'"},
	{"[1}", 1, 3, ", or ] expected, found '}'"},
	{"[,1]", 1, 2, "a value or ] expected, found ','"},
	{"{} {}", 1, 4, "nothing more expected, found '{'"},
	{"[]\n\n x", 3, 2, "nothing more expected, found 'x'"},
	{"[nan]", 1, 2, "a value or ] expected, found 'n'"},
	{"[tru]", 1, 2, "a value or ] expected, found 't'"},
	{"[nullx]", 1, 6, ", or ] expected, found 'x'"},
	{"['a']", 1, 2, "a value or ] expected"},
	{"[01]", 1, 2, "a number that begins with 0"},
	{"[-]", 1, 2, "a sign without a number"},
	{"[-x]", 1, 2, "a sign without a number"},
	{"[+1]", 1, 2, "a value or ] expected, found '+'"},
	{"[.5]", 1, 2, "a value or ] expected, found '.'"},
	{"[1.]", 1, 2, "a number without digits behind its point"},
	{"[1e]", 1, 2, "a number without digits in its exponent"},
	{"[1e+]", 1, 2, "a number without digits in its exponent"},
	{"[1e999]", 1, 2, "a number that is too large"},
	{"[-1e999]", 1, 2, "a number that is too large"},
	{"[9223372036854775808]", 1, 2, "an integer beyond 64 bits"},
	{"[-9223372036854775809]", 1, 2, "an integer beyond 64 bits"},
	{"[99999999999999999999999999]", 1, 2, "an integer beyond 64 bits"},
	{"[\"a", 1, 4, "a string has no end"},
	{"[\"a\\", 1, 4, "an escape that JSON does not know"},
	{"[\"a\\x\"]", 1, 4, "an escape that JSON does not know"},
	{"[\"\\u12\"]", 1, 7, "\\u needs four hexadecimal digits"},
	{"[\"\\u12g4\"]", 1, 7, "\\u needs four hexadecimal digits"},
	{"[\"\\u", 1, 5, "\\u needs four hexadecimal digits"},
	{"[\"\\u0000\"]", 1, 3, "\\u0000 is not allowed"},
	{"{\"a\\u0000\":1}", 1, 4, "\\u0000 is not allowed"},
	{"[\"\\ud800\"]", 1, 3, "half of a surrogate pair"},
	{"[\"\\ud800x\"]", 1, 3, "half of a surrogate pair"},
	{"[\"\\ud800\\n\"]", 1, 3, "half of a surrogate pair"},
	{"[\"\\ud800\\ud800\"]", 1, 3, "half of a surrogate pair"},
	{"[\"\\ud800\\u0041\"]", 1, 3, "half of a surrogate pair"},
	{"[\"\\udc00\"]", 1, 3, "half of a surrogate pair"},
	{"[\"\\udc00\\udc00\"]", 1, 3, "half of a surrogate pair"},
	{"[\"\n\"]", 1, 3, "a control character in a string"},
	{"[\"\xC3\xA9\t\"]", 1, 4, "a control character in a string"},
	{"[\n\"\xFF\"]", 2, 2, "a string is not UTF-8"},
	{"[\"\x80\"]", 1, 3, "a string is not UTF-8"},
	{"[\"\xC0\x80\"]", 1, 3, "a string is not UTF-8"},
	{"[\"\xC3\"]", 1, 3, "a string is not UTF-8"},
	{"[\"\xC3", 1, 3, "a string is not UTF-8"},
	{"[\"\xE0\x9F\xBF\"]", 1, 3, "a string is not UTF-8"},
	{"[\"\xED\xA0\x80\"]", 1, 3, "a string is not UTF-8"},
	{"[\"\xE2\x82\"]", 1, 3, "a string is not UTF-8"},
	{"[\"\xF0\x8F\xBF\xBF\"]", 1, 3, "a string is not UTF-8"},
	{"[\"\xF4\x90\x80\x80\"]", 1, 3, "a string is not UTF-8"},
	{"[\"\xF5\x80\x80\x80\"]", 1, 3, "a string is not UTF-8"},
};

/* A string with escapes lies beside the text; numbers behind it leave it alone. */
static void keeps_a_string_over_numbers(void **state)
{
	static const char text[] = "[\"a\\u00e9\", -1.25, 3, 0.000000000000000000000000000000000000001]";
	struct cwb_json_stream s;
	struct cwb_json_item string, item;
	struct cwb_err err = {0};
	(void)state;
	cwb_json_stream_open(&s, text, 0, strlen(text), 4);
	assert_int_equal(cwb_json_stream_next(&s, &item, &err), CWB_JSON_ARRAY);
	assert_int_equal(cwb_json_stream_next(&s, &string, &err), CWB_JSON_STRING);
	while (cwb_json_stream_next(&s, &item, &err) > 0) {
	}
	assert_int_equal(string.length, 3);
	assert_memory_equal(string.text, "a\303\251", 3);
	cwb_json_stream_close(&s);
}

static void refuses_with_the_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct cwb_err err = {0};
		const char *text = refusals[i].text;
		const char *out = events_of(text, strlen(text), CWB_JSON_STREAM_DEPTH, &err);
		char place[64];
		(void)snprintf(place, sizeof(place),
			"not valid JSON, line %d column %d: ", refusals[i].line,
			refusals[i].column);
		if (err.code != CWP_EFORMAT || out[strlen(out) - 1] != '!' ||
			strstr(err.message, refusals[i].message) == NULL ||
			strncmp(err.message, place, strlen(place)) != 0 ||
			err.line != refusals[i].line || err.column != refusals[i].column) {
			fail_msg("%s: code %d, \"%s\"; expected \"%s%s\"", text, err.code,
				err.message, place, refusals[i].message);
		}
	}
}

/* A NUL is a byte like others: no text ends there. */
static void refuses_nul(void **state)
{
	struct cwb_err err = {0};

	(void)state;
	events_of("[\"a\0b\"]", 7, 8, &err);
	assert_non_null(strstr(err.message, "a control character"));
	cwb_err_clear(&err);
	events_of("[1\0]", 4, 8, &err);
	assert_non_null(strstr(err.message, "found byte 0x00"));
	cwb_err_clear(&err);
	events_of("[\"\\\0\"]", 6, 8, &err);
	assert_non_null(strstr(err.message, "an escape"));
	cwb_err_clear(&err);
	events_of("[1e\0]", 5, 8, &err);
	assert_non_null(strstr(err.message, "exponent"));
	cwb_err_clear(&err);
	events_of("[]\0", 3, 8, &err);
	assert_non_null(strstr(err.message, "nothing more"));
}

static void bounds_the_depth(void **state)
{
	struct cwb_err err = {0};
	char deep[200];

	(void)state;
	assert_string_equal(events_of("[[[]]]", 6, 3, &err), "[[[]]]");
	assert_int_equal(err.code, 0);
	assert_string_equal(events_of("[{\"a\":[]}]", 10, 2, &err), "[{K(a)!");
	assert_int_equal(err.code, CWP_ELIMIT);
	assert_string_equal(err.message, "JSON text nests more than 2 levels at byte 6");
	cwb_err_clear(&err);
	memset(deep, '[', sizeof(deep));
	events_of(deep, sizeof(deep), 1000000, &err);
	assert_non_null(strstr(err.message, "more than 64 levels"));
	cwb_err_clear(&err);
	memset(deep, '[', 64);
	memset(deep + 64, ']', 64);
	events_of(deep, 128, 64, &err);
	assert_int_equal(err.code, 0);
	cwb_err_clear(&err);
	events_of("[]", 2, 0, &err);
	assert_int_equal(err.code, CWP_ELIMIT);
}

/* Reads a part of a text and skips values in it. */
static void skips(void **state)
{
	static const char text[] =
		"xx\n[{\"a\":[1,\"q\"],\"\\u00e9\":{\"b\":{}}},[\"12\",3,[\"4\"],{}],9]yy";
	struct cwb_json_stream s;
	struct cwb_json_item item;
	struct cwb_err err = {0};
	size_t count = 77, bytes = 77;

	(void)state;
	cwb_json_stream_open(&s, text, 2, strlen(text) - 2, 8);
	assert_int_equal(cwb_json_stream_next(&s, &item, &err), CWB_JSON_ARRAY);
	assert_int_equal(cwb_json_stream_next(&s, &item, &err), CWB_JSON_OBJECT);
	assert_int_equal(cwb_json_stream_skip(&s, &count, &bytes, &err), 0);
	assert_int_equal(count, 2);
	assert_int_equal(bytes, 3);
	assert_int_equal(cwb_json_stream_next(&s, &item, &err), CWB_JSON_ARRAY);
	assert_int_equal(cwb_json_stream_skip(&s, &count, &bytes, &err), 0);
	assert_int_equal(count, 4);
	assert_int_equal(bytes, 2);
	assert_int_equal(cwb_json_stream_next(&s, &item, &err), CWB_JSON_INTEGER);
	assert_int_equal(cwb_json_stream_skip(&s, NULL, NULL, &err), 0);
	assert_int_equal(cwb_json_stream_next(&s, &item, &err), CWB_JSON_END);
	cwb_json_stream_close(&s);
	/* What is passed over is read all the same; places are those of the whole text. */
	cwb_json_stream_open(&s, "\n\n[[1,[x]]]", 2, 11, 8);
	assert_int_equal(cwb_json_stream_next(&s, &item, &err), CWB_JSON_ARRAY);
	assert_int_equal(cwb_json_stream_next(&s, &item, &err), CWB_JSON_ARRAY);
	assert_int_equal(cwb_json_stream_skip(&s, &count, &bytes, &err), CWP_EFORMAT);
	assert_int_equal(err.line, 3);
	assert_int_equal(err.column, 6);
	cwb_json_stream_close(&s);
}

/* Whether jansson takes a text, and this reader. */
static void check_both(const char *text, size_t length)
{
	struct cwb_err err = {0};
	json_error_t reason;
	json_t *json = json_loadb(text, length, 0, &reason);

	events_of(text, length, CWB_JSON_STREAM_DEPTH, &err);
	if ((json != NULL) != (err.code == 0)) {
		fail_msg("%.*s: jansson: %s; here: %s", (int)length, text,
			json != NULL ? "fine" : reason.text, err.message);
	}
	json_decref(json);
}

static void agrees_with_jansson(void **state)
{
	static const char text[] = "{\"a\":[1,-2.5e+3,true,null,\"x\\u00e9\\ud83d\\ude00\xC3\xA9\"]"
				   ",\"b\":{\"\":false},"
				   "\"c\\n\":[[],{}],\"d\":0}";
	static const char bytes[] = "{}[]\",:\\u0129.eE+-tfn \n\x80\xC3\xFF"
				    "d8c";
	uint32_t random = 1;

	(void)state;
	for (size_t n = 0; n <= strlen(text); n++) {
		check_both(text, n);
	}
	for (int round = 0; round < 20000; round++) {
		char changed[sizeof(text)];
		memcpy(changed, text, sizeof(text));
		for (int i = 0; i < 1 + round % 3; i++) {
			random = random * 1664525u + 1013904223u;
			size_t at = (random >> 8) % strlen(text);
			random = random * 1664525u + 1013904223u;
			changed[at] = bytes[(random >> 8) % (sizeof(bytes) - 1)];
		}
		check_both(changed, strlen(text));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_events),
		cmocka_unit_test(reads_strings),
		cmocka_unit_test(keeps_the_key),
		cmocka_unit_test(keeps_a_string_over_numbers),
		cmocka_unit_test(refuses_with_the_place),
		cmocka_unit_test(refuses_nul),
		cmocka_unit_test(bounds_the_depth),
		cmocka_unit_test(skips),
		cmocka_unit_test(agrees_with_jansson),
	};
	return cmocka_run_group_tests_name("json_stream", tests, NULL, NULL);
}
