/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A second model that judges answers: it is asked as the model under test is, by requests that were made of its answers. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/loglik.h"
#include "engine/pipeline/device.h"
#include "engine/pipeline/evaluate.h"
#include "engine/text/beside.h"

/* Tokens of log-likelihoods at a time: their boundaries stay in memory. */
#define TOKENS_LEAST 2048u

struct cwe_judge {
	char *path;
	struct cwe_source *source;
	struct cwe_model model;
	struct cwe_tokenizer *tokenizer;
	struct cwe_chat *chat;
	int chat_evaluated;
};

void cwe_judge_close(struct cwe_judge *j)
{
	if (j != NULL) {
		cwe_chat_free(j->chat);
		cwe_tokenizer_free(j->tokenizer);
		cwe_source_close(j->source);
		free(j->path);
		free(j);
	}
}

static int open_judge(struct cwe_run *run, const struct cwj_evaluation *job, struct cwe_judge **ret, struct cwb_err *err)
{
	struct cwe_judge *j = calloc(1, sizeof *j);
	if (j == NULL || (j->path = strdup(job->judge)) == NULL) {
		free(j);
		return cwb_err_set(err, -ENOMEM, "no memory for a judge");
	}
	int r = cwe_source_open(j->path, 0, &j->source, err);
	r = r == 0 ? cwe_model_open(j->source, NULL, &run->device, &j->model, err) : r;
	r = r == 0 ? cwe_tokenizer_beside(j->source, &j->tokenizer, err) : r;
	if (r != 0) {
		cwe_judge_close(j);
		return cwe_run_place(err, cwb_err_prefix(err, "judge"), job->line, job->column, "evaluate", job->name);
	}
	*ret = j;
	return 0;
}

static uint64_t tokens_at_once(const struct cwe_model *m)
{
	uint64_t fit = CWE_BOUNDARY_MEMORY / (2 * (uint64_t)m->arch.hidden * sizeof(float));
	return fit > TOKENS_LEAST ? fit : TOKENS_LEAST;
}

/* The judge in the place of the model: what asks a model looks there. */
static void take_place(const struct cwe_run *run, const struct cwe_judge *j, struct cwj_job *job, struct cwe_run *ret)
{
	*job = *run->job;
	job->chat.format = NULL; /* the judge's own */
	*ret = *run;
	ret->job = job;
	ret->source = j->source;
	ret->model = j->model;
	ret->tokenizer = j->tokenizer;
	ret->chat = j->chat;
	ret->chat_evaluated = j->chat_evaluated;
}

/* Requests of a judge have what was asked in them, or nothing: then the longest prompt stands for it. Answers, which nobody
 * knows yet, are as long as one may be. */
static int count_requests(struct cwe_run *run, struct cwe_benchmark *b, struct cwb_err *err)
{
	uint64_t context = run->model.arch.context;
	int r = 0;
	for (uint64_t i = 0; r == 0 && i < b->count; i++) {
		struct cwp_request q = {0};
		struct cwe_ids prompt = {0}, rest = {0};
		int fits;
		if (!b->judged[i]) {
			continue;
		}
		r = cwe_benchmark_request(run, b, i, &q, err);
		r = r == 0 ? cwe_benchmark_prompt_ids(run, &q, &prompt, &fits, err) : r;
		r = r == 0 && q.kind == CWP_REQUEST_LOGLIK
			? cwe_request_prompt_ids(run->tokenizer, q.continuation, q.continuation_length, &rest, err) : r;
		if (r == 0) {
			uint64_t tokens = prompt.count + rest.count + (q.context_length == 0 ? b->longest_prompt : 0) + b->longest_answer;
			b->judge_tokens += tokens < context ? tokens : context;
			b->judge_generated += q.kind == CWP_REQUEST_GENERATE ? q.max_new_tokens : 0;
		}
		free(prompt.id);
		free(rest.id);
	}
	return r;
}

int cwe_judge_check(struct cwe_run *run, struct cwe_benchmark *b, struct cwb_err *err)
{
	struct cwe_judge *j = NULL;
	struct cwj_job job;
	struct cwe_run own;
	int r = open_judge(run, b->job, &j, err);
	if (r != 0 || j == NULL || b->judges == 0) {
		cwe_judge_close(j);
		return r;
	}
	take_place(run, j, &job, &own);
	own.warnings = json_array(); /* those of the judge come when it is asked */
	b->judge_operations = cwe_evaluation_operations(&j->model.arch);
	r = own.warnings != NULL ? count_requests(&own, b, err) : cwb_err_set(err, -ENOMEM, "no memory for a plan");
	json_decref(own.warnings);
	j->chat = own.chat;
	cwe_judge_close(j);
	return r;
}

/* The bound that its prompts make: what no plan could know. */
static int take_memory(struct cwe_run *run, const struct cwe_judge *j, const struct cwe_sample_set *set, struct cwb_err *err)
{
	uint64_t limit = run->job->limits.memory, longest = cwe_shared_longest(set), boundaries = 0;
	uint64_t widest = longest > CWE_PIECE_TOKENS ? longest : CWE_PIECE_TOKENS;
	struct cwe_need stage = {.host = cwe_loglik_host_bytes(&j->model, set->tokens, widest)};
	stage.device = cwe_loglik_bytes(&j->model, set->tokens, widest, longest, &boundaries) - stage.host;
	stage.boundaries = boundaries;
	int r = cwe_run_gpu_take(run, j->model.device, stage.device, "the judge", err);
	if (r != 0) {
		return r;
	}
	uint64_t need = cwe_run_base_memory(run) + cwe_need_memory(run, &stage);
	if (limit > 0 && need > limit) {
		return cwb_err_set(err, CWP_ELIMIT, "limits.memory is %" PRIu64 " bytes, but the judge may need %" PRIu64
			": raise it, or take a smaller judge", limit, need);
	}
	run->bounds.memory = need > run->bounds.memory ? need : run->bounds.memory;
	return 0;
}

/* What is on the list, and the list empty again. */
static int score(struct cwe_evaluation *own, struct cwe_benchmark *b, struct cwe_judge *j, struct cwb_err *err)
{
	int r = b->list.set.count > 0 ? take_memory(own->run, j, &b->list.set, err) : 0;
	r = r == 0 ? cwe_evaluation_score(own, b, &j->model, err) : r;
	cwe_request_free(&b->list);
	return r;
}

static void generated(void *arg, uint64_t tokens)
{
	const struct cwe_evaluation *e = arg;
	(void)tokens; /* what a judge reads is not in the total */
	cwe_run_progress(e->run, CWE_STAGE_EVALUATE, e->done, e->total, "tokens");
}

/* b: the judge's own counts, the arrays are the benchmark's. */
static int ask(struct cwe_judge *j, const struct cwe_evaluation *e, struct cwe_run *run, struct cwe_benchmark *b,
	struct cwb_err *err)
{
	struct cwe_evaluation own = {.run = run, .benchmark = b, .n = 1, .drift.fd = -1, .done = e->total, .total = e->total};
	int r = 0;
	for (uint64_t i = 0; r == 0 && i < b->count; i++) {
		if (!b->judged[i]) {
			continue;
		}
		free((char *)(uintptr_t)b->answer[i].text);
		b->too_long[i] = 0;
		r = cwe_benchmark_add(run, b, i, err);
		b->answer[i] = b->too_long[i] ? (struct cwp_answer){.size = sizeof *b->answer, .flags = CWP_ANSWER_TOO_LONG}
			: (struct cwp_answer){.size = sizeof *b->answer, .greedy = 1};
		if (r == 0 && b->list.set.tokens >= tokens_at_once(&j->model)) {
			r = score(&own, b, j, err);
		}
	}
	r = r == 0 ? score(&own, b, j, err) : r;
	cwe_request_free(&b->list);
	return r == 0 ? cwe_benchmark_generate(b, run, &j->model, generated, &own, err) : r;
}

int cwe_evaluation_judge(struct cwe_evaluation *e, struct cwe_benchmark *b, struct cwb_err *err)
{
	int r = 0;
	if (b->judges == 0) {
		return 0;
	}
	if (e->judge == NULL || strcmp(e->judge->path, b->job->judge) != 0) {
		cwe_judge_close(e->judge);
		e->judge = NULL;
		r = open_judge(e->run, b->job, &e->judge, err);
	}
	if (r != 0 || e->judge == NULL) {
		return r;
	}
	struct cwe_judge *j = e->judge;
	struct cwe_run run;
	struct cwj_job job;
	take_place(e->run, j, &job, &run);
	run.beside += cwe_tokenizer_size(e->run->tokenizer) * CWE_TOKENIZER_BYTES;
	struct cwe_benchmark own = *b;
	memset(&own.list, 0, sizeof own.list);
	own.judging = 1;
	own.generations = own.generation_tokens = own.drifts = 0;
	r = ask(j, e, &run, &own, err);
	j->chat = run.chat;
	j->chat_evaluated = run.chat_evaluated;
	e->run->bounds = run.bounds;
	r = r != 0 ? cwb_err_prefix(err, "judge %s", j->path) : 0;
	return r;
}
