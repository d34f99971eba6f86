/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Changes of jobs, each one batch for the store and one event. */
#include "daemon/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/queue_p.h"
#include "daemon/sweep.h"

static const char *const event_names[] = {
	"submitted", "state", "attempt", "checkpoint", "priority", "removed", "progress"};

const char *cwd_event_name(enum cwd_event_kind kind)
{
	return event_names[kind];
}

void cwd_queue_init(struct cwd_queue *queue)
{
	memset(queue, 0, sizeof *queue);
}

void cwd_queue_free(struct cwd_queue *queue)
{
	size_t i;

	for (i = 0; i < queue->n_jobs; i++) {
		cwd_job_free(queue->jobs[i]);
	}
	free(queue->jobs);
	for (i = 0; i < queue->n_events; i++) {
		free(queue->events[i].reason);
	}
	free(queue->events);
	cwd_queue_init(queue);
}

static size_t position(const struct cwd_queue *queue, int64_t id)
{
	size_t low = 0, high = queue->n_jobs;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (queue->jobs[middle]->id < id) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low;
}

struct cwd_job *cwd_queue_find(const struct cwd_queue *queue, int64_t id)
{
	size_t at = position(queue, id);

	return at < queue->n_jobs && queue->jobs[at]->id == id ? queue->jobs[at] : NULL;
}

struct cwd_job *cwd_queue_find_key(const struct cwd_queue *queue, uid_t uid, const char *key)
{
	size_t i;

	for (i = queue->n_jobs; i-- > 0;) {
		if (queue->jobs[i]->uid == uid && strcmp(queue->jobs[i]->key, key) == 0) {
			return queue->jobs[i];
		}
	}
	return NULL;
}

struct cwd_job *cwd_queue_find_output(const struct cwd_queue *queue, const char *output)
{
	size_t i;

	for (i = queue->n_jobs; i-- > 0;) {
		if (!cwd_state_is_final(queue->jobs[i]->state) &&
			strcmp(queue->jobs[i]->output, output) == 0) {
			return queue->jobs[i];
		}
	}
	return NULL;
}

size_t cwd_queue_event_after(const struct cwd_queue *queue, int64_t cursor)
{
	size_t low = 0, high = queue->n_events;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (queue->events[middle].seq <= cursor) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low;
}

int cwd_queue_reserve(struct cwd_queue *queue, size_t n)
{
	size_t room = queue->room ? queue->room : 64;

	while (room < queue->n_jobs + n) {
		room *= 2;
	}
	if (room > queue->room) {
		struct cwd_job **jobs = reallocarray(queue->jobs, room, sizeof *jobs);

		if (jobs == NULL) {
			return -ENOMEM;
		}
		queue->jobs = jobs;
		queue->room = room;
	}
	return 0;
}

int cwd_queue_added(struct cwd_queue *queue, struct cwd_job *job)
{
	size_t at = position(queue, job->id);

	if (cwd_queue_reserve(queue, 1) < 0) {
		return -ENOMEM;
	}
	memmove(&queue->jobs[at + 1], &queue->jobs[at], (queue->n_jobs - at) * sizeof *queue->jobs);
	queue->jobs[at] = job;
	queue->n_jobs++;
	queue->counts[job->state] += job->n_children == 0;
	if (job->id > queue->last_id) {
		queue->last_id = job->id;
	}
	if (job->rank < queue->first_rank) {
		queue->first_rank = job->rank;
	}
	return 0;
}

/* An event on its way to the disk; it becomes known when it is there. */
struct pending {
	struct cwd_queue *queue;
	struct cwd_event event;
};

int cwd_queue_keep_event(struct cwd_queue *queue, const struct cwd_event *event)
{
	size_t i, drop = CWD_EVENTS_MAX / 10;

	if (queue->n_events >= CWD_EVENTS_MAX + drop) {
		for (i = 0; i < drop; i++) {
			free(queue->events[i].reason);
		}
		queue->n_events -= drop;
		memmove(queue->events, queue->events + drop,
			queue->n_events * sizeof *queue->events);
	}
	if (queue->n_events == queue->events_room) {
		size_t room = queue->events_room ? 2 * queue->events_room : 256;
		struct cwd_event *events = reallocarray(queue->events, room, sizeof *events);

		if (events == NULL) {
			free(event->reason); /* the store has it; a late follower misses it */
			return -ENOMEM;
		}
		queue->events = events;
		queue->events_room = room;
	}
	queue->events[queue->n_events++] = *event;
	return 0;
}

static void on_stored(struct cwd_batch *batch, void *arg)
{
	struct pending *pending = arg;
	struct cwd_queue *queue = pending->queue;
	struct cwd_event event = pending->event;
	struct cwd_job *job = cwd_queue_find(queue, event.job);

	(void)batch; /* a transition that could not be stored was logged; listeners still see what
			memory says */
	free(pending);
	if (job != NULL) {
		job->unstored--;
	}
	if (cwd_queue_keep_event(queue, &event) < 0) {
		event.reason = NULL;
	}
	if (queue->on_event != NULL) {
		queue->on_event(&event, job, queue->arg);
	}
}

static void add_event(struct cwd_batch *batch, const struct cwd_event *event)
{
	cwd_batch_add(batch, CWD_INSERT_EVENT, "idissis", event->seq, event->time, event->job,
		cwd_event_name(event->kind), cwd_state_name((enum cwd_state)event->state),
		(int64_t)event->attempt, event->reason);
}

static struct cwd_event make_event(
	struct cwd_queue *queue, const struct cwd_job *job, enum cwd_event_kind kind)
{
	struct cwd_event event = {.seq = ++queue->last_seq,
		.time = queue->now(),
		.job = job->id,
		.kind = kind,
		.state = (int)job->state,
		.attempt = kind != CWD_EVENT_SUBMITTED && job->n_attempts > 0
				   ? job->attempts[job->n_attempts - 1].number
				   : 0,
		.reason = job->reason == NULL ? NULL : strdup(job->reason)};

	return event;
}

void cwd_queue_put_with_event(struct cwd_queue *queue, struct cwd_job *job,
	enum cwd_event_kind kind, struct cwd_batch *batch)
{
	struct pending *pending = calloc(1, sizeof *pending);

	if (pending == NULL || batch == NULL) {
		free(pending);
		cwd_batch_free(batch);
		cwd_log(CWD_LOG_ERROR, "job %lld: no memory to store a change", (long long)job->id);
		return;
	}
	pending->queue = queue;
	pending->event = make_event(queue, job, kind);
	add_event(batch, &pending->event);
	batch->done = on_stored;
	batch->arg = pending;
	job->unstored++;
	queue->put(batch, queue->arg);
	if (kind == CWD_EVENT_STATE && job->parent != 0) {
		cwd_sweep_refresh(queue, cwd_queue_find(queue, job->parent));
	}
}

void cwd_queue_add_update(struct cwd_batch *batch, const struct cwd_job *job)
{
	char *error = job->error == NULL ? NULL : cwd_error_print(job->error);

	if (batch == NULL) {
		free(error);
		return;
	}
	cwd_batch_add(batch, CWD_UPDATE_JOB, "sddssiisi", cwd_state_name(job->state), job->started,
		job->ended, job->reason, error, (int64_t)job->cancelling,
		(int64_t)job->interruptions, job->scratch, job->id);
	free(error);
}

void cwd_queue_number(struct cwd_queue *queue, struct cwd_job *job)
{
	job->id = ++queue->last_id;
	job->rank = job->id;
	job->submitted = queue->now();
}

void cwd_queue_insert(struct cwd_batch *batch, const struct cwd_job *job, const char *text)
{
	char *after = cwd_after_print(job->after, job->n_after),
	     *resources = cwd_resources_print(&job->resources);

	batch->out_of_memory |= after == NULL || resources == NULL;
	cwd_batch_add(batch, CWD_INSERT_JOB, "isisssssssssiidsss", job->id, job->key,
		(int64_t)job->uid, job->owner, job->name, job->directory, text, job->request,
		job->digest, job->model, job->output, cwd_state_name(job->state),
		(int64_t)job->priority, job->rank, job->submitted, after, resources, job->reason);
	if (job->n_children > 0) {
		cwd_batch_add(batch, CWD_UPDATE_SWEEP, "nisi", (int64_t)job->n_children, job->point,
			job->id);
	} else if (job->parent != 0) {
		cwd_batch_add(
			batch, CWD_UPDATE_SWEEP, "iisi", job->parent, (int64_t)0, job->point, job->id);
	}
	free(after);
	free(resources);
}

struct cwd_batch *cwd_queue_add(struct cwd_queue *queue, struct cwd_job *job, const char *text)
{
	struct cwd_batch *batch = cwd_batch_new();

	if (batch == NULL) {
		return NULL;
	}
	batch->may_fail = 1;
	cwd_queue_number(queue, job);
	cwd_queue_insert(batch, job, text);
	return batch;
}

void cwd_queue_set_text(char **text, const char *value)
{
	char *copy = value == NULL ? NULL : strdup(value);

	free(*text);
	*text = copy;
}

void cwd_queue_set_state(
	struct cwd_queue *queue, struct cwd_job *job, enum cwd_state to, const char *reason)
{
	job->not_before = 0;
	if (job->n_children == 0) {
		queue->counts[job->state]--;
		queue->counts[to]++;
		queue->transitions[to]++;
	}
	job->state = to;
	cwd_queue_set_text(&job->reason, reason);
	if (cwd_state_is_final(to)) {
		job->ended = queue->now();
		job->cancelling = 0;
	} else {
		job->ended = 0;
	}
	if (to != CWD_RUNNING) {
		job->progress.known = 0;
	}
}

int cwd_queue_check_move(const struct cwd_job *job, enum cwd_state to, struct cwb_err *err)
{
	/* The state of a sweep follows from those of its jobs, in whichever order they change. */
	if (cwd_state_may(job->state, to) || job->n_children > 0) {
		return 0;
	}
	return cwb_err_set(err, CWP_ESTATE, "job %lld is %s and cannot become %s",
		(long long)job->id, cwd_state_name(job->state), cwd_state_name(to));
}

void cwd_queue_announce(struct cwd_queue *queue, struct cwd_job *job)
{
	cwd_queue_put_with_event(queue, job, CWD_EVENT_SUBMITTED, cwd_batch_new());
}

int cwd_queue_move(struct cwd_queue *queue, struct cwd_job *job, enum cwd_state to,
	const char *reason, struct cwb_err *err)
{
	struct cwd_batch *batch;
	int rc = cwd_queue_check_move(job, to, err);

	if (rc < 0) {
		return rc;
	}
	if (cwd_state_is_final(job->state)) { /* a retry begins anew */
		free(job->error);
		job->error = NULL;
		job->interruptions = 0;
		job->failures = 0;
	}
	cwd_queue_set_state(queue, job, to, reason);
	batch = cwd_batch_new();
	cwd_queue_add_update(batch, job);
	cwd_queue_put_with_event(queue, job, CWD_EVENT_STATE, batch);
	return 0;
}

void cwd_queue_save(struct cwd_queue *queue, struct cwd_job *job)
{
	struct cwd_batch *batch = cwd_batch_new();

	if (batch != NULL) {
		cwd_queue_add_update(batch, job);
		queue->put(batch, queue->arg);
	}
}

static int top_priority(const struct cwd_queue *queue, int priority)
{
	size_t i;

	for (i = 0; i < queue->n_jobs; i++) {
		if (!cwd_state_is_final(queue->jobs[i]->state) &&
			queue->jobs[i]->state != CWD_RUNNING &&
			queue->jobs[i]->priority > priority) {
			priority = queue->jobs[i]->priority;
		}
	}
	return priority;
}

void cwd_queue_set_priority(struct cwd_queue *queue, struct cwd_job *job, int priority, int to_top)
{
	struct cwd_batch *batch = cwd_batch_new();

	job->priority = to_top ? top_priority(queue, job->priority) : priority;
	if (to_top) {
		job->rank = --queue->first_rank;
	}
	if (batch != NULL) {
		cwd_batch_add(batch, CWD_UPDATE_PRIORITY, "iii", (int64_t)job->priority, job->rank,
			job->id);
	}
	cwd_queue_put_with_event(queue, job, CWD_EVENT_PRIORITY, batch);
}

/* From disk and memory, with an event. */
static void forget(struct cwd_queue *queue, struct cwd_job *job)
{
	struct cwd_batch *batch = cwd_batch_new();
	size_t at = position(queue, job->id);

	if (batch != NULL) {
		cwd_batch_add(batch, CWD_DELETE_JOB, "i", job->id);
	}
	cwd_queue_put_with_event(queue, job, CWD_EVENT_REMOVED, batch);
	queue->counts[job->state] -= job->n_children == 0;
	queue->n_jobs--;
	memmove(&queue->jobs[at], &queue->jobs[at + 1], (queue->n_jobs - at) * sizeof *queue->jobs);
	cwd_job_free(job);
}

int cwd_queue_remove(struct cwd_queue *queue, struct cwd_job *job, struct cwb_err *err)
{
	int64_t id = job->id;
	size_t n = job->n_children, i;

	if (!cwd_state_is_final(job->state)) {
		return cwb_err_set(err, CWP_ESTATE, "job %lld is %s; cancel it first",
			(long long)job->id, cwd_state_name(job->state));
	}
	/* The sweep first: its row takes those of its jobs along in one transaction. */
	forget(queue, job);
	for (i = 1; i <= n; i++) {
		struct cwd_job *child = cwd_queue_find(queue, id + (int64_t)i);

		if (child != NULL && child->parent == id) {
			forget(queue, child);
		}
	}
	return 0;
}
