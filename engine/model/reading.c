/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A ring of steps: readers fill them, whoever comes first, and the caller takes them in their order. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "engine/model/reading.h"
#include "engine/plugin/pool.h"

#define SLOTS (2 * CWE_READERS)

struct slot {
	void *raw;
	int full;
	int code;
	struct cwb_err err;
};

struct ring {
	const struct cwe_reading *r;
	uint64_t steps;
	uint64_t slots;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t changed;
	uint64_t next;  /* step that the next free reader takes */
	uint64_t taken; /* steps that the caller is through with */
	int stop;
	struct slot slot[SLOTS];
};

static uint64_t rows_of(const struct cwe_reading *r, uint64_t step, uint64_t *ret_row)
{
	uint64_t at = step * r->step;
	*ret_row = r->first + at;
	return r->rows - at < r->step ? r->rows - at : r->step;
}

static void fill(struct ring *g, uint64_t step)
{
	struct slot *s = &g->slot[step % g->slots];
	uint64_t row, n = rows_of(g->r, step, &row);
	s->err = (struct cwb_err){0};
	s->code = g->r->fill(g->r->arg, row, n, s->raw, &s->err);
}

static void *reader(void *arg)
{
	struct ring *g = arg;
	cwe_pool_apart();
	(void)pthread_mutex_lock(&g->lock);
	while (!g->stop && g->next < g->steps) {
		uint64_t step = g->next;
		if (step >= g->taken + g->slots) {
			(void)pthread_cond_wait(&g->changed, &g->lock);
			continue;
		}
		g->next++;
		(void)pthread_mutex_unlock(&g->lock);
		fill(g, step);
		(void)pthread_mutex_lock(&g->lock);
		g->slot[step % g->slots].full = 1;
		(void)pthread_cond_broadcast(&g->changed);
	}
	(void)pthread_mutex_unlock(&g->lock);
	return NULL;
}

/* The caller's part: a step is filled by readers or, where there are none, here. */
static int take(struct ring *g, uint64_t step, int readers, struct cwb_err *err)
{
	struct slot *s = &g->slot[step % g->slots];
	uint64_t row, n = rows_of(g->r, step, &row);
	if (readers) {
		(void)pthread_mutex_lock(&g->lock);
		while (!s->full) {
			(void)pthread_cond_wait(&g->changed, &g->lock);
		}
		(void)pthread_mutex_unlock(&g->lock);
	} else {
		fill(g, step);
	}
	int r = s->code != 0 ? cwb_err_set(err, s->code, "%s", s->err.message) : g->r->use(g->r->arg, row, n, s->raw, err);
	if (readers) {
		(void)pthread_mutex_lock(&g->lock);
		s->full = 0;
		g->taken++;
		g->stop = r != 0;
		(void)pthread_cond_broadcast(&g->changed);
		(void)pthread_mutex_unlock(&g->lock);
	}
	return r;
}

/* Signals stay with the threads that the program made itself. */
static uint32_t start(struct ring *g, pthread_t *id, uint32_t threads)
{
	sigset_t all, old;
	uint32_t n = 0;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	while (n < threads && pthread_create(&id[n], NULL, reader, g) == 0) {
		n++;
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return n;
}

static int run(struct ring *g, uint32_t threads, struct cwb_err *err)
{
	pthread_t id[CWE_READERS];
	int r = 0;
	uint32_t readers = threads > 1 ? start(g, id, threads) : 0;
	for (uint64_t step = 0; r == 0 && step < g->steps; step++) {
		r = take(g, step, readers > 0, err);
	}
	for (uint32_t i = 0; i < readers; i++) {
		(void)pthread_join(id[i], NULL);
	}
	return r;
}

int cwe_reading_run(const struct cwe_reading *reading, struct cwb_err *err)
{
	uint64_t step = reading->step < reading->rows ? reading->step : reading->rows;
	if (reading->rows == 0) {
		return 0;
	}
	uint64_t steps = (reading->rows + reading->step - 1) / reading->step;
	uint64_t threads = steps < reading->threads ? steps : reading->threads;
	struct ring g = {.r = reading, .steps = steps, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	threads = threads < CWE_READERS ? threads : CWE_READERS;
	uint64_t wanted = threads > 1 ? 2 * threads : 1;
	uint64_t bytes;
	int large = __builtin_mul_overflow(step, reading->row_bytes, &bytes) || bytes > PTRDIFF_MAX - 1;
	/* Fewer steps at a time where memory is short. */
	while (!large && g.slots < wanted && (g.slot[g.slots].raw = malloc(bytes + 1)) != NULL) {
		g.slots++;
	}
	int r = g.slots > 0 ? run(&g, g.slots > 1 ? (uint32_t)threads : 1, err)
			    : cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " rows of weights", step);
	for (uint64_t i = 0; i < g.slots; i++) {
		free(g.slot[i].raw);
	}
	(void)pthread_cond_destroy(&g.changed);
	(void)pthread_mutex_destroy(&g.lock);
	return r;
}
