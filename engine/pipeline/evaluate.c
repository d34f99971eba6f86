/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Stage evaluate: each benchmark's requests go to the original, the plainly quantized and the protected model; the
 * evaluator turns the answers into metrics. All log-likelihoods of a model are one pass over its layers. */
#include <errno.h>
#include <stdlib.h>

#include "engine/pipeline/evaluate.h"
#include "engine/pipeline/quantized_view.h"
#include "engine/pipeline/run.h"
#include "engine/pipeline/sequential.h"

static const char *const model_name[CWE_COMPARED] = {"original", "quantized", "protected"};

/* A text is done: what it might have been long counts. */
static void generated(void *arg, uint64_t tokens)
{
	struct cwe_evaluation *e = arg;
	e->done += tokens;
	cwe_run_progress(e->run, CWE_STAGE_EVALUATE, e->done, e->total, "tokens");
}

/* Answers of an earlier attempt or job, or the model's. The original's distributions are never kept: what asks for drift runs
 * in any case, for their sake. */
static int run_benchmark(struct cwe_evaluation *e, struct cwe_benchmark *b, struct cwe_model *model, struct cwb_err *err)
{
	int anew = b->drifts > 0 && e->which == CWE_COMPARED_ORIGINAL;
	int r = anew ? cwe_evaluation_score(e, b, model, err) : 0;
	r = r == 0 ? cwe_evaluation_load(e, b, &e->found, err) : r;
	if (r != 0 || e->found) {
		e->done += r == 0 ? b->generation_tokens + (anew ? 0 : b->list.set.tokens) : 0;
		return r;
	}
	r = anew ? 0 : cwe_evaluation_score(e, b, model, err);
	return r == 0 ? cwe_benchmark_generate(b, e->run, model, generated, e, err) : r;
}

/* Once the judge has spoken, all is there that is kept. */
static int judge(struct cwe_evaluation *e, struct cwe_benchmark *b, struct cwb_err *err)
{
	int r = e->found ? 0 : cwe_evaluation_judge(e, b, err);
	return r == 0 && !e->found ? cwe_evaluation_store(e, b, err) : r;
}

/* One model through all benchmarks; NULL where all are answered. */
static int run_model(struct cwe_evaluation *e, enum cwe_compared which, struct cwe_model *model, struct cwb_err *err)
{
	int r = 0;
	e->which = which;
	for (size_t i = 0; r == 0 && i < e->n; i++) {
		struct cwe_benchmark *b = &e->benchmark[i];
		cwe_benchmark_clear(b);
		r = run_benchmark(e, b, model, err);
		r = r == 0 ? cwe_benchmark_tell(b, e->run, 0, err) : r;
		r = r == 0 ? judge(e, b, err) : r;
		r = r == 0 ? cwe_benchmark_tell(b, e->run, 1, err) : r;
		r = r == 0 ? cwe_benchmark_finish(b, e->run, which, err) : r;
	}
	return r != 0 ? cwb_err_prefix(err, "evaluating the %s model", model_name[which]) : 0;
}

static int run_quantized(struct cwe_evaluation *e, const struct cwe_weights *output, struct cwb_err *err)
{
	struct cwe_weights *view = NULL;
	struct cwe_model model;
	struct cwe_plain plain = {.fd = -1};
	int calibrated = e->run->quantizer_needs != 0, answered = 0;
	int r = cwe_evaluation_answered(e, CWE_COMPARED_QUANTIZED, &answered, err);
	if (r != 0 || answered) {
		return r == 0 ? run_model(e, CWE_COMPARED_QUANTIZED, NULL, err) : r;
	}
	r = calibrated ? cwe_plain_new(e->run, &plain, err) : 0;
	r = r == 0 && calibrated ? cwe_run_sequential_plain(e->run, &plain, err) : r;
	r = r == 0 ? cwe_quantized_view_open(e->run, output, calibrated ? &plain : NULL, &view, err) : r;
	r = r == 0 ? cwe_model_open(e->run->source, view, &e->run->device, &model, err) : r;
	r = r == 0 ? run_model(e, CWE_COMPARED_QUANTIZED, &model, err) : r;
	cwe_weights_close(view);
	cwe_plain_free(&plain);
	return r;
}

static int run_all(struct cwe_evaluation *e, struct cwb_err *err)
{
	struct cwe_source *output = NULL;
	struct cwe_model model;
	int r = run_model(e, CWE_COMPARED_ORIGINAL, &e->run->model, err);
	r = r == 0 ? cwe_source_open(e->run->job->output, 0, &output, err) : r;
	if (r == 0) {
		/* Where nothing is protected the output is the plainly quantized model. */
		r = e->run->protecting ? run_quantized(e, output->weights, err) : 0;
		r = r == 0 ? cwe_model_open(output, NULL, &e->run->device, &model, err) : r;
		r = r == 0 ? run_model(e, CWE_COMPARED_PROTECTED, &model, err) : r;
	}
	for (size_t i = 0; r == 0 && !e->run->protecting && i < e->n; i++) {
		if (cwe_outcomes_same(&e->benchmark[i].outcomes, CWE_COMPARED_PROTECTED, CWE_COMPARED_QUANTIZED) != 0) {
			r = cwb_err_set(err, -ENOMEM, "no memory for outcomes");
		}
	}
	cwe_source_close(output);
	return r;
}

static int prepare(struct cwe_evaluation *e, struct cwb_err *err)
{
	const struct cwj_job *job = e->run->job;
	uint64_t tokens = 0, drifts = 0;
	e->benchmark = calloc(job->n_evaluations, sizeof *e->benchmark);
	if (e->benchmark == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %zu benchmarks", job->n_evaluations);
	}
	for (size_t i = 0; i < job->n_evaluations; i++) {
		int r = cwe_benchmark_open(e->run, &job->evaluations[i], &e->benchmark[i], err);
		if (r != 0) {
			return cwb_err_prefix(err, "evaluate %s", job->evaluations[i].name);
		}
		e->n++;
		e->benchmark[i].first_drift = drifts;
		drifts += e->benchmark[i].drifts;
		tokens += e->benchmark[i].list.set.tokens + e->benchmark[i].generation_tokens;
	}
	int r = drifts == 0 ? 0 : cwe_drift_new(drifts, e->run->model.arch.vocabulary, e->run->p->scratch, &e->drift, err);
	r = r == 0 ? cwe_evaluation_cache(e, err) : r;
	e->total = tokens * (e->run->protecting ? 3 : 2);
	return r;
}

int cwe_run_evaluate(struct cwe_run *run, struct cwb_err *err)
{
	struct cwe_evaluation e = {.run = run, .cache.folder = -1};
	cwe_run_stage(run, CWE_STAGE_EVALUATE);
	run->evaluation = json_array();
	run->flipped = json_array();
	if (run->job->n_evaluations == 0) {
		return 0;
	}
	int r = prepare(&e, err);
	r = r == 0 ? run_all(&e, err) : r;
	for (size_t i = 0; r == 0 && i < e.n; i++) {
		size_t first = json_array_size(run->evaluation);
		r = cwe_benchmark_report(&e.benchmark[i], run, err);
		for (size_t k = first; k < json_array_size(run->evaluation); k++) {
			(void)json_object_set_new(json_array_get(run->evaluation, k), "original_cached",
				json_boolean(e.benchmark[i].cached[CWE_COMPARED_ORIGINAL]));
			(void)json_object_set_new(json_array_get(run->evaluation, k), "quantized_cached",
				json_boolean(e.benchmark[i].cached[CWE_COMPARED_QUANTIZED]));
		}
	}
	run->record[run->records].tokens = e.scored;
	for (size_t i = 0; i < e.n; i++) {
		cwe_benchmark_close(&e.benchmark[i]);
	}
	cwe_judge_close(e.judge);
	cwe_drift_free(&e.drift);
	cwb_cache_close(&e.cache);
	free(e.benchmark);
	return r;
}
