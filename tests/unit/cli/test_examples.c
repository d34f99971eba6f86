/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The example jobs follow the job file's rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include "job/sweep.h"

static struct cwj_sweep *read_example(const char *name)
{
	const char *source = getenv("CWP_SRCDIR");
	struct cwj_sweep *sweep = NULL;
	struct cwb_err err = {0};
	char path[4096];

	(void)snprintf(path, sizeof path, "%s/examples/jobs/%s", source ? source : ".", name);
	if (cwj_sweep_read(path, &sweep, &err) != 0) {
		print_error("%s:%d:%d: %s\n", path, err.line, err.column, err.message);
	}
	return sweep;
}

static void test_all(void **state)
{
	const char *source = getenv("CWP_SRCDIR");
	struct dirent *entry;
	char path[4096];
	size_t i, found = 0;
	DIR *folder;

	(void)state;
	(void)snprintf(path, sizeof path, "%s/examples/jobs", source ? source : ".");
	folder = opendir(path);
	assert_non_null(folder);
	while ((entry = readdir(folder))) {
		struct cwj_sweep *sweep;
		const struct cwj_job *job;

		if (!strstr(entry->d_name, ".yaml")) {
			continue;
		}
		sweep = read_example(entry->d_name);
		assert_non_null(sweep);
		job = sweep->points[0].job;
		/* Their data is in the tree; the model is not. */
		for (i = 0; i < job->n_sets; i++) {
			assert_int_equal(access(job->sets[i].path, R_OK), 0);
		}
		for (i = 0; i < job->n_evaluations; i++) {
			assert_int_equal(access(job->evaluations[i].path, R_OK), 0);
		}
		cwj_sweep_free(sweep);
		found++;
	}
	closedir(folder);
	assert_true(found >= 5);
}

static void test_demo(void **state)
{
	struct cwj_sweep *sweep = read_example("smollm2-int4.yaml");
	const struct cwj_job *job;

	(void)state;
	assert_non_null(sweep);
	job = sweep->points[0].job;
	assert_string_equal(job->score.plugin, "fisher");
	assert_int_equal(job->combine, CWJ_COMBINE_MEAN);
	assert_int_equal(job->carrier, CWJ_CARRIER_OVERLAY);
	assert_int_equal(job->format, CWJ_FORMAT_COMPRESSED_TENSORS);
	assert_true(job->fraction == 0.05);
	assert_int_equal(job->n_sets, 4);
	assert_int_equal(job->sets[0].role, CWJ_ROLE_CRITICAL);
	assert_int_equal(job->sets[1].role, CWJ_ROLE_CRITICAL);
	assert_int_equal(job->n_evaluations, 2);
	assert_int_equal(job->n_gates, 1);
	cwj_sweep_free(sweep);
}

static void test_sweep(void **state)
{
	struct cwj_sweep *sweep = read_example("smollm2-sweep.yaml");

	(void)state;
	assert_non_null(sweep);
	assert_int_equal(sweep->n_points, 9);
	assert_true(sweep->points[8].job->fraction == 0.6);
	assert_int_equal(sweep->points[8].first, 1); /* one calibration for all but 0 */
	cwj_sweep_free(sweep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_all), cmocka_unit_test(test_demo),
		cmocka_unit_test(test_sweep)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
