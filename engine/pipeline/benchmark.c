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
#include "engine/pipeline/evaluate.h"
#include "engine/pipeline/gate.h"
#include "engine/plugin/settings.h"

#define DATA_LIMIT (1u << 30)
#define COUNT_LIMIT (1u << 28)    /* requests: more is a plugin's mistake */

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
		b->too_long = calloc(b->count + 1, sizeof *b->too_long);
		b->judged = calloc(b->count + 1, sizeof *b->judged);
		b->windowed = calloc(b->count + 1, sizeof *b->windowed);
		b->long_items = json_object();
		r = b->answer != NULL && b->too_long != NULL && b->judged != NULL && b->windowed != NULL && b->long_items != NULL ? 0
			: cwb_err_set(err, -ENOMEM, "no memory for %llu answers", (unsigned long long)b->count);
	}
	return cwe_run_place(err, r, job->line, job->column, "evaluate", job->name);
}

/* Items that do not fit are left out, but not all of them. */
static int check_lengths(const struct cwe_run *run, const struct cwe_benchmark *b, struct cwb_err *err)
{
	uint64_t n = 0;
	for (uint64_t i = 0; i < b->count; i++) {
		n += b->too_long[i];
	}
	if (n == 0 || n < b->count - b->judges) {
		return 0;
	}
	int r = cwb_err_set(err, CWP_ELIMIT, "all %" PRIu64 " requests of %s are longer than the model's context of %" PRIu32
		" tokens: nothing is left to evaluate", n, b->job->benchmark, run->model.arch.context);
	return cwe_run_place(err, r, b->job->line, b->job->column, "evaluate", b->job->name);
}

int cwe_benchmark_open(struct cwe_run *run, const struct cwj_evaluation *job, struct cwe_benchmark *ret, struct cwb_err *err)
{
	struct cwe_benchmark b = {.job = job};
	int r = open_data(run, &b, err);
	if (r == 0 && (r = cwb_digest_begin(&b.digest)) != 0) {
		r = cwb_err_set(err, r, "digest of requests");
	}
	for (uint64_t i = 0; r == 0 && i < b.count; i++) {
		r = cwe_benchmark_add(run, &b, i, err);
	}
	if (r == 0 && (r = cwb_digest_end_hex(&b.digest, b.asked)) != 0) {
		r = cwb_err_set(err, r, "digest of requests");
	}
	r = r == 0 ? check_lengths(run, &b, err) : r;
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
	cwe_request_free(&b->list);
	cwb_digest_cancel(&b->digest);
	json_decref(b->long_items);
	free(b->too_long);
	free(b->judged);
	free(b->windowed);
	free(b->answer);
	free(b->data);
	memset(b, 0, sizeof *b);
}

void cwe_benchmark_clear(struct cwe_benchmark *b)
{
	for (uint64_t i = 0; b->answer != NULL && i < b->count; i++) {
		free((char *)(uintptr_t)b->answer[i].text);
		free((struct cwp_window *)(uintptr_t)b->answer[i].window);
		b->answer[i] = b->too_long[i] ? (struct cwp_answer){.size = sizeof *b->answer, .flags = CWP_ANSWER_TOO_LONG}
			: (struct cwp_answer){.size = sizeof *b->answer, .greedy = 1};
	}
}

int cwe_benchmark_tell(struct cwe_benchmark *b, struct cwe_run *run, int judged, struct cwb_err *err)
{
	const struct cwp_evaluator *e = b->plugin->interface;
	for (uint64_t i = 0; i < b->count; i++) {
		int r = b->judged[i] == judged ? e->answer(b->state, i, &b->answer[i]) : 0;
		if (r != 0) {
			return cwe_host_error(run->p->host, b->job->benchmark, "answer", r, err);
		}
	}
	return 0;
}

int cwe_benchmark_finish(struct cwe_benchmark *b, struct cwe_run *run, enum cwe_compared which, struct cwb_err *err)
{
	const struct cwp_evaluator *e = b->plugin->interface;
	struct cwp_metric_sink sink = cwe_outcomes_sink(&b->outcomes);
	cwe_outcomes_begin(&b->outcomes, which);
	int r = e->finish(b->state, &sink);
	if (r != 0) {
		return cwe_host_error(run->p->host, b->job->benchmark, "metrics", r, err);
	}
	if (b->outcomes.failed == CWP_EPLUGIN) {
		return cwb_err_set(err, CWP_EPLUGIN, "plugin '%s' gave a metric without a plain name (letters, digits, _ and -), the same one "
			"twice, an item before any metric, or one without an id; report it to the plugin's vendor", b->job->benchmark);
	}
	return b->outcomes.failed != 0 ? cwb_err_set(err, b->outcomes.failed, "no memory for the metrics of %s", b->job->benchmark) : 0;
}

/* Each condition on this evaluation names one of its metrics, and what it compares with is another model. */
static int check_gates(struct cwe_run *run, struct cwe_benchmark *b, struct cwb_err *err)
{
	struct cwe_measured measured = {.name = b->job->name, .benchmark = b->job->benchmark, .outcomes = b->outcomes};
	int r = cwe_outcomes_add_flips(&measured.outcomes);
	r = r != 0 ? cwb_err_set(err, r, "no memory for the metrics of %s", b->job->benchmark) : 0;
	for (size_t i = 0; r == 0 && i < run->job->n_gates; i++) {
		const struct cwj_gate *gate = &run->job->gates[i];
		r = cwe_gate_check(gate, i, &measured, err);
		if (r == 0 && gate->than == CWJ_THAN_QUANTIZED && !cwe_run_may_protect(run)) {
			r = cwe_run_place(err, cwb_err_set(err, CWP_EVALUE, "gate[%zu].than: quantized: nothing is protected, so that the plainly "
				"quantized model is the output itself; add protect, or compare with the original", i), gate->line, gate->column, "gate", "");
		}
	}
	b->outcomes = measured.outcomes;
	return r;
}

int cwe_benchmark_check(struct cwe_run *run, const struct cwj_evaluation *job, struct cwb_err *err)
{
	struct cwe_benchmark b = {.job = job};
	int r = cwe_benchmark_open(run, job, &b, err);
	r = r == 0 && job->judge != NULL ? cwe_judge_check(run, &b, err) : r;
	r = r == 0 ? cwe_evaluation_estimate(run, &b, err) : r;
	if (r == 0 && run->job->n_gates > 0) {
		/* Empty answers: the metrics' names are what counts. */
		cwe_benchmark_clear(&b);
		r = cwe_benchmark_tell(&b, run, 0, err);
		r = r == 0 ? cwe_benchmark_tell(&b, run, 1, err) : r;
		r = r != 0 ? r : cwe_benchmark_finish(&b, run, CWE_COMPARED_ORIGINAL, err);
	}
	r = r == 0 ? check_gates(run, &b, err) : r;
	cwe_benchmark_close(&b);
	return r;
}
