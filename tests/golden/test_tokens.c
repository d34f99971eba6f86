/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Token ids of the reference tokenizers: every line of $CWP_SHARED/golden/tokens, and the way back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/golden/tokens_file.h"

/* Decoding without leaving special tokens out gives the text again, as the byte alphabet loses
 * nothing; but the template adds its own. */
static void check_back(const struct cwe_tokenizer *t, const char *name, size_t line,
	const json_t *text, const struct cwe_ids *ids)
{
	struct cwb_err err = {0};
	char *back;
	size_t length;
	const uint32_t *prefix;
	size_t skip = cwe_tokenizer_prefix(t, &prefix);
	if (skip > ids->count || memcmp(prefix, ids->id, skip * sizeof(*prefix)) != 0)
		skip = 0;
	assert_int_equal(
		cwe_tokenizer_decode(t, ids->id + skip, ids->count - skip, 0, &back, &length, &err),
		0);
	if (length != json_string_length(text) ||
		memcmp(back, json_string_value(text), length) != 0)
		fail_msg("%s:%zu: decoded text differs: %s", name, line, back);
	assert_int_equal(back[length], 0);
	free(back);
}

/* A megabyte without a space: nothing that is done to it takes the square of its length. */
static void check_long(const struct cwe_tokenizer *t, const char *name)
{
	enum { PART = 250000 };
	static const char *const units[] = {"a", "\xE4\xB8\xAD", "\xCC\x81\xCC\xA3", "7'"};
	struct cwb_err err = {0};
	struct cwe_ids ids;
	size_t length = 0;
	uint32_t random = 1;
	char *text = malloc(5 * PART);
	assert_non_null(text);
	for (size_t i = 0; i < 4; i++) {
		size_t n = strlen(units[i]);
		for (size_t end = length + PART - n; length < end; length += n)
			memcpy(text + length, units[i], n);
	}
	for (size_t end = length + PART; length < end; random = random * 1664525 + 1013904223)
		text[length++] = (char)('a' + (random >> 16) % 26);
	if (cwe_tokenizer_encode(t, text, length, 0, &ids, &err) < 0)
		fail_msg("%s: %s", name, err.message);
	assert_true(ids.count > 50000 && ids.count <= length);
	free(ids.id);
	free(text);
}

static void check_tokenizer(const char *name, int round_trip)
{
	size_t length;
	size_t at = 0;
	size_t line = 0;
	struct cwb_err err = {0};
	struct cwe_tokenizer *t = load_tokenizer(name, NULL, NULL);
	char *lines = read_whole(shared_path("golden/tokens/%s.jsonl", name), &length);
	for (json_t *item; (item = next_json(lines, length, &at)) != NULL; json_decref(item)) {
		struct cwe_ids ids;
		const json_t *text = json_object_get(item, "text");
		line++;
		if (cwe_tokenizer_encode(t, json_string_value(text), json_string_length(text),
			    json_is_true(json_object_get(item, "add_special_tokens")), &ids,
			    &err) < 0)
			fail_msg("%s:%zu: %s", name, line, err.message);
		check_ids(name, line, &ids, json_object_get(item, "ids"));
		if (round_trip)
			check_back(t, name, line, text, &ids);
		free(ids.id);
	}
	assert_true(line > 300);
	check_long(t, name);
	free(lines);
	cwe_tokenizer_free(t);
}

/* name, and whether decoding gives the text again: SmolLM2's vocabulary lacks bytes, NFC changes the text, and the
 * decoders of the others take spaces for U+2581. */
#define TOKENIZER(name, round_trip)                                                                \
	static void test_##name(void **state)                                                      \
	{                                                                                          \
		(void)state;                                                                       \
		check_tokenizer(#name, round_trip);                                                \
	}

TOKENIZER(gemma, 0)
TOKENIZER(gemma3, 0)
TOKENIZER(llama2, 0)
TOKENIZER(llama3_1, 1)
TOKENIZER(mistral_nemo, 1)
TOKENIZER(qwen2_5, 0)
TOKENIZER(smollm2, 0)

/* What the vocabularies say of themselves. */
static void test_names(void **state)
{
	(void)state;
	struct cwe_tokenizer *t = load_tokenizer("llama3_1", NULL, NULL);
	const uint32_t *prefix;
	assert_int_equal(cwe_tokenizer_bos(t), 128000);
	assert_int_equal(cwe_tokenizer_eos(t), 128009);
	assert_int_equal(cwe_tokenizer_size(t), 128256);
	assert_int_equal(cwe_tokenizer_id(t, "<|eot_id|>"), 128009);
	assert_int_equal(cwe_tokenizer_id(t, "no such token"), -1);
	assert_int_equal(cwe_tokenizer_prefix(t, &prefix), 1);
	assert_int_equal(prefix[0], 128000);
	cwe_tokenizer_free(t);
	t = load_tokenizer("smollm2", NULL, NULL);
	assert_int_equal(cwe_tokenizer_bos(t), 1);
	assert_int_equal(cwe_tokenizer_eos(t), 2);
	assert_int_equal(cwe_tokenizer_size(t), 49152);
	assert_int_equal(cwe_tokenizer_prefix(t, &prefix), 0);
	cwe_tokenizer_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gemma),
		cmocka_unit_test(test_gemma3),
		cmocka_unit_test(test_llama2),
		cmocka_unit_test(test_llama3_1),
		cmocka_unit_test(test_mistral_nemo),
		cmocka_unit_test(test_qwen2_5),
		cmocka_unit_test(test_smollm2),
		cmocka_unit_test(test_names),
	};
	need_file(shared_path("golden/tokens/smollm2.jsonl"));
	return cmocka_run_group_tests_name("tokens", tests, NULL, NULL);
}
