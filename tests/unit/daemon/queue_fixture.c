/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the tests of queue and sweeps share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/daemon/queue_fixture.h"

struct cwd_queue queue;
struct cwd_capacity capacity;
double clock_now;
struct cwd_batch *held_back;
int hold, n_writes, n_events, n_removed, last_state;
enum cwd_event_kind last_kind;
char heard[512];

static double now(void)
{
	return clock_now;
}

void deliver(struct cwd_batch *batch)
{
	if (batch->done != NULL) {
		batch->done(batch, batch->arg);
	}
	cwd_batch_free(batch);
}

static void put(struct cwd_batch *batch, void *arg)
{
	(void)arg;
	assert_false(batch->out_of_memory);
	for (const struct cwd_write *write = batch->first; write != NULL; write = write->next) {
		n_writes++;
	}
	if (hold) {
		assert_null(held_back);
		held_back = batch;
		return;
	}
	deliver(batch);
}

static void on_event(const struct cwd_event *event, struct cwd_job *job, void *arg)
{
	(void)arg;
	n_events++;
	n_removed += event->kind == CWD_EVENT_REMOVED;
	last_kind = event->kind;
	last_state = event->state;
	if (job != NULL && job->n_children > 0 && event->kind == CWD_EVENT_STATE) {
		const char *name = cwd_state_name((enum cwd_state)event->state);
		assert_true(strlen(heard) + strlen(name) + 2 <= sizeof heard);
		strcat(heard, name);
		strcat(heard, " ");
	}
}

int set_up(void **state)
{
	(void)state;
	cwd_queue_init(&queue);
	queue.now = now;
	queue.put = put;
	queue.on_event = on_event;
	clock_now = 1000;
	hold = n_writes = n_events = n_removed = 0;
	heard[0] = '\0';
	return 0;
}

int tear_down(void **state)
{
	(void)state;
	cwd_queue_free(&queue);
	return 0;
}

struct cwd_job *new_job(const char *key)
{
	struct cwd_job *job = calloc(1, sizeof *job);

	assert_non_null(job);
	job->key = strdup(key);
	job->owner = strdup("me");
	job->name = strdup("n");
	job->directory = strdup("/");
	job->request = strdup("r");
	job->digest = strdup("d");
	job->model = strdup("/m");
	job->output = strdup("/o");
	job->resources.threads = 1;
	return job;
}
