/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Finished outputs judged anew, and side by side. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/pipeline/compare.h"
#include "engine/pipeline/gate.h"
#include "engine/pipeline/pairs.h"

static const char *const form_name[] = {"other", "mean", "exp-mean"};

int cwe_output_judge(const char *output, const struct cwj_gates *gates, struct cwe_pool *pool, json_t **ret, struct cwb_err *err)
{
	struct cwe_measured_file file = {0};
	json_t *rows = NULL;
	int rejected = 0;
	int r = cwe_measured_read(output, &file, err);
	for (size_t i = 0; r == 0 && i < gates->n; i++) {
		const struct cwj_gate *gate = &gates->gates[i];
		for (size_t k = 0; r == 0 && k < file.n; k++) {
			r = cwe_gate_check(gate, i, &file.measured[k], err);
		}
		if (r == 0 && gate->than == CWJ_THAN_QUANTIZED && !file.protecting) {
			r = cwb_err_set(err, CWP_EVALUE, "gate[%zu].than: quantized: nothing is protected in %s, so that the plainly quantized model is "
				"the output itself; compare with the original", i, output);
		}
	}
	if (r == 0) {
		const struct cwe_gate_facts f = {.measured = file.measured, .n = file.n, .seed = file.seed, .pool = pool};
		r = cwe_gate_judge(gates->gates, gates->n, &f, &rows, &rejected, err);
	}
	cwe_measured_free(file.measured, file.n);
	if (r != 0) {
		return r;
	}
	*ret = json_pack("{s:o,s:b}", "gate", rows, "rejected", rejected);
	return *ret != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for the gate");
}

struct comparison {
	const char *const *output;
	struct cwe_measured_file file[CWE_OUTPUTS];
	size_t n;
	struct cwe_pool *pool;
};

/* The metric of that evaluation in an output, or NULL. */
static const struct cwe_metric_record *find(const struct cwe_measured_file *f, const char *name, const char *metric,
	const struct cwe_measured **ret)
{
	for (size_t i = 0; i < f->n; i++) {
		if (strcmp(f->measured[i].name, name) == 0) {
			*ret = &f->measured[i];
			return cwe_outcomes_find(&f->measured[i].outcomes, metric, NULL);
		}
	}
	return NULL;
}

/* Items of two outputs, the first one's in the place of the original. */
static int compare_items(const struct comparison *c, const struct cwe_measured *e, const struct cwe_metric_record *a,
	const struct cwe_metric_record *b, struct cwe_pairs_result *ret, struct cwe_flips *ret_flips)
{
	const struct cwe_outcome *const item[CWE_COMPARED] = {a->item[CWE_COMPARED_PROTECTED], b->item[CWE_COMPARED_PROTECTED], NULL};
	const size_t n[CWE_COMPARED] = {a->items[CWE_COMPARED_PROTECTED], b->items[CWE_COMPARED_PROTECTED], 0};
	struct cwe_pairs pairs = {.form = a->form, .seed = c->file[0].seed, .pool = c->pool,
		.stream = cwe_pairs_stream(e->name, a->name, NULL)};
	struct cwe_pair *pair = NULL;
	int r = cwe_pairs_match(item, n, &pair, &pairs.n);
	pairs.pair = pair;
	r = r == 0 ? cwe_pairs_compare(&pairs, ret) : r;
	*ret_flips = r == 0 ? cwe_pairs_flips(pair, pairs.n, CWE_COMPARED_ORIGINAL, CWE_COMPARED_QUANTIZED) : (struct cwe_flips){0};
	free(pair);
	return r;
}

static json_t *flips_json(const struct cwe_flips *f)
{
	return f->n == 0 ? json_null() : json_pack("{s:I,s:I,s:I,s:I,s:o}", "n", (json_int_t)f->n, "count", (json_int_t)f->count, "up",
		(json_int_t)f->up, "down", (json_int_t)f->down, "p", cwb_json_finite(f->p));
}

/* An output's value: the evaluator's, with its interval or that of the items. */
static json_t *value_json(const struct cwe_metric_record *m, enum cwe_compared k, const struct cwe_interval *items)
{
	int told = isfinite(m->low[k]) || isfinite(m->high[k]);
	return !m->filled[k] ? json_null() : json_pack("{s:I,s:o,s:o,s:o}", "n", (json_int_t)m->n[k], "value", cwb_json_finite(m->value[k]), "low",
		cwb_json_finite(told ? m->low[k] : items->low), "high", cwb_json_finite(told ? m->high[k] : items->high));
}

/* One output's value and its difference to the first; the first one's original, too. */
static int add_output(const struct comparison *c, size_t i, const struct cwe_measured *e, const struct cwe_metric_record *m, json_t *row)
{
	const struct cwe_interval none = {NAN, NAN, NAN};
	const struct cwe_measured *own = NULL, *first = NULL;
	/* Either may be missing. */
	const struct cwe_metric_record *a = find(&c->file[0], e->name, m->name, &first), *b = find(&c->file[i], e->name, m->name, &own);
	json_t *values = json_object_get(row, "values"), *differences = json_object_get(row, "differences");
	struct cwe_pairs_result result = {.own = {none, none, none}, .change = {none, none, none}};
	struct cwe_flips flips = {0};
	if (b == NULL) {
		return json_array_append_new(values, json_null()) != 0 || json_array_append_new(differences, json_null()) != 0 ? -ENOMEM : 0;
	}
	/* Paired with itself where there is no other, for its own interval. */
	int same = a != NULL && first != NULL && own != NULL && a->form == b->form && strcmp(first->benchmark, own->benchmark) == 0 &&
		strcmp(first->data, own->data) == 0;
	int r = b->form != CWP_FORM_OTHER ? compare_items(c, e, same ? a : b, b, &result, &flips) : 0;
	struct cwe_interval *change = &result.change[CWE_COMPARED_QUANTIZED];
	if (same && b->form == CWP_FORM_OTHER) {
		change->value = b->value[CWE_COMPARED_PROTECTED] - a->value[CWE_COMPARED_PROTECTED];
	}
	if (r != 0 || json_array_append_new(values, value_json(b, CWE_COMPARED_PROTECTED, &result.own[CWE_COMPARED_QUANTIZED])) != 0) {
		return -ENOMEM;
	}
	return json_array_append_new(differences, !same || i == 0 ? json_null()
		: json_pack("{s:I,s:o,s:o,s:o,s:o}", "n", (json_int_t)result.n[CWE_COMPARED_QUANTIZED], "value", cwb_json_finite(change->value), "low",
			cwb_json_finite(change->low), "high", cwb_json_finite(change->high), "flips", flips_json(&flips)));
}

static int add_metric(const struct comparison *c, const struct cwe_measured *e, const struct cwe_metric_record *m, json_t *metrics)
{
	const struct cwe_interval none = {NAN, NAN, NAN};
	json_t *row = json_pack("{s:s,s:s,s:s,s:s,s:i,s:o,s:o,s:[],s:[]}", "name", e->name, "benchmark", e->benchmark, "metric", m->name,
		"form", form_name[m->form], "direction", (int)m->direction, "ideal", cwb_json_finite(m->ideal), "original",
		value_json(m, CWE_COMPARED_ORIGINAL, &none), "values", "differences");
	int r = row != NULL ? 0 : -ENOMEM;
	for (size_t i = 0; r == 0 && i < c->n; i++) {
		r = add_output(c, i, e, m, row);
	}
	if (r != 0) {
		json_decref(row);
		return r;
	}
	return json_array_append_new(metrics, row);
}

/* The metrics that output `which` has and none before it. */
static int add_metrics(const struct comparison *c, size_t which, json_t *metrics)
{
	const struct cwe_measured *other;
	int r = 0;
	for (size_t i = 0; r == 0 && i < c->file[which].n; i++) {
		const struct cwe_measured *e = &c->file[which].measured[i];
		for (size_t k = 0; r == 0 && k < e->outcomes.metrics; k++) {
			const struct cwe_metric_record *m = &e->outcomes.metric[k];
			int known = m->group != NULL;
			for (size_t before = 0; before < which; before++) {
				known = known || find(&c->file[before], e->name, m->name, &other) != NULL;
			}
			r = known ? 0 : add_metric(c, e, m, metrics);
		}
	}
	return r;
}

int cwe_outputs_compare(const char *const *output, size_t n, struct cwe_pool *pool, json_t **ret, struct cwb_err *err)
{
	struct comparison c = {.output = output, .pool = pool};
	json_t *metrics = json_array(), *outputs = json_array();
	int r = 0;
	for (; r == 0 && c.n < n && c.n < CWE_OUTPUTS; c.n += r == 0) {
		struct cwb_err missing = {0};
		r = cwe_measured_read(output[c.n], &c.file[c.n], &missing);
		/* One that evaluated nothing has nothing to show. */
		r = r == CWP_EMISSING ? 0 : r != 0 ? cwb_err_set(err, r, "%s", missing.message) : 0;
		r = r == 0 && json_array_append_new(outputs, json_string(output[c.n])) != 0 ? -ENOMEM : r;
	}
	for (size_t i = 0; r == 0 && i < c.n; i++) {
		r = add_metrics(&c, i, metrics) != 0 ? cwb_err_set(err, -ENOMEM, "no memory for the comparison") : 0;
	}
	for (size_t i = 0; i < c.n; i++) {
		cwe_measured_free(c.file[i].measured, c.file[i].n);
	}
	if (r != 0) {
		json_decref(metrics);
		json_decref(outputs);
		return r;
	}
	*ret = json_pack("{s:o,s:o}", "outputs", outputs, "metrics", metrics);
	return *ret != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for the comparison");
}
