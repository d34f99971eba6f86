/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A queue with a clock that stands still, a store that only listens, and a memory of its events. */
#pragma once

#include "daemon/queue.h"
#include "daemon/schedule.h"

extern struct cwd_queue queue;
extern struct cwd_capacity capacity;
extern double clock_now; /* 1000 at first */

/* What the store is given. */
extern struct cwd_batch *held_back; /* batches are kept here while `hold` is set */
extern int hold, n_writes;
void deliver(struct cwd_batch *batch);

/* What listeners hear. */
extern int n_events, n_removed, last_state;
extern enum cwd_event_kind last_kind;
extern char heard[512]; /* states of sweeps, a space after each */

int set_up(void **state);
int tear_down(void **state);
/* Of one thread, in no queue yet. */
struct cwd_job *new_job(const char *key);
