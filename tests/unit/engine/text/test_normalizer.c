/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Normalizers: each step alone, the forms of Unicode in the reference's version, and long runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "engine/text/classes.h"
#include "engine/text/normal.h"
#include "engine/text/normal_table.h"
#include "engine/text/normalizer.h"
#include "engine/text/utf8.h"

static struct cwe_normalizer *make(const char *json)
{
	struct cwb_err err = {0};
	struct cwe_normalizer *n = NULL;
	json_t *component = json_loads(json, 0, NULL);
	assert_non_null(component);
	if (cwe_normalizer_new(component, &n, &err) < 0)
		fail_msg("%s: %s", json, err.message);
	json_decref(component);
	return n;
}

static void check_origin(const char *json, const char *text, size_t origin, const char *expected,
	size_t expected_origin)
{
	struct cwb_err err = {0};
	struct cwe_buffer out = {0};
	struct cwe_normalizer *n = make(json);
	assert_int_equal(cwe_normalizer_apply(n, text, strlen(text), origin, &out, &err), 0);
	assert_string_equal(out.text, expected);
	assert_int_equal(out.length, strlen(expected));
	if (out.origin != expected_origin)
		fail_msg("%s: origin %zu, expected %zu", json, out.origin, expected_origin);
	cwe_buffer_free(&out);
	cwe_normalizer_free(n);
}

static void check(const char *json, const char *text, const char *expected)
{
	check_origin(json, text, 0, expected, 0);
}

#define TYPE(t) "{\"type\": \"" t "\"}"

static void test_forms(void **state)
{
	(void)state;
	static const char *const cases[][5] = {
		/* text, NFC, NFD, NFKC, NFKD */
		{"", "", "", "", ""},
		{"e\u0301 x", "\u00e9 x", "e\u0301 x", "\u00e9 x", "e\u0301 x"},
		{"\u1e9b\u0323", "\u1e9b\u0323", "\u017f\u0323\u0307", "\u1e69", "s\u0323\u0307"},
		{"a\u0301\u0323", "\u1ea1\u0301", "a\u0323\u0301", "\u1ea1\u0301", "a\u0323\u0301"},
		{"\u212b\u2126", "\u00c5\u03a9", "A\u030a\u03a9", "\u00c5\u03a9", "A\u030a\u03a9"},
		{"\u0958", "\u0915\u093c", "\u0915\u093c", "\u0915\u093c", "\u0915\u093c"},
		{"\u1100\u1161\u11a8", "\uac01", "\u1100\u1161\u11a8", "\uac01",
			"\u1100\u1161\u11a8"},
		{"\uac00\u11a7\uac00\u11a8", "\uac00\u11a7\uac01",
			"\u1100\u1161\u11a7\u1100\u1161\u11a8", "\uac00\u11a7\uac01",
			"\u1100\u1161\u11a7\u1100\u1161\u11a8"},
		{"\ufb01\u2460\uff76\uff9e", "\ufb01\u2460\uff76\uff9e", "\ufb01\u2460\uff76\uff9e",
			"fi1\u30ac", "fi1\u30ab\u3099"},
		{"\u0344", "\u0308\u0301", "\u0308\u0301", "\u0308\u0301", "\u0308\u0301"},
		{"\u09c7\u09be\u09d7", "\u09cb\u09d7", "\u09c7\u09be\u09d7", "\u09cb\u09d7",
			"\u09c7\u09be\u09d7"},
		/* Later than the tables: marks that count as starters, a pair that stays two, a
		   letter without a form. */
		{"a\u0899\u0323", "a\u0899\u0323", "a\u0899\u0323", "a\u0899\u0323",
			"a\u0899\u0323"},
		{"a\u0301\u1abf\u0323", "\u00e1\u1abf\u0323", "a\u0301\u1abf\u0323",
			"\u00e1\u1abf\u0323", "a\u0301\u1abf\u0323"},
		{"\U00011935\U00011930", "\U00011935\U00011930", "\U00011935\U00011930",
			"\U00011935\U00011930", "\U00011935\U00011930"},
		{"\U000105d2\u0307", "\U000105d2\u0307", "\U000105d2\u0307", "\U000105d2\u0307",
			"\U000105d2\u0307"},
		{"\u32ff", "\u32ff", "\u32ff", "\u32ff", "\u32ff"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		check(TYPE("NFC"), cases[i][0], cases[i][1]);
		check(TYPE("NFD"), cases[i][0], cases[i][2]);
		check(TYPE("NFKC"), cases[i][0], cases[i][3]);
		check(TYPE("NFKD"), cases[i][0], cases[i][4]);
	}
}

/* Runs that are longer than what is sorted by insertion keep the order within a class. */
static void test_many_marks(void **state)
{
	(void)state;
	char text[400] = "a";
	char expected[400] = "a";
	for (int i = 0; i < 20; i++)
		strcat(text, i % 2 ? "\u0323" : i % 4 ? "\u0301" : "\u0300");
	for (int i = 0; i < 10; i++)
		strcat(expected, "\u0323");
	for (int i = 0; i < 10; i++)
		strcat(expected, i % 2 ? "\u0301" : "\u0300");
	check(TYPE("NFD"), text, expected);
}

static void test_long(void **state)
{
	(void)state;
	enum { MARKS = 200000 };
	static const enum cwe_form forms[] = {
		CWE_FORM_NFC, CWE_FORM_NFD, CWE_FORM_NFKC, CWE_FORM_NFKD};
	struct cwe_buffer in = {0};
	assert_int_equal(cwe_buffer_put(&in, "a", 1, 1), 0);
	for (size_t i = 0; i < MARKS; i++)
		assert_int_equal(cwe_buffer_put_point(&in, i % 2 ? 0x323 : 0x301, 0), 0);
	for (size_t f = 0; f < 4; f++) {
		struct cwe_buffer out = {0};
		assert_int_equal(cwe_normal_form(forms[f], &in, &out), 0);
		/* U+1EA1 takes the first dot; the text has as many bytes else. */
		assert_int_equal(out.length, f % 2 ? in.length : in.length - 2 - 1 + 3);
		assert_int_equal(cwe_utf8_check(out.text, out.length), out.length);
		cwe_buffer_free(&out);
	}
	cwe_buffer_free(&in);
}

static void empty(struct cwe_buffer *b)
{
	b->length = b->origin = 0;
}

/* NFC of NFC is the same again, and what is called stable does not change. Beyond these there are no
 * forms. */
static void test_every_character(void **state)
{
	(void)state;
	struct cwe_buffer in = {0};
	struct cwe_buffer once = {0};
	struct cwe_buffer twice = {0};
	for (uint32_t point = 1; point < 0x30000; point++) {
		if (point >= 0xD800 && point < 0xE000)
			continue;
		empty(&in);
		empty(&once);
		empty(&twice);
		assert_int_equal(cwe_buffer_put_point(&in, point, 0), 0);
		size_t stable = cwe_normal_stable(in.text, in.length);
		assert_int_equal(cwe_normal_form(CWE_FORM_NFC, &in, &once), 0);
		assert_int_equal(cwe_normal_form(CWE_FORM_NFC, &once, &twice), 0);
		if (strcmp(once.text, twice.text) != 0)
			fail_msg("U+%04X changes twice under NFC", (unsigned)point);
		if (stable == in.length && strcmp(once.text, in.text) != 0)
			fail_msg("U+%04X is called stable", (unsigned)point);
	}
	cwe_buffer_free(&in);
	cwe_buffer_free(&once);
	cwe_buffer_free(&twice);
}

static void test_rewriting(void **state)
{
	(void)state;
	check(TYPE("Lowercase"), "AbC\u00c9\u0130\u03a3\u1c89", "abc\u00e9i\u0307\u03c3\u1c8a");
	check("{\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": true}",
		"\u3000 \u00e9 a \n", "\u00e9 a");
	check("{\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": false}", " a ", "a ");
	check("{\"type\": \"Strip\", \"strip_left\": false, \"strip_right\": true}", " \u00a0 ",
		"");
	check(TYPE("StripAccents"), "a\u0301\u00e9b\u0323", "a\u00e9b");
	check("{\"type\": \"Prepend\", \"prepend\": \"\u2581\"}", "a", "\u2581a");
	check("{\"type\": \"Prepend\", \"prepend\": \"\u2581\"}", "", "");
	check("{\"type\": \"Replace\", \"pattern\": {\"String\": \"aa\"}, \"content\": \"b\"}",
		"aaaxa", "baxa");
	check("{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"\\\\s+\"}, \"content\": \" \"}",
		"a \n b\tc", "a b c");
	check(TYPE("ByteLevel"), "a \u00e9", "a\u0120\u00c3\u00a9");
	check("{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFD\"}, {\"type\": "
	      "\"StripAccents\"},"
	      "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Lowercase\"}]}]}",
		"\u00c9\u1ea1", "ea");
}

/* Which bytes count as come from the text's first character. */
static void test_origin(void **state)
{
	(void)state;
	check_origin(TYPE("NFD"), "\u00e9a", 2, "e\u0301a", 3);
	check_origin(TYPE("NFC"), "e\u0301a", 1, "\u00e9a", 2);
	check_origin(TYPE("NFC"), "ab", 1, "ab", 1);
	check_origin(TYPE("NFKD"), "\u0344\u0334", 2, "\u0334\u0308\u0301", 2);
	check_origin(TYPE("Lowercase"), "\u0130a", 2, "i\u0307a", 3);
	check_origin("{\"type\": \"Prepend\", \"prepend\": \"xy\"}", "ab", 1, "xyab", 3);
	check_origin("{\"type\": \"Prepend\", \"prepend\": \"xy\"}", "ab", 0, "xyab", 0);
	check_origin(
		"{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"xy\"}",
		"ab", 1, "xyb", 2);
	check_origin(
		"{\"type\": \"Replace\", \"pattern\": {\"String\": \"ab\"}, \"content\": \"xy\"}",
		"ab", 1, "xy", 0);
	check_origin("{\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": true}", " a ", 1,
		"a", 0);
	check_origin(TYPE("ByteLevel"), "\u00e9a", 2, "\u00c3\u00a9a", 4);
	check_origin(TYPE("StripAccents"), "\u0301a", 2, "a", 0);
}

/* A replacement may make a text large, but not without end. */
static void test_limit(void **state)
{
	(void)state;
	struct cwe_buffer full = {.text = NULL, .length = CWE_BUFFER_LIMIT};
	assert_int_equal(cwe_buffer_put(&full, "a", 1, 0), CWP_ELIMIT);
	full.length--;
	assert_int_equal(cwe_buffer_put(&full, "ab", 2, 0), CWP_ELIMIT);
	full.length = 3;
	assert_int_equal(cwe_buffer_put(&full, "a", (size_t)-2, 0), CWP_ELIMIT);
	assert_null(full.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_many_marks),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_every_character),
		cmocka_unit_test(test_rewriting),
		cmocka_unit_test(test_origin),
		cmocka_unit_test(test_limit),
	};
	return cmocka_run_group_tests_name("normalizer", tests, NULL, NULL);
}
