/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the CPU backend share. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/kernels/plain_tiles.h"
#include "tests/kernels/support.h"

struct work {
	atomic_size_t next;
	size_t n;
	void (*body)(void *arg, size_t i);
	void *arg;
};

static void *work_thread(void *p)
{
	struct work *w = p;
	for (;;) {
		size_t i = atomic_fetch_add(&w->next, 1);
		if (i >= w->n) {
			return NULL;
		}
		w->body(w->arg, i);
	}
}

static void host_parallel_for(void *ctx, size_t n, void (*body)(void *arg, size_t i), void *arg)
{
	const struct test_host *h = ctx;
	pthread_t threads[16];
	struct work w = {.n = n, .body = body, .arg = arg};
	uint32_t started = 0;
	while (started + 1 < h->table.threads && started < 16 &&
		pthread_create(&threads[started], NULL, work_thread, &w) == 0) {
		started++;
	}
	(void)work_thread(&w);
	for (uint32_t i = 0; i < started; i++) {
		pthread_join(threads[i], NULL);
	}
}

static void host_fail(void *ctx, const char *text)
{
	struct test_host *h = ctx;
	snprintf(h->failure, sizeof(h->failure), "%s", text);
}

static int host_cancelled(void *ctx)
{
	(void)ctx;
	return 0;
}

void test_host_init(struct test_host *h, uint32_t threads)
{
	*h = (struct test_host){.table = {.size = sizeof(h->table),
					.threads = threads,
					.ctx = h,
					.cancelled = host_cancelled,
					.parallel_for = host_parallel_for,
					.fail = host_fail}};
}

void *test_open(struct test_host *h, uint32_t threads)
{
	return test_open_precision(h, threads, "f32");
}

int test_has_plain_tiles(void)
{
	return kernels_best() >= TIER_AVX512BF16;
}

static void take_plain_tiles(struct cpu *b)
{
#if defined(__x86_64__)
	static struct kernels k;
	kernels_plain_tiles(&k);
	b->panels = &k.bf16_panels;
#else
	(void)b;
#endif
}

void *test_open_precision(struct test_host *h, uint32_t threads, const char *precision)
{
	void *b = NULL;
	int plain = strcmp(precision, TEST_PLAIN_TILES) == 0;
	const struct cwp_setting settings[CPU_OPTIONS] = {
		[CPU_OPTION_ISA] = {.size = sizeof(*settings), .type = CWP_OPTION_ENUM, .string = "auto"},
		[CPU_OPTION_PRECISION] = {.size = sizeof(*settings), .type = CWP_OPTION_ENUM, .string = plain ? "bf16" : precision}};
	test_host_init(h, threads);
	int rc = cpu_backend.open(&h->table, settings, NULL, &b);
	if (rc) {
		fail_msg("open: %d %s", rc, h->failure);
	}
	if (plain) {
		take_plain_tiles(b);
	}
	return b;
}

uint64_t test_random(uint64_t *state)
{
	uint64_t z = *state += 0x9E3779B97F4A7C15U;
	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
	z = (z ^ z >> 27) * 0x94D049BB133111EBU;
	return z ^ z >> 31;
}

float test_uniform(uint64_t *state, float low, float high)
{
	return low + (high - low) * (float)(test_random(state) >> 40) * 0x1p-24F;
}

float *test_filled(size_t n, float value)
{
	float *x = aligned_alloc(64, (n * sizeof(float) + 64) & ~(size_t)63);
	assert_non_null(x);
	for (size_t i = 0; i < n; i++) {
		x[i] = value;
	}
	return x;
}

float *test_normal(uint64_t *state, size_t n, float scale)
{
	float *x = test_filled(n, 0.0F);
	for (size_t i = 0; i < n; i++) {
		double u = (double)(test_random(state) >> 11) * 0x1p-53 + 0x1p-54;
		double v = (double)(test_random(state) >> 11) * 0x1p-53;
		x[i] = scale * (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
	}
	return x;
}

static void compare(const char *what, const float *got, const double *want, size_t n,
	double tolerance, double unit)
{
	for (size_t i = 0; i < n; i++) {
		double limit = tolerance * (unit > 0.0 ? unit : 1.0 + fabs(want[i]));
		if (!(fabs((double)got[i] - want[i]) <= limit)) {
			fail_msg("%s (%s): element %zu of %zu is %.9g, want %.9g within %.3g", what,
				getenv("CWP_CPU") ? getenv("CWP_CPU") : "auto", i, n,
				(double)got[i], want[i], limit);
		}
	}
}

void test_close(const char *what, const float *got, const double *want, size_t n, double tolerance)
{
	compare(what, got, want, n, tolerance, 0.0);
}

void test_close_scaled(
	const char *what, const float *got, const double *want, size_t n, double tolerance)
{
	double largest = 1e-30;
	for (size_t i = 0; i < n; i++) {
		largest = fmax(largest, fabs(want[i]));
	}
	compare(what, got, want, n, tolerance, largest);
}

int test_each_tier(int (*group)(void))
{
	if (getenv("CWP_CPU")) {
		return group() != 0;
	}
	int failed = 0;
	for (int i = 0; i <= (int)kernels_best(); i++) {
		fflush(NULL);
		pid_t pid = fork();
		if (pid == 0) {
			setenv("CWP_CPU", tier_names[i], 1);
			printf("# tier %s\n", tier_names[i]);
			int rc = group();
			fflush(NULL);
			_exit(rc != 0);
		}
		int status = 1;
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
			printf("# tier %s failed\n", tier_names[i]);
			failed++;
		}
	}
	return failed;
}
