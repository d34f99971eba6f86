/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What may stop an attempt from outside: signals, the daemon's messages, the daemon's death, the time limit. */
#pragma once

#include "engine/plugin/host.h"

enum cwk_stop { CWK_STOP_NONE, CWK_STOP_CANCEL, CWK_STOP_TERM, CWK_STOP_TIME };

/* Watches from now on: SIGINT and SIGTERM, control_fd when it is not negative (end of file there ends the process at
 * once), and after `seconds` (0: no limit) the clock. control: bytes that were read from control_fd already. */
int cwk_control_start(struct cwe_host *host, int control_fd, const char *control, size_t length, uint64_t seconds,
	struct cwb_err *err);
/* Why the run was stopped. */
enum cwk_stop cwk_control_reason(void);
/* The watched run is over; another may be started. What stopped all of them stays the reason, a time limit does not. */
void cwk_control_end(void);
