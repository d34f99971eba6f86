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
#include "engine/model/generate.h"
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

/* d loss / d w by differences, for some weights of a parameter. */
static void check_gradient(struct synthetic *s, const char *parameter)
{
	char name[128];
	uint64_t n, count;
	(void)snprintf(name, sizeof name, "grad_sum/%s", parameter);
	float *gradient = statistic(s, name, &count), *w = synthetic_tensor(s, parameter, &n);
	double samples = (double)s->corpus.set_samples[0], most = 0;
	assert_int_equal(n, count);
	for (uint64_t i = 0; i < n; i++) {
		most = fmax(most, fabs((double)gradient[i]));
	}
	assert_true(most > 0);
	for (uint64_t i = 0; i < n; i += n / 7 + 1) {
		const float step = 1e-2f;
		float was = w[i];
		w[i] = was + step;
		double above = synthetic_loss(s) * samples;
		w[i] = was - step;
		double below = synthetic_loss(s) * samples;
		w[i] = was;
		double want = (above - below) / (2 * (double)step);
		if (!(fabs(want - (double)gradient[i]) <= 2e-2 * most + 2e-4)) {
			fail_msg("%s[%llu]: gradient %g, by differences %g", parameter, (unsigned long long)i, (double)gradient[i], want);
		}
	}
	free(gradient);
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
		assert_int_equal(cwe_corpus_new(&one, 1, &corpus, &err), 0);
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

/* With all weights resident, none, or some: the same tokens; and those of a forward pass. */
static void generation(void **state)
{
	const uint32_t prompt[] = {3, 1, 4, 1, 5};
	struct cwb_err err = {0};
	struct synthetic s;
	uint32_t *first = NULL;
	uint64_t n = 0;
	(void)state;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	uint64_t layer = cwe_layer_bytes(&s.model.arch), memory[] = {0, layer, 2 * layer, UINT64_MAX};
	for (size_t i = 0; i < 4; i++) {
		struct cwe_generator *g;
		struct cwe_generation what = {.prompt = prompt, .count = 5, .max_new = 20};
		uint32_t *id;
		uint64_t count;
		assert_int_equal(cwe_generator_new(&s.model, memory[i], 12, &g, &err), 0);
		assert_int_equal(cwe_generator_run(g, &what, &id, &count, &err), 0);
		assert_int_equal(count, 7); /* the room after the prompt */
		if (first != NULL) {
			assert_memory_equal(first, id, count * sizeof *id);
			free(id);
		} else {
			first = id;
			n = count;
		}
		/* A stop is kept, and ends it. */
		what.stop = &first[1];
		what.stops = 1;
		assert_int_equal(cwe_generator_run(g, &what, &id, &count, &err), 0);
		assert_int_equal(count, first[0] == first[1] ? 1 : 2);
		free(id);
		what.count = 13;
		assert_int_equal(cwe_generator_run(g, &what, &id, &count, &err), CWP_ELIMIT);
		cwb_err_clear(&err);
		s.host.cancelled = 1;
		what = (struct cwe_generation){.prompt = prompt, .count = 5, .max_new = 20};
		assert_int_equal(cwe_generator_run(g, &what, &id, &count, &err), CWP_ECANCELLED);
		cwb_err_clear(&err);
		s.host.cancelled = 0;
		cwe_generator_free(g);
	}
	/* Every new token is the most likely one of a forward pass over all of them. */
	synthetic_sample(&s, 1, (const size_t[]){12, 0});
	memcpy(s.set.sample[0].sequence[0].id, prompt, sizeof prompt);
	memcpy(s.set.sample[0].sequence[0].id + 5, first, n * sizeof *first);
	synthetic_corpus(&s);
	float nll[12];
	uint8_t greedy[12] = {0};
	struct cwe_token_score score = {nll, greedy};
	struct cwe_forward_options o = {.memory = UINT64_MAX};
	assert_int_equal(cwe_loglik_run(&s.model, &s.corpus, &o, &score, &err), 0);
	for (size_t i = 5; i < 12; i++) {
		assert_int_equal(greedy[i], 1);
	}
	free(first);
	synthetic_close(&s);
}

static void check_refused(const char *text, int code, const char *said)
{
	struct cwb_err err = {0};
	struct cwe_arch arch;
	json_t *config = json_loads(text, 0, NULL), *all = json_loads(SYNTHETIC_CONFIG, 0, NULL);
	assert_non_null(config);
	(void)json_object_update(all, config);
	assert_int_equal(cwe_arch_read(all, &arch, &err), code);
	if (code != 0 && strstr(err.message, said) == NULL) {
		fail_msg("%s: %s", text, err.message);
	}
	json_decref(config);
	json_decref(all);
}

static void configs(void **state)
{
	(void)state;
	check_refused("{}", 0, "");
	check_refused("{\"sliding_window\": null, \"partial_rotary_factor\": 1.0, \"num_experts\": null}", 0, "");
	check_refused("{\"hidden_size\": null}", CWP_EMISSING, "hidden_size");
	check_refused("{\"hidden_size\": 0}", CWP_EVALUE, "hidden_size");
	check_refused("{\"hidden_size\": 16777217}", CWP_EVALUE, "hidden_size");
	check_refused("{\"vocab_size\": 9223372036854775807}", CWP_EVALUE, "vocab_size");
	check_refused("{\"num_hidden_layers\": 2.5}", CWP_EVALUE, "num_hidden_layers");
	check_refused("{\"head_dim\": 7}", CWP_ESHAPE, "head_dim 7");
	check_refused("{\"head_dim\": 514}", CWP_ESHAPE, "head_dim 514");
	check_refused("{\"num_attention_heads\": 16777216, \"num_key_value_heads\": 1, \"head_dim\": 512}", CWP_ESHAPE, "too wide");
	check_refused("{\"num_key_value_heads\": 2}", CWP_ESHAPE, "does not divide");
	check_refused("{\"hidden_act\": \"gelu\"}", CWP_EVALUE, "gelu");
	check_refused("{\"hidden_act\": 3}", CWP_EVALUE, "hidden_act");
	check_refused("{\"sliding_window\": 1}", CWP_EVALUE, "sliding_window");
	check_refused("{\"num_local_experts\": 8}", CWP_EVALUE, "num_local_experts");
	check_refused("{\"attention_bias\": 1}", CWP_EVALUE, "attention_bias");
	check_refused("{\"rms_norm_eps\": -1}", CWP_EVALUE, "rms_norm_eps");
	check_refused("{\"rope_theta\": 0.5}", CWP_EVALUE, "rope_theta");
	check_refused("{\"rope_scaling\": {\"type\": \"yarn\"}}", CWP_EVALUE, "yarn");
	check_refused("{\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 4,"
		      " \"original_max_position_embeddings\": 8192}}", CWP_EVALUE, "must be above");
	check_refused("{\"rope_parameters\": {\"rope_type\": \"llama3\", \"factor\": 8}}", CWP_EMISSING, "low_freq_factor");
	check_refused("{\"model_type\": \"mamba\"}", CWP_EUNKNOWN, "mamba");
	check_refused("{\"architectures\": [\"LlamaForSequenceClassification\"]}", CWP_EUNKNOWN, "SequenceClassification");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_with_biases),
		cmocka_unit_test(gradients_tied_as_many_kv_heads), cmocka_unit_test(biases_count), cmocka_unit_test(long_sample),
		cmocka_unit_test(no_predictions), cmocka_unit_test(empty_set), cmocka_unit_test(weights_not_finite),
		cmocka_unit_test(tokens_out_of_range), cmocka_unit_test(generation), cmocka_unit_test(configs)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
