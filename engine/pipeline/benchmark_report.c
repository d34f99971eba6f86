/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The rows of a benchmark in the report. */
#include <errno.h>
#include <math.h>

#include "engine/pipeline/benchmark.h"

static json_t *number(double x)
{
	return isfinite(x) ? json_real(x) : json_null();
}

static json_t *flips(const struct cwe_metric_record *m, enum cwe_compared which)
{
	int64_t n = cwe_outcomes_flips(m, which);
	return n >= 0 ? json_integer((json_int_t)n) : json_null();
}

int cwe_benchmark_report(const struct cwe_benchmark *b, json_t *array, struct cwb_err *err)
{
	static const char *const name[CWE_COMPARED] = {"original", "quantized", "protected"};
	for (size_t i = 0; i < b->outcomes.metrics; i++) {
		const struct cwe_metric_record *m = &b->outcomes.metric[i];
		json_t *row = json_pack("{s:s,s:s,s:s,s:s?,s:I,s:I,s:i,s:o}", "name", b->job->name, "benchmark", b->job->benchmark, "metric",
			m->name, "group", m->group, "n", (json_int_t)m->n[0], "excluded", (json_int_t)b->excluded, "direction", (int)m->direction,
			"ideal", number(m->ideal));
		for (int k = 0; row != NULL && k < CWE_COMPARED; k++) {
			double none = m->filled[k] ? 0 : NAN; /* a metric that this model did not get */
			(void)json_object_set_new(row, name[k], json_pack("{s:o,s:o,s:o,s:o}", "value", number(m->value[k] + none), "low",
				number(m->low[k] + none), "high", number(m->high[k] + none), "standard_error", number(m->error[k] + none)));
		}
		if (row != NULL) {
			(void)json_object_set_new(row, "too_long", cwe_benchmark_too_long(b));
			(void)json_object_set_new(row, "flips", json_pack("{s:o,s:o}", "quantized", flips(m, CWE_COMPARED_QUANTIZED),
				"protected", flips(m, CWE_COMPARED_PROTECTED)));
		}
		if (json_array_append_new(array, row) != 0) {
			return cwb_err_set(err, -ENOMEM, "no memory for the report");
		}
	}
	return 0;
}
