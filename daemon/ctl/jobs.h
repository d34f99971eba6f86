/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Handlers of org.cwpd.Jobs that have files of their own. */
#pragma once

#include "daemon/ctl/call.h"

void cwd_jobs_submit(struct cwd_call *call);
void cwd_jobs_list(struct cwd_call *call);
void cwd_jobs_log(struct cwd_call *call);
void cwd_jobs_report(struct cwd_call *call);
void cwd_jobs_gate(struct cwd_call *call);
void cwd_jobs_compare(struct cwd_call *call);

/* Ends planning processes; their callers get an error. At the daemon's end. */
void cwd_submit_abandon(struct cwd_daemon *daemon);
/* The same of processes that judge and compare. */
void cwd_judge_abandon(struct cwd_daemon *daemon);
