/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sets of addresses against a map of each address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plugins/backends/cuda/ranges.h"

enum { PLACES = 200, STEPS = 20000 };

static uint64_t random_number(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *state >> 33;
}

/* In order, apart from each other, and just what the map says. */
static void check(const struct cuda_ranges *s, const int *map)
{
	size_t at = 0;
	for (size_t i = 0; i < PLACES; i++) {
		at += at < s->n && s->range[at].end <= i;
		assert_int_equal(at < s->n && s->range[at].begin <= i, map[i]);
	}
	for (size_t i = 0; i < s->n; i++) {
		assert_true(s->range[i].begin < s->range[i].end);
		assert_true(i == 0 || s->range[i - 1].end < s->range[i].begin);
	}
}

static void test_random(void **state)
{
	(void)state;
	uint64_t seed = 3;
	int map[PLACES] = {0};
	struct cuda_ranges s = {.n = 0};
	for (int step = 0; step < STEPS; step++) {
		uint64_t begin = random_number(&seed) % PLACES, end = begin + random_number(&seed) % 9;
		end = end > PLACES ? PLACES : end;
		int add = random_number(&seed) % 5 < (step / 300 % 2 ? 1U : 4U), meets = 0;
		for (uint64_t i = begin; i < end; i++) {
			meets |= map[i];
		}
		assert_int_equal(cuda_ranges_meet(&s, begin, end), meets);
		assert_int_equal(add ? cuda_ranges_add(&s, begin, end) : cuda_ranges_remove(&s, begin, end), 0);
		for (uint64_t i = begin; i < end; i++) {
			map[i] = add;
		}
		check(&s, map);
	}
	cuda_ranges_clear(&s);
	assert_false(cuda_ranges_meet(&s, 0, PLACES));
	cuda_ranges_free(&s);
}

static void test_wrong_order(void **state)
{
	(void)state;
	struct cuda_ranges s = {.n = 0};
	assert_int_equal(cuda_ranges_add(&s, 9, 4), 0);
	assert_int_equal(s.n, 0);
	assert_int_equal(cuda_ranges_add(&s, 4, 9), 0);
	assert_int_equal(cuda_ranges_remove(&s, 9, 4), 0);
	assert_false(cuda_ranges_meet(&s, 9, 4));
	assert_true(cuda_ranges_meet(&s, 8, 9));
	cuda_ranges_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_wrong_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
