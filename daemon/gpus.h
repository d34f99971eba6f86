/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The GPUs of this host, as cwp-probe tells them: the daemon opens no plugin. */
#pragma once

#include "daemon/daemon.h"

/* Asks the backend in `file` (NULL: there is none) for its devices and keeps those that the settings allow, then calls done,
 * always, perhaps before it returns. Without an answer there are none, and the log says why. */
void cwd_gpus_scan(struct cwd_daemon *daemon, const char *file, void (*done)(struct cwd_daemon *daemon, void *arg), void *arg);

/* Ends a scan without done. */
void cwd_gpus_abandon(struct cwd_daemon *daemon);
void cwd_gpus_free(struct cwd_daemon *daemon);
