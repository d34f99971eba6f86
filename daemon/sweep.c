/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The state of a sweep from the states of its jobs. */
#include "daemon/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/queue_p.h"

struct cwd_job *cwd_sweep_child(
	const struct cwd_queue *queue, const struct cwd_job *sweep, size_t i)
{
	struct cwd_job *job =
		i < sweep->n_children ? cwd_queue_find(queue, sweep->id + 1 + (int64_t)i) : NULL;

	return job != NULL && job->parent == sweep->id ? job : NULL;
}

void cwd_sweep_count(
	const struct cwd_queue *queue, const struct cwd_job *sweep, struct cwd_sweep_count *ret)
{
	size_t i;

	memset(ret, 0, sizeof *ret);
	for (i = 0; i < sweep->n_children; i++) {
		const struct cwd_job *job = cwd_sweep_child(queue, sweep, i);

		if (job != NULL) {
			ret->all++;
			ret->n[job->state]++;
			ret->ended += (size_t)cwd_state_is_final(job->state);
		}
	}
}

/* Of a sweep whose jobs have not all ended. */
static enum cwd_state open_state(const struct cwd_sweep_count *c)
{
	if (c->n[CWD_RUNNING] > 0 || (c->ended > 0 && c->n[CWD_QUEUED] > 0)) {
		return CWD_RUNNING;
	}
	if (c->n[CWD_QUEUED] > 0) {
		return CWD_QUEUED;
	}
	return c->n[CWD_PAUSED] > 0 ? CWD_PAUSED : CWD_HELD;
}

/* Of one whose jobs have all ended. */
static enum cwd_state outcome(const struct cwd_sweep_count *c)
{
	static const enum cwd_state order[] = {CWD_FAILED, CWD_CANCELLED, CWD_REJECTED};
	size_t i;

	for (i = 0; i < sizeof order / sizeof order[0]; i++) {
		if (c->n[order[i]] > 0) {
			return order[i];
		}
	}
	return CWD_DONE;
}

static void note_progress(struct cwd_job *sweep, const struct cwd_sweep_count *c)
{
	struct cwd_progress *p = &sweep->progress;

	if (sweep->state == CWD_RUNNING && !sweep->starting) {
		memset(p, 0, sizeof *p);
		p->known = p->of_jobs = 1;
		p->done = c->ended;
		p->total = c->all;
		p->eta = -1;
		snprintf(p->unit, sizeof p->unit, "jobs");
	}
}

static void move(struct cwd_queue *queue, struct cwd_job *sweep, enum cwd_state to,
	const struct cwd_sweep_count *c)
{
	struct cwd_batch *batch;
	char reason[160] = "";

	if (cwd_state_is_final(sweep->state)) { /* one of its jobs is tried again */
		free(sweep->error);
		sweep->error = NULL;
		sweep->interruptions = 0;
		sweep->failures = 0;
	}
	if (cwd_state_is_final(to)) {
		cwd_sweep_say(queue, sweep, reason, sizeof reason);
	}
	cwd_queue_set_state(queue, sweep, to, reason[0] ? reason : NULL);
	if (to == CWD_RUNNING && sweep->started == 0) {
		sweep->started = queue->now();
	}
	note_progress(sweep, c);
	batch = cwd_batch_new();
	cwd_queue_add_update(batch, sweep);
	cwd_queue_put_with_event(queue, sweep, CWD_EVENT_STATE, batch);
}

/* A report needs a job that has one. */
static int has_results(const struct cwd_sweep_count *c)
{
	return c->n[CWD_DONE] + c->n[CWD_REJECTED] > 0;
}

void cwd_sweep_refresh(struct cwd_queue *queue, struct cwd_job *sweep)
{
	struct cwd_sweep_count c;
	enum cwd_state to;

	if (sweep == NULL) {
		return;
	}
	cwd_sweep_count(queue, sweep, &c);
	if (c.ended < c.all) {
		to = open_state(&c);
	} else if (cwd_state_is_final(sweep->state) || sweep->starting) {
		return; /* ended, or its report's attempt ends it */
	} else {
		to = has_results(&c) ? CWD_RUNNING : outcome(&c);
	}
	if (to != sweep->state) {
		move(queue, sweep, to, &c);
	} else {
		note_progress(sweep, &c);
	}
}

void cwd_sweep_reopen(struct cwd_queue *queue, struct cwd_job *sweep)
{
	struct cwd_sweep_count c;

	cwd_sweep_count(queue, sweep, &c);
	move(queue, sweep, CWD_RUNNING, &c);
}

struct cwd_job *cwd_sweep_next_report(const struct cwd_queue *queue, double now)
{
	size_t i;

	for (i = 0; i < queue->n_jobs; i++) {
		struct cwd_job *job = queue->jobs[i];
		struct cwd_sweep_count c;

		if (job->n_children == 0 || job->state != CWD_RUNNING || job->starting ||
			job->cleaning || job->not_before > now) {
			continue;
		}
		cwd_sweep_count(queue, job, &c);
		if (c.ended == c.all) {
			return job;
		}
	}
	return NULL;
}

enum cwd_state cwd_sweep_after_report(
	const struct cwd_queue *queue, const struct cwd_job *sweep, enum cwd_state attempt)
{
	struct cwd_sweep_count c;

	cwd_sweep_count(queue, sweep, &c);
	if (c.ended < c.all) {
		return open_state(&c); /* one of its jobs is tried again meanwhile */
	}
	if (attempt == CWD_DONE) {
		return outcome(&c);
	}
	return attempt == CWD_FAILED || attempt == CWD_CANCELLED ? attempt : CWD_RUNNING;
}

void cwd_sweep_say(
	const struct cwd_queue *queue, const struct cwd_job *sweep, char *buffer, size_t size)
{
	struct cwd_sweep_count c;
	size_t used, said = 0;
	int i;

	cwd_sweep_count(queue, sweep, &c);
	used = (size_t)snprintf(buffer, size, "%zu of %zu jobs have ended", c.ended, c.all);
	for (i = 0; i < CWD_N_STATES; i++) {
		int n = c.n[i] == 0 || used >= size
				? 0
				: snprintf(buffer + used, size - used, "%s%zu %s",
					  said++ == 0 ? ": " : ", ", c.n[i],
					  cwd_state_name((enum cwd_state)i));

		used += n > 0 ? (size_t)n : 0;
	}
}

int cwd_sweep_explain(const struct cwd_queue *queue, const struct cwd_capacity *capacity,
	const struct cwd_job *sweep, int i, char *buffer, size_t size)
{
	char text[512];
	size_t k;

	if (i == 0) {
		cwd_sweep_say(queue, sweep, buffer, size);
		return 1;
	}
	if (i > 1 || cwd_state_is_final(sweep->state)) {
		return 0;
	}
	/* The first of those that wait. */
	for (k = 0; k < sweep->n_children; k++) {
		const struct cwd_job *job = cwd_sweep_child(queue, sweep, k);

		if (job != NULL && !cwd_state_is_final(job->state) && job->state != CWD_RUNNING &&
			cwd_schedule_explain(queue, capacity, job, 0, text, sizeof text)) {
			snprintf(buffer, size, "job %lld: %s", (long long)job->id, text);
			return 1;
		}
	}
	return 0;
}
