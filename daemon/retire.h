/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Forgetting jobs that have ended. */
#pragma once

#include "daemon/daemon.h"

/* Forgets a final job, or a sweep with its jobs: rows, logs, scratch folders. */
int cwd_retire_forget(struct cwd_daemon *daemon, struct cwd_job *job, struct cwb_err *err);

/* Forgets finished jobs beyond what the configuration keeps; a sweep counts as one and goes as a
 * whole. */
void cwd_retire(struct cwd_daemon *daemon);
