/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the report says of scores: how they were made, and which modules they protect most of. */
#include <stdlib.h>

#include "engine/pipeline/report.h"
#include "engine/pipeline/run.h"

#define TOP_MODULES 10

json_t *cwe_report_scoring(const struct cwe_run *run)
{
	static const char *const combine[] = {"mean", "reference", "rank"}, *const utility[] = {"add", "subtract", "ignore"};
	const struct cwj_job *job = run->job;
	if (run->scorer == NULL) {
		return json_null();
	}
	return json_pack("{s:s,s:s,s:s,s:f,s:b,s:s,s:s}", "plugin", job->score.plugin, "combine", combine[job->combine], "utility",
		utility[job->utility], "beta", job->beta, "error_aware", (run->needs & CWP_STAT_QUANT_ERROR) != 0, "store",
		job->store_bf16 ? "bf16" : "f32", "scale", job->scale_pilot ? "pilot" : "exact");
}

static double share(const struct cwe_run_module *m)
{
	return (double)m->protected_weights / (double)(m->rows * m->cols);
}

/* The largest share first; of equals the one that comes first in the model. */
static int compare(const void *a, const void *b)
{
	const struct cwe_run_module *x = *(const struct cwe_run_module *const *)a, *y = *(const struct cwe_run_module *const *)b;
	double p = share(x), q = share(y);
	return p != q ? (p < q) - (p > q) : (x > y) - (x < y);
}

json_t *cwe_report_top(const struct cwe_run *run)
{
	const struct cwe_run_module **list = calloc(run->modules + 1, sizeof *list);
	json_t *a = json_array();
	size_t n = 0;
	for (size_t i = 0; list != NULL && i < run->modules; i++) {
		if (run->module[i].quantized && run->module[i].protected_weights > 0) {
			list[n++] = &run->module[i];
		}
	}
	if (n > 0) {
		qsort(list, n, sizeof *list, compare);
	}
	for (size_t i = 0; i < n && i < TOP_MODULES; i++) {
		(void)json_array_append_new(a, json_pack("{s:s,s:I,s:I,s:f}", "module", list[i]->name, "weights",
			(json_int_t)(list[i]->rows * list[i]->cols), "protected", (json_int_t)list[i]->protected_weights, "share",
			share(list[i])));
	}
	free(list);
	return a;
}
