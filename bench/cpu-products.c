/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Speed of the CPU backend's products: one line "name<TAB>seconds<TAB>GFLOP" for each case of the
 * standard input, whose lines are "matmul PRECISION THREADS TRANS_A TRANS_B M N K", "stats
 * PRECISION THREADS ROWS COLS SAMPLES TOKENS WANTED" (WANTED: bit 0 sums, 1 absolute values, 2
 * squares) or "peak PRECISION THREADS": what one core can do at most, in registers. PRECISION is
 * f32 or bf16. The seconds are the least of several runs. bench/cpu-products drives it. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/cpu-peak.h"
#include "plugins/backends/cpu/cpu.h"

enum { RUNS = 3, MOST_THREADS = 64 };

/* A pool whose threads wait for the next job. */
struct pool {
	pthread_t threads[MOST_THREADS];
	unsigned count;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_cond_t done;
	unsigned generation;
	unsigned running;
	int end;
	atomic_size_t next;
	size_t n;
	void (*body)(void *arg, size_t i);
	void *arg;
};

static void work(struct pool *p)
{
	for (size_t i = atomic_fetch_add(&p->next, 1); i < p->n;
		i = atomic_fetch_add(&p->next, 1)) {
		p->body(p->arg, i);
	}
}

static void *pool_thread(void *arg)
{
	struct pool *p = arg;
	unsigned seen = 0;
	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (p->generation == seen && !p->end) {
			pthread_cond_wait(&p->wake, &p->lock);
		}
		if (p->end) {
			pthread_mutex_unlock(&p->lock);
			return NULL;
		}
		seen = p->generation;
		pthread_mutex_unlock(&p->lock);
		work(p);
		pthread_mutex_lock(&p->lock);
		if (--p->running == 0) {
			pthread_cond_signal(&p->done);
		}
	}
}

static void parallel_for(void *ctx, size_t n, void (*body)(void *arg, size_t i), void *arg)
{
	struct pool *p = ctx;
	pthread_mutex_lock(&p->lock);
	atomic_store(&p->next, 0);
	p->n = n;
	p->body = body;
	p->arg = arg;
	p->running = p->count;
	p->generation++;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	work(p);
	pthread_mutex_lock(&p->lock);
	while (p->running > 0) {
		pthread_cond_wait(&p->done, &p->lock);
	}
	pthread_mutex_unlock(&p->lock);
}

static void say(void *ctx, const char *text)
{
	(void)ctx;
	fprintf(stderr, "cpu-products: %s\n", text);
}

/* One thread is measured by its own processor time, which a busy machine disturbs little. */
static clockid_t the_clock = CLOCK_MONOTONIC;

static double now(void)
{
	struct timespec t;
	clock_gettime(the_clock, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *filled(size_t n)
{
	float *x = cpu_alloc(NULL, n * sizeof(float));
	if (!x) {
		fprintf(stderr, "cpu-products: no memory\n");
		exit(1);
	}
	uint32_t s = 1;
	for (size_t i = 0; i < n; i++) {
		s = s * 1664525U + 1013904223U;
		x[i] = (float)(s >> 8) * 0x1p-24F - 0.5F;
	}
	return x;
}

/* Runs a case RUNS times, for at least 0.2 s, and prints the least time. */
static int measure(
	const char *name, double gflop, int (*run)(void *b, void *arg), void *b, void *arg)
{
	double least = 1e30, begin = now();
	for (int i = 0; i < RUNS || now() - begin < 0.2; i++) {
		double t = now();
		if (run(b, arg)) {
			return 1;
		}
		t = now() - t;
		least = t < least ? t : least;
	}
	printf("%s\t%.9f\t%.6f\n", name, least, gflop);
	fflush(stdout);
	return 0;
}

struct product {
	int ta, tb;
	size_t m, n, k;
	float *a, *b, *c;
};

static int run_product(void *b, void *arg)
{
	struct product *p = arg;
	return cpu_backend.matmul(b, p->ta, p->tb, p->m, p->n, p->k, p->a, p->ta ? p->m : p->k,
		p->b, p->tb ? p->k : p->n, 0, p->c, p->n);
}

static int run_stats(void *b, void *arg)
{
	return cpu_backend.grad_stats(b, arg);
}

static int case_product(void *b, const char *line, const char *numbers)
{
	struct product p = {0};
	unsigned threads = 0;
	if (sscanf(numbers, "%u %d %d %zu %zu %zu", &threads, &p.ta, &p.tb, &p.m, &p.n, &p.k) !=
		6) {
		return 1;
	}
	p.a = filled(p.m * p.k);
	p.b = filled(p.k * p.n);
	p.c = filled(p.m * p.n);
	int rc = measure(line, 2e-9 * (double)p.m * (double)p.n * (double)p.k, run_product, b, &p);
	cpu_free(NULL, p.a);
	cpu_free(NULL, p.b);
	cpu_free(NULL, p.c);
	return rc;
}

static int case_stats(void *b, const char *line, const char *numbers)
{
	struct cwp_grad_stats s = {.size = sizeof(s)};
	unsigned threads = 0, wanted = 0;
	size_t samples = 0, tokens = 0;
	if (sscanf(numbers, "%u %lu %lu %zu %zu %u", &threads, &s.rows, &s.cols, &samples, &tokens,
		    &wanted) != 6) {
		return 1;
	}
	uint64_t *start = calloc(samples + 1, sizeof(*start));
	if (!start) {
		return 1;
	}
	for (size_t i = 0; i <= samples; i++) {
		start[i] = i * tokens;
	}
	size_t n = s.rows * s.cols;
	float *x = filled(samples * tokens * s.cols), *dy = filled(samples * tokens * s.rows),
	      *out = filled(3 * n);
	s.samples = (struct cwp_sequences){samples, start};
	s.d_x = x;
	s.d_dy = dy;
	s.ldx = s.cols;
	s.lddy = s.rows;
	s.d_sum = wanted & 1 ? out : NULL;
	s.d_abs = wanted & 2 ? out + n : NULL;
	s.d_sq = wanted & 4 ? out + 2 * n : NULL;
	int rc = measure(line, 2e-9 * (double)n * (double)(samples * tokens), run_stats, b, &s);
	free(start);
	cpu_free(NULL, x);
	cpu_free(NULL, dy);
	cpu_free(NULL, out);
	return rc;
}

static int run_loop(void *b, void *arg)
{
	(void)b;
	(*(peak_loop *)arg)();
	return 0;
}

static enum tier tier_in_force(void)
{
	const char *forced = getenv("CWP_CPU");
	enum tier tier = kernels_best();
	for (int i = 0; forced && i < (int)tier; i++) {
		tier = strcmp(forced, tier_names[i]) == 0 ? (enum tier)i : tier;
	}
	return tier;
}

static int case_peak(const char *line, int bf16)
{
	double gflop = 0.0;
	peak_loop loop = peak_of(tier_in_force(), bf16, &gflop);
	return loop ? measure(line, gflop, run_loop, NULL, &loop) : 1;
}

static void pool_start(struct pool *p, unsigned threads)
{
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	pthread_cond_init(&p->done, NULL);
	while (p->count + 1 < threads && p->count < MOST_THREADS) {
		if (pthread_create(&p->threads[p->count], NULL, pool_thread, p)) {
			break;
		}
		p->count++;
	}
}

static void pool_stop(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->end = 1;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->count; i++) {
		pthread_join(p->threads[i], NULL);
	}
}

static int run_case(char *line)
{
	struct pool pool = {0};
	char kind[16], precision[8];
	unsigned threads = 0;
	int used = 0;
	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%15s %7s %n%u", kind, precision, &used, &threads) != 3 || threads == 0) {
		fprintf(stderr, "cpu-products: cannot read \"%s\"\n", line);
		return 1;
	}
	struct cwp_host host = {.size = sizeof(host),
		.threads = threads,
		.ctx = &pool,
		.parallel_for = parallel_for,
		.fail = say};
	void *b = NULL;
	the_clock = threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
	pool_start(&pool, threads);
	const struct cwp_setting settings[CPU_OPTIONS] = {
		[CPU_OPTION_ISA] = {.size = sizeof(*settings), .type = CWP_OPTION_ENUM, .string = "auto"},
		[CPU_OPTION_PRECISION] = {.size = sizeof(*settings), .type = CWP_OPTION_ENUM, .string = precision}};
	int rc = cpu_backend.open(&host, settings, NULL, &b);
	if (!rc && strcmp(kind, "peak") == 0) {
		rc = case_peak(line, strcmp(precision, "bf16") == 0);
	} else if (!rc) {
		rc = (strcmp(kind, "matmul") == 0 ? case_product : case_stats)(
			b, line, line + used);
	}
	cpu_backend.close(b);
	pool_stop(&pool);
	return rc;
}

int main(void)
{
	char line[256];
	while (fgets(line, sizeof(line), stdin)) {
		if (run_case(line)) {
			return 1;
		}
	}
	return 0;
}
