/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Follow and Wait. */
#include "daemon/ctl/watch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/ctl/present.h"

#define WAIT_MAX 1000

void cwd_watch_add(struct cwd_watcher *watcher)
{
	struct cwd_daemon *daemon = watcher->call->daemon;

	watcher->next = daemon->watchers;
	watcher->back = &daemon->watchers;
	if (watcher->next != NULL) {
		watcher->next->back = &watcher->next;
	}
	daemon->watchers = watcher;
}

void cwd_watch_remove(struct cwd_watcher *watcher)
{
	if (watcher->back == NULL) {
		return;
	}
	*watcher->back = watcher->next;
	if (watcher->next != NULL) {
		watcher->next->back = watcher->back;
	}
	watcher->back = NULL;
}

void cwd_watch_event(struct cwd_daemon *daemon, const struct cwd_event *event, struct cwd_job *job)
{
	struct cwd_watcher *watcher, *next;

	for (watcher = daemon->watchers; watcher != NULL; watcher = next) {
		next = watcher->next;
		watcher->on_event(watcher, event, job);
	}
}

void cwd_watch_progress(struct cwd_daemon *daemon, struct cwd_job *job)
{
	struct cwd_watcher *watcher, *next;

	for (watcher = daemon->watchers; watcher != NULL; watcher = next) {
		next = watcher->next;
		if (watcher->on_progress != NULL) {
			watcher->on_progress(watcher, job);
		}
	}
}

struct follow {
	struct cwd_watcher watcher;
	int64_t id; /* 0: all jobs */
	int64_t cursor;
	double last_progress; /* monotonic; progress is passed on a few times a second */
};

static void follow_end(struct follow *follow)
{
	cwd_watch_remove(&follow->watcher);
	free(follow);
}

static void follow_gone(struct cwd_call *call)
{
	follow_end(call->data);
	cwd_call_drop(call);
}

static json_t *event_reply(const struct cwd_event *event, const struct cwd_progress *progress)
{
	return json_pack("{s:o}", "event", cwd_present_event(event, progress));
}

static int is_end(const struct cwd_event *event)
{
	return event->kind == CWD_EVENT_REMOVED ||
	       (event->kind == CWD_EVENT_STATE && event->state >= 0 &&
		       cwd_state_is_final((enum cwd_state)event->state));
}

/* Whether the caller may hear of it; of jobs that are gone only those hear who may deal with all.
 */
static int concerns(
	const struct follow *follow, const struct cwd_event *event, const struct cwd_job *job)
{
	const struct cwd_call *call = follow->watcher.call;

	if (follow->id != 0) {
		return event->job == follow->id;
	}
	return job == NULL ? call->admin : cwd_call_may_see(call, job);
}

/* 1: that was the last one, and the follower is gone. */
static int follow_send(struct follow *follow, const struct cwd_event *event)
{
	struct cwd_call *call = follow->watcher.call;

	follow->cursor = event->seq;
	if (follow->id != 0 && is_end(event)) {
		follow_end(follow);
		cwd_call_reply(call, event_reply(event, NULL));
		return 1;
	}
	(void)cwd_call_continue(
		call, event_reply(event, NULL)); /* a lost caller is cleaned up by `gone` */
	return 0;
}

static void follow_event(
	struct cwd_watcher *watcher, const struct cwd_event *event, struct cwd_job *job)
{
	struct follow *follow = (struct follow *)watcher;

	if (event->seq > follow->cursor && concerns(follow, event, job)) {
		(void)follow_send(follow, event); /* either way nothing is left to do */
	}
}

static void follow_progress(struct cwd_watcher *watcher, struct cwd_job *job)
{
	struct follow *follow = (struct follow *)watcher;
	double now = cwd_monotonic_now();
	struct cwd_event event = {.seq = follow->cursor,
		.time = cwd_wall_now(),
		.job = job->id,
		.kind = CWD_EVENT_PROGRESS,
		.state = (int)job->state,
		.attempt = (int)job->n_attempts};

	if (!concerns(follow, &event, job) ||
		(now - follow->last_progress < 0.1 && job->progress.done != job->progress.total)) {
		return;
	}
	follow->last_progress = now;
	(void)cwd_call_continue(watcher->call, event_reply(&event, &job->progress)); /* as above */
}

/* Events that are kept, from the cursor on. 1: the follower is gone. */
static int replay(struct follow *follow)
{
	struct cwd_queue *queue = &follow->watcher.call->daemon->queue;
	size_t i;

	for (i = cwd_queue_event_after(queue, follow->cursor); i < queue->n_events; i++) {
		const struct cwd_event *event = &queue->events[i];

		if (!concerns(follow, event, cwd_queue_find(queue, event->job))) {
			continue;
		}
		/* A job that was run again went on after its earlier ends. */
		if (follow->id != 0 && is_end(event) && event->kind != CWD_EVENT_REMOVED) {
			const struct cwd_job *job = cwd_queue_find(queue, follow->id);

			if (job != NULL && !cwd_state_is_final(job->state)) {
				follow->cursor = event->seq;
				(void)cwd_call_continue(follow->watcher.call,
					event_reply(event, NULL)); /* as above */
				continue;
			}
		}
		if (follow_send(follow, event)) {
			return 1;
		}
	}
	return 0;
}

/* What a follower without a cursor sees first: the present state. 1: that was the end. */
static int present_state(struct follow *follow, const struct cwd_job *job)
{
	struct cwd_event event = {.seq = follow->cursor,
		.time = cwd_wall_now(),
		.job = job->id,
		.kind = CWD_EVENT_STATE,
		.state = (int)job->state,
		.attempt = (int)job->n_attempts,
		.reason = job->reason};

	return follow_send(follow, &event);
}

void cwd_jobs_follow(struct cwd_call *call)
{
	struct cwd_queue *queue = &call->daemon->queue;
	struct cwd_job *job = NULL;
	struct follow *follow;
	int64_t cursor = cwd_call_int(call, "cursor", -1);

	if (cwd_call_string(call, "id") != NULL) {
		job = cwd_call_job(call, "id");
		if (job == NULL) {
			return;
		}
	}
	follow = calloc(1, sizeof *follow);
	if (follow == NULL) {
		cwd_call_error(
			call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", "no memory"));
		return;
	}
	follow->watcher.call = call;
	follow->watcher.on_event = follow_event;
	follow->watcher.on_progress = follow_progress;
	follow->id = job == NULL ? 0 : job->id;
	call->data = follow;
	call->gone = follow_gone;
	cwd_watch_add(&follow->watcher);
	if (cursor >= 0) {
		follow->cursor = cursor;
		/* A job whose end lies before the cursor: say it again, there will be no other. */
		if (replay(follow) || job == NULL || !cwd_state_is_final(job->state) ||
			job->unstored > 0) {
			return;
		}
	} else {
		follow->cursor = queue->n_events == 0 ? 0 : queue->events[queue->n_events - 1].seq;
	}
	if (job != NULL && job->unstored == 0) {
		(void)present_state(follow, job); /* nothing is left to do */
	}
}

struct wait {
	struct cwd_watcher watcher;
	size_t n;
	int64_t *ids; /* of jobs that have not ended; 0: answered */
	size_t left;
};

static void wait_end(struct wait *wait)
{
	cwd_watch_remove(&wait->watcher);
	free(wait->ids);
	free(wait);
}

static void wait_gone(struct cwd_call *call)
{
	wait_end(call->data);
	cwd_call_drop(call);
}

/* 1: that was the last one. */
static int wait_answer(struct wait *wait, size_t i, const char *state, const char *reason)
{
	struct cwd_call *call = wait->watcher.call;
	char id[24];
	json_t *reply;

	snprintf(id, sizeof id, "%" PRId64, wait->ids[i]);
	reply = json_pack(
		"{s:s, s:s, s:o}", "id", id, "state", state, "reason", cwd_present_text(reason));
	wait->ids[i] = 0;
	if (--wait->left > 0) {
		(void)cwd_call_continue(call, reply); /* a lost caller is cleaned up by `gone` */
		return 0;
	}
	wait_end(wait);
	cwd_call_reply(call, reply);
	return 1;
}

static void wait_event(
	struct cwd_watcher *watcher, const struct cwd_event *event, struct cwd_job *job)
{
	struct wait *wait = (struct wait *)watcher;
	size_t i;

	(void)job;
	if (!is_end(event)) {
		return;
	}
	for (i = 0; i < wait->n; i++) {
		if (wait->ids[i] == event->job &&
			wait_answer(wait, i, cwd_state_name((enum cwd_state)event->state),
				event->reason)) {
			return;
		}
	}
}

/* Every id must be a job of the caller's. 0, or the call was answered. */
static int take_ids(struct cwd_call *call, struct wait *wait)
{
	const json_t *list = json_object_get(call->parameters, "ids"), *element;
	size_t i;

	json_array_foreach(list, i, element)
	{
		const char *text = json_string_value(element);
		struct cwd_job *job = cwd_queue_find(&call->daemon->queue, cwd_id_parse(text));

		if (job == NULL || !cwd_call_may_see(call, job)) {
			cwd_call_error(
				call, "org.cwpd.Jobs.NoSuchJob", json_pack("{s:s}", "id", text));
			return -1;
		}
		wait->ids[wait->n++] = job->id;
	}
	wait->left = wait->n;
	return 0;
}

void cwd_jobs_wait(struct cwd_call *call)
{
	size_t i, n = json_array_size(json_object_get(call->parameters, "ids"));
	struct wait *wait;

	if (n == 0 || n > WAIT_MAX) {
		cwd_call_error(call, "org.varlink.service.InvalidParameter",
			json_pack("{s:s}", "parameter", "ids"));
		return;
	}
	wait = calloc(1, sizeof *wait);
	if (wait == NULL || (wait->ids = calloc(n, sizeof *wait->ids)) == NULL) {
		free(wait);
		cwd_call_error(
			call, "org.cwpd.Jobs.Internal", json_pack("{s:s}", "reason", "no memory"));
		return;
	}
	if (take_ids(call, wait) < 0) {
		free(wait->ids);
		free(wait);
		return;
	}
	wait->watcher.call = call;
	wait->watcher.on_event = wait_event;
	call->data = wait;
	call->gone = wait_gone;
	cwd_watch_add(&wait->watcher);
	for (i = 0; i < n; i++) {
		const struct cwd_job *job = cwd_queue_find(&call->daemon->queue, wait->ids[i]);

		/* An end that is not on disk yet comes as an event. */
		if (job != NULL && cwd_state_is_final(job->state) && job->unstored == 0 &&
			wait_answer(wait, i, cwd_state_name(job->state), job->reason)) {
			return;
		}
	}
}
