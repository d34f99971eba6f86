/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One benchmark of a job: its evaluator plugin, its requests, and the metrics of the models that are compared. */
#pragma once

#include <cwp/evaluator.h>

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
	uint64_t first;   /* number of its first request among all benchmarks' */
	uint64_t count;
	uint64_t excluded;    /* items that the job calibrates on */
	uint64_t generations; /* requests that generate text */
	struct cwp_answer *answer; /* [count] */
	struct cwe_outcomes outcomes;
};

/* Opens the evaluator on its data and appends its log-likelihood requests to the list, owners counted from `first`. */
int cwe_benchmark_open(struct cwe_run *run, const struct cwj_evaluation *job, uint64_t first, struct cwe_benchmark *ret,
	struct cwe_request_list *list, struct cwb_err *err);
/* Opens the evaluator and its data without asking a model, and checks that each gate on this evaluation names one of its
 * metrics: what is wrong there is found before any work is done. */
int cwe_benchmark_check(struct cwe_run *run, const struct cwj_evaluation *job, struct cwb_err *err);
void cwe_benchmark_close(struct cwe_benchmark *b);
/* The answer of a request by its number among all benchmarks. */
struct cwp_answer *cwe_benchmark_answer(struct cwe_benchmark *b, size_t n, size_t owner);
/* Answers empty, for the next model. */
void cwe_benchmark_clear(struct cwe_benchmark *b);
/* The i-th request, with what a plugin can get wrong checked; NULL strings of length 0 become empty ones. */
int cwe_benchmark_request(struct cwe_run *run, const struct cwe_benchmark *b, uint64_t i, struct cwp_request *ret,
	struct cwb_err *err);
/* What ends the text of a request, freed with cwe_stop_free; benchmark_generate.c. */
int cwe_benchmark_stop(const struct cwe_tokenizer *t, const struct cwp_request *q, struct cwe_stop **ret, struct cwb_err *err);
/* Runs the requests that generate text; benchmark_generate.c. */
int cwe_benchmark_generate(struct cwe_benchmark *b, struct cwe_run *run, struct cwe_model *model, struct cwb_err *err);
/* Hands all answers to the evaluator and takes its metrics. */
int cwe_benchmark_finish(struct cwe_benchmark *b, struct cwe_run *run, enum cwe_compared which, struct cwb_err *err);
/* Appends {name, benchmark, metric, group, n, excluded, ideal, direction, original, quantized, protected, flips} for each
 * metric; benchmark_report.c. */
int cwe_benchmark_report(const struct cwe_benchmark *b, json_t *array, struct cwb_err *err);
