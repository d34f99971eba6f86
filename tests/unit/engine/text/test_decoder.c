/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Decoders: each step, and the sequences that tokenizers have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "engine/text/decoder.h"
#include "engine/text/tokenizer.h"
#include "tests/unit/engine/text/mini.h"

/* tokens: with | between them. */
static void check(const char *json, const char *tokens, const char *expected)
{
	struct cwb_err err = {0};
	struct cwe_decoder *d = NULL;
	struct cwe_token_text token[16];
	size_t count = 0;
	char *text = NULL;
	size_t length = 0;
	json_t *component = json_loads(json, JSON_DECODE_ANY, NULL);
	assert_non_null(component);
	if (cwe_decoder_new(component, &d, &err) < 0)
		fail_msg("%s: %s", json, err.message);
	for (const char *at = tokens; *tokens; at = strchr(at, '|') + 1) {
		token[count++] = (struct cwe_token_text){at, strcspn(at, "|")};
		if (!strchr(at, '|'))
			break;
	}
	assert_int_equal(cwe_decoder_apply(d, token, count, &text, &length, &err), 0);
	if (strcmp(text, expected) != 0 || length != strlen(expected))
		fail_msg("%s of %s: \"%s\", expected \"%s\"", json, tokens, text, expected);
	free(text);
	cwe_decoder_free(d);
	json_decref(component);
}

static void test_steps(void **state)
{
	(void)state;
	check("null", "a|b", "a b");
	check("{\"type\": \"Fuse\"}", "a|b", "ab");
	check("{\"type\": \"Fuse\"}", "", "");
	check("{\"type\": \"ByteLevel\"}", "\u0120a|\u00c3|\u00a9", " a\u00e9");
	check("{\"type\": \"ByteFallback\"}", "a|<0xC3>|<0xA9>|<0x41>|b", "a\u00e9Ab");
	/* What is no UTF-8 gives as many U+FFFD as it has bytes; lower-case digits count. */
	check("{\"type\": \"ByteFallback\"}", "<0xC3>|<0x41>|a|<0xff>", "\ufffd\ufffda\ufffd");
	check("{\"type\": \"ByteFallback\"}", "<0xZZ>|<0x4>", "<0xZZ><0x4>");
	check("{\"type\": \"Replace\", \"pattern\": {\"String\": \"_\"}, \"content\": \" \"}",
		"_a|b_", " ab ");
	check("{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"^_|b+\"}, \"content\": \"-\"}",
		"_a_|_bb", "-a_--");
	check("{\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}", "  a | b",
		" a b");
	check("{\"type\": \"Strip\", \"content\": \"\u2581\", \"start\": 2, \"stop\": 1}",
		"\u2581|\u2581\u2581\u2581|a\u2581\u2581", "a\u2581");
}

static void test_metaspace(void **state)
{
	(void)state;
	check("{\"type\": \"Metaspace\", \"replacement\": \"_\"}", "_a_b|_c_", "ab c ");
	check("{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"first\", "
	      "\"split\": false}",
		"_a|_b", "a b");
	check("{\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"never\"}",
		"_a|_b", " a b");
	check("{\"type\": \"Metaspace\", \"replacement\": \"\u2581\", \"add_prefix_space\": true}",
		"\u2581a|\u2581b", "a b");
}

static void test_sequences(void **state)
{
	(void)state;
	static const char llama[] =
		"{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": "
		"{\"String\": \"\u2581\"}, \"content\": \" \"},"
		"{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}, {\"type\": \"Strip\", "
		"\"content\": \" \", \"start\": 1, \"stop\": 0}]}";
	check(llama, "\u2581Hi|<0xE2>|<0x82>|<0xAC>|\u2581you", "Hi\u20ac you");
	check(llama, "\u2581|\u2581x", " x");
	/* Bytes are one text only where no other token is between. */
	check(llama, "<0xE2>|a|<0x82>", "\ufffda\ufffd");
}

/* What the reference decodes a normalized added token to is its normalized form, which is special
 * only where a special token is written so. */
static void test_normalized_tokens(void **state)
{
	(void)state;
	json_t *json = mini_json();
	struct cwb_err err = {0};
	struct cwe_tokenizer *t = NULL;
	static const uint32_t id[] = {300, 301};
	char *text = NULL;
	size_t length = 0;
	mini_set(json, "normalizer", "{\"type\": \"Lowercase\"}");
	mini_set(json, "decoder", "{\"type\": \"Fuse\"}");
	mini_set(json, "added_tokens",
		"[{\"id\": 300, \"content\": \"XX\", \"single_word\": false, \"lstrip\": false, "
		"\"rstrip\": false, \"normalized\": true, "
		"\"special\": true}, {\"id\": 301, \"content\": \"yy\", \"single_word\": false, "
		"\"lstrip\": false, \"rstrip\": false, "
		"\"normalized\": true, \"special\": true}]");
	if (mini_new(json, &t, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(cwe_tokenizer_id(t, "XX"), 300);
	assert_string_equal(mini_ids(t, "xXYY", 0), "300 301");
	assert_int_equal(cwe_tokenizer_decode(t, id, 2, 0, &text, &length, &err), 0);
	assert_string_equal(text, "xxyy");
	free(text);
	assert_int_equal(cwe_tokenizer_decode(t, id, 2, 1, &text, &length, &err), 0);
	assert_string_equal(text, "xx");
	free(text);
	cwe_tokenizer_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_metaspace),
		cmocka_unit_test(test_sequences),
		cmocka_unit_test(test_normalized_tokens),
	};
	return cmocka_run_group_tests_name("decoder", tests, NULL, NULL);
}
