/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The thread pool and the host table on top of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/plugin/host.h"

enum { N = 10007 };

struct work {
	atomic_int calls[N];
	atomic_int others; /* calls from a thread that is not the first */
	pthread_t first;
};

static void body(void *arg, size_t i)
{
	struct work *w = arg;

	atomic_fetch_add(&w->calls[i], 1);
	if (!pthread_equal(pthread_self(), w->first)) {
		atomic_fetch_add(&w->others, 1);
	}
}

static void test_each_once(void **state)
{
	static const uint32_t threads[] = {1, 2, 3, 16};
	struct work *w = malloc(sizeof(*w));

	(void)state;
	assert_non_null(w);
	for (size_t t = 0; t < 4; t++) {
		struct cwe_pool *pool = NULL;
		assert_int_equal(cwe_pool_new(threads[t], &pool, NULL), 0);
		assert_int_equal(cwe_pool_threads(pool), threads[t]);
		for (size_t n = 0; n <= N; n = n < 20 ? n + 1 : n * 7 + 3) {
			memset(w, 0, sizeof(*w));
			w->first = pthread_self();
			cwe_pool_run(pool, n, body, w);
			for (size_t i = 0; i < N; i++) {
				assert_int_equal(atomic_load(&w->calls[i]), i < n ? 1 : 0);
			}
			if (threads[t] == 1) {
				assert_int_equal(atomic_load(&w->others), 0);
			}
		}
		cwe_pool_free(pool);
	}
	free(w);
}

struct meeting {
	pthread_barrier_t barrier;
	atomic_int met;
};

/* Returns only when both numbers are being worked on at the same time. */
static void meet(void *arg, size_t i)
{
	struct meeting *m = arg;

	(void)i;
	pthread_barrier_wait(&m->barrier);
	atomic_fetch_add(&m->met, 1);
}

static void test_runs_at_once(void **state)
{
	struct cwe_pool *pool = NULL;
	struct meeting m = {.met = 0};

	(void)state;
	assert_int_equal(cwe_pool_new(2, &pool, NULL), 0);
	pthread_barrier_init(&m.barrier, NULL, 2);
	for (int i = 0; i < 200; i++) {
		cwe_pool_run(pool, 2, meet, &m);
	}
	assert_int_equal(atomic_load(&m.met), 400);
	pthread_barrier_destroy(&m.barrier);
	cwe_pool_free(pool);
}

struct nest {
	struct cwe_pool *pool;
	struct work *w;
};

static void nested(void *arg, size_t i)
{
	struct nest *n = arg;

	(void)i;
	cwe_pool_run(n->pool, 10, body, n->w);
}

static void test_nested_call_does_not_hang(void **state)
{
	struct nest n = {.w = calloc(1, sizeof(struct work))};

	(void)state;
	assert_non_null(n.w);
	n.w->first = pthread_self();
	assert_int_equal(cwe_pool_new(3, &n.pool, NULL), 0);
	cwe_pool_run(n.pool, 5, nested, &n);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(atomic_load(&n.w->calls[i]), 5);
	}
	cwe_pool_free(n.pool);
	free(n.w);
}

static void test_sizes(void **state)
{
	struct cwe_pool *pool = NULL;
	struct cwb_err err = {0};

	(void)state;
	assert_int_equal(cwe_pool_new(0, &pool, &err), 0);
	assert_true(cwe_pool_threads(pool) >= 1);
	cwe_pool_free(pool);
	cwe_pool_free(NULL);
	/* Fewer threads, until the first run. */
	assert_int_equal(cwe_pool_new(6, &pool, &err), 0);
	assert_true(cwe_pool_limit(pool, 8));
	assert_int_equal(cwe_pool_threads(pool), 6);
	assert_true(cwe_pool_limit(pool, 3));
	assert_int_equal(cwe_pool_threads(pool), 3);
	struct work *w = calloc(1, sizeof(*w));
	assert_non_null(w);
	w->first = pthread_self();
	cwe_pool_run(pool, N, body, w);
	assert_false(cwe_pool_limit(pool, 2));
	assert_int_equal(cwe_pool_threads(pool), 3);
	assert_true(cwe_pool_limit(pool, 3));
	free(w);
	cwe_pool_free(pool);
	assert_int_equal(cwe_pool_new(2, &pool, &err), 0);
	assert_true(cwe_pool_limit(pool, 0));
	assert_int_equal(cwe_pool_threads(pool), 1);
	cwe_pool_free(pool);
	assert_int_equal(cwe_pool_new(100000, &pool, &err), CWP_EVALUE);
	assert_non_null(strstr(err.message, "100000 threads"));
}

struct lines {
	int level;
	char text[64];
};

static void keep_line(void *arg, int level, const char *text)
{
	struct lines *l = arg;

	l->level = level;
	snprintf(l->text, sizeof(l->text), "%s", text);
}

struct places {
	pthread_t first;
	atomic_int at_work;
	atomic_int wrong;
	cpu_set_t cpus;           /* of the program */
	atomic_int seen[CPU_SETSIZE]; /* by a thread that may use only this one */
};

/* Until all are in: each thread has a number. */
static void look(void *arg, size_t i)
{
	struct places *p = arg;
	cpu_set_t set;

	(void)i;
	atomic_fetch_add(&p->at_work, 1);
	while (atomic_load(&p->at_work) < CPU_COUNT(&p->cpus)) {
		(void)sched_yield();
	}
	if (sched_getaffinity(0, sizeof(set), &set) != 0) {
		atomic_fetch_add(&p->wrong, 1);
	} else if (pthread_equal(pthread_self(), p->first)) {
		atomic_fetch_add(&p->wrong, !CPU_EQUAL(&set, &p->cpus));
	} else if (CPU_COUNT(&set) != 1) {
		atomic_fetch_add(&p->wrong, 1);
	} else {
		for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
			if (CPU_ISSET(cpu, &set)) {
				atomic_fetch_add(&p->seen[cpu], 1);
			}
		}
	}
}

/* Each thread on a processor of its own but the first, whose children must not be confined; the first processor is left to it. */
static void test_pinned(void **state)
{
	struct places *p = calloc(1, sizeof(*p));
	struct cwe_pool *pool = NULL;
	int first = 1;

	(void)state;
	assert_non_null(p);
	assert_int_equal(sched_getaffinity(0, sizeof(p->cpus), &p->cpus), 0);
	uint32_t n = (uint32_t)CPU_COUNT(&p->cpus);
	assert_int_equal(cwe_pool_new(n, &pool, NULL), 0);
	cwe_pool_pin(pool, &p->cpus);
	p->first = pthread_self();
	cwe_pool_run(pool, n, look, p);
	assert_int_equal(atomic_load(&p->wrong), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		int other = CPU_ISSET(cpu, &p->cpus) && !first;
		assert_int_equal(atomic_load(&p->seen[cpu]), n > 1 ? other : 0);
		first &= !CPU_ISSET(cpu, &p->cpus);
	}
	cwe_pool_free(pool);
	free(p);
}

static void free_threads(void *arg, size_t i)
{
	struct places *p = arg;
	cpu_set_t set;

	(void)i;
	if (sched_getaffinity(0, sizeof(set), &set) != 0 || !CPU_EQUAL(&set, &p->cpus)) {
		atomic_fetch_add(&p->wrong, 1);
	}
}

/* Not where threads and processors are not as many. */
static void test_not_pinned(void **state)
{
	struct places *p = calloc(1, sizeof(*p));
	struct cwe_pool *pool = NULL;

	(void)state;
	assert_non_null(p);
	assert_int_equal(sched_getaffinity(0, sizeof(p->cpus), &p->cpus), 0);
	assert_int_equal(cwe_pool_new((uint32_t)CPU_COUNT(&p->cpus) + 1, &pool, NULL), 0);
	cwe_pool_pin(pool, &p->cpus);
	cwe_pool_run(pool, 1000, free_threads, p);
	assert_int_equal(atomic_load(&p->wrong), 0);
	cwe_pool_free(pool);
	free(p);
}

static void test_host_table(void **state)
{
	struct cwe_pool *pool = NULL;
	struct cwe_host host;
	struct lines line = {0};
	struct work *w = calloc(1, sizeof(*w));

	(void)state;
	assert_int_equal(cwe_pool_new(2, &pool, NULL), 0);
	cwe_host_init(&host, pool, 42);
	const struct cwp_host *t = &host.table;
	assert_int_equal(t->size, sizeof(*t));
	assert_int_equal(t->threads, 2);
	for (size_t bytes = 0; bytes < 300; bytes += 37) {
		char *p = t->alloc(t->ctx, bytes);
		assert_non_null(p);
		assert_int_equal((uintptr_t)p % 64, 0);
		memset(p, 1, bytes);
		t->free(t->ctx, p);
	}
	t->free(t->ctx, NULL);
	assert_null(t->alloc(t->ctx, SIZE_MAX));
	assert_null(t->alloc(t->ctx, SIZE_MAX - 63));
	assert_null(t->alloc(t->ctx, (size_t)PTRDIFF_MAX));
	t->log(t->ctx, CWP_LOG_INFO, "nobody listens");
	host.log = keep_line;
	host.log_arg = &line;
	t->log(t->ctx, CWP_LOG_WARNING, "hello");
	assert_int_equal(line.level, CWP_LOG_WARNING);
	assert_string_equal(line.text, "hello");
	assert_int_equal(t->cancelled(t->ctx), 0);
	atomic_store(&host.cancelled, 1);
	assert_int_not_equal(t->cancelled(t->ctx), 0);
	assert_non_null(w);
	w->first = pthread_self();
	t->parallel_for(t->ctx, 100, body, w);
	assert_int_equal(atomic_load(&w->calls[99]), 1);
	assert_true(t->random(t->ctx, 1, 2) == cwe_random(42, 1, 2));
	cwe_pool_free(pool);
	/* Without a pool the work is done in place. */
	cwe_host_init(&host, NULL, 0);
	assert_int_equal(host.table.threads, 1);
	host.table.parallel_for(&host, 100, body, w);
	assert_int_equal(atomic_load(&w->calls[99]), 2);
	free(w);
}

static void test_host_errors(void **state)
{
	struct cwe_host host;
	struct cwb_err err = {0};

	(void)state;
	cwe_host_init(&host, NULL, 0);
	(host.table.fail)(&host, "row 7 is odd");
	assert_int_equal(cwe_host_error(&host, "demo", "score", CWP_ENUMBER, &err), CWP_ENUMBER);
	assert_string_equal(err.message, "plugin 'demo': score: row 7 is odd");
	cwb_err_clear(&err);
	/* The text was for that failure only. */
	assert_int_equal(cwe_host_error(&host, "demo", "score", CWP_EVALUE, &err), CWP_EVALUE);
	assert_string_equal(err.message, "plugin 'demo': score: invalid value");
	cwb_err_clear(&err);
	assert_int_equal(cwe_host_error(&host, "demo", "score", 3, &err), CWP_EPLUGIN);
	assert_non_null(strstr(err.message, "returned 3"));
	(host.table.fail)(&host, NULL);
	char longer[2000];
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	(host.table.fail)(&host, longer);
	assert_int_equal(strlen(host.failure), sizeof(host.failure) - 1);
}

/* Fails where i is a multiple of *arg, but for 0. */
static int fail_at(void *arg, size_t i, struct cwb_err *err)
{
	const size_t *every = arg;
	return i > 0 && i % *every == 0 ? cwb_err_set(err, -ENODEV, "number %zu", i) : 0;
}

/* Of several failures the first one by number is told, whoever was first. */
static void test_try(void **state)
{
	size_t every = 7, never = 1000;
	struct cwe_pool *pool;
	(void)state;
	assert_int_equal(cwe_pool_new(4, &pool, NULL), 0);
	for (int round = 0; round < 100; round++) {
		struct cwb_err err = {0};
		assert_int_equal(cwe_pool_try(round & 1 ? pool : NULL, 200, fail_at, &never, &err), 0);
		assert_int_equal(err.code, 0);
		assert_int_equal(cwe_pool_try(round & 1 ? pool : NULL, 200, fail_at, &every, &err), -ENODEV);
		assert_int_equal(err.code, -ENODEV);
		assert_string_equal(err.message, "number 7");
		assert_int_equal(cwe_pool_try(pool, 200, fail_at, &every, NULL), -ENODEV);
	}
	cwe_pool_free(pool);
}

static void test_random(void **state)
{
	uint64_t seen[3000] = {0};
	size_t n = 0;
	int ones = 0;

	(void)state;
	/* The numbers are part of what makes a job repeatable: they must never change. */
	assert_true(cwe_random(0, 0, 0) == UINT64_C(0xd2ce134acb3773b6));
	assert_true(cwe_random(1, 2, 3) == UINT64_C(0x5e1767a6f6edfbf2));
	for (uint64_t seed = 0; seed < 10; seed++) {
		for (uint64_t stream = 0; stream < 10; stream++) {
			for (uint64_t index = 0; index < 30; index++) {
				uint64_t v = cwe_random(seed, stream, index);
				for (size_t i = 0; i < n; i++) {
					assert_true(seen[i] != v);
				}
				seen[n++] = v;
				ones += __builtin_popcountll(v);
			}
		}
	}
	/* 3000 * 64 bits: the mean is 96000, one standard deviation 219. */
	assert_in_range(ones, 96000 - 1100, 96000 + 1100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_once),
		cmocka_unit_test(test_runs_at_once),
		cmocka_unit_test(test_nested_call_does_not_hang),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_not_pinned),
		cmocka_unit_test(test_host_table),
		cmocka_unit_test(test_host_errors),
		cmocka_unit_test(test_try),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
