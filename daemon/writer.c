/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The writer thread. */
#include "daemon/writer.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/log.h"

#define GROUP_MAX 64
#define RETRY_NS ((uint64_t)1000000000)

struct cwd_writer {
	struct cwd_store *store;
	uv_thread_t thread;
	uv_mutex_t lock;
	uv_cond_t wake;
	uv_async_t async;
	struct cwd_batch *waiting, *last_waiting;   /* under lock */
	struct cwd_batch *finished, *last_finished; /* under lock */
	int stopping;                               /* under lock */
	int trouble;                                /* under lock */
};

static struct cwd_batch *take_group(struct cwd_writer *writer)
{
	struct cwd_batch *first = writer->waiting, *end = first;
	int n = 1;

	/* Those that may fail go apart: they must not wait while the others are repeated. */
	while (end->next != NULL && n < GROUP_MAX && end->next->may_fail == first->may_fail) {
		end = end->next;
		n++;
	}
	writer->waiting = end->next;
	if (writer->waiting == NULL) {
		writer->last_waiting = NULL;
	}
	end->next = NULL;
	return first;
}

static void append(struct cwd_batch **first, struct cwd_batch **last, struct cwd_batch *batch)
{
	if (*last == NULL) {
		*first = batch;
	} else {
		(*last)->next = batch;
	}
	*last = batch;
}

static void finish(struct cwd_writer *writer, struct cwd_batch *batch)
{
	uv_mutex_lock(&writer->lock);
	batch->next = NULL;
	append(&writer->finished, &writer->last_finished, batch);
	uv_mutex_unlock(&writer->lock);
	(void)uv_async_send(
		&writer->async); /* fails only for a closed handle, which outlives this thread */
}

static void set_trouble(struct cwd_writer *writer, int rc)
{
	uv_mutex_lock(&writer->lock);
	writer->trouble = rc;
	uv_mutex_unlock(&writer->lock);
}

/* Waits before the next try; 0 when the writer is being stopped. */
static int pause_or_stop(struct cwd_writer *writer)
{
	int go_on;

	uv_mutex_lock(&writer->lock);
	if (!writer->stopping) {
		(void)uv_cond_timedwait(&writer->wake, &writer->lock, RETRY_NS);
	}
	go_on = !writer->stopping;
	uv_mutex_unlock(&writer->lock);
	return go_on;
}

/* Disk full, and errors that may pass; a constraint never does. */
static int may_pass(int rc)
{
	return rc == -ENOSPC || rc == -EIO || rc == -ENOMEM;
}

/* While nothing can be written, those who wait for an answer get one. */
static void fail_waiting(struct cwd_writer *writer, int rc, const struct cwb_err *err)
{
	struct cwd_batch *batch, *kept = NULL, *last_kept = NULL, *next;
	int failed = 0;

	uv_mutex_lock(&writer->lock);
	for (batch = writer->waiting; batch != NULL; batch = next) {
		next = batch->next;
		batch->next = NULL;
		if (batch->may_fail) {
			batch->rc = rc;
			batch->err = *err;
			append(&writer->finished, &writer->last_finished, batch);
			failed = 1;
		} else {
			append(&kept, &last_kept, batch);
		}
	}
	writer->waiting = kept;
	writer->last_waiting = last_kept;
	uv_mutex_unlock(&writer->lock);
	if (failed) {
		(void)uv_async_send(&writer->async); /* as above */
	}
}

static void apply_one(struct cwd_writer *writer, struct cwd_batch *batch)
{
	int rc, said = 0;

	for (;;) {
		struct cwb_err err = {0};

		rc = cwd_store_apply(writer->store, batch, &err);
		if (rc == 0 || batch->may_fail || batch->out_of_memory || !may_pass(rc)) {
			break;
		}
		set_trouble(writer, rc);
		if (!said) {
			cwd_log(CWD_LOG_ERROR, "%s; trying again every second", err.message);
			said = 1;
		}
		fail_waiting(writer, rc, &err);
		if (!pause_or_stop(writer)) {
			break;
		}
	}
	if (rc == 0) {
		set_trouble(writer, 0);
	}
	if (rc == 0 && said) {
		cwd_log(CWD_LOG_NOTICE, "the store can be written again");
	}
	if (rc < 0 && !batch->may_fail) {
		cwd_log(CWD_LOG_ERROR, "a change could not be stored: %s", batch->err.message);
	}
	finish(writer, batch);
}

static void apply_group(struct cwd_writer *writer, struct cwd_batch *group)
{
	struct cwd_batch *next;
	int together = cwd_store_apply(writer->store, group, NULL) == 0;

	for (; group != NULL; group = next) {
		next = group->next;
		group->next = NULL;
		if (together) {
			finish(writer, group);
		} else {
			apply_one(writer, group);
		}
	}
}

static void run(void *arg)
{
	struct cwd_writer *writer = arg;

	for (;;) {
		struct cwd_batch *group = NULL;

		uv_mutex_lock(&writer->lock);
		while (writer->waiting == NULL && !writer->stopping) {
			uv_cond_wait(&writer->wake, &writer->lock);
		}
		if (writer->waiting != NULL) {
			group = take_group(writer);
		}
		uv_mutex_unlock(&writer->lock);
		if (group == NULL) {
			return;
		}
		apply_group(writer, group);
	}
}

static void deliver(struct cwd_writer *writer)
{
	for (;;) {
		struct cwd_batch *batch;

		uv_mutex_lock(&writer->lock);
		batch = writer->finished;
		if (batch != NULL) {
			writer->finished = batch->next;
			if (writer->finished == NULL) {
				writer->last_finished = NULL;
			}
			batch->next = NULL;
		}
		uv_mutex_unlock(&writer->lock);
		if (batch == NULL) {
			return;
		}
		if (batch->done != NULL) {
			batch->done(batch, batch->arg);
		}
		cwd_batch_free(batch);
	}
}

static void on_async(uv_async_t *async)
{
	deliver(async->data);
}

int cwd_writer_start(
	uv_loop_t *loop, struct cwd_store *store, struct cwd_writer **ret, struct cwb_err *err)
{
	struct cwd_writer *writer = calloc(1, sizeof *writer);
	int rc;

	if (writer == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the writer");
	}
	writer->store = store;
	writer->async.data = writer;
	rc = uv_mutex_init(&writer->lock);
	if (rc < 0) {
		goto no_lock;
	}
	rc = uv_cond_init(&writer->wake);
	if (rc < 0) {
		goto no_wake;
	}
	rc = uv_async_init(loop, &writer->async, on_async);
	if (rc < 0) {
		goto no_async;
	}
	rc = uv_thread_create(&writer->thread, run, writer);
	if (rc == 0) {
		*ret = writer;
		return 0;
	}
	uv_close((uv_handle_t *)&writer->async, NULL);
	(void)uv_run(loop, UV_RUN_NOWAIT);
no_async:
	uv_cond_destroy(&writer->wake);
no_wake:
	uv_mutex_destroy(&writer->lock);
no_lock:
	free(writer);
	return cwb_err_set(err, rc, "writer thread: %s", uv_strerror(rc));
}

void cwd_writer_put(struct cwd_writer *writer, struct cwd_batch *batch)
{
	if (batch == NULL) {
		return;
	}
	uv_mutex_lock(&writer->lock);
	if (!writer->stopping) {
		append(&writer->waiting, &writer->last_waiting, batch);
		batch = NULL;
		uv_cond_signal(&writer->wake);
	}
	uv_mutex_unlock(&writer->lock);
	cwd_batch_free(batch);
}

int cwd_writer_trouble(struct cwd_writer *writer)
{
	int trouble;

	uv_mutex_lock(&writer->lock);
	trouble = writer->trouble;
	uv_mutex_unlock(&writer->lock);
	return trouble;
}

static void on_close(uv_handle_t *handle)
{
	struct cwd_writer *writer = handle->data;

	uv_cond_destroy(&writer->wake);
	uv_mutex_destroy(&writer->lock);
	free(writer);
}

void cwd_writer_stop(struct cwd_writer *writer)
{
	if (writer == NULL) {
		return;
	}
	uv_mutex_lock(&writer->lock);
	writer->stopping = 1;
	uv_cond_signal(&writer->wake);
	uv_mutex_unlock(&writer->lock);
	uv_thread_join(&writer->thread);
	deliver(writer);
	uv_close((uv_handle_t *)&writer->async, on_close);
}
