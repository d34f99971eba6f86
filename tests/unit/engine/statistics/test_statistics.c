/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Intervals of shares, exact tests and corrections against published examples and values computed with fractions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "engine/statistics/statistics.h"

static void near(double a, double b, double by)
{
	if (!(fabs(a - b) <= by)) {
		fail_msg("%.17g is not %.17g", a, b);
	}
}

static void test_normal(void **state)
{
	(void)state;
	near(cwe_normal_quantile(0.975), 1.959963984540054, 1e-14);
	near(cwe_normal_quantile(0.95), 1.6448536269514722, 1e-14);
	near(cwe_normal_quantile(0.5), 0, 1e-15);
	near(cwe_normal_quantile(1e-10), -6.361340902404056, 1e-12);
	near(cwe_normal_above(1.959963984540054), 0.025, 1e-15);
	near(cwe_normal_above(-3), 0.9986501019683699, 1e-15);
	assert_true(isnan(cwe_normal_quantile(0)) && isnan(cwe_normal_quantile(1)) && isnan(cwe_normal_quantile(NAN)));
}

/* The examples of Newcombe (1998), Statistics in Medicine 17, table I: method 3. */
static void test_wilson(void **state)
{
	static const struct {
		double hits, n, low, high;
	} known[] = {{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}};
	double low, high;
	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		cwe_wilson(known[i].hits, known[i].n, 0.95, &low, &high);
		near(low, known[i].low, 5e-5);
		near(high, known[i].high, 5e-5);
	}
	cwe_wilson(20, 20, 0.95, &low, &high);
	near(low, 1 - 0.1611, 5e-5);
	assert_true(high == 1);
	cwe_wilson(0, 0, 0.95, &low, &high);
	assert_true(isnan(low) && isnan(high));
}

/* With fractions from the definition in Agresti and Min (2005): half an item added to each cell, then Wald's. */
static void test_paired_rates(void **state)
{
	static const struct {
		double up, down, n, low, high;
	} known[] = {{12, 2, 50, 0.056007166279791354, 0.3286082183355933}, {0, 0, 20, -0.08908927202454792, 0.08908927202454792},
		{16, 8, 86, -0.018820739244482923, 0.20063892106266473}, {4, 9, 1000, -0.012302371353116811, 0.0023223314329571306}};
	double centre, error;
	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		struct cwe_interval r = cwe_paired_rates(known[i].up, known[i].down, known[i].n, 0.95, &centre, &error);
		near(r.value, (known[i].up - known[i].down) / known[i].n, 1e-15);
		near(r.low, known[i].low, 1e-13);
		near(r.high, known[i].high, 1e-13);
		near(centre + cwe_normal_quantile(0.975) * error, r.high, 1e-14);
	}
	assert_true(isnan(cwe_paired_rates(0, 0, 0, 0.95, NULL, NULL).value));
	assert_true(cwe_paired_rates(2, 0, 2, 0.999, NULL, NULL).high == 1);
}

/* Sums of binomial coefficients over powers of two. */
static void test_mcnemar(void **state)
{
	(void)state;
	near(cwe_mcnemar(9, 1), 0.021484375, 1e-15);
	near(cwe_mcnemar(1, 9), 0.021484375, 1e-15);
	near(cwe_mcnemar(121, 59) / 4.434449263755176e-06, 1, 1e-11);
	near(cwe_mcnemar(400, 300) / 0.00017847631448562445, 1, 1e-10);
	near(cwe_mcnemar(3, 0), 0.25, 1e-15);
	near(cwe_mcnemar(5, 5), 1, 0);
	near(cwe_mcnemar(5, 4), 1, 1e-14);
	near(cwe_mcnemar(0, 0), 1, 0);
	/* Far out the normal distribution is near, with z = (1000 - 1) / sqrt(39000): up to z^4 / 12 n. */
	near(cwe_mcnemar(20000, 19000) / (2 * cwe_normal_above(999 / sqrt(39000))), 1, 2e-3);
	assert_true(cwe_mcnemar(UINT64_C(1) << 40, 0) == 0);
}

static void test_holm(void **state)
{
	const double p[] = {0.04, 0.01, NAN, 0.03, 0.9}, one[] = {0.02};
	const double expected[] = {0.12, 0.05, NAN, 0.12, 1};
	double ret[5];
	(void)state;
	assert_int_equal(cwe_holm(p, 5, ret), 0);
	for (size_t i = 0; i < 5; i++) {
		if (isnan(p[i])) {
			assert_true(isnan(ret[i]));
		} else {
			near(ret[i], expected[i], 1e-15);
		}
	}
	assert_int_equal(cwe_holm(one, 1, ret), 0);
	near(ret[0], 0.02, 0);
	assert_int_equal(cwe_holm(NULL, 0, NULL), 0);
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void test_quantile(void **state)
{
	const double x[] = {3.1, -2, 7, 0.5, 11, 4, 4, 9, -6, 2.25};
	/* numpy.quantile */
	static const struct {
		double q, value;
	} known[] = {{0.025, -5.1}, {0.5, 3.55}, {0.9, 9.2}, {1, 11}, {0, -6}};
	double y[1000], sorted[1000], low, high;
	uint64_t random = 1;
	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		for (size_t k = 0; k < 10; k++) {
			y[k] = x[k];
		}
		near(cwe_quantile(y, 10, known[i].q), known[i].value, 1e-14);
	}
	for (size_t round = 0; round < 200; round++) {
		size_t n = 1 + round * 5, k = (round * 37) % n;
		for (size_t i = 0; i < n; i++) {
			random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
			y[i] = sorted[i] = (double)((random >> 33) % (round % 2 ? 10 : 100000)); /* many alike, or few */
		}
		qsort(sorted, n, sizeof *sorted, ascending);
		near(cwe_quantile(y, n, n > 1 ? (double)k / (double)(n - 1) : 0), sorted[k], 1e-6);
	}
	assert_true(isnan(cwe_quantile(y, 0, 0.5)));
	for (size_t i = 0; i < 100; i++) {
		y[i] = i < 5 ? NAN : (double)i;
	}
	cwe_percentiles(y, 100, 0.9, &low, &high);
	near(low, 5 + 0.05 * 94, 1e-12);
	near(high, 5 + 0.95 * 94, 1e-12);
	for (size_t i = 0; i < 100; i++) {
		y[i] = i < 6 ? NAN : (double)i;
	}
	cwe_percentiles(y, 100, 0.9, &low, &high);
	assert_true(isnan(low) && isnan(high));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_normal), cmocka_unit_test(test_wilson),
		cmocka_unit_test(test_paired_rates), cmocka_unit_test(test_mcnemar), cmocka_unit_test(test_holm),
		cmocka_unit_test(test_quantile)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
