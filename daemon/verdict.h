/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the end of an attempt means for its job. Pure. */
#pragma once

#include "daemon/executor/executor.h"
#include "daemon/job.h"
#include "daemon/supervise.h"

struct cwd_facts {
	const struct cwd_run_end *end;
	int said_end; /* the worker sent its end message */
	enum cww_result result;
	struct cwb_err error; /* of that message */
	enum cwd_stop stop;   /* what the attempt was asked for */
	int failures;         /* that may pass, of the job, before this one */
	int failures_max;
	int interruptions; /* of the job, before this one */
	int interruptions_max;
};

struct cwd_verdict {
	const char *result;   /* of the attempt */
	enum cwd_state state; /* of the job */
	char reason[768];     /* "" for none */
	int try_again;        /* the job is queued again, but starts later */
	struct cwb_err error; /* code 0: none */
};

/* Whether a failure with this code may be gone the next time. */
int cwd_verdict_may_pass(int code);
void cwd_verdict_reach(const struct cwd_facts *facts, struct cwd_verdict *ret);
