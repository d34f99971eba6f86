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

#include "job/job.h"

static struct cwj_job *read_example(const char *name)
{
	const char *source = getenv("CWP_SRCDIR");
	struct cwj_job *job = NULL;
	struct cwb_err err = {0};
	char path[4096];

	(void)snprintf(path, sizeof path, "%s/examples/jobs/%s", source ? source : ".", name);
	if (cwj_job_read(path, &job, &err) != 0) {
		print_error("%s:%d:%d: %s\n", path, err.line, err.column, err.message);
	}
	return job;
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
		struct cwj_job *job;

		if (!strstr(entry->d_name, ".yaml")) {
			continue;
		}
		job = read_example(entry->d_name);
		assert_non_null(job);
		/* Their data is in the tree; the model is not. */
		for (i = 0; i < job->n_sets; i++) {
			assert_int_equal(access(job->sets[i].path, R_OK), 0);
		}
		for (i = 0; i < job->n_evaluations; i++) {
			assert_int_equal(access(job->evaluations[i].path, R_OK), 0);
		}
		cwj_job_free(job);
		found++;
	}
	closedir(folder);
	assert_true(found >= 5);
}

static void test_demo(void **state)
{
	struct cwj_job *job = read_example("smollm2-int4.yaml");

	(void)state;
	assert_non_null(job);
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
	cwj_job_free(job);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_all), cmocka_unit_test(test_demo)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
