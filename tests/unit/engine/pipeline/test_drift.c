/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Distributions in memory and on scratch, and their divergence; the warning of a plan whose evaluations take long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/pipeline/drift.h"
#include "engine/pipeline/evaluate.h"

/* log(1/4), log(3/4) and the other way round, the rest impossible. */
static void fill(float *logp, uint64_t n, int turned)
{
	for (uint64_t i = 0; i < n; i++) {
		logp[i] = -INFINITY;
	}
	logp[n - 2] = (float)log(turned ? 0.75 : 0.25);
	logp[n - 1] = (float)log(turned ? 0.25 : 0.75);
}

static void check(uint64_t rows, uint64_t vocabulary, const char *scratch, int in_memory)
{
	struct cwe_drift d;
	struct cwb_err err = {0};
	float *p = calloc(vocabulary, sizeof *p), *q = calloc(vocabulary, sizeof *q);
	double kl = -1;
	int same = -1;
	assert_non_null(p);
	assert_non_null(q);
	assert_int_equal(cwe_drift_new(rows, vocabulary, scratch, &d, &err), 0);
	assert_int_equal(d.memory != NULL, in_memory);
	fill(p, vocabulary, 0);
	fill(q, vocabulary, 1);
	assert_int_equal(cwe_drift_put(&d, 0, q, &err), 0);
	assert_int_equal(cwe_drift_put(&d, rows - 1, p, &err), 0);
	assert_int_equal(cwe_drift_compare(&d, rows - 1, p, &kl, &same, &err), 0);
	assert_true(kl == 0);
	assert_int_equal(same, 1);
	assert_int_equal(cwe_drift_compare(&d, rows - 1, q, &kl, &same, &err), 0);
	assert_true(fabs(kl - 0.5 * log(3)) < 1e-6);
	assert_int_equal(same, 0);
	assert_int_equal(cwe_drift_compare(&d, 0, q, &kl, &same, &err), 0);
	assert_true(kl == 0);
	cwe_drift_free(&d);
	free(p);
	free(q);
}

static void stores(void **state)
{
	char folder[] = "/tmp/cwp-drift-XXXXXX";
	struct cwe_drift none = {0};
	uint64_t memory, scratch;
	(void)state;
	assert_non_null(mkdtemp(folder));
	check(3, 7, folder, 1);
	check(3, 7, NULL, 1);
	/* One row more than fits. */
	uint64_t rows = CWE_DRIFT_MEMORY / (4096 * sizeof(float)) + 1;
	check(rows, 4096, folder, 0);
	cwe_drift_bounds(rows, 4096, &memory, &scratch);
	assert_int_equal(memory, 4096 * sizeof(float));
	assert_int_equal(scratch, rows * 4096 * sizeof(float));
	cwe_drift_bounds(rows - 1, 4096, &memory, &scratch);
	assert_int_equal(memory, rows * 4096 * sizeof(float));
	assert_int_equal(scratch, 0);
	cwe_drift_bounds(0, 4096, &memory, &scratch);
	assert_int_equal(memory + scratch, 0);
	assert_int_equal(rmdir(folder), 0); /* nothing is left there */
	cwe_drift_free(&none);
}

static void refused(void **state)
{
	struct cwe_drift d;
	struct cwb_err err = {0};
	(void)state;
	assert_int_equal(cwe_drift_new(UINT64_MAX / 4, 1u << 20, NULL, &d, &err), CWP_ELIMIT);
	cwb_err_clear(&err);
	assert_true(cwe_drift_new(1u << 20, 1u << 10, "/no/such/folder", &d, &err) < 0);
	assert_non_null(strstr(err.message, "/no/such/folder"));
}

static void warned(double seconds, const char *want)
{
	struct cwe_run run = {.warnings = json_pack("[s]", "assumed"), .asked.seconds = seconds};
	json_t *all = cwe_evaluation_warnings(&run);
	assert_int_equal(json_array_size(all), want != NULL ? 2 : 1);
	assert_int_equal(json_array_size(run.warnings), 1); /* the report does not get it */
	if (want != NULL) {
		assert_non_null(strstr(json_string_value(json_array_get(all, 1)), want));
	}
	json_decref(all);
	json_decref(run.warnings);
}

static void warns(void **state)
{
	(void)state;
	warned(0, NULL);
	warned(899, NULL);
	warned(1234, "about 20 minutes");
	warned(36000, "about 10 hours");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(stores), cmocka_unit_test(refused), cmocka_unit_test(warns)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
