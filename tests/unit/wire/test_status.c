/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the worker builds is what the daemon reads; anything else, or in another order, is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "wire/status.h"

static int feed(struct cww_status_reader *reader, const char *text, struct cww_status *status)
{
	struct cwb_err err = {0};

	assert_int_equal(cww_status_reader_feed(reader, text, strlen(text) + 1, &err), 0);
	return cww_status_reader_next(reader, status, &err);
}

/* Through a pipe, as in life. */
static void pass(struct cww_status_reader *reader, json_t *message, struct cww_status *status)
{
	struct cwb_err err = {0};
	char bytes[8192];
	ssize_t n;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(cww_status_send(fds[1], message, &err), 0);
	n = read(fds[0], bytes, sizeof bytes);
	assert_true(n > 0);
	assert_int_equal(cww_status_reader_feed(reader, bytes, (size_t)n, &err), 0);
	if (cww_status_reader_next(reader, status, &err) != 1) {
		fail_msg("%s", err.message);
	}
	close(fds[0]);
	close(fds[1]);
}

static void test_both_ways(void **state)
{
	const struct cww_bounds bounds = {1, 2, UINT64_MAX};
	struct cwb_err error = {0};
	struct cww_status_reader reader;
	struct cww_status status;

	(void)state;
	cww_status_reader_init(&reader);
	pass(&reader, cww_status_plan(&bounds), &status);
	assert_int_equal(status.kind, CWW_STATUS_PLAN);
	assert_true(status.bounds.memory == 1 && status.bounds.gpu_memory == 2 &&
		    status.bounds.scratch == INT64_MAX);
	pass(&reader, cww_status_progress(CWW_STAGE_EVALUATE, 7, 5, "items"), &status);
	assert_int_equal(status.kind, CWW_STATUS_PROGRESS);
	assert_int_equal(status.stage, CWW_STAGE_EVALUATE);
	assert_true(status.done == 5 && status.total == 5);
	assert_string_equal(status.unit, "items");
	pass(&reader, cww_status_log(CWW_LEVEL_WARNING, "a\n\xff\x1b[31m"), &status);
	assert_int_equal(status.level, CWW_LEVEL_WARNING);
	assert_null(strchr(status.text, '\n'));
	assert_null(strchr(status.text, '\x1b'));
	pass(&reader, cww_status_checkpoint(), &status);
	assert_int_equal(status.kind, CWW_STATUS_CHECKPOINT);
	cwb_err_set(&error, CWP_EDIGEST, "it differs");
	error.line = 3;
	pass(&reader, cww_status_end(CWW_RESULT_FAILED, &error), &status);
	assert_int_equal(status.result, CWW_RESULT_FAILED);
	assert_int_equal(status.error.code, CWP_EDIGEST);
	assert_int_equal(status.error.line, 3);
	assert_string_equal(status.error.message, "it differs");
	assert_int_equal(feed(&reader, "{\"status\":\"checkpoint\"}", &status), CWP_EPROTO);
	cww_status_reader_free(&reader);
}

static void test_long_text(void **state)
{
	char text[5000];
	struct cww_status_reader reader;
	struct cww_status status;

	(void)state;
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	cww_status_reader_init(&reader);
	pass(&reader, cww_status_log(CWW_LEVEL_INFO, text), &status);
	assert_int_equal(strlen(status.text), CWW_STATUS_TEXT_MAX - 1);
	pass(&reader, cww_status_progress(CWW_STAGE_OPEN, 0, 0, text), &status);
	assert_int_equal(strlen(status.unit), sizeof status.unit - 1);
	cww_status_reader_free(&reader);
}

static void test_refusals(void **state)
{
	static const char *const bad[] = {"{}", "{\"status\":1}", "{\"status\":\"other\"}",
		"{\"status\":\"stage\"}",
		"{\"status\":\"stage\",\"stage\":\"nap\",\"done\":0,\"total\":0,\"unit\":\"\"}",
		"{\"status\":\"stage\",\"stage\":\"score\",\"done\":-1,\"total\":0,\"unit\":\"\"}",
		"{\"status\":\"stage\",\"stage\":\"score\",\"done\":2,\"total\":1,\"unit\":\"\"}",
		"{\"status\":\"stage\",\"stage\":\"score\",\"done\":1.5,\"total\":2,\"unit\":\"\"}",
		"{\"status\":\"stage\",\"stage\":\"score\",\"done\":1,\"total\":2,\"unit\":3}",
		"{\"status\":\"log\",\"level\":\"shout\",\"text\":\"\"}",
		"{\"status\":\"log\",\"level\":\"info\"}",
		"{\"status\":\"plan\",\"memory\":1,\"gpu_memory\":-1,\"scratch\":0}",
		"{\"status\":\"end\"}", "{\"status\":\"end\",\"result\":\"fine\"}",
		"{\"status\":\"end\",\"result\":\"done\",\"error\":{\"code\":-1,\"message\":\"x\"}"
		"}",
		"{\"status\":\"end\",\"result\":\"failed\",\"error\":{\"code\":0,\"message\":\"x\"}"
		"}",
		"{\"status\":\"end\",\"result\":\"failed\",\"error\":{\"code\":-1}}",
		"{\"status\":\"end\",\"result\":\"failed\",\"error\":{\"code\":-1,\"message\":"
		"\"x\",\"line\":-2}}",
		"{\"status\":\"end\",\"result\":\"failed\",\"error\":7}"};
	struct cww_status status;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct cww_status_reader reader;

		cww_status_reader_init(&reader);
		if (feed(&reader, bad[i], &status) != CWP_EPROTO) {
			fail_msg("accepted: %s", bad[i]);
		}
		assert_int_equal(feed(&reader, "{\"status\":\"checkpoint\"}", &status), CWP_EPROTO);
		cww_status_reader_free(&reader);
	}
}

static void test_order(void **state)
{
	static const char plan[] =
		"{\"status\":\"plan\",\"memory\":1,\"gpu_memory\":0,\"scratch\":0}";
	struct cww_status_reader reader;
	struct cww_status status;

	(void)state;
	cww_status_reader_init(&reader);
	assert_int_equal(feed(&reader, plan, &status), 1);
	assert_int_equal(feed(&reader, plan, &status), CWP_EPROTO);
	cww_status_reader_free(&reader);
	cww_status_reader_init(&reader);
	assert_int_equal(feed(&reader, "{\"status\":\"checkpoint\"}", &status), 1);
	assert_int_equal(feed(&reader, plan, &status), CWP_EPROTO);
	cww_status_reader_free(&reader);
}

static void test_endless(void **state)
{
	struct cww_status_reader reader;
	struct cww_status status;
	static char piece[65536];
	int i, rc = 0;

	(void)state;
	memset(piece, 'x', sizeof piece);
	cww_status_reader_init(&reader);
	for (i = 0; i < 40 && rc == 0; i++) {
		rc = cww_status_reader_feed(&reader, piece, sizeof piece, NULL);
		if (rc == 0) {
			rc = cww_status_reader_next(&reader, &status, NULL);
		}
	}
	assert_int_equal(rc, CWP_ELIMIT);
	cww_status_reader_free(&reader);
}

static void test_reader_is_gone(void **state)
{
	struct cwb_err err = {0};
	int fds[2];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	assert_int_equal(cww_status_send(fds[1], cww_status_checkpoint(), &err), -EPIPE);
	assert_int_equal(cww_status_send(fds[1], NULL, NULL), -ENOMEM);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_long_text), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_order), cmocka_unit_test(test_endless),
		cmocka_unit_test(test_reader_is_gone)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
