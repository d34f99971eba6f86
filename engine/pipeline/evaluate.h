/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The stage evaluate at work. Private to its files. */
#pragma once

#include "engine/calibrate/shared.h"
#include "engine/pipeline/benchmark.h"
#include "engine/pipeline/drift.h"

struct cwe_evaluation {
	struct cwe_run *run;
	struct cwe_benchmark *benchmark; /* [n] */
	size_t n;
	struct cwe_request_list list;    /* sequences of all requests that generate no text */
	int share;                       /* beginnings that sequences share are computed once, for each model alike */
	uint64_t *drift_row;             /* [list.set.count] number of a sequence's distribution; UINT64_MAX: none is wanted */
	uint64_t drifts;
	struct cwe_drift drift;          /* the original's distributions */
	struct cwe_judge *judge;         /* open; NULL: none yet */
	enum cwe_compared which;         /* the model at work */
	uint64_t done, total;            /* tokens of all models, those that may be generated included */
	uint64_t scored;                 /* tokens that went through the layers for scores, each model's */
};

/* The judge answers what the evaluator asks of it, now that it knows the model's answers. Opened once, as long as
 * evaluations name the same one. evaluate_judge.c. */
int cwe_evaluation_judge(struct cwe_evaluation *e, struct cwe_benchmark *b, struct cwb_err *err);
void cwe_judge_close(struct cwe_judge *judge); /* NULL is allowed */
/* Opens an evaluation's judge: what is wrong with it is found before any work. evaluate_judge.c. */
int cwe_judge_check(struct cwe_run *run, const struct cwj_evaluation *job, struct cwb_err *err);

/* Whether beginnings that sequences share are computed once. evaluate_plan.c. */
int cwe_evaluation_shares(const struct cwe_run *run, const struct cwe_sample_set *set);
/* Adds what a benchmark asks to run->asked, with the time that it may take. set: its sequences. evaluate_plan.c. */
int cwe_evaluation_estimate(struct cwe_run *run, const struct cwe_benchmark *b, const struct cwe_sample_set *set, struct cwb_err *err);
/* The warnings of a run, with one more where its evaluations take long; a new reference, NULL: no memory. evaluate_plan.c. */
json_t *cwe_evaluation_warnings(const struct cwe_run *run);

/* Numbers the distributions that are asked for. evaluate_score.c. */
int cwe_evaluation_prepare(struct cwe_evaluation *e, struct cwb_err *err);
/* All that generates no text, in one pass over the model's layers; answers go to the benchmarks. CWP_ENUMBER, with item and
 * layer, where the model gives no numbers. evaluate_score.c. */
int cwe_evaluation_score(struct cwe_evaluation *e, struct cwe_model *model, struct cwb_err *err);
