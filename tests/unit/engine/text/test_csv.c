/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* CSV: every trap of real files as a small literal, each refusal with its place, and files that do
 * not end where a read does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/text/csv.h"
#include "tests/unit/engine/text/mini.h"

static int teardown(void **state)
{
	(void)state;
	mini_folder_remove();
	return 0;
}

/* All records as text: fields in brackets, a line a record; each again from its own bytes. */
static int read_all(const char *content, size_t length, enum cwe_encoding encoding, char *ret,
	size_t room, struct cwb_err *err)
{
	const char *path = mini_file("a.csv", content, length);
	struct cwe_csv csv;
	struct cwe_csv again = {.path = path, .encoding = encoding, .fd = -1};
	size_t n = 0;
	int rc = cwe_csv_open(path, encoding, &csv, err);
	ret[0] = '\0';
	while (rc >= 0 && (rc = cwe_csv_next(&csv, err)) > 0) {
		assert_true(csv.offset + csv.length <= length);
		assert_int_equal(cwe_csv_parse(&again, content + csv.offset, csv.length, err), 0);
		assert_int_equal(again.count, csv.count);
		for (size_t i = 0; i < csv.count; i++) {
			assert_string_equal(again.field[i].text, csv.field[i].text);
			assert_int_equal(strlen(csv.field[i].text), csv.field[i].length);
			n += (size_t)snprintf(
				ret + n, n < room ? room - n : 0, "[%s]", csv.field[i].text);
		}
		n += (size_t)snprintf(ret + n, n < room ? room - n : 0, "@%zu\n", csv.line);
	}
	cwe_csv_close(&again);
	cwe_csv_close(&csv);
	return rc;
}

static const struct {
	const char *content, *records;
	enum cwe_encoding encoding;
} files[] = {
	{"", "", 0},
	{"\xEF\xBB\xBF", "", 0},
	{"\n\r\n\n", "", 0},
	{"a,b\n1,2\n", "[a][b]@1\n[1][2]@2\n", 0},
	{"a,b\r\n1,2", "[a][b]@1\n[1][2]@2\n", 0},
	/* Line ends of both kinds, and empty lines. */
	{"a,b\r\n1,2\n\n3,4\r\n\r\n5,6", "[a][b]@1\n[1][2]@2\n[3][4]@4\n[5][6]@6\n", 0},
	/* Quotes, doubled and empty; commas and line ends inside. */
	{"\"a\",\"\"\n\"1,\"\"x\"\"\",\"l\r\nm\n\"\n", "[a][]@1\n[1,\"x\"][l\r\nm\n]@2\n", 0},
	{"x,y\n\"a\nb\",c\nd,e\n", "[x][y]@1\n[a\nb][c]@2\n[d][e]@4\n", 0},
	{"\"\"\"\",\"\"\"\"\"\"", "[\"][\"\"]@1\n", 0},
	/* A quote is special at the very start only. */
	{"a, \"b\"\nc\"d,e\"\n", "[a][ \"b\"]@1\n[c\"d][e\"]@2\n", 0},
	/* A byte order mark stands in front of a quote; elsewhere it is text. */
	{"\xEF\xBB\xBF\"a\",b\n1,\xEF\xBB\xBF"
	 "2",
		"[a][b]@1\n[1][\xEF\xBB\xBF"
		"2]@2\n",
		0},
	/* Empty fields at either end; the first header cell may be empty. */
	{",a,\n0,1,\n", "[][a][]@1\n[0][1][]@2\n", 0},
	{"a\n\"\"\nb", "[a]@1\n[]@2\n[b]@3\n", 0},
	{"\"a\"\r\n\"b\"\r\n", "[a]@1\n[b]@2\n", 0},
	/* Mac OS Roman with letters of UTF-8 among it, and its root sign. */
	{"na\x95"
	 "ef,\xC3\xA9\xC3\xA9n\n\xD5\x8E,\xC3 2",
		"[na\xC3\xAF"
		"ef][\xC3\xA9\xC3\xA9n]@1\n[\xE2\x80\x99\xC3\xA9][\xE2\x88\x9A 2]@2\n",
		CWE_ENCODING_MAC_ROMAN},
	{"\xE9,\x80\xFF", "[\xC3\xA9][\xC2\x80\xC3\xBF]@1\n", CWE_ENCODING_LATIN1},
};

static void test_files(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		char records[1024];
		struct cwb_err err = {0};
		if (read_all(files[i].content, strlen(files[i].content), files[i].encoding, records,
			    sizeof(records), &err) < 0)
			fail_msg("file %zu: %s", i, err.message);
		assert_string_equal(records, files[i].records);
	}
}

static const struct {
	const char *content;
	size_t length; /* 0: that of the text */
	int code, line;
	const char *message;
} refusals[] = {
	{"a,b\n1,\"2", 0, CWP_EFORMAT, 2,
		"a.csv:2: record 2, byte 4: a quote is not closed before the end of the file"},
	{"a\n\"b\"c\n", 0, CWP_EFORMAT, 2,
		"a.csv:2: record 2, byte 5: text behind a closing quote"},
	{"a\n\"b\" \n", 0, CWP_EFORMAT, 2, "byte 5: text behind a closing quote"},
	{"a,b\n1,2\n3\n", 0, CWP_EFORMAT, 3,
		"a.csv:3: record 3, byte 8: 1 fields, but the first record has 2"},
	{"\"a\nb\",c\n1,2,3", 0, CWP_EFORMAT, 3, "a.csv:3: record 2, byte 8: 3 fields"},
	{"a\n1\0002\n", 6, CWP_EFORMAT, 2, "a.csv:2: record 2, byte 3: a NUL byte"},
	{"a\n\"\000\"\n", 6, CWP_EFORMAT, 2, "byte 3: a NUL byte"},
	{"a\rb\r", 0, CWP_EFORMAT, 1, "byte 2: a carriage return without a line feed"},
	{"a\r", 0, CWP_EFORMAT, 1, "byte 1: a carriage return without a line feed"},
	{"\xEF\xBB\xBF"
	 "a,b\n1,x\xFFy\n",
		0, CWP_EFORMAT, 2, "a.csv:2: record 2, byte 10: not UTF-8 (0xFF)"},
	{"\"\"\"\xE9\"", 0, CWP_EFORMAT, 1, "byte 3: not UTF-8 (0xE9): say charset in the job"},
};

static void test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
		char records[256];
		struct cwb_err err = {0};
		size_t n =
			refusals[i].length > 0 ? refusals[i].length : strlen(refusals[i].content);
		int rc = read_all(
			refusals[i].content, n, CWE_ENCODING_UTF8, records, sizeof(records), &err);
		if (rc != refusals[i].code || err.line != refusals[i].line ||
			!strstr(err.message, refusals[i].message))
			fail_msg(
				"file %zu: code %d, line %d, \"%s\"", i, rc, err.line, err.message);
	}
}

/* What a byte repeated n times, in quotes or not, is refused with. */
static void refuse_long(size_t n, char c, int quoted, const char *message)
{
	struct cwe_csv csv;
	struct cwb_err err = {0};
	char *text = malloc(n);
	assert_non_null(text);
	memset(text, c, n);
	if (quoted)
		text[0] = '"';
	assert_int_equal(cwe_csv_open(mini_file("a.csv", text, n), 0, &csv, &err), 0);
	free(text);
	assert_int_equal(cwe_csv_next(&csv, &err), CWP_ELIMIT);
	assert_non_null(strstr(err.message, message));
	cwe_csv_close(&csv);
}

static void test_limits(void **state)
{
	(void)state;
	struct cwb_err err = {0};
	struct cwe_csv csv;
	refuse_long(CWE_CSV_RECORD_LIMIT + (1 << 18), 'x', 1, "is a quote not closed?");
	refuse_long(CWE_CSV_FIELD_LIMIT + 1, 'x', 0, "field 1 is longer than 4194304 bytes");
	refuse_long(CWE_CSV_COLUMN_LIMIT, ',', 0, "more than 4096 fields");
	assert_true(cwe_csv_open("/nonexistent/a.csv", 0, &csv, &err) < 0);
	assert_non_null(strstr(err.message, "/nonexistent/a.csv: "));
	cwb_err_clear(&err);
	assert_int_equal(cwe_csv_open(mini_folder(), 0, &csv, &err), CWP_EFORMAT);
	assert_non_null(strstr(err.message, "not a regular file"));
}

/* Records that begin and end anywhere in what one read gives. */
static void test_many(void **state)
{
	(void)state;
	enum { RECORDS = 5000 };
	char *text = malloc(RECORDS * 128);
	size_t n = 0;
	struct cwe_csv csv;
	struct cwb_err err = {0};
	assert_non_null(text);
	for (int i = 0; i < RECORDS; i++)
		n += (size_t)sprintf(text + n, "%d,\"a \"\"%*s\"\"\r\nb\"%s", i, i % 61, "x",
			i % 3 == 0 ? "\r\n" : "\n");
	assert_int_equal(cwe_csv_open(mini_file("a.csv", text, n), 0, &csv, &err), 0);
	free(text);
	for (int i = 0; i < RECORDS; i++) {
		char first[16];
		char second[128];
		if (cwe_csv_next(&csv, &err) != 1)
			fail_msg("%s", err.message);
		snprintf(first, sizeof(first), "%d", i);
		snprintf(second, sizeof(second), "a \"%*s\"\r\nb", i % 61, "x");
		assert_int_equal(csv.record, i + 1);
		assert_int_equal(csv.line, 2 * i + 1);
		assert_string_equal(csv.field[0].text, first);
		assert_string_equal(csv.field[1].text, second);
	}
	assert_int_equal(cwe_csv_next(&csv, &err), 0);
	assert_int_equal(cwe_csv_next(&csv, &err), 0);
	cwe_csv_close(&csv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_many),
	};
	return cmocka_run_group_tests_name("csv", tests, NULL, teardown);
}
