/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The plugins that are there, as cwp-probe describes them, one process for each file. The daemon
 * opens none itself. */
#pragma once

#include <jansson.h>

#include "daemon/daemon.h"

/* Looks into the plugin folders and probes each file that changed since the last time, two at a
 * time; then calls done. CWP_ESTATE: it is being done already. */
int cwd_plugins_scan(struct cwd_daemon *daemon, void (*done)(struct cwd_daemon *daemon, void *arg),
	void *arg, struct cwb_err *err);

/* What was found last, as the interface shows it; a new reference, NULL when memory ran out. */
json_t *cwd_plugins_present(const struct cwd_daemon *daemon);
size_t cwd_plugins_count(const struct cwd_daemon *daemon, size_t *ret_bad);

int cwd_plugins_is_scanning(const struct cwd_daemon *daemon);

/* Ends a scan without done. */
void cwd_plugins_abandon(struct cwd_daemon *daemon);
void cwd_plugins_free(struct cwd_daemon *daemon);
