/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers of GGUF files: each tokenizer.ggml.pre, SentencePiece's vocabularies, and that the tokenizer opens what was made. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/format/gguf.h"
#include "engine/text/tokenizer.h"

#define MARK "\xe2\x96\x81"

static const char *const bytes[] = {"<s>", "a", "b", "ab", "\xc4\xa0", "<|x|>"};
static const char *const merges[] = {"a b"};
static const int32_t byte_types[] = {3, 1, 1, 1, 1, 4};

static void byte_level(struct gguf_build *g, const char *pre)
{
	gguf_text(g, "tokenizer.ggml.model", "gpt2");
	gguf_text(g, "tokenizer.ggml.pre", pre);
	gguf_strings(g, "tokenizer.ggml.tokens", bytes, 6);
	gguf_strings(g, "tokenizer.ggml.merges", merges, 1);
	gguf_i32s(g, "tokenizer.ggml.token_type", byte_types, 6);
}

/* Scores fall with the order in which pieces were made; "a" MARK is made of two, "abb" in three ways. */
static const char *const pieces[] = {"<unk>", "<s>", "</s>", "<0x41>", MARK, "a", "b", "ab", "bb", "abb", MARK "a", "  ", "<x y>"};
static const int32_t piece_types[] = {2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1, 4, 4};
static const float scores[] = {0, 0, 0, 0, -1e9f, -9, -10, -2, -1, -3, -2, 0, 0};

static void sentencepiece(struct gguf_build *g)
{
	gguf_text(g, "general.architecture", "llama");
	gguf_text(g, "tokenizer.ggml.model", "llama");
	gguf_strings(g, "tokenizer.ggml.tokens", pieces, 13);
	gguf_f32s(g, "tokenizer.ggml.scores", scores, 13);
	gguf_i32s(g, "tokenizer.ggml.token_type", piece_types, 13);
	gguf_u32(g, "tokenizer.ggml.bos_token_id", 1);
	gguf_u32(g, "tokenizer.ggml.eos_token_id", 2);
}

static int make(struct gguf_build *build, json_t **ret, struct cwb_err *err)
{
	struct blob b = {0};
	struct cwe_gguf *g;
	int rc;

	gguf_finish(build, &b);
	gguf_free(build);
	*build = (struct gguf_build){0};
	rc = cwe_gguf_adopt(blob_fd(&b), "test", &g, err);
	blob_free(&b);
	assert_int_equal(rc, 0);
	rc = cwe_gguf_tokenizer(g, ret, err);
	cwe_gguf_close(g);
	return rc;
}

static json_t *made(struct gguf_build *build)
{
	struct cwb_err err = {0};
	json_t *json = NULL;

	if (make(build, &json, &err))
		fail_msg("%s", err.message);
	return json;
}

/* The tokenizer of it gives these ids. */
static void check_ids(const json_t *json, const char *text, int special, const char *expected)
{
	struct cwb_err err = {0};
	struct cwe_tokenizer *t = NULL;
	struct cwe_ids ids = {0};
	size_t length, at = 0;
	char got[256] = "";
	char *whole = cwb_json_text(json, 0, &length);

	assert_non_null(whole);
	if (cwe_tokenizer_new(whole, length, NULL, 0, &t, &err) || cwe_tokenizer_encode(t, text, strlen(text), special, &ids, &err))
		fail_msg("%s", err.message);
	for (size_t i = 0; i < ids.count; i++)
		at += (size_t)snprintf(got + at, sizeof got - at, "%s%u", i ? " " : "", (unsigned)ids.id[i]);
	assert_string_equal(got, expected);
	free(ids.id);
	free(whole);
	cwe_tokenizer_free(t);
}

static json_t *part(const json_t *json, const char *a, const char *b)
{
	return json_object_get(json_object_get(json, a), b);
}

/* The number of steps before ByteLevel, and what the first of them is. */
static void test_pre(void **state)
{
	static const struct {
		const char *name;
		size_t steps;
		const char *first;
		int regex, ignores, bos;
		const char *normalizer;
	} all[] = {
		{"smollm", 2, "Digits", 1, 0, 0, NULL},
		{"llama-bpe", 2, "Split", 0, 1, 1, NULL},
		{"llama3", 2, "Split", 0, 1, 1, NULL},
		{"llama-v3", 2, "Split", 0, 1, 1, NULL},
		{"qwen2", 2, "Split", 0, 0, 0, "NFC"},
		{"deepseek-r1-qwen", 2, "Split", 0, 0, 0, "NFC"},
		{"tekken", 2, "Split", 0, 1, 1, NULL},
		{"dbrx", 2, "Split", 0, 0, 0, NULL},
		{"gpt-4o", 2, "Split", 0, 0, 0, NULL},
		{"gpt-2", 1, "ByteLevel", 1, 0, 0, NULL},
		{"phi-2", 1, "ByteLevel", 1, 0, 0, NULL},
		{"default", 5, "Split", 0, 0, 0, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct gguf_build build = {0};
		json_t *json, *list, *last;

		byte_level(&build, all[i].name);
		gguf_u32(&build, "tokenizer.ggml.bos_token_id", 0);
		json = made(&build);
		list = part(json, "pre_tokenizer", "pretokenizers");
		assert_int_equal(json_array_size(list), all[i].steps);
		assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "type")), all[i].first);
		last = json_array_get(list, all[i].steps - 1);
		assert_string_equal(json_string_value(json_object_get(last, "type")), "ByteLevel");
		assert_int_equal(json_is_true(json_object_get(last, "use_regex")), all[i].regex);
		assert_int_equal(json_is_true(part(json, "model", "ignore_merges")), all[i].ignores);
		if (all[i].normalizer)
			assert_string_equal(json_string_value(part(json, "normalizer", "type")), all[i].normalizer);
		else
			assert_true(json_is_null(json_object_get(json, "normalizer")));
		check_ids(json, "ab<|x|> a", 1, all[i].bos ? "0 3 5 4 1" : "3 5 4 1");
		json_decref(json);
	}
}

static void test_sentencepiece(void **state)
{
	struct gguf_build build = {0};
	json_t *json, *list, *token;

	(void)state;
	sentencepiece(&build);
	json = made(&build);
	/* Best first; what falls apart in several ways in the order of the halves' ids; nothing with a space. */
	static const char *const expected[] = {MARK " " MARK, "b b", "a b", MARK " a", "a bb", "ab b"};
	list = part(json, "model", "merges");
	assert_int_equal(json_array_size(list), 6);
	for (size_t i = 0; i < 6; i++)
		assert_string_equal(json_string_value(json_array_get(list, i)), expected[i]);
	assert_string_equal(json_string_value(part(json, "model", "unk_token")), "<unk>");
	assert_true(json_is_true(part(json, "model", "byte_fallback")) && json_is_true(part(json, "model", "fuse_unk")));
	assert_null(json_object_get(part(json, "model", "vocab"), "  "));
	assert_int_equal(json_integer_value(json_object_get(part(json, "model", "vocab"), MARK MARK)), 11);
	assert_true(json_is_null(json_object_get(json, "pre_tokenizer")));
	list = json_object_get(json, "added_tokens");
	assert_int_equal(json_array_size(list), 5);
	token = json_array_get(list, 4);
	assert_string_equal(json_string_value(json_object_get(token, "content")), "<x y>");
	assert_false(json_is_true(json_object_get(token, "special")) || json_is_true(json_object_get(token, "rstrip")));
	check_ids(json, "a", 1, "1 10");
	check_ids(json, "abb A", 0, "10 8 4 3");
	check_ids(json, "a<x y>a", 0, "10 12 10");
	check_ids(json, "a!", 0, "10 0");
	json_decref(json);

	sentencepiece(&build);
	gguf_bool(&build, "tokenizer.ggml.add_space_prefix", 0);
	gguf_bool(&build, "tokenizer.ggml.add_bos_token", 0);
	gguf_bool(&build, "tokenizer.ggml.add_eos_token", 1);
	gguf_u32(&build, "tokenizer.ggml.unknown_token_id", 6);
	json = made(&build);
	assert_string_equal(json_string_value(part(json, "model", "unk_token")), "b");
	check_ids(json, "a  a", 1, "5 11 5 2");
	json_decref(json);
}

/* Phi-3's special tokens swallow the white space behind them. */
static void test_phi3(void **state)
{
	static const char *const tokens[] = {"<unk>", "<s>", "<|end|>", MARK, "a", MARK "a"};
	static const int32_t types[] = {2, 3, 3, 1, 1, 1};
	static const float values[] = {0, 0, 0, -3, -2, -1};
	struct gguf_build build = {0};
	json_t *json;

	(void)state;
	gguf_text(&build, "general.architecture", "phi3");
	gguf_text(&build, "tokenizer.ggml.model", "llama");
	gguf_strings(&build, "tokenizer.ggml.tokens", tokens, 6);
	gguf_f32s(&build, "tokenizer.ggml.scores", values, 6);
	gguf_i32s(&build, "tokenizer.ggml.token_type", types, 6);
	gguf_u32(&build, "tokenizer.ggml.bos_token_id", 1);
	json = made(&build);
	check_ids(json, "a<|end|> \na<s> a", 0, "5 2 5 1 3 5");
	json_decref(json);
}

static void refuse(struct gguf_build *build, int code, const char *message)
{
	struct cwb_err err = {0};
	json_t *json = NULL;

	assert_int_equal(make(build, &json, &err), code);
	if (!strstr(err.message, message))
		fail_msg("\"%s\", expected \"%s\"", err.message, message);
	assert_null(json);
}

static void test_refusals(void **state)
{
	static const float not_numbers[] = {0, 0, NAN};
	struct gguf_build build = {0};

	(void)state;
	gguf_text(&build, "tokenizer.ggml.model", "llama");
	gguf_strings(&build, "tokenizer.ggml.tokens", pieces, 3);
	refuse(&build, CWP_EMISSING, "test: key tokenizer.ggml.scores is absent");

	gguf_text(&build, "tokenizer.ggml.model", "llama");
	gguf_strings(&build, "tokenizer.ggml.tokens", pieces, 3);
	gguf_f32s(&build, "tokenizer.ggml.scores", scores, 2);
	refuse(&build, CWP_EFORMAT, "test: tokenizer.ggml.scores has 2 entries for 3 tokens");

	gguf_text(&build, "tokenizer.ggml.model", "llama");
	gguf_strings(&build, "tokenizer.ggml.tokens", pieces, 3);
	gguf_f32s(&build, "tokenizer.ggml.scores", not_numbers, 3);
	refuse(&build, CWP_EVALUE, "test: tokenizer.ggml.scores: entry 2 is not a number");

	gguf_text(&build, "tokenizer.ggml.model", "llama");
	gguf_strings(&build, "tokenizer.ggml.tokens", pieces, 3);
	gguf_f32s(&build, "tokenizer.ggml.scores", scores, 3);
	gguf_u32(&build, "tokenizer.ggml.unknown_token_id", 3);
	refuse(&build, CWP_EVALUE, "tokenizer.ggml.unknown_token_id: 3, but there are only 3 tokens");

	gguf_text(&build, "tokenizer.ggml.model", "llama");
	gguf_strings(&build, "tokenizer.ggml.tokens", pieces, 3);
	gguf_i32s(&build, "tokenizer.ggml.scores", piece_types, 3);
	refuse(&build, CWP_EVALUE, "tokenizer.ggml.scores: needs an array of");

	byte_level(&build, "viking");
	refuse(&build, CWP_EUNKNOWN, "tokenizer.ggml.pre: \"viking\" is not read from GGUF files, only smollm, llama-bpe");

	gguf_text(&build, "tokenizer.ggml.model", "t5");
	gguf_strings(&build, "tokenizer.ggml.tokens", pieces, 3);
	refuse(&build, CWP_EUNKNOWN, "tokenizer.ggml.model: \"t5\" is not read from GGUF files, only \"gpt2\" (byte-level BPE) and");
}

/* The length of a context is that of its architecture. */
static void test_context(void **state)
{
	struct gguf_build build = {0};
	struct blob b = {0};
	struct cwb_err err = {0};
	struct cwe_gguf *g;
	json_t *json = NULL;

	(void)state;
	gguf_text(&build, "general.architecture", "qwen2");
	gguf_u32(&build, "qwen2.context_length", 77);
	byte_level(&build, "qwen2");
	gguf_finish(&build, &b);
	gguf_free(&build);
	assert_int_equal(cwe_gguf_adopt(blob_fd(&b), "test", &g, &err), 0);
	blob_free(&b);
	if (cwe_gguf_tokenizer_config(g, &json, &err))
		fail_msg("%s", err.message);
	assert_int_equal(json_integer_value(json_object_get(json, "model_max_length")), 77);
	json_decref(json);
	cwe_gguf_close(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pre),
		cmocka_unit_test(test_sentencepiece),
		cmocka_unit_test(test_phi3),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_context),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
