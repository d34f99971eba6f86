/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The order of jobs. */
#include "daemon/schedule.h"

#include <stdio.h>
#include <string.h>

#include "daemon/schedule_gpu.h"
#include "daemon/sweep.h"

struct cwd_resources cwd_schedule_need(
	const struct cwd_job *job, const struct cwd_capacity *capacity)
{
	struct cwd_resources need = job->resources;

	if (need.threads == 0 || need.threads > capacity->threads) {
		need.threads = capacity->threads;
	}
	if (need.memory > capacity->memory) {
		need.memory = capacity->memory;
	}
	if (capacity->scratch != 0 && need.scratch > capacity->scratch) {
		need.scratch = capacity->scratch;
	}
	return need;
}

struct use {
	size_t running;
	uint32_t threads;
	uint64_t memory;
	uint64_t scratch;
};

static void add_use(struct use *use, const struct cwd_job *job, const struct cwd_capacity *capacity)
{
	struct cwd_resources need = cwd_schedule_need(job, capacity);

	use->running++;
	use->threads += need.threads;
	use->memory += need.memory;
	use->scratch += need.scratch;
}

static struct use count_use(const struct cwd_queue *queue, const struct cwd_capacity *capacity)
{
	struct use use = {0};
	size_t i;

	for (i = 0; i < queue->n_jobs; i++) {
		const struct cwd_job *job = queue->jobs[i];

		if (job->n_children == 0 && (job->state == CWD_RUNNING || job->starting)) {
			add_use(&use, job, capacity);
		}
	}
	return use;
}

/* But for a GPU. */
static int fits(
	const struct cwd_job *job, const struct use *use, const struct cwd_capacity *capacity)
{
	struct cwd_resources need = cwd_schedule_need(job, capacity);

	if (capacity->running != 0 && use->running >= capacity->running) {
		return 0;
	}
	if (capacity->scratch != 0 && use->scratch + need.scratch > capacity->scratch) {
		return 0;
	}
	return use->threads + need.threads <= capacity->threads &&
	       use->memory + need.memory <= capacity->memory;
}

static enum cwd_wait check_condition(
	const struct cwd_queue *queue, const struct cwd_after *after, int *ret_state)
{
	const struct cwd_job *parent = cwd_queue_find(queue, after->id);

	if (parent == NULL) {
		*ret_state = -1;
		return CWD_WAIT_NEVER;
	}
	*ret_state = (int)parent->state;
	if (!cwd_state_is_final(parent->state)) {
		return CWD_WAIT_YES;
	}
	if (after->condition == CWD_AFTER_ANY ||
		(after->condition == CWD_AFTER_OK) == (parent->state == CWD_DONE)) {
		return CWD_WAIT_NO;
	}
	return CWD_WAIT_NEVER;
}

enum cwd_wait cwd_schedule_dependency(
	const struct cwd_queue *queue, const struct cwd_job *job, int64_t *ret_id, int *ret_state)
{
	enum cwd_wait result = CWD_WAIT_NO;
	size_t i;

	for (i = 0; i < job->n_after; i++) {
		int state;
		enum cwd_wait wait = check_condition(queue, &job->after[i], &state);

		if (wait > result) {
			result = wait;
			*ret_id = job->after[i].id;
			*ret_state = state;
		}
	}
	return result;
}

static int is_before(const struct cwd_job *a, const struct cwd_job *b)
{
	if (a->priority != b->priority) {
		return a->priority > b->priority;
	}
	return a->rank != b->rank ? a->rank < b->rank : a->id < b->id;
}

/* A user with enough running jobs lets others pass. */
static int is_over_quota(const struct cwd_queue *queue, const struct cwd_capacity *capacity,
	const struct cwd_job *job)
{
	size_t i, n = 0;

	if (capacity->running_per_user == 0) {
		return 0;
	}
	for (i = 0; i < queue->n_jobs; i++) {
		n += queue->jobs[i]->state == CWD_RUNNING && queue->jobs[i]->uid == job->uid &&
		     queue->jobs[i]->n_children == 0;
	}
	return n >= capacity->running_per_user;
}

static int is_ready(const struct cwd_queue *queue, const struct cwd_capacity *capacity,
	const struct cwd_job *job)
{
	int64_t id;
	int state;

	return job->state == CWD_QUEUED && job->n_children == 0 && !job->starting && !job->cleaning &&
	       job->not_before <= capacity->now &&
	       cwd_schedule_dependency(queue, job, &id, &state) == CWD_WAIT_NO &&
	       !cwd_schedule_lacks_gpus(job, capacity) &&
	       !is_over_quota(queue, capacity, job);
}

/* The first in order, or the one behind `last`. */
static struct cwd_job *next_ready(const struct cwd_queue *queue, const struct cwd_capacity *capacity,
	const struct cwd_job *last)
{
	struct cwd_job *first = NULL;
	size_t i;

	for (i = 0; i < queue->n_jobs; i++) {
		struct cwd_job *job = queue->jobs[i];

		if (is_ready(queue, capacity, job) && (last == NULL || is_before(last, job)) &&
			(first == NULL || is_before(job, first))) {
			first = job;
		}
	}
	return first;
}

struct cwd_job *cwd_schedule_next(
	const struct cwd_queue *queue, const struct cwd_capacity *capacity)
{
	const struct cwd_gpu *gpus[CWJ_GPUS_MAX];
	struct use use;
	struct cwd_job *job;
	int waiting = 0; /* a job for GPUs, whose turn it is */

	if (capacity->draining || queue->counts[CWD_QUEUED] == 0) {
		return NULL;
	}
	use = count_use(queue, capacity);
	for (job = next_ready(queue, capacity, NULL); job != NULL && fits(job, &use, capacity);
		job = next_ready(queue, capacity, job)) {
		if (!cwd_schedule_needs_gpu(job, capacity)) {
			return job;
		}
		if (!waiting && cwd_schedule_gpus(queue, capacity, job, gpus) > 0) {
			return job;
		}
		/* What it needs beside the GPU stays free for it. */
		if (!waiting) {
			add_use(&use, job, capacity);
		}
		waiting = 1;
	}
	return NULL;
}

static int explain_dependency(
	const struct cwd_queue *queue, const struct cwd_job *job, char *buffer, size_t size)
{
	int64_t id = 0;
	int state = -1;

	switch (cwd_schedule_dependency(queue, job, &id, &state)) {
	case CWD_WAIT_NO:
		return 0;
	case CWD_WAIT_YES:
		snprintf(buffer, size, "waits for job %lld, which is %s", (long long)id,
			cwd_state_name((enum cwd_state)state));
		return 1;
	case CWD_WAIT_NEVER:
		break;
	}
	snprintf(buffer, size, "waits for job %lld, which %s%s", (long long)id,
		state < 0 ? "is gone" : "ended as ",
		state < 0 ? "" : cwd_state_name((enum cwd_state)state));
	return 1;
}

static int explain_turn(const struct cwd_queue *queue, const struct cwd_capacity *capacity,
	const struct cwd_job *job, char *buffer, size_t size)
{
	size_t i, before = 0;
	struct use use = count_use(queue, capacity);
	struct cwd_resources need = cwd_schedule_need(job, capacity);
	const struct cwd_gpu *gpus[CWJ_GPUS_MAX];

	for (i = 0; i < queue->n_jobs; i++) {
		before += queue->jobs[i] != job && is_ready(queue, capacity, queue->jobs[i]) &&
			  is_before(queue->jobs[i], job);
	}
	if (before > 0) {
		snprintf(buffer, size, "%zu %s before it in the queue", before,
			before == 1 ? "job is" : "jobs are");
		return 1;
	}
	if (fits(job, &use, capacity)) {
		int waits = cwd_schedule_needs_gpu(job, capacity) && cwd_schedule_gpus(queue, capacity, job, gpus) == 0;

		if (waits) {
			cwd_schedule_explain_gpu(queue, capacity, job, buffer, size);
		}
		return waits;
	}
	if (capacity->running != 0 && use.running >= capacity->running) {
		snprintf(buffer, size, "%zu jobs run already, more are not allowed", use.running);
	} else if (use.threads + need.threads > capacity->threads) {
		snprintf(buffer, size, "needs %u threads, %u of %u are in use", need.threads,
			use.threads, capacity->threads);
	} else if (capacity->scratch != 0 && use.scratch + need.scratch > capacity->scratch) {
		snprintf(buffer, size,
			"needs %llu MiB of scratch space, %llu of %llu MiB are reserved",
			(unsigned long long)(need.scratch >> 20),
			(unsigned long long)(use.scratch >> 20),
			(unsigned long long)(capacity->scratch >> 20));
	} else {
		snprintf(buffer, size, "needs %llu MiB of memory, %llu of %llu MiB are reserved",
			(unsigned long long)(need.memory >> 20),
			(unsigned long long)(use.memory >> 20),
			(unsigned long long)(capacity->memory >> 20));
	}
	return 1;
}

int cwd_schedule_explain(const struct cwd_queue *queue, const struct cwd_capacity *capacity,
	const struct cwd_job *job, int i, char *buffer, size_t size)
{
	int n = 0;

	if (job->n_children > 0) {
		return cwd_sweep_explain(queue, capacity, job, i, buffer, size);
	}
	if (job->reason != NULL && n++ == i) {
		snprintf(buffer, size, "%s", job->reason);
		return 1;
	}
	if (job->state != CWD_QUEUED || job->starting) {
		if (n == i && job->reason == NULL) {
			snprintf(buffer, size, "the job is %s", cwd_state_name(job->state));
			return 1;
		}
		return 0;
	}
	if (capacity->draining && n++ == i) {
		snprintf(buffer, size, "the daemon is draining and starts no jobs");
		return 1;
	}
	if (explain_dependency(queue, job, buffer, size)) {
		return n++ == i;
	}
	if (job->not_before > capacity->now) {
		snprintf(buffer, size, "waits %.0f s before it is tried again",
			job->not_before - capacity->now);
		return n++ == i;
	}
	if (is_over_quota(queue, capacity, job)) {
		snprintf(buffer, size, "%zu jobs of yours run already (quotas.running)",
			capacity->running_per_user);
		return n++ == i;
	}
	if (cwd_schedule_lacks_gpus(job, capacity)) {
		cwd_schedule_explain_gpu(queue, capacity, job, buffer, size);
		return n++ == i;
	}
	if (explain_turn(queue, capacity, job, buffer, size) && n++ == i) {
		return 1;
	}
	return 0;
}
