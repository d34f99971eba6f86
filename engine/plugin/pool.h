/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A fixed set of threads that run numbered pieces of work. Results never depend on their number. */
#pragma once

#include <sched.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cwe_pool;

/* threads: including the caller; 0: as many as the process may use (sched_getaffinity). They start with the first run. */
int cwe_pool_new(uint32_t threads, struct cwe_pool **ret, struct cwb_err *err);
void cwe_pool_free(struct cwe_pool *pool); /* NULL is allowed */
uint32_t cwe_pool_threads(const struct cwe_pool *pool);
/* At most so many threads from now on, 0 meaning one. Whether it is so: once the pool has run, its number stays. */
int cwe_pool_limit(struct cwe_pool *pool, uint32_t threads);

/* The processors that are the program's own, before the first run. Where there are as many as threads, each thread of the pool
 * stays on one of them. The caller, whose threads and children inherit from it, stays free: what the others leave is its own.
 * Where the system refuses, a thread stays free too. */
void cwe_pool_pin(struct cwe_pool *pool, const cpu_set_t *cpus);

/* What the calling thread, which is none of a pool's, runs from now on is run by itself alone: it may do so beside the thread
 * that runs the pool. */
void cwe_pool_apart(void);

/* body(arg, i) once for each i in [0, n), then returns. Called from one thread at a time; not nested. */
void cwe_pool_run(struct cwe_pool *pool, size_t n, void (*body)(void *arg, size_t i), void *arg);
/* The same with tasks that may fail: 0, or the code that the first of them, by number, returned, which told err what; err may be
 * NULL. pool NULL: one after another, up to the first that fails. Otherwise all are run. */
int cwe_pool_try(struct cwe_pool *pool, size_t n, int (*task)(void *arg, size_t i, struct cwb_err *err), void *arg, struct cwb_err *err);
