/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Chat format files from strangers: each refusal, with its place; and what is written about them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "engine/text/chat_format.h"
#include "engine/text/chat_table.h"

#define SYSTEM "'system': {'place': 'message'}"
#define REST "'user': {}, 'assistant': {'prefix': 'A:'}, 'generation': 'A:', 'turns': 'any'"

static int load(const char *format, struct cwb_err *err)
{
	struct cwe_chat *chat = NULL;
	char *text = strdup(format);
	*err = (struct cwb_err){0};
	for (char *p = text; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	int rc = cwe_chat_load(text, strlen(text), "f.json", &chat, err);
	free(text);
	assert_int_equal(rc == 0, chat != NULL);
	cwe_chat_free(chat);
	return rc;
}

static void test_refusals(void **state)
{
	(void)state;
	static const struct {
		const char *format;
		int code;
		const char *words;
	} cases[] = {
		{"", CWP_EFORMAT, "f.json: "},
		{"[]", CWP_EVALUE, "f.json: not an object"},
		{"{'name': 'x', 'name': 'x'}", CWP_EFORMAT, "f.json: "},
		{"{'name': 'x', " REST "}", CWP_EMISSING, "has no \"system\""},
		{"{'name': 'x', " SYSTEM ", 'user': {}, 'assistant': {}, 'turns': 'any'}",
			CWP_EMISSING, "has no \"generation\""},
		{"{'name': 'x', 'systemm': {}, " SYSTEM ", " REST "}", CWP_EUNKNOWN,
			"systemm: \"systemm\" is not a key here; did you mean \"system\"?"},
		{"{'name': 'x', 'system': {'place': 'message', 'prefx': ''}, " REST "}",
			CWP_EUNKNOWN, "system.prefx: \"prefx\" is not a key here; did you mean"},
		{"{'name': 7, " SYSTEM ", " REST "}", CWP_EVALUE, "name: not a text"},
		{"{'name': '', " SYSTEM ", " REST "}", CWP_EVALUE, "name: \"\" is not a name"},
		{"{'name': 'X', " SYSTEM ", " REST "}", CWP_EVALUE, "\"X\" is not a name"},
		{"{'name': '7x', " SYSTEM ", " REST "}", CWP_EVALUE, "\"7x\" is not a name"},
		{"{'name': 'a/b', " SYSTEM ", " REST "}", CWP_EVALUE, "\"a/b\" is not a name"},
		{"{'name': 'auto', " SYSTEM ", " REST "}", CWP_EVALUE, "neither auto nor none"},
		{"{'name': 'none', " SYSTEM ", " REST "}", CWP_EVALUE, "neither auto nor none"},
		{"{'name': 'a23456789-123456789-123456789-123456789-1', " SYSTEM ", " REST "}",
			CWP_EVALUE, "at most 40"},
		{"{'name': 'x', 'system': [], " REST "}", CWP_EVALUE, "system: not an object"},
		{"{'name': 'x', 'system': {}, " REST "}", CWP_EMISSING, "system: has no \"place\""},
		{"{'name': 'x', 'system': {'place': 'top'}, " REST "}", CWP_EUNKNOWN,
			"system.place: \"top\" is not known; write one of: message, first-user, "
			"last-user, refused"},
		{"{'name': 'x', 'system': {'place': 1}, " REST "}", CWP_EVALUE, "system.place: "},
		{"{'name': 'x', 'system': {'place': 'message', 'trim': 'turn'}, " REST "}",
			CWP_EUNKNOWN, "system.trim: \"turn\" is not known"},
		{"{'name': 'x', 'system': {'place': 'message', 'skip-empty': 1}, " REST "}",
			CWP_EVALUE, "system.skip-empty: neither true nor false"},
		{"{'name': 'x', 'system': {'place': 'refused', 'prefix': ''}, " REST "}",
			CWP_EVALUE, "system.prefix: means nothing with place \"refused\""},
		{"{'name': 'x', 'system': {'place': 'refused', 'default': ''}, " REST "}",
			CWP_EVALUE, "system.default: means nothing with place \"refused\""},
		{"{'name': 'x', 'system': {'place': 'last-user', 'default': 'd'}, " REST "}",
			CWP_EVALUE, "system.default: means nothing with place \"last-user\""},
		{"{'name': 'x', 'system': {'place': 'first-user', 'lead': 'd'}, " REST "}",
			CWP_EVALUE, "system.lead: means nothing with place \"first-user\""},
		{"{'name': 'x', 'system': {'place': 'first-user', 'skip-empty': true}, " REST "}",
			CWP_EVALUE, "system.skip-empty: means nothing"},
		{"{'name': 'x', 'tokens': 'a', " SYSTEM ", " REST "}", CWP_EVALUE,
			"tokens: not a list of texts"},
		{"{'name': 'x', 'tokens': ['a', ''], " SYSTEM ", " REST "}", CWP_EVALUE,
			"tokens: item 2 is not a text, or is empty"},
		{"{'name': 'x', 'tokens': [7], " SYSTEM ", " REST "}", CWP_EVALUE,
			"tokens: item 1 is not a text"},
		{"{'name': 'x', 'guess': [], " SYSTEM ", " REST "}", CWP_EVALUE,
			"guess: there are no tokens to go by"},
		{"{'name': 'x', 'template': {}, " SYSTEM ", " REST "}", CWP_EVALUE,
			"template: not a list"},
		{"{'name': 'x', 'template': [[]], " SYSTEM ", " REST "}", CWP_EVALUE,
			"template[0]: not an object"},
		{"{'name': 'x', 'template': [{}], " SYSTEM ", " REST "}", CWP_EMISSING,
			"template[0]: has no \"has\""},
		{"{'name': 'x', 'template': [{'has': ['a']}, {'has': []}], " SYSTEM ", " REST "}",
			CWP_EVALUE, "template[1]: \"has\" is empty"},
		{"{'name': 'x', 'template': [{'has': ['a'], 'lacks': [null]}], " SYSTEM ", " REST
		 "}",
			CWP_EVALUE, "template[0].lacks: item 1 is not a text"},
		{"{'name': 'x', 'template': [{'has': ['a'], 'warning': 1}], " SYSTEM ", " REST "}",
			CWP_EVALUE, "template[0].warning: not a text"},
		{"{'name': 'x', 'template': [{'has': ['a'], 'had': []}], " SYSTEM ", " REST "}",
			CWP_EUNKNOWN, "template[0].had: \"had\" is not a key here"},
		{"{'name': 'x', 'reasoning': {'open': 'a'}, " SYSTEM ", " REST "}", CWP_EMISSING,
			"reasoning: has no \"close\""},
		{"{'name': 'x', 'reasoning': {'open': '', 'close': 'b', 'before': '', 'after': "
		 "''}, " SYSTEM ", " REST "}",
			CWP_EVALUE, "reasoning: \"open\" and \"close\" may not be empty"},
		{"{'name': 'x', " SYSTEM ", 'user': {}, 'assistant': {'prefix': 'A:'}, "
		 "'generation': 'B:', 'turns': 'any'}",
			CWP_EVALUE, "generation: is not what an assistant's message begins with"},
		{"{'name': 'x', " SYSTEM ", 'user': {}, 'assistant': {'prefix': 'A:'}, "
		 "'generation': 'A: ', 'turns': 'any'}",
			CWP_EVALUE, "generation: is not what"},
		{"{'name': 'x', " SYSTEM ", 'user': {'trim': true}, 'assistant': {}, 'generation': "
		 "'', 'turns': 'any'}",
			CWP_EVALUE, "user.trim: "},
		{"{'name': 'x', " SYSTEM ", 'user': {}, 'assistant': {'last-suffix': []}, "
		 "'generation': '', 'turns': 'any'}",
			CWP_EVALUE, "assistant.last-suffix: not a text"},
		{"{'name': 'x', " SYSTEM
		 ", 'user': {}, 'assistant': {}, 'generation': '', 'turns': "
		 "'odd'}",
			CWP_EUNKNOWN, "turns: \"odd\" is not known; write one of: any, alternate"},
		{"{'name': 'x', 'begin': '\\u0000', " SYSTEM ", " REST "}", CWP_EFORMAT,
			"f.json: "},
	};
	struct cwb_err err;
	assert_int_equal(load("{'name': 'x', " SYSTEM ", " REST "}", &err), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int rc = load(cases[i].format, &err);
		if (rc != cases[i].code || !strstr(err.message, cases[i].words))
			fail_msg("%s\ngave %d: %s\nnot %d: %s", cases[i].format, rc, err.message,
				cases[i].code, cases[i].words);
		/* The place is in the message: fields and lines of err are a job's. */
		assert_string_equal(err.field, "");
		assert_int_equal(err.line, 0);
	}
}

/* A file, a list and a nesting that are too long. */
static void test_limits(void **state)
{
	(void)state;
	struct cwb_err err;
	char *text = malloc(CWE_CHAT_FILE_LIMIT + 512);
	assert_non_null(text);
	size_t n = (size_t)sprintf(text, "{'name': 'x', " SYSTEM ", " REST ", 'tokens': [");
	for (int i = 0; i < 65; i++)
		n += (size_t)sprintf(text + n, "%s'a'", i > 0 ? ", " : "");
	strcpy(text + n, "]}");
	assert_int_equal(load(text, &err), CWP_ELIMIT);
	assert_non_null(strstr(err.message, "tokens: has more than 64 texts"));
	n = (size_t)sprintf(text, "{'name': 'x', " SYSTEM ", " REST ", 'template': [");
	for (int i = 0; i < 65; i++)
		n += (size_t)sprintf(text + n, "%s{'has': ['a']}", i > 0 ? ", " : "");
	strcpy(text + n, "]}");
	assert_int_equal(load(text, &err), CWP_ELIMIT);
	assert_non_null(strstr(err.message, "template: has more than 64 items"));
	n = (size_t)sprintf(text, "{'name': 'x', " SYSTEM ", " REST ", 'begin': '");
	memset(text + n, 'a', CWE_CHAT_FILE_LIMIT - n);
	strcpy(text + CWE_CHAT_FILE_LIMIT, "'}");
	assert_int_equal(load(text, &err), CWP_ELIMIT);
	memset(text, '[', 64);
	text[64] = '\0';
	assert_int_equal(load(text, &err), CWP_ELIMIT);
	free(text);
}

/* What generation may be: any beginning of prefix, before and after. */
static void test_generation(void **state)
{
	(void)state;
	static const char *const good[] = {"", "A", "A:", "A:<", "A:<>", "A:<>!"};
	static const char *const bad[] = {"B", "A;", "A:>", "A:<>!!", "A:<<"};
	struct cwb_err err;
	char text[512];
	for (int i = 0; i < 6 + 5; i++) {
		snprintf(text, sizeof(text),
			"{'name': 'x', " SYSTEM ", 'user': {}, 'assistant': {'prefix': 'A:'}, "
			"'reasoning': {'open': 'a', 'close': 'b', 'before': '<', 'after': '>!'}, "
			"'generation': '%s', 'turns': 'any'}",
			i < 6 ? good[i] : bad[i - 6]);
		assert_int_equal(load(text, &err), i < 6 ? 0 : CWP_EVALUE);
	}
}

static char *read_source(const char *name)
{
	char path[4096];
	char *text = NULL;
	size_t length;
	struct cwb_err err = {0};
	if (!getenv("CWP_SRCDIR"))
		skip();
	snprintf(path, sizeof(path), "%s/%s", getenv("CWP_SRCDIR"), name);
	if (cwb_file_read(path, 1 << 20, &text, &length, &err) < 0)
		fail_msg("%s", err.message);
	return text;
}

/* doc/chat.md: every format has a row, every key is told, and the example is a format. cwp-job(5)
 * has every name too. */
static void test_texts(void **state)
{
	(void)state;
	char *doc = read_source("doc/chat.md");
	char *page = read_source("man/cwp-job.5");
	char word[64];
	for (size_t i = 0; cwe_chat_table[i]; i++) {
		struct cwe_chat *chat = NULL;
		const char *text = cwe_chat_table[i];
		assert_int_equal(cwe_chat_load(text, strlen(text), "", &chat, NULL), 0);
		snprintf(word, sizeof(word), "`%s`", chat->name);
		if (!strstr(doc, word))
			fail_msg("doc/chat.md has no %s", word);
		snprintf(word, sizeof(word), " %s", chat->name);
		const char *at = strstr(page, word);
		while (at && !strchr(" \n", at[strlen(word)]))
			at = strstr(at + 1, word);
		if (!at)
			fail_msg("cwp-job.5 has no%s", word);
		cwe_chat_free(chat);
	}
	char *example = strstr(doc, "    {\"name\": \"zephyr\"");
	assert_non_null(example);
	char *end = strstr(example, "\n\n");
	assert_non_null(end);
	struct cwe_chat *chat = NULL;
	struct cwb_err err = {0};
	if (cwe_chat_load(example, (size_t)(end - example), "doc/chat.md", &chat, &err) < 0)
		fail_msg("%s", err.message);
	cwe_chat_free(chat);
	free(doc);
	free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_generation),
		cmocka_unit_test(test_texts),
	};
	return cmocka_run_group_tests_name("chat format", tests, NULL, NULL);
}
