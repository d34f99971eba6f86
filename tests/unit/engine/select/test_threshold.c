/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The exact threshold against sorting, the number of protected weights, and the mask. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/plugin/host.h"
#include "engine/select/select.h"

static int descending(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x < y) - (x > y);
}

/* In pieces, every second one counted elsewhere and added. */
static void feed(struct cwe_threshold *t, const float *v, uint64_t n)
{
	struct cwe_threshold_part *part = calloc(1, sizeof(*part));

	assert_non_null(part);
	for (uint64_t first = 0, i = 0; first < n; first += 97, i++) {
		uint64_t m = n - first < 97 ? n - first : 97;
		if (i % 2 == 0) {
			cwe_threshold_feed(t, v + first, m);
		} else {
			cwe_threshold_count(t, v + first, m, part);
		}
	}
	cwe_threshold_add(t, part);
	free(part);
}

static float find(const float *v, uint64_t n, uint64_t k, uint64_t *above, uint64_t *ties)
{
	struct cwe_threshold t;
	int rc, passes = 0;

	assert_int_equal(cwe_threshold_begin(&t, k, NULL), 0);
	do {
		feed(&t, v, n);
		rc = cwe_threshold_next(&t, NULL);
		passes++;
	} while (rc == 1);
	assert_int_equal(rc, 0);
	assert_int_equal(passes, 3);
	float value = cwe_threshold_value(&t, above, ties);
	assert_true(value == cwe_threshold_value(&t, NULL, NULL));
	cwe_threshold_end(&t);
	return value;
}

/* Several at once, as they are one by one; 0 takes nothing. */
static void check_many(const float *v, uint64_t n)
{
	struct cwe_thresholds t = {0};
	uint64_t k[CWE_SIZES_MOST], seed = 7;
	for (uint32_t count = 1; count <= CWE_SIZES_MOST; count += 31) {
		int r;
		for (uint32_t i = 0; i < count; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			k[i] = i == 1 ? 0 : i == 2 ? n : (seed >> 33) % (n + 1);
		}
		assert_int_equal(cwe_thresholds_begin(&t, k, count, NULL), 0);
		do {
			for (uint64_t first = 0; first < n; first += 97) {
				cwe_thresholds_feed(&t, v + first, n - first < 97 ? n - first : 97);
			}
		} while ((r = cwe_thresholds_next(&t, NULL)) == 1);
		assert_int_equal(r, 0);
		for (uint32_t i = 0; i < count; i++) {
			float want = k[i] > 0 ? find(v, n, k[i], NULL, NULL) : INFINITY;
			assert_true(cwe_thresholds_value(&t, i) == want);
		}
	}
	k[0] = n + 1;
	assert_int_equal(cwe_thresholds_begin(&t, k, 1, NULL), 0);
	cwe_thresholds_feed(&t, v, n);
	assert_int_equal(cwe_thresholds_next(&t, NULL), CWP_EVALUE);
	cwe_thresholds_end(&t);
}

/* A row's k largest, ties included, by their places. */
static void check_places(const float *v, uint64_t cols)
{
	float *place = malloc(2 * cols * sizeof *place), *spare = malloc(cols * sizeof *spare);
	uint64_t stride = cols / 8 + 1, bits, want;
	uint8_t *a = calloc(2, stride), *b = calloc(2, stride);
	assert_true(place != NULL && spare != NULL && a != NULL && b != NULL);
	memcpy(place, v, cols * sizeof *v);
	for (uint64_t i = 0; i < cols; i++) {
		place[cols + i] = -v[cols - 1 - i];
	}
	float *both = malloc(2 * cols * sizeof *both);
	assert_non_null(both);
	memcpy(both, place, 2 * cols * sizeof *both);
	cwe_row_places(place, 2, cols, spare);
	for (uint64_t k = 1; k <= cols; k += cols / 7 + 1) {
		double fraction = ((double)k + 0.5) / (double)cols;
		if (cwe_fraction_count(fraction, cols) != k) {
			continue;
		}
		assert_int_equal(cwe_mask_fill_rows(both, 2, cols, fraction, a, stride, &want), 0);
		bits = cwe_mask_fill(place, 2, cols, 1 - (float)k, b, stride);
		assert_int_equal(bits, want);
		assert_memory_equal(a, b, 2 * stride);
	}
	free(both);
	free(place);
	free(spare);
	free(a);
	free(b);
}

/* Every k against the sorted values; what is greater and equal counted by hand, and the mask's bits as well. */
static void check(const float *v, uint64_t n, uint64_t step)
{
	float *sorted = malloc(n * sizeof(*sorted));
	uint8_t *mask = malloc(n / 8 + 1);

	assert_non_null(sorted);
	assert_non_null(mask);
	memcpy(sorted, v, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), descending);
	for (uint64_t k = 1; k <= n; k = k + step <= n || k == n ? k + step : n) {
		uint64_t above, ties, greater = 0, equal = 0;
		float value = find(v, n, k, &above, &ties);
		assert_true(value == sorted[k - 1]);
		for (uint64_t i = 0; i < n; i++) {
			greater += v[i] > value;
			equal += v[i] == value;
		}
		assert_int_equal(above, greater);
		assert_int_equal(ties, equal);
		assert_true(above < k && k <= above + ties);
		assert_int_equal(cwe_mask_fill(v, 1, n, value, mask, n / 8 + 1), above + ties);
	}
	free(sorted);
	free(mask);
	check_many(v, n);
	check_places(v, n);
}

static void test_against_sorting(void **state)
{
	enum { N = 4000 };
	float *v = malloc(N * sizeof(*v));

	(void)state;
	assert_non_null(v);
	/* Any bits at all but NaN: subnormal, negative, huge, infinite. */
	for (uint64_t i = 0, j = 0; i < N; j++) {
		uint32_t bits = (uint32_t)cwe_random(1, 0, j);
		memcpy(&v[i], &bits, sizeof(bits));
		i += !isnan(v[i]);
	}
	check(v, N, 173);
	/* Close together, so that all passes matter; many ties. */
	for (uint64_t i = 0; i < N; i++) {
		v[i] = 1.0f + (float)(cwe_random(2, 0, i) % 500) * FLT_EPSILON;
	}
	check(v, N, 191);
	for (uint64_t i = 0; i < N; i++) {
		v[i] = (float)(int)(cwe_random(3, 0, i) % 7) - 3;
	}
	check(v, N, 311);
	free(v);
}

static void test_special_values(void **state)
{
	const float v[] = {0.0f, -0.0f, INFINITY, -INFINITY, FLT_TRUE_MIN, -FLT_TRUE_MIN, FLT_MAX, -FLT_MAX, -0.0f, 0.0f, 1, -1};
	const float one[] = {-7.5f};
	float same[100];

	(void)state;
	check(v, sizeof(v) / sizeof(v[0]), 1);
	check(one, 1, 1);
	for (int i = 0; i < 100; i++) {
		same[i] = -0.0f;
	}
	check(same, 100, 9);
}

static void test_refusals(void **state)
{
	struct cwe_threshold t;
	struct cwb_err err = {0};
	const float v[] = {1, 2, NAN};

	(void)state;
	assert_int_equal(cwe_threshold_begin(&t, 0, &err), CWP_EVALUE);
	cwb_err_clear(&err);
	assert_int_equal(cwe_threshold_begin(&t, 1, &err), 0);
	cwe_threshold_feed(&t, v, 3);
	assert_int_equal(cwe_threshold_next(&t, &err), CWP_ENUMBER);
	assert_non_null(strstr(err.message, "NaN"));
	cwe_threshold_end(&t);
	cwb_err_clear(&err);
	assert_int_equal(cwe_threshold_begin(&t, 3, &err), 0);
	cwe_threshold_feed(&t, v, 2);
	assert_int_equal(cwe_threshold_next(&t, &err), CWP_EVALUE);
	assert_non_null(strstr(err.message, "3-th largest of 2"));
	cwe_threshold_end(&t);
	cwb_err_clear(&err);
	assert_int_equal(cwe_threshold_begin(&t, 1, &err), 0);
	cwe_threshold_feed(&t, v, 2);
	assert_int_equal(cwe_threshold_next(&t, &err), 1);
	cwe_threshold_feed(&t, v, 1);
	assert_int_equal(cwe_threshold_next(&t, &err), CWP_ESTATE);
	assert_non_null(strstr(err.message, "pass 2 over the scores saw 1 values, the first one 2"));
	cwe_threshold_end(&t);
	cwe_threshold_end(NULL);
}

static void test_fraction(void **state)
{
	(void)state;
	assert_int_equal(cwe_fraction_count(0.05, 106168320), 5308416);
	/* tau 0.005, 0.01, 0.6 of the same model */
	assert_int_equal(cwe_fraction_count(0.005, 106168320), 530841);
	assert_int_equal(cwe_fraction_count(0.01, 106168320), 1061683);
	assert_int_equal(cwe_fraction_count(0.6, 106168320), 63700992);
	assert_int_equal(cwe_fraction_count(0, 100), 0);
	assert_int_equal(cwe_fraction_count(-1, 100), 0);
	assert_int_equal(cwe_fraction_count(NAN, 100), 0);
	assert_int_equal(cwe_fraction_count(1, 100), 100);
	assert_int_equal(cwe_fraction_count(0.5, 1), 0);
	assert_int_equal(cwe_fraction_count(0.07, 100), 7);
	assert_int_equal(cwe_fraction_count(0.29, 100), 29);
	assert_int_equal(cwe_fraction_count(0.001, 1000), 1);
	assert_int_equal(cwe_fraction_count(1e-300, UINT64_MAX), 0);
	assert_true(cwe_fraction_count(0.1, UINT64_C(10000000000000000000)) == UINT64_C(1000000000000000000));
	assert_true(cwe_fraction_count(0.3, UINT64_C(70000000000)) == UINT64_C(21000000000));
	/* All hundredths of all counts up to 1000 against whole numbers. */
	for (unsigned percent = 1; percent < 100; percent++) {
		for (unsigned n = 0; n < 1000; n += 7) {
			assert_int_equal(cwe_fraction_count(percent / 100.0, n), percent * n / 100);
		}
	}
}

static void test_mask(void **state)
{
	const float v[2][11] = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {-1, 5, NAN, 5, 4.9f, INFINITY, -INFINITY, 0, 0, 0, 5}};
	uint8_t mask[2][4];

	(void)state;
	memset(mask, 0xff, sizeof(mask));
	assert_int_equal(cwe_mask_fill(&v[0][0], 2, 11, 5, &mask[0][0], 4), 7 + 4);
	const uint8_t expected[2][4] = {{0xf0, 0x07, 0, 0}, {0x2a, 0x04, 0, 0}};
	assert_memory_equal(mask, expected, sizeof(mask));
}

/* The floor is below the k-th largest by less than a bin, only rises, and tells how many scores reach it, whatever was left
 * out below it. */
static void test_floor(void **state)
{
	enum { N = 20000, STEP = 700 };
	static float x[N], sorted[N];
	uint64_t random = 7;

	(void)state;
	for (int i = 0; i < N; i++) {
		random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		x[i] = ldexpf((float)(random >> 40) + 1, (int)(random >> 20 & 31) - 40) * (random >> 19 & 1 ? -1.0f : 1.0f);
	}
	for (uint64_t k = 1; k <= N; k = k * 7 + 3) {
		struct cwe_floor f, g;
		float last = -INFINITY;
		assert_int_equal(cwe_floor_begin(&f, k, NULL), 0);
		assert_int_equal(cwe_floor_begin(&g, k, NULL), 0);
		for (uint64_t at = 0; at < N; at += STEP) {
			uint64_t n = N - at < STEP ? N - at : STEP, reach = 0;
			cwe_floor_raise(&f, cwe_floor_count(&f, x + at, n));
			for (uint64_t i = at; i < at + n; i++) {
				if (x[i] >= last) { /* what a caller would have kept */
					cwe_floor_raise(&g, cwe_floor_count(&g, &x[i], 1));
				}
			}
			float floor = cwe_floor_value(&f);
			assert_true(floor == cwe_floor_value(&g));
			assert_true(floor >= last);
			last = floor;
			memcpy(sorted, x, (at + n) * sizeof *x);
			qsort(sorted, at + n, sizeof *x, descending);
			if (at + n < k) {
				assert_true(floor == -INFINITY);
				continue;
			}
			float want = sorted[k - 1];
			assert_true(floor <= want);
			assert_true(want - floor <= fabsf(want) / 1024);
			for (uint64_t i = 0; i < at + n; i++) {
				reach += x[i] >= floor;
			}
			assert_int_equal(f.kept, reach);
		}
		cwe_floor_end(&f);
		cwe_floor_end(&g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_sorting),
		cmocka_unit_test(test_special_values),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_fraction),
		cmocka_unit_test(test_mask),
		cmocka_unit_test(test_floor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
