/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scales folded into the tiny models of every family leave their logits as they are, and each fold changes weights. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/calibrate/corpus.h"
#include "engine/calibrate/loglik.h"
#include "engine/format/scaled.h"
#include "engine/model/folds.h"
#include "tests/golden/engine.h"

enum { SEQUENCES = 2, TOKENS = 24 };

struct logits {
	float *value;
	uint64_t vocabulary;
};

static uint64_t seed;

static double uniform(void)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (double)(seed >> 11) / 9007199254740992.0;
}

static int keep_logits(void *arg, uint64_t sequence, uint64_t tokens, uint64_t first, uint64_t n, const float *logits,
	struct cwb_err *err)
{
	struct logits *l = arg;
	(void)err;
	for (uint64_t t = 0; t < tokens; t++) {
		memcpy(l->value + (sequence * TOKENS + t) * l->vocabulary + first, logits + t * n, n * sizeof *logits);
	}
	return 0;
}

/* [SEQUENCES * TOKENS, vocabulary], freed with free(). */
static float *logits_of(struct cwe_model *model)
{
	static uint32_t id[SEQUENCES][TOKENS];
	static float weight[TOKENS];
	static struct cwe_sequence sequence[SEQUENCES];
	struct cwe_sample sample[SEQUENCES];
	struct cwe_sample_set set = {.sample = sample, .count = SEQUENCES, .tokens = (uint64_t)SEQUENCES * TOKENS};
	struct logits l = {.vocabulary = model->arch.vocabulary};
	struct cwe_forward_options o = {.memory = UINT64_MAX};
	struct cwe_corpus corpus;
	struct cwb_err err = {0};
	memset(sample, 0, sizeof sample);
	for (int s = 0; s < SEQUENCES; s++) {
		for (int t = 0; t < TOKENS; t++) {
			id[s][t] = (uint32_t)(17 * t + 29 * s * t + 5) % model->arch.vocabulary;
			weight[t] = t > 0 ? 1.0f / TOKENS : 0;
		}
		sequence[s] = (struct cwe_sequence){.id = id[s], .weight = weight, .count = TOKENS};
		sample[s].sequence = &sequence[s];
		sample[s].count = 1;
	}
	l.value = calloc((size_t)SEQUENCES * TOKENS * l.vocabulary, sizeof *l.value);
	assert_non_null(l.value);
	assert_int_equal(cwe_corpus_new(&set, 1, 0, &corpus, &err), 0);
	if (cwe_logits_run(model, &corpus, &o, keep_logits, &l, &err) != 0) {
		fail_msg("%s", err.message);
	}
	cwe_corpus_free(&corpus);
	return l.value;
}

/* Largest difference, of the largest logit. */
static double difference(const struct cwe_model *model, const float *a, const float *b)
{
	size_t n = (size_t)SEQUENCES * TOKENS * model->arch.vocabulary;
	double most = 0, worst = 0;
	for (size_t i = 0; i < n; i++) {
		double d = fabs((double)a[i] - (double)b[i]);
		most = fmax(most, fabs((double)a[i]));
		worst = d > worst || isnan(d) ? d : worst;
	}
	assert_true(most > 0.01);
	return worst / most;
}

static void random_scales(float *scale, uint64_t n, int powers)
{
	for (uint64_t i = 0; i < n; i++) {
		double x = 6 * uniform() - 3;
		scale[i] = (float)exp2(powers ? rint(x) : x);
	}
}

/* Folds `only` (UINT32_MAX: all) of every layer; their number. */
static uint32_t fold(struct test_engine *e, struct cwe_weights *scaled, uint32_t only, int powers)
{
	uint32_t done = 0;
	struct cwb_err err = {0};
	for (uint32_t l = 0; l < e->model.arch.layers; l++) {
		uint32_t n = cwe_folds(&e->model.arch, l);
		for (uint32_t i = 0; i < n; i++) {
			struct cwe_fold f;
			cwe_fold_at(&e->model.arch, l, i, &f);
			if (only != UINT32_MAX && i != only) {
				continue;
			}
			float *scale = malloc(f.channels * sizeof *scale);
			assert_non_null(scale);
			random_scales(scale, f.channels, powers);
			float *rounded = malloc(f.channels * sizeof *rounded);
			assert_non_null(rounded);
			memcpy(rounded, scale, f.channels * sizeof *rounded);
			if (cwe_fold_round(&e->model, l, &f, rounded, &err) != 0 || cwe_fold_apply(&e->model, scaled, l, &f, scale, &err) != 0) {
				fail_msg("%s", err.message);
			}
			assert_memory_equal(rounded, scale, f.channels * sizeof *rounded);
			free(rounded);
			free(scale);
			done++;
		}
	}
	return done;
}

static void open_scaled(struct test_engine *e, struct cwe_weights **ret, struct cwe_model *model)
{
	struct cwb_err err = {0};
	assert_int_equal(cwe_scaled_new(e->source->weights, ret, &err), 0);
	if (cwe_model_open(e->source, *ret, &e->device, model, &err) != 0) {
		fail_msg("%s", err.message);
	}
}

static void check(const char *name, uint32_t folds, int powers)
{
	char folder[64];
	struct test_engine e;
	struct cwe_weights *scaled = NULL;
	struct cwe_model model;
	seed = 7;
	(void)snprintf(folder, sizeof folder, "golden/%s", name);
	test_engine_open(&e, test_shared(folder), 2, NULL);
	float *want = logits_of(&e.model);
	open_scaled(&e, &scaled, &model);
	assert_int_equal(fold(&e, scaled, UINT32_MAX, powers), folds);
	float *got = logits_of(&model);
	double d = difference(&model, got, want);
	print_message("%s: relative difference %.3g with %u folds\n", name, d, folds);
	assert_true(d <= 1e-5);
	free(got);
	free(want);
	cwe_weights_close(scaled);
	test_engine_close(&e);
}

/* Each fold alone too: two that are wrong may not make up for each other. Columns without their producer's rows, or the
 * other way round, would be seen: the scales are far from 1. */
static void check_each(const char *name)
{
	char folder[64];
	struct test_engine e;
	(void)snprintf(folder, sizeof folder, "golden/%s", name);
	test_engine_open(&e, test_shared(folder), 2, NULL);
	float *want = logits_of(&e.model);
	for (uint32_t i = 0; i < cwe_folds(&e.model.arch, 0); i++) {
		struct cwe_weights *scaled = NULL;
		struct cwe_model model;
		open_scaled(&e, &scaled, &model);
		assert_true(fold(&e, scaled, i, 0) > 0);
		float *got = logits_of(&model);
		assert_true(difference(&model, got, want) <= 1e-5);
		free(got);
		cwe_weights_close(scaled);
	}
	free(want);
	test_engine_close(&e);
}

/* Two layers each: attention's norm, values, MLP's norm, up; olmo2 has no norm before its blocks; one up for each expert. */
static const struct {
	const char *name;
	uint32_t folds;
} models[] = {{"llama31", 8}, {"smollm2", 8}, {"mistral", 8}, {"qwen2", 8}, {"qwen3", 8}, {"gemma", 8}, {"gemma2", 8},
	{"gemma3", 8}, {"phi3", 8}, {"mixtral", 14}, {"qwen2moe", 16}, {"olmo2", 4}};

#define EACH for (size_t i = 0; i < sizeof models / sizeof *models; i++)

static void powers_of_two(void **state)
{
	(void)state;
	EACH {
		check(models[i].name, models[i].folds, 1);
	}
}

static void any_scales(void **state)
{
	(void)state;
	EACH {
		check(models[i].name, models[i].folds, 0);
	}
}

static void each_alone(void **state)
{
	(void)state;
	EACH {
		check_each(models[i].name);
	}
}

/* The test can fail: with the rows of one fold put right back, logits differ. */
static void half_a_fold(void **state)
{
	(void)state;
	EACH {
		char folder[64];
		struct test_engine e;
		struct cwe_weights *scaled = NULL;
		struct cwe_model model;
		struct cwb_err err = {0};
		struct cwe_fold f;
		(void)snprintf(folder, sizeof folder, "golden/%s", models[i].name);
		test_engine_open(&e, test_shared(folder), 2, NULL);
		open_scaled(&e, &scaled, &model);
		float *want = logits_of(&e.model);
		cwe_fold_at(&e.model.arch, 0, cwe_folds(&e.model.arch, 0) - 1, &f);
		(void)fold(&e, scaled, cwe_folds(&e.model.arch, 0) - 1, 0);
		char name[CWE_MODULE_NAME_MAX + 8], module[CWE_MODULE_NAME_MAX];
		(void)snprintf(name, sizeof name, "%s.weight", cwe_module_name(&e.model, 0, f.producer, module, sizeof module));
		float *one = malloc(f.channels * sizeof *one);
		for (uint64_t c = 0; c < f.channels; c++) {
			one[c] = 1;
		}
		assert_int_equal(cwe_scaled_rows(scaled, cwe_weights_find(scaled, name), f.row, f.channels, one, 0, &err), 0);
		float *got = logits_of(&model);
		assert_true(difference(&model, got, want) > 1e-4);
		free(one);
		free(got);
		free(want);
		cwe_weights_close(scaled);
		test_engine_close(&e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(powers_of_two),
		cmocka_unit_test(any_scales),
		cmocka_unit_test(each_alone),
		cmocka_unit_test(half_a_fold),
	};
	(void)test_shared("golden/README.md");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
