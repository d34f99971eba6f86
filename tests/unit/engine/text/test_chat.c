/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Chat formats: which one is found, default system messages, trimming, refusals; and that the
 * built-in table is conf/chat. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "engine/text/chat_table.h"
#include "tests/unit/engine/text/mini.h"

static struct cwe_tokenizer *make(void)
{
	struct cwe_tokenizer *t = NULL;
	struct cwb_err err = {0};
	if (mini_new(mini_json(), &t, &err) < 0)
		fail_msg("%s", err.message);
	return t;
}

static struct cwe_chat *find(const struct cwe_tokenizer *t, const char *config)
{
	struct cwe_chat *chat = NULL;
	struct cwb_err err = {0};
	if (cwe_chat_find(t, config, config ? strlen(config) : 0, &chat, &err) < 0)
		fail_msg("%s", err.message);
	return chat;
}

/* Makes a tokenizer with llama3's tokens, or with those and ChatML's. */
static struct cwe_tokenizer *make_llama3(int both)
{
	static const char *const tokens[] = {
		"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"};
	struct cwe_tokenizer *t = NULL;
	struct cwb_err err = {0};
	json_t *json = mini_json();
	if (!both)
		json_array_clear(json_object_get(json, "added_tokens"));
	json_t *vocab = json_object_get(json_object_get(json, "model"), "vocab");
	if (!both) {
		json_object_del(vocab, "<|im_start|>");
		json_object_del(vocab, "<|im_end|>");
	}
	for (int i = 0; i < 4; i++)
		json_object_set_new(vocab, tokens[i], json_integer(300 + i));
	if (mini_new(json, &t, &err) < 0)
		fail_msg("%s", err.message);
	return t;
}

static void render(const struct cwe_chat *chat, const char *role, const char *content,
	int generation, const char *expected)
{
	const struct cwe_message message = {role, content, strlen(content)};
	struct cwb_err err = {0};
	char *text;
	size_t length;
	assert_int_equal(cwe_chat_render(chat, &message, 1, generation, &text, &length, &err), 0);
	assert_string_equal(text, expected);
	assert_int_equal(length, strlen(expected));
	free(text);
}

static void test_chatml(void **state)
{
	(void)state;
	struct cwe_tokenizer *t = make();
	struct cwe_chat *chat = find(t, NULL);
	assert_non_null(chat);
	assert_string_equal(cwe_chat_name(chat), "chatml");
	render(chat, "user", " Hi ", 1,
		"<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\n");
	cwe_chat_free(chat);
	/* The default system message is the one that the model's template names, and only then. */
	chat = find(t, "{\"chat_template\": \"<|im_start|>system\\\\nYou are Qwen, created by "
		       "Alibaba Cloud. You are a helpful "
		       "assistant.\", \"model_max_length\": 1000000000000000019884624838656}");
	render(chat, "user", "Hi", 0,
		"<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
		"assistant.<|im_end|>\n"
		"<|im_start|>user\nHi<|im_end|>\n");
	render(chat, "system", "Be brief.", 0, "<|im_start|>system\nBe brief.<|im_end|>\n");
	cwe_chat_free(chat);
	chat = find(t, "{\"chat_template\": [{\"name\": \"default\", \"template\": \"<|im_start|> "
		       "no system text\"}]}");
	render(chat, "user", "Hi", 0, "<|im_start|>user\nHi<|im_end|>\n");
	cwe_chat_free(chat);
	cwe_tokenizer_free(t);
}

static void test_llama3(void **state)
{
	(void)state;
	struct cwe_tokenizer *t = make_llama3(0);
	struct cwe_chat *chat = find(t, "{}");
	assert_string_equal(cwe_chat_name(chat), "llama3");
	render(chat, "user", "\n\xC2\xA0Hi \x1C", 1,
		"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
		"<|start_header_id|>assistant<|end_header_id|>\n\n");
	cwe_chat_free(chat);
	cwe_tokenizer_free(t);
}

/* A vocabulary with the tokens of both: the model's own template decides. */
static void test_both(void **state)
{
	(void)state;
	struct cwe_tokenizer *t = make_llama3(1);
	struct cwe_chat *chat = find(t, "{\"chat_template\": \"<|start_header_id|>\"}");
	assert_string_equal(cwe_chat_name(chat), "llama3");
	cwe_chat_free(chat);
	chat = find(t, "{\"chat_template\": \"<|im_start|>\"}");
	assert_string_equal(cwe_chat_name(chat), "chatml");
	cwe_chat_free(chat);
	assert_null(find(t, "{\"chat_template\": \"[INST]\"}"));
	cwe_tokenizer_free(t);
}

static void test_none(void **state)
{
	(void)state;
	struct cwe_tokenizer *t = NULL;
	struct cwb_err err = {0};
	json_t *json = mini_json();
	mini_set(json, "added_tokens", "[]");
	mini_set(json, "model.vocab.<|im_end|>", NULL);
	assert_int_equal(mini_new(json, &t, &err), 0);
	assert_null(find(t, NULL));
	cwe_tokenizer_free(t);
}

static void test_refusals(void **state)
{
	(void)state;
	struct cwe_tokenizer *t = make();
	struct cwe_chat *chat = find(t, NULL);
	const struct cwe_message message[] = {{"user", "Hi", 2}, {"tool", "7", 1}};
	struct cwb_err err = {0};
	char *text;
	size_t length;
	assert_int_equal(cwe_chat_render(chat, message, 2, 1, &text, &length, &err), CWP_EUNKNOWN);
	assert_string_equal(
		err.message, "message 2: role \"tool\" is neither system, user nor assistant");
	cwb_err_clear(&err);
	assert_int_equal(cwe_chat_render(chat, message, 0, 1, &text, &length, &err), CWP_EMISSING);
	cwe_chat_free(chat);
	cwb_err_clear(&err);
	assert_int_equal(cwe_chat_find(t, "{", 1, &chat, &err), CWP_EFORMAT);
	assert_non_null(strstr(err.message, "tokenizer_config.json"));
	cwb_err_clear(&err);
	assert_int_equal(cwe_chat_find(t, "[]", 2, &chat, &err), CWP_EVALUE);
	cwe_tokenizer_free(t);
}

static void test_table(void **state)
{
	(void)state;
	static const char *const names[] = {"chatml", "llama3"};
	const char *source = getenv("CWP_SRCDIR");
	if (!source)
		skip();
	for (size_t i = 0; i < 2; i++) {
		char path[4096];
		char *text;
		size_t length;
		struct cwb_err err = {0};
		snprintf(path, sizeof(path), "%s/conf/chat/%s.json", source, names[i]);
		assert_int_equal(cwb_file_read(path, 65536, &text, &length, &err), 0);
		assert_non_null(cwe_chat_table[i]);
		assert_string_equal(text, cwe_chat_table[i]);
		free(text);
	}
	assert_null(cwe_chat_table[2]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chatml),
		cmocka_unit_test(test_llama3),
		cmocka_unit_test(test_both),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_table),
	};
	return cmocka_run_group_tests_name("chat", tests, NULL, NULL);
}
