/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* How much evaluations ask of the models, and about how long that takes: a short product on this machine says how fast it
 * multiplies. Nothing but words for people depends on it. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "engine/model/linears.h"
#include "engine/model/ops.h"
#include "engine/pipeline/evaluate.h"

#define ROWS_MANY 64u /* tokens of a prompt */
#define ROWS_FEW 16u  /* sequences that are generated together */
#define MOST 1024u    /* rows and columns of the measured matrix */
#define MEASURE 0.03  /* seconds */
#define LONG 900.0    /* seconds that are worth a warning */

/* Whether a module's input is quantized by what a whole sequence holds. */
static int quantizes_by_sequence(const struct cwe_run *run)
{
	int found = 0;
	for (size_t i = 0; i < run->modules; i++) {
		found |= run->module[i].quantized && run->module[i].grid.activation == CWP_ACT_INT8_OUTLIER;
	}
	return found;
}

int cwe_evaluation_shares(const struct cwe_run *run, const struct cwe_sample_set *set)
{
	/* What the output does with its inputs is known from the job's grids; the original's are exact. */
	return cwe_model_divisible(&run->model, cwe_shared_longest(set)) && !quantizes_by_sequence(run);
}

/* Floating-point operations a second in products of so many rows. */
static int measure(struct cwe_run *run, uint64_t rows, double *ret, struct cwb_err *err)
{
	struct cwe_device *dev = &run->device;
	uint64_t hidden = run->model.arch.hidden, k = hidden < MOST ? hidden : MOST, n = MOST, times = 0;
	float *d_x = NULL, *d_w = NULL, *d_y = NULL;
	double start = 0, seconds = 0;
	int r;
	if ((r = cwe_device_floats(dev, rows * k, &d_x, err)) == 0 && (r = cwe_device_floats(dev, n * k, &d_w, err)) == 0 &&
		(r = cwe_device_floats(dev, rows * n, &d_y, err)) == 0 &&
		(r = CWE_OP(dev, zero, d_x, rows * k * sizeof(float))) == 0) {
		r = CWE_OP(dev, zero, d_w, n * k * sizeof(float));
	}
	/* The first one may make its kernel. */
	for (uint64_t i = 0; r == 0 && seconds < MEASURE; i++) {
		start = i == 1 ? cwb_clock_now() : start;
		r = CWE_OP(dev, matmul, 0, 1, rows, n, k, d_x, k, d_w, k, 0, d_y, n);
		r = r == 0 ? CWE_OP(dev, sync) : r;
		times = i;
		seconds = i > 0 ? cwb_clock_now() - start : 0;
	}
	cwe_device_free(dev, d_y, rows * n * sizeof(float));
	cwe_device_free(dev, d_w, n * k * sizeof(float));
	cwe_device_free(dev, d_x, rows * k * sizeof(float));
	if (r == 0 && seconds > 0) {
		*ret = 2.0 * (double)rows * (double)n * (double)k * (double)times / seconds;
	}
	return r;
}

double cwe_evaluation_operations(const struct cwe_arch *a)
{
	double weights = (double)a->vocabulary * (double)a->hidden;
	for (uint32_t layer = 0; layer < a->layers; layer++) {
		for (uint32_t i = 0, n = cwe_linears(a, layer); i < n; i++) {
			struct cwe_linear l;
			cwe_linear_at(a, layer, i, &l);
			/* Of the experts a token meets some. */
			double part = a->moe.experts > 0 && strstr(l.name, ".experts.") != NULL ? (double)a->moe.top_k / (double)a->moe.experts : 1;
			weights += part * (double)l.rows * (double)l.cols;
		}
	}
	return 2 * weights;
}

/* Two digits: it is no more than an estimate. */
static double rounded(double x)
{
	double step = x > 0 ? pow(10, floor(log10(x)) - 1) : 1;
	return round(x / step) * step;
}

static int measure_all(struct cwe_run *run, struct cwb_err *err)
{
	static const uint64_t rows[2] = {ROWS_MANY, ROWS_FEW};
	int r = 0;
	for (size_t i = 0; r == 0 && i < 2 && run->asked.rate[i] == 0; i++) {
		r = measure(run, rows[i], &run->asked.rate[i], err);
	}
	if (r == 0 && run->asked.each == NULL && (run->asked.each = json_array()) == NULL) {
		r = cwb_err_set(err, -ENOMEM, "no memory for a plan");
	}
	return r;
}

int cwe_evaluation_estimate(struct cwe_run *run, const struct cwe_benchmark *b, struct cwb_err *err)
{
	const struct cwe_sample_set *set = &b->list.set;
	struct cwe_shared layout = {0};
	struct cwe_run_asked *asked = &run->asked;
	int r = measure_all(run, err);
	r = r == 0 ? cwe_shared_new(set, cwe_evaluation_shares(run, set), &layout, err) : r;
	if (r != 0) {
		return r;
	}
	uint64_t tokens = layout.corpus.tokens, longest = cwe_shared_longest(set);
	cwe_shared_free(&layout);
	double models = cwe_run_may_protect(run) ? 3 : 2, many = asked->rate[0] > 0 ? asked->rate[0] : 1, few = asked->rate[1] > 0 ? asked->rate[1] : 1;
	double seconds = models * cwe_evaluation_operations(&run->model.arch) *
		((double)(tokens + b->generation_tokens - b->generated_tokens) / many + (double)b->generated_tokens / few);
	seconds += models * b->judge_operations * ((double)b->judge_tokens / many + (double)b->judge_generated / few);
	asked->seconds += seconds;
	asked->requests += b->count;
	asked->tokens += set->tokens;
	asked->most = set->tokens > asked->most ? set->tokens : asked->most;
	asked->longest = longest > asked->longest ? longest : asked->longest;
	asked->drifts += b->drifts;
	asked->generated += b->generated_tokens;
	json_t *row = json_pack("{s:s,s:s,s:o,s:I,s:I,s:I,s:I,s:f}", "name", b->job->name, "benchmark", b->job->benchmark, "items",
		b->items > 0 ? json_integer((json_int_t)b->items) : json_null(), "requests", (json_int_t)b->count, "too_long",
		(json_int_t)json_object_size(b->long_items), "tokens",
		(json_int_t)(tokens + b->generation_tokens - b->generated_tokens + b->judge_tokens), "generated",
		(json_int_t)(b->generated_tokens + b->judge_generated), "seconds", rounded(seconds));
	if (b->judges > 0 && row != NULL && json_object_set_new(row, "judge", json_pack("{s:I,s:I,s:I}", "requests", (json_int_t)b->judges, "tokens",
			(json_int_t)b->judge_tokens, "generated", (json_int_t)b->judge_generated)) != 0) {
		json_decref(row);
		row = NULL;
	}
	return json_array_append_new(asked->each, row) == 0 ? 0 : cwb_err_set(err, -ENOMEM, "no memory for a plan");
}

json_t *cwe_evaluation_warnings(const struct cwe_run *run)
{
	json_t *all = json_copy(run->warnings);
	double seconds = run->asked.seconds;
	char text[256];
	if (seconds < LONG || all == NULL) {
		return all;
	}
	(void)snprintf(text, sizeof text, "evaluations may take about %.0f %s on this machine, an estimate from a short measurement; limit "
		"of an evaluation takes a part of its items", rounded(seconds) / (seconds < 7200 ? 60 : 3600), seconds < 7200 ? "minutes" : "hours");
	(void)json_array_append_new(all, json_string(text));
	return all;
}
