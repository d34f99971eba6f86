/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* How the sets' importances become one score. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/select/select.h"

static struct cwj_set sets[3] = {{.role = CWJ_ROLE_CRITICAL}, {.role = CWJ_ROLE_CRITICAL}, {.role = CWJ_ROLE_UTILITY}};

static struct cwj_job job_of(enum cwj_combine combine, enum cwj_utility utility, double beta)
{
	static char a[] = "safety", b[] = "fairness", c[] = "text";

	sets[0].name = a;
	sets[1].name = b;
	sets[2].name = c;
	return (struct cwj_job){.n_sets = 3, .sets = sets, .combine = combine, .utility = utility, .beta = beta};
}

static void factors(enum cwj_combine combine, enum cwj_utility utility, double beta, const double *sum, const double expected[3])
{
	struct cwj_job job = job_of(combine, utility, beta);
	struct cwe_combine c;

	assert_int_equal(cwe_combine_make(&job, sum, 100, &c, NULL), 0);
	assert_int_equal(c.sets, 3);
	for (int i = 0; i < 3; i++) {
		assert_true(c.factor[i] == expected[i]);
	}
	cwe_combine_free(&c);
	assert_null(c.factor);
}

static void test_factors(void **state)
{
	const double sum[3] = {50, 200, 400}, nothing[3] = {50, 200, 0};

	(void)state;
	factors(CWJ_COMBINE_MEAN, CWJ_UTILITY_ADD, 1, sum, (double[]){2, 0.5, 0.25});
	factors(CWJ_COMBINE_MEAN, CWJ_UTILITY_SUBTRACT, 2, sum, (double[]){2, 0.5, -0.5});
	factors(CWJ_COMBINE_MEAN, CWJ_UTILITY_IGNORE, 1, nothing, (double[]){2, 0.5, 0});
	factors(CWJ_COMBINE_MEAN, CWJ_UTILITY_ADD, 0, nothing, (double[]){2, 0.5, 0});
	factors(CWJ_COMBINE_REFERENCE, CWJ_UTILITY_SUBTRACT, 1.5, nothing, (double[]){1, 1, -1.5});
	factors(CWJ_COMBINE_REFERENCE, CWJ_UTILITY_ADD, 1, nothing, (double[]){1, 1, 1});
	factors(CWJ_COMBINE_RANK, CWJ_UTILITY_SUBTRACT, 1.5, nothing, (double[]){1, 1, -1.5});
	cwe_combine_free(NULL);
}

static void test_apply(void **state)
{
	enum { N = 1300 };
	float *v[3], *score = malloc(N * sizeof(float)), *piece = malloc(N * sizeof(float));
	double factor[3] = {2.5, -0.125, 0};
	struct cwe_combine c = {.sets = 3, .factor = factor};

	(void)state;
	for (int s = 0; s < 3; s++) {
		v[s] = malloc(N * sizeof(float));
		assert_non_null(v[s]);
		for (int i = 0; i < N; i++) {
			v[s][i] = s == 2 ? NAN : (float)((i * 7919 + s * 104729) % 1000) * 1e-3f;
		}
	}
	assert_non_null(score);
	assert_non_null(piece);
	const float *in[3] = {v[0], v[1], NULL};
	cwe_combine_apply(&c, in, N, score);
	for (int i = 0; i < N; i++) {
		assert_true(score[i] == (float)(2.5 * (double)v[0][i] + -0.125 * (double)v[1][i]));
	}
	/* However the weights are cut into tiles, the bytes are the same. */
	for (uint64_t cut = 1; cut < N; cut += 211) {
		const float *rest[3] = {v[0] + cut, v[1] + cut, v[2] + cut};
		in[2] = v[2];
		cwe_combine_apply(&c, in, cut, piece);
		cwe_combine_apply(&c, rest, N - cut, piece + cut);
		assert_memory_equal(score, piece, N * sizeof(float));
	}
	cwe_combine_apply(&c, in, 0, NULL);
	for (int s = 0; s < 3; s++) {
		free(v[s]);
	}
	free(score);
	free(piece);
}

static void refuses(struct cwj_job job, const double *sum, int code, const char *text)
{
	struct cwe_combine c;
	struct cwb_err err = {0};

	assert_int_equal(cwe_combine_make(&job, sum, 100, &c, &err), code);
	if (strstr(err.message, text) == NULL) {
		fail_msg("'%s' lacks '%s'", err.message, text);
	}
}

static void test_refusals(void **state)
{
	struct cwj_job mean = job_of(CWJ_COMBINE_MEAN, CWJ_UTILITY_ADD, 1), none = mean;

	(void)state;
	refuses(mean, (double[]){1, 0, 1}, CWP_ENUMBER, "'fairness': its importance adds up to 0");
	refuses(mean, (double[]){1, 1, 0}, CWP_ENUMBER, "'text'");
	refuses(mean, (double[]){NAN, 1, 1}, CWP_ENUMBER, "'safety': its importance adds up to nan");
	refuses(mean, (double[]){INFINITY, 1, 1}, CWP_ENUMBER, "'safety'");
	refuses(mean, (double[]){-3, 1, 1}, CWP_ENUMBER, "use score.combine: reference");
	refuses(mean, (double[]){1e-320, 1, 1}, CWP_ENUMBER, "'safety'");
	none.n_sets = 0;
	refuses(none, NULL, CWP_EMISSING, "calibrate.critical");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_factors),
		cmocka_unit_test(test_apply),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
