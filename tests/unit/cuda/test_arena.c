/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Parts of an arena against a map of its units: the lowest place that fits, nothing twice, nothing lost. */
#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cwp/error.h>

#include "plugins/backends/cuda/arena.h"

enum { UNITS = 96, MOST = UNITS, STEPS = 20000 };

static const uint64_t BASE = UINT64_C(0x7f0000000100);

struct part {
	size_t at, n;
};

struct model {
	int taken[UNITS];
	struct part part[MOST];
	size_t n;
};

static uint64_t random_number(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *state >> 33;
}

/* The lowest run of n free units, or UNITS. */
static size_t lowest(const struct model *m, size_t n)
{
	size_t run = 0;
	for (size_t i = 0; i < UNITS; i++) {
		run = m->taken[i] ? 0 : run + 1;
		if (run == n) {
			return i + 1 - n;
		}
	}
	return UNITS;
}

static void count(const struct model *m, uint64_t *ret_free, uint64_t *ret_largest)
{
	uint64_t run = 0;
	*ret_free = *ret_largest = 0;
	for (size_t i = 0; i < UNITS; i++) {
		run = m->taken[i] ? 0 : run + 1;
		*ret_free += !m->taken[i];
		*ret_largest = run > *ret_largest ? run : *ret_largest;
	}
}

static void take(struct cuda_arena *a, struct model *m, uint64_t *state)
{
	uint64_t bytes = random_number(state) % (12 * CUDA_ALIGN), address = 0;
	size_t n = (size_t)(cuda_arena_round(bytes) / CUDA_ALIGN), at = lowest(m, n);
	int rc = cuda_arena_take(a, bytes, &address);
	if (at == UNITS) {
		assert_int_equal(rc, -ENOMEM);
		return;
	}
	assert_int_equal(rc, 0);
	assert_int_equal(address, BASE + at * CUDA_ALIGN);
	for (size_t i = at; i < at + n; i++) {
		m->taken[i] = 1;
	}
	m->part[m->n++] = (struct part){at, n};
}

static void give(struct cuda_arena *a, struct model *m, uint64_t *state)
{
	if (m->n == 0) {
		return;
	}
	size_t i = (size_t)(random_number(state) % m->n);
	struct part p = m->part[i];
	uint64_t bytes = 0;
	if (p.n > 1) {
		assert_int_equal(cuda_arena_give(a, BASE + (p.at + 1) * CUDA_ALIGN, NULL), CWP_EVALUE);
	}
	assert_int_equal(cuda_arena_give(a, BASE + p.at * CUDA_ALIGN, &bytes), 0);
	assert_int_equal(bytes, p.n * CUDA_ALIGN);
	assert_int_equal(cuda_arena_give(a, BASE + p.at * CUDA_ALIGN, NULL), CWP_EVALUE);
	memset(m->taken + p.at, 0, p.n * sizeof(m->taken[0]));
	m->part[i] = m->part[--m->n];
}

static void test_random(void **state)
{
	(void)state;
	uint64_t seed = 5;
	struct model m = {.n = 0};
	struct cuda_arena *a = cuda_arena_new(BASE, UNITS * CUDA_ALIGN);
	assert_non_null(a);
	for (int step = 0; step < STEPS; step++) {
		uint64_t free = 0, largest = 0;
		/* Long stretches of filling and of emptying, so that both ends are met. */
		if (random_number(&seed) % 8 < (step / 500 % 2 ? 3U : 5U)) {
			take(a, &m, &seed);
		} else {
			give(a, &m, &seed);
		}
		count(&m, &free, &largest);
		assert_int_equal(cuda_arena_free(a), free * CUDA_ALIGN);
		assert_int_equal(cuda_arena_largest(a), largest * CUDA_ALIGN);
	}
	while (m.n > 0) {
		give(a, &m, &seed);
	}
	assert_int_equal(cuda_arena_largest(a), UNITS * CUDA_ALIGN); /* one part again */
	cuda_arena_destroy(a);
}

static void test_all_of_it(void **state)
{
	(void)state;
	uint64_t first = 0, second = 0;
	struct cuda_arena *a = cuda_arena_new(BASE + 1, 3 * CUDA_ALIGN); /* two whole units lie in it */
	assert_non_null(a);
	assert_int_equal(cuda_arena_size(a), 2 * CUDA_ALIGN);
	assert_int_equal(cuda_arena_take(a, 2 * CUDA_ALIGN + 1, &first), -ENOMEM);
	assert_int_equal(cuda_arena_take(a, 0, &first), 0);
	assert_int_equal(cuda_arena_take(a, CUDA_ALIGN, &second), 0);
	assert_int_equal(first, BASE + CUDA_ALIGN);
	assert_int_equal(second, BASE + 2 * CUDA_ALIGN);
	assert_int_equal(cuda_arena_take(a, 1, &first), -ENOMEM);
	assert_int_equal(cuda_arena_free(a), 0);
	assert_true(cuda_arena_holds(a, second + CUDA_ALIGN - 1));
	assert_false(cuda_arena_holds(a, second + CUDA_ALIGN));
	assert_false(cuda_arena_holds(a, BASE));
	assert_int_equal(cuda_arena_end(a, second - 1), second);
	assert_int_equal(cuda_arena_end(a, second), second + CUDA_ALIGN);
	assert_int_equal(cuda_arena_end(a, second + CUDA_ALIGN), 0);
	assert_int_equal(cuda_arena_end(a, BASE), 0);
	cuda_arena_destroy(a);
}

static void test_edges(void **state)
{
	(void)state;
	uint64_t address = 0;
	struct cuda_arena *a = cuda_arena_new(BASE, CUDA_ALIGN - 1);
	assert_non_null(a);
	assert_int_equal(cuda_arena_size(a), 0);
	assert_int_equal(cuda_arena_take(a, 0, &address), -ENOMEM);
	assert_int_equal(cuda_arena_give(a, BASE, NULL), CWP_EVALUE);
	cuda_arena_destroy(a);
	cuda_arena_destroy(NULL);
	assert_int_equal(cuda_arena_round(UINT64_MAX - 3), UINT64_MAX);
	a = cuda_arena_new(BASE, UNITS * CUDA_ALIGN);
	assert_non_null(a);
	assert_int_equal(cuda_arena_take(a, UINT64_MAX, &address), -ENOMEM);
	cuda_arena_destroy(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_all_of_it),
		cmocka_unit_test(test_edges),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
