/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers as metadata of GGUF: what is read back of them, and what GGUF cannot say. */
#include "support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/format/gguf_tokens.h"
#include "engine/format/gguf_writer.h"
#include "engine/format/source.h"

#define MARK "\xE2\x96\x81"
#define BYTES "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": true}"
#define WORDS "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, \"merges\": [\"a b\"]}"
#define SPACES "\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"" MARK "\"}"
#define PIECES \
	"\"model\": {\"type\": \"BPE\", \"byte_fallback\": true, \"fuse_unk\": true, \"unk_token\": \"<unk>\", \"vocab\": {\"<unk>\": 0, " \
	"\"<0x0A>\": 1, \"a\": 2, \"b\": 3, \"ab\": 4, \"" MARK "\": 5, \"" MARK "a\": 6}, \"merges\": [[\"" MARK \
	"\", \"a\"], [\"a\", \"b\"]]}"

/* A folder with these texts (NULL: absent) as a source without weights. */
static struct cwe_source *open_texts(char *folder, const char *tokenizer, const char *config, const char *generation)
{
	struct cwe_source *s = NULL;
	struct cwb_err err = {0};

	if (tokenizer)
		folder_text(folder, "tokenizer.json", tokenizer);
	if (config)
		folder_text(folder, "tokenizer_config.json", config);
	if (generation)
		folder_text(folder, "generation_config.json", generation);
	assert_int_equal(cwe_source_open(folder, CWE_SOURCE_NO_WEIGHTS, &s, &err), 0);
	return s;
}

static int add(struct cwe_source *s, uint64_t size, struct cwe_gguf **ret, struct cwb_err *err)
{
	struct cwe_gguf_keys keys = {0};
	struct cwe_gguf_layout layout = {0};
	struct blob b = {0};
	int rc = cwe_gguf_tokens_add(s, size, &keys, err);

	if (!rc)
		rc = cwe_gguf_layout_make(&keys, NULL, 0, &layout, err);
	if (!rc) {
		blob_add(&b, layout.header, layout.header_bytes);
		rc = cwe_gguf_adopt(blob_fd(&b), "made.gguf", ret, err);
		cwe_gguf_layout_free(&layout);
		blob_free(&b);
	}
	cwe_gguf_keys_free(&keys);
	return rc ? rc : cwe_gguf_tokens_check(s, *ret, err);
}

static struct cwe_gguf *made(struct cwe_source *s, uint64_t size)
{
	struct cwe_gguf *g = NULL;
	struct cwb_err err = {0};

	if (add(s, size, &g, &err))
		fail_msg("%s", err.message);
	return g;
}

static void check_text(const struct cwe_gguf *g, const char *key, const char *wanted)
{
	const char *found = NULL;

	assert_int_equal(cwe_gguf_get_string(g, key, &found, NULL), 1);
	assert_string_equal(found, wanted);
}

static void check_id(const struct cwe_gguf *g, const char *key, uint64_t wanted)
{
	uint64_t found = 0;

	assert_int_equal(cwe_gguf_get_u64(g, key, 0, 1000, &found, NULL), 1);
	assert_int_equal(found, wanted);
}

static void check_flag(const struct cwe_gguf *g, const char *key, int wanted)
{
	int found = -1;

	assert_int_equal(cwe_gguf_get_bool(g, key, &found, NULL), 1);
	assert_int_equal(found, wanted);
}

static const char *token(const struct cwe_gguf *g, uint64_t i)
{
	const struct cwe_gguf_value *v = cwe_gguf_value(g, "tokenizer.ggml.tokens");

	return (const char *)v->data + v->starts[i];
}

static int32_t type(const struct cwe_gguf *g, uint64_t i)
{
	int32_t x;

	memcpy(&x, cwe_gguf_value(g, "tokenizer.ggml.token_type")->data + 4 * i, 4);
	return x;
}

static void test_bytes(void **state)
{
	char *folder = folder_make();
	struct cwe_source *s = open_texts(folder, "{" BYTES ", " WORDS ", \"added_tokens\": [{\"id\": 4, \"content\": \"<s>\", \"special\": "
		"true}, {\"id\": 5, \"content\": \"<x>\", \"special\": false}], \"post_processor\": {\"type\": \"TemplateProcessing\", "
		"\"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}, {\"Sequence\": {\"id\": \"A\"}}]}}",
		"{\"model_max_length\": 1000000000000000019884624838656, \"eos_token\": {\"content\": \"<x>\"}, \"pad_token\": null, "
		"\"chat_template\": [{\"name\": \"tools\", \"template\": \"t\"}, {\"name\": \"default\", \"template\": \"d\"}]}",
		"{\"eos_token_id\": [5, 2]}");
	struct cwe_gguf *g = made(s, 7);
	json_t *json = NULL;

	(void)state;
	check_text(g, "tokenizer.ggml.model", "gpt2");
	check_text(g, "tokenizer.ggml.pre", "gpt-2");
	check_text(g, "tokenizer.chat_template", "d");
	check_id(g, "tokenizer.ggml.bos_token_id", 4);
	check_id(g, "tokenizer.ggml.eos_token_id", 5);
	check_id(g, "tokenizer.ggml.eot_token_id", 2);
	assert_null(cwe_gguf_value(g, "tokenizer.ggml.padding_token_id"));
	check_flag(g, "tokenizer.ggml.add_bos_token", 1);
	check_flag(g, "tokenizer.ggml.add_eos_token", 0);
	assert_string_equal(token(g, 2), "ab");
	assert_string_equal(token(g, 3), "[PAD3]");
	assert_int_equal(type(g, 2), 1);
	assert_int_equal(type(g, 3), 5);
	assert_int_equal(type(g, 4), 3);
	assert_int_equal(type(g, 5), 4);
	assert_int_equal(cwe_gguf_tokenizer(g, &json, NULL), 0);
	assert_int_equal(json_array_size(json_object_get(json, "added_tokens")), 2);
	json_decref(json);
	cwe_gguf_close(g);
	cwe_source_close(s);
	folder_text(folder, "chat_template.jinja", "j");
	s = open_texts(folder, NULL, NULL, NULL);
	g = made(s, 7);
	check_text(g, "tokenizer.chat_template", "j");
	cwe_gguf_close(g);
	cwe_source_close(s);
	folder_remove(folder);
}

static void test_pieces(void **state)
{
	char *folder = folder_make();
	struct cwe_source *s = open_texts(folder, "{" SPACES ", " PIECES "}", NULL, NULL);
	struct cwe_gguf *g = made(s, 7);
	float scores[7];

	(void)state;
	check_text(g, "tokenizer.ggml.model", "llama");
	check_flag(g, "tokenizer.ggml.add_space_prefix", 0);
	check_flag(g, "tokenizer.ggml.add_bos_token", 0);
	check_id(g, "tokenizer.ggml.unknown_token_id", 0);
	assert_int_equal(type(g, 0), 2);
	assert_int_equal(type(g, 1), 6);
	memcpy(scores, cwe_gguf_value(g, "tokenizer.ggml.scores")->data, sizeof scores);
	assert_true(scores[6] > scores[4] && scores[4] > scores[2]);
	cwe_gguf_close(g);
	cwe_source_close(s);
	folder_remove(folder);
}

/* Runs whose merges go through each other have one score, and are tokens of users, with spaces for marks. */
static void test_runs(void **state)
{
	char *folder = folder_make();
	struct cwe_source *s = open_texts(folder, "{" SPACES ", \"model\": {\"type\": \"BPE\", \"byte_fallback\": true, \"unk_token\": "
		"\"<unk>\", \"vocab\": {\"<unk>\": 0, \"" MARK "\": 1, \"" MARK MARK "\": 2, \"" MARK MARK MARK "\": 3, \"a\": 4, \"b\": 5, "
		"\"ab\": 6, \"\\n\": 7, \"\\n\\n\": 8, \"\\n\\n\\n\": 9}, \"merges\": [[\"" MARK MARK "\", \"" MARK "\"], [\"\\n\\n\", \"\\n\"], "
		"[\"" MARK "\", \"" MARK MARK "\"], [\"\\n\", \"\\n\\n\"], [\"" MARK "\", \"" MARK "\"], [\"\\n\", \"\\n\"], [\"a\", "
		"\"b\"]]}}", NULL, NULL);
	struct cwe_gguf *g = NULL;
	struct cwb_err err = {0};
	float scores[10];

	(void)state;
	if (add(s, 10, &g, &err))
		fail_msg("%s", err.message);
	memcpy(scores, cwe_gguf_value(g, "tokenizer.ggml.scores")->data, sizeof scores);
	assert_true(scores[3] == scores[9] && scores[6] < scores[3]);
	assert_string_equal(token(g, 3), "   ");
	assert_string_equal(token(g, 9), "\n\n\n");
	assert_int_equal(type(g, 3), 4);
	assert_int_equal(type(g, 9), 4);
	assert_int_equal(type(g, 6), 1);
	cwe_gguf_close(g);
	cwe_source_close(s);
	folder_remove(folder);
}

/* A model without a tokenizer says so. */
static void test_none(void **state)
{
	char *folder = folder_make();
	struct cwe_source *s;
	struct cwe_gguf *g;
	json_t *json = NULL;

	(void)state;
	folder_text(folder, "tokenizer_config.json", "{}");
	s = open_texts(folder, NULL, NULL, NULL);
	g = made(s, 7);
	check_text(g, "tokenizer.ggml.model", "none");
	assert_int_equal(cwe_gguf_tokenizer(g, &json, NULL), CWP_EMISSING);
	cwe_gguf_close(g);
	cwe_source_close(s);
	folder_remove(folder);
}

static void test_refused(void **state)
{
	static const struct {
		const char *tokenizer, *part;
		int code;
	} cases[] = {
		{"{\"model\": {\"type\": \"Unigram\"}}", "model (Unigram)", CWP_EVALUE},
		{"{\"model\": {\"type\": \"BPE\", \"dropout\": 0.1}}", "dropout", CWP_EVALUE},
		{"{\"model\": {\"type\": \"BPE\", \"end_of_word_suffix\": \"</w>\"}}", "marks of words", CWP_EVALUE},
		{"{" WORDS "}", "byte_fallback", CWP_EVALUE},
		{"{" BYTES ", \"model\": {\"type\": \"BPE\", \"vocab\": {}}}", "no merges", CWP_EFORMAT},
		{"{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true}, " WORDS "}", "pre_tokenizer (ByteLevel)", CWP_EVALUE},
		{"{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"ByteLevel\"}, {\"type\": \"Punctuation\"}]}, " WORDS
			"}", "behind ByteLevel", CWP_EVALUE},
		{"{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"x+\"}, "
			"\"behavior\": \"Isolated\"}, {\"type\": \"ByteLevel\", \"use_regex\": false}]}, " WORDS "}", "pre_tokenizer (x+)",
			CWP_EVALUE},
		{"{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Whitespace\"}, {\"type\": \"ByteLevel\"}]}, " WORDS
			"}", "pre_tokenizer (Whitespace)", CWP_EVALUE},
		{"{" BYTES ", \"normalizer\": {\"type\": \"Lowercase\"}, " WORDS "}", "normalizer (Lowercase)", CWP_EVALUE},
		{"{" BYTES ", \"normalizer\": {\"type\": \"NFC\"}, " WORDS "}", "pre_tokenizer", CWP_EVALUE},
		{"{" BYTES ", \"post_processor\": {\"type\": \"BertProcessing\"}, " WORDS "}", "post_processor (BertProcessing)", CWP_EVALUE},
		{"{" BYTES ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"a\"}}, "
			"{\"SpecialToken\": {\"id\": \"b\"}}, {\"Sequence\": {\"id\": \"A\"}}]}, " WORDS "}", "more than one token", CWP_EVALUE},
		{"{" BYTES ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": []}, " WORDS "}", "without a text", CWP_EVALUE},
		{"{" BYTES ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}, "
			"{\"Sequence\": {\"id\": \"A\"}}]}, " WORDS "}", "is no token", CWP_EFORMAT},
		{"{" BYTES ", \"added_tokens\": [{\"id\": 9, \"content\": \"z\"}], " WORDS "}", "embeddings of 7", CWP_EVALUE},
		{"{" BYTES ", \"added_tokens\": [{\"id\": 2, \"content\": \"z\"}], " WORDS "}", "same number", CWP_EFORMAT},
		{"{" BYTES ", \"added_tokens\": [{\"content\": \"z\"}], " WORDS "}", "has no number", CWP_EFORMAT},
		{"{" BYTES ", \"model\": {\"vocab\": {\"a\": 0}, \"merges\": [[\"a\"]]}}", "merge 0 is no pair", CWP_EFORMAT},
		{"{" SPACES ", \"model\": {\"byte_fallback\": true, \"vocab\": {\"a\": 0}, \"merges\": [\"a a\"]}}", "merge 0 makes no token",
			CWP_EFORMAT},
		{"{\"normalizer\": {\"type\": \"NFKC\"}, " PIECES "}", "normalizer (NFKC)", CWP_EVALUE},
		{"{" PIECES "}", "no Replace of spaces", CWP_EVALUE},
		{"{" SPACES ", \"pre_tokenizer\": {\"type\": \"Digits\"}, " PIECES "}", "pre_tokenizer (Digits)", CWP_EVALUE},
		{"{" SPACES ", \"model\": {\"byte_fallback\": true, \"vocab\": {\"a\": 0, \"b\": 1, \"c\": 2, \"ab\": 3, \"abc\": 4, \"bc\": 5}, "
			"\"merges\": [\"a b\", \"ab c\", \"b c\"]}}", "no scores give the merges", CWP_EVALUE},
		{"{", "tokenizer.json", CWP_EFORMAT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *folder = folder_make();
		struct cwe_source *s = open_texts(folder, cases[i].tokenizer, NULL, NULL);
		struct cwe_gguf *g = NULL;
		struct cwb_err err = {0};

		assert_refused(add(s, 7, &g, &err), &err, cases[i].code, cases[i].part);
		cwe_gguf_close(g);
		cwe_source_close(s);
		folder_remove(folder);
	}
}

/* Names that no tensor may have, shapes without a size. */
static void test_layout(void **state)
{
	char name[80];
	struct cwe_gguf_plan plan = {.name = name, .type = CWE_GGUF_TYPE_Q4_0, .rank = 2, .dims = {48, 2}};
	struct cwe_gguf_keys keys = {0};
	struct cwe_gguf_layout layout;
	struct cwb_err err = {0};

	(void)state;
	memset(name, 'x', sizeof name);
	name[64] = 0;
	assert_refused(cwe_gguf_layout_make(&keys, &plan, 1, &layout, &err), &err, CWP_ELIMIT, "at most 63 bytes");
	name[63] = 0;
	cwb_err_clear(&err);
	assert_refused(cwe_gguf_layout_make(&keys, &plan, 1, &layout, &err), &err, CWP_ESHAPE, "no whole number of blocks");
	plan.dims[0] = (uint64_t)1 << 62;
	plan.dims[1] = 64;
	cwb_err_clear(&err);
	assert_refused(cwe_gguf_layout_make(&keys, &plan, 1, &layout, &err), &err, CWP_ESHAPE, "no size");
	plan.dims[0] = 64;
	assert_int_equal(cwe_gguf_layout_make(&keys, &plan, 1, &layout, &err), 0);
	assert_int_equal(layout.bytes[0], 64 * 36);
	assert_int_equal(layout.offset[0] % 32, 0);
	cwe_gguf_layout_free(&layout);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_layout),
	};

	return cmocka_run_group_tests_name("gguf tokenizers, written", tests, NULL, NULL);
}
