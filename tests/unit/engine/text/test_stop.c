/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Stop strings: seen with the token that completes them and not before, cut off in their order,
 * also across tokens and within characters of several bytes; against a plain search in the whole
 * text at each token of random sequences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/text/stop.h"
#include "tests/unit/engine/memory.h"
#include "tests/unit/engine/text/mini.h"

enum { AB = 256, ABC = 257, START = 259, END = 260, NEVER = 1000, MOST = 16 };

static struct cwe_tokenizer *tokenizer;

static int open_tokenizer(void **state)
{
	struct cwb_err err = {0};
	(void)state;
	return mini_new(mini_json(), &tokenizer, &err);
}

static int close_tokenizer(void **state)
{
	(void)state;
	cwe_tokenizer_free(tokenizer);
	return 0;
}

static struct cwe_stop *stop_new(const char *const *text, size_t count)
{
	struct cwe_stop_string string[CWE_STOP_STRINGS];
	struct cwb_err err = {0};
	struct cwe_stop *s;
	for (size_t i = 0; i < count; i++)
		string[i] = (struct cwe_stop_string){text[i], strlen(text[i])};
	if (cwe_stop_new(tokenizer, string, count, &s, &err) < 0)
		fail_msg("%s", err.message);
	return s;
}

/* After how many of the tokens the text ends. */
static size_t seen_after(struct cwe_stop *s, const uint32_t *id, size_t count)
{
	struct cwb_err err = {0};
	for (size_t n = 1; n <= count; n++) {
		int seen = -1;
		assert_int_equal(cwe_stop_seen(s, id, n, &seen, &err), 0);
		if (seen)
			return n;
	}
	return NEVER;
}

static void check_text(const struct cwe_stop *s, const uint32_t *id, size_t count, const char *want)
{
	struct cwb_err err = {0};
	char *text;
	size_t length;
	assert_int_equal(cwe_stop_text(s, id, count, &text, &length, &err), 0);
	assert_string_equal(text, want);
	assert_int_equal(length, strlen(want));
	free(text);
}

static void cases(void **state)
{
	static const struct {
		const char *stop[3];
		uint32_t id[MOST]; /* up to 0 */
		size_t after;
		const char *text;
	} list[] = {
		/* within a token, whole tokens, and across their borders */
		{{"b"}, {'x', ABC, 'y'}, 2, "xa"},
		{{"abc"}, {'x', ABC, 'y'}, 2, "x"},
		{{"bcd"}, {ABC, 'd', 'e'}, 2, "a"},
		{{"cab"}, {ABC, ABC}, 2, "ab"},
		{{"abcd"}, {'a', 'b', 'c', 'd'}, 4, ""},
		{{"abcd"}, {'a', 'b', 'c', 'e', ABC}, NEVER, "abceabc"},
		/* what begins like the string, and overlaps it */
		{{"aab"}, {'a', 'a', 'a', 'b'}, 4, "a"},
		{{"abab"}, {AB, 'a', AB, AB}, 4, "aba"},
		/* several: the first that is there ends it, and all are cut in their order */
		{{"abc", "ab"}, {'x', 'a', 'b', 'c'}, 3, "x"},
		{{"ab", "abc"}, {'x', ABC}, 2, "x"},
		{{"c", "xa"}, {'x', ABC}, 2, ""},
		{{"bc", "ab"}, {'x', ABC}, 2, "xa"},
		{{"zz", "b", "a"}, {'x', ABC}, 2, "x"},
		/* special tokens are no part of the text */
		{{"ab"}, {'x', 'a', START, 'b', END}, 4, "x"},
		{{"<|im_end|>"}, {'x', END}, NEVER, "x"},
		/* a character's bytes in several tokens */
		{{"\u00e9"}, {'x', 0xc3, 0xa9, 'y'}, 3, "x"},
		{{"\u00a9"}, {'x', 0xc3, 0xa9, 'y'}, NEVER, "x\u00e9y"},
		{{"\u20ac!"}, {'x', 0xe2, 0x82, 0xac, '!'}, 5, "x"},
		{{"x"}, {0xe2, 0x82, 'x'}, 3, "\ufffd"},
		/* the mark of what is no character: only once that is certain, or at the end */
		{{"\ufffd"}, {'x', 0xc3, 0xa9}, NEVER, "x\u00e9"},
		{{"\ufffd"}, {'x', 0xc3, 'y'}, 3, "x"},
		{{"\ufffd"}, {'x', 0xc3}, NEVER, "x"},
		{{NULL}, {'x', ABC}, NEVER, "xabc"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++) {
		size_t strings = 0, count = 0;
		while (strings < 3 && list[i].stop[strings])
			strings++;
		while (list[i].id[count])
			count++;
		struct cwe_stop *s = stop_new(list[i].stop, strings);
		size_t after = seen_after(s, list[i].id, count);
		if (after != list[i].after)
			fail_msg("case %zu: seen after %zu tokens", i, after);
		check_text(s, list[i].id, after < count ? after : count, list[i].text);
		cwe_stop_free(s);
	}
}

/* Whether the text has one of the strings, but for an end that may be an incomplete character. */
static int plain_search(const char *const *stop, size_t count, const uint32_t *id, size_t n)
{
	struct cwb_err err = {0};
	char *text;
	size_t length;
	int found = 0;
	assert_int_equal(cwe_tokenizer_decode(tokenizer, id, n, 1, &text, &length, &err), 0);
	for (int i = 0; i < 3 && length >= 3 && memcmp(text + length - 3, "\ufffd", 3) == 0; i++)
		length -= 3;
	for (size_t i = 0; i < count; i++)
		found |= memmem(text, length, stop[i], strlen(stop[i])) != NULL;
	free(text);
	return found;
}

/* Long enough for the window to move. */
static void random_sequences(void **state)
{
	static const uint32_t some[] = {'a', 'b', 'c', AB, ABC, 0xc3, 0xa9, START, ' ', 0xe2, 0x82, 0xac};
	static const char *const stop[][2] = {{"abcabcab", "\u00e9\u00e9"}, {"bb b", "cc\u20ac"},
		{"\u00e9\ufffd", "   "}, {"cab cab cab", "aaaaaa"}, {" abc", "\u00e9 "}};
	uint64_t seed = 1;
	size_t ended = 0, longest = 0;
	(void)state;
	for (size_t round = 0; round < 300; round++) {
		uint32_t id[600];
		const char *const *strings = stop[round % (sizeof(stop) / sizeof(*stop))];
		size_t kinds = 4 + round % 9, n = 0;
		struct cwe_stop *s = stop_new(strings, 2);
		for (int seen = 0; !seen && n < 600;) {
			struct cwb_err err = {0};
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			id[n++] = some[(seed >> 33) % kinds];
			assert_int_equal(cwe_stop_seen(s, id, n, &seen, &err), 0);
			if (seen != plain_search(strings, 2, id, n))
				fail_msg("round %zu, token %zu: seen %d", round, n, seen);
			ended += (size_t)seen;
		}
		longest = n > longest ? n : longest;
		cwe_stop_free(s);
	}
	/* Both kinds of sequences were there. */
	assert_true(ended > 50 && ended < 300);
	assert_int_equal(longest, 600);
}

static void refused(void **state)
{
	static char longer[CWE_STOP_LENGTH + 1];
	struct cwe_stop_string string[CWE_STOP_STRINGS + 1];
	struct cwe_stop *s = NULL;
	struct cwb_err err = {0};
	(void)state;
	memset(longer, 'x', sizeof(longer));
	const struct {
		struct cwe_stop_string string;
		int code;
		const char *text;
	} bad[] = {{{"", 0}, CWP_EVALUE, "stop string 2 is empty"},
		{{longer, CWE_STOP_LENGTH + 1}, CWP_ELIMIT, "stop string 2 has 1025 bytes"},
		{{"a\xc3", 2}, CWP_EVALUE, "stop string 2 is not UTF-8"}};
	for (size_t i = 0; i <= CWE_STOP_STRINGS; i++)
		string[i] = (struct cwe_stop_string){longer, CWE_STOP_LENGTH};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		string[2] = bad[i].string;
		assert_int_equal(cwe_stop_new(tokenizer, string, 3, &s, &err), bad[i].code);
		assert_non_null(strstr(err.message, bad[i].text));
		cwb_err_clear(&err);
	}
	string[2] = string[1];
	assert_int_equal(cwe_stop_new(tokenizer, string, CWE_STOP_STRINGS + 1, &s, &err), CWP_ELIMIT);
	assert_non_null(strstr(err.message, "65 stop strings"));
	cwb_err_clear(&err);
	assert_null(s);
	assert_int_equal(cwe_stop_new(tokenizer, string, CWE_STOP_STRINGS, &s, &err), 0);
	cwe_stop_free(s);
	cwe_stop_free(NULL);
}

static void special_tokens(void **state)
{
	static const struct {
		const char *text;
		size_t length;
		int64_t id;
	} list[] = {{"<|im_end|>", 10, END}, {"<|im_end|>\0", 11, -1}, {"ab", 2, -1}, {"nothing", 7, -1}, {"", 0, -1}};
	struct cwb_err err = {0};
	(void)state;
	for (size_t i = 0; i < sizeof(list) / sizeof(*list); i++) {
		int64_t id = 7;
		assert_int_equal(cwe_stop_token(tokenizer, list[i].text, list[i].length, &id, &err), 0);
		assert_int_equal(id, list[i].id);
	}
}

/* Memory runs out at each allocation in turn. */
static void out_of_memory(void **state)
{
	const uint32_t id[] = {'x', 'a', 'b'};
	const struct cwe_stop_string string[] = {{"ab", 2}, {"c", 1}};
	long n = 0;
	int rc;
	(void)state;
	do {
		struct cwb_err err = {0};
		struct cwe_stop *s = NULL;
		char *text = NULL;
		size_t length;
		int seen = 0;
		int64_t end;
		memory_fail(n++);
		rc = cwe_stop_new(tokenizer, string, 2, &s, &err);
		rc = rc == 0 ? cwe_stop_seen(s, id, 3, &seen, &err) : rc;
		rc = rc == 0 ? cwe_stop_text(s, id, 3, &text, &length, &err) : rc;
		rc = rc == 0 ? cwe_stop_token(tokenizer, "<|im_end|>", 10, &end, &err) : rc;
		memory_fail(-1);
		assert_int_equal(err.code, rc);
		assert_true(rc < 0 || seen);
		free(text);
		cwe_stop_free(s);
	} while (rc < 0 && n < 100);
	assert_int_equal(rc, 0);
	assert_true(n > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(cases), cmocka_unit_test(random_sequences),
		cmocka_unit_test(refused), cmocka_unit_test(special_tokens), cmocka_unit_test(out_of_memory)};
	return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
