/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Threads that take steps one after another. All steps before one that fails were begun before it and come to their end, so that
 * the first error is the same with any number of threads. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "engine/model/reading.h"
#include "engine/plugin/pool.h"

struct step {
	uint64_t number;
	const struct cwe_reading_part *part;
	uint64_t row, rows;
};

struct readers {
	const struct cwe_reading *r;
	uint64_t bytes;       /* of the largest step */
	pthread_mutex_t lock; /* of all below */
	struct step next;     /* rows left of its part are not taken yet */
	int over;
	uint64_t failed; /* the step of code and err */
	int code;
	struct cwb_err err;
};

/* The next part that has rows, or none. */
static void seek(struct readers *g)
{
	const struct cwe_reading_part *end = g->r->part + g->r->parts;
	while (g->next.part < end && g->next.part->rows == 0) {
		g->next.part++;
	}
	if (g->next.part < end) {
		g->next.row = g->next.part->first;
		g->next.rows = g->next.part->rows;
	} else {
		g->over = 1;
	}
}

static int take(struct readers *g, struct step *ret)
{
	(void)pthread_mutex_lock(&g->lock);
	int taken = !g->over;
	if (taken) {
		struct step *next = &g->next;
		*ret = *next;
		ret->rows = next->rows < next->part->step ? next->rows : next->part->step;
		next->number++;
		next->row += ret->rows;
		next->rows -= ret->rows;
		if (next->rows == 0) {
			next->part++;
			seek(g);
		}
	}
	(void)pthread_mutex_unlock(&g->lock);
	return taken;
}

static void fail(struct readers *g, uint64_t number, int code, const struct cwb_err *err)
{
	(void)pthread_mutex_lock(&g->lock);
	if (g->code == 0 || number < g->failed) {
		g->failed = number;
		g->code = code;
		g->err = *err;
	}
	g->over = 1;
	(void)pthread_mutex_unlock(&g->lock);
}

/* A thread for which there is no memory leaves the steps to the others. */
static void *reader(void *arg)
{
	struct readers *g = arg;
	void *raw = malloc(g->bytes + 1);
	struct step s;
	while (raw != NULL && take(g, &s)) {
		struct cwb_err err = {0};
		int r = g->r->run(s.part->arg, s.row, s.rows, raw, &err);
		if (r != 0) {
			fail(g, s.number, r, &err);
		}
	}
	free(raw);
	return NULL;
}

static void *beside(void *arg)
{
	cwe_pool_apart();
	return reader(arg);
}

/* Signals stay with the threads that the program made itself. */
static uint32_t start(struct readers *g, pthread_t *id, uint64_t threads)
{
	sigset_t all, old;
	uint32_t n = 0;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	while (n < threads && pthread_create(&id[n], NULL, beside, g) == 0) {
		n++;
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return n;
}

/* Bytes of the largest step, and how many steps there are. */
static int measure(const struct cwe_reading *r, uint64_t *ret_bytes, uint64_t *ret_steps, struct cwb_err *err)
{
	*ret_bytes = *ret_steps = 0;
	for (size_t i = 0; i < r->parts; i++) {
		const struct cwe_reading_part *p = &r->part[i];
		uint64_t bytes, step = p->step > 0 ? p->step : 1, rows = step < p->rows ? step : p->rows;
		if (__builtin_mul_overflow(rows, p->row_bytes, &bytes) || bytes > PTRDIFF_MAX - 1) {
			return cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " rows of weights", rows);
		}
		*ret_bytes = bytes > *ret_bytes ? bytes : *ret_bytes;
		*ret_steps += p->rows / step + (p->rows % step > 0);
	}
	return 0;
}

int cwe_reading_run(const struct cwe_reading *reading, struct cwb_err *err)
{
	struct readers g = {.r = reading, .lock = PTHREAD_MUTEX_INITIALIZER, .next = {.part = reading->part}};
	pthread_t id[CWE_READERS];
	uint64_t steps;
	int r = measure(reading, &g.bytes, &steps, err);
	if (r != 0) {
		return r;
	}
	seek(&g);
	uint64_t threads = reading->threads < CWE_READERS ? reading->threads : CWE_READERS;
	threads = steps < threads ? steps : threads;
	uint32_t others = threads > 1 ? start(&g, id, threads - 1) : 0;
	(void)reader(&g);
	for (uint32_t i = 0; i < others; i++) {
		(void)pthread_join(id[i], NULL);
	}
	(void)pthread_mutex_destroy(&g.lock);
	if (g.code != 0) {
		return cwb_err_set(err, g.code, "%s", g.err.message);
	}
	return g.over ? 0 : cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " bytes of weights", g.bytes);
}
