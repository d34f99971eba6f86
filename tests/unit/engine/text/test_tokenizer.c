/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers: each stage in small, and every refusal with its message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <cmocka.h>

#include "engine/text/beside.h"
#include "tests/unit/engine/text/mini.h"

static struct cwe_tokenizer *make(json_t *json)
{
	struct cwe_tokenizer *t = NULL;
	struct cwb_err err = {0};
	if (mini_new(json, &t, &err) < 0)
		fail_msg("%s", err.message);
	return t;
}

static void check(json_t *json, const char *text, const char *ids)
{
	struct cwe_tokenizer *t = make(json);
	assert_string_equal(mini_ids(t, text, 0), ids);
	cwe_tokenizer_free(t);
}

static json_t *with(const char *path, const char *value)
{
	json_t *json = mini_json();
	mini_set(json, path, value);
	return json;
}

static void test_merges(void **state)
{
	(void)state;
	check(mini_json(), "", "");
	check(mini_json(), "abc", "257");
	check(mini_json(), "aabab", "97 256 256");
	check(mini_json(), " abc", "32 257");
	check(mini_json(), " ac", "258 99");
	check(mini_json(), "x\xC3\xA9", "120 195 169");
	check(mini_json(), "abc<|im_end|>abc", "257 260 257");
}

/* The rank decides, the leftmost of equals first; a pair that is there twice has its later rank. */
static void test_ranks(void **state)
{
	(void)state;
	json_t *json = mini_json();
	mini_set(json, "model.vocab.bc", "261");
	mini_set(json, "model.merges", "[\"a b\", \"b c\"]");
	check(json_deep_copy(json), "abc", "256 99");
	mini_set(json, "model.merges", "[\"b c\", \"a b\"]");
	check(json_deep_copy(json), "abc", "97 261");
	mini_set(json, "model.merges", "[\"a b\", \"b c\", \"a b\"]");
	check(json, "abc", "97 261");
	json = mini_json();
	mini_set(json, "model.vocab.aa", "261");
	mini_set(json, "model.merges", "[\"a a\"]");
	check(json, "aaa", "261 97");
}

static void test_ignore_merges(void **state)
{
	(void)state;
	json_t *json = mini_json();
	mini_set(json, "model.vocab.cab", "261");
	check(json_deep_copy(json), "cab", "99 256");
	mini_set(json, "model.ignore_merges", "true");
	check(json, "cab", "261");
}

static void test_unknown(void **state)
{
	(void)state;
	json_t *json = mini_json();
	mini_set(json, "model.vocab.x", NULL);
	mini_set(json, "model.vocab.y", NULL);
	check(json_deep_copy(json), "axyxb", "256");
	mini_set(json, "model.unk_token", "\"z\"");
	check(json_deep_copy(json), "axyxb", "97 122 122 122 98");
	mini_set(json, "model.fuse_unk", "true");
	check(json_deep_copy(json), "axyxb", "97 122 98");
	mini_set(json, "model.vocab.<0x78>", "261");
	mini_set(json, "model.byte_fallback", "true");
	/* As in the reference, bytes pass an unknown character that is held back. */
	check(json, "axyxb", "97 261 261 122 98");
}

#define TOKEN(id, content, flags)                                                                  \
	"[{\"id\": " id ", \"content\": \"" content                                                \
	"\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false,"                        \
	"\"normalized\": false, \"special\": false" flags "}]"

static json_t *with_token(const char *content, const char *flag)
{
	json_t *json = mini_json();
	json_t *token = json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", 300, "content", content,
		"single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 0);
	if (flag)
		json_object_set_new(token, flag, json_true());
	json_array_append_new(json_object_get(json, "added_tokens"), token);
	return json;
}

static void test_added(void **state)
{
	(void)state;
	check(with_token("xx", NULL), "axxb xx", "97 300 98 32 300");
	check(with_token("xx", "single_word"), "axxb xx", "97 120 120 98 32 300");
	check(with_token("xx", "single_word"), "\xC3\xA9xx xx- xx_",
		"195 169 120 120 32 300 45 32 120 120 95");
	check(with_token("xx", "lstrip"), "a \xC2\xA0 xx b", "97 300 32 98");
	check(with_token("xx", "rstrip"), "a xx \n b", "97 32 300 98");
	check(with_token("xx", "special"), "axxb", "97 300 98");
	/* The longest at the leftmost place. */
	json_t *json = with_token("xx", NULL);
	json_array_append_new(json_object_get(json, "added_tokens"),
		json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", 301, "content", "xxx",
			"single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 0));
	check(json, "xxxxx", "301 300");
	/* A normalized one is found in its normalized form, in normalized text. */
	json = with_token("x x", "normalized");
	mini_set(json, "normalizer",
		"{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"_\"}");
	check(json, "ax x x_x", "97 300 95 300");
}

static void test_pretokenizers(void **state)
{
	(void)state;
	json_t *json = mini_json();
	mini_set(json, "pre_tokenizer",
		"{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
		"{\"String\": \"b\"},"
		"\"behavior\": \"Removed\", \"invert\": false}, {\"type\": \"ByteLevel\", "
		"\"add_prefix_space\": true,"
		"\"use_regex\": false}]}");
	check(json, "abc", "258 32 99");
	json = with("pre_tokenizer.use_regex", "false");
	check(json, "ab c", "256 32 99");
	json = mini_json();
	mini_set(json, "pre_tokenizer",
		"{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\", "
		"\"individual_digits\": true},"
		"{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"use_regex\": false}]}");
	check(json, "1\xC2\xB2", "32 49 32 194 178");
}

#define META "{\"type\": \"Metaspace\", \"replacement\": \"_\""

static void check_meta(const char *meta, const char *text, const char *ids)
{
	json_t *json = with_token("xx", NULL);
	mini_set(json, "pre_tokenizer", meta);
	mini_set(json, "model.vocab._a", "301");
	mini_set(json, "model.vocab.a_", "302");
	mini_set(json, "model.ignore_merges", "true");
	check(json, text, ids);
}

static void test_metaspace(void **state)
{
	(void)state;
	check_meta(META "}", "a a", "301 301");
	check_meta(META "}", "_a a", "301 301");
	check_meta(META ", \"add_prefix_space\": true, \"str_rep\": \"_\"}", "axxa", "301 300 301");
	check_meta(META ", \"prepend_scheme\": \"first\"}", "axxa", "301 300 97");
	check_meta(META ", \"prepend_scheme\": \"first\"}", "xxa a", "300 97 301");
	check_meta(META ", \"prepend_scheme\": \"never\"}", "a a", "97 301");
	check_meta(META ", \"add_prefix_space\": false, \"prepend_scheme\": \"never\"}", "a", "97");
	check_meta(META ", \"prepend_scheme\": \"never\", \"split\": false}", "a ", "302");
}

/* Where a text begins: what the normalizer took from the start is gone, what it put there belongs
 * to the first character. */
static void test_first(void **state)
{
	(void)state;
	json_t *json = mini_json();
	mini_set(json, "model.vocab._a", "301");
	mini_set(json, "model.ignore_merges", "true");
	mini_set(json, "pre_tokenizer", META ", \"prepend_scheme\": \"first\"}");
	mini_set(json, "normalizer",
		"{\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": true}");
	check(json_deep_copy(json), "a ", "301");
	check(json_deep_copy(json), " a", "97");
	mini_set(json, "normalizer", "{\"type\": \"Lowercase\"}");
	check(json_deep_copy(json), "A", "301");
	mini_set(json, "normalizer", "{\"type\": \"Prepend\", \"prepend\": \"-\"}");
	mini_set(json, "pre_tokenizer",
		"{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
		"{\"String\": \"-\"}, \"behavior\": \"Isolated\", \"invert\": false}," META
		", \"prepend_scheme\": \"first\"}]}");
	check(json_deep_copy(json), "ab", "95 45 95 256");
	mini_set(json, "normalizer",
		"{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"b+\"}, \"content\": \"a\"}");
	check(json_deep_copy(json), "b", "301");
	check(json, "bb", "97");
}

static void test_words(void **state)
{
	(void)state;
	check(with("pre_tokenizer", "{\"type\": \"WhitespaceSplit\"}"), "ab\xC2\xA0" "c, a", "256 99 44 97");
	check(with("pre_tokenizer", "{\"type\": \"Whitespace\"}"), " abc,,ab ", "257 44 44 256");
	json_t *json = with("pre_tokenizer", "{\"type\": \"Punctuation\"}");
	mini_set(json, "model.vocab.,,", "301");
	mini_set(json, "model.ignore_merges", "true");
	check(json_deep_copy(json), "a,,b", "97 44 44 98");
	mini_set(json, "pre_tokenizer", "{\"type\": \"Punctuation\", \"behavior\": \"Contiguous\"}");
	check(json, "a,,b", "97 301 98");
}

static void test_template(void **state)
{
	(void)state;
	json_t *json = mini_json();
	const uint32_t *prefix;
	mini_set(json, "post_processor",
		"{\"type\": \"Sequence\", \"processors\": [{\"type\": \"ByteLevel\"}, {\"type\": "
		"\"TemplateProcessing\","
		"\"single\": [{\"SpecialToken\": {\"id\": \"S\", \"type_id\": 0}}, {\"Sequence\": "
		"{\"id\": \"A\", \"type_id\": 0}},"
		"{\"SpecialToken\": {\"id\": \"E\", \"type_id\": 0}}], \"special_tokens\": {\"S\": "
		"{\"ids\": [259]},"
		"\"E\": {\"ids\": [260]}}}]}");
	struct cwe_tokenizer *t = make(json);
	assert_string_equal(mini_ids(t, "abc", 1), "259 257 260");
	assert_string_equal(mini_ids(t, "abc", 0), "257");
	assert_string_equal(mini_ids(t, "", 1), "259 260");
	assert_int_equal(cwe_tokenizer_prefix(t, &prefix), 1);
	assert_int_equal(prefix[0], 259);
	cwe_tokenizer_free(t);
}

static void check_text(const struct cwe_tokenizer *t, const uint32_t *id, size_t count, int skip,
	const char *expected)
{
	struct cwb_err err = {0};
	char *text;
	size_t length;
	assert_int_equal(cwe_tokenizer_decode(t, id, count, skip, &text, &length, &err), 0);
	assert_string_equal(text, expected);
	assert_int_equal(length, strlen(expected));
	free(text);
}

static void test_decode(void **state)
{
	(void)state;
	static const uint32_t id[] = {259, 257, 258, 195, 169, 0xE2, 0x82, 'x', 0xFF, 9999, 260};
	struct cwe_tokenizer *t = make(mini_json());
	check_text(t, id, 11, 0, "<|im_start|>abc a\xC3\xA9\xEF\xBF\xBDx\xEF\xBF\xBD<|im_end|>");
	check_text(t, id, 11, 1, "abc a\xC3\xA9\xEF\xBF\xBDx\xEF\xBF\xBD");
	check_text(t, id, 0, 0, "");
	cwe_tokenizer_free(t);
	t = make(with("decoder", "null"));
	check_text(t, id, 3, 0,
		"<|im_start|> abc \xC4\xA0"
		"a");
	cwe_tokenizer_free(t);
}

/* Texts may hold NUL; what is not UTF-8 is refused with its place. */
static void test_bytes(void **state)
{
	(void)state;
	struct cwe_tokenizer *t = make(mini_json());
	struct cwe_ids ids;
	struct cwb_err err = {0};
	assert_int_equal(cwe_tokenizer_encode(t, "a\0b", 3, 0, &ids, &err), 0);
	assert_int_equal(ids.count, 3);
	assert_int_equal(ids.id[1], 0);
	free(ids.id);
	static const char *const bad[] = {
		"ab\xFF", "ab\xC3", "ab\xED\xA0\x80", "ab\xC0\x80", "ab\xF4\x90\x80\x80"};
	for (size_t i = 0; i < 5; i++) {
		cwb_err_clear(&err);
		assert_int_equal(cwe_tokenizer_encode(t, bad[i], strlen(bad[i]), 0, &ids, &err),
			CWP_EFORMAT);
		assert_non_null(strstr(err.message, "not UTF-8 at byte 2"));
	}
	cwe_tokenizer_free(t);
}

static void *encode_many(void *arg)
{
	const struct cwe_tokenizer *t = arg;
	for (int i = 0; i < 200; i++) {
		struct cwe_ids ids;
		if (cwe_tokenizer_encode(t, "abc abc 12 x's", 14, 0, &ids, NULL) < 0 ||
			ids.count != 10)
			return (void *)1;
		free(ids.id);
	}
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	struct cwe_tokenizer *t = make(mini_json());
	pthread_t thread[4];
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, encode_many, t), 0);
	for (int i = 0; i < 4; i++) {
		void *result;
		assert_int_equal(pthread_join(thread[i], &result), 0);
		assert_null(result);
	}
	cwe_tokenizer_free(t);
}

/* A word of a million letters and as many merges: nothing in it is quadratic. */
static void test_long_word(void **state)
{
	(void)state;
	size_t n = 1000000;
	char *text = malloc(n);
	struct cwe_tokenizer *t = make(mini_json());
	struct cwe_ids ids;
	assert_non_null(text);
	for (size_t i = 0; i < n; i++)
		text[i] = "ab"[i % 2];
	assert_int_equal(cwe_tokenizer_encode(t, text, n, 0, &ids, NULL), 0);
	assert_int_equal(ids.count, n / 2);
	assert_int_equal(ids.id[n / 2 - 1], 256);
	free(ids.id);
	free(text);
	cwe_tokenizer_free(t);
}

struct refusal {
	const char *path, *value; /* value NULL: the member is taken away */
	int code;
	const char *message;
};

static const struct refusal refusals[] = {
	{"model", NULL, CWP_EMISSING, "has no \"model\""},
	{"model", "[]", CWP_EVALUE, "model: not an object"},
	{"model.type", "\"WordPiece\"", CWP_EUNKNOWN, "model.type \"WordPiece\" is not supported"},
	{"model.type", "\"Unigram\"", CWP_EVALUE, "model: \"vocab\" is not an array"},
	{"model.type", "7", CWP_EMISSING, "model: has no \"type\""},
	{"model.vocab", NULL, CWP_EMISSING, "model: has no \"vocab\""},
	{"model.vocab", "[]", CWP_EVALUE, "model.vocab: not an object"},
	{"model.vocab.x", "-1", CWP_EVALUE, "model.vocab[\"x\"]: id -1 is not from 0 to 16777215"},
	{"model.vocab.x", "99999999999", CWP_EVALUE,
		"model.vocab[\"x\"]: id 99999999999 is not from 0"},
	{"model.vocab.x", "16777216", CWP_EVALUE, "id 16777216 is not from 0"},
	{"model.vocab.x", "1.5", CWP_EVALUE, "model.vocab[\"x\"]: the id is not an integer"},
	{"model.vocab.x", "97", CWP_EVALUE, "id 97 of token \"x\" is also that of \"a\""},
	{"model.merges", NULL, CWP_EMISSING, "model: has no \"merges\""},
	{"model.merges", "{}", CWP_EVALUE, "model: \"merges\" is not an array"},
	{"model.merges", "[\"a b\", \"q\xC3\xA9 b\"]", CWP_EVALUE,
		"model.merges[1]: token \"q\xC3\xA9\" is not in"},
	{"model.merges", "[\"a x\"]", CWP_EVALUE,
		"model.merges[0]: token \"ax\" is not in the vocabulary"},
	{"model.merges", "[\"ab\"]", CWP_EVALUE, "model.merges[0]: \"ab\" is not two tokens"},
	{"model.merges", "[\"a b c\"]", CWP_EVALUE, "model.merges[0]: \"a b c\" is not two tokens"},
	{"model.merges", "[[\"a\"]]", CWP_EVALUE, "model.merges[0]: neither a string nor a pair"},
	{"model.merges", "[3]", CWP_EVALUE, "model.merges[0]: neither a string nor a pair"},
	{"model.dropout", "0.1", CWP_EUNKNOWN, "model.dropout: only null and 0"},
	{"model.continuing_subword_prefix", "\"##\"", CWP_EUNKNOWN,
		"model.continuing_subword_prefix: only null"},
	{"model.end_of_word_suffix", "\"</w>\"", CWP_EUNKNOWN,
		"model.end_of_word_suffix: only null"},
	{"model.unk_token", "\"<unk>\"", CWP_EVALUE, "model.unk_token: token \"<unk>\" is not in"},
	{"model.unk_token", "3", CWP_EVALUE, "model.unk_token: not a string"},
	{"model.byte_fallback", "1", CWP_EVALUE,
		"model: \"byte_fallback\" is neither true nor false"},
	{"normalizer", "{\"type\": \"Nmt\"}", CWP_EUNKNOWN,
		"normalizer.type \"Nmt\" is not supported"},
	{"normalizer",
		"{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", \"prepend\": "
		"\"x\"},"
		"{\"type\": \"Precompiled\"}]}",
		CWP_EUNKNOWN, "normalizer.normalizers[1].type \"Precompiled\" is not supported"},
	{"normalizer",
		"{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"x*\"}, \"content\": \"\"}",
		CWP_EUNKNOWN, "normalizer.pattern: a pattern that may match the empty string"},
	{"normalizer",
		"{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"(\"}, \"content\": \"\"}",
		CWP_EUNKNOWN, "normalizer.pattern.Regex: at byte 1: a parenthesis has no end"},
	{"normalizer",
		"{\"type\": \"Replace\", \"pattern\": {\"String\": \"\"}, \"content\": \"\"}",
		CWP_EVALUE, "normalizer.pattern: the string is empty"},
	{"normalizer", "{\"type\": \"Replace\", \"pattern\": {}, \"content\": \"\"}", CWP_EVALUE,
		"normalizer.pattern: neither {\"Regex\"} nor {\"String\"}"},
	{"normalizer", "{\"type\": \"Replace\", \"content\": \"\"}", CWP_EMISSING,
		"normalizer: has no \"pattern\""},
	{"normalizer", "{\"type\": \"Strip\", \"strip_left\": true}", CWP_EMISSING,
		"normalizer: has no \"strip_right\""},
	{"normalizer", "3", CWP_EVALUE, "normalizer: not an object"},
	{"normalizer", "{}", CWP_EMISSING, "normalizer: has no \"type\""},
	{"pre_tokenizer", "{\"type\": \"BertPreTokenizer\"}", CWP_EUNKNOWN,
		"pre_tokenizer.type \"BertPreTokenizer\" is not supported"},
	{"pre_tokenizer", "{\"type\": \"Metaspace\"}", CWP_EMISSING,
		"pre_tokenizer: has no \"replacement\""},
	{"pre_tokenizer", "{\"type\": \"Metaspace\", \"replacement\": \"ab\"}", CWP_EVALUE,
		"pre_tokenizer: \"replacement\" is not one character"},
	{"pre_tokenizer",
		"{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"last\"}",
		CWP_EUNKNOWN, "pre_tokenizer: prepend_scheme \"last\" is not supported"},
	{"pre_tokenizer",
		"{\"type\": \"Metaspace\", \"replacement\": \"_\", \"add_prefix_space\": false}",
		CWP_EVALUE, "so that \"prepend_scheme\" must be \"never\", not \"always\""},
	{"pre_tokenizer", "{\"type\": \"Punctuation\", \"behavior\": \"Odd\"}", CWP_EUNKNOWN,
		"pre_tokenizer: behavior \"Odd\" is not supported"},
	{"pre_tokenizer", "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Foo\"}]}",
		CWP_EUNKNOWN, "pre_tokenizer.pretokenizers[0].type \"Foo\" is not supported"},
	{"pre_tokenizer", "{\"type\": \"Sequence\"}", CWP_EMISSING,
		"pre_tokenizer: has no \"pretokenizers\""},
	{"pre_tokenizer", "{\"type\": \"ByteLevel\"}", CWP_EMISSING,
		"pre_tokenizer: has no \"add_prefix_space\""},
	{"pre_tokenizer",
		"{\"type\": \"Split\", \"pattern\": {\"Regex\": \"x\"}, \"behavior\": \"Odd\"}",
		CWP_EUNKNOWN, "pre_tokenizer: behavior \"Odd\" is not supported"},
	{"pre_tokenizer", "{\"type\": \"Split\", \"behavior\": \"Isolated\"}", CWP_EMISSING,
		"has no \"pattern\""},
	{"pre_tokenizer",
		"{\"type\": \"Split\", \"pattern\": {\"String\": \"\"}, \"behavior\": "
		"\"Isolated\"}",
		CWP_EVALUE, "pre_tokenizer.pattern: the string is empty"},
	{"pre_tokenizer",
		"{\"type\": \"Split\", \"pattern\": {\"Regex\": \"\\\\X+\"}, \"behavior\": "
		"\"Isolated\"}",
		CWP_EUNKNOWN,
		"pre_tokenizer.pattern.Regex: at byte 1: escape \\X is not supported"},
	{"post_processor", "{\"type\": \"BertProcessing\"}", CWP_EUNKNOWN,
		"post_processor.type \"BertProcessing\" is not supported"},
	{"post_processor", "{\"type\": \"Sequence\", \"processors\": [{\"type\": \"Foo\"}]}",
		CWP_EUNKNOWN, "post_processor.processors[0].type \"Foo\" is not supported"},
	{"post_processor",
		"{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": "
		"\"Q\"}}]}",
		CWP_EMISSING, "post_processor.single[0]: special_tokens has no \"ids\" for \"Q\""},
	{"post_processor",
		"{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": {\"id\": \"B\"}}]}",
		CWP_EUNKNOWN, "post_processor.single[0]: only one sequence \"A\""},
	{"post_processor", "{\"type\": \"TemplateProcessing\", \"single\": []}", CWP_EVALUE,
		"has no sequence \"A\""},
	{"post_processor",
		"{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": "
		"\"S\"}},"
		"{\"Sequence\": {\"id\": \"A\"}}], \"special_tokens\": {\"S\": {\"ids\": [5000]}}}",
		CWP_EVALUE, "post_processor: id 5000 is that of no token"},
	{"decoder", "{\"type\": \"WordPiece\"}", CWP_EUNKNOWN,
		"decoder.type \"WordPiece\" is not supported"},
	{"decoder",
		"{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}, {\"type\": "
		"\"Foo\"}]}",
		CWP_EUNKNOWN, "decoder.decoders[1].type \"Foo\" is not supported"},
	{"decoder", "{\"type\": \"Strip\", \"content\": \"ab\", \"start\": 1, \"stop\": 0}",
		CWP_EVALUE, "decoder: \"content\" is not one character"},
	{"decoder", "{\"type\": \"Strip\", \"content\": \"a\", \"start\": -1, \"stop\": 0}",
		CWP_EVALUE, "decoder: \"start\" is not a whole number from 0 on"},
	{"decoder", "{\"type\": \"Strip\", \"content\": \"a\", \"start\": 1}", CWP_EVALUE,
		"decoder: \"stop\" is not a whole number from 0 on"},
	{"decoder", "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}}", CWP_EMISSING,
		"decoder: has no \"content\""},
	{"decoder", "{\"type\": \"Metaspace\", \"replacement\": \"\"}", CWP_EVALUE,
		"decoder: \"replacement\" is not one character"},
	{"added_tokens", "{}", CWP_EVALUE, "added_tokens: not an array"},
	{"added_tokens", "[3]", CWP_EVALUE, "added_tokens[0]: not an object"},
	{"added_tokens", "[{\"id\": 300}]", CWP_EMISSING, "added_tokens[0]: has no \"content\""},
	{"added_tokens", "[{\"content\": \"q\"}]", CWP_EMISSING, "added_tokens[0]: has no \"id\""},
	{"added_tokens", "[{\"id\": 300, \"content\": \"q\"}]", CWP_EMISSING,
		"added_tokens[0]: has no \"special\""},
	{"added_tokens", TOKEN("300", "a", ""), CWP_EVALUE,
		"added_tokens[0]: \"a\" has id 300, and 97 in model.vocab"},
	{"added_tokens", TOKEN("97", "qq", ""), CWP_EVALUE,
		"id 97 of \"qq\" is that of \"a\" in model.vocab"},
	{"added_tokens", TOKEN("4294967296", "qq", ""), CWP_EVALUE, "id 4294967296 is not from 0"},
};

static void test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
		const struct refusal *r = &refusals[i];
		struct cwe_tokenizer *t = NULL;
		struct cwb_err err = {0};
		int rc = mini_new(with(r->path, r->value), &t, &err);
		if (rc != r->code || !strstr(err.message, r->message) ||
			!strstr(err.message, "tokenizer.json: "))
			fail_msg("%s = %s: code %d, \"%s\"; expected %d, \"%s\"", r->path,
				r->value ? r->value : "absent", rc, err.message, r->code,
				r->message);
		assert_null(t);
	}
}

static void test_not_json(void **state)
{
	(void)state;
	static const char *const texts[] = {"", "{", "[]", "{\"model\": {\"type\": \"BPE\"}} x",
		"{\"a\": 1, \"a\": 2}", "{\"model\": \"\xFF\"}"};
	for (size_t i = 0; i < 6; i++) {
		struct cwe_tokenizer *t = NULL;
		struct cwb_err err = {0};
		assert_true(cwe_tokenizer_new(texts[i], strlen(texts[i]), NULL, 0, &t, &err) < 0);
		assert_true(strlen(err.message) > 0);
		assert_null(t);
	}
	struct cwe_tokenizer *t = NULL;
	struct cwb_err err = {0};
	json_t *json = mini_json();
	char *text = json_dumps(json, 0);
	json_decref(json);
	assert_int_equal(cwe_tokenizer_new(text, strlen(text), "{", 1, &t, &err), CWP_EFORMAT);
	assert_non_null(strstr(err.message, "tokenizer_config.json"));
	free(text);
}

/* Messages about a model's tokenizer begin with the model's path, once. */
static void test_beside(void **state)
{
	(void)state;
	struct cwb_err err = {0};
	struct cwe_source *source = NULL;
	struct cwe_tokenizer *t = NULL;
	char expected[4400];
	mini_file("config.json", "{}", 2);
	assert_int_equal(cwe_source_open(mini_folder(), CWE_SOURCE_NO_WEIGHTS, &source, &err), 0);
	assert_int_equal(cwe_tokenizer_beside(source, &t, &err), CWP_EMISSING);
	snprintf(expected, sizeof(expected), "%s: no tokenizer.json", mini_folder());
	assert_string_equal(err.message, expected);
	cwb_err_clear(&err);
	mini_file("tokenizer.json", "[]", 2);
	assert_int_equal(cwe_tokenizer_beside(source, &t, &err), CWP_EVALUE);
	snprintf(expected, sizeof(expected), "%s: tokenizer.json: tokenizer.json is not an object",
		mini_folder());
	assert_string_equal(err.message, expected);
	assert_null(t);
	cwe_source_close(source);
	mini_folder_remove();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merges),
		cmocka_unit_test(test_ranks),
		cmocka_unit_test(test_ignore_merges),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_added),
		cmocka_unit_test(test_pretokenizers),
		cmocka_unit_test(test_metaspace),
		cmocka_unit_test(test_first),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_template),
		cmocka_unit_test(test_decode),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_long_word),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_not_json),
		cmocka_unit_test(test_beside),
	};
	return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
