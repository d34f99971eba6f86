/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The point of a sweep to take: the smallest that passes, ties by the gate's first metric, the closest where none passes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "engine/pipeline/sweep.h"

/* points: JSON; the best, whose name is to be `name` ("": none). */
static json_t *best_of(const char *points, const char *name)
{
	json_t *list = json_loads(points, 0, NULL);
	assert_non_null(list);
	json_t *best = cwe_sweep_best(list);
	assert_non_null(best);
	const char *got = json_string_value(json_object_get(best, "name"));
	if (strcmp(got != NULL ? got : "", name) != 0) {
		fail_msg("%s is the best of %s", got, points);
	}
	json_decref(list);
	return best;
}

static void check(const char *points, const char *name)
{
	json_decref(best_of(points, name));
}

#define ROW(metric, condition, measured, passed) \
	"{\"metric\": \"" metric "\", \"condition\": \"" condition "\", \"measured\": " measured ", \"bound\": 1, \"passed\": " passed "}"
#define POINT(name, bits, rows) "{\"name\": \"" name "\", \"bits_per_weight\": " bits ", \"gate\": [" rows "]}"
#define PASS ROW("a.x", "at-most", "0.5", "true")
#define FAIL ROW("a.y", "at-most", "2.5", "false")

static void test_passing(void **state)
{
	(void)state;
	json_t *best = best_of("[" POINT("small", "3", FAIL) "," POINT("large", "8", PASS) "," POINT("middle", "4.5", PASS) "," POINT("more", "5", PASS) "]",
		"middle");
	assert_true(json_is_true(json_object_get(best, "passed")) && json_real_value(json_object_get(best, "bits_per_weight")) == 4.5);
	assert_int_equal(json_array_size(json_object_get(best, "failed")), 0);
	json_decref(best);
	/* A point without a size is only taken where there is no other. */
	check("[" POINT("unknown", "null", PASS) "," POINT("known", "8", PASS) "]", "known");
	check("[" POINT("unknown", "null", PASS) "," POINT("known", "3", FAIL) "]", "unknown");
}

/* Sizes that differ by less than a thousandth are the same, wherever the points stand. */
static void test_ties(void **state)
{
	(void)state;
#define WITH(name, bits, condition, measured) POINT(name, bits, ROW("a.x", condition, measured, "true"))
	check("[" WITH("a", "4.000", "at-most", "0.9") "," WITH("b", "4.003", "at-most", "0.2") "," WITH("c", "4.1", "at-most", "0.1") "]", "b");
	check("[" WITH("b", "4.003", "at-most", "0.2") "," WITH("c", "4.1", "at-most", "0.1") "," WITH("a", "4.000", "at-most", "0.9") "]", "b");
	/* Nearly the same as the second, but not as the smallest. */
	check("[" WITH("a", "4.000", "at-most", "0.9") "," WITH("b", "4.003", "at-most", "0.8") "," WITH("c", "4.006", "at-most", "0.1") "]", "b");
	check("[" WITH("a", "4", "at-least", "0.9") "," WITH("b", "4", "at-least", "0.2") "]", "a");
	check("[" WITH("a", "4", "at-least", "0.2") "," WITH("b", "4", "at-least", "0.9") "]", "b");
	/* What is not the same question is no tie-breaker, nor what is no number: then size decides, then order. */
	check("[" WITH("a", "4.001", "at-least", "0.9") "," WITH("b", "4.000", "at-most", "0.2") "]", "b");
	check("[" WITH("a", "4", "at-most", "null") "," WITH("b", "4", "at-most", "0.2") "]", "a");
}

static void test_none_passes(void **state)
{
	(void)state;
	json_t *best = best_of("[" POINT("small", "3", FAIL "," FAIL) "," POINT("near", "8", PASS "," FAIL) "," POINT("far", "9", PASS "," FAIL) "]", "near");
	const json_t *failed = json_object_get(best, "failed");
	assert_true(json_is_false(json_object_get(best, "passed")));
	assert_int_equal(json_integer_value(json_object_get(best, "met")), 1);
	assert_int_equal(json_integer_value(json_object_get(best, "conditions")), 2);
	assert_int_equal(json_array_size(failed), 1);
	assert_string_equal(json_string_value(json_object_get(json_array_get(failed, 0), "metric")), "a.y");
	json_decref(best);
}

static void test_no_gate(void **state)
{
	(void)state;
	check("[]", "");
	check("[{\"name\": \"missing\", \"state\": \"missing\"}," POINT("free", "4", "") "]", "");
	check("[{\"name\": \"missing\", \"state\": \"missing\"}," POINT("judged", "4", FAIL) "]", "judged");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_passing), cmocka_unit_test(test_ties), cmocka_unit_test(test_none_passes),
		cmocka_unit_test(test_no_gate)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
