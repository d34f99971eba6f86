/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What jobs leave on the disk beside their outputs: scratch folders, which go when their jobs need them no more, and the
 * cache of scores, which is held to its size and age. Folders are removed on threads. */
#pragma once

#include "daemon/daemon.h"

/* Beside the output, where there is room for what becomes as large as the output, or below the configured folder. Freed
 * with free(); NULL when memory ran out. */
char *cwd_scratch_path(const struct cwd_daemon *daemon, const struct cwd_job *job);

/* Removes the scratch folder of a job. */
void cwd_scratch_clean(struct cwd_daemon *daemon, struct cwd_job *job);
/* The same of a job that has ended, unless it failed in a way that may pass: then it is kept for a while, since a retry
 * goes on from there. */
void cwd_scratch_end(struct cwd_daemon *daemon, struct cwd_job *job);
/* The same of a job that is about to be forgotten: a daemon that dies before the folder is gone leaves a note of it. */
void cwd_scratch_forget(struct cwd_daemon *daemon, struct cwd_job *job);

/* At start, when the jobs are known: removes folders of jobs that are not. */
void cwd_scratch_recover(struct cwd_daemon *daemon);
/* Once a second: folders that were kept long enough; once an hour: the cache. */
void cwd_scratch_tick(struct cwd_daemon *daemon);
