/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Threads that sleep until there is numbered work, then take the numbers one by one. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/plugin/pool.h"

enum { MAX_THREADS = 1024 };

struct cwe_pool {
	uint32_t threads; /* with the caller */
	uint32_t started; /* threads of ours */
	int tried;        /* they were started, as far as the system let us */
	pthread_t *id;    /* [threads - 1] */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_cond_t idle;
	uint64_t round;   /* number of calls of run so far; under lock, as all below but next */
	uint32_t busy;    /* threads of ours that have not finished this round */
	int stop;
	size_t n;
	void (*body)(void *arg, size_t i);
	void *arg;
	atomic_size_t next;
};

/* Set while this thread is inside a body: a nested call would wait for itself, so it runs in place. */
static _Thread_local int inside;

static void take_numbers(struct cwe_pool *p, size_t n, void (*body)(void *arg, size_t i), void *arg)
{
	inside = 1;
	for (;;) {
		size_t i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
		if (i >= n) {
			break;
		}
		body(arg, i);
	}
	inside = 0;
}

static void *thread_main(void *data)
{
	struct cwe_pool *p = data;
	uint64_t done = 0;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->stop && p->round == done) {
			pthread_cond_wait(&p->wake, &p->lock);
		}
		if (p->stop) {
			break;
		}
		done = p->round;
		size_t n = p->n;
		void (*body)(void *, size_t) = p->body;
		void *arg = p->arg;
		pthread_mutex_unlock(&p->lock);
		take_numbers(p, n, body, arg);
		pthread_mutex_lock(&p->lock);
		if (--p->busy == 0) {
			pthread_cond_signal(&p->idle);
		}
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static uint32_t usable_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0) {
		int n = CPU_COUNT(&set);
		if (n > 0) {
			return (uint32_t)n;
		}
	}
	return 1;
}

/* At the first run, not before: plugins are tried in forked children, and forking is safest while there is one thread.
 * Signals stay with the threads that the program made itself. Where the system gives fewer threads than asked for,
 * those that run do all the work. */
static void start_threads(struct cwe_pool *p)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (p->started + 1 < p->threads) {
		if (pthread_create(&p->id[p->started], NULL, thread_main, p) != 0) {
			break;
		}
		p->started++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	p->tried = 1;
}

int cwe_pool_new(uint32_t threads, struct cwe_pool **ret, struct cwb_err *err)
{
	if (threads == 0) {
		threads = usable_cpus();
	}
	if (threads > MAX_THREADS) {
		return cwb_err_set(err, CWP_EVALUE, "%u threads asked for, at most %d are possible", (unsigned)threads, MAX_THREADS);
	}
	struct cwe_pool *p = calloc(1, sizeof(*p));
	if (p == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %u threads", (unsigned)threads);
	}
	p->threads = threads;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	pthread_cond_init(&p->idle, NULL);
	p->id = calloc(threads, sizeof(*p->id));
	if (p->id == NULL) {
		cwe_pool_free(p);
		return cwb_err_set(err, -ENOMEM, "no memory for %u threads", (unsigned)threads);
	}
	*ret = p;
	return 0;
}

void cwe_pool_free(struct cwe_pool *pool)
{
	if (pool == NULL) {
		return;
	}
	pthread_mutex_lock(&pool->lock);
	pool->stop = 1;
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (uint32_t i = 0; i < pool->started; i++) {
		pthread_join(pool->id[i], NULL);
	}
	pthread_cond_destroy(&pool->idle);
	pthread_cond_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lock);
	free(pool->id);
	free(pool);
}

uint32_t cwe_pool_threads(const struct cwe_pool *pool)
{
	return pool->threads;
}

int cwe_pool_limit(struct cwe_pool *pool, uint32_t threads)
{
	uint32_t most = threads > 0 ? threads : 1;

	if (!pool->tried && pool->threads > most) {
		pool->threads = most;
	}
	return pool->threads <= most;
}

void cwe_pool_apart(void)
{
	inside = 1;
}

void cwe_pool_run(struct cwe_pool *pool, size_t n, void (*body)(void *arg, size_t i), void *arg)
{
	if (n <= 1 || pool->threads == 1 || inside) {
		int outer = inside;
		inside = 1;
		for (size_t i = 0; i < n; i++) {
			body(arg, i);
		}
		inside = outer;
		return;
	}
	if (!pool->tried) {
		start_threads(pool);
	}
	pthread_mutex_lock(&pool->lock);
	pool->n = n;
	pool->body = body;
	pool->arg = arg;
	atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
	pool->busy = pool->started;
	pool->round++;
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	take_numbers(pool, n, body, arg);
	pthread_mutex_lock(&pool->lock);
	while (pool->busy > 0) {
		pthread_cond_wait(&pool->idle, &pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
}
