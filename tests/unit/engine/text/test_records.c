/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Records of data files: each form, texts of every type, identities, and each refusal with its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/text/records.h"
#include "tests/unit/engine/text/mini.h"

static int teardown(void **state)
{
	(void)state;
	mini_folder_remove();
	return 0;
}

static struct cwe_records *open_text(const char *name, const char *data, const char *text)
{
	struct cwb_err err = {0};
	struct cwe_records *r = NULL;
	if (cwe_records_open(mini_file(name, text, strlen(text)), data, NULL, &r, &err) < 0)
		fail_msg("%s", err.message);
	return r;
}

static void check_text(struct cwe_records *r, uint64_t i, const char *column, const char *expected)
{
	const char *text = NULL;
	size_t length = 0;
	int rc = cwe_records_text(r, i, column, &text, &length);
	assert_int_equal(rc, expected != NULL);
	if (expected) {
		assert_string_equal(text, expected);
		assert_int_equal(length, strlen(expected));
	}
}

static void test_csv(void **state)
{
	(void)state;
	struct cwe_records *r = open_text("a.csv", NULL, "\xEF\xBB\xBF,b\r\n\"x\ny\",2\r\n\r\n3,\r\n");
	assert_int_equal(cwe_records_count(r), 2);
	assert_int_equal(cwe_records_line(r, 0), 2);
	assert_int_equal(cwe_records_line(r, 1), 5);
	check_text(r, 0, "#1", "x\ny");
	check_text(r, 0, "", "x\ny");
	check_text(r, 0, "b", "2");
	check_text(r, 1, "b", "");
	check_text(r, 1, "c", NULL);
	check_text(r, 1, "#3", NULL);
	check_text(r, 1, "#0", NULL);
	check_text(r, 2, "b", NULL);
	char identity[CWE_ITEM_IDENTITY];
	assert_int_equal(cwe_records_identity(r, 0, identity), 0);
	cwe_records_close(r);
	cwe_records_close(NULL);
}

static void test_json(void **state)
{
	(void)state;
	static const char line[] = "{\"a\":\"t\",\"n\":-7,\"x\":0.5,\"b\":true,\"c\":false,\"z\":null,\"o\":{\"i\":[1,\"two\"]}}\n\n{\"a\":\"\"}";
	struct cwe_records *r = open_text("a.jsonl", NULL, line);
	const char *text;
	size_t length;
	assert_int_equal(cwe_records_count(r), 2);
	assert_int_equal(cwe_records_line(r, 1), 3);
	check_text(r, 0, "a", "t");
	check_text(r, 0, "n", "-7");
	check_text(r, 0, "x", "0.5");
	check_text(r, 0, "b", "true");
	check_text(r, 0, "c", "false");
	check_text(r, 0, "z", NULL);
	check_text(r, 0, "o.i.1", "two");
	check_text(r, 0, "o.i.2", NULL);
	assert_int_equal(cwe_records_text(r, 0, "o", &text, &length), CWP_EVALUE);
	cwe_records_close(r);
	struct cwb_err err = {0};
	static const char document[] = "{\"data\":{\"list\":[{\"a\":1},{\"a\":2}]}}";
	assert_int_equal(cwe_records_open(mini_file("a.json", document, strlen(document)), NULL, "data.list", &r, &err), 0);
	assert_int_equal(cwe_records_count(r), 2);
	assert_int_equal(cwe_records_line(r, 1), 2);
	check_text(r, 1, "a", "2");
	cwe_records_close(r);
}

/* What is known again in every file of a set. */
static void test_identity(void **state)
{
	(void)state;
	char identity[CWE_ITEM_IDENTITY];
	struct cwe_records *r = open_text("a.csv", "crows-pairs", ",sent_more\n12,m\n");
	assert_int_equal(cwe_records_identity(r, 0, identity), 1);
	assert_string_equal(identity, "crows-pairs/12");
	assert_int_equal(cwe_records_identity(r, 1, identity), 0);
	cwe_records_close(r);
	r = open_text("x.jsonl", "bbq", "{\"category\":\"Age\",\"example_id\":3}");
	assert_int_equal(cwe_records_identity(r, 0, identity), 1);
	assert_string_equal(identity, "bbq/Age/3");
	cwe_records_close(r);
	r = open_text("crime_en.csv", "xsafety", "one\ntwo\n");
	assert_int_equal(cwe_records_count(r), 2);
	check_text(r, 1, "#1", "two");
	assert_int_equal(cwe_records_identity(r, 1, identity), 1);
	assert_string_equal(identity, "xsafety/crime/2");
	cwe_records_close(r);
	/* Letters of another character set: by the file's name. */
	r = open_text("crows_dutch.csv", "crows-pairs", "id,sent_more\n1,caf\x8E\n");
	check_text(r, 0, "sent_more", "caf\xC3\xA9");
	cwe_records_close(r);
}

static void test_refusals(void **state)
{
	(void)state;
	static const struct {
		const char *name, *data, *text;
		int code;
		const char *words;
	} bad[] = {
		{"a.txt", NULL, "x", CWP_EVALUE, "end in .csv, .jsonl or .json"},
		{"a.csv", "nosuch", "x\n", CWP_EUNKNOWN, "no set is known as \"nosuch\""},
		{"a.txt", "crows-pairs", "x\n", CWP_EVALUE, "end in .csv"},
		{"a.txt", "wikitext2", "x\n", CWP_EVALUE, "has no records"},
		{"a.csv", NULL, "a,b\n1\n", CWP_EFORMAT, "a.csv:2"},
		{"a.csv", NULL, "a,b\n\"1,2\n", CWP_EFORMAT, "a.csv:2"},
		{"a.jsonl", NULL, "{}\n{\"a\":}\n", CWP_EFORMAT, "a.jsonl:2"},
		{"a.jsonl", NULL, "{}\n[]\n", CWP_EVALUE, "a.jsonl:2: not a JSON object"},
		{"a.json", NULL, "{}", CWP_EFORMAT, "the document is object"},
		{"a.json", NULL, "[1]", CWP_EVALUE, "record 1 is not a JSON object"},
		{"a.json", "bbh", "{}", CWP_EFORMAT, "examples is absent"},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct cwb_err err = {0};
		struct cwe_records *r = NULL;
		const char *path = mini_file(bad[i].name, bad[i].text, strlen(bad[i].text));
		assert_int_equal(cwe_records_open(path, bad[i].data, NULL, &r, &err), bad[i].code);
		assert_null(r);
		if (!strstr(err.message, bad[i].words))
			fail_msg("\"%s\" does not say \"%s\"", err.message, bad[i].words);
	}
	struct cwb_err err = {0};
	struct cwe_records *r = NULL;
	assert_true(cwe_records_open("/nonexistent/a.csv", NULL, NULL, &r, &err) < 0);
}

static void test_need(void **state)
{
	(void)state;
	static const struct {
		const char *column;
		int code;
		const char *words;
	} bad[] = {{"b", CWP_EMISSING, "a.jsonl:1: b: is missing"}, {"e", CWP_EMISSING, "e: is empty"}, {"l", CWP_EVALUE, "l: is not a text"}};
	struct cwe_records *r = open_text("a.jsonl", NULL, "{\"a\":\"t\",\"e\":\"\",\"l\":[]}");
	const char *text = NULL;
	size_t length = 0;
	assert_int_equal(cwe_records_need(r, 0, "a", &text, &length, NULL), 0);
	assert_string_equal(text, "t");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct cwb_err err = {0};
		assert_int_equal(cwe_records_need(r, 0, bad[i].column, &text, &length, &err), bad[i].code);
		assert_string_equal(err.field, bad[i].column);
		if (!strstr(err.message, bad[i].words))
			fail_msg("\"%s\" does not say \"%s\"", err.message, bad[i].words);
	}
	cwe_records_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_csv),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_need),
	};
	return cmocka_run_group_tests(tests, NULL, teardown);
}
