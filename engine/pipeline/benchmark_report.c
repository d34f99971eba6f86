/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The rows of a benchmark in the report: its metrics, and those of the groups that its items name. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/pipeline/benchmark.h"
#include "engine/pipeline/measured.h"
#include "engine/pipeline/pairs.h"
#include "engine/plugin/settings.h"

#define GROUPS 256 /* of a metric that get a row */

static const char *const model_name[CWE_COMPARED] = {"original", "quantized", "protected"};
static const char *const form_name[] = {"other", "mean", "exp-mean"};

/* One row in the making. */
struct row {
	const struct cwe_run *run;
	const struct cwe_benchmark *b;
	const struct cwe_metric_record *m;
	const char *group;
	struct cwe_pairs pairs;
	struct cwe_pairs_result result;
	size_t left_out; /* groups beyond the limit */
};

static json_t *interval(const struct cwe_interval *x)
{
	return json_pack("{s:o,s:o,s:o}", "value", cwb_json_finite(x->value), "low", cwb_json_finite(x->low), "high", cwb_json_finite(x->high));
}

/* What the evaluator says, and where it says nothing what follows from the items. A group's is all from items. */
static json_t *model_json(const struct row *row, size_t k)
{
	const struct cwe_metric_record *m = row->m;
	struct cwe_interval x = row->result.own[k];
	double error = row->result.error[k];
	if (row->group == m->group) {
		double none = m->filled[k] ? 0 : NAN; /* a metric that this model did not get */
		int told = isfinite(m->low[k]) || isfinite(m->high[k]);
		x.value = m->value[k] + none;
		x.low = told ? m->low[k] : x.low;
		x.high = told ? m->high[k] : x.high;
		error = isfinite(m->error[k]) ? m->error[k] : error;
	}
	return json_pack("{s:o,s:o,s:o,s:o}", "value", cwb_json_finite(x.value), "low", cwb_json_finite(x.low), "high", cwb_json_finite(x.high), "standard_error",
		cwb_json_finite(error));
}

static json_t *flips_json(const struct row *row, enum cwe_compared which)
{
	struct cwe_flips f = cwe_pairs_flips(row->pairs.pair, row->pairs.n, CWE_COMPARED_ORIGINAL, which);
	return f.n == 0 ? json_null() : json_pack("{s:I,s:I,s:I,s:I,s:o}", "n", (json_int_t)f.n, "count", (json_int_t)f.count, "up",
		(json_int_t)f.up, "down", (json_int_t)f.down, "p", cwb_json_finite(f.p));
}

static json_t *change_json(const struct row *row, size_t k)
{
	struct cwe_interval x = row->result.change[k];
	if (row->m->form == CWP_FORM_OTHER && row->m->filled[k] && row->m->filled[CWE_COMPARED_ORIGINAL]) {
		x.value = row->m->value[k] - row->m->value[CWE_COMPARED_ORIGINAL];
	}
	return interval(&x);
}

static json_t *recovery_json(const struct row *row)
{
	if (!row->run->protecting) {
		return json_null();
	}
	json_t *json = interval(&row->result.recovery);
	(void)json_object_set_new(json, "verdict", json_string(cwe_verdict_name(row->result.verdict)));
	return json;
}

/* What the evaluator's option `language` says, or NULL. */
static const char *language_of(const struct cwe_benchmark *b)
{
	int i = cwe_settings_index(b->plugin->descriptor, "language");
	return i >= 0 && b->settings != NULL ? b->settings[i].string : NULL;
}

static int append_row(const struct row *row, json_t *array)
{
	const struct cwe_metric_record *m = row->m;
	const struct cwe_benchmark *b = row->b;
	uint64_t n = row->group == m->group ? m->n[0] : row->result.n[0];
	json_t *json = json_pack("{s:s,s:s,s:s,s:s?,s:s?,s:s,s:I,s:i,s:o}", "name", b->job->name, "benchmark", b->job->benchmark,
		"metric", m->name, "group", row->group, "language", language_of(b), "form", form_name[m->form], "n", (json_int_t)n,
		"direction", (int)m->direction, "ideal", cwb_json_finite(m->ideal));
	if (json == NULL) {
		return -ENOMEM;
	}
	if (row->group == NULL) {
		(void)json_object_set_new(json, "excluded", json_integer((json_int_t)b->excluded));
		(void)json_object_set_new(json, "too_long", cwe_benchmark_too_long(b));
	}
	if (row->left_out > 0) {
		(void)json_object_set_new(json, "groups_left_out", json_integer((json_int_t)row->left_out));
	}
	for (size_t k = 0; k < CWE_COMPARED; k++) {
		(void)json_object_set_new(json, model_name[k], model_json(row, k));
	}
	(void)json_object_set_new(json, "flips", json_pack("{s:o,s:o}", "quantized", flips_json(row, CWE_COMPARED_QUANTIZED),
		"protected", flips_json(row, CWE_COMPARED_PROTECTED)));
	(void)json_object_set_new(json, "change", json_pack("{s:o,s:o}", "quantized", change_json(row, CWE_COMPARED_QUANTIZED),
		"protected", change_json(row, CWE_COMPARED_PROTECTED)));
	(void)json_object_set_new(json, "recovery", recovery_json(row));
	return json_array_append_new(array, json);
}

static int add_row(struct row *row, json_t *array)
{
	const struct cwe_run *run = row->run;
	const struct cwe_interval none = {NAN, NAN, NAN};
	row->pairs.form = row->m->form;
	row->pairs.seed = run->job->seed;
	row->pairs.stream = cwe_pairs_stream(row->b->job->name, row->m->name, row->group);
	row->pairs.pool = run->p->host->pool;
	row->result = (struct cwe_pairs_result){.own = {none, none, none}, .error = {NAN, NAN, NAN}, .change = {none, none, none},
		.recovery = none};
	int r = row->m->form != CWP_FORM_OTHER ? cwe_pairs_compare(&row->pairs, &row->result) : 0;
	return r == 0 ? append_row(row, array) : r;
}

/* The groups of items in their order; what the evaluator tells itself is left to it. *ret_more: beyond the limit. */
static size_t list_groups(const struct row *row, const char *ret[GROUPS], size_t *ret_more)
{
	const struct cwe_outcomes *o = &row->b->outcomes;
	const char *last = NULL;
	size_t n = 0, more = 0;
	for (size_t i = 0; i < row->pairs.n; i++) {
		const struct cwe_outcome *item = row->pairs.pair[i].of[0];
		const char *group = item != NULL ? item->group : NULL;
		size_t k = 0;
		while (group != NULL && k < n && strcmp(ret[k], group) != 0) {
			k++;
		}
		if (group == NULL || k < n || cwe_outcomes_find(o, row->m->name, group) != NULL) {
			continue;
		}
		if (n < GROUPS) {
			ret[n++] = group;
		} else {
			more += last == NULL || strcmp(last, group) != 0; /* runs of equal groups count once */
			last = group;
		}
	}
	*ret_more = more;
	return n;
}

/* A row for each group of a metric whose items follow. */
static int add_groups(const struct row *all, const char *const *group, size_t groups, json_t *array)
{
	struct cwe_pair *part = calloc(all->pairs.n + 1, sizeof *part);
	int r = part != NULL ? 0 : -ENOMEM;
	for (size_t g = 0; r == 0 && g < groups; g++) {
		struct row row = {.run = all->run, .b = all->b, .m = all->m, .group = group[g], .pairs.pair = part};
		for (size_t i = 0; i < all->pairs.n; i++) {
			const struct cwe_outcome *item = all->pairs.pair[i].of[0];
			if (item != NULL && item->group != NULL && strcmp(item->group, group[g]) == 0) {
				part[row.pairs.n++] = all->pairs.pair[i];
			}
		}
		r = add_row(&row, array);
	}
	free(part);
	return r;
}

static int add_metric(const struct cwe_run *run, const struct cwe_benchmark *b, const struct cwe_metric_record *m, json_t *array)
{
	struct row row = {.run = run, .b = b, .m = m, .group = m->group};
	const char *group[GROUPS];
	struct cwe_pair *pair = NULL;
	size_t groups = 0;
	int r = cwe_pairs_match((const struct cwe_outcome *const *)m->item, m->items, &pair, &row.pairs.n);
	row.pairs.pair = pair;
	if (r == 0 && m->group == NULL && m->form != CWP_FORM_OTHER) {
		groups = list_groups(&row, group, &row.left_out);
	}
	r = r == 0 ? add_row(&row, array) : r;
	r = r == 0 ? add_groups(&row, group, groups, array) : r;
	free(pair);
	return r;
}

int cwe_benchmark_report(struct cwe_benchmark *b, struct cwe_run *run, struct cwb_err *err)
{
	int r = cwe_outcomes_add_flips(&b->outcomes);
	for (size_t i = 0; r == 0 && i < b->outcomes.metrics; i++) {
		r = add_metric(run, b, &b->outcomes.metric[i], run->evaluation);
	}
	r = r == 0 ? cwe_flipped_report(b, run) : r;
	r = r == 0 ? cwe_run_keep_outcomes(run, b) : r;
	return r == 0 ? 0 : cwb_err_set(err, -ENOMEM, "no memory for the report");
}
