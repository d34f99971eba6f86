/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The CUDA backend's host side on a lazy runtime: order of transfers, memory once reserved, copies in BF16, products, errors. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plugins/backends/cuda/arena.h"
#include "plugins/backends/cuda/memory.h"
#include "plugins/backends/cuda/ops_base.h"
#include "tests/unit/cuda/fake_runtime.h"

static char said[1024];

static void note_failure(void *ctx, const char *text)
{
	(void)ctx;
	snprintf(said, sizeof said, "%s", text);
}

static const struct cwp_host host = {.size = sizeof host, .threads = 1, .fail = note_failure};

static struct cuda *open_backend(enum cuda_precision precision)
{
	struct cuda *b = calloc(1, sizeof *b);
	assert_non_null(b);
	fake = (struct fake_runtime){.total = UINT64_C(4) << 30};
	said[0] = '\0';
	b->host = &host;
	b->precision = precision;
	snprintf(b->name, sizeof b->name, "cuda Fake");
	assert_int_equal(cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking), cudaSuccess);
	assert_int_equal(cuda_memory_open(b), 0);
	assert_int_equal(cuda_pinned_open(b), 0);
	assert_int_equal(cuda_transfer_open(b), 0);
	assert_int_equal(cuda_beside_open(b), 0);
	assert_int_equal(cuda_cache_open(b), 0);
	assert_int_equal(cuda_plans_open(b), 0);
	return b;
}

static void close_backend(struct cuda *b)
{
	(void)cudaStreamSynchronize(b->stream);
	cuda_pinned_close(b);
	cuda_beside_close(b);
	cuda_transfer_close(b);
	cuda_plans_close(b);
	cuda_cache_close(b);
	cuda_memory_close(b);
	(void)cudaStreamDestroy(b->stream);
	free(b);
	assert_int_equal(fake.taken, 0);
}

static void *allocate(struct cuda *b, size_t bytes)
{
	void *d_p = cuda_alloc(b, bytes);
	assert_non_null(d_p);
	return d_p;
}

static float number(uint64_t i)
{
	return (float)((int)(i * 2654435761U % 2003) - 1001) / 256.0F;
}

static void fill(float *x, uint64_t n, uint64_t seed)
{
	for (uint64_t i = 0; i < n; i++) {
		x[i] = number(i + seed * 7919);
	}
}

/* Sources are overwritten as soon as upload() returns, and nothing runs before somebody waits. */
static void test_transfers(void **state)
{
	(void)state;
	struct cuda *b = open_backend(CUDA_BF16);
	static const size_t sizes[] = {1, 4096, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, 61 << 20};
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		size_t n = sizes[i];
		unsigned char *x = malloc(n), *y = malloc(n), *d_x = allocate(b, n), *d_y = allocate(b, n);
		assert_true(x && y);
		for (size_t j = 0; j < n; j++) {
			x[j] = (unsigned char)(j * 31 >> 3);
		}
		assert_int_equal(cuda_upload(b, d_x, x, n), 0);
		memset(x, 0, n);
		assert_int_equal(cuda_copy(b, d_y, d_x, n), 0);
		assert_int_equal(cuda_zero(b, d_x, n), 0);
		assert_int_equal(cuda_download(b, y, d_y, n), 0);
		for (size_t j = 0; j < n; j += n > 100000 ? 997 : 1) {
			assert_int_equal(y[j], (unsigned char)(j * 31 >> 3));
		}
		assert_int_equal(y[n - 1], (unsigned char)((n - 1) * 31 >> 3));
		assert_int_equal(cuda_download(b, y, d_x, n), 0);
		assert_int_equal(y[0] | y[n - 1], 0);
		cuda_free(b, d_x);
		cuda_free(b, d_y);
		free(x);
		free(y);
	}
	assert_int_equal(cuda_upload(b, NULL, NULL, 0), 0);
	assert_int_equal(cuda_download(b, NULL, NULL, 0), 0);
	cuda_free(b, NULL);
	close_backend(b);
}

/* More small ones than there are records of pieces, and pinned targets. */
static void test_many_transfers(void **state)
{
	(void)state;
	enum { COUNT = 300, EACH = 300 << 10 };
	struct cuda *b = open_backend(CUDA_BF16);
	char *d_x = allocate(b, COUNT * 1000), *x = malloc(EACH), *y = cuda_host_alloc(b, COUNT * 1000), *d_big = allocate(b, EACH);
	assert_true(x && y);
	for (int i = 0; i < COUNT; i++) {
		memset(x, i % 127 + 1, EACH);
		assert_int_equal(cuda_upload(b, d_x + i * 1000, x, 1000), 0);
		assert_int_equal(cuda_upload(b, d_big, x, EACH), 0);
	}
	assert_int_equal(cuda_download(b, y, d_x, COUNT * 1000), 0);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(y[i * 1000], i % 127 + 1);
		assert_int_equal(y[i * 1000 + 999], i % 127 + 1);
	}
	assert_true(cuda_is_pinned(b, y + 1000, 1000));
	assert_false(cuda_is_pinned(b, y + 1000, COUNT * 1000));
	assert_false(cuda_is_pinned(b, x, 1));
	cuda_host_free(b, y);
	cuda_host_free(b, NULL);
	assert_false(cuda_is_pinned(b, y, 1));
	free(x);
	close_backend(b);
}

/* Tables of one operation live together, and the host's memory is free at once. */
static void test_tables(void **state)
{
	(void)state;
	struct cuda *b = open_backend(CUDA_BF16);
	for (int round = 0; round < 5; round++) {
		uint64_t table[3][100];
		const uint64_t *d_table[3];
		uint64_t back[100];
		for (int i = 0; i < 3; i++) {
			for (int j = 0; j < 100; j++) {
				table[i][j] = (uint64_t)(round * 1000 + i * 100 + j);
			}
			d_table[i] = cuda_table(b, "test", table[i], sizeof table[i]);
			assert_non_null(d_table[i]);
			memset(table[i], 0xff, sizeof table[i]);
		}
		for (int i = 0; i < 3; i++) {
			assert_int_equal(cuda_download(b, back, d_table[i], sizeof back), 0);
			assert_int_equal(back[0], (uint64_t)(round * 1000 + i * 100));
			assert_int_equal(back[99], (uint64_t)(round * 1000 + i * 100 + 99));
		}
	}
	assert_non_null(cuda_table(b, "test", NULL, 0));
	close_backend(b);
}

enum { LOADED = 5000000, LOADERS = 4, PART = 130003 }; /* many parts, some of several pieces for the stage */

struct load {
	struct cuda *b;
	float *d_dst;
	const char *src;
	uint32_t dtype;
	size_t first; /* part; the others are LOADERS further */
	int rc;
};

/* Every other thread goes backwards. */
static void *load_thread(void *arg)
{
	struct load *l = arg;
	size_t each = l->dtype == CWP_F32 ? 4 : 2, parts = (LOADED + PART - 1) / PART, mine = (parts - l->first + LOADERS - 1) / LOADERS;
	for (size_t i = 0; i < mine && l->rc == 0; i++) {
		size_t at = PART * (l->first + LOADERS * (l->first % 2 ? mine - 1 - i : i));
		l->rc = cuda_load(l->b, l->d_dst + at, l->src + at * each, l->dtype, LOADED - at < PART ? LOADED - at : PART);
	}
	return NULL;
}

static void load_all(struct cuda *b, float *d_dst, const void *src, uint32_t dtype)
{
	struct load l[LOADERS];
	pthread_t thread[LOADERS];
	for (size_t i = 0; i < LOADERS; i++) {
		l[i] = (struct load){b, d_dst, src, dtype, i, 0};
		assert_int_equal(pthread_create(&thread[i], NULL, load_thread, &l[i]), 0);
	}
	for (size_t i = 0; i < LOADERS; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_int_equal(l[i].rc, 0);
	}
}

/* What was called before load_begin() sees the old weights, what is called after load_wait() the new ones. */
static void test_loads_of(struct cuda *b)
{
	static const uint32_t types[] = {CWP_F32, CWP_BF16, CWP_F16};
	size_t bytes = LOADED * sizeof(float);
	float *x = malloc(bytes), *got = malloc(bytes), *d_w = allocate(b, bytes), *d_before = allocate(b, bytes), *d_after = allocate(b, bytes);
	uint16_t *narrow = malloc(LOADED * sizeof *narrow);
	assert_true(x && got && narrow);
	assert_int_equal(cuda_load(b, d_w, x, CWP_F32, 1), CWP_ESTATE); /* before load_begin() */
	assert_int_equal(cuda_zero(b, d_w, bytes), 0);
	for (size_t t = 0; t < 3; t++) {
		uint64_t ld = 0, rounds = 0;
		fill(x, LOADED, t);
		for (size_t i = 0; i < LOADED; i++) {
			narrow[i] = fake_to_bf16(x[i]);
			x[i] = types[t] == CWP_F32 ? x[i] : fake_from_bf16(narrow[i]) * (types[t] == CWP_F16 ? 2 : 1);
		}
		float old[2];
		assert_non_null(cuda_bf16(b, d_w, 10, 10, 10, &ld));
		rounds = fake.rounds;
		assert_int_equal(cuda_copy(b, d_before, d_w, bytes), 0);
		assert_int_equal(cuda_download(b, old, d_w + LOADED - 2, sizeof old), 0);
		assert_int_equal(cuda_load_begin(b), 0);
		memcpy(got, x, bytes);
		load_all(b, d_w, types[t] == CWP_F32 ? (void *)got : narrow, types[t]);
		memset(got, 0, bytes);
		memset(narrow, 0, LOADED * sizeof *narrow);
		assert_int_equal(cuda_load_wait(b), 0);
		assert_int_equal(cuda_copy(b, d_after, d_w, bytes), 0);
		assert_non_null(cuda_bf16(b, d_w, 10, 10, 10, &ld));
		assert_int_equal(fake.rounds, rounds + 1); /* the first copy is not true any more */
		float seen[2];
		assert_int_equal(cuda_download(b, seen, d_before + LOADED - 2, sizeof seen), 0);
		assert_memory_equal(seen, old, sizeof seen);
		assert_int_equal(cuda_download(b, got, d_after, bytes), 0);
		assert_memory_equal(got, x, bytes);
	}
	assert_int_equal(cuda_load(b, d_w, x, 9, 1), CWP_EVALUE);
	assert_int_equal(cuda_load(b, d_w, x, CWP_F32, 0), 0);
	free(x);
	free(got);
	free(narrow);
	cuda_free(b, d_w);
	cuda_free(b, d_before);
	cuda_free(b, d_after);
}

static void test_loads(void **state)
{
	(void)state;
	struct cuda *b = open_backend(CUDA_BF16);
	test_loads_of(b);
	close_backend(b);
	/* With room for all of it. */
	const struct cwp_backend_use use = {.size = sizeof use, .tokens = 64, .width = 64, .sum = 64, .weights = LOADED, .handles = 1};
	b = open_backend(CUDA_BF16);
	assert_int_equal(cuda_reserve(b, UINT64_C(2) << 30, &use), 0);
	test_loads_of(b);
	close_backend(b);
}

static void test_beside(void **state)
{
	(void)state;
	struct cuda *b = open_backend(CUDA_BF16);
	float *d_x = allocate(b, 4000), *d_y = allocate(b, 4000), *x = cuda_host_alloc(b, 4000), *y = cuda_host_alloc(b, 4000), z[1000];
	fill(z, 1000, 1);
	assert_int_equal(cuda_upload(b, d_x, z, 4000), 0);
	assert_int_equal(cuda_fetch(b, x, d_x, 4000), 0);
	assert_int_equal(cuda_fetch_wait(b), 0);
	assert_memory_equal(x, z, 4000);
	/* d_y goes to d_x, then y takes its place. */
	fill(y, 1000, 2);
	assert_int_equal(cuda_zero(b, d_y, 4000), 0);
	assert_int_equal(cuda_copy(b, d_x, d_y, 4000), 0);
	assert_int_equal(cuda_send(b, d_y, y, 4000), 0);
	assert_int_equal(cuda_send_wait(b), 0);
	assert_int_equal(cuda_download(b, z, d_y, 4000), 0);
	assert_memory_equal(z, y, 4000);
	assert_int_equal(cuda_download(b, z, d_x, 4000), 0);
	assert_true(z[0] == 0 && z[999] == 0);
	/* The source is free after sync(), with nobody having waited for the send. */
	float was = y[5];
	assert_int_equal(cuda_send(b, d_y, y, 4000), 0);
	assert_int_equal(cuda_sync(b), 0);
	memset(y, 0, 4000);
	assert_int_equal(cuda_send_wait(b), 0);
	assert_int_equal(cuda_download(b, z, d_y, 4000), 0);
	assert_true(z[5] == was);
	close_backend(b);
}

/* Much memory is there before it is pinned; what was fetched into it meanwhile comes, whether it can be pinned or not. */
static void test_pinned_later(void **state)
{
	(void)state;
	enum { MUCH = 80 << 20, SOME = 1 << 20 };
	for (int i = 0; i < 4; i++) {
		struct cuda *b = open_backend(CUDA_BF16);
		fake.pins_nothing = i % 2;
		char *z = malloc(SOME), *d_x = allocate(b, SOME), *p[3];
		assert_non_null(z);
		for (size_t k = 0; k < SOME; k++) {
			z[k] = (char)(k * 7 >> 5);
		}
		for (int k = 0; k < 3; k++) {
			p[k] = cuda_host_alloc(b, MUCH);
			assert_non_null(p[k]);
			assert_int_equal((uintptr_t)p[k] % 64, 0);
			p[k][k] = 'x';
			p[k][MUCH - 1] = 'y';
		}
		assert_int_equal(cuda_upload(b, d_x, z, SOME), 0);
		assert_int_equal(cuda_fetch(b, p[1] + 100, d_x, SOME) | cuda_fetch(b, p[2] + SOME, d_x, SOME), 0);
		if (i < 2) {
			cuda_host_free(b, p[0]);
			assert_int_equal(cuda_fetch_wait(b), 0);
			assert_memory_equal(p[1] + 100, z, SOME);
			assert_memory_equal(p[2] + SOME, z, SOME);
			assert_true(p[1][1] == 'x' && p[2][2] == 'x' && p[1][MUCH - 1] == 'y');
			assert_int_equal(cuda_is_pinned(b, p[1], MUCH), !fake.pins_nothing);
			assert_int_equal(cuda_send(b, d_x, p[1] + 100, SOME) | cuda_send_wait(b), 0);
			assert_int_equal(cuda_download(b, p[2], d_x, SOME), 0);
			assert_memory_equal(p[2], z, SOME);
			/* One that nobody waited for. */
			p[0] = cuda_host_alloc(b, MUCH);
			assert_non_null(p[0]);
			assert_int_equal(cuda_send(b, d_x, p[0], SOME) | cuda_sync(b), 0);
			cuda_host_free(b, p[2]);
		}
		free(z);
		close_backend(b);
	}
}

static void count_rounds(struct cuda *b, const float *d_x, uint64_t expected)
{
	uint64_t ld = 0, before = fake.rounds;
	assert_non_null(cuda_bf16(b, d_x, 10, 20, 20, &ld));
	assert_int_equal(ld, 24);
	assert_int_equal(fake.rounds - before, expected);
}

/* A copy is made once, and again after each way of writing what it was made of. */
static void test_copies(void **state)
{
	(void)state;
	struct cuda *b = open_backend(CUDA_BF16);
	float x[200], *d_x = allocate(b, sizeof x), *d_y = allocate(b, sizeof x), *h = cuda_host_alloc(b, sizeof x);
	fill(x, 200, 3);
	memcpy(h, x, sizeof x);
	assert_int_equal(cuda_upload(b, d_x, x, sizeof x), 0);
	count_rounds(b, d_x, 1);
	count_rounds(b, d_x, 0);
	assert_int_equal(cuda_upload(b, d_x + 199, x, 4), 0);
	count_rounds(b, d_x, 1);
	assert_int_equal(cuda_zero(b, d_y, sizeof x), 0);
	count_rounds(b, d_x, 0);
	assert_int_equal(cuda_copy(b, d_x, d_y, sizeof x), 0);
	count_rounds(b, d_x, 1);
	assert_int_equal(cuda_zero(b, d_x, 4), 0);
	count_rounds(b, d_x, 1);
	assert_int_equal(cuda_send(b, d_x, h, sizeof x) | cuda_send_wait(b), 0);
	count_rounds(b, d_x, 1);
	cuda_wrote(b, d_x + 100, 1);
	count_rounds(b, d_x, 1);
	cuda_wrote(b, d_x + 100, 0);
	count_rounds(b, d_x, 0);
	/* All that lies behind an address, and nothing of other memory. */
	assert_int_equal(cuda_memory_behind(b, d_x + 1), cuda_arena_round(sizeof x) - 4);
	cuda_wrote(b, d_y + 1, cuda_memory_behind(b, d_y + 1));
	count_rounds(b, d_x, 0);
	cuda_wrote(b, d_x + 199, cuda_memory_behind(b, d_x + 199));
	count_rounds(b, d_x, 1);
	assert_true(cuda_memory_behind(b, x) == UINTPTR_MAX - (uintptr_t)x);
	/* The copy itself, padding included. */
	uint64_t ld = 0;
	uint16_t copy[240];
	const void *d_copy = cuda_bf16(b, d_x, 10, 20, 20, &ld);
	assert_int_equal(cuda_download(b, copy, d_copy, sizeof copy), 0);
	for (size_t i = 0; i < 240; i++) {
		assert_int_equal(copy[i], i % 24 < 20 ? fake_to_bf16(x[i / 24 * 20 + i % 24]) : 0);
	}
	/* Other memory at the same address. */
	uint64_t before = fake.rounds;
	cuda_free(b, d_x);
	float *d_z = allocate(b, sizeof x);
	assert_non_null(cuda_bf16(b, d_z, 10, 20, 20, &ld));
	assert_int_equal(fake.rounds, before + 1);
	close_backend(b);
}

/* An operation is asked to round what it writes once a product had to do so, and no longer when nobody multiplies it. */
static void test_copies_beside(void **state)
{
	(void)state;
	struct cuda *b = open_backend(CUDA_BF16);
	float *d_x = allocate(b, 4000);
	uint64_t ld = 0;
	assert_int_equal(cuda_zero(b, d_x, 4000), 0);
	assert_null(cuda_wrote_beside(b, d_x, 240));
	assert_non_null(cuda_bf16(b, d_x, 10, 24, 24, &ld));
	uint64_t rounds = fake.rounds;
	const void *d_copy = cuda_wrote_beside(b, d_x, 240);
	assert_non_null(d_copy);
	assert_ptr_equal(cuda_bf16(b, d_x, 10, 24, 24, &ld), d_copy);
	assert_int_equal(ld, 24);
	d_copy = cuda_wrote_beside(b, d_x, 120); /* less tokens */
	assert_non_null(d_copy);
	assert_ptr_equal(cuda_bf16(b, d_x, 5, 24, 24, &ld), d_copy);
	assert_int_equal(fake.rounds, rounds);
	/* Another matrix than was thought: it is made as ever, and what is wished changes. */
	assert_non_null(cuda_wrote_beside(b, d_x, 240));
	assert_non_null(cuda_bf16(b, d_x, 5, 48, 48, &ld));
	assert_int_equal(fake.rounds, ++rounds);
	d_copy = cuda_wrote_beside(b, d_x, 240);
	assert_ptr_equal(cuda_bf16(b, d_x, 5, 48, 48, &ld), d_copy);
	assert_int_equal(fake.rounds, rounds);
	/* What others write meanwhile makes it untrue. */
	assert_non_null(cuda_wrote_beside(b, d_x, 240));
	cuda_wrote(b, d_x + 239, 4);
	assert_non_null(cuda_bf16(b, d_x, 5, 48, 48, &ld));
	assert_int_equal(fake.rounds, ++rounds);
	int vain = 0;
	while (cuda_wrote_beside(b, d_x, 240)) {
		assert_true(++vain < 5);
	}
	/* Weights are written by loads alone. */
	float w[240] = {0};
	assert_int_equal(cuda_load_begin(b) | cuda_load(b, d_x + 500, w, CWP_F32, 240) | cuda_load_wait(b), 0);
	assert_non_null(cuda_bf16(b, d_x + 500, 10, 24, 24, &ld));
	assert_null(cuda_wrote_beside(b, d_x + 500, 240));
	close_backend(b);
	b = open_backend(CUDA_F32);
	d_x = allocate(b, 4000);
	assert_null(cuda_wrote_beside(b, d_x, 240));
	close_backend(b);
}

/* Without reserve(), copies grow up to a quarter of the device, then the oldest go; and all go for alloc(). */
static void test_copies_make_way(void **state)
{
	(void)state;
	struct cuda *b = open_backend(CUDA_BF16);
	fake.total = 256 << 20;
	cuda_cache_close(b);
	assert_int_equal(cuda_cache_open(b), 0);
	uint64_t rows = 1 << 20, ld = 0;
	float *d_x = allocate(b, rows * 40); /* 10 columns of f32: a copy of 8 takes 16 MiB */
	for (uint64_t i = 0; i < 2; i++) {
		for (uint64_t j = 0; j < 6; j++) {
			assert_non_null(cuda_bf16(b, d_x + j % 3, rows - j, 8, 10, &ld));
		}
		assert_int_equal(fake.taken, cuda_cache_size(b) + rows * 40);
	}
	assert_int_equal(cuda_cache_size(b), 64 << 20);
	assert_true(fake.rounds > 6);
	/* One that is longer than all of them. */
	assert_non_null(cuda_bf16(b, d_x, 5 << 20, 2, 2, &ld));
	assert_int_equal(cuda_cache_size(b), (64 << 20) + (80 << 20));
	void *d_y = cuda_alloc(b, 200 << 20);
	assert_non_null(d_y);
	assert_int_equal(cuda_cache_size(b), 0);
	assert_null(cuda_alloc(b, 200 << 20));
	assert_null(cuda_alloc(b, SIZE_MAX));
	cuda_free(b, d_y);
	/* Too large for the device: a sentence, no crash. */
	fake.total = fake.taken + (1 << 20);
	assert_null(cuda_bf16(b, d_x, 1 << 20, 8, 10, &ld));
	assert_non_null(strstr(said, "no room for a BF16 copy of a matrix [1048576, 8]"));
	close_backend(b);
}

static const struct cwp_backend_use use = {.size = sizeof use, .weights = 100000, .tokens = 128, .width = 512, .sum = 1024};

/* What was reserved can be taken, all of it; more cannot; and the driver is asked for nothing any more. */
static void test_reserve(void **state)
{
	(void)state;
	struct cuda *b = open_backend(CUDA_BF16);
	uint64_t own = cuda_overhead(b, &use), total = 0, free_now = 0, ld = 0;
	assert_int_equal(cuda_reserve(b, own - 1, &use), CWP_ELIMIT);
	assert_non_null(strstr(said, "are not enough"));
	assert_int_equal(cuda_reserve(b, 600, &use), CWP_ELIMIT);
	assert_int_equal(cuda_reserve(b, UINT64_C(8) << 30, &use), -ENOMEM);
	assert_non_null(strstr(said, "were asked for"));
	/* What grew before lies in it, too. */
	assert_non_null(cuda_scratch(b, 1 << 20));
	assert_non_null(cuda_table(b, "test", &use, sizeof use));
	float *d_early = allocate(b, 4096), x[64];
	fill(x, 64, 1);
	assert_non_null(cuda_bf16(b, d_early, 8, 8, 8, &ld));
	uint64_t bytes = own + (64 << 20);
	assert_int_equal(cuda_reserve(b, bytes, &use), 0);
	assert_true(fake.taken <= bytes);
	assert_int_equal(cuda_reserve(b, bytes, &use), CWP_ESTATE);
	uint64_t calls = fake.mallocs;
	void *d_x = cuda_alloc(b, 63 << 20);
	assert_non_null(d_x);
	assert_null(cuda_alloc(b, 4 << 20));
	cuda_free(b, d_early);
	cuda_free(b, d_x);
	float *d_a = allocate(b, 128 * 512 * 4), *d_b = allocate(b, 100000 * 4), *d_c = allocate(b, 128 * 195 * 4);
	assert_int_equal(cuda_memory_behind(b, d_a + 3), 128 * 512 * 4 - 12);
	assert_int_equal(cuda_zero(b, d_a, 128 * 512 * 4) | cuda_zero(b, d_b, 100000 * 4), 0);
	assert_int_equal(cuda_matmul(b, 0, 1, 128, 195, 512, d_a, 512, d_b, 512, 0, d_c, 195), 0);
	assert_int_equal(cuda_load_begin(b) | cuda_load(b, d_b, x, CWP_BF16, 64) | cuda_load_wait(b), 0);
	assert_non_null(cuda_scratch(b, 128 * 512 * 8));
	assert_non_null(cuda_table(b, "test", d_a, 0));
	assert_null(cuda_scratch(b, UINT64_C(1) << 30));
	assert_non_null(strstr(said, "were reserved"));
	assert_null(cuda_table(b, "attention", x, 1 << 20));
	assert_non_null(strstr(said, "attention needs 1048576 bytes of tables"));
	assert_null(cuda_bf16(b, d_a, 1 << 20, 512, 512, &ld));
	assert_non_null(strstr(said, "no room for a BF16 copy"));
	assert_int_equal(cuda_memory(b, &total, &free_now), 0);
	assert_int_equal(total - free_now, fake.taken);
	assert_int_equal(fake.mallocs, calls);
	close_backend(b);
	/* In f32 no room for copies is taken. */
	b = open_backend(CUDA_F32);
	assert_true(cuda_overhead(b, &use) < own);
	close_backend(b);
}

struct shape {
	int trans_a, trans_b;
	uint64_t m, n, k, pad;
	int accumulate;
};

static double reference(const float *x, int bf16, uint64_t at)
{
	return bf16 ? fake_from_bf16(fake_to_bf16(x[at])) : x[at];
}

static void check_product(struct cuda *b, const struct shape *s)
{
	int bf16 = b->precision == CUDA_BF16;
	uint64_t lda = (s->trans_a ? s->m : s->k) + s->pad, ldb = (s->trans_b ? s->k : s->n) + s->pad, ldc = s->n + s->pad;
	uint64_t na = lda * (s->trans_a ? s->k : s->m) + 1, nb = ldb * (s->trans_b ? s->n : s->k) + 1, nc = ldc * s->m;
	float *a = malloc(na * 4), *y = malloc(nb * 4), *c = malloc(nc * 4), *got = malloc(nc * 4);
	float *d_a = allocate(b, na * 4), *d_b = allocate(b, nb * 4), *d_c = allocate(b, nc * 4);
	assert_true(a && y && c && got);
	fill(a, na, 1);
	fill(y, nb, 2);
	fill(c, nc, 3);
	assert_int_equal(cuda_upload(b, d_a, a, na * 4) | cuda_upload(b, d_b, y, nb * 4) | cuda_upload(b, d_c, c, nc * 4), 0);
	assert_int_equal(cuda_matmul(b, s->trans_a, s->trans_b, s->m, s->n, s->k, d_a, lda, d_b, ldb, s->accumulate, d_c, ldc), 0);
	assert_int_equal(cuda_download(b, got, d_c, nc * 4), 0);
	for (uint64_t i = 0; i < s->m; i++) {
		for (uint64_t j = 0; j < ldc; j++) {
			double sum = s->accumulate || j >= s->n ? c[i * ldc + j] : 0;
			for (uint64_t l = 0; l < s->k && j < s->n; l++) {
				sum += reference(a, bf16, s->trans_a ? l * lda + i : i * lda + l) *
					reference(y, bf16, s->trans_b ? j * ldb + l : l * ldb + j);
			}
			if (got[i * ldc + j] != (float)sum) {
				fail_msg("%d %d %d x %d x %d at %d, %d: %g for %g", s->trans_a, s->trans_b, (int)s->m, (int)s->n,
					(int)s->k, (int)i, (int)j, (double)got[i * ldc + j], sum);
			}
		}
	}
	free(a);
	free(y);
	free(c);
	free(got);
	cuda_free(b, d_a);
	cuda_free(b, d_b);
	cuda_free(b, d_c);
}

static void test_products(void **state)
{
	(void)state;
	static const uint64_t shapes[][3] = {{1, 1, 1}, {3, 5, 7}, {16, 24, 33}, {17, 9, 8}, {40, 31, 26}, {5, 3, 0}};
	for (int precision = 0; precision < 2; precision++) {
		struct cuda *b = open_backend(precision ? CUDA_BF16 : CUDA_F32);
		for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
			for (int way = 0; way < 16; way++) {
				const struct shape s = {way & 1, way >> 1 & 1, shapes[i][0], shapes[i][1], shapes[i][2], way & 4 ? 3 : 0, way >> 3};
				check_product(b, &s);
			}
		}
		assert_int_equal(cuda_matmul(b, 0, 1, 0, 4, 4, NULL, 4, NULL, 4, 0, NULL, 4), CWP_EVALUE);
		assert_non_null(strstr(said, "matmul: B is NULL"));
		float *d_x = allocate(b, 4096);
		assert_int_equal(cuda_matmul(b, 0, 1, 0, 4, 4, NULL, 4, d_x, 4, 0, NULL, 4), 0);
		assert_int_equal(cuda_matmul(b, 0, 1, 4, 4, 4, d_x, 3, d_x, 4, 0, d_x, 4), CWP_ESHAPE);
		assert_int_equal(cuda_matmul(b, 0, 1, 4, 4, 4, d_x, 4, d_x, 4, 0, d_x, UINT64_MAX / 4), CWP_ESHAPE);
		assert_int_equal(cuda_rows_alone(b), 0);
		close_backend(b);
	}
}

/* Much result for few steps is written by small tiles, whatever is first; others are computed as cuBLASLt likes best. */
static void test_ways(void **state)
{
	(void)state;
	static const struct {
		int trans_a, trans_b;
		uint64_t m, n, k, way;
	} list[] = {{0, 0, 2048, 64, 16, 2}, {0, 0, 2048, 64, 17, 0}, {0, 0, 2047, 64, 16, 0}, {0, 1, 2048, 64, 16, 0}, {1, 0, 2048, 64, 16, 0}};
	for (int precision = 0; precision < 2; precision++) {
		struct cuda *b = open_backend(precision ? CUDA_BF16 : CUDA_F32);
		float *d_a = allocate(b, 2048 * 64 * 4), *d_b = allocate(b, 64 * 64 * 4), *d_c = allocate(b, 2048 * 64 * 4);
		assert_int_equal(cuda_zero(b, d_a, 2048 * 64 * 4) | cuda_zero(b, d_b, 64 * 64 * 4), 0);
		for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
			uint64_t lda = list[i].trans_a ? list[i].m : list[i].k, ldb = list[i].trans_b ? list[i].k : list[i].n;
			assert_int_equal(cuda_matmul(b, list[i].trans_a, list[i].trans_b, list[i].m, list[i].n, list[i].k, d_a, lda, d_b, ldb, 0, d_c, 64), 0);
			assert_int_equal(fake.way, precision ? list[i].way : 0);
		}
		close_backend(b);
	}
}

/* Parts of one copy serve X^T X, and its weights all pieces. */
static void test_products_share_copies(void **state)
{
	(void)state;
	enum { TOKENS = 40, COLS = 48 };
	struct cuda *b = open_backend(CUDA_BF16);
	float *d_x = allocate(b, TOKENS * COLS * 4), *d_g = allocate(b, COLS * COLS * 4), x[TOKENS * COLS], g[COLS * COLS];
	fill(x, TOKENS * COLS, 4);
	assert_int_equal(cuda_upload(b, d_x, x, sizeof x) | cuda_zero(b, d_g, sizeof g), 0);
	for (uint64_t at = 0; at < COLS; at += 16) {
		assert_int_equal(cuda_matmul(b, 1, 0, 16, COLS - at, TOKENS, d_x + at, COLS, d_x + at, COLS, 1, d_g + at * COLS + at, COLS), 0);
	}
	assert_int_equal(fake.rounds, 1);
	assert_int_equal(cuda_download(b, g, d_g, sizeof g), 0);
	for (size_t i = 0; i < COLS; i++) {
		for (size_t j = i / 16 * 16; j < COLS; j++) {
			double sum = 0;
			for (size_t t = 0; t < TOKENS; t++) {
				sum += reference(x, 1, t * COLS + i) * reference(x, 1, t * COLS + j);
			}
			assert_true(g[i * COLS + j] == (float)sum);
		}
	}
	close_backend(b);
}

/* After an error that stays, all operations say so, and the end is an end. */
static void test_lost(void **state)
{
	(void)state;
	struct cuda *b = open_backend(CUDA_BF16);
	float *d_x = allocate(b, 4096), x[1024] = {0}, *h = cuda_host_alloc(b, 4096);
	uint64_t ld = 0, total = 0, free_now = 0;
	assert_int_equal(cuda_upload(b, d_x, x, sizeof x) | cuda_load_begin(b), 0);
	fake.stays = cudaErrorECCUncorrectable;
	assert_int_equal(cuda_upload(b, d_x, x, sizeof x), CWP_ESTATE);
	assert_non_null(strstr(said, "upload: cuda Fake is lost (cudaErrorECCUncorrectable"));
	assert_int_equal(cuda_download(b, x, d_x, sizeof x), CWP_ESTATE);
	assert_int_equal(cuda_zero(b, d_x, 4), CWP_ESTATE);
	assert_int_equal(cuda_copy(b, d_x, d_x + 8, 4), CWP_ESTATE);
	assert_int_equal(cuda_sync(b), CWP_ESTATE);
	assert_int_equal(cuda_load_begin(b), CWP_ESTATE);
	said[0] = '\0';
	assert_int_equal(cuda_load(b, d_x, x, CWP_F32, 4), CWP_ESTATE);
	assert_string_equal(said, ""); /* its code is its only word */
	assert_int_equal(cuda_load_wait(b), CWP_ESTATE);
	assert_int_equal(cuda_fetch(b, h, d_x, 4), CWP_ESTATE);
	assert_int_equal(cuda_fetch_wait(b), CWP_ESTATE);
	assert_int_equal(cuda_send(b, d_x, h, 4), CWP_ESTATE);
	assert_int_equal(cuda_send_wait(b), CWP_ESTATE);
	assert_int_equal(cuda_memory(b, &total, &free_now), CWP_ESTATE);
	assert_null(cuda_bf16(b, d_x, 4, 4, 4, &ld));
	assert_int_equal(cuda_matmul(b, 0, 0, 20, 4, 4, d_x, 4, d_x, 4, 0, d_x + 512, 4), CWP_ESTATE);
	assert_null(cuda_alloc(b, 4));
	assert_null(cuda_host_alloc(b, 4));
	cuda_free(b, d_x);
	close_backend(b);
	fake.stays = cudaSuccess;
}

static void test_codes(void **state)
{
	(void)state;
	static const struct {
		cudaError_t e;
		int code;
		const char *said;
	} codes[] = {
		{cudaErrorMemoryAllocation, -ENOMEM, "test: cuda Fake is out of memory"},
		{cudaErrorDevicesUnavailable, -EBUSY, "busy or reserved for another process"},
		{cudaErrorUnknown, CWP_ESTATE, "is lost"},
		{cudaErrorInsufficientDriver, CWP_EMISSING, "install a newer driver"},
		{cudaErrorIllegalAddress, CWP_EPLUGIN, "report this as a fault"},
	};
	struct cuda *b = open_backend(CUDA_BF16);
	assert_int_equal(cuda_check(b, "test", cudaSuccess), 0);
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
		assert_int_equal(cuda_check(b, "test", codes[i].e), codes[i].code);
		assert_non_null(strstr(said, codes[i].said));
	}
	const uint64_t start[] = {0, 5, 3}, late[] = {1, 2};
	const struct cwp_sequences descending = {2, start}, shifted = {1, late}, fine = {1, start}, none = {0, NULL};
	assert_int_equal(cuda_check_sequences(b, "test", &descending), CWP_ESHAPE);
	assert_non_null(strstr(said, "sequence 1 ends at 3, before its start 5"));
	assert_int_equal(cuda_check_sequences(b, "test", &shifted), CWP_ESHAPE);
	assert_int_equal(cuda_check_sequences(b, "test", &fine) | cuda_check_sequences(b, "test", &none), 0);
	assert_int_equal(cuda_check_matrix(b, "test", "x", NULL, 0, 5, 5), 0);
	close_backend(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transfers),
		cmocka_unit_test(test_many_transfers),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_loads),
		cmocka_unit_test(test_beside),
		cmocka_unit_test(test_pinned_later),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_copies_beside),
		cmocka_unit_test(test_copies_make_way),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_products),
		cmocka_unit_test(test_ways),
		cmocka_unit_test(test_products_share_copies),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_codes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
