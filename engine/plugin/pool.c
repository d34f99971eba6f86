/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Threads that wait until there is numbered work, then take the numbers one by one. A thread that comes too late for a round
 * is not waited for. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/plugin/pool.h"

enum {
	MAX_THREADS = 1024,
	SPINS = 1000 /* looks at what is waited for before a thread sleeps: some 20 to 50 microseconds */
};

/* Whether a round takes threads in; the other bits count those of ours that are in it. */
#define OPEN 0x80000000u

struct cwe_pool {
	uint32_t threads; /* with the caller */
	uint32_t started; /* threads of ours */
	uint32_t spins;
	int tried;        /* they were started, as far as the system let us */
	cpu_set_t cpus;   /* each thread on one of them, if they are as many */
	pthread_t *id;    /* [threads - 1] */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_cond_t idle;
	atomic_uint_least64_t round; /* number of calls of run so far; changed under lock */
	atomic_int stop;             /* likewise */
	atomic_uint gate;
	/* Written while the gate is shut and nobody is in. */
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

/* Tells the processor that this thread only waits. */
static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

/* Waits for another round than `done`; 0 when the pool ends. */
static int wait_for_round(struct cwe_pool *p, uint64_t done)
{
	for (uint32_t i = 0; i < p->spins; i++) {
		if (atomic_load(&p->round) != done || atomic_load(&p->stop)) {
			break;
		}
		relax();
	}
	if (atomic_load(&p->round) == done && !atomic_load(&p->stop)) {
		pthread_mutex_lock(&p->lock);
		while (atomic_load(&p->round) == done && !atomic_load(&p->stop)) {
			pthread_cond_wait(&p->wake, &p->lock);
		}
		pthread_mutex_unlock(&p->lock);
	}
	return !atomic_load(&p->stop);
}

static int enter(struct cwe_pool *p)
{
	unsigned gate = atomic_load(&p->gate);
	while (gate & OPEN) {
		if (atomic_compare_exchange_weak(&p->gate, &gate, gate + 1)) {
			return 1;
		}
	}
	return 0;
}

/* The last one out of a round that is shut wakes its caller. */
static void leave(struct cwe_pool *p)
{
	if (atomic_fetch_sub(&p->gate, 1) == 1) {
		pthread_mutex_lock(&p->lock);
		pthread_cond_signal(&p->idle);
		pthread_mutex_unlock(&p->lock);
	}
}

static void *thread_main(void *data)
{
	struct cwe_pool *p = data;
	uint64_t done = 0;

	while (wait_for_round(p, done)) {
		done = atomic_load(&p->round);
		if (enter(p)) {
			/* It may be a later round by now, which lasts until this thread leaves. */
			done = atomic_load(&p->round);
			take_numbers(p, p->n, p->body, p->arg);
			leave(p);
		}
	}
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

/* The first processor is left to the caller. */
static void pin(const struct cwe_pool *p)
{
	uint32_t thread = 0;
	cpu_set_t one;

	if ((uint32_t)CPU_COUNT(&p->cpus) != p->threads) {
		return;
	}
	for (int cpu = 0, first = 1; cpu < CPU_SETSIZE && thread < p->started; cpu++) {
		if (!CPU_ISSET(cpu, &p->cpus)) {
			continue;
		}
		if (!first) {
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			(void)pthread_setaffinity_np(p->id[thread++], sizeof(one), &one);
		}
		first = 0;
	}
}

/* At the first run, not before: plugins are tried in forked children, and forking is safest while there is one thread.
 * Signals stay with the threads that the program made itself. Where the system gives fewer threads than asked for,
 * those that run do all the work. */
static void start_threads(struct cwe_pool *p)
{
	sigset_t all, old;

	/* Where threads share processors, one that waits would keep another from its work. */
	p->spins = p->threads <= usable_cpus() ? SPINS : 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (p->started + 1 < p->threads) {
		if (pthread_create(&p->id[p->started], NULL, thread_main, p) != 0) {
			break;
		}
		p->started++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pin(p);
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
	atomic_store(&pool->stop, 1);
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

void cwe_pool_pin(struct cwe_pool *pool, const cpu_set_t *cpus)
{
	pool->cpus = *cpus;
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
	pool->n = n;
	pool->body = body;
	pool->arg = arg;
	atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
	atomic_store(&pool->gate, OPEN);
	pthread_mutex_lock(&pool->lock);
	atomic_fetch_add(&pool->round, 1);
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	take_numbers(pool, n, body, arg);
	atomic_fetch_and(&pool->gate, ~OPEN);
	for (uint32_t i = 0; i < pool->spins && atomic_load(&pool->gate) != 0; i++) {
		relax();
	}
	if (atomic_load(&pool->gate) == 0) {
		return;
	}
	pthread_mutex_lock(&pool->lock);
	while (atomic_load(&pool->gate) != 0) {
		pthread_cond_wait(&pool->idle, &pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
}
