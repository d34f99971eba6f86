/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Split patterns: what matches where, what is refused, and that no text makes a match hang. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/text/bytelevel.h"
#include "engine/text/classes.h"
#include "engine/text/pattern.h"
#include "engine/text/splitter.h"
#include "engine/text/utf8.h"

static const char llama3[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,"
			     "3}| ?[^\\s\\p{L}\\p{N}]+"
			     "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* Matches of pattern in text, with | between them. */
static const char *matches(const char *pattern, const char *text)
{
	static char out[1024];
	struct cwe_pattern *p = NULL;
	struct cwe_matcher *m = NULL;
	struct cwb_err err = {0};
	size_t start;
	size_t end;
	size_t at = 0;
	int rc;
	if (cwe_pattern_new(pattern, strlen(pattern), "place", &p, &err) < 0)
		fail_msg("%s: %s", pattern, err.message);
	assert_int_equal(cwe_matcher_new(p, &m, &err), 0);
	assert_int_equal(cwe_matcher_start(m, text, strlen(text), &err), 0);
	out[0] = '\0';
	for (int n = 0; (rc = cwe_matcher_next(m, &start, &end, &err)) > 0; n++)
		at += (size_t)snprintf(out + at, sizeof(out) - at, "%s%.*s", n > 0 ? "|" : "",
			(int)(end - start), text + start);
	if (rc < 0)
		snprintf(out, sizeof(out), "%s", err.message);
	cwe_matcher_free(m);
	cwe_pattern_free(p);
	return out;
}

static void test_known_patterns(void **state)
{
	(void)state;
	assert_string_equal(
		matches(cwe_bytelevel_pattern, "it's 12 cats,  no?"), "it|'s| 12| cats|,| | no|?");
	assert_string_equal(matches(llama3, "It'S 12345\n\n  x"), "It|'S| |123|45|\n\n| | x");
	/* U+017F is a letter s of another form; U+1D7D8 is a digit; U+3000 is white space. */
	assert_string_equal(
		matches(llama3, "a'\xC5\xBF \xF0\x9D\x9F\x98"), "a|'\xC5\xBF| |\xF0\x9D\x9F\x98");
	assert_string_equal(matches(cwe_bytelevel_pattern, "a\xE3\x80\x80"
							   "b"),
		"a|\xE3\x80\x80|b");
}

static void test_operators(void **state)
{
	(void)state;
	assert_string_equal(matches("a{2,}|b?c", "aaabcc"), "aaa|bc|c");
	assert_string_equal(matches("(?<=a)b|(?<!a)c", "abacc"), "b|c");
	assert_string_equal(matches("(a|b)+?", "ab"), "a|b");
	assert_string_equal(matches("a++b", "aab"), "aab");
	assert_string_equal(matches("[\\]\\-x-z]", "a-]y"), "-|]|y");
	assert_string_equal(matches("[^\\S\\n]", "a \n"), " ");
	assert_string_equal(matches("\\x{e9}|\\u00e8|\\x41", "\xC3\xA9\xC3\xA8"
							     "A"),
		"\xC3\xA9|\xC3\xA8|A");
	assert_string_equal(matches(".", "a\n\xC3\xA9"), "a|\xC3\xA9");
	assert_string_equal(matches("\\P{L}", "a1"), "1");
	assert_string_equal(matches("\\p{^L}", "a1"), "1");
	assert_string_equal(matches("(?i:k)", "kK\xE2\x84\xAA"), "k|K|\xE2\x84\xAA");
	assert_string_equal(matches("(?i:[r-t]+x)", "SrX\xC5\xBFx"), "SrX|\xC5\xBFx");
	assert_string_equal(matches("(?i:a\\s?[^b])", "A \xC3\xA9" "aBac"), "A \xC3\xA9|ac");
	assert_string_equal(matches("a{,2}b", "aaab"), "aab");
	assert_string_equal(matches("\\d+|\\D", "1\xD9\xA3x"), "1\xD9\xA3|x");
	/* Oniguruma's counts of counts: (?:a{2})+ and (?:a{2})?. */
	assert_string_equal(matches("a{2}+", "aaaaa"), "aaaa");
	assert_string_equal(matches("(b|a){2}?c", "abcc"), "abc|c");
	assert_string_equal(matches("a{1,3}?", "aa"), "a|a");
	/* Empty matches count where the one before does not end. */
	assert_string_equal(matches("a*", "ba"), "|a");
}

static void test_classes_of_patterns(void **state)
{
	(void)state;
	assert_string_equal(matches("[a-z&&[^aeiou]]+", "abcde"), "bcd");
	assert_string_equal(matches("[^a-c&&b-z]", "abcd"), "a|d");
	assert_string_equal(matches("[\\p{L}&&\\p{Lu}&&[^B]]", "aABC"), "A|C");
	assert_string_equal(matches("[a[^\\S ]]", "a b\n"), "a|\n");
	assert_string_equal(matches("[^\\s\\S]|x", "ax"), "x");
	assert_string_equal(matches("[\\p{Han}\\p{Hiragana}]+", "a\xE4\xB8\xAD\xE3\x81\x82" "b"),
		"\xE4\xB8\xAD\xE3\x81\x82");
	/* U+00B2 is a word character outside brackets only. */
	assert_string_equal(matches("\\w", "a\xC2\xB2_-"), "a|\xC2\xB2|_");
	assert_string_equal(matches("[\\w]", "a\xC2\xB2_-"), "a|_");
	assert_string_equal(matches("\\W", "a\xC2\xB2_-"), "-");
}

static void test_anchors(void **state)
{
	(void)state;
	assert_string_equal(matches("^a", "a\na\nba\n"), "a|a");
	assert_string_equal(matches("^", "a\n"), "");
	assert_string_equal(matches("a$", "a\nab a"), "a|a");
	assert_string_equal(matches("\\Aa|a\\z", "aba\na"), "a|a");
	assert_string_equal(matches("a\\Z", "aa\n"), "a");
	assert_string_equal(matches("\\bb|b\\b", "bab b-xbx"), "b|b|b");
	assert_string_equal(matches("\\Bb\\B", "bab abc"), "b");
	/* What is looked ahead at is not taken for the beginning of the match. */
	assert_string_equal(matches("(?=b)a*b", "xb"), "b");
	assert_string_equal(matches("(?=[bc])[a]*?[b]", "xb"), "b");
}

struct refusal {
	const char *pattern, *message;
};

static void test_refusals(void **state)
{
	(void)state;
	static const struct refusal refusals[] = {
		{"\\R", "place: at byte 1: escape \\R is not supported"},
		{"\\Gx", "escape \\G"},
		{"\\1", "escape \\1"},
		{"\\p{Gothic}", "property \"Gothic\" is not supported"},
		{"\\p{s}", "property \"s\" is not supported"},
		{"\\p{L", "\\p{ has no end"},
		{"[a", "a class has no end"},
		{"[[:alpha:]]", "a POSIX bracket is not supported"},
		{"[a[b[c[d[e[f[g[h[i[j]]]]]]]]]]", "classes are nested too deeply"},
		{"[a&&", "a class has no end"},
		{"[[a]", "a class has no end"},
		{"[a-[b]]", "a range of a class has no proper end"},
		{"[]a]", "a class begins with ]"},
		{"[z-a]", "a range of a class has no proper end"},
		{"(?x:a)", "this kind of group"},
		{"(?<name>a)", "this kind of group"},
		{"(*UTF)a", "a verb is not supported"},
		{"(a", "a parenthesis has no end"},
		{"a)", "a parenthesis too many"},
		{"a**", "a quantifier without anything to repeat"},
		{"a+?+", "a quantifier without anything to repeat"},
		{"^*", "a quantifier without anything to repeat"},
		{"(?=a)+", "a quantifier without anything to repeat"},
		{"(?<=a*)b", "not a regular expression"},
		{"a{,}", "a count without a number"},
		{"a{x}", "a literal brace is written"},
		{"a{99999}", "not a regular expression"},
		{"*a", "a quantifier without anything to repeat"},
		{"(?i:[a-\xC3\xA9])", "outside ASCII, a class in a group without case"},
		{"(?i:[a[b]])", "a class in a group without case"},
		{"(?i:[\\w])", "a class in a group without case"},
		{"(?i:\\p{L})", "a class in a group without case"},
		{"(?i:ss)", "letters that fold to one character"},
		{"(?i:\xC3\xA9)", "outside ASCII"},
		{"\\xE9", "\\xHH above 7F"},
		{"\\x{110000}", "not a character"},
		{"\\x{D800}", "not a character"},
		{"\\xZZ", "hexadecimal digits missing"},
		{"a\\", "a backslash at the end"},
	};
	for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
		struct cwe_pattern *p = NULL;
		struct cwb_err err = {0};
		int rc = cwe_pattern_new(
			refusals[i].pattern, strlen(refusals[i].pattern), "place", &p, &err);
		if (rc == 0 || !strstr(err.message, refusals[i].message))
			fail_msg("%s: %d \"%s\", expected \"%s\"", refusals[i].pattern, rc,
				err.message, refusals[i].message);
		assert_null(p);
	}
	struct cwe_pattern *p = NULL;
	struct cwb_err err = {0};
	char *deep = calloc(1, 400);
	memset(deep, '(', 100);
	assert_int_equal(cwe_pattern_new(deep, 100, "place", &p, &err), CWP_EUNKNOWN);
	assert_non_null(strstr(err.message, "nested too deeply"));
	free(deep);
}

/* A pattern that tries every way to cut the text gives up with an error. */
static void test_limit(void **state)
{
	(void)state;
	struct cwe_pattern *p;
	struct cwe_matcher *m;
	struct cwb_err err = {0};
	size_t start;
	size_t end;
	char text[64];
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 2] = 'b';
	text[sizeof(text) - 1] = 'c';
	assert_int_equal(cwe_pattern_new("(a|aa|b?a)*c", 12, "place", &p, &err), 0);
	assert_int_equal(cwe_matcher_new(p, &m, &err), 0);
	assert_int_equal(cwe_matcher_start(m, text, sizeof(text), &err), 0);
	assert_int_equal(cwe_matcher_next(m, &start, &end, &err), CWP_ELIMIT);
	assert_non_null(strstr(err.message, "place: match limit exceeded"));
	cwe_matcher_free(m);
	cwe_pattern_free(p);
}

/* A million characters each of what the patterns repeat. */
static void test_long_runs(void **state)
{
	(void)state;
	static const char *const units[] = {"a", " ", "1", "\n", "'", "\xEA\xB0\x80", " \n", "'s"};
	struct cwe_pattern *p;
	struct cwe_matcher *m;
	struct cwb_err err = {0};
	assert_int_equal(cwe_pattern_new(llama3, strlen(llama3), "place", &p, &err), 0);
	assert_int_equal(cwe_matcher_new(p, &m, &err), 0);
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		size_t n = strlen(units[i]);
		size_t last = 0;
		size_t start;
		size_t end;
		int rc;
		char *text = malloc(n * 1000000);
		assert_non_null(text);
		for (size_t j = 0; j < 1000000; j++)
			memcpy(text + j * n, units[i], n);
		assert_int_equal(cwe_matcher_start(m, text, n * 1000000, &err), 0);
		while ((rc = cwe_matcher_next(m, &start, &end, &err)) > 0) {
			assert_int_equal(start, last);
			last = end;
		}
		assert_int_equal(rc, 0);
		assert_int_equal(last, n * 1000000);
		free(text);
	}
	cwe_matcher_free(m);
	cwe_pattern_free(p);
}

/* The pieces of "a--b-c" (or another text), with | between them, for a behaviour. */
static const char *pieces(const char *text, enum cwe_behavior behavior, int invert)
{
	static char out[256];
	struct cwe_pieces p = {0};
	struct cwb_err err = {0};
	struct cwe_splitter s = {
		.text = strdup("-"), .length = 1, .behavior = behavior, .invert = invert};
	size_t at = 0;
	assert_int_equal(cwe_pieces_set(&p, text, strlen(text), 0), 0);
	assert_int_equal(cwe_splitter_apply(&s, &p, &err), 0);
	out[0] = '\0';
	for (size_t i = 0; i < p.count; i++)
		at += (size_t)snprintf(out + at, sizeof(out) - at, "%s%.*s", i > 0 ? "|" : "",
			(int)(p.piece[i].end - p.piece[i].start), p.text + p.piece[i].start);
	cwe_pieces_free(&p);
	cwe_splitter_free(&s);
	return out;
}

/* The examples of the reference's documentation: "the-final--countdown". */
static void test_behaviors(void **state)
{
	(void)state;
	static const char text[] = "the-final--countdown";
	assert_string_equal(pieces(text, CWE_BEHAVIOR_REMOVED, 0), "the|final|countdown");
	assert_string_equal(pieces(text, CWE_BEHAVIOR_ISOLATED, 0), "the|-|final|-|-|countdown");
	assert_string_equal(
		pieces(text, CWE_BEHAVIOR_MERGED_WITH_PREVIOUS, 0), "the-|final-|-|countdown");
	assert_string_equal(
		pieces(text, CWE_BEHAVIOR_MERGED_WITH_NEXT, 0), "the|-final|-|-countdown");
	assert_string_equal(pieces(text, CWE_BEHAVIOR_CONTIGUOUS, 0), "the|-|final|--|countdown");
	assert_string_equal(pieces(text, CWE_BEHAVIOR_REMOVED, 1), "-|-|-");
	assert_string_equal(pieces("", CWE_BEHAVIOR_ISOLATED, 0), "");
	assert_string_equal(pieces("-", CWE_BEHAVIOR_REMOVED, 0), "");
}

static void test_classes(void **state)
{
	(void)state;
	const struct cwe_class *letters = cwe_class_find("L", 1);
	const struct cwe_class *numeric = cwe_class_find("is_numeric", 10);
	const struct cwe_class *numbers = cwe_class_find("N", 1);
	const struct cwe_class *space = cwe_class_find("s", 1);
	assert_null(cwe_class_find("Foo", 3));
	assert_true(cwe_class_has(letters, 'a') && cwe_class_has(letters, 0x16D40) &&
		    !cwe_class_has(letters, '1'));
	assert_true(cwe_class_has(numeric, 0x11DE0) && !cwe_class_has(numbers, 0x11DE0));
	assert_true(cwe_class_has(space, 0x85) && cwe_class_has(space, 0x3000));
	assert_false(cwe_class_has(space, 0x1C) || cwe_class_has(space, 0x180E) ||
		     cwe_class_has(space, 0xFEFF));
	/* Ascending and apart, as the search needs them. */
	for (size_t i = 0; i < cwe_class_count; i++) {
		const struct cwe_class *c = &cwe_class_table[i];
		for (size_t j = 0; j < c->count; j++) {
			assert_true(c->range[j].first <= c->range[j].last);
			assert_true(j == 0 || c->range[j - 1].last + 1 < c->range[j].first);
		}
	}
}

/* Every scalar value there and back, and the parts that are replaced. */
static void test_utf8(void **state)
{
	(void)state;
	for (uint32_t point = 0; point < 0x110000; point++) {
		char text[4];
		uint32_t back = 0;
		size_t n = cwe_utf8_put(point, text);
		if (point >= 0xD800 && point < 0xE000)
			assert_int_equal(cwe_utf8_next(text, n, &back), 0);
		else if (cwe_utf8_next(text, n, &back) != n || back != point ||
			 cwe_utf8_next(text, n - 1, &back) != 0)
			fail_msg("U+%04X", (unsigned)point);
	}
	static const char *const cases[][2] = {
		{"a\xF0\x9F\x98z", "a\xEF\xBF\xBDz"},
		{"\xF0\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
		{"\xE0\xA0\xE0\xA0\x80", "\xEF\xBF\xBD\xE0\xA0\x80"},
		{"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
		{"\xC3", "\xEF\xBF\xBD"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		size_t length;
		char *text = cwe_utf8_repair(cases[i][0], strlen(cases[i][0]), &length);
		assert_string_equal(text, cases[i][1]);
		assert_int_equal(length, strlen(cases[i][1]));
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_patterns),
		cmocka_unit_test(test_operators),
		cmocka_unit_test(test_classes_of_patterns),
		cmocka_unit_test(test_anchors),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_long_runs),
		cmocka_unit_test(test_behaviors),
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_utf8),
	};
	return cmocka_run_group_tests_name("pattern", tests, NULL, NULL);
}
