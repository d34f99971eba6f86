/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Stage evaluate: each benchmark's requests go to the original, the plainly quantized and the protected model; the
 * evaluator turns the answers into metrics. All log-likelihoods of a model are one pass over its layers. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "engine/calibrate/loglik.h"
#include "engine/model/generate.h"
#include "engine/pipeline/benchmark.h"
#include "engine/pipeline/drift.h"
#include "engine/pipeline/quantized_view.h"
#include "engine/pipeline/run.h"
#include "engine/pipeline/sequential.h"

static const char *const model_name[CWE_COMPARED] = {"original", "quantized", "protected"};

struct evaluation {
	struct cwe_run *run;
	struct cwe_benchmark *benchmark; /* [n] */
	size_t n;
	struct cwe_request_list list;
	struct cwe_corpus corpus;
	struct cwe_drift drift; /* the original's distributions */
	uint64_t *last;         /* [drifts] places of the tokens whose next one is asked for */
	size_t *drifter;        /* [drifts] the requests that ask */
	uint64_t drifts;
	enum cwe_compared which; /* at work */
	uint64_t done, total; /* token layers of all models */
	uint64_t pass;
};

static void progress(void *arg, uint64_t done, uint64_t total)
{
	struct evaluation *e = arg;
	uint64_t layers = e->run->model.arch.layers;
	(void)total;
	cwe_run_progress(e->run, CWE_STAGE_EVALUATE, (e->done + done) / layers, e->total / layers, "tokens");
}

/* Sums the sequences' scores up to their requests. The corpus has them in the list's order. */
static void collect(struct evaluation *e, const struct cwe_token_score *score)
{
	uint64_t at = 0;
	for (size_t i = 0; i < e->list.set.count; i++) {
		const struct cwe_sequence *s = e->list.set.sample[i].sequence;
		struct cwp_answer *a = cwe_benchmark_answer(e->benchmark, e->n, e->list.owner[i]);
		for (size_t t = 0; t < s->count; t++) {
			if (s->weight[t] != 0) {
				a->loglik -= (double)score->nll[at + t];
				a->tokens++;
				a->greedy &= score->greedy[at + t];
			}
		}
		at += s->count;
	}
}

/* The original's distributions are what the others' are compared with. */
static int take_next(void *arg, uint64_t i, const float *logp, struct cwb_err *err)
{
	struct evaluation *e = arg;
	struct cwp_answer *a = cwe_benchmark_answer(e->benchmark, e->n, e->drifter[i]);
	int same = 1;
	int r = e->which == CWE_COMPARED_ORIGINAL ? cwe_drift_put(&e->drift, i, logp, err)
						  : cwe_drift_compare(&e->drift, i, logp, &a->kl, &same, err);
	a->greedy = (uint32_t)same;
	a->tokens = 1;
	return r;
}

/* Sequences without a scored token are there for what follows them. */
static int prepare_drift(struct evaluation *e, struct cwb_err *err)
{
	uint64_t at = 0, vocabulary = e->run->model.arch.vocabulary;
	for (size_t i = 0; i < e->n; i++) {
		e->drifts += e->benchmark[i].drifts;
	}
	if (e->drifts == 0) {
		return 0;
	}
	e->last = calloc(e->drifts, sizeof *e->last);
	e->drifter = calloc(e->drifts, sizeof *e->drifter);
	if (e->last == NULL || e->drifter == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %llu requests", (unsigned long long)e->drifts);
	}
	for (size_t i = 0, k = 0; i < e->list.set.count && k < e->drifts; i++) {
		const struct cwe_sequence *s = e->list.set.sample[i].sequence;
		at += s->count;
		if (s->weight[s->count - 1] == 0) {
			e->drifter[k] = e->list.owner[i];
			e->last[k++] = at - 1;
		}
	}
	return cwe_drift_new(e->drifts, vocabulary, e->run->p->scratch, &e->drift, err);
}

static int score_model(struct evaluation *e, struct cwe_model *model, struct cwb_err *err)
{
	const struct cwe_next next = {.token = e->last, .count = e->drifts, .arg = e, .take = take_next};
	struct cwe_forward_options options = {.scratch = e->run->p->scratch, .memory = CWE_BOUNDARY_MEMORY, .arg = e,
		.progress = progress, .next = &next};
	struct cwe_token_score score = {.nll = calloc(e->corpus.tokens + 1, sizeof(float)),
		.greedy = calloc(e->corpus.tokens + 1, 1)};
	int r = score.nll != NULL && score.greedy != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for scores");
	if (r == 0 && e->corpus.tokens > 0) {
		r = cwe_loglik_run(model, &e->corpus, &options, &score, err);
	}
	if (r == 0) {
		collect(e, &score);
	}
	free(score.nll);
	free(score.greedy);
	return r;
}

/* One model through all benchmarks. */
static int run_model(struct evaluation *e, enum cwe_compared which, struct cwe_model *model, struct cwb_err *err)
{
	e->which = which;
	for (size_t i = 0; i < e->n; i++) {
		cwe_benchmark_clear(&e->benchmark[i]);
	}
	int r = score_model(e, model, err);
	for (size_t i = 0; r == 0 && i < e->n; i++) {
		r = cwe_benchmark_generate(&e->benchmark[i], e->run, model, err);
		r = r == 0 ? cwe_benchmark_finish(&e->benchmark[i], e->run, which, err) : r;
	}
	e->done += e->pass;
	return r != 0 ? cwb_err_prefix(err, "evaluating the %s model", model_name[which]) : 0;
}

static int run_quantized(struct evaluation *e, const struct cwe_weights *output, struct cwb_err *err)
{
	struct cwe_weights *view = NULL;
	struct cwe_model model;
	struct cwe_plain plain = {.fd = -1};
	int calibrated = e->run->quantizer_needs != 0;
	int r = calibrated ? cwe_plain_new(e->run, &plain, err) : 0;
	r = r == 0 && calibrated ? cwe_run_sequential_plain(e->run, &plain, err) : r;
	r = r == 0 ? cwe_quantized_view_open(e->run, output, calibrated ? &plain : NULL, &view, err) : r;
	r = r == 0 ? cwe_model_open(e->run->source, view, &e->run->device, &model, err) : r;
	r = r == 0 ? run_model(e, CWE_COMPARED_QUANTIZED, &model, err) : r;
	cwe_weights_close(view);
	cwe_plain_free(&plain);
	return r;
}

static int run_all(struct evaluation *e, struct cwb_err *err)
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

static int prepare(struct evaluation *e, struct cwb_err *err)
{
	const struct cwj_job *job = e->run->job;
	uint64_t owner = 0;
	e->benchmark = calloc(job->n_evaluations, sizeof *e->benchmark);
	if (e->benchmark == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %zu benchmarks", job->n_evaluations);
	}
	for (size_t i = 0; i < job->n_evaluations; i++) {
		int r = cwe_benchmark_open(e->run, &job->evaluations[i], owner, &e->benchmark[i], &e->list, err);
		if (r != 0) {
			return cwb_err_prefix(err, "evaluate %s", job->evaluations[i].name);
		}
		e->n++;
		owner += e->benchmark[i].count;
	}
	int r = cwe_corpus_new(&e->list.set, 1, &e->corpus, err);
	r = r == 0 ? prepare_drift(e, err) : r;
	e->pass = e->corpus.tokens * e->run->model.arch.layers;
	e->total = e->pass * (e->run->protecting ? 3 : 2);
	return r;
}

int cwe_run_evaluate(struct cwe_run *run, struct cwb_err *err)
{
	struct evaluation e = {.run = run};
	cwe_run_stage(run, CWE_STAGE_EVALUATE);
	run->evaluation = json_array();
	if (run->job->n_evaluations == 0) {
		return 0;
	}
	int r = prepare(&e, err);
	r = r == 0 ? run_all(&e, err) : r;
	for (size_t i = 0; r == 0 && i < e.n; i++) {
		r = cwe_benchmark_report(&e.benchmark[i], run->evaluation, err);
	}
	run->record[run->records].tokens = e.corpus.tokens;
	for (size_t i = 0; i < e.n; i++) {
		cwe_benchmark_close(&e.benchmark[i]);
	}
	cwe_drift_free(&e.drift);
	free(e.last);
	free(e.drifter);
	free(e.benchmark);
	cwe_corpus_free(&e.corpus);
	cwe_request_free(&e.list);
	return r;
}
