/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Evaluator plugins at work. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "engine/model/generate.h"
#include "engine/pipeline/benchmark.h"
#include "engine/plugin/settings.h"

#define DATA_LIMIT (1u << 30)
#define WINDOW 2048 /* tokens of a rolling window unless the evaluator says otherwise */
/* Weights that stay in memory while text is generated. */
#define GENERATION_MEMORY (1ull << 30)

static int add_request(struct cwe_run *run, struct cwe_benchmark *b, uint64_t i, struct cwe_request_list *list,
	struct cwb_err *err)
{
	const struct cwp_evaluator *e = b->plugin->interface;
	struct cwp_request q = {.size = sizeof q};
	uint32_t context = run->model.arch.context;
	int r = e->request(b->state, i, &q);
	if (r != 0) {
		return cwe_host_error(run->p->host, b->job->benchmark, "request", r, err);
	}
	switch (q.kind) {
	case CWP_REQUEST_LOGLIK:
		return cwe_request_loglik(list, b->first + i, run->tokenizer, q.context, q.context_length, q.continuation,
			q.continuation_length, context, err);
	case CWP_REQUEST_ROLLING:
		return cwe_request_rolling(list, b->first + i, run->tokenizer, q.continuation, q.continuation_length,
			q.window > 0 && q.window < context ? q.window : context < WINDOW ? context : WINDOW, err);
	case CWP_REQUEST_GENERATE:
		return 0;
	default:
		return cwb_err_set(err, CWP_EPLUGIN, "evaluator %s: request %llu has the unknown kind %u", b->job->benchmark,
			(unsigned long long)i, q.kind);
	}
}

int cwe_benchmark_open(struct cwe_run *run, const struct cwj_evaluation *job, uint64_t first, struct cwe_benchmark *ret,
	struct cwe_request_list *list, struct cwb_err *err)
{
	struct cwe_benchmark b = {.job = job, .first = first};
	size_t length = 0;
	int r = cwe_registry_find(run->p->registry, CWP_KIND_EVALUATOR, job->benchmark, &b.plugin, err);
	if (r != 0) {
		return r;
	}
	const struct cwp_evaluator *e = b.plugin->interface;
	if ((r = cwe_settings_make(b.plugin->descriptor, "evaluate", job->options, job->n_options, &b.settings, err)) == 0 &&
		(r = cwb_file_read(job->path, DATA_LIMIT, &b.data, &length, err)) == 0 &&
		(r = e->open(&run->p->host->table, b.settings, job->path, b.data, length, job->limit, &b.state)) != 0) {
		r = cwe_host_error(run->p->host, job->benchmark, job->path, r, err);
	}
	if (r == 0) {
		b.count = e->count(b.state);
		b.answer = calloc(b.count + 1, sizeof *b.answer);
		r = b.answer != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for %llu answers", (unsigned long long)b.count);
	}
	for (uint64_t i = 0; r == 0 && i < b.count; i++) {
		r = add_request(run, &b, i, list, err);
	}
	if (r != 0) {
		cwe_benchmark_close(&b);
		return r;
	}
	*ret = b;
	return 0;
}

void cwe_benchmark_close(struct cwe_benchmark *b)
{
	if (b->plugin != NULL && b->state != NULL) {
		((const struct cwp_evaluator *)b->plugin->interface)->close(b->state);
	}
	if (b->plugin != NULL) {
		cwe_settings_free(b->plugin->descriptor, b->settings);
	}
	cwe_benchmark_clear(b);
	for (size_t i = 0; i < b->metrics; i++) {
		for (int k = 0; k < CWE_COMPARED; k++) {
			for (size_t j = 0; j < b->metric[i].items[k]; j++) {
				free(b->metric[i].item[k][j].id);
			}
			free(b->metric[i].item[k]);
		}
		free(b->metric[i].name);
	}
	free(b->metric);
	free(b->answer);
	free(b->data);
	memset(b, 0, sizeof *b);
}

struct cwp_answer *cwe_benchmark_answer(struct cwe_benchmark *b, size_t n, size_t owner)
{
	while (n > 1 && owner >= b->first + b->count) {
		b++;
		n--;
	}
	return &b->answer[owner - b->first];
}

void cwe_benchmark_clear(struct cwe_benchmark *b)
{
	for (uint64_t i = 0; b->answer != NULL && i < b->count; i++) {
		free((char *)(uintptr_t)b->answer[i].text);
		b->answer[i] = (struct cwp_answer){.size = sizeof *b->answer, .greedy = 1};
	}
}

static int generate_one(struct cwe_run *run, struct cwe_generator *g, const struct cwp_request *q, struct cwp_answer *a,
	struct cwb_err *err)
{
	int64_t eos = cwe_tokenizer_eos(run->tokenizer);
	uint32_t stop = (uint32_t)eos, *id = NULL;
	uint64_t count = 0;
	struct cwe_ids prompt = {0};
	char *text = NULL;
	size_t length = 0;
	int r = cwe_tokenizer_encode(run->tokenizer, q->context, q->context_length, 0, &prompt, err);
	struct cwe_generation what = {.prompt = prompt.id, .count = prompt.count, .max_new = q->max_new_tokens, .stop = &stop,
		.stops = eos >= 0};
	r = r == 0 ? cwe_generator_run(g, &what, &id, &count, err) : r;
	r = r == 0 ? cwe_tokenizer_decode(run->tokenizer, id, count, 1, &text, &length, err) : r;
	a->text = text;
	a->text_length = length;
	a->tokens = count;
	free(prompt.id);
	free(id);
	return r;
}

int cwe_benchmark_generate(struct cwe_benchmark *b, struct cwe_run *run, struct cwe_model *model, struct cwb_err *err)
{
	const struct cwp_evaluator *e = b->plugin->interface;
	struct cwe_generator *g = NULL;
	int r = 0;
	for (uint64_t i = 0; r == 0 && i < b->count; i++) {
		struct cwp_request q = {.size = sizeof q};
		if ((r = e->request(b->state, i, &q)) != 0) {
			r = cwe_host_error(run->p->host, b->job->benchmark, "request", r, err);
		} else if (q.kind == CWP_REQUEST_GENERATE) {
			uint64_t positions = model->arch.context < 4096 ? model->arch.context : 4096;
			r = g == NULL ? cwe_generator_new(model, GENERATION_MEMORY, positions, &g, err) : 0;
			r = r == 0 ? generate_one(run, g, &q, &b->answer[i], err) : r;
			r = r == 0 ? cwe_run_cancelled(run, err) : r;
		}
	}
	cwe_generator_free(g);
	return r;
}

static void take_metric(void *ctx, const struct cwp_metric *metric)
{
	struct cwe_benchmark *b = ctx;
	size_t i = 0;
	while (i < b->metrics && strcmp(b->metric[i].name, metric->name) != 0) {
		i++;
	}
	if (i == b->metrics) {
		struct cwe_metric_record *more = realloc(b->metric, (b->metrics + 1) * sizeof *more);
		if (more == NULL) {
			b->failed = 1;
			return;
		}
		b->metric = more;
		more[i] = (struct cwe_metric_record){.name = strdup(metric->name), .direction = metric->direction,
			.ideal = metric->ideal};
		b->metrics++;
	}
	struct cwe_metric_record *m = &b->metric[i];
	b->last = i;
	m->filled[b->current] = 1;
	m->n[b->current] = metric->n;
	m->value[b->current] = metric->value;
	m->low[b->current] = metric->low;
	m->high[b->current] = metric->high;
	m->error[b->current] = metric->standard_error;
}

static void take_item(void *ctx, const char *id, double outcome)
{
	struct cwe_benchmark *b = ctx;
	if (b->metrics == 0 || b->failed) {
		return;
	}
	struct cwe_metric_record *m = &b->metric[b->last];
	struct cwe_outcome *more = realloc(m->item[b->current], (m->items[b->current] + 1) * sizeof *more);
	if (more == NULL) {
		b->failed = 1;
		return;
	}
	m->item[b->current] = more;
	more[m->items[b->current]++] = (struct cwe_outcome){strdup(id), outcome};
}

int cwe_benchmark_finish(struct cwe_benchmark *b, struct cwe_run *run, enum cwe_compared which, struct cwb_err *err)
{
	const struct cwp_evaluator *e = b->plugin->interface;
	struct cwp_metric_sink sink = {.size = sizeof sink, .ctx = b, .metric = take_metric, .item = take_item};
	int r = 0;
	b->current = which;
	for (uint64_t i = 0; r == 0 && i < b->count; i++) {
		r = e->answer(b->state, i, &b->answer[i]);
	}
	r = r == 0 ? e->finish(b->state, &sink) : r;
	if (r == 0 && b->failed) {
		r = -ENOMEM;
	}
	return r == 0 ? 0 : cwe_host_error(run->p->host, b->job->benchmark, "metrics", r, err);
}

int cwe_benchmark_same(struct cwe_benchmark *b, enum cwe_compared from, enum cwe_compared to, struct cwb_err *err)
{
	for (size_t i = 0; i < b->metrics; i++) {
		struct cwe_metric_record *m = &b->metric[i];
		m->filled[to] = m->filled[from];
		m->n[to] = m->n[from];
		m->value[to] = m->value[from];
		m->low[to] = m->low[from];
		m->high[to] = m->high[from];
		m->error[to] = m->error[from];
		m->item[to] = calloc(m->items[from] + 1, sizeof *m->item[to]);
		if (m->item[to] == NULL) {
			return cwb_err_set(err, -ENOMEM, "no memory for outcomes");
		}
		for (size_t k = 0; k < m->items[from]; k++) {
			m->item[to][m->items[to]++] = (struct cwe_outcome){strdup(m->item[from][k].id), m->item[from][k].value};
		}
	}
	return 0;
}

static json_t *number(double x)
{
	return isfinite(x) ? json_real(x) : json_null();
}

/* Items whose yes-or-no outcome differs from the original's; null where outcomes are not of that kind. */
static json_t *flips(const struct cwe_metric_record *m, enum cwe_compared which)
{
	const struct cwe_outcome *a = m->item[CWE_COMPARED_ORIGINAL], *b = m->item[which];
	size_t n = m->items[CWE_COMPARED_ORIGINAL], count = 0;
	if (n == 0 || n != m->items[which]) {
		return json_null();
	}
	for (size_t i = 0; i < n; i++) {
		if ((a[i].value != 0 && a[i].value != 1) || (b[i].value != 0 && b[i].value != 1)) {
			return json_null();
		}
		count += a[i].value != b[i].value;
	}
	return json_integer((json_int_t)count);
}

int cwe_benchmark_report(const struct cwe_benchmark *b, json_t *array, struct cwb_err *err)
{
	static const char *const name[CWE_COMPARED] = {"original", "quantized", "protected"};
	for (size_t i = 0; i < b->metrics; i++) {
		const struct cwe_metric_record *m = &b->metric[i];
		json_t *row = json_pack("{s:s,s:s,s:s,s:I,s:i,s:o}", "name", b->job->name, "benchmark", b->job->benchmark, "metric",
			m->name, "n", (json_int_t)m->n[0], "direction", (int)m->direction, "ideal", number(m->ideal));
		for (int k = 0; row != NULL && k < CWE_COMPARED; k++) {
			(void)json_object_set_new(row, name[k], json_pack("{s:o,s:o,s:o,s:o}", "value", number(m->value[k]), "low",
				number(m->low[k]), "high", number(m->high[k]), "standard_error", number(m->error[k])));
		}
		if (row != NULL) {
			(void)json_object_set_new(row, "flips", json_pack("{s:o,s:o}", "quantized", flips(m, CWE_COMPARED_QUANTIZED),
				"protected", flips(m, CWE_COMPARED_PROTECTED)));
		}
		if (json_array_append_new(array, row) != 0) {
			return cwb_err_set(err, -ENOMEM, "no memory for the report");
		}
	}
	return 0;
}
