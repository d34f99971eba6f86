/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which GPU a job gets. Pure, as schedule.h. */
#pragma once

#include "daemon/schedule.h"

/* Whether the job needs one of the GPUs that are known. */
int cwd_schedule_needs_gpu(const struct cwd_job *job, const struct cwd_capacity *capacity);

/* The GPU that the job would get now, NULL: none is to be had, or none needed. A whole one, or with capacity->gpu_jobs above 1
 * one whose memory still has what the job's plan says; not the one on which it failed last, where there is another. */
const struct cwd_gpu *cwd_schedule_gpu(
	const struct cwd_queue *queue, const struct cwd_capacity *capacity, const struct cwd_job *job);

/* Why it gets none. */
void cwd_schedule_explain_gpu(const struct cwd_queue *queue, const struct cwd_capacity *capacity, const struct cwd_job *job,
	char *buffer, size_t size);
