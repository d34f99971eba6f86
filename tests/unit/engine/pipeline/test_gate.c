/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Gates: each condition in each direction, and that what is no number does not pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "engine/pipeline/run.h"

/* Runs one gate on one row {original, quantized, protected}; NULL texts of values are null in the row. */
static int passes(int kind, int than, double asked, int direction, const char *ideal, const char *values, json_t **ret)
{
	char text[512];
	struct cwj_gate gate = {.metric = (char *)(uintptr_t)"a.b.m", .kind = kind, .than = than, .value = asked};
	struct cwj_job job = {.gates = &gate, .n_gates = 1};
	struct cwe_pipeline p = {.job = &job};
	struct cwe_run run = {.p = &p, .job = &job, .output_fd = -1};
	struct cwb_err err = {0};
	(void)snprintf(text, sizeof text, "[{\"name\":\"a\",\"metric\":\"b.m\"},{\"name\":\"a.b\",\"metric\":\"x\"},"
		"{\"name\":\"a.b\",\"metric\":\"m\",\"direction\":%d,\"ideal\":%s,%s}]", direction, ideal, values);
	run.evaluation = json_loads(text, 0, NULL);
	assert_non_null(run.evaluation);
	if (cwe_run_gate(&run, &err) != 0) {
		fail_msg("%s", err.message);
	}
	int passed = json_is_true(json_object_get(json_array_get(run.gate, 0), "passed"));
	assert_int_equal(run.rejected, !passed);
	assert_string_equal(json_string_value(json_object_get(json_array_get(run.gate, 0), "metric")), "a.b.m");
	if (ret != NULL) {
		*ret = json_incref(json_array_get(run.gate, 0));
	}
	json_decref(run.gate);
	json_decref(run.evaluation);
	return passed;
}

#define ROW(o, q, p) "\"original\":{\"value\":" o "},\"quantized\":{\"value\":" q "},\"protected\":{\"value\":" p "}"

static void test_absolute(void **state)
{
	(void)state;
	assert_true(passes(CWJ_GATE_AT_MOST, CWJ_THAN_ORIGINAL, 2, -1, "null", ROW("1", "9", "2"), NULL));
	assert_false(passes(CWJ_GATE_AT_MOST, CWJ_THAN_ORIGINAL, 2, -1, "null", ROW("1", "1", "2.001"), NULL));
	assert_true(passes(CWJ_GATE_AT_LEAST, CWJ_THAN_ORIGINAL, 2, 1, "null", ROW("1", "1", "2"), NULL));
	assert_false(passes(CWJ_GATE_AT_LEAST, CWJ_THAN_ORIGINAL, 2, 1, "null", ROW("3", "3", "1.999"), NULL));
}

static void test_times(void **state)
{
	(void)state;
	json_t *row = NULL;
	assert_true(passes(CWJ_GATE_AT_MOST_TIMES, CWJ_THAN_ORIGINAL, 1.5, -1, "null", ROW("10", "1", "15"), &row));
	assert_true(json_number_value(json_object_get(row, "bound")) == 15);
	assert_true(json_number_value(json_object_get(row, "measured")) == 15);
	assert_string_equal(json_string_value(json_object_get(row, "condition")), "at-most-times");
	assert_string_equal(json_string_value(json_object_get(row, "than")), "original");
	json_decref(row);
	assert_false(passes(CWJ_GATE_AT_MOST_TIMES, CWJ_THAN_ORIGINAL, 1.5, -1, "null", ROW("10", "99", "15.1"), NULL));
	assert_true(passes(CWJ_GATE_AT_MOST_TIMES, CWJ_THAN_QUANTIZED, 1, -1, "null", ROW("1", "99", "15.1"), NULL));
}

static void test_worse(void **state)
{
	(void)state;
	/* Lower is better, higher is better, near the ideal is best. */
	assert_true(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_ORIGINAL, 1, -1, "null", ROW("10", "0", "11"), NULL));
	assert_false(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_ORIGINAL, 1, -1, "null", ROW("10", "0", "11.5"), NULL));
	assert_true(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_ORIGINAL, 1, 1, "null", ROW("10", "0", "99"), NULL));
	assert_false(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_ORIGINAL, 1, 1, "null", ROW("10", "0", "8.5"), NULL));
	assert_true(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_ORIGINAL, 0.125, 0, "0.5", ROW("0.625", "0", "0.25"), NULL));
	assert_false(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_ORIGINAL, 0.1, 0, "0.5", ROW("0.625", "0", "0.25"), NULL));
	assert_true(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_ORIGINAL, 0, 0, "0.5", ROW("0.75", "0", "0.375"), NULL));
	assert_false(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_QUANTIZED, 1, -1, "null", ROW("99", "10", "12"), NULL));
}

static void test_no_number(void **state)
{
	(void)state;
	static const char *const row[] = {ROW("null", "null", "null"), ROW("1", "1", "null"),
		"\"original\":{\"value\":1},\"quantized\":{\"value\":1}"};
	static const int kind[] = {CWJ_GATE_AT_MOST, CWJ_GATE_AT_LEAST, CWJ_GATE_AT_MOST_TIMES, CWJ_GATE_WORSE_BY_AT_MOST};
	for (size_t k = 0; k < 4; k++) {
		for (size_t i = 0; i < 3; i++) {
			for (int direction = -1; direction <= 1; direction++) {
				assert_false(passes(kind[k], CWJ_THAN_ORIGINAL, kind[k] == CWJ_GATE_AT_LEAST ? -1e9 : 1e9, direction, "0.5",
					row[i], NULL));
			}
		}
	}
	/* Nothing to compare with. */
	assert_false(passes(CWJ_GATE_AT_MOST_TIMES, CWJ_THAN_ORIGINAL, 1e9, -1, "null", ROW("null", "1", "1"), NULL));
	assert_false(passes(CWJ_GATE_WORSE_BY_AT_MOST, CWJ_THAN_QUANTIZED, 1e9, 1, "null", ROW("1", "null", "1"), NULL));
}

static void test_unknown(void **state)
{
	(void)state;
	static const char *const name[] = {"a.n", "b.m", "m", "a.b.m", ".m", "a."};
	for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
		struct cwj_gate gate = {.metric = (char *)(uintptr_t)name[i], .kind = CWJ_GATE_AT_MOST, .value = 1};
		struct cwj_job job = {.gates = &gate, .n_gates = 1};
		struct cwe_pipeline p = {.job = &job};
		struct cwe_run run = {.p = &p, .job = &job, .output_fd = -1};
		struct cwb_err err = {0};
		run.evaluation = json_loads("[{\"name\":\"a\",\"metric\":\"m\",\"direction\":1}]", 0, NULL);
		assert_int_equal(cwe_run_gate(&run, &err), CWP_EUNKNOWN);
		assert_non_null(strstr(err.message, name[i]));
		json_decref(run.gate);
		json_decref(run.evaluation);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_absolute),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_worse),
		cmocka_unit_test(test_no_number),
		cmocka_unit_test(test_unknown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
