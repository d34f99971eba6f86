/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rendered conversations: text and ids of every line of $CWP_SHARED/golden/chat, with the format
 * that the model's own template shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/text/chat.h"
#include "tests/golden/tokens_file.h"

static void render(
	const struct cwe_chat *chat, const json_t *item, char **ret_text, size_t *ret_length)
{
	struct cwb_err err = {0};
	const json_t *messages = json_object_get(item, "messages");
	struct cwe_message message[32];
	size_t n = json_array_size(messages);
	assert_true(n > 0 && n <= 32);
	for (size_t i = 0; i < n; i++) {
		const json_t *m = json_array_get(messages, i);
		message[i].role = json_string_value(json_object_get(m, "role"));
		message[i].content = json_string_value(json_object_get(m, "content"));
		message[i].length = json_string_length(json_object_get(m, "content"));
	}
	int generation = json_is_true(json_object_get(item, "add_generation_prompt"));
	if (cwe_chat_render(chat, message, n, generation, ret_text, ret_length, &err) < 0)
		fail_msg("%s", err.message);
}

static void check_chat(const char *name, const char *format)
{
	char *template = NULL;
	size_t config_length;
	size_t length;
	size_t at = 0;
	size_t line = 0;
	struct cwe_chat *chat = NULL;
	struct cwb_err err = {0};
	struct cwe_tokenizer *t = load_tokenizer(name, NULL, NULL);
	char *config = read_whole(
		shared_path("tokenizers/%s/tokenizer_config.json", name), &config_length);
	char *lines = read_whole(shared_path("golden/chat/%s.jsonl", name), &length);
	json_t *warnings = json_array();
	if (cwe_chat_template(config, config_length, &template, &err) < 0)
		fail_msg("%s", err.message);
	assert_non_null(template);
	const struct cwe_chat_question question = {NULL, t, template, warnings};
	if (cwe_chat_find(&question, &chat, &err) < 0)
		fail_msg("%s", err.message);
	assert_non_null(chat);
	assert_int_equal(json_array_size(warnings), 0);
	assert_string_equal(cwe_chat_name(chat), format);
	for (json_t *item; (item = next_json(lines, length, &at)) != NULL; json_decref(item)) {
		char *text;
		size_t text_length;
		struct cwe_ids ids;
		const json_t *expected = json_object_get(item, "text");
		line++;
		render(chat, item, &text, &text_length);
		if (text_length != json_string_length(expected) ||
			memcmp(text, json_string_value(expected), text_length) != 0)
			fail_msg("%s:%zu: rendered\n%s\nexpected\n%s", name, line, text,
				json_string_value(expected));
		assert_int_equal(cwe_tokenizer_encode(t, text, text_length, 0, &ids, &err), 0);
		check_ids(name, line, &ids, json_object_get(item, "ids"));
		free(ids.id);
		free(text);
	}
	assert_true(line >= 20);
	json_decref(warnings);
	free(lines);
	free(template);
	free(config);
	cwe_chat_free(chat);
	cwe_tokenizer_free(t);
}

static void test_smollm2(void **state)
{
	(void)state;
	check_chat("smollm2", "smollm2");
}

static void test_llama3_1(void **state)
{
	(void)state;
	check_chat("llama3_1", "llama3");
}

static void test_qwen2_5(void **state)
{
	(void)state;
	check_chat("qwen2_5", "qwen2.5");
}

static void test_gemma3(void **state)
{
	(void)state;
	check_chat("gemma3", "gemma3");
}

static void test_mistral_nemo(void **state)
{
	(void)state;
	check_chat("mistral_nemo", "mistral-nemo");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smollm2),
		cmocka_unit_test(test_llama3_1),
		cmocka_unit_test(test_qwen2_5),
		cmocka_unit_test(test_gemma3),
		cmocka_unit_test(test_mistral_nemo),
	};
	need_file(shared_path("golden/chat/smollm2.jsonl"));
	return cmocka_run_group_tests_name("chat", tests, NULL, NULL);
}
