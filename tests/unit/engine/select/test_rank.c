/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Ranks within a set against their definition, counted naively: for each weight, all others are looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/select/select.h"

enum { N = 3000 };

static uint64_t state_of = 1;

static uint32_t next(void)
{
	state_of = state_of * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(state_of >> 33);
}

/* Magnitudes over many octaves with both signs, zeros of both signs, denormals and repetitions. */
static void fill(float *x, int signs)
{
	for (int i = 0; i < N; i++) {
		float v = ldexpf((float)(next() % 16777216 + 1), (int)(next() % 60) - 60);
		switch (next() % 20) {
		case 0:
			v = 0;
			break;
		case 1:
			v = -0.0f;
			break;
		case 2:
			v = ldexpf((float)(next() % 5000), -149);
			break;
		case 3:
			v = i > 0 ? x[next() % (unsigned)i] : v;
			break;
		case 4: /* near neighbours, that share a bin */
			v = 1.0f + ldexpf((float)(next() % 6000), -23);
			break;
		default:
			break;
		}
		x[i] = signs && next() % 2 ? -v : v;
	}
}

/* Order of the floats as integers without a sign, by arithmetic instead of bits. */
static int64_t ordinal(float v)
{
	int32_t i;
	memcpy(&i, &v, sizeof i);
	int64_t magnitude = i & 0x7fffffff;
	return v < 0 ? 0x7fffffff - magnitude : v == 0 ? 0x80000000ll : 0x80000000ll + magnitude;
}

static double naive(const float *x, uint64_t n, float v)
{
	uint64_t below = 0, own = 0;
	int64_t bin = ordinal(v) / 4096, place = ordinal(v) % 4096;
	for (uint64_t i = 0; i < n; i++) {
		below += ordinal(x[i]) / 4096 < bin;
		own += ordinal(x[i]) / 4096 == bin;
	}
	return ((double)below + (double)own * ((double)place + 0.5) / 4096.0) / (double)n;
}

static void count(struct cwe_rank *r, const float *x, uint64_t n, uint64_t cut)
{
	assert_int_equal(cwe_rank_begin(r, NULL), 0);
	for (uint64_t at = 0; at < n; at += cut) {
		cwe_rank_feed(r, x + at, n - at < cut ? n - at : cut);
	}
	cwe_rank_finish(r);
}

static void test_definition(void **state)
{
	float *x = malloc(N * sizeof *x);
	(void)state;
	assert_non_null(x);
	for (int signs = 0; signs < 2; signs++) {
		struct cwe_rank r;
		double sum = 0;
		fill(x, signs);
		count(&r, x, N, signs ? 7 : N);
		assert_int_equal(r.total, N);
		for (int i = 0; i < N; i++) {
			double rank = cwe_rank_of(&r, x[i]);
			assert_true(rank == naive(x, N, x[i]));
			assert_true(rank > 0 && rank < 1);
			sum += rank;
		}
		assert_true(fabs(r.sum - sum) < 1e-9 * sum);
		cwe_rank_end(&r);
	}
	free(x);
}

/* Equal importances have one rank, larger ones a larger one, and no rank is further from the true share of weights below than
 * its bin holds. */
static void test_order(void **state)
{
	float *x = malloc(N * sizeof *x);
	struct cwe_rank r;
	(void)state;
	assert_non_null(x);
	fill(x, 1);
	count(&r, x, N, N);
	for (int i = 0; i < N; i++) {
		double rank = cwe_rank_of(&r, x[i]);
		uint64_t below = 0, own = 0;
		for (int k = 0; k < N; k++) {
			double other = cwe_rank_of(&r, x[k]);
			assert_int_equal(x[k] < x[i], other < rank);
			assert_int_equal(x[k] == x[i], other == rank);
			below += x[k] < x[i];
			own += ordinal(x[k]) / 4096 == ordinal(x[i]) / 4096;
		}
		assert_true(fabs(rank * N - (double)below) <= (double)own);
	}
	cwe_rank_end(&r);
	free(x);
}

/* The order in which weights come changes no bit. */
static void test_order_of_feeding(void **state)
{
	float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
	struct cwe_rank a, b;
	(void)state;
	assert_non_null(x);
	assert_non_null(y);
	fill(x, 1);
	for (int i = 0; i < N; i++) {
		y[i] = x[N - 1 - i];
	}
	count(&a, x, N, 100);
	count(&b, y, N, 33);
	assert_memory_equal(a.below, b.below, CWE_RANK_BYTES);
	assert_true(a.sum == b.sum);
	cwe_rank_end(&a);
	cwe_rank_end(&b);
	free(x);
	free(y);
}

static void test_extremes(void **state)
{
	const float one[] = {-3.4e38f, 3.4e38f, 1e-45f, -1e-45f, 0};
	struct cwe_rank r;
	(void)state;
	count(&r, one, 5, 5);
	for (int i = 0; i < 5; i++) {
		assert_true(cwe_rank_of(&r, one[i]) == naive(one, 5, one[i]));
	}
	assert_true(cwe_rank_of(&r, one[0]) < cwe_rank_of(&r, one[3]));
	assert_true(cwe_rank_of(&r, one[3]) < cwe_rank_of(&r, 0));
	assert_true(cwe_rank_of(&r, -0.0f) == cwe_rank_of(&r, 0));
	assert_true(cwe_rank_of(&r, 0) < cwe_rank_of(&r, one[2]));
	cwe_rank_end(&r);
	/* Only zeros: no weight matters more than another, and none at all. */
	const float zeros[4] = {0};
	count(&r, zeros, 4, 4);
	assert_true(cwe_rank_of(&r, 0) == 0.5 / 4096);
	cwe_rank_end(&r);
	cwe_rank_end(&r);
}

/* Two sets of very different scales count alike. */
static void test_combined(void **state)
{
	float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y), *score = malloc(N * sizeof *score);
	static char a[] = "a", b[] = "b", c[] = "c";
	struct cwj_set set[3] = {{.name = a, .role = CWJ_ROLE_CRITICAL}, {.name = b, .role = CWJ_ROLE_UTILITY},
		{.name = c, .role = CWJ_ROLE_UTILITY}};
	struct cwj_job job = {.n_sets = 2, .sets = set, .combine = CWJ_COMBINE_RANK, .utility = CWJ_UTILITY_SUBTRACT, .beta = 0.5};
	struct cwe_combine combine;
	(void)state;
	assert_non_null(x);
	assert_non_null(y);
	assert_non_null(score);
	fill(x, 0);
	for (int i = 0; i < N; i++) {
		y[i] = 1e-30f * (float)(next() % 1000);
	}
	assert_int_equal(cwe_combine_make(&job, (double[]){0, 0}, N, &combine, NULL), 0);
	count(&combine.rank[0], x, N, N);
	count(&combine.rank[1], y, N, N);
	cwe_combine_apply(&combine, (const float *[]){x, y}, N, score);
	for (int i = 0; i < N; i++) {
		assert_true(score[i] == (float)(naive(x, N, x[i]) + -0.5 * naive(y, N, y[i])));
	}
	cwe_combine_free(&combine);
	/* An ignored set is not counted. */
	job.utility = CWJ_UTILITY_IGNORE;
	assert_int_equal(cwe_combine_make(&job, (double[]){0, 0}, N, &combine, NULL), 0);
	count(&combine.rank[0], x, N, N);
	cwe_combine_apply(&combine, (const float *[]){x, NULL}, N, score);
	assert_true(score[1] == (float)naive(x, N, x[1]));
	cwe_combine_free(&combine);
	assert_null(combine.rank);
	free(x);
	free(y);
	free(score);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_definition),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_order_of_feeding),
		cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_combined),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
