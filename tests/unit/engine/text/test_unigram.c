/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The model Unigram: the best way, ties, what is unknown, scores, and refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/text/unigram.h"
#include "tests/unit/engine/text/mini.h"

/* A tokenizer of this model alone. */
static json_t *file(const char *model)
{
	json_t *json = mini_json();
	mini_set(json, "pre_tokenizer", "null");
	mini_set(json, "decoder", "null");
	mini_set(json, "added_tokens", "[]");
	mini_set(json, "model", model);
	return json;
}

static void check(const char *model, const char *text, const char *ids)
{
	struct cwe_tokenizer *t = NULL;
	struct cwb_err err = {0};
	if (mini_new(file(model), &t, &err) < 0)
		fail_msg("%s", err.message);
	assert_string_equal(mini_ids(t, text, 0), ids);
	cwe_tokenizer_free(t);
}

#define MODEL(unknown, fallback, vocab)                                                            \
	"{\"type\": \"Unigram\", \"unk_id\": " unknown ", \"byte_fallback\": " fallback            \
	", \"vocab\": [" vocab "]}"
#define SMALL                                                                                      \
	"[\"<unk>\", 0], [\"a\", -1], [\"b\", -1], [\"c\", -1], [\"ab\", -1.5], [\"bc\", -1.5], "  \
	"[\"abc\", -4],"                                                                           \
	"[\"<0xC3>\", -9], [\"<0xA9>\", -9], [\"\u00e8x\", -2]"

static void test_best(void **state)
{
	(void)state;
	check(MODEL("0", "false", SMALL), "", "");
	check(MODEL("0", "false", SMALL), "ab", "4");
	/* a+bc and ab+c are equal: the way whose last token starts first stays. */
	check(MODEL("0", "false", SMALL), "abc", "1 5");
	check(MODEL("0", "false", "[\"<unk>\", 0], [\"a\", -1], [\"b\", -1], [\"ab\", -2.5]"), "ab",
		"1 2");
}

static void test_unknown(void **state)
{
	(void)state;
	check(MODEL("0", "false", SMALL), "axya", "1 0 1");
	check(MODEL("0", "false", SMALL), "x\u00e9", "0");
	/* Bytes only where all are there, of all neighbours together. */
	check(MODEL("0", "true", SMALL), "a\u00e9a", "1 7 8 1");
	check(MODEL("0", "true", SMALL), "\u00e9x", "0");
	/* A token longer than the unknown character covers it. */
	check(MODEL("0", "false", SMALL), "\u00e8x", "9");
	/* The unknown token's own text joins its neighbours. */
	check(MODEL("0", "false", SMALL), "a<unk>xa", "1 0 1");
	check(MODEL("null", "false", SMALL), "ab", "4");
	check(MODEL("null", "false", SMALL), "axb",
		"model.unk_id is null, and \"x\", at byte 1 of a piece of the text, is in no "
		"token");
}

/* The byte alphabet is written out for this model too, also by the last step. */
static void test_bytes(void **state)
{
	(void)state;
	struct cwe_tokenizer *t = NULL;
	struct cwb_err err = {0};
	json_t *json = file(
		MODEL("0", "false", "[\"<unk>\", 0], [\"\u0120a\", -1], [\"\u00c3\u00a9\", -2]"));
	mini_set(json, "pre_tokenizer",
		"{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"use_regex\": false}");
	assert_int_equal(mini_new(json, &t, &err), 0);
	assert_string_equal(mini_ids(t, "a\u00e9", 0), "1 2");
	cwe_tokenizer_free(t);
}

/* Scores as the reference reads them: the second column is not always the nearest number. */
static void test_scores(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		double score;
	} cases[] = {
		{"0", 0},
		{"-0.5", -0.5},
		{"12", 12},
		{"1e2", 100},
		{"1.5E+1", 15},
		{"25e-1", 2.5},
		{"-13.897599220275879", -13.897599220275879},
		{"1.2345678901234567890123e3", 1234.5678901234567},
		{"123456789012345678901234567890", 1.2345678901234568e29},
		{"1e-400", 0},
		{"0e999999999999", 0},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		double score = -1;
		cwe_unigram_score(cases[i].text, strlen(cases[i].text), &score);
		double off = score - cases[i].score;
		if (off > 1e-15 * (score > 0 ? score : -score) ||
			-off > 1e-15 * (score > 0 ? score : -score))
			fail_msg("%s: %.17g, expected %.17g", cases[i].text, score, cases[i].score);
	}
	double score = 0;
	cwe_unigram_score("1e999", 5, &score);
	assert_true(score > 1e308);
	/* Rounded twice: the last bit differs from that of the nearest number. */
	cwe_unigram_score("-1.4078937768936157", 19, &score);
	assert_true(score != -1.4078937768936157);
	assert_true(score - 1e-15 < -1.4078937768936157 && score + 1e-15 > -1.4078937768936157);
}

/* Linear in the text, whatever it holds. */
static void test_long(void **state)
{
	(void)state;
	enum { LENGTH = 300000 };
	struct cwe_tokenizer *t = NULL;
	struct cwe_ids ids;
	char *text = malloc(LENGTH);
	assert_non_null(text);
	assert_int_equal(mini_new(file(MODEL("0", "false", SMALL)), &t, NULL), 0);
	for (size_t i = 0; i < LENGTH; i++)
		text[i] = "ab"[i % 2];
	assert_int_equal(cwe_tokenizer_encode(t, text, LENGTH, 0, &ids, NULL), 0);
	assert_int_equal(ids.count, LENGTH / 2);
	free(ids.id);
	memset(text, 'x', LENGTH);
	assert_int_equal(cwe_tokenizer_encode(t, text, LENGTH, 0, &ids, NULL), 0);
	assert_int_equal(ids.count, 1);
	free(ids.id);
	free(text);
	cwe_tokenizer_free(t);
}

#define TEN "aaaaaaaaaa"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define LONG                                                                                       \
	HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED TEN TEN    \
		"aaaaa"

static void test_refusals(void **state)
{
	(void)state;
	static const struct {
		const char *model;
		int code;
		const char *message;
	} refusals[] = {
		{"{\"type\": \"Unigram\", \"unk_id\": 0}", CWP_EMISSING, "model: has no \"vocab\""},
		{MODEL("0", "false", "3"), CWP_EVALUE,
			"model.vocab[0]: not a pair of a string and a score"},
		{MODEL("0", "false", "[\"a\", 0, 0]"), CWP_EVALUE, "model.vocab[0]: not a pair"},
		{MODEL("0", "false", "[\"a\", 0], [3, 0]"), CWP_EVALUE,
			"model.vocab[1]: not a pair"},
		{MODEL("0", "false", "[\"a\", \"0\"]"), CWP_EVALUE,
			"model.vocab[0]: the score is not a number"},
		{MODEL("0", "false", "[\"a\", 0], [\"a\", 1]"), CWP_EVALUE,
			"model.vocab[1]: token \"a\" is there twice"},
		{MODEL("0", "false", "[\"" LONG "\", 0]"), CWP_ELIMIT,
			"model.vocab[0]: longer than 1024 bytes"},
		{MODEL("1", "false", "[\"a\", 0]"), CWP_EVALUE,
			"model.unk_id: 1, but there are 1 tokens"},
		{MODEL("-1", "false", "[\"a\", 0]"), CWP_EVALUE,
			"model.unk_id: id -1 is not from 0"},
		{MODEL("0.5", "false", "[\"a\", 0]"), CWP_EVALUE,
			"model.unk_id: the id is not an integer"},
		{MODEL("0", "1", "[\"a\", 0]"), CWP_EVALUE,
			"\"byte_fallback\" is neither true nor false"},
	};
	for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
		struct cwe_tokenizer *t = NULL;
		struct cwb_err err = {0};
		int rc = mini_new(file(refusals[i].model), &t, &err);
		if (rc != refusals[i].code || !strstr(err.message, refusals[i].message))
			fail_msg("%s: %d, \"%s\"", refusals[i].model, rc, err.message);
		assert_null(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_best),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_scores),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_refusals),
	};
	return cmocka_run_group_tests_name("unigram", tests, NULL, NULL);
}
