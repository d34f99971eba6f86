/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The codec with pieces, garbage and everything at its limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/call.h"
#include "wire/message.h"

static int next_of(const char *bytes, size_t length, json_t **ret)
{
	struct cww_reader reader;
	struct cwb_err err = {0};
	int rc;

	cww_reader_init(&reader);
	assert_int_equal(cww_reader_feed(&reader, bytes, length, &err), 0);
	rc = cww_reader_next(&reader, ret, &err);
	assert_true(rc >= 0 || (err.code == rc && err.message[0]));
	if (rc < 0) { /* broken for good */
		assert_int_equal(cww_reader_next(&reader, ret, NULL), rc);
	}
	cww_reader_free(&reader);
	return rc;
}

static void test_pieces(void **state)
{
	static const char bytes[] = "{\"a\":\"}{\\\"[\"}\0{\"b\":[{}]}\0{";
	struct cww_reader reader;
	json_t *messages[2];
	size_t i, n = 0;

	(void)state;
	cww_reader_init(&reader);
	for (i = 0; i < sizeof bytes - 1; i++) {
		json_t *message;

		assert_int_equal(cww_reader_feed(&reader, bytes + i, 1, NULL), 0);
		if (cww_reader_next(&reader, &message, NULL) == 1) {
			assert_true(n < 2);
			messages[n++] = message;
		}
	}
	assert_int_equal(n, 2);
	assert_string_equal(json_string_value(json_object_get(messages[0], "a")), "}{\"[");
	assert_true(json_is_array(json_object_get(messages[1], "b")));
	assert_int_equal(cww_reader_pending(&reader), 1);
	json_decref(messages[0]);
	json_decref(messages[1]);
	cww_reader_free(&reader);
}

static void test_several_at_once(void **state)
{
	static const char bytes[] = "{}\0{\"x\":1}\0";
	struct cww_reader reader;
	json_t *message;

	(void)state;
	cww_reader_init(&reader);
	assert_int_equal(cww_reader_feed(&reader, bytes, sizeof bytes - 1, NULL), 0);
	assert_int_equal(cww_reader_next(&reader, &message, NULL), 1);
	json_decref(message);
	assert_int_equal(cww_reader_next(&reader, &message, NULL), 1);
	assert_int_equal(json_integer_value(json_object_get(message, "x")), 1);
	json_decref(message);
	assert_int_equal(cww_reader_next(&reader, &message, NULL), 0);
	assert_int_equal(cww_reader_pending(&reader), 0);
	cww_reader_free(&reader);
}

static void test_garbage(void **state)
{
	static const struct {
		const char *text;
		int code;
	} cases[] = {{"", CWP_EPROTO}, {" ", CWP_EPROTO}, {"x", CWP_EPROTO}, {"{", CWP_EPROTO},
		{"{}}", CWP_EPROTO}, {"[]", CWP_EPROTO}, {"null", CWP_EPROTO}, {"1", CWP_EPROTO},
		{"\"a\"", CWP_EPROTO}, {"{\"a\":1,\"a\":2}", CWP_EPROTO},
		{"{\"a\":{\"b\":1,\"b\":1}}", CWP_EPROTO}, {"{\"a\":\"\\u0000\"}", CWP_EPROTO},
		{"{\"\\u0000\":1}", CWP_EPROTO}, {"{\"a\":\"\xff\"}", CWP_EPROTO},
		{"{\"a\":\"\xed\xa0\x80\"}", CWP_EPROTO}, {"{\"a\":1e999}", CWP_EPROTO},
		{"{\"a\":99999999999999999999}", CWP_EPROTO}, {"{} {}", CWP_EPROTO},
		{"{\"a\":NaN}", CWP_EPROTO}, {"]]]]", CWP_EPROTO}};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		json_t *message;

		if (next_of(cases[i].text, strlen(cases[i].text) + 1, &message) != cases[i].code) {
			fail_msg("case %zu: %s", i, cases[i].text);
		}
	}
}

static void test_depth(void **state)
{
	char text[256];
	json_t *message;
	int depth, i;

	(void)state;
	for (depth = CWW_DEPTH_MAX - 1; depth <= CWW_DEPTH_MAX + 1; depth++) {
		size_t n = 0;

		text[n++] = '{';
		text[n++] = '"', text[n++] = 'a', text[n++] = '"', text[n++] = ':';
		for (i = 1; i < depth; i++) {
			text[n++] = '[';
		}
		for (i = 1; i < depth; i++) {
			text[n++] = ']';
		}
		text[n++] = '}';
		text[n++] = '\0';
		if (depth <= CWW_DEPTH_MAX) {
			assert_int_equal(next_of(text, n, &message), 1);
			json_decref(message);
		} else {
			assert_int_equal(next_of(text, n, &message), CWP_ELIMIT);
			/* Known before the message has ended. */
			assert_int_equal(
				next_of(text, 5 + (size_t)depth - 1, &message), CWP_ELIMIT);
		}
	}
	/* Brackets in a string are no depth. */
	memset(text, '[', sizeof text);
	memcpy(text, "{\"a\":\"", 6);
	memcpy(text + 253, "\"}", 3);
	assert_int_equal(next_of(text, 256, &message), 1);
	json_decref(message);
}

static void test_length(void **state)
{
	char *text = malloc(CWW_MESSAGE_MAX + 2);
	json_t *message;

	(void)state;
	assert_non_null(text);
	memset(text, ' ', CWW_MESSAGE_MAX + 2);
	text[0] = '{';
	text[CWW_MESSAGE_MAX - 1] = '}';
	text[CWW_MESSAGE_MAX] = '\0';
	assert_int_equal(next_of(text, CWW_MESSAGE_MAX + 1, &message), 1);
	json_decref(message);
	text[CWW_MESSAGE_MAX] = ' ';
	assert_int_equal(next_of(text, CWW_MESSAGE_MAX, &message), 0);
	assert_int_equal(next_of(text, CWW_MESSAGE_MAX + 1, &message), CWP_ELIMIT);
	free(text);
}

static void test_encode(void **state)
{
	json_t *message = json_pack("{s:s}", "a", "b\nc"), *list = json_array(),
	       *long_one = json_object();
	char *text, *filler;
	size_t length;

	(void)state;
	assert_int_equal(cww_message_encode(message, &text, &length, NULL), 0);
	assert_int_equal(length, strlen("{\"a\":\"b\\nc\"}") + 1);
	assert_string_equal(text, "{\"a\":\"b\\nc\"}");
	free(text);
	assert_int_equal(cww_message_encode(list, &text, &length, NULL), CWP_EVALUE);
	filler = calloc(1, CWW_MESSAGE_MAX + 1);
	assert_non_null(filler);
	memset(filler, 'x', CWW_MESSAGE_MAX);
	json_object_set_new(long_one, "a", json_string(filler));
	assert_int_equal(cww_message_encode(long_one, &text, &length, NULL), CWP_ELIMIT);
	free(filler);
	json_decref(message);
	json_decref(list);
	json_decref(long_one);
}

static void test_escape(void **state)
{
	char buffer[64];

	(void)state;
	assert_int_equal(
		cww_escape("a\x1b[m\n\xff\xc3\xa4\xc2\x9b", 10, buffer, sizeof buffer), 25);
	assert_string_equal(buffer, "a\\x1b[m\\x0a\\xff\xc3\xa4\\xc2\\x9b");
	/* Overlong, surrogate, beyond Unicode, cut short. */
	cww_escape("\xc0\x80", 2, buffer, sizeof buffer);
	assert_string_equal(buffer, "\\xc0\\x80");
	cww_escape("\xed\xa0\x80", 3, buffer, sizeof buffer);
	assert_string_equal(buffer, "\\xed\\xa0\\x80");
	cww_escape("\xf4\x90\x80\x80", 4, buffer, sizeof buffer);
	assert_string_equal(buffer, "\\xf4\\x90\\x80\\x80");
	cww_escape("\xe2\x82", 2, buffer, sizeof buffer);
	assert_string_equal(buffer, "\\xe2\\x82");
	/* Never more than fits, never half a character. */
	assert_int_equal(cww_escape("abc\xe2\x82\xac", 6, buffer, 6), 3);
	assert_string_equal(buffer, "abc");
	assert_int_equal(cww_escape("\n\n", 2, buffer, 8), 4);
	assert_int_equal(cww_escape("abc", 3, buffer, 1), 0);
	assert_string_equal(buffer, "");
}

static int parse_call(const char *text, struct cww_call *call, json_t **message)
{
	assert_int_equal(cww_message_decode(text, strlen(text), message, NULL), 0);
	return cww_call_parse(*message, call, NULL);
}

static void test_call(void **state)
{
	static const char *const bad[] = {"{}", "{\"method\":1}", "{\"method\":\"a.B\",\"x\":1}",
		"{\"method\":\"a.B\",\"more\":0}", "{\"method\":\"a.B\",\"parameters\":\"x\"}",
		"{\"method\":\"a.B\",\"more\":true,\"oneway\":true}"};
	struct cww_call call;
	json_t *message;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(parse_call(bad[i], &call, &message), CWP_EPROTO);
		json_decref(message);
	}
	assert_int_equal(parse_call("{\"method\":\"a.b.C\",\"parameters\":{\"x\":1},\"more\":true}",
				 &call, &message),
		0);
	assert_string_equal(call.method, "a.b.C");
	assert_int_equal(cww_call_interface_length(call.method), 3);
	assert_int_equal(cww_call_interface_length("none"), 0);
	assert_true(call.more && !call.oneway && !call.upgrade);
	assert_int_equal(json_object_size(call.parameters), 1);
	json_decref(message);
	message = cww_call_make("a.b.C", json_object(), CWW_CALL_ONEWAY);
	assert_int_equal(cww_call_parse(message, &call, NULL), 0);
	assert_true(call.oneway && call.parameters == NULL);
	json_decref(message);
}

static void test_reply(void **state)
{
	struct cww_reply reply;
	json_t *message = cww_reply_make(json_pack("{s:i}", "x", 1), 1);

	(void)state;
	assert_int_equal(cww_reply_parse(message, &reply, NULL), 0);
	assert_true(reply.continues && reply.error == NULL);
	assert_int_equal(json_integer_value(json_object_get(reply.parameters, "x")), 1);
	json_decref(message);
	message = cww_error_make("a.b.Bad", NULL);
	assert_int_equal(cww_reply_parse(message, &reply, NULL), 0);
	assert_string_equal(reply.error, "a.b.Bad");
	assert_int_equal(json_object_size(reply.parameters), 0);
	json_decref(message);
	message = json_pack("{s:n}", "parameters");
	assert_int_equal(cww_reply_parse(message, &reply, NULL), 0);
	json_decref(message);
	message = json_pack("{s:i}", "error", 1);
	assert_int_equal(cww_reply_parse(message, &reply, NULL), CWP_EPROTO);
	json_decref(message);
	message = json_pack("{s:i}", "more", 1);
	assert_int_equal(cww_reply_parse(message, &reply, NULL), CWP_EPROTO);
	json_decref(message);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_several_at_once), cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_depth), cmocka_unit_test(test_length),
		cmocka_unit_test(test_encode), cmocka_unit_test(test_escape),
		cmocka_unit_test(test_call), cmocka_unit_test(test_reply)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
