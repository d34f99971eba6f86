/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Resampling against distributions known exactly, and the verdict on a gap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/plugin/host.h"
#include "engine/plugin/pool.h"
#include "engine/statistics/statistics.h"

enum { M = CWE_BOOTSTRAP_MODELS, R = 10000 };

static void near(double a, double b, double by)
{
	if (!(fabs(a - b) <= by)) {
		fail_msg("%.17g is not %.17g", a, b);
	}
}

/* Two items of 0 and 1: the mean is 0, 1/2 or 1 with probabilities 1/4, 1/2 and 1/4; three items are no whole pairs. */
static void test_exact(void **state)
{
	struct cwe_bootstrap_item item[3] = {{{0, 1, 5}, {1, 1, 1}}, {{1, 0, 5}, {1, 1, 0}}, {{0, 0, 5}, {1, 1, 1}}};
	struct cwe_bootstrap b = {.item = item, .n = 2, .seed = 7, .stream = 3};
	double *draw = calloc((size_t)R * M, sizeof *draw), n[4] = {0};
	(void)state;
	assert_non_null(draw);
	assert_int_equal(cwe_bootstrap_run(&b, R, draw), 0);
	for (size_t r = 0; r < R; r++) {
		const double *d = &draw[r * M];
		near(d[0] + d[1], 1, 0); /* the same items for all models */
		n[(int)(2 * d[0])]++;
		/* Only the second item was drawn, which has no weight under the third model. */
		assert_true(d[0] == 1 ? isnan(d[2]) : d[2] == 5);
	}
	near(n[0], 2500, 5 * sqrt(R * 3 / 16.0));
	near(n[1], 5000, 5 * sqrt(R / 4.0));
	near(n[2], 2500, 5 * sqrt(R * 3 / 16.0));
	b.n = 3;
	memset(n, 0, sizeof n);
	assert_int_equal(cwe_bootstrap_run(&b, R, draw), 0);
	for (size_t r = 0; r < R; r++) {
		n[(int)lround(3 * draw[r * M])]++;
	}
	near(n[0], R * 8 / 27.0, 5 * sqrt(R / 4.0));
	near(n[1], R * 12 / 27.0, 5 * sqrt(R / 4.0));
	near(n[2], R * 6 / 27.0, 5 * sqrt(R / 4.0));
	near(n[3], R * 1 / 27.0, 5 * sqrt(R * 26) / 27);
	free(draw);
}

static double uniform(uint64_t i)
{
	return (double)(cwe_random(1, 2, i) >> 11) * 0x1p-53;
}

/* Weighted means and their exp: the interval of many items is near the one of the linearized standard error. */
static void test_interval(void **state)
{
	enum { N = 2000 };
	struct cwe_bootstrap_item *item = calloc(N, sizeof *item);
	struct cwe_bootstrap b = {.item = item, .n = N, .seed = 1, .stream = 9};
	double *draw = calloc((size_t)R * M, sizeof *draw), *x = calloc(R, sizeof *x), low, high;
	(void)state;
	assert_true(item != NULL && draw != NULL && x != NULL);
	for (size_t i = 0; i < N; i++) {
		double weight = 1 + floor(20 * uniform(3 * i)), value = 2 + uniform(3 * i + 1), other = value + 0.2 * uniform(3 * i + 2);
		item[i] = (struct cwe_bootstrap_item){{value, other, value}, {weight, weight, 1}};
	}
	for (b.exponential = 0; b.exponential < 2; b.exponential++) {
		assert_int_equal(cwe_bootstrap_run(&b, R, draw), 0);
		for (size_t k = 0; k < M; k++) {
			double value = cwe_bootstrap_value(&b, k), error = cwe_bootstrap_error(&b, k);
			for (size_t r = 0; r < R; r++) {
				x[r] = draw[r * M + k];
			}
			cwe_percentiles(x, R, 0.95, &low, &high);
			near((low + high) / 2, value, error / 10);
			near((high - low) / (2 * 1.96 * error), 1, 0.05);
		}
		/* Paired: the difference varies far less than either. */
		for (size_t r = 0; r < R; r++) {
			x[r] = draw[r * M + 1] - draw[r * M];
		}
		cwe_percentiles(x, R, 0.95, &low, &high);
		assert_true(low > 0 && high - low < cwe_bootstrap_error(&b, 0));
	}
	free(x);
	free(draw);
	free(item);
}

static void test_threads(void **state)
{
	enum { N = 101 };
	struct cwe_bootstrap_item item[N];
	struct cwe_bootstrap b = {.item = item, .n = N, .exponential = 1, .seed = 5, .stream = 1};
	double *draw = calloc((size_t)R * M, sizeof *draw), *again = calloc((size_t)R * M, sizeof *draw);
	(void)state;
	assert_true(draw != NULL && again != NULL);
	for (size_t i = 0; i < N; i++) {
		item[i] = (struct cwe_bootstrap_item){{uniform(i), uniform(i + N), 3}, {1, 2, 1}};
	}
	assert_int_equal(cwe_bootstrap_run(&b, R, draw), 0);
	for (uint32_t threads = 1; threads < 8; threads += 3) {
		assert_int_equal(cwe_pool_new(threads, &b.pool, NULL), 0);
		assert_int_equal(cwe_bootstrap_run(&b, R, again), 0);
		assert_memory_equal(draw, again, (size_t)R * M * sizeof *draw);
		cwe_pool_free(b.pool);
	}
	b.pool = NULL;
	b.stream = 2;
	assert_int_equal(cwe_bootstrap_run(&b, R, again), 0);
	assert_memory_not_equal(draw, again, (size_t)R * M * sizeof *draw);
	free(again);
	free(draw);
}

static void test_resamples(void **state)
{
	(void)state;
	assert_int_equal(cwe_bootstrap_resamples(0), 10000);
	assert_int_equal(cwe_bootstrap_resamples(107374), 10000);
	assert_int_equal(cwe_bootstrap_resamples(500000), 2147);
	assert_int_equal(cwe_bootstrap_resamples(100000000), 1000);
}

static void test_recovery(void **state)
{
	const struct cwe_interval none = {1, -0.5, 2.5}, gap = {10, 8, 12}, lost = {-10, -12, -8}, unknown = {10, NAN, NAN};
	double work[100], draw[100 * M];
	struct cwe_interval r;
	const struct {
		double value, low, high;
		enum cwe_verdict verdict;
	} known[] = {{0.9, 0.7, 1.1, CWE_RECOVERY_RECOVERED}, {0.4, 0.1, 1.1, CWE_RECOVERY_PARTLY}, {0.6, 0.5, 0.7, CWE_RECOVERY_PARTLY},
		{0.1, -0.1, 0.3, CWE_RECOVERY_NOT}, {-0.5, -0.9, -0.1, CWE_RECOVERY_WORSE}};
	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		for (int sign = -1; sign <= 1; sign += 2) {
			double q = 50 + 10 * sign, value[M] = {50, q, q - 10 * sign * known[i].value};
			for (size_t k = 0; k < 100; k++) {
				double share = known[i].low + (known[i].high - known[i].low) * (double)k / 99;
				draw[k * M] = 50;
				draw[k * M + 1] = q;
				draw[k * M + 2] = q - 10 * sign * share;
			}
			assert_int_equal(cwe_recovery(value, sign > 0 ? &gap : &lost, draw, 100, 0.95, work, &r), known[i].verdict);
			near(r.value, known[i].value, 1e-12);
			near(r.low, known[i].low + 0.025 * (known[i].high - known[i].low), 1e-12);
			near(r.high, known[i].high - 0.025 * (known[i].high - known[i].low), 1e-12);
			assert_int_equal(cwe_recovery(value, &none, draw, 100, 0.95, work, &r), CWE_RECOVERY_CANNOT_TELL);
			assert_true(isnan(r.value) && isnan(r.low) && isnan(r.high));
			assert_int_equal(cwe_recovery(value, &unknown, draw, 100, 0.95, work, &r), CWE_RECOVERY_CANNOT_TELL);
			assert_int_equal(cwe_recovery(value, &gap, NULL, 0, 0.95, work, &r), CWE_RECOVERY_CANNOT_TELL);
		}
	}
	assert_string_equal(cwe_verdict_name(CWE_RECOVERY_CANNOT_TELL), "cannot tell");
	assert_string_equal(cwe_verdict_name(CWE_RECOVERY_RECOVERED), "recovered");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_exact), cmocka_unit_test(test_interval), cmocka_unit_test(test_threads),
		cmocka_unit_test(test_resamples), cmocka_unit_test(test_recovery)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
