/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Stage gate: the job's conditions on the measured metrics. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/pipeline/run.h"

static const char *const kind_name[] = {"at-most", "at-least", "at-most-times", "worse-by-at-most"};

/* The row of "<evaluation>.<metric>", or NULL. An evaluation's name may hold dots, a metric's does not. */
static const json_t *find(const struct cwe_run *run, const char *metric)
{
	const char *dot = strrchr(metric, '.');
	size_t i, n = dot != NULL ? (size_t)(dot - metric) : 0;
	json_t *row;
	json_array_foreach (run->evaluation, i, row) {
		const char *name = json_string_value(json_object_get(row, "name"));
		if (dot != NULL && strlen(name) == n && strncmp(name, metric, n) == 0 &&
			strcmp(json_string_value(json_object_get(row, "metric")), dot + 1) == 0) {
			return row;
		}
	}
	return NULL;
}

static double value_of(const json_t *row, const char *model)
{
	const json_t *v = json_object_get(json_object_get(row, model), "value");
	return json_is_number(v) ? json_number_value(v) : NAN;
}

/* How much worse a value is: by the metric's direction, or by its distance from the ideal. */
static double worse_by(const json_t *row, double value, double than)
{
	json_int_t direction = json_integer_value(json_object_get(row, "direction"));
	const json_t *ideal = json_object_get(row, "ideal");
	if (direction == 0 && json_is_number(ideal)) {
		double goal = json_number_value(ideal);
		return fabs(value - goal) - fabs(than - goal);
	}
	return direction > 0 ? than - value : value - than;
}

static int judge(const struct cwj_gate *g, const json_t *row, double *ret_bound, double *ret_value)
{
	double value = value_of(row, "protected");
	double than = value_of(row, g->than == CWJ_THAN_QUANTIZED ? "quantized" : "original");
	*ret_value = value;
	switch (g->kind) {
	case CWJ_GATE_AT_MOST:
		*ret_bound = g->value;
		return value <= g->value;
	case CWJ_GATE_AT_LEAST:
		*ret_bound = g->value;
		return value >= g->value;
	case CWJ_GATE_AT_MOST_TIMES:
		*ret_bound = g->value * than;
		return value <= g->value * than;
	default:
		*ret_bound = g->value;
		*ret_value = worse_by(row, value, than);
		return *ret_value <= g->value;
	}
}

int cwe_run_gate(struct cwe_run *run, struct cwb_err *err)
{
	cwe_run_stage(run, CWE_STAGE_GATE);
	run->gate = json_array();
	for (size_t i = 0; i < run->job->n_gates; i++) {
		const struct cwj_gate *g = &run->job->gates[i];
		const json_t *row = find(run, g->metric);
		if (row == NULL) {
			return cwb_err_set(err, CWP_EUNKNOWN, "gate: no evaluation gives the metric \"%s\"; write <evaluation "
				"name>.<metric>", g->metric);
		}
		double bound, value;
		int passed = judge(g, row, &bound, &value); /* a value that is no number does not pass */
		json_t *entry = json_pack("{s:s,s:b,s:s,s:f,s:s,s:o,s:o}", "metric", g->metric, "passed", passed, "condition",
			kind_name[g->kind], "asked", g->value, "than", g->than == CWJ_THAN_QUANTIZED ? "quantized" : "original",
			"measured", isfinite(value) ? json_real(value) : json_null(), "bound",
			isfinite(bound) ? json_real(bound) : json_null());
		if (json_array_append_new(run->gate, entry) != 0) {
			return cwb_err_set(err, -ENOMEM, "no memory for the gate");
		}
		run->rejected |= !passed;
	}
	return 0;
}
