/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json as it is read: members in any order, unknown ones, ones that come twice; lists
 * with what does not belong there; texts that end early or have a wrong byte; bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/json_stream.h"
#include "engine/text/bpe.h"
#include "engine/text/component.h"
#include "engine/text/document.h"
#include "engine/text/merges.h"
#include "tests/unit/engine/text/mini.h"

/* Reads a copy of its exact size, so that a sanitizer sees a step beyond it. */
static int read_exact(
	const char *text, size_t length, struct cwe_tokenizer **ret, struct cwb_err *err)
{
	char *exact = malloc(length > 0 ? length : 1);
	assert_non_null(exact);
	memcpy(exact, text, length);
	*ret = NULL;
	int rc = cwe_tokenizer_new(exact, length, NULL, 0, ret, err);
	free(exact);
	return rc;
}

static void refused(const char *text, int code, const char *message)
{
	struct cwe_tokenizer *t;
	struct cwb_err err = {0};
	int rc = read_exact(text, strlen(text), &t, &err);
	if (rc != code || !strstr(err.message, message) ||
		strncmp(err.message, "tokenizer.json: ", 16) != 0)
		fail_msg("%.300s: code %d, \"%s\"; expected %d, \"%s\"", text, rc, err.message,
			code, message);
	assert_null(t);
}

static const char *const members[] = {"\"version\": \"1.0\"",
	("\"added_tokens\": [{\"id\": 6, \"content\": \"<x>\", \"single_word\": false, \"lstrip\": "
	 "false, \"rstrip\": false, \"normalized\": true, \"special\": true}]"),
	"\"normalizer\": {\"type\": \"Prepend\", \"prepend\": \"a\"}", "\"pre_tokenizer\": null",
	"\"model\": {%s}"};
static const char *const model[] = {"\"type\": \"BPE\"",
	("\"vocab\": {\"a\": 0, \"b\": 1, \"\\u0063\": 2, \"ab\": 3, "
	 "\"abc\": 4, \"?\": 5}"),
	"\"merges\": [\"a b\", [\"ab\", \"\\u0063\"]]", "\"unk_token\": \"?\""};

/* Writes pattern with what in place of its %s. */
static void fill(char *out, size_t size, const char *pattern, const char *what)
{
	const char *place = strstr(pattern, "%s");
	assert_non_null(place);
	int n = snprintf(out, size, "%.*s%s%s", (int)(place - pattern), pattern, what, place + 2);
	assert_true(n > 0 && (size_t)n < size);
}

/* Joins items in the order that number says, one of n!. */
static void arrange(char *out, size_t size, const char *const *item, size_t n, size_t number,
	const char *behind)
{
	size_t left[8];
	size_t at = 0;
	for (size_t i = 0; i < n; i++)
		left[i] = i;
	for (size_t count = n; count > 0; count--) {
		size_t k = number % count;
		number /= count;
		at += (size_t)snprintf(
			out + at, size - at, "%s%s", at > 0 ? ", " : "", item[left[k]]);
		memmove(left + k, left + k + 1, (count - k - 1) * sizeof(*left));
	}
	snprintf(out + at, size - at, "%s", behind);
}

static void test_order(void **state)
{
	(void)state;
	for (size_t i = 0; i < 120; i++) {
		char inner[1024];
		char outer[1024];
		char text[4096];
		struct cwe_tokenizer *t;
		struct cwb_err err = {0};
		arrange(inner, sizeof(inner), model, 4, i % 24, "");
		arrange(outer, sizeof(outer), members, 5, i, "");
		char object[4000];
		fill(object, sizeof(object), outer, inner);
		snprintf(text, sizeof(text), "{%s}", object);
		if (read_exact(text, strlen(text), &t, &err) < 0)
			fail_msg("%s: %s", text, err.message);
		/* "a" goes in front, also of the added token, which is then found as "a<x>". */
		assert_string_equal(mini_ids(t, "bca<x>bz", 0), "4 6 1 5");
		cwe_tokenizer_free(t);
	}
}

#define MODEL                                                                                      \
	"\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, \"merges\": "  \
	"[\"a b\"]"
#define FLAGS                                                                                      \
	"\"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, "    \
	"\"special\": false"

static void test_unknown_members(void **state)
{
	(void)state;
	struct cwe_tokenizer *t;
	struct cwb_err err = {0};
	static const char text[] =
		"\n{\"x\": [1, {\"model\": 7}, [[]]], " MODEL
		", \"y\": {\"vocab\": {\"a\": 0}}, \"z\": 1.5, \"w\": \"\\u00e9\", \"n\": null, "
		"\"o\": -3, \"p\": true, \"q\": "
		"false}, \"added_tokens\": null, \"vocab\": {}, \"merges\": 3, \"\": \"\\\"\"}\r\n";
	if (read_exact(text, strlen(text), &t, &err) < 0)
		fail_msg("%s", err.message);
	assert_string_equal(mini_ids(t, "aab", 0), "0 2");
	cwe_tokenizer_free(t);
}

static void test_twice(void **state)
{
	(void)state;
	refused("{\"model\": {}, " MODEL "}}", CWP_EFORMAT,
		"line 1 column 15: a key that is there twice");
	refused("{" MODEL "},\n \"x\": 1, \"x\": 2}", CWP_EFORMAT,
		"line 2 column 10: a key that is there twice");
	refused("{\"added_tokens\": [], \"added_tokens\": [], " MODEL "}}", CWP_EFORMAT,
		"a key that is there twice");
	refused("{" MODEL ", \"vocab\": {}}}", CWP_EFORMAT, "a key that is there twice");
	refused("{" MODEL ", \"merg\\u0065s\": []}}", CWP_EFORMAT, "a key that is there twice");
	refused("{\"model\": {\"type\": \"BPE\", \"type\": \"BPE\"}}", CWP_EFORMAT,
		"a key that is there twice");
	refused("{" MODEL "}, \"decoder\": {\"type\": \"Fuse\", \"type\": \"Fuse\"}}", CWP_EFORMAT,
		"duplicate");
	refused("{" MODEL "}, \"added_tokens\": [{\"id\": 1, \"id\": 1}]}", CWP_EFORMAT,
		"added_tokens[0]: not valid JSON");
	refused("{\"model\": {\"vocab\": {\"a\": 0, \"b\": 1, \"\\u0061\": 2}, \"merges\": []}}",
		CWP_EVALUE, "model.vocab: token \"a\" is there twice");
	refused("{\"model\": {\"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}}", CWP_EVALUE,
		"model.vocab: id 0 of token \"b\" is also that of \"a\"");
	refused("{" MODEL "}, \"added_tokens\": [{\"id\": 7, \"content\": \"x\", " FLAGS
		"}, {\"id\": 7, \"content\": \"y\", " FLAGS "}]}",
		CWP_EVALUE, "added_tokens[1]: id 7 of token \"y\" is also that of \"x\"");
}

static void test_ids(void **state)
{
	(void)state;
	static const struct {
		const char *id;
		int code;
		const char *message;
	} bad[] = {
		{"-1", CWP_EVALUE, "model.vocab[\"\xC3\xA9\"]: id -1 is not from 0 to 16777215"},
		{"16777216", CWP_EVALUE, "model.vocab[\"\xC3\xA9\"]: id 16777216 is not from 0"},
		{"9223372036854775807", CWP_EVALUE, "id 9223372036854775807 is not from 0"},
		{"99999999999999999999", CWP_EFORMAT, "an integer beyond 64 bits"},
		{"1e400", CWP_EFORMAT, "a number that is too large"},
		{"1.0", CWP_EVALUE, "model.vocab[\"\xC3\xA9\"]: the id is not an integer"},
		{"1e2", CWP_EVALUE, "model.vocab[\"\xC3\xA9\"]: the id is not an integer"},
		{"\"\\u0031\"", CWP_EVALUE, "model.vocab[\"\xC3\xA9\"]: the id is not an integer"},
		{"null", CWP_EVALUE, "model.vocab[\"\xC3\xA9\"]: the id is not an integer"},
		{"true", CWP_EVALUE, "model.vocab[\"\xC3\xA9\"]: the id is not an integer"},
		{"[7]", CWP_EVALUE, "model.vocab[\"\xC3\xA9\"]: the id is not an integer"},
		{"{\"x\": 7}", CWP_EVALUE, "model.vocab[\"\xC3\xA9\"]: the id is not an integer"},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char text[256];
		snprintf(text, sizeof(text),
			"{\"model\": {\"vocab\": {\"a\": 0, \"\\u00e9\": %s}, \"merges\": []}}",
			bad[i].id);
		refused(text, bad[i].code, bad[i].message);
	}
}

static void test_merges(void **state)
{
	(void)state;
	static const struct {
		const char *merges;
		int code;
		const char *message;
	} bad[] = {
		{"[\"a b\", [\"a\", \"b\", \"c\"]]", CWP_EVALUE,
			"model.merges[1]: neither a string nor a pair"},
		{"[[\"a\", 1]]", CWP_EVALUE, "model.merges[0]: neither a string nor a pair"},
		{"[[]]", CWP_EVALUE, "model.merges[0]: neither a string nor a pair"},
		{"[[[\"a\", \"b\"]]]", CWP_EVALUE, "model.merges[0]: neither a string nor a pair"},
		{"[{\"a\": \"b\"}]", CWP_EVALUE, "model.merges[0]: neither a string nor a pair"},
		{"[null]", CWP_EVALUE, "model.merges[0]: neither a string nor a pair"},
		{"[\"\"]", CWP_EVALUE,
			"model.merges[0]: \"\" is not two tokens with a space between"},
		{"[\" \"]", CWP_EVALUE, "model.merges[0]: token \"\" is not in the vocabulary"},
		{"[[\"a\", \"\\u0071\"]]", CWP_EVALUE,
			"model.merges[0]: token \"q\" is not in the vocabulary"},
		{"[[\"\\u0071\", \"a\"]]", CWP_EVALUE,
			"model.merges[0]: token \"q\" is not in the vocabulary"},
		{"[[\"b\", \"a\"]]", CWP_EVALUE,
			"model.merges[0]: token \"ba\" is not in the vocabulary"},
		{"[\"a b\", \"\\ud800 b\"]", CWP_EFORMAT, "half of a surrogate pair"},
		{"[\"a \\x62\"]", CWP_EFORMAT, "an escape that JSON does not know"},
	};
	char text[4096];
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(text, sizeof(text),
			"{\"model\": {\"merges\": %s, \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}}}",
			bad[i].merges);
		refused(text, bad[i].code, bad[i].message);
	}
	/* Both halves together have 1,025 bytes. */
	char half[1025];
	memset(half, 'a', 1024);
	half[1024] = '\0';
	snprintf(text, sizeof(text), "{\"model\": {\"vocab\": {\"a\": 0}, \"merges\": [\"a %s\"]}}",
		half);
	refused(text, CWP_ELIMIT, "model.merges[0]: a token longer than 1024 bytes");
	snprintf(text, sizeof(text),
		"{\"model\": {\"vocab\": {\"a\": 0}, \"merges\": [[\"%s\", \"a\"]]}}", half);
	refused(text, CWP_ELIMIT, "model.merges[0]: a token longer than 1024 bytes");
}

static void test_strings(void **state)
{
	(void)state;
	refused("{\"model\": {\"vocab\": {\"\\ud800\": 0}, \"merges\": []}}", CWP_EFORMAT,
		"line 1 column 23: half of a surrogate pair");
	refused("{\"model\": {\"vocab\": {\"\\udc00\\ud800\": 0}, \"merges\": []}}", CWP_EFORMAT,
		"half of a surrogate");
	refused("{\"model\": {\"vocab\": {\"\\u0000\": 0}, \"merges\": []}}", CWP_EFORMAT,
		"\\u0000 is not allowed");
	refused("{\"model\": {\"vocab\": {\"\xED\xA0\x80\": 0}, \"merges\": []}}", CWP_EFORMAT,
		"a string is not UTF-8");
	refused("{\"model\": {\"vocab\": {\"\n\": 0}, \"merges\": []}}", CWP_EFORMAT,
		"a control character");
	refused("{\"normalizer\": {\"type\": \"\\q\"}, " MODEL "}}", CWP_EFORMAT,
		"an escape that JSON does not know");
	refused("{\"added_tokens\": [{\"content\": \"\\u12\"}], " MODEL "}}", CWP_EFORMAT,
		"four hexadecimal digits");
	refused("{\"added_tokens\": [{\"id\": 99999999999999999999}], " MODEL "}}", CWP_EFORMAT,
		"beyond 64 bits");
	refused("{\"\\ud800\": 1, " MODEL "}}", CWP_EFORMAT, "half of a surrogate pair");
}

static void test_depth(void **state)
{
	(void)state;
	static const char *const around[] = {"{\"x\": %s, " MODEL "}}", "{" MODEL ", \"x\": %s}}",
		"{\"model\": {\"merges\": [], \"vocab\": {\"a\": %s}}}",
		"{\"model\": {\"merges\": [%s], \"vocab\": {}}}", "{\"decoder\": %s, " MODEL "}}",
		"{\"added_tokens\": [%s], " MODEL "}}", "%s"};
	char deep[2 * 40 + 1];
	memset(deep, '[', 40);
	memset(deep + 40, ']', 40);
	deep[80] = '\0';
	for (size_t i = 0; i < sizeof(around) / sizeof(*around); i++) {
		char text[1024];
		fill(text, sizeof(text), around[i], deep);
		refused(text, CWP_ELIMIT, "JSON text nests more than 32 levels at byte ");
	}
	/* 31 in the outermost one are fine where nothing looks at them. */
	char text[1024];
	struct cwe_tokenizer *t;
	struct cwb_err err = {0};
	deep[9 + 62] = '\0';
	fill(text, sizeof(text), around[0], deep + 9);
	assert_int_equal(read_exact(text, strlen(text), &t, &err), 0);
	cwe_tokenizer_free(t);
}

static void test_members(void **state)
{
	(void)state;
	static const char *const around[] = {
		"{%s " MODEL "}}", "{\"model\": {%s \"vocab\": {}, \"merges\": []}}"};
	char many[256 * 12 + 1] = "";
	for (int i = 0; i < 256; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many), "\"k%d\": 1,", i);
	for (size_t i = 0; i < 2; i++) {
		char text[8192];
		fill(text, sizeof(text), around[i], many);
		refused(text, CWP_ELIMIT,
			i == 0 ? "has more than 256 members" : "model has more than 256 members");
	}
}

/* A component that takes megabytes; an added token that takes many kilobytes. */
static void test_bounds(void **state)
{
	(void)state;
	size_t size = (size_t)9 << 20;
	char *text = malloc(size + 1024);
	assert_non_null(text);
	size_t n = (size_t)sprintf(text, "{" MODEL "}, \"decoder\": [\"");
	memset(text + n, 'x', size);
	strcpy(text + n + size, "\"]}");
	refused(text, CWP_ELIMIT, "JSON text of 9437188 bytes, at most 8388608 are allowed");
	size = 70000;
	n = (size_t)sprintf(text, "{" MODEL "}, \"added_tokens\": [{\"content\": \"");
	memset(text + n, 'x', size);
	strcpy(text + n + size, "\"}]}");
	refused(text, CWP_ELIMIT,
		"added_tokens[0]: JSON text of 70015 bytes, at most 65536 are allowed");
	free(text);
	struct cwe_document d;
	struct cwb_err err = {0};
	assert_int_equal(cwe_document_read("{}", ((size_t)256 << 20) + 1, &d, &err), CWP_ELIMIT);
	assert_non_null(
		strstr(err.message, "a text of 268435457 bytes, at most 268435456 are allowed"));
}

/* Lists that say that they have more than a model can hold. */
static void test_counts(void **state)
{
	(void)state;
	static const char text[] = "{" MODEL "}}";
	struct cwe_document d;
	struct cwe_bpe *b = NULL;
	struct cwb_err err = {0};
	assert_int_equal(cwe_document_read(text, strlen(text), &d, &err), 0);
	assert_int_equal(d.vocab.count, 3);
	assert_int_equal(d.vocab.bytes, 4);
	assert_int_equal(d.merges.count, 1);
	d.merges.count = (size_t)CWE_MERGE_LIMIT + 1;
	assert_int_equal(cwe_bpe_new(&d, &b, &err), CWP_ELIMIT);
	assert_non_null(strstr(err.message, "model.merges: more than 16777215"));
	cwb_err_clear(&err);
	d.vocab.count = (size_t)CWE_ID_LIMIT + 1;
	assert_int_equal(cwe_bpe_new(&d, &b, &err), CWP_ELIMIT);
	assert_non_null(strstr(err.message, "model.vocab: more than 16777216 tokens"));
	assert_null(b);
	cwe_document_free(&d);
}

static char *mini_text(void)
{
	json_t *json = mini_json();
	mini_set(json, "post_processor", "{\"type\": \"ByteLevel\"}");
	mini_set(json, "normalizer",
		"{\"type\": \"Replace\", \"pattern\": {\"String\": \"\\u00e9\"}, \"content\": "
		"\"\\ud83d\\ude00\"}");
	char *text = json_dumps(json, JSON_ENSURE_ASCII | JSON_COMPACT);
	assert_non_null(text);
	json_decref(json);
	return text;
}

static void test_cut_anywhere(void **state)
{
	(void)state;
	char *text = mini_text();
	size_t length = strlen(text);
	for (size_t n = 0; n < length; n++) {
		struct cwe_tokenizer *t;
		struct cwb_err err = {0};
		assert_int_equal(read_exact(text, n, &t, &err), CWP_EFORMAT);
		assert_int_equal(err.line, 1);
		/* Of a word or an escape that is cut, the start. */
		assert_in_range(err.column, n > 11 ? n - 11 : 1, n + 1);
		assert_null(t);
	}
	free(text);
}

/* Any byte may be another one: either something is refused, or the tokenizer works. */
static void test_changed_anywhere(void **state)
{
	(void)state;
	static const char bytes[] = "\"\\,:{}[]0 9ae\x80\xFF";
	char *text = mini_text();
	size_t length = strlen(text);
	size_t fine = 0;
	for (size_t i = 0; i < length; i++) {
		char was = text[i];
		struct cwe_tokenizer *t;
		struct cwb_err err = {0};
		text[i] = bytes[i % (sizeof(bytes) - 1)];
		int rc = read_exact(text, length, &t, &err);
		assert_true(rc == 0 ? t && err.code == 0
				    : !t && err.code == rc && strlen(err.message) > 16);
		if (t) {
			mini_ids(t, "abc <|im_end|> \xC3\xA9 12", 1);
			fine++;
		}
		cwe_tokenizer_free(t);
		text[i] = was;
	}
	assert_true(fine > 0 && fine < length / 2);
	free(text);
}

static void test_take(void **state)
{
	(void)state;
	char *text = mini_text();
	struct cwe_tokenizer *t = NULL;
	struct cwb_err err = {0};
	char *bad = strdup("{\"model\": 3}");
	char *no_json = strdup("{");
	char *late = strdup("{" MODEL "}, \"decoder\": {\"type\": \"?\"}}");
	assert_int_equal(cwe_tokenizer_take(&text, strlen(text), NULL, 0, &t, &err), 0);
	assert_null(text);
	assert_string_equal(mini_ids(t, "abc", 0), "257");
	cwe_tokenizer_free(t);
	t = NULL;
	assert_int_equal(cwe_tokenizer_take(&bad, strlen(bad), NULL, 0, &t, &err), CWP_EVALUE);
	assert_null(bad);
	cwb_err_clear(&err);
	assert_int_equal(
		cwe_tokenizer_take(&no_json, strlen(no_json), NULL, 0, &t, &err), CWP_EFORMAT);
	assert_null(no_json);
	cwb_err_clear(&err);
	assert_int_equal(cwe_tokenizer_take(&late, strlen(late), NULL, 0, &t, &err), CWP_EUNKNOWN);
	assert_null(late);
	assert_null(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_unknown_members),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_merges),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_changed_anywhere),
		cmocka_unit_test(test_take),
	};
	return cmocka_run_group_tests_name("document", tests, NULL, NULL);
}
