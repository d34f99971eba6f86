/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which point of a sweep to take: the smallest that passes its gate, else the one that came closest. */
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "engine/pipeline/sweep.h"

#define SAME_SIZE 1e-3 /* of the smaller: positions of protected weights take more or less */

struct judged {
	const json_t *point, *gate;
	size_t met;
	double bits; /* a weight; infinity where nobody knows */
	int passed;
};

static int judge(const json_t *point, struct judged *ret)
{
	const json_t *gate = json_object_get(point, "gate"), *bits = json_object_get(point, "bits_per_weight"), *row;
	size_t i;
	*ret = (struct judged){.point = point, .gate = gate, .bits = json_is_number(bits) ? json_number_value(bits) : INFINITY};
	json_array_foreach (gate, i, row) {
		ret->met += json_is_true(json_object_get(row, "passed"));
	}
	ret->passed = ret->met == json_array_size(gate);
	return json_array_size(gate) > 0;
}

static const char *text_of(const json_t *row, const char *name)
{
	const char *text = json_string_value(json_object_get(row, name));
	return text != NULL ? text : "";
}

/* Below 0: a is better than b by the gate's first condition; 0: they are equal there, or are asked different things. */
static double by_first_metric(const struct judged *a, const struct judged *b)
{
	const json_t *x = json_array_get(a->gate, 0), *y = json_array_get(b->gate, 0);
	const json_t *p = json_object_get(x, "measured"), *q = json_object_get(y, "measured");
	if (strcmp(text_of(x, "metric"), text_of(y, "metric")) != 0 || strcmp(text_of(x, "condition"), text_of(y, "condition")) != 0 ||
		!json_is_number(p) || !json_is_number(q)) {
		return 0;
	}
	/* Limits are above what is measured, but for this one. */
	double by = json_number_value(p) - json_number_value(q);
	return strcmp(text_of(x, "condition"), "at-least") == 0 ? -by : by;
}

/* Of those that pass the smallest counts, of those that do not the one that meets most conditions. */
static int is_better(const struct judged *a, const struct judged *b, double smallest)
{
	int small = a->bits <= smallest * (1 + SAME_SIZE), other = b->bits <= smallest * (1 + SAME_SIZE);
	if (a->passed != b->passed) {
		return a->passed;
	}
	if (!a->passed && a->met != b->met) {
		return a->met > b->met;
	}
	if (small && other) {
		double by = by_first_metric(a, b);
		return by != 0 ? by < 0 : a->bits < b->bits;
	}
	return a->bits < b->bits;
}

/* The least size of what is as good as the best; the sizes of others do not count. */
static double smallest_of(const json_t *points, int passed, size_t met)
{
	double smallest = INFINITY;
	const json_t *point;
	size_t i;
	json_array_foreach (points, i, point) {
		struct judged j;
		if (judge(point, &j) && j.passed == passed && j.met >= met) {
			smallest = fmin(smallest, j.bits);
		}
	}
	return smallest;
}

static json_t *best_json(const struct judged *best)
{
	json_t *failed = json_array(), *row;
	size_t i;
	json_array_foreach (best->gate, i, row) {
		if (!json_is_true(json_object_get(row, "passed"))) {
			(void)json_array_append(failed, row);
		}
	}
	return json_pack("{s:O,s:b,s:o,s:I,s:I,s:o}", "name", json_object_get(best->point, "name"), "passed", best->passed, "bits_per_weight",
		isfinite(best->bits) ? json_real(best->bits) : json_null(), "met", (json_int_t)best->met, "conditions",
		(json_int_t)json_array_size(best->gate), "failed", failed);
}

json_t *cwe_sweep_best(const json_t *points)
{
	struct judged best = {0}, j;
	size_t i, met = 0;
	int passed = 0;
	const json_t *point;
	json_array_foreach (points, i, point) {
		if (judge(point, &j)) {
			passed |= j.passed;
			met = j.met > met ? j.met : met;
		}
	}
	double smallest = smallest_of(points, passed, passed ? 0 : met);
	json_array_foreach (points, i, point) {
		if (judge(point, &j) && (best.point == NULL || is_better(&j, &best, smallest))) {
			best = j;
		}
	}
	return best.point != NULL ? best_json(&best) : json_null();
}
