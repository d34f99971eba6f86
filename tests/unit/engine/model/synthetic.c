/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Weights from a generator of numbers, behind the interface that files have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/calibrate/loglik.h"
#include "tests/unit/engine/model/remote.h"
#include "tests/unit/engine/model/synthetic.h"

#define TENSORS 128

const char *const synthetic_family[SYNTHETIC_FAMILIES] = {
	/* norms of queries and keys by head, attention wider than the model */
	"{\"model_type\": \"qwen3\", \"num_hidden_layers\": 2, \"hidden_size\": 12, \"num_attention_heads\": 4,"
	" \"num_key_value_heads\": 2, \"head_dim\": 6, \"intermediate_size\": 17, \"vocab_size\": 31}",
	/* norms on both sides, soft limits, windows, 1 + w, scaled and tied embeddings */
	"{\"model_type\": \"gemma2\", \"num_hidden_layers\": 2, \"hidden_size\": 12, \"num_attention_heads\": 2,"
	" \"num_key_value_heads\": 1, \"head_dim\": 6, \"intermediate_size\": 17, \"vocab_size\": 31, \"sliding_window\": 3,"
	" \"attn_logit_softcapping\": 2.0, \"final_logit_softcapping\": 1.5, \"query_pre_attn_scalar\": 5}",
	/* two rotary embeddings */
	"{\"model_type\": \"gemma3_text\", \"num_hidden_layers\": 2, \"hidden_size\": 12, \"num_attention_heads\": 2,"
	" \"num_key_value_heads\": 1, \"head_dim\": 6, \"intermediate_size\": 17, \"vocab_size\": 31, \"sliding_window\": 2,"
	" \"sliding_window_pattern\": 2, \"rope_theta\": 1000, \"rope_local_base_freq\": 10}",
	/* norms of outputs only, and over whole projections */
	"{\"model_type\": \"olmo2\", \"num_hidden_layers\": 2, \"hidden_size\": 12, \"num_attention_heads\": 2,"
	" \"intermediate_size\": 17, \"vocab_size\": 31}",
	/* several roles in one matrix, part of a head rotated */
	"{\"model_type\": \"phi3\", \"num_hidden_layers\": 2, \"hidden_size\": 24, \"num_attention_heads\": 3,"
	" \"num_key_value_heads\": 1, \"intermediate_size\": 17, \"vocab_size\": 31, \"partial_rotary_factor\": 0.5,"
	" \"pad_token_id\": 0}",
	/* experts, each of them and none at times; layers without; a shared one */
	"{\"model_type\": \"mixtral\", \"num_hidden_layers\": 1, \"hidden_size\": 12, \"num_attention_heads\": 2,"
	" \"num_key_value_heads\": 1, \"intermediate_size\": 9, \"vocab_size\": 31, \"num_local_experts\": 4}",
	"{\"model_type\": \"qwen2_moe\", \"num_hidden_layers\": 2, \"hidden_size\": 12, \"num_attention_heads\": 2,"
	" \"num_key_value_heads\": 1, \"intermediate_size\": 9, \"vocab_size\": 31, \"num_experts\": 5, \"num_experts_per_tok\": 3,"
	" \"moe_intermediate_size\": 7, \"shared_expert_intermediate_size\": 10, \"mlp_only_layers\": [1]}",
	"{\"model_type\": \"qwen3_moe\", \"num_hidden_layers\": 2, \"hidden_size\": 12, \"num_attention_heads\": 2,"
	" \"num_key_value_heads\": 1, \"head_dim\": 8, \"intermediate_size\": 9, \"vocab_size\": 31, \"num_experts\": 6,"
	" \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 7, \"norm_topk_prob\": true}"};

struct memory {
	struct cwe_weights base;
	struct cwe_tensor tensor[TENSORS];
	char name[TENSORS][CWE_MODULE_NAME_MAX];
	float *data[TENSORS];
};

static int read_f32(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *dst,
	struct cwb_err *err)
{
	const struct memory *m = (const struct memory *)w;
	uint64_t cols = t->rank > 1 ? t->shape[1] : 1;
	if (row + rows > t->shape[0]) {
		return cwb_err_set(err, CWP_ESHAPE, "%s has no such rows", t->name);
	}
	memcpy(dst, m->data[t->index] + row * cols, rows * cols * sizeof *dst);
	return 0;
}

static int read_raw(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, void *dst,
	struct cwb_err *err)
{
	return read_f32(w, t, row, rows, dst, err);
}

static void close_memory(struct cwe_weights *w)
{
	struct memory *m = (struct memory *)w;
	for (size_t i = 0; i < w->count; i++) {
		free(m->data[i]);
	}
	free(m);
}

static void add(struct memory *m, const char *name, uint64_t rows, uint64_t cols, float centre)
{
	size_t i = m->base.count++;
	assert_true(i < TENSORS);
	(void)snprintf(m->name[i], sizeof m->name[i], "%s", name);
	uint64_t n = rows * (cols > 0 ? cols : 1);
	m->data[i] = malloc(n * sizeof(float));
	for (uint64_t k = 0; k < n; k++) {
		m->data[i][k] = centre + 0.4f * ((float)(cwe_random(7, i, k) >> 40) / (float)(1 << 24) - 0.5f);
	}
	m->tensor[i] = (struct cwe_tensor){.name = m->name[i], .dtype = CWP_F32, .rank = cols > 0 ? 2 : 1, .shape = {rows, cols},
		.index = i};
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct cwe_tensor *)a)->name, ((const struct cwe_tensor *)b)->name);
}

static struct cwe_weights *make_weights(const struct cwe_arch *a)
{
	static const struct cwe_weights_ops ops = {.read_f32 = read_f32, .read_raw = read_raw, .close = close_memory};
	struct memory *m = calloc(1, sizeof *m);
	char name[CWE_MODULE_NAME_MAX + 8];
	assert_non_null(m);
	add(m, "model.embed_tokens.weight", a->vocabulary, a->hidden, 0);
	add(m, "model.norm.weight", a->hidden, 0, 1 - a->norm_offset);
	if (!a->tied) {
		add(m, "lm_head.weight", a->vocabulary, a->hidden, 0);
	}
	for (uint32_t l = 0; l < a->layers; l++) {
		for (int i = 0; i < CWE_NORMS; i++) {
			if (a->norm[i] != NULL) {
				(void)snprintf(name, sizeof name, "model.layers.%u.%s.weight", l, a->norm[i]);
				add(m, name, cwe_norm_width(a, i), 0, 1 - a->norm_offset);
			}
		}
		for (uint32_t i = 0; i < cwe_linears(a, l); i++) {
			struct cwe_linear linear;
			cwe_linear_at(a, l, i, &linear);
			(void)snprintf(name, sizeof name, "model.layers.%u.%s.weight", l, linear.name);
			add(m, name, linear.rows, linear.cols, 0);
			(void)snprintf(name, sizeof name, "model.layers.%u.%s.bias", l, linear.name);
			if (linear.bias) {
				add(m, name, linear.rows, 0, 0);
			}
		}
	}
	qsort(m->tensor, m->base.count, sizeof *m->tensor, by_name);
	m->base.ops = &ops;
	m->base.tensors = m->tensor;
	return &m->base;
}

void synthetic_open(struct synthetic *s, const char *config)
{
	static char path[] = "synthetic";
	struct cwb_err err = {0};
	struct cwe_arch arch;
	const char *plugins = getenv("CWP_PLUGIN_DIR");
	memset(s, 0, sizeof *s);
	assert_non_null(plugins);
	s->source = (struct cwe_source){.path = path, .config = json_loads(config, 0, NULL)};
	assert_non_null(s->source.config);
	int r = cwe_arch_read(s->source.config, &arch, &err);
	if (r == 0) {
		s->source.weights = make_weights(&arch);
		r = cwe_pool_new(2, &s->pool, &err);
	}
	if (r == 0) {
		cwe_host_init(&s->host, s->pool, 0);
		r = cwe_registry_new(&plugins, 1, CWE_REGISTRY_ANY_OWNER, &s->registry, &err);
	}
	r = r == 0 ? cwe_device_open(s->registry, &s->host, &(struct cwe_device_choice){0}, &s->device, &err) : r;
	if (r == 0) {
		remote_replace(&s->host, &s->device);
	}
	r = r == 0 ? cwe_model_open(&s->source, NULL, &s->device, &s->model, &err) : r;
	if (r != 0) {
		fail_msg("%s", err.message);
	}
}

void synthetic_close(struct synthetic *s)
{
	cwe_corpus_free(&s->corpus);
	cwe_samples_free(&s->set);
	cwe_device_close(&s->device);
	cwe_registry_free(s->registry);
	cwe_pool_free(s->pool);
	cwe_weights_close(s->source.weights);
	json_decref(s->source.config);
	memset(s, 0, sizeof *s);
}

float *synthetic_tensor(struct synthetic *s, const char *name, uint64_t *ret_count)
{
	const struct cwe_tensor *t = cwe_weights_find(s->source.weights, name);
	assert_non_null(t);
	if (ret_count != NULL) {
		*ret_count = t->shape[0] * (t->rank > 1 ? t->shape[1] : 1);
	}
	return ((struct memory *)s->source.weights)->data[t->index];
}

void synthetic_sample(struct synthetic *s, float weight, const size_t *length)
{
	struct cwe_sample_set *set = &s->set;
	set->sample = realloc(set->sample, (set->count + 1) * sizeof *set->sample);
	assert_non_null(set->sample);
	struct cwe_sample *sample = &set->sample[set->count];
	*sample = (struct cwe_sample){0};
	for (; length[sample->count] > 0; sample->count++) {
		size_t n = length[sample->count];
		sample->sequence = realloc(sample->sequence, (sample->count + 1) * sizeof *sample->sequence);
		assert_non_null(sample->sequence);
		struct cwe_sequence *q = &sample->sequence[sample->count];
		*q = (struct cwe_sequence){malloc(n * sizeof *q->id), calloc(n, sizeof *q->weight), n};
		for (size_t t = 0; t < n; t++) {
			q->id[t] = (uint32_t)(cwe_random(11, set->count, t + 97 * sample->count) % s->model.arch.vocabulary);
			q->weight[t] = t > 0 ? weight : 0;
		}
		set->tokens += n;
	}
	set->count++;
}

void synthetic_corpus(struct synthetic *s)
{
	struct cwb_err err = {0};
	cwe_corpus_free(&s->corpus);
	if (cwe_corpus_new(&s->set, 1, 0, &s->corpus, &err) != 0) {
		fail_msg("%s", err.message);
	}
}

double synthetic_loss(struct synthetic *s)
{
	struct cwb_err err = {0};
	struct cwe_forward_options o = {.memory = UINT64_MAX};
	struct cwe_token_score score = {.nll = calloc(s->corpus.tokens + 1, sizeof(float))};
	double loss = 0;
	if (cwe_loglik_run(&s->model, &s->corpus, &o, &score, &err) != 0) {
		fail_msg("%s", err.message);
	}
	for (uint64_t t = 0; t < s->corpus.tokens; t++) {
		loss += (double)s->corpus.weight[t] * (double)score.nll[t];
	}
	free(score.nll);
	return loss / (double)s->corpus.set_samples[0];
}
