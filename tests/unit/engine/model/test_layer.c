/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Shapes and samples at their edges: gradients against differences of losses, pieces of one long sample, samples without
 * a prediction, sets without a sample, and what is refused. */
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
#include "tests/unit/engine/model/synthetic.h"

/* One statistic of one parameter, kept from a run. */
struct kept {
	const char *name;
	float *value;
	uint64_t count;
};

static int keep(void *arg, const char *name, uint64_t rows, uint64_t cols, const float *value, struct cwb_err *err)
{
	struct kept *k = arg;
	(void)err;
	if (strcmp(name, k->name) == 0) {
		k->count = rows * (cols > 0 ? cols : 1);
		k->value = malloc(k->count * sizeof *value);
		memcpy(k->value, value, k->count * sizeof *value);
	}
	return 0;
}

static float *statistic(struct synthetic *s, const char *name, uint64_t *ret_count)
{
	struct cwb_err err = {0};
	struct kept k = {.name = name};
	if (cwe_parameters_run(&s->model, &s->corpus, NULL, keep, &k, &err) != 0) {
		fail_msg("%s", err.message);
	}
	assert_non_null(k.value);
	*ret_count = k.count;
	return k.value;
}

static double difference(struct synthetic *s, float *w, float step)
{
	double samples = (double)s->corpus.set_samples[0];
	float was = *w;
	*w = was + step;
	double above = synthetic_loss(s) * samples;
	*w = was - step;
	double below = synthetic_loss(s) * samples;
	*w = was;
	return (above - below) / (2 * (double)step);
}

/* d loss / d w by differences, for some weights of a parameter. The choice of experts makes the loss jump here and there:
 * then a smaller step stays on one side. */
static void check_gradient(struct synthetic *s, const char *parameter)
{
	static const float step[] = {1e-2f, 2e-3f, 5e-4f};
	char name[128];
	uint64_t n, count;
	(void)snprintf(name, sizeof name, "grad_sum/%s", parameter);
	float *gradient = statistic(s, name, &count), *w = synthetic_tensor(s, parameter, &n);
	size_t steps = s->model.arch.moe.experts > 0 ? 3 : 1;
	double most = 0;
	assert_int_equal(n, count);
	for (uint64_t i = 0; i < n; i++) {
		most = fmax(most, fabs((double)gradient[i]));
	}
	/* An expert may see no token; all other parameters count. */
	assert_true(most > 0 || strstr(parameter, ".experts.") != NULL);
	for (uint64_t i = 0; i < n; i += n / 7 + 1) {
		double want = 0;
		int agrees = 0;
		for (size_t k = 0; !agrees && k < steps; k++) {
			want = difference(s, &w[i], step[k]);
			agrees = fabs(want - (double)gradient[i]) <= 2e-2 * most + 2e-6 / (double)step[k];
		}
		if (!agrees) {
			fail_msg("%s, %s[%llu]: gradient %g, by differences %g", s->model.arch.family, parameter, (unsigned long long)i,
				(double)gradient[i], want);
		}
	}
	free(gradient);
}

/* Every parameter that the checkpoint has, by its first kind: one layer of each is enough. */
static void check_family(const char *config)
{
	struct synthetic s;
	synthetic_open(&s, config);
	synthetic_sample(&s, 0.5f, (const size_t[]){5, 0});
	synthetic_sample(&s, -0.25f, (const size_t[]){4, 3, 0});
	synthetic_corpus(&s);
	for (size_t i = 0; i < s.source.weights->count; i++) {
		check_gradient(&s, s.source.weights->tensors[i].name);
	}
	synthetic_close(&s);
}

static void gradients_of_families(void **state)
{
	(void)state;
	for (size_t i = 0; i < SYNTHETIC_FAMILIES; i++) {
		check_family(synthetic_family[i]);
	}
}

static void check_model(const char *config)
{
	static const char *const parameter[] = {"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
		"model.layers.0.self_attn.k_proj.weight", "model.layers.1.self_attn.v_proj.weight",
		"model.layers.1.self_attn.o_proj.weight", "model.layers.0.mlp.gate_proj.weight", "model.layers.1.mlp.up_proj.weight",
		"model.layers.0.mlp.down_proj.weight", "model.layers.0.input_layernorm.weight",
		"model.layers.1.post_attention_layernorm.weight", "model.norm.weight"};
	struct synthetic s;
	synthetic_open(&s, config);
	synthetic_sample(&s, 0.5f, (const size_t[]){5, 0});
	synthetic_sample(&s, -0.25f, (const size_t[]){4, 3, 0});
	synthetic_corpus(&s);
	for (size_t i = 0; i < sizeof parameter / sizeof *parameter; i++) {
		check_gradient(&s, parameter[i]);
	}
	if (!s.model.arch.tied) {
		check_gradient(&s, "lm_head.weight");
	}
	synthetic_close(&s);
}

static void gradients_with_biases(void **state)
{
	(void)state;
	check_model(SYNTHETIC_CONFIG);
}

static void gradients_tied_as_many_kv_heads(void **state)
{
	(void)state;
	check_model("{\"model_type\": \"llama\", \"num_hidden_layers\": 2, \"hidden_size\": 12, \"num_attention_heads\": 2,"
		    " \"intermediate_size\": 17, \"vocab_size\": 31, \"tie_word_embeddings\": true, \"rope_theta\": 100}");
}

/* A bias moves the logits: it is read, and added where it belongs. */
static void biases_count(void **state)
{
	static const char *const bias[] = {"model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.v_proj.bias",
		"model.layers.1.self_attn.o_proj.bias", "model.layers.1.mlp.gate_proj.bias", "model.layers.0.mlp.down_proj.bias"};
	struct synthetic s;
	(void)state;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	synthetic_sample(&s, 1, (const size_t[]){6, 0});
	synthetic_corpus(&s);
	double was = synthetic_loss(&s);
	for (size_t i = 0; i < sizeof bias / sizeof *bias; i++) {
		float *b = synthetic_tensor(&s, bias[i], NULL), kept = b[1];
		b[1] += 0.5f;
		assert_true(fabs(synthetic_loss(&s) - was) > 1e-6);
		b[1] = kept;
	}
	assert_true(synthetic_loss(&s) == was);
	synthetic_close(&s);
}

/* Longer than a piece by itself, between others: each token's loss is what it is alone, bit by bit. */
static void long_sample(void **state)
{
	const size_t lengths[][2] = {{3, 0}, {CWE_PIECE_TOKENS + 77, 0}, {1, 0}, {4, 0}};
	struct cwe_forward_options o = {.memory = UINT64_MAX};
	struct synthetic s;
	struct cwb_err err = {0};
	(void)state;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	for (size_t i = 0; i < 4; i++) {
		synthetic_sample(&s, 1, lengths[i]);
	}
	synthetic_corpus(&s);
	assert_int_equal(s.corpus.pieces, 3);
	assert_int_equal(s.corpus.widest, CWE_PIECE_TOKENS + 77);
	float *together = calloc(s.corpus.tokens, sizeof *together);
	struct cwe_token_score score = {.nll = together};
	assert_int_equal(cwe_loglik_run(&s.model, &s.corpus, &o, &score, &err), 0);
	uint64_t at = 0;
	for (size_t i = 0; i < 4; i++) {
		struct cwe_sample_set one = {.sample = &s.set.sample[i], .count = 1};
		struct cwe_corpus corpus;
		assert_int_equal(cwe_corpus_new(&one, 1, 0, &corpus, &err), 0);
		float *alone = calloc(corpus.tokens, sizeof *alone);
		score.nll = alone;
		assert_int_equal(cwe_loglik_run(&s.model, &corpus, &o, &score, &err), 0);
		assert_memory_equal(alone, together + at, corpus.tokens * sizeof *alone);
		at += corpus.tokens;
		free(alone);
		cwe_corpus_free(&corpus);
	}
	free(together);
	synthetic_close(&s);
}

/* No prediction counts: no loss, no gradient, and nothing fails. */
static void no_predictions(void **state)
{
	struct synthetic s;
	uint64_t n;
	(void)state;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	synthetic_sample(&s, 0, (const size_t[]){5, 0});
	synthetic_sample(&s, 1, (const size_t[]){1, 0});
	synthetic_corpus(&s);
	assert_true(synthetic_loss(&s) == 0);
	float *g = statistic(&s, "grad_sq/model.layers.0.mlp.up_proj.weight", &n);
	for (uint64_t i = 0; i < n; i++) {
		assert_true(g[i] == 0);
	}
	free(g);
	synthetic_close(&s);
}

static void empty_set(void **state)
{
	struct synthetic s;
	uint64_t n;
	(void)state;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	synthetic_corpus(&s);
	assert_int_equal(s.corpus.pieces, 0);
	float *g = statistic(&s, "act_sq/model.layers.1.mlp.down_proj", &n);
	for (uint64_t i = 0; i < n; i++) {
		assert_true(g[i] == 0);
	}
	free(g);
	synthetic_close(&s);
}

/* Each kind of weight, and each way to read it. */
static void weights_not_finite(void **state)
{
	static const char *const name[] = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight",
		"model.layers.1.input_layernorm.weight", "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.bias"};
	struct cwe_forward_options o = {.memory = UINT64_MAX};
	struct synthetic s;
	(void)state;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	synthetic_sample(&s, 1, (const size_t[]){5, 0});
	synthetic_corpus(&s);
	s.set.sample[0].sequence[0].id[0] = 0; /* row 0 of the embedding is used */
	synthetic_corpus(&s);
	for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
		struct cwb_err err = {0};
		struct cwe_token_score score = {.nll = calloc(s.corpus.tokens, sizeof(float))};
		float *w = synthetic_tensor(&s, name[i], NULL), was = w[3];
		w[3] = i % 2 == 0 ? -INFINITY : NAN;
		assert_int_equal(cwe_loglik_run(&s.model, &s.corpus, &o, &score, &err), CWP_ENUMBER);
		assert_non_null(strstr(err.message, name[i]));
		assert_non_null(strstr(err.message, "element 3"));
		w[3] = was;
		free(score.nll);
	}
	synthetic_close(&s);
}

static void tokens_out_of_range(void **state)
{
	struct cwe_forward_options o = {.memory = UINT64_MAX};
	struct cwb_err err = {0};
	struct synthetic s;
	float nll[8];
	struct cwe_token_score score = {.nll = nll};
	(void)state;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	synthetic_sample(&s, 1, (const size_t[]){5, 0});
	s.set.sample[0].sequence[0].id[4] = 37;
	synthetic_corpus(&s);
	assert_int_equal(cwe_loglik_run(&s.model, &s.corpus, &o, &score, &err), CWP_EVALUE);
	assert_non_null(strstr(err.message, "37"));
	synthetic_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_with_biases),
		cmocka_unit_test(gradients_tied_as_many_kv_heads), cmocka_unit_test(gradients_of_families), cmocka_unit_test(biases_count), cmocka_unit_test(long_sample),
		cmocka_unit_test(no_predictions), cmocka_unit_test(empty_set), cmocka_unit_test(weights_not_finite),
		cmocka_unit_test(tokens_out_of_range)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
