/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which GPUs a job gets. Pure, as schedule.h. */
#pragma once

#include "daemon/schedule.h"
#include "job/job.h"

/* Whether the job needs one of the GPUs that are known. */
int cwd_schedule_needs_gpu(const struct cwd_job *job, const struct cwd_capacity *capacity);

/* Whether it asks for more GPUs than are known, or for one that is not: then it waits for another configuration and is passed
 * by all others. */
int cwd_schedule_lacks_gpus(const struct cwd_job *job, const struct cwd_capacity *capacity);

/* The GPUs that the job would get now, [CWJ_GPUS_MAX], all that it asks for at once, the one that it names first. Returns their
 * number; 0: they are not to be had together, or none is needed. Whole ones, or with capacity->gpu_jobs above 1 such whose
 * memory still has what the job's plan says of each; not those on which it failed last, where there are others. */
size_t cwd_schedule_gpus(const struct cwd_queue *queue, const struct cwd_capacity *capacity, const struct cwd_job *job,
	const struct cwd_gpu **ret);

/* Their UUIDs with commas between them; NULL: no memory. */
char *cwd_schedule_gpu_list(const struct cwd_gpu *const *gpus, size_t n);

/* Why it gets none. */
void cwd_schedule_explain_gpu(const struct cwd_queue *queue, const struct cwd_capacity *capacity, const struct cwd_job *job,
	char *buffer, size_t size);
