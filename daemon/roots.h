/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which paths a job may name: those beneath the configured roots that its submitter may use
 * himself. The daemon has other rights than he has, and must not lend them. */
#pragma once

#include <sys/types.h>

#include "daemon/settings.h"
#include "job/job.h"

/* Checks all paths of a job. CWP_EDENIED: err->field names the field, *ret_path (not owned) the
 * path. A path that does not exist is left to the plan. Blocks on the file system. [any-thread] */
int cwd_roots_check(const struct cwd_settings *settings, const struct cwj_job *job, uid_t uid,
	const char **ret_path, struct cwb_err *err);
