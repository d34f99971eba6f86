/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The choice of a GPU. */
#include "daemon/schedule_gpu.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

int cwd_schedule_needs_gpu(const struct cwd_job *job, const struct cwd_capacity *capacity)
{
	return job->resources.gpu_memory > 0 && capacity->n_gpus > 0 && job->n_children == 0;
}

/* The backend takes the beginning of a UUID too. */
static int is_asked(const struct cwd_job *job, const struct cwd_gpu *gpu)
{
	const char *asked = job->resources.gpu;

	return asked[0] == '\0' || strncasecmp(gpu->uuid, asked, strlen(asked)) == 0;
}

/* Jobs on a GPU, and the memory that they reserve. */
static size_t count_jobs(const struct cwd_queue *queue, const struct cwd_gpu *gpu, uint64_t *ret_memory)
{
	size_t i, n = 0;

	*ret_memory = 0;
	for (i = 0; i < queue->n_jobs; i++) {
		const struct cwd_job *job = queue->jobs[i];

		if ((job->state == CWD_RUNNING || job->starting) && strcmp(job->gpu, gpu->uuid) == 0) {
			n++;
			*ret_memory += job->resources.gpu_memory;
		}
	}
	return n;
}

/* Largest memory of the GPUs that the job may have: what needs more gets that one, and its worker says what it thinks. */
static uint64_t largest(const struct cwd_capacity *capacity, const struct cwd_job *job)
{
	uint64_t most = 0;
	size_t i;

	for (i = 0; i < capacity->n_gpus; i++) {
		const struct cwd_gpu *gpu = &capacity->gpus[i];

		most = is_asked(job, gpu) && gpu->memory > most ? gpu->memory : most;
	}
	return most;
}

static int failed_on(const struct cwd_job *job, const struct cwd_gpu *gpu)
{
	const struct cwd_attempt *last = job->n_attempts > 0 ? &job->attempts[job->n_attempts - 1] : NULL;

	return last != NULL && job->failures > 0 && last->gpu != NULL && strcmp(last->gpu, gpu->uuid) == 0;
}

const struct cwd_gpu *cwd_schedule_gpu(
	const struct cwd_queue *queue, const struct cwd_capacity *capacity, const struct cwd_job *job)
{
	const struct cwd_gpu *best = NULL;
	uint64_t need = job->resources.gpu_memory, most = largest(capacity, job), best_free = 0;
	size_t i, best_jobs = 0;

	if (!cwd_schedule_needs_gpu(job, capacity)) {
		return NULL;
	}
	need = need > most ? most : need;
	for (i = 0; i < capacity->n_gpus; i++) {
		const struct cwd_gpu *gpu = &capacity->gpus[i];
		uint64_t taken, idle;
		size_t n = count_jobs(queue, gpu, &taken);

		idle = taken < gpu->memory ? gpu->memory - taken : 0;
		if (!is_asked(job, gpu) || n >= (capacity->gpu_jobs > 0 ? capacity->gpu_jobs : 1) || idle < need) {
			continue;
		}
		if (best == NULL || failed_on(job, gpu) < failed_on(job, best) ||
			(failed_on(job, gpu) == failed_on(job, best) &&
				(n < best_jobs || (n == best_jobs && idle > best_free)))) {
			best = gpu;
			best_jobs = n;
			best_free = idle;
		}
	}
	return best;
}

void cwd_schedule_explain_gpu(const struct cwd_queue *queue, const struct cwd_capacity *capacity, const struct cwd_job *job,
	char *buffer, size_t size)
{
	size_t i, fitting = 0, busy = 0;
	uint64_t taken;

	for (i = 0; i < capacity->n_gpus; i++) {
		const struct cwd_gpu *gpu = &capacity->gpus[i];

		fitting += (size_t)is_asked(job, gpu);
		busy += (size_t)(is_asked(job, gpu) && count_jobs(queue, gpu, &taken) > 0);
	}
	if (fitting == 0) {
		snprintf(buffer, size, "needs GPU %s, which this daemon does not have (gpus)", job->resources.gpu);
	} else if (job->resources.gpu[0] != '\0') {
		snprintf(buffer, size, "needs GPU %s, which is in use", job->resources.gpu);
	} else {
		snprintf(buffer, size, "needs a GPU with %llu MiB of memory, %zu of %zu are in use",
			(unsigned long long)(job->resources.gpu_memory >> 20), busy, fitting);
	}
}
