/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The ways to say how much is protected, and what goes with each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "job/job.h"

#define HEAD                                                                                       \
	"model: m\noutput: o\nquantize: {plugin: static}\nscore: {plugin: fisher}\n"               \
	"calibrate: {critical: [{name: t, data: text, path: p}]}\n"

static struct cwj_job *parse(const char *protect)
{
	struct cwb_err err = {0};
	struct cwj_job *job = NULL;
	char text[1024];

	snprintf(text, sizeof(text), HEAD "protect: %s\n", protect);
	if (cwj_job_parse(text, strlen(text), "/here", &job, &err) != 0) {
		fail_msg("%s", err.message);
	}
	return job;
}

static void refuse(const char *protect, int code, const char *field, const char *words)
{
	struct cwb_err err = {0};
	struct cwj_job *job = NULL;
	char text[1024];

	snprintf(text, sizeof(text), HEAD "protect: %s\n", protect);
	assert_int_equal(cwj_job_parse(text, strlen(text), "/here", &job, &err), code);
	assert_string_equal(err.field, field);
	assert_int_equal(err.line, 6);
	if (strstr(err.message, words) == NULL) {
		fail_msg("\"%s\" lacks \"%s\"", err.message, words);
	}
}

/* The mapping as reports have it. */
static json_t *protect_json(const struct cwj_job *job)
{
	json_t *all = cwj_job_json(job), *protect = json_incref(json_object_get(all, "protect"));

	json_decref(all);
	return protect;
}

static void reads_budgets(void **state)
{
	struct cwj_job *job = parse("{bits: 5.2}");
	json_t *json = protect_json(job);

	(void)state;
	assert_true(job->bits == 5.2);
	assert_true(job->fraction == 0 && job->bytes == 0);
	assert_int_equal(cwj_job_protects(job), 1);
	assert_int_equal(cwj_job_selects(job), 1);
	assert_true(json_real_value(json_object_get(json, "bits")) == 5.2);
	assert_null(json_object_get(json, "fraction"));
	assert_null(json_object_get(json, "bytes"));
	json_decref(json);
	cwj_job_free(job);
	job = parse("{bytes: 120MB, unit: column}");
	json = protect_json(job);
	assert_int_equal(job->bytes, 120000000);
	assert_int_equal(json_integer_value(json_object_get(json, "bytes")), 120000000);
	assert_null(json_object_get(json, "bits"));
	json_decref(json);
	cwj_job_free(job);
	job = parse("{bytes: 533071}");
	assert_int_equal(job->bytes, 533071);
	cwj_job_free(job);
	job = parse("{fraction: 0}");
	json = protect_json(job);
	assert_int_equal(cwj_job_protects(job), 0);
	assert_true(json_real_value(json_object_get(json, "fraction")) == 0);
	json_decref(json);
	cwj_job_free(job);
}

static void refuses_budgets(void **state)
{
	(void)state;
	refuse("{scope: global}", CWP_EMISSING, "protect.fraction", "is required; say how much");
	refuse("{fraction: 0.1, bits: 5}", CWP_EVALUE, "protect.bits", "is a second budget");
	refuse("{bytes: 1GB, bits: 5}", CWP_EVALUE, "protect.bytes", "is a second budget");
	refuse("{bits: 0}", CWP_EVALUE, "protect.bits", "is not above 0");
	refuse("{bits: 65}", CWP_EVALUE, "protect.bits", "outside 0..64");
	refuse("{bits: many}", CWP_EVALUE, "protect.bits", "no number");
	refuse("{bytes: 0}", CWP_EVALUE, "protect.bytes", "write the size");
	refuse("{bytes: 5 apples}", CWP_EVALUE, "protect.bytes", "no size");
	refuse("{bytes: 99999999999999999999}", CWP_EVALUE, "protect.bytes", "write the size");
	refuse("{bytes: [1GB]}", CWP_EVALUE, "protect.bytes", "write the size");
	refuse("{bits: 5, carrier: dense}", CWP_EVALUE, "protect.bits", "carrier: overlay");
	refuse("{bits: 5}\nwrite: {format: dense}", CWP_EVALUE, "protect.bits", "dense output");
}

static void reads_masks(void **state)
{
	struct cwj_job *job = parse("{mask: out/a}");
	json_t *json = protect_json(job);

	(void)state;
	assert_int_equal(job->n_masks, 1);
	assert_string_equal(job->masks[0], "/here/out/a");
	assert_int_equal(job->combine_masks, CWJ_MASKS_UNION);
	assert_int_equal(job->super_weights, 1);
	assert_int_equal(cwj_job_protects(job), 1);
	assert_int_equal(cwj_job_selects(job), 0);
	assert_null(json_object_get(json, "fraction"));
	assert_int_equal(json_array_size(json_object_get(json, "mask")), 1);
	json_decref(json);
	cwj_job_free(job);
	job = parse("{mask: [a, /b], combine-masks: difference, super-weights: false}");
	assert_int_equal(job->n_masks, 2);
	assert_string_equal(job->masks[1], "/b");
	assert_int_equal(job->combine_masks, CWJ_MASKS_DIFFERENCE);
	assert_int_equal(job->super_weights, 0);
	cwj_job_free(job);
}

/* Without a score and calibration sets. */
static void masks_need_no_score(void **state)
{
	static const char text[] = "model: m\noutput: o\nquantize: {plugin: static}\nprotect: {mask: a}\n";
	struct cwb_err err = {0};
	struct cwj_job *job = NULL;

	(void)state;
	assert_int_equal(cwj_job_parse(text, strlen(text), "/here", &job, &err), 0);
	cwj_job_free(job);
}

static void refuses_masks(void **state)
{
	struct cwb_err err = {0};
	struct cwj_job *job = NULL;

	(void)state;
	refuse("{mask: a, fraction: 0.1}", CWP_EVALUE, "protect.mask", "is a second budget");
	refuse("{mask: [a, b/../a]}", CWP_EVALUE, "protect.mask[1]", "a mask counts once");
	refuse("{mask: {a: b}}", CWP_EVALUE, "protect.mask", "folder");
	refuse("{mask: a, combine-masks: difference}", CWP_EVALUE, "protect.combine-masks", "at least two");
	refuse("{mask: [a, b], combine-masks: xor}", CWP_EUNKNOWN, "protect.combine-masks", "union");
	static const char text[] = HEAD "protect: {mask: ./o}\n";
	assert_int_equal(cwj_job_parse(text, strlen(text), "/here", &job, &err), CWP_EVALUE);
	assert_string_equal(err.field, "output");
	assert_non_null(strstr(err.message, "is the mask itself"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_budgets), cmocka_unit_test(refuses_budgets),
		cmocka_unit_test(reads_masks), cmocka_unit_test(masks_need_no_score),
		cmocka_unit_test(refuses_masks)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
