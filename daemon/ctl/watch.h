/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Calls that wait for something to happen: Follow, Wait, and Log with more. */
#pragma once

#include "daemon/ctl/call.h"

/* One call that waits. Its owner is notified on the loop; it may free itself in there. */
struct cwd_watcher {
	struct cwd_call *call;
	void (*on_event)(
		struct cwd_watcher *watcher, const struct cwd_event *event, struct cwd_job *job);
	void (*on_progress)(struct cwd_watcher *watcher, struct cwd_job *job); /* may be NULL */
	struct cwd_watcher *next, **back;
};

void cwd_watch_add(struct cwd_watcher *watcher);
void cwd_watch_remove(struct cwd_watcher *watcher);

/* Told by the queue after a commit, and by the supervisor. */
void cwd_watch_event(struct cwd_daemon *daemon, const struct cwd_event *event, struct cwd_job *job);
void cwd_watch_progress(struct cwd_daemon *daemon, struct cwd_job *job);

void cwd_jobs_follow(struct cwd_call *call);
void cwd_jobs_wait(struct cwd_call *call);
