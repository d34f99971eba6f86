/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* From exit codes, signals and last words to a job's state. doc/worker-protocol.md has the rules.
 */
#include "daemon/verdict.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void say(
	struct cwd_verdict *verdict, const char *result, enum cwd_state state, const char *reason)
{
	verdict->result = result;
	verdict->state = state;
	snprintf(verdict->reason, sizeof verdict->reason, "%s", reason);
}

static void fail_with(struct cwd_verdict *verdict, int code, const char *reason)
{
	say(verdict, "failed", CWD_FAILED, reason);
	(void)cwb_err_set(&verdict->error, code, "%s", reason);
}

static void interrupt(const struct cwd_facts *facts, const char *how, struct cwd_verdict *verdict)
{
	if (facts->interruptions + 1 >= facts->interruptions_max) {
		say(verdict, "interrupted", CWD_FAILED, "");
		snprintf(verdict->reason, sizeof verdict->reason,
			"interrupted %d times without a new checkpoint, last: %s",
			facts->interruptions + 1, how);
		(void)cwb_err_set(&verdict->error, CWP_ELIMIT, "%s", verdict->reason);
		return;
	}
	say(verdict, "interrupted", CWD_QUEUED, "");
	snprintf(verdict->reason, sizeof verdict->reason, "the attempt was interrupted: %s", how);
}

/* The worker said how it went. */
static void reach_said(const struct cwd_facts *facts, struct cwd_verdict *verdict)
{
	const char *message = facts->error.message;

	switch (facts->result) {
	case CWW_RESULT_DONE:
		if (facts->end->rc == 0 && facts->end->signal == 0 && facts->end->exit_code != 0) {
			fail_with(verdict, CWP_EPROTO,
				"the worker said done, but its exit code said failure");
		} else {
			say(verdict, "done", CWD_DONE, "");
		}
		return;
	case CWW_RESULT_REJECTED:
		say(verdict, "rejected", CWD_REJECTED,
			message[0] ? message : "a gate rejected the result");
		break;
	case CWW_RESULT_CANCELLED:
		if (facts->stop == CWD_STOP_CANCEL) {
			say(verdict, "cancelled", CWD_CANCELLED, "");
			return;
		}
		if (facts->stop == CWD_STOP_NO) {
			fail_with(verdict, CWP_EPROTO,
				"the worker cancelled its work, but nobody had asked for that");
			return;
		}
		say(verdict, "failed", CWD_FAILED, message);
		break;
	case CWW_RESULT_FAILED:
		say(verdict, "failed", CWD_FAILED,
			message[0] ? message : "the worker failed without a reason");
		break;
	}
	verdict->error = facts->error;
	if (verdict->error.code == 0) {
		(void)cwb_err_set(&verdict->error,
			facts->result == CWW_RESULT_REJECTED ? CWP_EGATE : CWP_ESTATE, "%s",
			verdict->reason);
	}
}

static void reach_asked(const struct cwd_facts *facts, struct cwd_verdict *verdict)
{
	switch (facts->stop) {
	case CWD_STOP_CANCEL:
		say(verdict, "cancelled", CWD_CANCELLED, "");
		return;
	case CWD_STOP_PAUSE:
		say(verdict, "paused", CWD_PAUSED, "");
		return;
	case CWD_STOP_TIME:
		fail_with(verdict, CWP_ELIMIT, "limits.time is over");
		snprintf(verdict->error.field, sizeof verdict->error.field, "limits.time");
		return;
	case CWD_STOP_REQUEUE:
	case CWD_STOP_NO:
		break;
	}
	say(verdict, "interrupted", CWD_QUEUED, "the daemon stopped the attempt");
}

static void reach_alone(const struct cwd_facts *facts, struct cwd_verdict *verdict)
{
	const struct cwd_run_end *end = facts->end;
	char how[160];

	if (end->rc != 0) {
		fail_with(verdict, end->rc, end->err.message);
	} else if (end->signal != 0) {
		snprintf(how, sizeof how, "signal %d (%s)", end->signal, strsignal(end->signal));
		interrupt(facts, how, verdict);
	} else if (end->exit_code == 75) {
		interrupt(facts, "the worker asks to try again", verdict);
	} else if (end->exit_code == 2) {
		say(verdict, "rejected", CWD_REJECTED, "a gate rejected the result");
		(void)cwb_err_set(&verdict->error, CWP_EGATE, "%s", verdict->reason);
	} else if (end->exit_code == 0) {
		fail_with(verdict, CWP_EPROTO, "the worker ended without saying how it went");
	} else {
		snprintf(how, sizeof how,
			"the worker failed with exit code %d; its log may say why", end->exit_code);
		fail_with(verdict, CWP_ESTATE, how);
	}
}

int cwd_verdict_may_pass(int code)
{
	static const int codes[] = {
		EIO, ENOSPC, ENOMEM, EAGAIN, EBUSY, EDQUOT, ETIMEDOUT, ESTALE, ENFILE, EMFILE, ENODEV};
	size_t i;

	for (i = 0; i < sizeof codes / sizeof codes[0]; i++) {
		if (code == -codes[i]) {
			return 1;
		}
	}
	return 0;
}

void cwd_verdict_reach(const struct cwd_facts *facts, struct cwd_verdict *ret)
{
	memset(ret, 0, sizeof *ret);
	if (facts->said_end && facts->end->rc == 0) {
		reach_said(facts, ret);
	} else if (facts->stop != CWD_STOP_NO) {
		reach_asked(facts, ret);
	} else {
		reach_alone(facts, ret);
	}
	/* Nobody asked for an end, and the next time the disk may be free or the server back. */
	if (ret->state == CWD_FAILED && facts->stop == CWD_STOP_NO && cwd_verdict_may_pass(ret->error.code) &&
		facts->failures + 1 < facts->failures_max) {
		ret->try_again = 1;
		ret->state = CWD_QUEUED;
	}
}
