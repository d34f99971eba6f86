/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Evaluator plugins at work. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "engine/pipeline/benchmark.h"
#include "engine/plugin/settings.h"

#define DATA_LIMIT (1u << 30)
#define WINDOW 2048 /* tokens of a rolling window unless the evaluator says otherwise */
#define COUNT_LIMIT (1u << 28)    /* requests: more is a plugin's mistake */

int cwe_benchmark_request(struct cwe_run *run, const struct cwe_benchmark *b, uint64_t i, struct cwp_request *ret,
	struct cwb_err *err)
{
	const struct cwp_evaluator *e = b->plugin->interface;
	struct cwp_request q = {.size = sizeof q};
	int r = e->request(b->state, i, &q);
	if (r != 0) {
		return cwe_host_error(run->p->host, b->job->benchmark, "request", r, err);
	}
	if ((q.context == NULL && q.context_length > 0) || (q.continuation == NULL && q.continuation_length > 0) ||
		q.context_length > DATA_LIMIT || q.continuation_length > DATA_LIMIT) {
		return cwb_err_set(err, CWP_EPLUGIN, "plugin '%s': request %" PRIu64 " has a length without a text, or one that is too "
			"long; report it to the plugin's vendor", b->job->benchmark, i);
	}
	if (q.kind != CWP_REQUEST_LOGLIK && q.kind != CWP_REQUEST_ROLLING && q.kind != CWP_REQUEST_GENERATE) {
		return cwb_err_set(err, CWP_EPLUGIN, "plugin '%s': request %" PRIu64 " has the unknown kind %" PRIu32
			"; report it to the plugin's vendor", b->job->benchmark, i, q.kind);
	}
	for (size_t k = 0; k < q.stops; k++) {
		if (q.stops > CWE_STOP_STRINGS || q.stop == NULL || q.stop[k] == NULL) {
			return cwb_err_set(err, CWP_EPLUGIN, "plugin '%s': request %" PRIu64 " has %zu stop strings, which are more than %d or "
				"not all there; report it to the plugin's vendor", b->job->benchmark, i, q.stops, CWE_STOP_STRINGS);
		}
	}
	q.context = q.context != NULL ? q.context : "";
	q.continuation = q.continuation != NULL ? q.continuation : "";
	*ret = q;
	return 0;
}

static int add_request(struct cwe_run *run, struct cwe_benchmark *b, uint64_t i, struct cwe_request_list *list,
	struct cwb_err *err)
{
	struct cwp_request q = {0};
	uint32_t context = run->model.arch.context;
	int r = cwe_benchmark_request(run, b, i, &q, err);
	if (r != 0) {
		return r;
	}
	if (q.kind == CWP_REQUEST_LOGLIK) {
		r = cwe_request_loglik(list, b->first + i, run->tokenizer, q.context, q.context_length, q.continuation,
			q.continuation_length, context, err);
	} else if (q.kind == CWP_REQUEST_ROLLING) {
		r = cwe_request_rolling(list, b->first + i, run->tokenizer, q.continuation, q.continuation_length,
			q.window > 0 && q.window < context ? q.window : context < WINDOW ? context : WINDOW, err);
	} else {
		struct cwe_stop *stop = NULL;
		r = cwe_benchmark_stop(run->tokenizer, &q, &stop, err); /* what is wrong there is found before any work */
		cwe_stop_free(stop);
		b->generations++;
	}
	return r != 0 ? cwb_err_prefix(err, "request %" PRIu64, i) : 0;
}

/* The evaluator with its data; b has job and first. To be closed in every case. */
static int open_data(struct cwe_run *run, struct cwe_benchmark *b, struct cwb_err *err)
{
	const struct cwj_evaluation *job = b->job;
	size_t length = 0;
	int r = cwe_registry_find(run->p->registry, CWP_KIND_EVALUATOR, job->benchmark, &b->plugin, err);
	if (r != 0) {
		return cwe_run_place(err, r, job->line, job->column, "evaluate", "benchmark");
	}
	const struct cwp_evaluator *e = b->plugin->interface;
	run->p->host->excluded = 0;
	if ((r = cwe_settings_make(b->plugin->descriptor, "evaluate", job->options, job->n_options, &b->settings, err)) == 0 &&
		(r = cwb_file_read(job->path, DATA_LIMIT, &b->data, &length, err)) == 0 &&
		(r = e->open(&run->p->host->table, b->settings, job->path, b->data, length, job->limit, &b->state)) != 0) {
		r = cwe_host_error(run->p->host, job->benchmark, job->path, r, err);
	}
	b->excluded = run->p->host->excluded;
	b->count = r == 0 ? e->count(b->state) : 0; /* asked for once: it stays */
	if (b->count > COUNT_LIMIT) {
		r = cwb_err_set(err, CWP_EPLUGIN, "plugin '%s' says that it has %" PRIu64 " requests; at most %u are taken",
			job->benchmark, b->count, COUNT_LIMIT);
	}
	if (r == 0) {
		b->answer = calloc(b->count + 1, sizeof *b->answer);
		r = b->answer != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for %llu answers", (unsigned long long)b->count);
	}
	return cwe_run_place(err, r, job->line, job->column, "evaluate", job->name);
}

int cwe_benchmark_open(struct cwe_run *run, const struct cwj_evaluation *job, uint64_t first, struct cwe_benchmark *ret,
	struct cwe_request_list *list, struct cwb_err *err)
{
	struct cwe_benchmark b = {.job = job, .first = first};
	int r = open_data(run, &b, err);
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
	cwe_outcomes_free(&b->outcomes);
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

int cwe_benchmark_finish(struct cwe_benchmark *b, struct cwe_run *run, enum cwe_compared which, struct cwb_err *err)
{
	const struct cwp_evaluator *e = b->plugin->interface;
	struct cwp_metric_sink sink = cwe_outcomes_sink(&b->outcomes);
	int r = 0;
	cwe_outcomes_begin(&b->outcomes, which);
	for (uint64_t i = 0; r == 0 && i < b->count; i++) {
		r = e->answer(b->state, i, &b->answer[i]);
	}
	r = r == 0 ? e->finish(b->state, &sink) : r;
	if (r != 0) {
		return cwe_host_error(run->p->host, b->job->benchmark, "metrics", r, err);
	}
	if (b->outcomes.failed == CWP_EPLUGIN) {
		return cwb_err_set(err, CWP_EPLUGIN, "plugin '%s' gave a metric without a plain name (letters, digits, _ and -), the same one "
			"twice, an item before any metric, or one without an id; report it to the plugin's vendor", b->job->benchmark);
	}
	return b->outcomes.failed != 0 ? cwb_err_set(err, b->outcomes.failed, "no memory for the metrics of %s", b->job->benchmark) : 0;
}

static int check_gate(const struct cwe_benchmark *b, size_t number, const char *metric, struct cwb_err *err)
{
	char known[256] = "";
	size_t n = strlen(b->job->name);
	/* An evaluation's name may hold dots, a metric's does not. */
	if (strncmp(metric, b->job->name, n) != 0 || metric[n] != '.' || strchr(metric + n + 1, '.') != NULL) {
		return 0; /* of another evaluation */
	}
	for (size_t i = 0; i < b->outcomes.metrics; i++) {
		size_t used = strlen(known);
		if (strcmp(b->outcomes.metric[i].name, metric + n + 1) == 0) {
			return 0;
		}
		(void)snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", b->outcomes.metric[i].name);
	}
	if (err != NULL && err->code == 0) {
		(void)snprintf(err->field, sizeof err->field, "gate[%zu].metric", number);
	}
	return cwb_err_set(err, CWP_EUNKNOWN, "gate[%zu].metric: \"%s\" is no metric of %s; it gives %s", number, metric,
		b->job->benchmark, known);
}

int cwe_benchmark_check(struct cwe_run *run, const struct cwj_evaluation *job, struct cwb_err *err)
{
	struct cwe_benchmark b = {.job = job};
	int r = open_data(run, &b, err);
	if (r == 0 && run->job->n_gates > 0) {
		/* Empty answers: the metrics' names are what counts. */
		cwe_benchmark_clear(&b);
		r = cwe_benchmark_finish(&b, run, CWE_COMPARED_ORIGINAL, err);
	}
	for (size_t i = 0; r == 0 && i < run->job->n_gates; i++) {
		r = check_gate(&b, i, run->job->gates[i].metric, err);
	}
	cwe_benchmark_close(&b);
	return r;
}
