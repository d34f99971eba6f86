/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which fractions are tried: for every least fraction that passes, the answer is near it, and found in few tries. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/pipeline/search.h"

enum { MOST = 64 };

/* Tries until the end with a gate that fractions in [low, high] pass; the answer, or -1. */
static double run(double low, double high, double at_most, size_t *ret_tries, double *ret_failed)
{
	struct cwe_tried tried[MOST];
	size_t n = 0;
	double next, answer = -1;
	*ret_failed = -1;
	while ((next = cwe_search_next(tried, n, at_most)) >= 0) {
		assert_true(n < MOST && next <= at_most);
		for (size_t i = 0; i < n; i++)
			assert_true(tried[i].fraction != next);
		tried[n++] = (struct cwe_tried){next, next >= low && next <= high};
	}
	for (size_t i = 0; i < n; i++) {
		if (tried[i].passed && (answer < 0 || tried[i].fraction < answer))
			answer = tried[i].fraction;
	}
	for (size_t i = 0; i < n; i++) {
		if (!tried[i].passed && tried[i].fraction < answer && tried[i].fraction > *ret_failed)
			*ret_failed = tried[i].fraction;
	}
	*ret_tries = n;
	return answer;
}

static void test_answers(void **state)
{
	(void)state;
	size_t tries;
	double failed;
	for (double least = 2e-4; least < 0.2; least *= 1.07) {
		double answer = run(least, 1, 0.2, &tries, &failed);
		assert_true(answer >= least && failed < least);
		assert_true(answer < failed * 1.26 || answer < 16 * 1e-4);
		assert_true(tries <= 10);
	}
	/* Nothing needs protection: one try. */
	assert_true(run(0, 1, 0.2, &tries, &failed) == 0);
	assert_int_equal(tries, 1);
	/* Nothing passes. */
	assert_true(run(2, 3, 0.2, &tries, &failed) == -1);
	assert_true(tries >= 5 && tries <= 10);
	/* The largest fails, a smaller one passes: it is found from above, and then from below. */
	double answer = run(0.008, 0.07, 0.2, &tries, &failed);
	assert_true(answer >= 0.008 && answer < 0.0101 && tries <= 14);
	/* Next to nothing passes. */
	answer = run(1e-9, 1, 0.2, &tries, &failed);
	assert_true(answer > 0 && answer < 2e-3 && tries <= 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_answers)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
