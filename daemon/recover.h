/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What a daemon does first with what its predecessor left: kills workers that outlived it, queues
 * their jobs again, and believes manifests. doc/worker-protocol.md has the promises. */
#pragma once

#include "daemon/daemon.h"

/* Before the sockets are there. Blocks for a short while for each worker that must be killed. */
void cwd_recover(struct cwd_daemon *daemon);

/* Whether output holds a manifest of a job with that digest: 1, 0 (none, or of another job). */
int cwd_recover_is_finished(const char *output, const char *digest);
