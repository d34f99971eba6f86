/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Jobs, attempts and events as the interface shows them. All results are new references, NULL when
 * memory ran out. */
#pragma once

#include <jansson.h>

#include "daemon/daemon.h"

json_t *cwd_present_job(const struct cwd_daemon *daemon, const struct cwd_job *job);
json_t *cwd_present_detail(const struct cwd_daemon *daemon, const struct cwd_job *job);
json_t *cwd_present_progress(const struct cwd_progress *progress); /* null when nothing is known */
json_t *cwd_present_resources(const struct cwd_resources *resources);
json_t *cwd_present_event(const struct cwd_event *event,
	const struct cwd_progress *progress); /* progress may be NULL */
/* Sentences why the job does not run. */
json_t *cwd_present_reasons(const struct cwd_daemon *daemon, const struct cwd_job *job);
/* A text, or null for NULL; what is not UTF-8 is escaped. */
json_t *cwd_present_text(const char *text);
