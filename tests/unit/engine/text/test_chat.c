/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rendering of conversations: what each key of a format does, prompts with their answers, and every
 * refusal; and that the built-in table is conf/chat. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "engine/text/chat_format.h"
#include "engine/text/chat_table.h"

#define MOST 8

/* Single quotes stand for double ones. */
static struct cwe_chat *load(const char *format)
{
	struct cwe_chat *chat = NULL;
	struct cwb_err err = {0};
	char text[2048];
	snprintf(text, sizeof(text), "%s", format);
	for (char *p = text; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	if (cwe_chat_load(text, strlen(text), "test", &chat, &err) < 0)
		fail_msg("%s", err.message);
	return chat;
}

static struct cwe_chat *named(const char *name)
{
	struct cwe_chat *chat = NULL;
	struct cwb_err err = {0};
	const struct cwe_chat_question question = {name, NULL, NULL, NULL};
	if (cwe_chat_find(&question, &chat, &err) < 0)
		fail_msg("%s", err.message);
	assert_string_equal(cwe_chat_name(chat), name);
	return chat;
}

/* "user:Hi|assistant:Hello" as messages; text must stay. */
static size_t split(char *text, struct cwe_message *ret)
{
	size_t n = 0;
	while (text) {
		char *next = strchr(text, '|');
		if (next)
			*next++ = '\0';
		char *content = strchr(text, ':');
		assert_non_null(content);
		*content++ = '\0';
		assert_true(n < MOST);
		ret[n++] = (struct cwe_message){text, content, strlen(content)};
		text = next;
	}
	return n;
}

static void render(
	const struct cwe_chat *chat, const char *messages, int generation, const char *expected)
{
	struct cwe_message message[MOST];
	struct cwb_err err = {0};
	char copy[512];
	char *text;
	size_t length;
	snprintf(copy, sizeof(copy), "%s", messages);
	size_t n = split(copy, message);
	if (cwe_chat_render(chat, message, n, generation, &text, &length, &err) < 0)
		fail_msg("%s", err.message);
	assert_string_equal(text, expected);
	assert_int_equal(length, strlen(expected));
	free(text);
}

static void refuse(const struct cwe_chat *chat, const char *messages, int code, const char *words)
{
	struct cwe_message message[MOST];
	struct cwb_err err = {0};
	char copy[512];
	char *text = NULL;
	size_t length;
	snprintf(copy, sizeof(copy), "%s", messages);
	size_t n = split(copy, message);
	assert_int_equal(cwe_chat_render(chat, message, n, 1, &text, &length, &err), code);
	assert_null(text);
	if (!strstr(err.message, words))
		fail_msg("\"%s\" is not in: %s", words, err.message);
}

static void test_messages(void **state)
{
	(void)state;
	struct cwe_chat *chat = named("chatml");
	render(chat, "user: Hi ", 1, "<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\n");
	render(chat, "assistant:A|system:B", 0,
		"<|im_start|>assistant\nA<|im_end|>\n<|im_start|>system\nB<|im_end|>\n");
	cwe_chat_free(chat);
	chat = named("qwen2.5");
	render(chat, "user:Hi", 0,
		"<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
		"assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n");
	render(chat, "system:|user:Hi", 0,
		"<|im_start|>system\n<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n");
	cwe_chat_free(chat);
	chat = named("llama3");
	render(chat, "user:\n\xC2\xA0Hi \x1C", 1,
		"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
		"<|start_header_id|>assistant<|end_header_id|>\n\n");
	cwe_chat_free(chat);
}

/* lead stands in the first system message alone, which is there even without a text. */
static void test_lead(void **state)
{
	(void)state;
	struct cwe_chat *chat = load(
		"{'name': 'x', 'system': {'place': 'message', 'prefix': '[', 'suffix': ']', "
		"'lead': 'L:', 'default': 'd', 'trim': 'content'}, 'user': {}, 'assistant': {}, "
		"'generation': '', 'turns': 'any'}");
	render(chat, "user:U", 0, "[L:d]U");
	render(chat, "system: s |user:U|system:t", 0, "[L:s]U[t]");
	render(chat, "user:U|system:t", 0, "[L:d]U[t]");
	cwe_chat_free(chat);
}

static void test_skip_empty(void **state)
{
	(void)state;
	struct cwe_chat *chat = named("phi3.5");
	render(chat, "system:|user:U", 0, "<|user|>\nU<|end|>\n<|endoftext|>");
	render(chat, "system:S|user:U", 1,
		"<|system|>\nS<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\n");
	cwe_chat_free(chat);
	chat = named("phi3");
	render(chat, "system:|user:U", 1,
		"<|system|>\n<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\n");
	cwe_chat_free(chat);
}

static void test_folded(void **state)
{
	(void)state;
	struct cwe_chat *chat = named("gemma3");
	render(chat, "system: S |user: U |assistant: A |user:V", 1,
		"<bos><start_of_turn>user\n S "
		"\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>"
		"\n<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n");
	cwe_chat_free(chat);
	chat = named("mistral-nemo");
	render(chat, "system:S|user:U|assistant:A|user:V", 1,
		"<s>[INST]U[/INST]A</s>[INST]S\n\nV[/INST]");
	/* As the model's template has it: nowhere else than in a last message of a user. */
	render(chat, "system:S|user:U|assistant:A", 0, "<s>[INST]U[/INST]A</s>");
	cwe_chat_free(chat);
	chat = named("llama2");
	render(chat, "system: S |user: U |assistant: A |user: V ", 1,
		"<s>[INST] <<SYS>>\n S \n<</SYS>>\n\n U [/INST] A </s><s>[INST] V [/INST]");
	/* White space is dropped around both together. */
	render(chat, "system:S|user: ", 0, "<s>[INST] <<SYS>>\nS\n<</SYS>> [/INST]");
	cwe_chat_free(chat);
	chat = load(
		"{'name': 'x', 'system': {'place': 'first-user', 'suffix': '/', 'default': 'd'}, "
		"'user': {}, 'assistant': {}, 'generation': '', 'turns': 'any'}");
	render(chat, "user:U|user:V", 0, "d/UV");
	render(chat, "assistant:A|user:V", 0, "Ad/V");
	cwe_chat_free(chat);
}

static void test_last(void **state)
{
	(void)state;
	struct cwe_chat *chat = named("olmo2");
	render(chat, "user:U|assistant:A|user:V|assistant:B", 0,
		"<|endoftext|><|user|>\nU\n<|assistant|>\nA<|endoftext|>\n<|user|>\nV\n"
		"<|assistant|>\nB<|endoftext|>");
	render(chat, "user:U", 1, "<|endoftext|><|user|>\nU\n<|assistant|>\n");
	cwe_chat_free(chat);
}

static void test_reasoning(void **state)
{
	(void)state;
	struct cwe_chat *chat = load(
		"{'name': 'x', 'system': {'place': 'message'}, 'user': {}, 'assistant': {'prefix': "
		"'>'}, 'reasoning': {'open': '<t>', 'close': '</t>', 'before': '{', 'after': '}'}, "
		"'generation': '>{}', 'turns': 'any'}");
	render(chat, "user:U", 1, "U>{}");
	render(chat, "user:U|assistant:A", 0, "U>{}A");
	/* Reasoning is kept behind the last user's message alone. */
	render(chat, "user:U|assistant:<t>\nr\n</t>\n\nA", 0, "U>{r}A");
	render(chat, "user:U|assistant:<t>r</t>\nA|user:V", 0, "U>AV");
	render(chat, "user:U|assistant:<t>r</t>A|assistant:B", 0, "U>{r}A>{}B");
	render(chat, "user:U|assistant:A|assistant:B", 0, "U>A>{}B");
	/* Torn marks: from the last open to the first close; the content behind the last close. */
	render(chat, "user:U|assistant:x<t>y<t>z</t>p</t>q", 0, "U>{z}q");
	render(chat, "user:U|assistant:A<t>", 0, "U>{}A<t>");
	/* Nobody asked. */
	render(chat, "assistant:<t>r</t>A", 0, ">A");
	cwe_chat_free(chat);
}

static void exchange(const struct cwe_chat *chat, const char *prompt, const char *answer,
	const char *context, const char *rest)
{
	const struct cwe_message pair[2] = {
		{"user", prompt, strlen(prompt)}, {"assistant", answer, strlen(answer)}};
	struct cwb_err err = {0};
	char *text;
	size_t length;
	size_t first;
	if (cwe_chat_exchange(chat, pair, &text, &length, &first, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(first, strlen(context));
	assert_memory_equal(text, context, first);
	assert_string_equal(text + first, rest);
	assert_int_equal(length, strlen(text));
	free(text);
}

/* The answer is what a model would write behind the generation prompt, without what ends it. */
static void test_exchange(void **state)
{
	(void)state;
	static const struct {
		const char *name, *context, *rest;
	} cases[] = {
		{"chatml", "<|im_start|>user\n U <|im_end|>\n<|im_start|>assistant\n", " A "},
		{"llama2", "<s>[INST] U [/INST]", " A"},
		{"mistral-v1", "<s> [INST]  U  [/INST]", "  A "},
		{"mistral-v3", "<s>[INST]  U [/INST]", " A"},
		{"mistral-nemo", "<s>[INST] U [/INST]", " A "},
		{"gemma3", "<bos><start_of_turn>user\nU<end_of_turn>\n<start_of_turn>model\n", "A"},
		{"qwen3",
			"<|im_start|>user\n U <|im_end|>\n<|im_start|>assistant\n<think>\n\n"
			"</think>\n\n",
			" A "},
		{"olmo2", "<|endoftext|><|user|>\n U \n<|assistant|>\n", " A "},
		{"phi3", "<|user|>\n U <|end|>\n<|assistant|>\n", " A "},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct cwe_chat *chat = named(cases[i].name);
		exchange(chat, " U ", " A ", cases[i].context, cases[i].rest);
		cwe_chat_free(chat);
	}
	/* An answer with reasoning begins where the prompt would have none. */
	struct cwe_chat *chat = named("qwen3");
	exchange(chat, "U", "<think>\nr\n</think>\n\nA",
		"<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n<think>\n",
		"r\n</think>\n\nA");
	cwe_chat_free(chat);
	/* The border never lies within a character. */
	chat = load("{'name': 'x', 'system': {'place': 'message'}, 'user': {}, 'assistant': {}, "
		    "'reasoning': {'open': '<', 'close': '>', 'before': '', 'after': '\xC3\xA9'}, "
		    "'generation': '\xC3\xA9', 'turns': 'any'}");
	exchange(chat, "U", "<\xC3\xA8>A", "U",
		"\xC3\xA8\xC3\xA9"
		"A");
	cwe_chat_free(chat);
}

static void test_refusals(void **state)
{
	(void)state;
	struct cwe_chat *chat = named("chatml");
	refuse(chat, "user:Hi|tool:7", CWP_EUNKNOWN,
		"message 2: role \"tool\" is neither system, user nor assistant");
	refuse(chat, "User:Hi", CWP_EUNKNOWN, "role \"User\"");
	struct cwb_err err = {0};
	const struct cwe_message none = {"user", "", 0};
	char *text;
	size_t length;
	assert_int_equal(cwe_chat_render(chat, &none, 0, 1, &text, &length, &err), CWP_EMISSING);
	cwe_chat_free(chat);
	chat = named("gemma");
	refuse(chat, "system:S|user:U", CWP_EVALUE,
		"message 1: chat format \"gemma\" has no system messages; put the text into");
	refuse(chat, "assistant:A", CWP_EVALUE,
		"message 1: role \"assistant\" where chat format \"gemma\" wants \"user\"");
	refuse(chat, "user:U|user:V", CWP_EVALUE,
		"message 2: role \"user\" where chat format \"gemma\" wants \"assistant\"");
	cwe_chat_free(chat);
	chat = named("gemma3");
	refuse(chat, "system:S", CWP_EVALUE, "needs a user's message");
	refuse(chat, "user:U|system:S", CWP_EVALUE,
		"message 2: chat format \"gemma3\" takes a system message only in front");
	refuse(chat, "system:S|assistant:A|user:U", CWP_EVALUE, "message 2: role \"assistant\"");
	cwe_chat_free(chat);
	chat = named("mistral-v7");
	refuse(chat, "user:U|system:S", CWP_EVALUE, "message 2: chat format \"mistral-v7\" takes");
	cwe_chat_free(chat);
}

/* The table is the files, each under its own name. */
static void test_table(void **state)
{
	(void)state;
	const char *source = getenv("CWP_SRCDIR");
	size_t n = 0;
	for (; cwe_chat_table[n]; n++) {
		char path[4096];
		char *text;
		size_t length;
		struct cwb_err err = {0};
		struct cwe_chat *chat;
		if (cwe_chat_load(
			    cwe_chat_table[n], strlen(cwe_chat_table[n]), "test", &chat, &err) < 0)
			fail_msg("%s", err.message);
		if (source) {
			snprintf(path, sizeof(path), "%s/conf/chat/%s.json", source, chat->name);
			if (cwb_file_read(path, CWE_CHAT_FILE_LIMIT, &text, &length, &err) < 0)
				fail_msg("%s", err.message);
			assert_string_equal(text, cwe_chat_table[n]);
			free(text);
		}
		assert_true(json_array_size(chat->tokens) > 0);
		assert_true(json_array_size(chat->templates) > 0);
		cwe_chat_free(chat);
	}
	assert_int_equal(n, 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_lead),
		cmocka_unit_test(test_skip_empty),
		cmocka_unit_test(test_folded),
		cmocka_unit_test(test_last),
		cmocka_unit_test(test_reasoning),
		cmocka_unit_test(test_exchange),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_table),
	};
	return cmocka_run_group_tests_name("chat", tests, NULL, NULL);
}
