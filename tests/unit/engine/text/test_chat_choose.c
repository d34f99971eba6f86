/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which chat format a model gets, and what is said about it: asked for by name or file, by the
 * marks of the model's template, by its special tokens, or none. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/engine/text/mini.h"

static const char *const chatml[] = {"<|im_start|>", "<|im_end|>", NULL};
static const char *const llama3[] = {
	"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", NULL};
static const char *const both[] = {"<|im_start|>", "<|im_end|>", "<|begin_of_text|>",
	"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", NULL};
static const char *const nothing[] = {NULL};

/* A tokenizer with these special tokens. */
static struct cwe_tokenizer *make(const char *const *tokens)
{
	struct cwe_tokenizer *t = NULL;
	struct cwb_err err = {0};
	json_t *json = mini_json();
	json_t *added = json_object_get(json, "added_tokens");
	json_t *vocab = json_object_get(json_object_get(json, "model"), "vocab");
	json_array_clear(added);
	json_object_del(vocab, "<|im_start|>");
	json_object_del(vocab, "<|im_end|>");
	for (int i = 0; tokens[i]; i++)
		json_array_append_new(
			added, json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", 300 + i, "content",
				       tokens[i], "single_word", 0, "lstrip", 0, "rstrip", 0,
				       "normalized", 0, "special", 1));
	if (mini_new(json, &t, &err) < 0)
		fail_msg("%s", err.message);
	return t;
}

/* The name of what is found must be this one (NULL: nothing), and the warnings must be one with
 * these words (NULL: none). */
static void check(const char *const *tokens, const char *template, const char *asked,
	const char *name, const char *words)
{
	struct cwe_tokenizer *t = make(tokens);
	struct cwe_chat *chat = NULL;
	struct cwb_err err = {0};
	json_t *warnings = json_array();
	const struct cwe_chat_question question = {asked, t, template, warnings};
	if (cwe_chat_find(&question, &chat, &err) < 0)
		fail_msg("%s", err.message);
	if (name) {
		assert_non_null(chat);
		assert_string_equal(cwe_chat_name(chat), name);
	} else {
		assert_null(chat);
	}
	assert_int_equal(json_array_size(warnings), words != NULL);
	if (words && !strstr(json_string_value(json_array_get(warnings, 0)), words))
		fail_msg("\"%s\" is not in: %s", words,
			json_string_value(json_array_get(warnings, 0)));
	json_decref(warnings);
	cwe_chat_free(chat);
	cwe_tokenizer_free(t);
}

#define GENERIC                                                                                    \
	"{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "              \
	"message['content'] + '<|im_end|>\\n' }}{% endfor %}"

static void test_template(void **state)
{
	(void)state;
	check(chatml, GENERIC, NULL, "chatml", NULL);
	check(chatml, GENERIC, "auto", "chatml", NULL);
	check(chatml,
		"<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
		"assistant.<|im_end|>",
		NULL, "qwen2.5", NULL);
	check(chatml, "<|im_start|>system\\nYou are a helpful assistant.<|im_end|>", NULL, "qwen2",
		NULL);
	/* Tokens of several formats: the template decides. */
	check(both, GENERIC, NULL, "chatml", NULL);
	check(both,
		"{{ bos_token }}'<|start_header_id|>' + message['role'] + '<|end_header_id|>' + "
		"message['content'] | trim + '<|eot_id|>'",
		NULL, "llama3", NULL);
	/* It is known, but the tokenizer lacks what it writes. */
	check(nothing, GENERIC, NULL, "chatml",
		"writes <|im_start|>, which is no special token of the model's tokenizer");
}

/* A template with one mark more, or one less, is not the one that is known. */
static void test_guess(void **state)
{
	(void)state;
	check(chatml, GENERIC "{# system #}", NULL, "chatml",
		"\"chatml\" is assumed from the tokenizer's special tokens, for the model's own "
		"chat template is none that is known here; say with chat which one is right");
	check(both, "<|start_header_id|>", NULL, "llama3", "\"llama3\" is assumed");
	check(llama3, NULL, NULL, "llama3",
		"\"llama3\" is assumed from the tokenizer's special tokens, for the model has no "
		"chat template of its own");
	check(chatml, "", NULL, NULL, "no chat format is assumed");
	check(both, "[INST]", NULL, NULL,
		"no chat format is assumed: the model's own chat template is none that is known "
		"here");
	check(nothing, NULL, NULL, NULL,
		"no chat format is assumed: the model has no chat template of its own, and its "
		"tokenizer has the special tokens of none");
}

/* A token that stands in the vocabulary alone is no token of any text. */
static void test_plain_entries(void **state)
{
	(void)state;
	struct cwe_tokenizer *t = NULL;
	struct cwe_chat *chat = NULL;
	struct cwb_err err = {0};
	json_t *json = mini_json();
	json_array_clear(json_object_get(json, "added_tokens"));
	assert_int_equal(mini_new(json, &t, &err), 0);
	assert_true(cwe_tokenizer_id(t, "<|im_start|>") >= 0);
	const struct cwe_chat_question question = {NULL, t, NULL, NULL};
	assert_int_equal(cwe_chat_find(&question, &chat, &err), 0);
	assert_null(chat);
	cwe_tokenizer_free(t);
}

#define MINE                                                                                       \
	"{\"name\": \"mine\", \"tokens\": [\"<a>\"], \"system\": {\"place\": \"refused\"}, "       \
	"\"user\": {}, \"assistant\": {}, \"generation\": \"\", \"turns\": \"any\"}"

static void test_asked(void **state)
{
	(void)state;
	static const char *const mine[] = {"<a>", NULL};
	check(llama3, GENERIC, "none", NULL, NULL);
	check(chatml, NULL, "smollm2", "smollm2", NULL);
	check(chatml, GENERIC "{# system #}", "qwen3", "qwen3", "writes <think>");
	check(chatml, GENERIC, "smollm2", "smollm2",
		"\"smollm2\" is asked for, but the model's own chat template has the marks of "
		"\"chatml\"");
	check(chatml, NULL, "llama3", "llama3", "writes <|begin_of_text|>");
	const char *path = mini_file("mine.json", MINE, strlen(MINE));
	check(mine, NULL, path, "mine", NULL);
	check(mine, GENERIC, path, "mine", "the marks of \"chatml\"");
	check(chatml, NULL, path, "mine", "writes <a>");
	/* The tokenizer need not be there. */
	struct cwe_chat *chat = NULL;
	struct cwb_err err = {0};
	const struct cwe_chat_question question = {path, NULL, GENERIC, NULL};
	assert_int_equal(cwe_chat_find(&question, &chat, &err), 0);
	assert_string_equal(cwe_chat_name(chat), "mine");
	cwe_chat_free(chat);
	mini_folder_remove();
}

static void refuse(const char *asked, int code, const char *words, const char *nearest)
{
	struct cwe_chat *chat = NULL;
	struct cwb_err err = {0};
	const struct cwe_chat_question question = {asked, NULL, NULL, NULL};
	assert_int_equal(cwe_chat_find(&question, &chat, &err), code);
	assert_null(chat);
	if (!strstr(err.message, words))
		fail_msg("\"%s\" is not in: %s", words, err.message);
	assert_string_equal(err.nearest, nearest);
}

static void test_refusals(void **state)
{
	(void)state;
	refuse("lama3", CWP_EUNKNOWN,
		"chat: \"lama3\" is not a chat format, did you mean \"llama3\"?; write auto, none, "
		"the path of a format file",
		"llama3");
	refuse("", CWP_EUNKNOWN, "one of: smollm2, ", "");
	refuse("./missing", -ENOENT, "missing", "");
	refuse("missing.json", -ENOENT, "missing.json", "");
	refuse("/dev/null", CWP_EFORMAT, "/dev/null", "");
	const char *path = mini_file("bad.json", "{\"name\": 1}", 11);
	refuse(path, CWP_EVALUE, "bad.json: name: not a text", "");
	char *large = calloc(1, 70000);
	assert_non_null(large);
	memset(large, ' ', 70000);
	path = mini_file("large.json", large, 70000);
	free(large);
	refuse(path, CWP_ELIMIT, "large.json", "");
	mini_folder_remove();
}

static void test_config(void **state)
{
	(void)state;
	static const struct {
		const char *config, *template;
	} cases[] = {
		{"{}", NULL},
		{"{\"chat_template\": null}", NULL},
		{"{\"chat_template\": 7}", NULL},
		{"{\"chat_template\": \"x\", \"model_max_length\": "
		 "1000000000000000019884624838656}",
			"x"},
		{"{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"t\"}, {\"name\": "
		 "\"default\", \"template\": \"d\"}]}",
			"d"},
		{"{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"t\"}, 7]}", NULL},
	};
	struct cwb_err err = {0};
	char *text;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		text = NULL;
		assert_int_equal(
			cwe_chat_template(cases[i].config, strlen(cases[i].config), &text, &err),
			0);
		if (cases[i].template)
			assert_string_equal(text, cases[i].template);
		else
			assert_null(text);
		free(text);
	}
	assert_int_equal(cwe_chat_template("{", 1, &text, &err), CWP_EFORMAT);
	assert_non_null(strstr(err.message, "tokenizer_config.json"));
	cwb_err_clear(&err);
	assert_int_equal(cwe_chat_template("[]", 2, &text, &err), CWP_EVALUE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_template),
		cmocka_unit_test(test_guess),
		cmocka_unit_test(test_plain_entries),
		cmocka_unit_test(test_asked),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_config),
	};
	return cmocka_run_group_tests_name("chat choice", tests, NULL, NULL);
}
