/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Logits, losses and the statistics of every parameter of the tiny Llama models equal PyTorch's. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/calibrate/loglik.h"
#include "engine/calibrate/parameters.h"
#include "engine/format/safetensors.h"
#include "tests/golden/engine.h"

struct golden {
	struct test_engine engine;
	struct cwe_safetensors *file;
	struct cwe_sample_set set;
	struct cwe_corpus corpus;
	float *want;      /* of the tensor at hand */
	size_t compared;
	double worst;
};

static void *read_tensor(struct cwe_safetensors *f, const char *name, size_t *ret_bytes)
{
	struct cwb_err err = {0};
	const struct cwe_safetensors_entry *e = cwe_safetensors_find(f, name);
	if (e == NULL) {
		fail_msg("the reference has no %s", name);
		return NULL;
	}
	*ret_bytes = e->bytes;
	void *p = malloc(*ret_bytes + 1);
	assert_non_null(p);
	assert_int_equal(cwe_safetensors_read(f, e, 0, p, *ret_bytes, &err), 0);
	return p;
}

/* N sequences of T tokens, each a sample with weight 1/(T - 1) on all but the first. */
static void make_samples(struct golden *g)
{
	size_t bytes;
	const struct cwe_safetensors_entry *e = cwe_safetensors_find(g->file, "input_ids");
	int64_t *id = read_tensor(g->file, "input_ids", &bytes);
	size_t n = e->shape[0], t = e->shape[1];
	g->set = (struct cwe_sample_set){.sample = calloc(n, sizeof *g->set.sample), .count = n, .tokens = n * t};
	for (size_t i = 0; i < n; i++) {
		struct cwe_sequence *s = calloc(1, sizeof *s);
		s->id = calloc(t, sizeof *s->id);
		s->weight = calloc(t, sizeof *s->weight);
		s->count = t;
		for (size_t k = 0; k < t; k++) {
			s->id[k] = (uint32_t)id[i * t + k];
			s->weight[k] = k > 0 ? 1.0f / (float)(t - 1) : 0;
		}
		g->set.sample[i] = (struct cwe_sample){.sequence = s, .count = 1};
	}
	free(id);
	struct cwb_err err = {0};
	assert_int_equal(cwe_corpus_new(&g->set, 1, &g->corpus, &err), 0);
}

static void open_golden(struct golden *g, const char *name)
{
	char folder[64], file[96];
	struct cwb_err err = {0};
	memset(g, 0, sizeof *g);
	(void)snprintf(folder, sizeof folder, "golden/%s", name);
	(void)snprintf(file, sizeof file, "golden/%s/golden.safetensors", name);
	test_engine_open(&g->engine, test_shared(folder), 2);
	if (cwe_safetensors_open(test_shared(file), &g->file, &err) != 0) {
		fail_msg("%s", err.message);
	}
	make_samples(g);
}

static void close_golden(struct golden *g)
{
	for (size_t i = 0; i < g->set.count; i++) {
		free(g->set.sample[i].sequence->id);
		free(g->set.sample[i].sequence->weight);
		free(g->set.sample[i].sequence);
	}
	free(g->set.sample);
	free(g->want);
	cwe_corpus_free(&g->corpus);
	cwe_safetensors_close(g->file);
	test_engine_close(&g->engine);
}

static int compare_logits(void *arg, uint64_t sequence, uint64_t tokens, uint64_t first, uint64_t n, const float *logits,
	struct cwb_err *err)
{
	struct golden *g = arg;
	uint64_t v = g->engine.model.arch.vocabulary;
	(void)err;
	for (uint64_t t = 0; t < tokens; t++) {
		for (uint64_t i = 0; i < n; i++) {
			double d = fabs((double)logits[t * n + i] - (double)g->want[(sequence * tokens + t) * v + first + i]);
			g->worst = d > g->worst || isnan(d) ? d : g->worst;
			g->compared++;
		}
	}
	return 0;
}

static void check_logits(const char *name)
{
	struct golden g;
	struct cwb_err err = {0};
	struct cwe_forward_options o = {.memory = UINT64_MAX};
	size_t bytes;
	open_golden(&g, name);
	g.want = read_tensor(g.file, "logits", &bytes);
	if (cwe_logits_run(&g.engine.model, &g.corpus, &o, compare_logits, &g, &err) != 0) {
		fail_msg("%s", err.message);
	}
	assert_int_equal(g.compared * sizeof(float), bytes);
	print_message("%s: largest logit difference %.3g\n", name, g.worst);
	assert_true(g.worst <= 1e-4);
	close_golden(&g);
}

static void check_loss(const char *name)
{
	struct golden g;
	struct cwb_err err = {0};
	struct cwe_forward_options o = {.memory = UINT64_MAX};
	size_t bytes;
	open_golden(&g, name);
	g.want = read_tensor(g.file, "loss", &bytes);
	struct cwe_token_score score = {.nll = calloc(g.corpus.tokens, sizeof(float))};
	if (cwe_loglik_run(&g.engine.model, &g.corpus, &o, &score, &err) != 0) {
		fail_msg("%s", err.message);
	}
	size_t t = g.set.sample[0].sequence->count;
	for (size_t i = 0; i < g.set.count; i++) {
		double loss = 0;
		for (size_t k = 1; k < t; k++) {
			loss += (double)score.nll[i * t + k] / (double)(t - 1);
		}
		if (!(fabs(loss - (double)g.want[i]) <= 1e-5)) {
			fail_msg("%s: loss of sequence %zu is %.7f, the reference says %.7f", name, i, loss, (double)g.want[i]);
		}
	}
	free(score.nll);
	close_golden(&g);
}

/* Within 1e-3 of the tensor's largest value. */
static int compare_parameter(void *arg, const char *name, uint64_t rows, uint64_t cols, const float *value,
	struct cwb_err *err)
{
	struct golden *g = arg;
	size_t bytes;
	float *want = read_tensor(g->file, name, &bytes);
	uint64_t n = rows * (cols > 0 ? cols : 1);
	double most = 0, worst = 0;
	(void)err;
	assert_int_equal(bytes, n * sizeof(float));
	for (uint64_t i = 0; i < n; i++) {
		double d = fabs((double)value[i] - (double)want[i]);
		most = fmax(most, fabs((double)want[i]));
		worst = d > worst || isnan(d) ? d : worst;
	}
	if (!(worst <= 1e-3 * most)) {
		fail_msg("%s: difference %.3g where the largest value is %.3g", name, worst, most);
	}
	g->worst = fmax(g->worst, most > 0 ? worst / most : 0);
	g->compared++;
	free(want);
	return 0;
}

static void check_statistics(const char *name)
{
	struct golden g;
	struct cwb_err err = {0};
	open_golden(&g, name);
	if (cwe_parameters_run(&g.engine.model, &g.corpus, NULL, compare_parameter, &g, &err) != 0) {
		fail_msg("%s", err.message);
	}
	/* Every statistic of the reference was seen: all its tensors but ids, logits and loss. */
	assert_int_equal(g.compared, g.file->count - 3);
	print_message("%s: %zu statistics, largest relative difference %.3g\n", name, g.compared, g.worst);
	close_golden(&g);
}

static void llama31_logits(void **state)
{
	(void)state;
	check_logits("llama31");
}

static void smollm2_logits(void **state)
{
	(void)state;
	check_logits("smollm2");
}

static void losses(void **state)
{
	(void)state;
	check_loss("llama31");
	check_loss("smollm2");
}

static void llama31_statistics(void **state)
{
	(void)state;
	check_statistics("llama31");
}

static void smollm2_statistics(void **state)
{
	(void)state;
	check_statistics("smollm2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(llama31_logits),
		cmocka_unit_test(smollm2_logits),
		cmocka_unit_test(losses),
		cmocka_unit_test(llama31_statistics),
		cmocka_unit_test(smollm2_statistics),
	};
	(void)test_shared("golden/README.md");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
