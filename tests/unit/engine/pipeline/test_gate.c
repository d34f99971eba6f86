/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Gates: each condition in each direction, what is no number, non-inferiority over items, and names that there are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/gate.h"

#define NO NAN

static struct cwe_measured *begin(const char *name)
{
	struct cwe_measured *e = calloc(1, sizeof *e);
	assert_non_null(e);
	e->name = strdup(name);
	e->benchmark = strdup("mock");
	return e;
}

static void add_metric(struct cwe_measured *e, int k, const char *name, double value, int direction, double ideal, uint32_t form)
{
	struct cwp_metric_sink sink = cwe_outcomes_sink(&e->outcomes);
	struct cwp_metric m = {.size = sizeof m, .name = name, .n = 9, .direction = direction, .value = value, .ideal = ideal, .form = form,
		.low = NAN, .high = NAN, .standard_error = NAN};
	cwe_outcomes_begin(&e->outcomes, (enum cwe_compared)k);
	sink.metric(sink.ctx, &m);
	assert_int_equal(e->outcomes.failed, 0);
}

/* Runs one gate on one metric of values without items. */
static int passes(int kind, int than, double asked, int direction, double ideal, double o, double q, double p, json_t **ret)
{
	struct cwj_gate gate = {.metric = (char *)(uintptr_t)"a.b.m", .kind = (enum cwj_gate_kind)kind, .than = (enum cwj_than)than,
		.value = asked};
	struct cwe_measured *e = begin("a.b");
	const double value[CWE_COMPARED] = {o, q, p};
	json_t *rows = NULL;
	int rejected = -1;
	struct cwb_err err = {0};
	for (int k = 0; k < CWE_COMPARED; k++) {
		add_metric(e, k, "m", value[k], direction, ideal, CWP_FORM_OTHER);
	}
	const struct cwe_gate_facts f = {.measured = e, .n = 1};
	if (cwe_gate_judge(&gate, 1, &f, &rows, &rejected, &err) != 0) {
		fail_msg("%s", err.message);
	}
	const json_t *row = json_array_get(rows, 0);
	int passed = json_is_true(json_object_get(row, "passed"));
	assert_int_equal(rejected, !passed);
	assert_string_equal(json_string_value(json_object_get(row, "metric")), "a.b.m");
	if (ret != NULL) {
		*ret = json_incref(json_array_get(rows, 0));
	}
	json_decref(rows);
	cwe_measured_free(e, 1);
	return passed;
}

static void test_absolute(void **state)
{
	(void)state;
	json_t *row = NULL;
	assert_true(passes(CWJ_GATE_AT_MOST, CWJ_THAN_ORIGINAL, 2, -1, NO, 1, 9, 2, &row));
	assert_true(json_is_null(json_object_get(row, "than")) && json_is_null(json_object_get(row, "p")));
	json_decref(row);
	assert_false(passes(CWJ_GATE_AT_MOST, CWJ_THAN_ORIGINAL, 2, -1, NO, 1, 1, 2.001, NULL));
	assert_true(passes(CWJ_GATE_AT_LEAST, CWJ_THAN_ORIGINAL, 2, 1, NO, 1, 1, 2, NULL));
	assert_false(passes(CWJ_GATE_AT_LEAST, CWJ_THAN_ORIGINAL, 2, 1, NO, 3, 3, 1.999, NULL));
}

static void test_times(void **state)
{
	(void)state;
	json_t *row = NULL;
	assert_true(passes(CWJ_GATE_AT_MOST_TIMES, CWJ_THAN_ORIGINAL, 1.5, -1, NO, 10, 1, 15, &row));
	assert_true(json_number_value(json_object_get(row, "bound")) == 15);
	assert_true(json_number_value(json_object_get(row, "measured")) == 15);
	assert_string_equal(json_string_value(json_object_get(row, "condition")), "at-most-times");
	assert_string_equal(json_string_value(json_object_get(row, "than")), "original");
	json_decref(row);
	assert_false(passes(CWJ_GATE_AT_MOST_TIMES, CWJ_THAN_ORIGINAL, 1.5, -1, NO, 10, 99, 15.1, NULL));
	assert_true(passes(CWJ_GATE_AT_MOST_TIMES, CWJ_THAN_QUANTIZED, 1, -1, NO, 1, 99, 15.1, NULL));
}

static void test_worse(void **state)
{
	(void)state;
	/* Lower is better, higher is better, near the ideal is best. */
	assert_true(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_ORIGINAL, 1, -1, NO, 10, 0, 11, NULL));
	assert_false(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_ORIGINAL, 1, -1, NO, 10, 0, 11.5, NULL));
	assert_true(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_ORIGINAL, 1, 1, NO, 10, 0, 99, NULL));
	assert_false(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_ORIGINAL, 1, 1, NO, 10, 0, 8.5, NULL));
	assert_true(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_ORIGINAL, 0.125, 0, 0.5, 0.625, 0, 0.25, NULL));
	assert_false(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_ORIGINAL, 0.1, 0, 0.5, 0.625, 0, 0.25, NULL));
	assert_true(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_ORIGINAL, 0, 0, 0.5, 0.75, 0, 0.375, NULL));
	assert_false(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_QUANTIZED, 1, -1, NO, 99, 10, 12, NULL));
}

static void test_no_number(void **state)
{
	(void)state;
	for (int kind = CWJ_GATE_AT_MOST; kind <= CWJ_GATE_NOT_WORSE_BY; kind++) {
		for (int direction = -1; direction <= 1; direction++) {
			double asked = kind == CWJ_GATE_AT_LEAST ? -1e9 : 1e9;
			assert_false(passes(kind, CWJ_THAN_ORIGINAL, asked, direction, 0.5, NAN, NAN, NAN, NULL));
			assert_false(passes(kind, CWJ_THAN_ORIGINAL, asked, direction, 0.5, 1, 1, NAN, NULL));
		}
	}
	/* Nothing to compare with. */
	assert_false(passes(CWJ_GATE_AT_MOST_TIMES, CWJ_THAN_ORIGINAL, 1e9, -1, NO, NAN, 1, 1, NULL));
	assert_false(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_QUANTIZED, 1e9, 1, NO, 1, NAN, 1, NULL));
}

/* n items; the original is right on all, the output loses every `each`-th. */
static struct cwe_measured *items(size_t n, size_t each, int direction, double ideal)
{
	struct cwe_measured *e = begin("a");
	char id[16];
	for (int k = 0; k < CWE_COMPARED; k++) {
		struct cwp_metric_sink sink = cwe_outcomes_sink(&e->outcomes);
		size_t lost = each > 0 && k == CWE_COMPARED_PROTECTED ? (n + each - 1) / each : 0;
		add_metric(e, k, "acc", 1 - (double)lost / (double)n, direction, ideal, CWP_FORM_MEAN);
		for (size_t i = 0; i < n; i++) {
			int right = !(each > 0 && k == CWE_COMPARED_PROTECTED && i % each == 0);
			struct cwp_item item = {.size = sizeof item, .id = id, .value = right, .weight = 1, .choice = right, .group = i < 10 ? "x" : "y"};
			(void)snprintf(id, sizeof id, "%zu", i);
			sink.item(sink.ctx, &item);
		}
	}
	assert_int_equal(cwe_outcomes_add_flips(&e->outcomes), 0);
	assert_int_equal(e->outcomes.failed, 0);
	return e;
}

static json_t *judge(struct cwe_measured *e, const struct cwj_gate *gate, size_t n)
{
	const struct cwe_gate_facts f = {.measured = e, .n = 1};
	json_t *rows = NULL;
	int rejected = 0;
	struct cwb_err err = {0};
	if (cwe_gate_judge(gate, n, &f, &rows, &rejected, &err) != 0) {
		fail_msg("%s", err.message);
	}
	cwe_measured_free(e, 1);
	return rows;
}

static double at(const json_t *rows, size_t i, const char *name)
{
	return json_number_value(json_object_get(json_array_get(rows, i), name));
}

static int passed(const json_t *rows, size_t i)
{
	return json_is_true(json_object_get(json_array_get(rows, i), "passed"));
}

#define NOT_WORSE(the_metric, margin) \
	{.metric = (char *)(uintptr_t)(the_metric), .kind = CWJ_GATE_NOT_WORSE_BY, .value = (margin), .confidence = 0.95}

/* 2 of 100 lost: worse by 0.02, with Agresti and Min's centre 2 / 102 and error sqrt(3 - 4 / 102) / 102. */
static void test_not_worse(void **state)
{
	const struct cwj_gate wide = NOT_WORSE("a.acc", 0.05), narrow = NOT_WORSE("a.acc", 0.03), flips = NOT_WORSE("a.flips", 0.05);
	double centre = 2 / 102.0, error = sqrt(3 - 4 / 102.0) / 102;
	(void)state;
	json_t *rows = judge(items(100, 50, 1, NAN), &wide, 1);
	assert_true(passed(rows, 0));
	assert_true(fabs(at(rows, 0, "measured") - 0.02) < 1e-12);
	assert_true(fabs(at(rows, 0, "high") - (centre + 1.6448536269514722 * error)) < 1e-12);
	assert_true(fabs(at(rows, 0, "p") - cwe_normal_above((0.05 - centre) / error)) < 1e-12);
	assert_true(at(rows, 0, "p") == at(rows, 0, "p_adjusted") && at(rows, 0, "confidence") == 0.95);
	assert_int_equal(json_array_size(json_object_get(json_array_get(rows, 0), "flips")), 2);
	assert_string_equal(json_string_value(json_array_get(json_object_get(json_array_get(rows, 0), "flips"), 1)), "50");
	json_decref(rows);
	rows = judge(items(100, 50, 1, NAN), &narrow, 1);
	assert_false(passed(rows, 0)); /* 0.02 is less than 0.03, but 100 items do not show it */
	json_decref(rows);
	rows = judge(items(100, 50, 1, NAN), &flips, 1);
	assert_true(passed(rows, 0) && fabs(at(rows, 0, "measured") - 0.02) < 1e-12);
	assert_int_equal(json_array_size(json_object_get(json_array_get(rows, 0), "flips")), 2);
	json_decref(rows);
	/* The other direction: what falls is better. */
	rows = judge(items(100, 50, -1, NAN), &narrow, 1);
	assert_true(passed(rows, 0) && fabs(at(rows, 0, "measured") + 0.02) < 1e-12);
	assert_int_equal(json_array_size(json_object_get(json_array_get(rows, 0), "flips")), 0);
	json_decref(rows);
	/* Few items in which nothing differs prove little; many prove it. */
	rows = judge(items(12, 0, 0, 0.5), &wide, 1);
	assert_false(passed(rows, 0));
	json_decref(rows);
	rows = judge(items(1000, 0, 0, 0.5), &wide, 1);
	assert_true(passed(rows, 0));
	json_decref(rows);
}

/* Several tests: the p-values are Holm's, and one that passes alone may fail among others. */
static void test_holm(void **state)
{
	const struct cwj_gate gates[] = {NOT_WORSE("a.acc", 0.05), {.metric = (char *)(uintptr_t)"a.acc", .kind = CWJ_GATE_AT_LEAST, .value = 0.9},
		NOT_WORSE("a.acc", 0.051), NOT_WORSE("a.acc/y", 0.055)};
	(void)state;
	json_t *rows = judge(items(100, 50, 1, NAN), gates, 4);
	double p = at(rows, 0, "p"), last = at(rows, 3, "p");
	assert_true(p < 0.05 && passed(rows, 1) && last < p);
	assert_true(fabs(at(rows, 3, "p_adjusted") - 3 * last) < 1e-15);
	assert_true(at(rows, 0, "p_adjusted") >= 2 * at(rows, 2, "p") && at(rows, 0, "p_adjusted") > 0.05);
	assert_false(passed(rows, 0));
	assert_true(json_is_null(json_object_get(json_array_get(rows, 1), "p_adjusted")));
	json_decref(rows);
}

static void test_groups(void **state)
{
	const struct cwj_gate gate = {.metric = (char *)(uintptr_t)"a.acc/x", .kind = CWJ_GATE_AT_LEAST, .value = 0.95};
	(void)state;
	json_t *rows = judge(items(100, 50, 1, NAN), &gate, 1);
	assert_true(!passed(rows, 0) && fabs(at(rows, 0, "measured") - 0.9) < 1e-12); /* item 0 of the ten */
	assert_int_equal(json_array_size(json_object_get(json_array_get(rows, 0), "flips")), 1);
	json_decref(rows);
}

static void test_unknown(void **state)
{
	static const char *const name[][2] = {{"a.n", ""}, {"b.acc", "a.acc"}, {"m", ""}, {"a.b.acc", ""}, {".acc", "a.acc"}, {"a.", ""},
		{"a.ac", "a.acc"}, {"a.flip", "a.flips"}, {"a.acc/z", "a.acc/x"}, {"a.acc/", ""}};
	(void)state;
	for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
		struct cwj_gate gate = {.metric = (char *)(uintptr_t)name[i][0], .kind = CWJ_GATE_AT_MOST, .value = 1};
		struct cwe_measured *e = items(20, 5, 1, NAN);
		const struct cwe_gate_facts f = {.measured = e, .n = 1};
		struct cwb_err err = {0};
		json_t *rows = NULL;
		int rejected;
		assert_int_equal(cwe_gate_judge(&gate, 1, &f, &rows, &rejected, &err), CWP_EUNKNOWN);
		assert_non_null(strstr(err.message, name[i][0]));
		if (name[i][1][0] != '\0') {
			assert_string_equal(err.nearest, name[i][1]);
		}
		cwe_measured_free(e, 1);
	}
}

/* Before any work: names, and what cannot be compared item by item. */
static void test_check(void **state)
{
	const struct cwj_gate good = NOT_WORSE("a.acc/x", 1), other = NOT_WORSE("b.acc", 1), bad = NOT_WORSE("a.acd", 1),
		unpaired = NOT_WORSE("a.icat", 1);
	struct cwe_measured *e = items(20, 5, 1, NAN);
	struct cwb_err err = {0};
	(void)state;
	add_metric(e, CWE_COMPARED_ORIGINAL, "icat", 1, 1, NAN, CWP_FORM_OTHER);
	assert_int_equal(cwe_gate_check(&good, 0, e, &err), 0);
	assert_int_equal(cwe_gate_check(&other, 0, e, &err), 0);
	assert_int_equal(cwe_gate_check(&bad, 3, e, &err), CWP_EUNKNOWN);
	assert_string_equal(err.field, "gate[3].metric");
	assert_string_equal(err.nearest, "a.acc");
	err = (struct cwb_err){0};
	assert_int_equal(cwe_gate_check(&unpaired, 1, e, &err), CWP_EVALUE);
	assert_string_equal(err.field, "gate[1].not-worse-by");
	cwe_measured_free(e, 1);
}

/* What a dry run says. */
static void test_plan(void **state)
{
	const struct cwj_gate gates[] = {{.metric = (char *)(uintptr_t)"a.acc", .kind = CWJ_GATE_AT_MOST, .value = 1},
		{.metric = (char *)(uintptr_t)"a.acc", .kind = CWJ_GATE_AT_MOST_TIMES, .than = CWJ_THAN_QUANTIZED, .value = 2}, NOT_WORSE("a.acc", 3)};
	static const char *const needs[] = {"the output", "the output and the plainly quantized model, value by value",
		"the output and the original, item by item"};
	json_t *rows = cwe_gate_plan(gates, 3);
	(void)state;
	assert_int_equal(json_array_size(rows), 3);
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(json_string_value(json_object_get(json_array_get(rows, i), "needs")), needs[i]);
	}
	assert_true(at(rows, 2, "confidence") == 0.95);
	json_decref(rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_absolute), cmocka_unit_test(test_times), cmocka_unit_test(test_worse),
		cmocka_unit_test(test_no_number), cmocka_unit_test(test_not_worse), cmocka_unit_test(test_holm), cmocka_unit_test(test_groups),
		cmocka_unit_test(test_unknown), cmocka_unit_test(test_check), cmocka_unit_test(test_plan)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
