/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The stage evaluate at work. Private to its files. */
#pragma once

#include "base/cache.h"
#include "engine/calibrate/shared.h"
#include "engine/pipeline/benchmark.h"
#include "engine/pipeline/drift.h"

struct cwe_evaluation {
	struct cwe_run *run;
	struct cwe_benchmark *benchmark; /* [n] */
	size_t n;
	struct cwe_drift drift;          /* the original's distributions, those of all benchmarks one after another */
	struct cwb_cache cache;          /* answers that jobs share; its folder is -1 where there is none */
	char model[65];                  /* digest of what decides the original's answers but for the requests */
	char plain[65];                  /* likewise for the plainly quantized model; "": this job's alone */
	struct cwe_judge *judge;         /* open; NULL: none yet */
	int found;                       /* the answers of the benchmark at work are of an earlier attempt or job */
	enum cwe_compared which;         /* the model at work */
	uint64_t done, total;            /* tokens of all models, those that may be generated included */
	uint64_t scored;                 /* tokens that went through the layers for scores */
};

/* The judge answers what the evaluator asks of it, now that it knows the model's answers. Opened once, as long as
 * evaluations name the same one. evaluate_judge.c. */
int cwe_evaluation_judge(struct cwe_evaluation *e, struct cwe_benchmark *b, struct cwb_err *err);
void cwe_judge_close(struct cwe_judge *judge); /* NULL is allowed */
/* Opens a benchmark's judge: what is wrong with it is found before any work. How much it may be asked goes into the benchmark.
 * evaluate_judge.c. */
int cwe_judge_check(struct cwe_run *run, struct cwe_benchmark *b, struct cwb_err *err);

/* Whether beginnings that sequences share are computed once, for each model alike. evaluate_plan.c. */
int cwe_evaluation_shares(const struct cwe_run *run, const struct cwe_sample_set *set);
/* Operations that a token takes: two for each weight that it meets. evaluate_plan.c. */
double cwe_evaluation_operations(const struct cwe_arch *arch);
/* Adds what a benchmark asks to run->asked, with the time that it may take. evaluate_plan.c. */
int cwe_evaluation_estimate(struct cwe_run *run, const struct cwe_benchmark *b, struct cwb_err *err);
/* The warnings of a run, with one more where its evaluations take long; a new reference, NULL: no memory. evaluate_plan.c. */
json_t *cwe_evaluation_warnings(const struct cwe_run *run);

/* All of a benchmark that generates no text, in one pass over the model's layers. What a benchmark is answered follows from
 * its own requests alone. CWP_ENUMBER, with item and layer, where the model gives no numbers. evaluate_score.c. */
int cwe_evaluation_score(struct cwe_evaluation *e, struct cwe_benchmark *b, struct cwe_model *model, struct cwb_err *err);

/* Answers that an earlier attempt, or but for the protected model an earlier job, got for the same requests; *ret_found 0 where
 * there are none, or damaged ones. evaluate_answers.c. */
int cwe_evaluation_load(struct cwe_evaluation *e, struct cwe_benchmark *b, int *ret_found, struct cwb_err *err);
/* Keeps a benchmark's answers on scratch, and all but the protected model's in the cache. evaluate_answers.c. */
int cwe_evaluation_store(struct cwe_evaluation *e, const struct cwe_benchmark *b, struct cwb_err *err);
/* Whether a model's answers to all benchmarks are there, on scratch from now on, so that the model is not needed.
 * evaluate_answers.c. */
int cwe_evaluation_answered(struct cwe_evaluation *e, enum cwe_compared which, int *ret, struct cwb_err *err);
/* Opens the cache, where the job has one. evaluate_answers.c. */
int cwe_evaluation_cache(struct cwe_evaluation *e, struct cwb_err *err);

