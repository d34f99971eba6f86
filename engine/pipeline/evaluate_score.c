/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Log-likelihoods and distributions of one model: sequences that begin alike are computed together (shared.h). */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "engine/calibrate/loglik.h"
#include "engine/calibrate/shared.h"
#include "engine/pipeline/evaluate.h"

/* What goes through the model. */
struct pass {
	struct cwe_evaluation *e;
	struct cwe_model *model;
	struct cwe_shared layout; /* of the list's sequences */
	struct cwe_token_score score;
	uint64_t *token; /* [asked] whose next token is asked for */
	size_t *asker;   /* [asked] its sequence in the list */
	uint64_t asked;
	uint64_t bad;    /* a token that is no number */
};

int cwe_evaluation_prepare(struct cwe_evaluation *e, struct cwb_err *err)
{
	e->drift_row = calloc(e->list.set.count + 1, sizeof *e->drift_row);
	if (e->drift_row == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %zu requests", e->list.set.count);
	}
	for (size_t i = 0; i < e->list.set.count; i++) {
		const struct cwe_sequence *s = e->list.set.sample[i].sequence;
		e->drift_row[i] = s->weight[s->count - 1] == 0 ? e->drifts++ : UINT64_MAX;
	}
	return e->drifts == 0 ? 0 : cwe_drift_new(e->drifts, e->run->model.arch.vocabulary, e->run->p->scratch, &e->drift, err);
}

/* In tokens of the requests, as the total is, whatever they share. */
static void progress(void *arg, uint64_t done, uint64_t total)
{
	struct cwe_evaluation *e = arg;
	double part = (double)done / (double)(total > 0 ? total : 1);
	uint64_t now = e->done + (uint64_t)(part * (double)e->list.set.tokens);
	cwe_run_progress(e->run, CWE_STAGE_EVALUATE, now < e->total ? now : e->total, e->total, "tokens");
}

static struct cwe_benchmark *benchmark_of(const struct cwe_evaluation *e, size_t owner)
{
	struct cwe_benchmark *b = e->benchmark;
	while (b + 1 < e->benchmark + e->n && owner >= b->first + b->count) {
		b++;
	}
	return b;
}

static struct cwp_answer *answer_of(const struct cwe_evaluation *e, size_t i)
{
	struct cwe_benchmark *b = benchmark_of(e, e->list.owner[i]);
	return &b->answer[e->list.owner[i] - b->first];
}

/* Says which item and layer it was. */
static int not_finite(const struct pass *p, size_t i, struct cwb_err *err)
{
	const struct cwe_evaluation *e = p->e;
	const struct cwe_sequence *s = e->list.set.sample[i].sequence;
	const struct cwe_benchmark *b = benchmark_of(e, e->list.owner[i]);
	cwb_err_clear(err);
	return cwe_benchmark_broken(e->run, b, e->list.owner[i] - b->first, p->model, s->id, s->count, err);
}

/* The original's distributions are what the others' are compared with. */
static int take_next(void *arg, uint64_t i, const float *logp, struct cwb_err *err)
{
	struct pass *p = arg;
	struct cwe_evaluation *e = p->e;
	struct cwp_answer *a = answer_of(e, p->asker[i]);
	uint64_t row = e->drift_row[p->asker[i]];
	int same = 1;
	if (!isfinite(logp[0])) {
		return not_finite(p, p->asker[i], err);
	}
	int r = e->which == CWE_COMPARED_ORIGINAL ? cwe_drift_put(&e->drift, row, logp, err)
						  : cwe_drift_compare(&e->drift, row, logp, &a->kl, &same, err);
	a->greedy = (uint32_t)same;
	a->tokens = 1;
	return r != 0 || isfinite(a->kl) ? r : not_finite(p, p->asker[i], err);
}

static int list_askers(struct pass *p, struct cwb_err *err)
{
	const struct cwe_evaluation *e = p->e;
	p->token = calloc(e->drifts + 1, sizeof *p->token);
	p->asker = calloc(e->drifts + 1, sizeof *p->asker);
	if (p->token == NULL || p->asker == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %llu requests", (unsigned long long)e->drifts);
	}
	for (size_t i = 0; i < e->list.set.count; i++) {
		if (e->drift_row[i] != UINT64_MAX) {
			p->token[p->asked] = cwe_shared_row(&p->layout, i, e->list.set.sample[i].sequence->count - 1);
			p->asker[p->asked++] = i;
		}
	}
	return 0;
}

static int prepare(struct pass *p, struct cwb_err *err)
{
	const struct cwe_sample_set *set = &p->e->list.set;
	int r = cwe_shared_new(set, p->e->share, &p->layout, err);
	if (r != 0) {
		return r;
	}
	p->score.nll = calloc(p->layout.corpus.tokens + 1, sizeof(float));
	p->score.greedy = calloc(p->layout.corpus.tokens + 1, 1);
	return p->score.nll != NULL && p->score.greedy != NULL ? list_askers(p, err) : cwb_err_set(err, -ENOMEM, "no memory for scores");
}

/* The tokens of one sequence, up to its request. */
static int collect_one(const struct pass *p, size_t i, struct cwb_err *err)
{
	struct cwe_sequence_score sum = cwe_shared_score(&p->layout, i, p->e->list.set.sample[i].sequence, &p->score);
	struct cwp_answer *a = answer_of(p->e, i);
	a->loglik += sum.loglik;
	a->tokens += sum.tokens;
	a->greedy &= (uint32_t)sum.greedy;
	return isfinite(sum.loglik) ? 0 : not_finite(p, i, err);
}

/* The sequence that a token belongs to. */
static size_t holder(const struct pass *p, uint64_t token)
{
	for (size_t i = 0; i < p->layout.sequences; i++) {
		for (uint64_t r = p->layout.run[i]; r < p->layout.run[i + 1]; r++) {
			/* What a sequence repeats of another's lies right before its own. */
			if (token + 1 >= p->layout.first[r] && token < p->layout.first[r] + p->layout.count[r]) {
				return i;
			}
		}
	}
	return 0;
}

int cwe_evaluation_score(struct cwe_evaluation *e, struct cwe_model *model, struct cwb_err *err)
{
	struct pass p = {.e = e, .model = model};
	if (e->list.set.count == 0) {
		return 0;
	}
	int r = prepare(&p, err);
	const struct cwe_next next = {.token = p.token, .count = p.asked, .arg = &p, .take = take_next};
	const struct cwe_forward_options options = {.scratch = e->run->p->scratch, .memory = CWE_BOUNDARY_MEMORY, .arg = e,
		.progress = progress, .next = &next, .ret_bad = &p.bad};
	if (r == 0) {
		p.bad = p.layout.corpus.tokens;
		r = cwe_loglik_run(model, &p.layout.corpus, &options, &p.score, err);
		r = r == CWP_ENUMBER && p.bad < p.layout.corpus.tokens ? not_finite(&p, holder(&p, p.bad), err) : r;
	}
	for (size_t i = 0; r == 0 && i < e->list.set.count; i++) {
		r = e->drift_row[i] == UINT64_MAX ? collect_one(&p, i, err) : 0;
	}
	e->scored = p.layout.corpus.tokens;
	e->done += e->list.set.tokens;
	cwe_shared_free(&p.layout);
	free(p.score.nll);
	free(p.score.greedy);
	free(p.token);
	free(p.asker);
	return r;
}
