/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The one thread that writes to the store. Batches are committed in the order in which they were
 * given, several in one transaction when they wait together; done is called on the loop afterwards.
 */
#pragma once

#include <uv.h>

#include "daemon/store.h"

struct cwd_writer;

/* The store belongs to the writer until it is stopped. */
int cwd_writer_start(
	uv_loop_t *loop, struct cwd_store *store, struct cwd_writer **ret, struct cwb_err *err);

/* Takes the batch (NULL: nothing happens). [loop-thread] */
void cwd_writer_put(struct cwd_writer *writer, struct cwd_batch *batch);

/* -ENOSPC and the like while batches that must not fail are being repeated, else 0. [any-thread] */
int cwd_writer_trouble(struct cwd_writer *writer);

/* Commits what waits, once more even in trouble, joins the thread, and closes the async handle.
 * Batches that could not be written are freed without done. The loop must run once more before the
 * writer is freed, which happens by itself. [loop-thread] */
void cwd_writer_stop(struct cwd_writer *writer);
