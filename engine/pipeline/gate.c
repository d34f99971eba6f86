/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Stage gate: the job's conditions on the measured metrics. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/pipeline/gate.h"
#include "engine/pipeline/run.h"

#define NAMED 20 /* items of a condition that are named */

static const char *const kind_name[] = {"at-most", "at-least", "at-most-times", "worse-by-at-most", "not-worse-by"};

/* One condition and what is known of it. */
struct condition {
	const struct cwj_gate *gate;
	struct cwe_gate_metric metric;
	enum cwe_compared than;
	double value[CWE_COMPARED];
	struct cwe_interval measured;
	double bound, p, adjusted;
	int passed;
};

const char *cwe_gate_kind_name(enum cwj_gate_kind kind)
{
	return kind_name[kind];
}

static struct cwe_pairs pairs_of(const struct cwe_gate_facts *f, const struct cwe_gate_metric *g)
{
	return (struct cwe_pairs){.pair = g->pair, .n = g->n, .form = g->m->form, .seed = f->seed, .pool = f->pool,
		.stream = cwe_pairs_stream(g->evaluation->name, g->m->name, g->group)};
}

/* The metric of each model, with the output's interval: the evaluator's own, else from items. */
static int take_values(struct condition *c, const struct cwe_gate_facts *f)
{
	const struct cwe_metric_record *m = c->metric.m;
	struct cwe_pairs pairs = pairs_of(f, &c->metric);
	struct cwe_pairs_result items = {.own = {{NAN, NAN, NAN}, {NAN, NAN, NAN}, {NAN, NAN, NAN}}};
	int own = c->metric.group == NULL || m->group != NULL;
	int r = m->form != CWP_FORM_OTHER ? cwe_pairs_compare(&pairs, &items) : 0;
	for (size_t k = 0; r == 0 && k < CWE_COMPARED; k++) {
		c->value[k] = !own ? items.own[k].value : m->filled[k] ? m->value[k] : NAN;
	}
	c->measured = items.own[CWE_COMPARED_PROTECTED];
	if (own && (isfinite(m->low[CWE_COMPARED_PROTECTED]) || isfinite(m->high[CWE_COMPARED_PROTECTED]))) {
		c->measured.low = m->low[CWE_COMPARED_PROTECTED];
		c->measured.high = m->high[CWE_COMPARED_PROTECTED];
	}
	c->measured.value = c->value[CWE_COMPARED_PROTECTED];
	return r;
}

/* By how much the output is worse, from items where there are any. */
static int take_difference(struct condition *c, const struct cwe_gate_facts *f)
{
	const struct cwe_metric_record *m = c->metric.m;
	struct cwe_pairs pairs = pairs_of(f, &c->metric);
	int tests = c->gate->kind == CWJ_GATE_NOT_WORSE_BY;
	/* A bound on each side at the test's confidence; else 95 % between both. */
	struct cwe_pairs_question q = {.which = CWE_COMPARED_PROTECTED, .than = c->than, .direction = m->direction, .ideal = m->ideal,
		.margin = c->gate->value, .confidence = tests ? c->gate->confidence : 0.5 + CWE_CONFIDENCE / 2};
	double p = NAN;
	c->measured = (struct cwe_interval){NAN, NAN, NAN};
	int r = m->form != CWP_FORM_OTHER ? cwe_pairs_worse(&pairs, &q, &c->measured, &p) : 0;
	c->measured.value = cwe_worse_by(m->direction, m->ideal, c->value[CWE_COMPARED_PROTECTED], c->value[c->than]);
	c->p = tests ? p : NAN;
	return r;
}

/* What is no number does not pass. Tests are judged when all are known. */
static int judge(struct condition *c, const struct cwe_gate_facts *f)
{
	double asked = c->gate->value;
	int r = take_values(c, f);
	c->bound = asked;
	switch (c->gate->kind) {
	case CWJ_GATE_AT_MOST:
		c->passed = c->measured.value <= asked;
		break;
	case CWJ_GATE_AT_LEAST:
		c->passed = c->measured.value >= asked;
		break;
	case CWJ_GATE_AT_MOST_TIMES:
		c->bound = asked * c->value[c->than];
		c->passed = c->measured.value <= c->bound;
		break;
	default:
		r = r == 0 ? take_difference(c, f) : r;
		c->passed = c->measured.value <= asked;
		break;
	}
	return r;
}

/* Each test alone errs with one minus its confidence; Holm's correction holds that for all together. */
static int judge_tests(struct condition *c, size_t n)
{
	double *p = calloc(2 * n + 1, sizeof *p), *adjusted = p != NULL ? p + n : NULL;
	size_t tests = 0;
	if (p == NULL) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		if (c[i].gate->kind == CWJ_GATE_NOT_WORSE_BY) {
			p[tests++] = c[i].p;
		}
	}
	int r = cwe_holm(p, tests, adjusted);
	for (size_t i = 0, k = 0; r == 0 && i < n; i++) {
		c[i].adjusted = NAN;
		if (c[i].gate->kind == CWJ_GATE_NOT_WORSE_BY) {
			c[i].adjusted = adjusted[k++];
			c[i].passed = c[i].adjusted <= 1 - c[i].gate->confidence;
		}
	}
	free(p);
	return r;
}

/* Whether an item speaks against the output: it chose otherwise, and where the metric has a better side its value is not
 * better. An item of the metric of flips is one that flipped. */
static int is_against(const struct condition *c, const struct cwe_pair *pair)
{
	const struct cwe_outcome *a = pair->of[c->than], *b = pair->of[CWE_COMPARED_PROTECTED];
	if (a == NULL || b == NULL) {
		return 0;
	}
	if (strcmp(c->metric.m->name, CWE_FLIPS) == 0) {
		return b->value > a->value;
	}
	double worse = cwe_worse_by(c->metric.m->direction, NAN, b->value, a->value);
	return cwe_pair_flipped(pair, c->than, CWE_COMPARED_PROTECTED) && (c->metric.m->direction == 0 || !(worse < 0));
}

static json_t *flips_json(const struct condition *c)
{
	json_t *ids = json_array();
	for (size_t i = 0; i < c->metric.n && json_array_size(ids) < NAMED; i++) {
		if (is_against(c, &c->metric.pair[i])) {
			(void)json_array_append_new(ids, json_string(c->metric.pair[i].of[CWE_COMPARED_PROTECTED]->id));
		}
	}
	return ids;
}

static json_t *row_json(const struct condition *c)
{
	const struct cwj_gate *g = c->gate;
	int relative = g->kind != CWJ_GATE_AT_MOST && g->kind != CWJ_GATE_AT_LEAST, tests = g->kind == CWJ_GATE_NOT_WORSE_BY;
	const char *than = c->than == CWE_COMPARED_QUANTIZED ? "quantized" : "original";
	return json_pack("{s:s,s:b,s:s,s:f,s:s?,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "metric", g->metric, "passed", c->passed, "condition",
		kind_name[g->kind], "asked", g->value, "than", relative ? than : NULL, "confidence",
		tests ? json_real(g->confidence) : json_null(), "measured", cwb_json_finite(c->measured.value), "low", cwb_json_finite(c->measured.low), "high",
		cwb_json_finite(c->measured.high), "bound", cwb_json_finite(c->bound), "p", cwb_json_finite(c->p), "p_adjusted", cwb_json_finite(c->adjusted), "flips", flips_json(c));
}

static int judge_all(struct condition *c, const struct cwj_gate *gate, size_t n, const struct cwe_gate_facts *f, struct cwb_err *err)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		c[i].gate = &gate[i];
		c[i].than = gate[i].than == CWJ_THAN_QUANTIZED ? CWE_COMPARED_QUANTIZED : CWE_COMPARED_ORIGINAL;
		c[i].p = NAN;
		r = cwe_gate_find(f, gate[i].metric, &c[i].metric, err);
		r = r == 0 && judge(&c[i], f) != 0 ? cwb_err_set(err, -ENOMEM, "no memory for the gate") : r;
	}
	return r == 0 && judge_tests(c, n) != 0 ? cwb_err_set(err, -ENOMEM, "no memory for the gate") : r;
}

int cwe_gate_judge(const struct cwj_gate *gate, size_t n, const struct cwe_gate_facts *f, json_t **ret_rows, int *ret_rejected,
	struct cwb_err *err)
{
	struct condition *c = calloc(n + 1, sizeof *c);
	json_t *rows = json_array();
	int rejected = 0;
	int r = c != NULL && rows != NULL ? judge_all(c, gate, n, f, err) : cwb_err_set(err, -ENOMEM, "no memory for the gate");
	for (size_t i = 0; r == 0 && i < n; i++) {
		rejected |= !c[i].passed;
		r = json_array_append_new(rows, row_json(&c[i])) != 0 ? cwb_err_set(err, -ENOMEM, "no memory for the gate") : 0;
	}
	for (size_t i = 0; c != NULL && i < n; i++) {
		free(c[i].metric.pair);
	}
	free(c);
	if (r != 0) {
		json_decref(rows);
		return r;
	}
	*ret_rows = rows;
	*ret_rejected = rejected;
	return 0;
}

static const char *needs(const struct cwj_gate *g)
{
	static const char *const needs[][2] = {{"the output and the original, value by value", "the output and the original, item by item"},
		{"the output and the plainly quantized model, value by value", "the output and the plainly quantized model, item by item"}};
	int relative = g->kind != CWJ_GATE_AT_MOST && g->kind != CWJ_GATE_AT_LEAST;
	return relative ? needs[g->than == CWJ_THAN_QUANTIZED][g->kind == CWJ_GATE_NOT_WORSE_BY] : "the output";
}

json_t *cwe_gate_plan(const struct cwj_gate *gate, size_t n)
{
	json_t *rows = json_array();
	for (size_t i = 0; i < n; i++) {
		const struct cwj_gate *g = &gate[i];
		int relative = g->kind != CWJ_GATE_AT_MOST && g->kind != CWJ_GATE_AT_LEAST;
		json_t *row = json_pack("{s:s,s:s,s:f,s:s?,s:o,s:s}", "metric", g->metric, "condition", kind_name[g->kind], "asked", g->value, "than",
			!relative ? NULL : g->than == CWJ_THAN_QUANTIZED ? "quantized" : "original", "confidence",
			g->kind == CWJ_GATE_NOT_WORSE_BY ? json_real(g->confidence) : json_null(), "needs", needs(g));
		if (json_array_append_new(rows, row) != 0) {
			json_decref(rows);
			return NULL;
		}
	}
	return rows;
}

int cwe_run_gate(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwe_gate_facts f = {.measured = run->measured, .n = run->measures, .seed = run->job->seed, .pool = run->p->host->pool};
	int rejected = 0;
	cwe_run_stage(run, CWE_STAGE_GATE);
	int r = cwe_gate_judge(run->job->gates, run->job->n_gates, &f, &run->gate, &rejected, err);
	run->rejected |= rejected;
	return r;
}
