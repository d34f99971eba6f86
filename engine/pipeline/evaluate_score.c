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
	struct cwe_benchmark *b;
	struct cwe_model *model;
	struct cwe_shared layout; /* of the benchmark's sequences */
	struct cwe_token_score score;
	uint64_t *token; /* [asked] whose next token is asked for */
	size_t *asker;   /* [asked] its sequence */
	uint64_t asked;
	uint64_t bad;    /* a token that is no number */
};

/* In tokens of the requests, as the total is, whatever they share. */
static void progress(void *arg, uint64_t done, uint64_t total)
{
	const struct pass *p = arg;
	const struct cwe_evaluation *e = p->e;
	double part = (double)done / (double)(total > 0 ? total : 1);
	uint64_t now = e->done + (uint64_t)(part * (double)p->b->list.set.tokens);
	cwe_run_progress(e->run, CWE_STAGE_EVALUATE, now < e->total ? now : e->total, e->total, "tokens");
}

static struct cwp_answer *answer_of(const struct pass *p, size_t i)
{
	return &p->b->answer[p->b->list.owner[i]];
}

/* Says which item and layer it was. */
static int not_finite(const struct pass *p, size_t i, struct cwb_err *err)
{
	const struct cwe_sequence *s = p->b->list.set.sample[i].sequence;
	cwb_err_clear(err);
	return cwe_benchmark_broken(p->e->run, p->b, p->b->list.owner[i], p->model, s->id, s->count, err);
}

/* The original's distributions are what the others' are compared with. */
static int take_next(void *arg, uint64_t i, const float *logp, struct cwb_err *err)
{
	struct pass *p = arg;
	struct cwe_evaluation *e = p->e;
	struct cwp_answer *a = answer_of(p, p->asker[i]);
	uint64_t row = p->b->first_drift + i;
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

/* A sequence without a scored token is there for what follows it. */
static int asks_next(const struct cwe_sequence *s)
{
	return s->weight[s->count - 1] == 0;
}

static int list_askers(struct pass *p, struct cwb_err *err)
{
	const struct cwe_benchmark *b = p->b;
	p->token = calloc(b->drifts + 1, sizeof *p->token);
	p->asker = calloc(b->drifts + 1, sizeof *p->asker);
	if (p->token == NULL || p->asker == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %llu requests", (unsigned long long)b->drifts);
	}
	for (size_t i = 0; i < b->list.set.count && p->asked < b->drifts; i++) {
		const struct cwe_sequence *s = b->list.set.sample[i].sequence;
		if (asks_next(s)) {
			p->token[p->asked] = cwe_shared_row(&p->layout, i, s->count - 1);
			p->asker[p->asked++] = i;
		}
	}
	return 0;
}

static int prepare(struct pass *p, struct cwb_err *err)
{
	const struct cwe_sample_set *set = &p->b->list.set;
	int r = cwe_shared_new(set, cwe_evaluation_shares(p->e->run, set), &p->layout, err);
	if (r != 0) {
		return r;
	}
	p->score.nll = calloc(p->layout.corpus.tokens + 1, sizeof(float));
	p->score.greedy = calloc(p->layout.corpus.tokens + 1, 1);
	return p->score.nll != NULL && p->score.greedy != NULL ? list_askers(p, err) : cwb_err_set(err, -ENOMEM, "no memory for scores");
}

/* A window behind those of its request that are there. */
static int add_window(struct cwp_answer *a, const struct cwe_sequence_score *sum, struct cwb_err *err)
{
	struct cwp_window *window = (struct cwp_window *)(uintptr_t)a->window;
	size_t n = a->windows;
	/* Doubles at powers of two. */
	if ((n & (n - 1)) == 0) {
		struct cwp_window *grown = realloc(window, (n > 0 ? 2 * n : 1) * sizeof *grown);
		if (grown == NULL) {
			return cwb_err_set(err, -ENOMEM, "no memory for the windows of a text");
		}
		window = grown;
	}
	window[n] = (struct cwp_window){sum->loglik, sum->tokens};
	a->window = window;
	a->windows++;
	return 0;
}

/* The tokens of one sequence, up to its request. */
static int collect_one(const struct pass *p, size_t i, struct cwb_err *err)
{
	struct cwe_sequence_score sum = cwe_shared_score(&p->layout, i, p->b->list.set.sample[i].sequence, &p->score);
	struct cwp_answer *a = answer_of(p, i);
	a->loglik += sum.loglik;
	a->tokens += sum.tokens;
	a->greedy &= (uint32_t)sum.greedy;
	if (!isfinite(sum.loglik)) {
		return not_finite(p, i, err);
	}
	return p->b->windowed[p->b->list.owner[i]] ? add_window(a, &sum, err) : 0;
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

int cwe_evaluation_score(struct cwe_evaluation *e, struct cwe_benchmark *b, struct cwe_model *model, struct cwb_err *err)
{
	struct pass p = {.e = e, .b = b, .model = model};
	if (b->list.set.count == 0) {
		return 0;
	}
	int r = prepare(&p, err);
	const struct cwe_next next = {.token = p.token, .count = p.asked, .arg = &p, .take = take_next};
	const struct cwe_forward_options options = {.scratch = e->run->p->scratch, .memory = e->run->boundary_memory, .arg = &p,
		.progress = progress, .next = &next, .ret_bad = &p.bad};
	if (r == 0) {
		p.bad = p.layout.corpus.tokens;
		r = cwe_loglik_run(model, &p.layout.corpus, &options, &p.score, err);
		r = r == CWP_ENUMBER && p.bad < p.layout.corpus.tokens ? not_finite(&p, holder(&p, p.bad), err) : r;
	}
	for (size_t i = 0; r == 0 && i < b->list.set.count; i++) {
		r = asks_next(b->list.set.sample[i].sequence) ? 0 : collect_one(&p, i, err);
	}
	e->scored += p.layout.corpus.tokens;
	e->done += b->list.set.tokens;
	cwe_shared_free(&p.layout);
	free(p.score.nll);
	free(p.score.greedy);
	free(p.token);
	free(p.asker);
	return r;
}
