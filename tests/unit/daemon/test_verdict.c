/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Every end of an attempt and what becomes of the job; and that all methods have handlers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/ctl/dispatch.h"
#include "daemon/verdict.h"

#define SAID(r) 1, CWW_RESULT_##r
#define SILENT 0, CWW_RESULT_DONE

static void test_ends(void **state)
{
	static const struct {
		int rc, exit_code, signal;
		int said;
		enum cww_result what;
		enum cwd_stop stop;
		int interruptions;
		const char *result;
		enum cwd_state job;
		int code; /* of the error, 0: none */
	} cases[] = {
		{0, 0, 0, SAID(DONE), CWD_STOP_NO, 0, "done", CWD_DONE, 0},
		{0, 0, 0, SAID(DONE), CWD_STOP_CANCEL, 0, "done", CWD_DONE, 0},
		{0, -1, 9, SAID(DONE), CWD_STOP_NO, 0, "done", CWD_DONE, 0},
		{0, 3, 0, SAID(DONE), CWD_STOP_NO, 0, "failed", CWD_FAILED, CWP_EPROTO},
		{0, 1, 0, SAID(FAILED), CWD_STOP_NO, 0, "failed", CWD_FAILED, CWP_ESTATE},
		{0, 2, 0, SAID(REJECTED), CWD_STOP_NO, 0, "rejected", CWD_REJECTED, CWP_EGATE},
		{0, 1, 0, SAID(CANCELLED), CWD_STOP_CANCEL, 0, "cancelled", CWD_CANCELLED, 0},
		{0, 1, 0, SAID(CANCELLED), CWD_STOP_NO, 0, "failed", CWD_FAILED, CWP_EPROTO},
		{0, 0, 0, SILENT, CWD_STOP_NO, 0, "failed", CWD_FAILED, CWP_EPROTO},
		{0, 1, 0, SILENT, CWD_STOP_NO, 0, "failed", CWD_FAILED, CWP_ESTATE},
		{0, 2, 0, SILENT, CWD_STOP_NO, 0, "rejected", CWD_REJECTED, CWP_EGATE},
		{0, 75, 0, SILENT, CWD_STOP_NO, 0, "interrupted", CWD_QUEUED, 0},
		{0, -1, 9, SILENT, CWD_STOP_NO, 0, "interrupted", CWD_QUEUED, 0},
		{0, -1, 11, SILENT, CWD_STOP_NO, 18, "interrupted", CWD_QUEUED, 0},
		{0, -1, 11, SILENT, CWD_STOP_NO, 19, "interrupted", CWD_FAILED, CWP_ELIMIT},
		{0, -1, 15, SILENT, CWD_STOP_PAUSE, 0, "paused", CWD_PAUSED, 0},
		{0, 143, 0, SILENT, CWD_STOP_REQUEUE, 19, "interrupted", CWD_QUEUED, 0},
		{0, -1, 15, SILENT, CWD_STOP_CANCEL, 0, "cancelled", CWD_CANCELLED, 0},
		{0, -1, 9, SILENT, CWD_STOP_TIME, 0, "failed", CWD_FAILED, CWP_ELIMIT},
		{-2, 0, 0, SILENT, CWD_STOP_NO, 0, "failed", CWD_FAILED, -2},
		{CWP_EPROTO, 0, 0, SAID(DONE), CWD_STOP_NO, 0, "failed", CWD_FAILED, CWP_EPROTO},
		{-2, 0, 0, SILENT, CWD_STOP_CANCEL, 0, "cancelled", CWD_CANCELLED, 0},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct cwd_run_end end = {.rc = cases[i].rc,
			.exit_code = cases[i].exit_code,
			.signal = cases[i].signal};
		struct cwd_facts facts = {.end = &end,
			.said_end = cases[i].said,
			.result = cases[i].what,
			.stop = cases[i].stop,
			.interruptions = cases[i].interruptions,
			.interruptions_max = 20};
		struct cwd_verdict verdict;

		if (end.rc != 0) {
			(void)cwb_err_set(&end.err, end.rc, "what went wrong");
		}
		cwd_verdict_reach(&facts, &verdict);
		if (strcmp(verdict.result, cases[i].result) != 0 || verdict.state != cases[i].job ||
			verdict.error.code != cases[i].code) {
			fail_msg("case %zu: %s, job %s, error %d: %s", i, verdict.result,
				cwd_state_name(verdict.state), verdict.error.code, verdict.reason);
		}
		assert_true(cwd_state_may(CWD_RUNNING, verdict.state));
		assert_int_equal(verdict.error.code != 0,
			verdict.state == CWD_FAILED || verdict.state == CWD_REJECTED);
	}
}

static void test_failures_that_may_pass(void **state)
{
	struct cwd_run_end end = {.exit_code = 1};
	struct cwd_facts facts = {.end = &end,
		.said_end = 1,
		.result = CWW_RESULT_FAILED,
		.interruptions_max = 20,
		.failures_max = 3};
	struct cwd_verdict verdict;

	(void)state;
	(void)cwb_err_set(&facts.error, -ENOSPC, "disk full");
	for (facts.failures = 0; facts.failures < 4; facts.failures++) {
		cwd_verdict_reach(&facts, &verdict);
		assert_string_equal(verdict.result, "failed");
		assert_int_equal(verdict.try_again, facts.failures < 2);
		assert_int_equal(verdict.state, facts.failures < 2 ? CWD_QUEUED : CWD_FAILED);
	}
	/* A device that is lost, too. */
	facts.failures = 0;
	facts.error = (struct cwb_err){0};
	(void)cwb_err_set(&facts.error, -ENODEV, "lost");
	cwd_verdict_reach(&facts, &verdict);
	assert_int_equal(verdict.try_again, 1);
	facts.stop = CWD_STOP_CANCEL;
	cwd_verdict_reach(&facts, &verdict);
	assert_int_equal(verdict.state, CWD_FAILED);
	facts.stop = CWD_STOP_NO;
	facts.error.code = CWP_EDIGEST;
	cwd_verdict_reach(&facts, &verdict);
	assert_int_equal(verdict.state, CWD_FAILED);
}

static void test_words_are_kept(void **state)
{
	struct cwd_run_end end = {.exit_code = 1};
	struct cwd_facts facts = {
		.end = &end, .said_end = 1, .result = CWW_RESULT_FAILED, .interruptions_max = 20};
	struct cwd_verdict verdict;

	(void)state;
	(void)cwb_err_set(&facts.error, CWP_EDIGEST, "tensor a differs");
	cwd_verdict_reach(&facts, &verdict);
	assert_string_equal(verdict.reason, "tensor a differs");
	assert_int_equal(verdict.error.code, CWP_EDIGEST);
}

static void test_methods_have_handlers(void **state)
{
	struct cwb_err err = {0};
	json_t *good = json_pack("{s:s}", "id", "1"), *bad = json_pack("{s:i}", "id", 1);

	(void)state;
	if (cwd_dispatch_init(&err) < 0) {
		fail_msg("%s", err.message);
	}
	assert_int_equal(cwd_dispatch_check_error("org.cwpd.Jobs.NoSuchJob", good, NULL), 0);
	assert_int_equal(
		cwd_dispatch_check_error("org.cwpd.Jobs.NoSuchJob", bad, NULL), CWP_EVALUE);
	assert_int_equal(
		cwd_dispatch_check_error("org.cwpd.Jobs.NoSuchError", good, NULL), CWP_EMISSING);
	assert_int_equal(cwd_dispatch_check_error("nonsense", good, NULL), CWP_EMISSING);
	assert_null(cwd_dispatch_interface(CWD_SOCKET_METRICS, 2));
	cwd_dispatch_free();
	json_decref(good);
	json_decref(bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_ends),
		cmocka_unit_test(test_failures_that_may_pass),
		cmocka_unit_test(test_words_are_kept),
		cmocka_unit_test(test_methods_have_handlers)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
