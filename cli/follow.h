/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Following one job to its end: for `follow`, and for `submit --follow`. */
#pragma once

#include "cli/daemon.h"

/* Prints progress and the end; with --json only the end, {"id", "state", "reason"}. Returns the
 * job's exit code. */
int cwc_follow_job(struct cwc *cwc, struct cwc_daemon *daemon, const char *id);
