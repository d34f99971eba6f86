/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One benchmark of a job: its evaluator plugin, its requests, and the metrics of the models that are compared. */
#pragma once

#include <cwp/evaluator.h>

#include "base/digest.h"
#include "engine/pipeline/outcomes.h"
#include "engine/pipeline/run.h"
#include "engine/text/request.h"
#include "engine/text/stop.h"

struct cwe_benchmark {
	const struct cwj_evaluation *job;
	const struct cwe_plugin *plugin;
	struct cwp_setting *settings;
	void *state;
	char *data;       /* the file's bytes */
	uint64_t count;
	struct cwe_request_list list; /* sequences of its requests, but for those that generate text or ask a judge */
	struct cwb_digest digest;     /* of its requests, in the making */
	char asked[65];               /* and done: what is asked */
	uint64_t excluded;    /* items that the job calibrates on */
	uint64_t generations; /* requests that generate text */
	uint64_t generation_tokens; /* of their prompts, and new ones at most */
	uint64_t generated_tokens;  /* new ones at most */
	uint64_t longest_prompt, longest_answer; /* tokens of one request that generates text */
	uint64_t items;       /* as far as requests name theirs */
	const char *last_item;
	uint64_t drifts;      /* requests for distributions */
	uint8_t *judged;      /* [count] requests for the judge */
	uint64_t judges;      /* of them */
	int judging;          /* the judge is at work: its requests are those that count */
	/* What the judge may be asked of one model, at most: tokens of its prompts with the answers in them, new ones, and operations
	 * that a token takes. 0 without one. */
	uint64_t judge_tokens, judge_generated;
	double judge_operations;
	uint8_t *windowed;    /* [count] requests that are cut into windows */
	uint8_t *too_long;    /* [count] requests that do not fit the model's context */
	json_t *long_items;   /* object: names of the items they belong to, in their order */
	uint64_t first_drift; /* number of its first distribution among all benchmarks' */
	int cached[CWE_COMPARED]; /* a model's answers are an earlier job's */
	struct cwp_answer *answer; /* [count] */
	struct cwe_outcomes outcomes;
};

/* Opens the evaluator on its data and lists its requests. CWP_ELIMIT: not one of them fits the model's context. */
int cwe_benchmark_open(struct cwe_run *run, const struct cwj_evaluation *job, struct cwe_benchmark *ret, struct cwb_err *err);
/* Opens the evaluator and its data without asking a model, and checks that each gate on this evaluation names one of its
 * metrics: what is wrong there is found before any work is done. */
int cwe_benchmark_check(struct cwe_run *run, const struct cwj_evaluation *job, struct cwb_err *err);
void cwe_benchmark_close(struct cwe_benchmark *b);
/* Answers empty, for the next model. */
void cwe_benchmark_clear(struct cwe_benchmark *b);
/* The i-th request, with what a plugin can get wrong checked; NULL strings of length 0 become empty ones. */
int cwe_benchmark_request(struct cwe_run *run, const struct cwe_benchmark *b, uint64_t i, struct cwp_request *ret,
	struct cwb_err *err); /* benchmark_request.c */
/* The i-th request into the list, or counted; benchmark_request.c. */
int cwe_benchmark_add(struct cwe_run *run, struct cwe_benchmark *b, uint64_t i, struct cwb_err *err);
/* What the model sees of a request's context: in its chat format where the request wants that and there is one, else
 * *ret_text is NULL. Freed with free(). benchmark_request.c. */
int cwe_benchmark_prompt(struct cwe_run *run, const struct cwp_request *q, char **ret_text, size_t *ret_length,
	struct cwb_err *err);
/* {count, items}: items that were not asked since they do not fit, the first of them by name; NULL: no memory.
 * benchmark_request.c. */
json_t *cwe_benchmark_too_long(const struct cwe_benchmark *b);
/* Tokens of a prompt that generates text; *ret_fits 0 where it and the new tokens are more than the model's context.
 * benchmark_generate.c. */
int cwe_benchmark_prompt_ids(struct cwe_run *run, const struct cwp_request *q, struct cwe_ids *ret, int *ret_fits,
	struct cwb_err *err);
/* What ends the text of a request, freed with cwe_stop_free; benchmark_generate.c. */
int cwe_benchmark_stop(const struct cwe_tokenizer *t, const struct cwp_request *q, struct cwe_stop **ret, struct cwb_err *err);
/* Runs the requests that generate text; benchmark_generate.c. ended: called after each with what it counts in
 * generation_tokens. */
int cwe_benchmark_generate(struct cwe_benchmark *b, struct cwe_run *run, struct cwe_model *model,
	void (*ended)(void *arg, uint64_t tokens), void *arg, struct cwb_err *err);
/* CWP_ENUMBER: says that the model gives NaN or infinity for tokens [count] of the i-th request, and behind which layer;
 * benchmark_broken.c. */
int cwe_benchmark_broken(struct cwe_run *run, const struct cwe_benchmark *b, uint64_t i, struct cwe_model *model,
	const uint32_t *id, size_t count, struct cwb_err *err);
/* Hands the answers of the model under test, or those of the judge, to the evaluator. */
int cwe_benchmark_tell(struct cwe_benchmark *b, struct cwe_run *run, int judged, struct cwb_err *err);
/* Takes the evaluator's metrics of this model; all answers were told. */
int cwe_benchmark_finish(struct cwe_benchmark *b, struct cwe_run *run, enum cwe_compared which, struct cwb_err *err);
/* Adds the benchmark's rows to the run's evaluation and its flipped items to those, and hands its outcomes to the run;
 * benchmark_report.c. */
int cwe_benchmark_report(struct cwe_benchmark *b, struct cwe_run *run, struct cwb_err *err);
/* The items that flipped, with their texts, to the run's; 0 or -ENOMEM; flipped.c. */
int cwe_flipped_report(const struct cwe_benchmark *b, struct cwe_run *run);
