/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The YAML tree: places, kinds, and every text that is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "job/yaml.h"

static struct cwj_yaml *parse(const char *text)
{
	struct cwb_err err = {0};
	struct cwj_yaml *tree = NULL;

	int rc = cwj_yaml_parse(text, strlen(text), &tree, &err);
	if (rc != 0) {
		fail_msg("%d:%d: %s", err.line, err.column, err.message);
	}
	return tree;
}

/* The text must be refused at this place, with a message that holds `part`. */
static void refuse_bytes(const char *text, size_t length, int line, int column, const char *part)
{
	struct cwb_err err = {0};
	struct cwj_yaml *tree = NULL;

	assert_int_equal(cwj_yaml_parse(text, length, &tree, &err), CWP_EFORMAT);
	assert_null(tree);
	if (strstr(err.message, part) == NULL || err.line != line || err.column != column) {
		fail_msg("got %d:%d: %s\nnot %d:%d with \"%s\"", err.line, err.column, err.message,
			line, column, part);
	}
	assert_int_equal(cwj_yaml_parse(text, length, &tree, NULL), CWP_EFORMAT);
}

static void refuse(const char *text, int line, int column, const char *part)
{
	refuse_bytes(text, strlen(text), line, column, part);
}

static void remembers_where_everything_stood(void **state)
{
	struct cwj_yaml *tree =
		parse("# first\na: 1\nb:\n  - x\n  - {c: 'q', \"d\": [e, f]}\nÄ: ü\n");

	(void)state;
	assert_int_equal(tree->kind, CWJ_YAML_MAPPING);
	assert_int_equal(tree->count, 3);
	assert_int_equal(tree->line, 2);
	const struct cwj_yaml *b = cwj_yaml_get(tree, "b");
	assert_int_equal(b->kind, CWJ_YAML_SEQUENCE);
	assert_int_equal(b->line, 4);
	assert_int_equal(b->column, 3);
	assert_int_equal(b->count, 2);
	assert_null(b->keys);
	const struct cwj_yaml *c = cwj_yaml_get(b->values[1], "c");
	assert_int_equal(c->line, 5);
	assert_int_equal(c->column, 9);
	assert_int_equal(c->quoted, 1);
	assert_string_equal(c->text, "q");
	assert_int_equal(cwj_yaml_get(tree, "a")->quoted, 0);
	const struct cwj_yaml *f = cwj_yaml_get(b->values[1], "d")->values[1];
	assert_string_equal(f->text, "f");
	assert_int_equal(f->column, 23);
	assert_string_equal(cwj_yaml_get(tree, "Ä")->text, "ü");
	assert_int_equal(cwj_yaml_get(tree, "Ä")->column, 4); /* characters, not bytes */
	assert_null(cwj_yaml_get(tree, "missing"));
	assert_null(cwj_yaml_get(b, "a"));
	cwj_yaml_free(tree);
}

static void reads_block_texts_and_escapes(void **state)
{
	struct cwj_yaml *tree =
		parse("a: |\n  two\n  lines\nb: >-\n  folded\n  text\nc: \"\\u20ac\\t\"\ne:\n");

	(void)state;
	assert_string_equal(cwj_yaml_get(tree, "a")->text, "two\nlines\n");
	assert_int_equal(cwj_yaml_get(tree, "a")->quoted, 1);
	assert_string_equal(cwj_yaml_get(tree, "b")->text, "folded text");
	assert_string_equal(cwj_yaml_get(tree, "c")->text, "€\t");
	assert_string_equal(cwj_yaml_get(tree, "e")->text, "");
	assert_int_equal(cwj_yaml_get(tree, "e")->quoted, 0);
	cwj_yaml_free(tree);
}

static void reads_json_and_windows_line_ends(void **state)
{
	struct cwj_yaml *tree = parse("{\"a\":1,\"b\":{\"c\":[true,\"x\\/y\"]}}");

	(void)state;
	assert_string_equal(cwj_yaml_get(cwj_yaml_get(tree, "b"), "c")->values[1]->text, "x/y");
	cwj_yaml_free(tree);
	tree = parse("a: 1\r\nb: 2\r\n");
	assert_string_equal(cwj_yaml_get(tree, "b")->text, "2");
	assert_int_equal(cwj_yaml_get(tree, "b")->line, 2);
	cwj_yaml_free(tree);
	tree = parse("\xef\xbb\xbf"
		     "a: 1\n"); /* a byte order mark, as editors of Windows write it */
	assert_string_equal(cwj_yaml_get(tree, "a")->text, "1");
	cwj_yaml_free(tree);
	tree = parse("%YAML 1.1\n---\na: 1\n...\n");
	assert_string_equal(cwj_yaml_get(tree, "a")->text, "1");
	cwj_yaml_free(tree);
	cwj_yaml_free(NULL);
}

static void refuses_what_makes_small_texts_large(void **state)
{
	(void)state;
	refuse("a: &x [1]\nb: *x\n", 1, 4, "anchors");
	refuse("a: &x 1\n", 1, 4, "anchors");
	refuse("a: &x {b: 1}\n", 1, 4, "anchors");
	refuse("&x a: 1\n", 1, 1, "anchors");
	refuse("a: *x\n", 1, 4, "aliases");
	refuse("- *x\n", 1, 3, "aliases");
	refuse("*x : 1\n", 1, 1, "aliases");
	/* The classic bomb ends at its first anchor. */
	refuse("a: &a [lol,lol]\nb: &b [*a,*a]\nc: &c [*b,*b]\ne: [*c,*c]\n", 1, 4, "anchors");
	refuse("a: !!int 1\n", 1, 4, "tags");
	refuse("a: !x {b: 1}\n", 1, 4, "tags");
	refuse("a: !!python/object [1]\n", 1, 4, "tags");
	refuse("%TAG ! tag:example.org,2000:\n---\na: 1\n", 1, 1, "tag directives");
	refuse("a: 1\n---\nb: 2\n", 2, 1, "second document");
}

static void refuses_ambiguous_keys(void **state)
{
	(void)state;
	refuse("a: 1\nb: 2\na: 3\n", 3, 1, "a second time (first in line 1)");
	refuse("{a: 1, b: 2, \"a\": 3}\n", 1, 14, "a second time");
	refuse("x:\n  - {n: 1, n: 2}\n", 2, 12, "\"n\"");
	refuse("? [a, b]\n: 1\n", 1, 3, "a key must be");
	refuse("{a: b}: 1\n", 1, 1, "a key must be");
}

static void refuses_broken_texts_with_their_place(void **state)
{
	(void)state;
	refuse("", 1, 1, "is empty");
	refuse("# only a comment\n", 2, 1, "is empty");
	refuse("a: [1, 2\nb: 3\n", 2, 2, "not valid YAML");
	refuse("a: 1\n  b: 2\n", 2, 4, "not valid YAML");
	refuse("a: \"unfinished\n", 2, 1, "not valid YAML");
	refuse("\ta: 1\n", 1, 1, "tab");
	refuse("a:\n\tb: 1\n", 2, 1, "tab");
	refuse("a:\n  b: 1\n\tc: 2\n", 3, 1, "tab");
	refuse("a: {b: 1,\n", 2, 1, "not valid YAML");
}

static void refuses_what_is_no_text(void **state)
{
	(void)state;
	refuse_bytes("a: 1\nb: \0\n", 10, 2, 4, "NUL byte");
	refuse_bytes("\0", 1, 1, 1, "NUL byte");
	refuse("a: \"x\\0y\"\n", 1, 4, "NUL character");
	refuse("\"x\\0\": 1\n", 1, 1, "NUL character");
	refuse("a: 1\nb: \xff\n", 2, 4, "not UTF-8");
	refuse("a: \xc3(\n", 1, 5, "not UTF-8");
	refuse("a: \xed\xa0\x80\n", 1, 4, "not UTF-8"); /* a surrogate */
	refuse("a: \xc0\xaf\n", 1, 4, "not UTF-8");     /* overlong */
	refuse("a: 1\nb: x\033[31m\n", 2, 5, "control character");
	/* UTF-16 is not guessed. */
	refuse_bytes("\xff\xfe"
		     "a\0:\0 \0",
		8, 1, 4, "NUL byte");
}

static void refuses_deep_nesting(void **state)
{
	char text[400];
	size_t n = 0;

	(void)state;
	/* 32 levels are fine, the 33rd is not; 100,000 neither hurt. */
	for (int i = 0; i < 32; i++) {
		text[n++] = '[';
	}
	for (int i = 0; i < 32; i++) {
		text[n++] = ']';
	}
	text[n] = '\0';
	cwj_yaml_free(parse(text));
	memmove(text + 1, text, n);
	text[n + 1] = ']';
	text[n + 2] = '\0';
	refuse(text, 1, 33, "32 levels");
	char *deep = malloc(100001);
	memset(deep, '[', 100000);
	deep[100000] = '\0';
	refuse(deep, 1, 33, "32 levels");
	for (int i = 0; i < 100000; i += 2) {
		memcpy(deep + i, "- ", 2);
	}
	refuse(deep, 1, 65, "32 levels");
	for (int i = 0; i < 99999; i += 3) {
		memcpy(deep + i, "{a:", 3);
	}
	deep[99999] = '\0';
	struct cwj_yaml *tree = NULL;
	assert_int_equal(cwj_yaml_parse(deep, 99999, &tree, NULL), CWP_EFORMAT);
	free(deep);
}

static void refuses_too_much(void **state)
{
	size_t most = 1 << 20;
	char *text = malloc(most + 1);
	struct cwj_yaml *tree = NULL;
	struct cwb_err err = {0};

	(void)state;
	memset(text, 'x', most + 1);
	assert_int_equal(cwj_yaml_parse(text, most, &tree, NULL), 0);
	cwj_yaml_free(tree);
	assert_int_equal(cwj_yaml_parse(text, most + 1, &tree, &err), CWP_EFORMAT);
	assert_non_null(strstr(err.message, "1048577"));
	/* 20,000 nodes: the list and 19,999 elements, then one more. */
	size_t n = 0;
	for (int i = 0; i < 20000; i++) {
		static const char element[4] = {'-', ' ', 'a', '\n'};
		memcpy(text + n, element, sizeof(element));
		n += sizeof(element);
	}
	assert_int_equal(cwj_yaml_parse(text, n - 4, &tree, NULL), 0);
	assert_int_equal(tree->count, 19999);
	cwj_yaml_free(tree);
	refuse_bytes(text, n, 20000, 3, "20000 values");
	free(text);
}

static void keeps_an_earlier_error(void **state)
{
	struct cwb_err err = {0};
	struct cwj_yaml *tree = NULL;

	(void)state;
	cwb_err_set(&err, CWP_EVALUE, "earlier");
	assert_int_equal(cwj_yaml_parse("a: *x\n", 6, &tree, &err), CWP_EFORMAT);
	assert_string_equal(err.message, "earlier");
	assert_int_equal(err.line, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(remembers_where_everything_stood),
		cmocka_unit_test(reads_block_texts_and_escapes),
		cmocka_unit_test(reads_json_and_windows_line_ends),
		cmocka_unit_test(refuses_what_makes_small_texts_large),
		cmocka_unit_test(refuses_ambiguous_keys),
		cmocka_unit_test(refuses_broken_texts_with_their_place),
		cmocka_unit_test(refuses_what_is_no_text),
		cmocka_unit_test(refuses_deep_nesting),
		cmocka_unit_test(refuses_too_much),
		cmocka_unit_test(keeps_an_earlier_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
