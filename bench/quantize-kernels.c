/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Codes of int8, fp8 and int4 against the bandwidth of the memory, in one program: bench/quantize-kernels-run [THREADS [ROUNDS]].
 *
 * The bandwidth is that of a[i] = b[i] + s * c[i], read two, write one, arrays of 128 MiB a thread in large pages, the better of ordinary
 * and of streaming stores. Quantizing reads f32 weights and writes scales and codes of one byte each; counted are 5 bytes a
 * weight. Rows have 4096 columns; int4 has groups of 128. Best round of each; all are in turns. Times are those of the
 * clock on the wall, and in brackets those of the slowest thread's processor: where others use the machine too, neither is
 * quite fair, since threads that run alone have all of the memory for themselves. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "plugins/quantizers/rounding.h"
#include "plugins/quantizers/rows/rows.h"

enum { COLS = 4096, ROWS = 8192, MOST_THREADS = 64, GROUP = 128 };
#define WEIGHTS ((uint64_t)ROWS * COLS)

enum what { TRIAD, TRIAD_STREAM, INT8, FP8, INT4, ALL_OF_THEM };

struct task {
	pthread_t id;
	enum what what;
	float *a, *b, *c; /* [WEIGHTS] each */
	uint8_t *codes;
	double seconds; /* of its processor, for the last round */
};

static pthread_barrier_t barrier;

static void triad(float *a, const float *b, const float *c)
{
	for (uint64_t i = 0; i < WEIGHTS; i++) {
		a[i] = b[i] + 0.5f * c[i];
	}
}

static void triad_stream(float *a, const float *b, const float *c)
{
#if defined(__x86_64__)
	const __m128 s = _mm_set1_ps(0.5f);
	for (uint64_t i = 0; i < WEIGHTS; i += 4) {
		_mm_stream_ps(a + i, _mm_add_ps(_mm_load_ps(b + i), _mm_mul_ps(s, _mm_load_ps(c + i))));
	}
	_mm_sfence();
#else
	triad(a, b, c);
#endif
}

/* One row as the plugins do it: the range of each group, which shows whether it is finite, and the codes. */
static int quantize_row(const struct task *t, const float *row, uint8_t *codes)
{
	const uint64_t group = t->what == INT4 ? GROUP : COLS;
	float scales[COLS / GROUP];

	if (t->what != FP8) {
		return row_quantize_int(row, COLS, group, t->what == INT4 ? 4 : 8, scales, codes) ? 0 : -1;
	}
	if (!row_finite_absmax(row, NULL, 0, COLS, scales)) {
		return -1;
	}
	row_codes_e4m3(row, COLS, usable_scale(scales[0] / 448.0f), codes);
	return 0;
}

static void work(struct task *t)
{
	if (t->what == TRIAD) {
		triad(t->a, t->b, t->c);
	} else if (t->what == TRIAD_STREAM) {
		triad_stream(t->a, t->b, t->c);
	} else {
		for (uint64_t r = 0; r < ROWS; r++) {
			if (quantize_row(t, t->b + r * COLS, t->codes + r * COLS) != 0) {
				abort();
			}
		}
	}
}

/* Large pages where there are any, so that it is memory that is measured. */
static void *pages(size_t bytes)
{
	void *p = aligned_alloc(2u << 20, bytes);

	if (p != NULL) {
		(void)madvise(p, bytes, MADV_HUGEPAGE);
	}
	return p;
}

static double seconds_between(const struct timespec *from, const struct timespec *to)
{
	return (double)(to->tv_sec - from->tv_sec) + 1e-9 * (double)(to->tv_nsec - from->tv_nsec);
}

static void *thread_main(void *arg)
{
	struct task *t = arg;
	struct timespec from, to;
	uint64_t state = 7;

	t->a = pages(WEIGHTS * sizeof(float));
	t->b = pages(WEIGHTS * sizeof(float));
	t->c = pages(WEIGHTS * sizeof(float));
	t->codes = pages(WEIGHTS);
	if (t->a == NULL || t->b == NULL || t->c == NULL || t->codes == NULL) {
		abort();
	}
	for (uint64_t i = 0; i < WEIGHTS; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		t->b[i] = (float)(int32_t)(state >> 32) * 0x1p-36f;
		t->a[i] = t->c[i] = 1.0f;
		t->codes[i] = 0;
	}
	for (;;) {
		pthread_barrier_wait(&barrier);
		if (t->what == ALL_OF_THEM) {
			break;
		}
		(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
		work(t);
		(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
		t->seconds = seconds_between(&from, &to);
		pthread_barrier_wait(&barrier);
	}
	free(t->a);
	free(t->b);
	free(t->c);
	free(t->codes);
	return NULL;
}

/* Gigabytes a second of all threads together, by the clock and by the processor. */
struct rate {
	double clock, processor;
};

static void measure(struct task *t, int threads, enum what what, struct rate *best)
{
	struct timespec from, to;
	double seconds = 0;

	for (int i = 0; i < threads; i++) {
		t[i].what = what;
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	pthread_barrier_wait(&barrier);
	if (what == ALL_OF_THEM) {
		return;
	}
	pthread_barrier_wait(&barrier);
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	for (int i = 0; i < threads; i++) {
		seconds = t[i].seconds > seconds ? t[i].seconds : seconds;
	}
	const double bytes = (double)WEIGHTS * threads * (what <= TRIAD_STREAM ? 12 : 5) / 1e9;
	const struct rate r = {bytes / seconds_between(&from, &to), bytes / seconds};
	best->clock = r.clock > best->clock ? r.clock : best->clock;
	best->processor = r.processor > best->processor ? r.processor : best->processor;
}

static void print(const struct rate *triad, const struct rate best[3][ALL_OF_THEM], int threads)
{
	static const char *const tier_name[] = {"scalar", "avx2", "avx512"}, *const name[] = {"", "", "int8", "fp8", "int4"};

	printf("%d threads; read two, write one: %.1f GB/s (%.1f)\n", threads, triad->clock, triad->processor);
	for (int tier = ROW_SCALAR; tier <= (int)row_best(); tier++) {
		for (int what = INT8; what < ALL_OF_THEM; what++) {
			const struct rate *r = &best[tier][what];
			printf("%-7s %-5s %6.1f GB/s  %5.2f  (%.1f, %.2f)\n", tier_name[tier], name[what], r->clock,
				r->clock / triad->clock, r->processor, r->processor / triad->processor);
		}
	}
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 2, rounds = argc > 2 ? atoi(argv[2]) : 7;
	static struct task task[MOST_THREADS];
	struct rate best[3][ALL_OF_THEM] = {{{0}}}, triads = {0}, first = {0};

	if (threads < 1 || threads > MOST_THREADS || rounds < 1) {
		(void)fprintf(stderr, "usage: quantize-kernels-run [THREADS [ROUNDS]], at most %d threads\n", MOST_THREADS);
		return 64;
	}
	(void)pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
	for (int i = 0; i < threads; i++) {
		if (pthread_create(&task[i].id, NULL, thread_main, &task[i]) != 0) {
			(void)fprintf(stderr, "quantize-kernels-run: no thread\n");
			return 71;
		}
	}
	measure(task, threads, TRIAD, &first); /* with the time that filling the arrays takes */
	for (int round = 0; round < rounds; round++) {
		measure(task, threads, TRIAD, &triads);
		measure(task, threads, TRIAD_STREAM, &triads);
		for (int tier = ROW_SCALAR; tier <= (int)row_best(); tier++) {
			row_kernels_use((enum row_tier)tier);
			for (int what = INT8; what < ALL_OF_THEM; what++) {
				measure(task, threads, (enum what)what, &best[tier][what]);
			}
		}
	}
	measure(task, threads, ALL_OF_THEM, &first);
	for (int i = 0; i < threads; i++) {
		(void)pthread_join(task[i].id, NULL);
	}
	print(&triads, best, threads);
	return 0;
}
