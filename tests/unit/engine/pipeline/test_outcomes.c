/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rows of the report from what an evaluator gives: groups, intervals, flips, changes, recovery, texts of flipped items. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/benchmark.h"
#include "engine/pipeline/measured.h"
#include "engine/pipeline/pairs.h"

enum { N = 400 };

static const struct cwp_option options[] = {
	{sizeof(struct cwp_option), CWP_OPTION_STRING, "language", "nl", NULL, NULL, "of the data"}};
static const struct cwp_plugin descriptor = {.n_options = 1, .options = options};
static const struct cwe_plugin plugin = {.descriptor = &descriptor};

struct all {
	struct cwj_evaluation evaluation;
	struct cwj_job job;
	struct cwe_host host;
	struct cwe_pipeline p;
	struct cwe_run run;
	struct cwp_setting setting;
	struct cwe_benchmark b;
};

static void begin(struct all *a)
{
	memset(a, 0, sizeof *a);
	a->evaluation = (struct cwj_evaluation){.name = (char *)(uintptr_t)"bias", .benchmark = (char *)(uintptr_t)"mock",
		.path = (char *)(uintptr_t)"/data"};
	a->job = (struct cwj_job){.evaluations = &a->evaluation, .n_evaluations = 1, .seed = 3};
	a->p = (struct cwe_pipeline){.job = &a->job, .host = &a->host};
	a->run = (struct cwe_run){.p = &a->p, .job = &a->job, .protecting = 1, .evaluation = json_array(), .flipped = json_array()};
	a->setting = (struct cwp_setting){.size = sizeof a->setting, .type = CWP_OPTION_STRING, .string = "nl"};
	a->b = (struct cwe_benchmark){.job = &a->evaluation, .plugin = &plugin, .settings = &a->setting, .excluded = 4};
}

static void end(struct all *a)
{
	json_decref(a->run.evaluation);
	json_decref(a->run.flipped);
	cwe_measured_free(a->run.measured, a->run.measures);
	cwe_outcomes_free(&a->b.outcomes);
}

static const json_t *row_of(const struct all *a, const char *metric, const char *group)
{
	size_t i;
	json_t *row;
	json_array_foreach (a->run.evaluation, i, row) {
		const char *g = json_string_value(json_object_get(row, "group"));
		if (strcmp(json_string_value(json_object_get(row, "metric")), metric) == 0 &&
			(group == NULL ? g == NULL : g != NULL && strcmp(g, group) == 0)) {
			return row;
		}
	}
	return NULL;
}

/* A number by the names of its members. */
static double at(const json_t *json, const char *a, const char *b, const char *c)
{
	const char *name[] = {a, b, c};
	for (size_t i = 0; i < 3 && name[i] != NULL; i++) {
		json = json_object_get(json, name[i]);
	}
	return json_is_number(json) ? json_number_value(json) : NAN;
}

static void near(double a, double b, double by)
{
	if (!(fabs(a - b) <= by)) {
		fail_msg("%.17g is not %.17g", a, b);
	}
}

/* The original is right on all items but every tenth; quantization loses each fourth, protection gives most back. Items come
 * in another order from the second model. */
static int right(size_t i, int k)
{
	return i % 10 != 0 && !(k == CWE_COMPARED_QUANTIZED && i % 4 == 1) && !(k == CWE_COMPARED_PROTECTED && i % 40 == 1);
}

static void give(struct all *a, int k, double low, double high)
{
	struct cwp_metric_sink sink = cwe_outcomes_sink(&a->b.outcomes);
	struct cwp_metric m = {.size = sizeof m, .name = "acc", .direction = 1, .n = N, .standard_error = NAN, .low = low, .high = high,
		.ideal = NAN, .form = CWP_FORM_MEAN};
	char id[16], text[CWE_ITEM_TEXT_LIMIT + 200];
	memset(text, 'x', sizeof text);
	for (size_t i = 0; i < N; i++) {
		m.value += right(i, k) / (double)N;
	}
	cwe_outcomes_begin(&a->b.outcomes, (enum cwe_compared)k);
	sink.metric(sink.ctx, &m);
	for (size_t j = 0; j < N; j++) {
		size_t i = k == CWE_COMPARED_ORIGINAL ? j : N - 1 - j;
		struct cwp_item item = {.size = sizeof item, .flags = i % 2 ? CWP_ITEM_HARMFUL : 0, .id = id, .value = right(i, k), .weight = 1,
			.choice = right(i, k), .group = i < 5 ? "few" : i % 2 ? "odd" : "even", .prompt = text, .prompt_length = sizeof text,
			.answer = right(i, k) ? "yes" : "no", .answer_length = 2};
		(void)snprintf(id, sizeof id, "%zu", i);
		sink.item(sink.ctx, &item);
	}
	/* A metric that does not follow from items, with a group of its own. */
	m = (struct cwp_metric){.size = sizeof m, .name = "score", .n = 7, .value = k + 1, .low = k, .high = k + 2, .standard_error = NAN,
		.ideal = 9, .form = CWP_FORM_OTHER};
	sink.metric(sink.ctx, &m);
	m.group = "few";
	sink.metric(sink.ctx, &m);
	/* And one whose items have weights. */
	m = (struct cwp_metric){.size = sizeof m, .name = "ppl", .direction = -1, .n = 50, .low = NAN, .high = NAN, .standard_error = NAN,
		.ideal = NAN, .form = CWP_FORM_EXP_MEAN, .value = exp(2.0 + 0.1 * k)};
	sink.metric(sink.ctx, &m);
	for (size_t i = 0; i < 50; i++) {
		size_t pair = i / 2;
		struct cwp_item item = {.size = sizeof item, .id = id, .value = 2 + 0.1 * k + (i % 2 ? 0.5 : -0.5), .weight = 10 * (double)(pair + 1),
			.choice = -1};
		(void)snprintf(id, sizeof id, "t%zu", i);
		sink.item(sink.ctx, &item);
	}
	assert_int_equal(a->b.outcomes.failed, 0);
}

static void report(struct all *a)
{
	struct cwb_err err = {0};
	if (cwe_benchmark_report(&a->b, &a->run, &err) != 0) {
		fail_msg("%s", err.message);
	}
}

static void test_rows(void **state)
{
	struct all a;
	double low, high;
	(void)state;
	begin(&a);
	for (int k = 0; k < CWE_COMPARED; k++) {
		give(&a, k, NAN, NAN);
	}
	report(&a);
	const json_t *row = row_of(&a, "acc", NULL);
	assert_string_equal(json_string_value(json_object_get(row, "language")), "nl");
	assert_string_equal(json_string_value(json_object_get(row, "form")), "mean");
	near(at(row, "n", NULL, NULL), N, 0);
	near(at(row, "excluded", NULL, NULL), 4, 0);
	/* 360 right; 100 lost of which 20 were wrong before, and 10 of which 0 were: i % 40 == 1 is never i % 10 == 0. */
	near(at(row, "original", "value", NULL), 0.9, 1e-12);
	near(at(row, "quantized", "value", NULL), 260 / 400.0, 1e-12);
	near(at(row, "protected", "value", NULL), 350 / 400.0, 1e-12);
	cwe_wilson(260, 400, 0.95, &low, &high);
	near(at(row, "quantized", "low", NULL), low, 1e-12);
	near(at(row, "quantized", "high", NULL), high, 1e-12);
	near(at(row, "quantized", "standard_error", NULL), sqrt(0.65 * 0.35 / 399), 1e-12);
	near(at(row, "flips", "quantized", "n"), N, 0);
	near(at(row, "flips", "quantized", "count"), 100, 0);
	near(at(row, "flips", "quantized", "up"), 0, 0);
	near(at(row, "flips", "quantized", "down"), 100, 0);
	near(at(row, "flips", "protected", "p"), 2 * pow(0.5, 10), 1e-12);
	struct cwe_interval change = cwe_paired_rates(0, 100, 400, 0.95, NULL, NULL);
	near(at(row, "change", "quantized", "value"), -0.25, 1e-12);
	near(at(row, "change", "quantized", "low"), change.low, 1e-12);
	near(at(row, "change", "quantized", "high"), change.high, 1e-12);
	near(at(row, "recovery", "value", NULL), 0.9, 1e-12);
	assert_true(at(row, "recovery", "low", NULL) > 0.8 && at(row, "recovery", "high", NULL) < 1);
	assert_string_equal(json_string_value(json_object_get(json_object_get(row, "recovery"), "verdict")), "partly");
	/* Flips are a metric of their own; its groups too, and small ones are there with their n. */
	row = row_of(&a, "flips", NULL);
	near(at(row, "original", "value", NULL), 0, 0);
	near(at(row, "quantized", "value", NULL), 0.25, 1e-12);
	near(at(row, "protected", "value", NULL), 0.025, 1e-12);
	assert_true(json_is_null(json_object_get(json_object_get(row, "flips"), "quantized")));
	row = row_of(&a, "acc", "few");
	near(at(row, "n", NULL, NULL), 5, 0);
	near(at(row, "original", "value", NULL), 0.8, 1e-12);
	near(at(row, "quantized", "value", NULL), 0.6, 1e-12);
	assert_string_equal(json_string_value(json_object_get(json_object_get(row, "recovery"), "verdict")), "cannot tell");
	assert_true(json_is_null(json_object_get(json_object_get(row, "recovery"), "value")));
	assert_true(json_object_get(row, "excluded") == NULL);
	assert_non_null(row_of(&a, "flips", "odd"));
	assert_int_equal(json_array_size(a.run.evaluation), 1 + 3 + 1 + 3 + 2 + 1);
	end(&a);
}

static void test_other_forms(void **state)
{
	struct all a;
	(void)state;
	begin(&a);
	for (int k = 0; k < CWE_COMPARED; k++) {
		give(&a, k, 0.25, 0.75);
	}
	report(&a);
	const json_t *row = row_of(&a, "acc", NULL);
	near(at(row, "original", "low", NULL), 0.25, 0); /* what the evaluator says stays */
	assert_true(at(row_of(&a, "acc", "odd"), "original", "low", NULL) > 0.8);
	row = row_of(&a, "score", "few");
	near(at(row, "protected", "low", NULL), 2, 0);
	near(at(row, "change", "protected", "value"), 2, 0);
	assert_true(isnan(at(row, "change", "protected", "low")) && json_is_null(json_object_get(json_object_get(row, "flips"), "protected")));
	assert_string_equal(json_string_value(json_object_get(json_object_get(row, "recovery"), "verdict")), "cannot tell");
	row = row_of(&a, "ppl", NULL);
	double value = at(row, "original", "value", NULL), error = at(row, "original", "standard_error", NULL);
	near(value, exp(2), 1e-12);
	assert_true(error > 0.5 && error < 1);
	near(at(row, "original", "high", NULL) - at(row, "original", "low", NULL), 2 * 1.96 * error, error / 2);
	/* Every item changes alike: paired, the ratio is all but sure. */
	near(at(row, "change", "quantized", "value"), exp(2.1) - exp(2), 1e-9);
	assert_true(at(row, "change", "quantized", "low") > 0 && at(row, "change", "quantized", "high") < 1.5 * (exp(2.1) - exp(2)));
	assert_string_equal(json_string_value(json_object_get(json_object_get(row, "recovery"), "verdict")), "worse");
	end(&a);
	/* Where nothing is protected there is nothing to recover. */
	begin(&a);
	a.run.protecting = 0;
	for (int k = 0; k < CWE_COMPARED; k++) {
		give(&a, k, NAN, NAN);
	}
	report(&a);
	assert_true(json_is_null(json_object_get(row_of(&a, "acc", NULL), "recovery")));
	end(&a);
}

static void test_flipped(void **state)
{
	struct all a;
	size_t i, protected_flips = 0;
	json_t *item;
	(void)state;
	begin(&a);
	for (int k = 0; k < CWE_COMPARED; k++) {
		give(&a, k, NAN, NAN);
	}
	report(&a);
	assert_int_equal(json_array_size(a.run.flipped), 100 + 10 - 10);
	json_array_foreach (a.run.flipped, i, item) {
		int id = atoi(json_string_value(json_object_get(item, "id")));
		assert_true(id % 4 == 1);
		assert_true(json_is_true(json_object_get(item, "harmful")));
		assert_string_equal(json_string_value(json_object_get(json_object_get(item, "original"), "answer")), "ye");
		assert_string_equal(json_string_value(json_object_get(json_object_get(item, "quantized"), "answer")), "no");
		assert_int_equal(json_string_length(json_object_get(item, "prompt")), CWE_ITEM_TEXT_LIMIT);
		near(at(item, "quantized", "choice", NULL), 0, 0);
		protected_flips += at(item, "protected", "choice", NULL) == 0;
		assert_true(i >= 10 || at(item, "protected", "choice", NULL) == 0); /* those of the output come first */
	}
	assert_int_equal(protected_flips, 10);
	end(&a);
}

/* An item with a choice under the metric named last. */
static void give_choice(struct all *a, size_t i, int64_t choice, int harmful)
{
	struct cwp_metric_sink sink = cwe_outcomes_sink(&a->b.outcomes);
	char id[16];
	struct cwp_item item = {.size = sizeof item, .flags = harmful ? CWP_ITEM_HARMFUL : 0, .id = id, .value = choice == 0, .weight = 1,
		.choice = choice};
	(void)snprintf(id, sizeof id, "%zu", i);
	sink.item(sink.ctx, &item);
}

/* Refusals: a metric of harmful items (0 to 9), one of harmless ones (10 to 29), and a judge's of all with choices of its own. The
 * quantized model chooses otherwise on items 3 and 12, the protected one on 12 and 13. */
static void give_refusals(struct all *a, int k)
{
	static const char *const name[] = {"refusal_rate", "over_refusal", "judge_unsafe_rate"};
	struct cwp_metric_sink sink = cwe_outcomes_sink(&a->b.outcomes);
	cwe_outcomes_begin(&a->b.outcomes, (enum cwe_compared)k);
	for (size_t part = 0; part < 3; part++) {
		struct cwp_metric m = {.size = sizeof m, .name = name[part], .n = part == 0 ? 10 : 20, .low = NAN, .high = NAN, .standard_error = NAN,
			.ideal = NAN, .form = CWP_FORM_MEAN};
		sink.metric(sink.ctx, &m);
		for (size_t i = part == 1 ? 10 : 0; i < (part == 0 ? 10 : 30); i++) {
			int flipped = (k == CWE_COMPARED_QUANTIZED && (i == 3 || i == 12)) || (k == CWE_COMPARED_PROTECTED && (i == 12 || i == 13));
			give_choice(a, i, part < 2 ? flipped : k, i < 10);
		}
	}
	assert_int_equal(a->b.outcomes.failed, 0);
}

/* Flips are of all items with choices, each by the first metric that has it. */
static void test_several_metrics(void **state)
{
	static const char *const id[] = {"12", "13", "3"}, *const metric[] = {"over_refusal", "over_refusal", "refusal_rate"};
	struct all a;
	json_t *item;
	size_t i;
	(void)state;
	begin(&a);
	for (int k = 0; k < CWE_COMPARED; k++) {
		give_refusals(&a, k);
	}
	report(&a);
	const json_t *row = row_of(&a, "flips", NULL);
	near(at(row, "n", NULL, NULL), 30, 0);
	near(at(row, "original", "value", NULL), 0, 0);
	near(at(row, "quantized", "value", NULL), 2 / 30.0, 1e-12);
	near(at(row, "protected", "value", NULL), 2 / 30.0, 1e-12);
	near(at(row_of(&a, "over_refusal", NULL), "flips", "protected", "count"), 2, 0);
	near(at(row_of(&a, "refusal_rate", NULL), "flips", "protected", "count"), 0, 0);
	assert_int_equal(json_array_size(a.run.flipped), 3);
	json_array_foreach (a.run.flipped, i, item) {
		assert_string_equal(json_string_value(json_object_get(item, "id")), id[i]);
		assert_string_equal(json_string_value(json_object_get(item, "metric")), metric[i]);
	}
	end(&a);
}

/* Groups of which there are too many, items that only some models have, and an item's choice without a value. */
static void test_edges(void **state)
{
	struct all a;
	char id[16], group[16];
	(void)state;
	begin(&a);
	for (int k = 0; k < CWE_COMPARED; k++) {
		struct cwp_metric_sink sink = cwe_outcomes_sink(&a.b.outcomes);
		struct cwp_metric m = {.size = sizeof m, .name = "kl", .direction = -1, .n = 300, .value = k, .low = NAN, .high = NAN,
			.standard_error = NAN, .form = CWP_FORM_MEAN};
		cwe_outcomes_begin(&a.b.outcomes, (enum cwe_compared)k);
		sink.metric(sink.ctx, &m);
		for (size_t i = 0; i < 300; i++) {
			struct cwp_item item = {.size = sizeof item, .id = id, .value = i == 7 ? NAN : (double)i * k, .weight = i == 8 ? 0 : 1, .choice = 0,
				.group = group};
			(void)snprintf(id, sizeof id, "%zu", i + (k == 2 && i == 5 ? 1000 : 0));
			(void)snprintf(group, sizeof group, "g%zu", i);
			sink.item(sink.ctx, &item);
		}
		assert_int_equal(a.b.outcomes.failed, 0);
	}
	report(&a);
	const json_t *row = row_of(&a, "kl", NULL);
	near(at(row, "groups_left_out", NULL, NULL), 299 - 256, 0);
	near(at(row, "flips", "protected", "n"), 299, 0);
	near(at(row, "flips", "protected", "p"), 1, 0);
	/* One value is no number: neither the metric's interval nor its change is known. */
	assert_true(isnan(at(row, "original", "low", NULL)) && isnan(at(row, "change", "protected", "value")));
	assert_int_equal(json_array_size(a.run.evaluation), 2 * 257);
	assert_true(row_of(&a, "kl", "g5") == NULL);
	near(at(row_of(&a, "kl", "g8"), "n", NULL, NULL), 0, 0);
	near(at(row_of(&a, "kl", "g9"), "change", "protected", "value"), 18, 1e-12);
	assert_int_equal(json_array_size(a.run.flipped), 0);
	end(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_other_forms), cmocka_unit_test(test_flipped),
		cmocka_unit_test(test_several_metrics), cmocka_unit_test(test_edges)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
