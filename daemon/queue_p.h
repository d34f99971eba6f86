/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Inside of the queue. */
#pragma once

#include "daemon/queue.h"

/* Adds an event of that kind to the batch (NULL: out of memory, which is logged) and hands the
 * batch over. */
void cwd_queue_put_with_event(struct cwd_queue *queue, struct cwd_job *job,
	enum cwd_event_kind kind, struct cwd_batch *batch);
/* Adds CWD_UPDATE_JOB; batch may be NULL. A time of 0 stands for "not yet". */
void cwd_queue_add_update(struct cwd_batch *batch, const struct cwd_job *job);
/* In memory only. */
void cwd_queue_set_state(
	struct cwd_queue *queue, struct cwd_job *job, enum cwd_state to, const char *reason);
void cwd_queue_set_text(char **text, const char *value);
/* CWP_ESTATE when the table forbids the move. */
int cwd_queue_check_move(const struct cwd_job *job, enum cwd_state to, struct cwb_err *err);
/* Takes the event's reason, also on -ENOMEM. */
int cwd_queue_keep_event(struct cwd_queue *queue, const struct cwd_event *event);
