/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Stage evaluate: each benchmark's requests go to the original, the plainly quantized and the protected model; the
 * evaluator turns the answers into metrics. All log-likelihoods of a model are one pass over its layers. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "engine/calibrate/loglik.h"
#include "engine/calibrate/shared.h"
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
	struct cwe_shared shared; /* the list's sequences, beginnings that several have laid out once */
	struct cwe_drift drift; /* the original's distributions */
	uint64_t *last;         /* [drifts] places of the tokens whose next one is asked for, rising */
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

/* Sums the sequences' scores up to their requests. */
static void collect(struct evaluation *e, const struct cwe_token_score *score)
{
	for (size_t i = 0; i < e->list.set.count; i++) {
		struct cwe_sequence_score sum = cwe_shared_score(&e->shared, i, e->list.set.sample[i].sequence, score);
		struct cwp_answer *a = cwe_benchmark_answer(e->benchmark, e->n, e->list.owner[i]);
		a->loglik += sum.loglik;
		a->tokens += sum.tokens;
		a->greedy &= (uint32_t)sum.greedy;
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

/* A request for what follows a token. */
struct asked {
	uint64_t place; /* of the token in the corpus */
	size_t owner;
};

static int by_place(const void *a, const void *b)
{
	const struct asked *x = a, *y = b;
	if (x->place != y->place) {
		return x->place < y->place ? -1 : 1;
	}
	return x->owner < y->owner ? -1 : x->owner > y->owner;
}

/* Sequences without a scored token are there for what follows them. */
static int prepare_drift(struct evaluation *e, struct cwb_err *err)
{
	uint64_t vocabulary = e->run->model.arch.vocabulary;
	for (size_t i = 0; i < e->n; i++) {
		e->drifts += e->benchmark[i].drifts;
	}
	if (e->drifts == 0) {
		return 0;
	}
	struct asked *asked = calloc(e->drifts, sizeof *asked);
	e->last = calloc(e->drifts, sizeof *e->last);
	e->drifter = calloc(e->drifts, sizeof *e->drifter);
	if (asked == NULL || e->last == NULL || e->drifter == NULL) {
		free(asked);
		return cwb_err_set(err, -ENOMEM, "no memory for %llu requests", (unsigned long long)e->drifts);
	}
	size_t n = 0;
	for (size_t i = 0; i < e->list.set.count && n < e->drifts; i++) {
		const struct cwe_sequence *s = e->list.set.sample[i].sequence;
		if (s->weight[s->count - 1] == 0) {
			asked[n++] = (struct asked){cwe_shared_row(&e->shared, i, s->count - 1), e->list.owner[i]};
		}
	}
	qsort(asked, n, sizeof *asked, by_place);
	for (size_t i = 0; i < n; i++) {
		e->last[i] = asked[i].place;
		e->drifter[i] = asked[i].owner;
	}
	free(asked);
	return cwe_drift_new(e->drifts, vocabulary, e->run->p->scratch, &e->drift, err);
}

static int score_model(struct evaluation *e, struct cwe_model *model, struct cwb_err *err)
{
	const struct cwe_next next = {.token = e->last, .count = e->drifts, .arg = e, .take = take_next};
	struct cwe_forward_options options = {.scratch = e->run->p->scratch, .memory = CWE_BOUNDARY_MEMORY, .arg = e,
		.progress = progress, .next = &next};
	struct cwe_token_score score = {.nll = calloc(e->shared.corpus.tokens + 1, sizeof(float)),
		.greedy = calloc(e->shared.corpus.tokens + 1, 1)};
	int r = score.nll != NULL && score.greedy != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for scores");
	if (r == 0 && e->shared.corpus.tokens > 0) {
		r = cwe_loglik_run(model, &e->shared.corpus, &options, &score, err);
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

/* Whether a module's input is quantized by what a whole sequence holds. */
static int quantizes_by_sequence(const struct cwe_run *run)
{
	int found = 0;
	for (size_t i = 0; i < run->modules; i++) {
		found |= run->module[i].quantized && run->module[i].grid.activation == CWP_ACT_INT8_OUTLIER;
	}
	return found;
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
	/* What the output does with its inputs is known from the job's grids; the original's are exact. */
	int share = cwe_model_divisible(&e->run->model, cwe_shared_longest(&e->list.set)) && !quantizes_by_sequence(e->run);
	int r = cwe_shared_new(&e->list.set, share, &e->shared, err);
	r = r == 0 ? prepare_drift(e, err) : r;
	e->pass = e->shared.corpus.tokens * e->run->model.arch.layers;
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
	run->record[run->records].tokens = e.shared.corpus.tokens;
	for (size_t i = 0; i < e.n; i++) {
		cwe_benchmark_close(&e.benchmark[i]);
	}
	cwe_drift_free(&e.drift);
	free(e.last);
	free(e.drifter);
	free(e.benchmark);
	cwe_shared_free(&e.shared);
	cwe_request_free(&e.list);
	return r;
}
