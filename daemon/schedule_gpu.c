/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The choice of GPUs. */
#include "daemon/schedule_gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MARGIN_PART 16u
#define MARGIN_MOST (UINT64_C(1) << 30)

/* A GPU as a job sees it. */
struct candidate {
	const struct cwd_gpu *gpu;
	size_t jobs;   /* on it */
	uint64_t idle; /* bytes that they leave */
	int failed;    /* the job's last attempt was on it, and failed */
	int taken;     /* by this choice */
};

int cwd_schedule_needs_gpu(const struct cwd_job *job, const struct cwd_capacity *capacity)
{
	return job->resources.gpu_memory > 0 && capacity->n_gpus > 0 && job->n_children == 0;
}

static uint32_t wanted(const struct cwd_job *job)
{
	return job->resources.gpus > 1 ? job->resources.gpus : 1;
}

/* Whether it may be the first one. The backend takes the beginning of a UUID too. */
static int is_asked(const struct cwd_job *job, const struct cwd_gpu *gpu)
{
	const char *asked = job->resources.gpu;

	return asked[0] == '\0' || strncasecmp(gpu->uuid, asked, strlen(asked)) == 0;
}

int cwd_schedule_lacks_gpus(const struct cwd_job *job, const struct cwd_capacity *capacity)
{
	size_t i, named = 0;

	for (i = 0; i < capacity->n_gpus; i++) {
		named += (size_t)is_asked(job, &capacity->gpus[i]);
	}
	return cwd_schedule_needs_gpu(job, capacity) && (named == 0 || wanted(job) > capacity->n_gpus);
}

static int is_in(const char *list, const char *uuid)
{
	size_t n = strlen(uuid);
	const char *at = list;

	while (at != NULL && (strncmp(at, uuid, n) != 0 || (at[n] != ',' && at[n] != '\0'))) {
		at = strchr(at, ',');
		at = at != NULL ? at + 1 : NULL;
	}
	return at != NULL;
}

/* What jobs that share a GPU leave of it. A plan leaves a margin to the driver (a sixteenth, at most 1 GiB): jobs together have
 * to leave it too, or the last one would find less than its plan says. */
static uint64_t idle_beside(const struct cwd_gpu *gpu, uint64_t taken)
{
	uint64_t margin = gpu->memory / MARGIN_PART < MARGIN_MOST ? gpu->memory / MARGIN_PART : MARGIN_MOST;

	if (taken == 0) {
		return gpu->memory;
	}
	return taken < gpu->memory - margin ? gpu->memory - margin - taken : 0;
}

/* Jobs on a GPU, and the memory that they reserve. */
static size_t count_jobs(const struct cwd_queue *queue, const struct cwd_gpu *gpu, uint64_t *ret_memory)
{
	size_t i, n = 0;

	*ret_memory = 0;
	for (i = 0; i < queue->n_jobs; i++) {
		const struct cwd_job *job = queue->jobs[i];

		if ((job->state == CWD_RUNNING || job->starting) && is_in(job->gpus, gpu->uuid)) {
			n++;
			*ret_memory += job->resources.gpu_memory;
		}
	}
	return n;
}

static int failed_on(const struct cwd_job *job, const struct cwd_gpu *gpu)
{
	const struct cwd_attempt *last = job->n_attempts > 0 ? &job->attempts[job->n_attempts - 1] : NULL;

	return last != NULL && job->failures > 0 && is_in(last->gpus, gpu->uuid);
}

static int by_memory(const struct candidate *a, const struct candidate *b)
{
	return a->gpu->memory > b->gpu->memory;
}

static int by_use(const struct candidate *a, const struct candidate *b)
{
	if (a->failed != b->failed) {
		return a->failed < b->failed;
	}
	return a->jobs != b->jobs ? a->jobs < b->jobs : a->idle > b->idle;
}

/* Takes the best that has `need` bytes, the first in order among equals; first: one that the job may begin with. */
static struct candidate *take(struct candidate *list, size_t n, const struct cwd_job *job, int first, uint64_t need,
	int (*is_better)(const struct candidate *a, const struct candidate *b))
{
	struct candidate *best = NULL;
	size_t i;

	for (i = 0; i < n; i++) {
		if (!list[i].taken && list[i].idle >= need && (!first || is_asked(job, list[i].gpu)) &&
			(best == NULL || is_better(&list[i], best))) {
			best = &list[i];
		}
	}
	if (best != NULL) {
		best->taken = 1;
	}
	return best;
}

/* What the job needs of each, but no more than as many as it wants have at all: what needs more gets the largest, and its
 * worker says what it thinks. */
static uint64_t attainable(struct candidate *list, size_t n, const struct cwd_job *job)
{
	uint64_t need = job->resources.gpu_memory;
	uint32_t k;
	size_t i;

	for (k = 0; k < wanted(job); k++) {
		const struct candidate *c = take(list, n, job, k == 0, 0, by_memory);

		need = c != NULL && c->gpu->memory < need ? c->gpu->memory : need;
	}
	for (i = 0; i < n; i++) {
		list[i].taken = 0;
	}
	return need;
}

static size_t choose(struct candidate *list, const struct cwd_queue *queue, const struct cwd_capacity *capacity,
	const struct cwd_job *job, const struct cwd_gpu **ret)
{
	size_t i, n = capacity->n_gpus, most = capacity->gpu_jobs > 0 ? capacity->gpu_jobs : 1, found = 0;
	uint64_t need, taken;

	for (i = 0; i < n; i++) {
		list[i].gpu = &capacity->gpus[i];
	}
	need = attainable(list, n, job);
	for (i = 0; i < n; i++) {
		list[i].jobs = count_jobs(queue, list[i].gpu, &taken);
		list[i].idle = idle_beside(list[i].gpu, taken);
		list[i].failed = failed_on(job, list[i].gpu);
		list[i].taken = list[i].jobs >= most;
	}
	while (found < wanted(job)) {
		const struct candidate *c = take(list, n, job, found == 0, need, by_use);

		if (c == NULL) {
			return 0;
		}
		ret[found++] = c->gpu;
	}
	return found;
}

size_t cwd_schedule_gpus(const struct cwd_queue *queue, const struct cwd_capacity *capacity, const struct cwd_job *job,
	const struct cwd_gpu **ret)
{
	struct candidate *list;
	size_t n;

	if (!cwd_schedule_needs_gpu(job, capacity) || wanted(job) > CWJ_GPUS_MAX) {
		return 0;
	}
	list = calloc(capacity->n_gpus, sizeof *list);
	n = list != NULL ? choose(list, queue, capacity, job, ret) : 0; /* without memory it waits */
	free(list);
	return n;
}

char *cwd_schedule_gpu_list(const struct cwd_gpu *const *gpus, size_t n)
{
	char *text = calloc(n + 1, CWD_GPU_UUID);
	size_t i, at = 0;

	for (i = 0; text != NULL && i < n; i++) {
		at += (size_t)snprintf(text + at, (n + 1) * CWD_GPU_UUID - at, "%s%s", i > 0 ? "," : "", gpus[i]->uuid);
	}
	return text;
}

/* Why it never gets them. */
static void explain_lack(const struct cwd_capacity *capacity, const struct cwd_job *job, char *buffer, size_t size)
{
	if (wanted(job) > capacity->n_gpus) {
		snprintf(buffer, size, "needs %u GPUs, of which this daemon has %zu (gpus)", (unsigned)wanted(job), capacity->n_gpus);
	} else {
		snprintf(buffer, size, "needs GPU %s, which this daemon does not have (gpus)", job->resources.gpu);
	}
}

void cwd_schedule_explain_gpu(const struct cwd_queue *queue, const struct cwd_capacity *capacity, const struct cwd_job *job,
	char *buffer, size_t size)
{
	unsigned long long mib = (unsigned long long)(job->resources.gpu_memory >> 20);
	size_t i, busy = 0;
	uint64_t taken;

	if (cwd_schedule_lacks_gpus(job, capacity)) {
		explain_lack(capacity, job, buffer, size);
		return;
	}
	for (i = 0; i < capacity->n_gpus; i++) {
		busy += (size_t)(count_jobs(queue, &capacity->gpus[i], &taken) > 0);
	}
	if (wanted(job) > 1) {
		snprintf(buffer, size, "needs %u GPUs%s%s at once with %llu MiB of memory each, %zu of %zu are in use",
			(unsigned)wanted(job), job->resources.gpu[0] != '\0' ? " with " : "", job->resources.gpu, mib, busy,
			capacity->n_gpus);
	} else if (job->resources.gpu[0] != '\0') {
		snprintf(buffer, size, "needs GPU %s, which is in use", job->resources.gpu);
	} else {
		snprintf(buffer, size, "needs a GPU with %llu MiB of memory, %zu of %zu are in use", mib, busy, capacity->n_gpus);
	}
}
