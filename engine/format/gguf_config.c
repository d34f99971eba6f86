/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* config.json and generation_config.json of a GGUF file, from its metadata. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/gguf_family.h"

/* Families whose configuration says whether queries, keys, values and outputs have biases. */
#define HAS_ATTENTION_BIAS (CWE_GGUF_LLAMA | CWE_GGUF_QWEN3 | CWE_GGUF_QWEN3MOE | CWE_GGUF_GEMMA | CWE_GGUF_POST_NORMS)

json_t *cwe_gguf_decimal(float x)
{
	char text[64];

	for (int digits = 1; digits <= 9; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, (double)x);
		if (strtof(text, NULL) == x)
			break;
	}
	return json_real(strtod(text, NULL));
}

void cwe_gguf_put(struct cwe_gguf_making *m, json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value))
		m->failed = 1;
}

static void put(struct cwe_gguf_making *m, const char *key, json_t *value)
{
	cwe_gguf_put(m, m->config, key, value);
}

static void put_size(struct cwe_gguf_making *m, const char *key, uint64_t n)
{
	put(m, key, json_integer((json_int_t)n));
}

static void add_sizes(struct cwe_gguf_making *m)
{
	const struct cwe_gguf_sizes *s = &m->s;

	put_size(m, "hidden_size", s->hidden);
	put_size(m, "intermediate_size", s->inner);
	put_size(m, "max_position_embeddings", s->context);
	put_size(m, "num_attention_heads", s->heads);
	put_size(m, "num_hidden_layers", s->layers);
	put_size(m, "num_key_value_heads", s->kv_heads);
	if ((m->f->traits & CWE_GGUF_HEAD_DIM) || s->head_dim * s->heads != s->hidden)
		put_size(m, "head_dim", s->head_dim);
}

static int add_epsilon(struct cwe_gguf_making *m, struct cwb_err *err)
{
	struct cwe_gguf_key key = cwe_gguf_key(m->f, "attention.layer_norm_rms_epsilon");
	float epsilon = 0;
	int rc = cwe_gguf_get_f32(m->g, key.text, &epsilon, err);

	if (rc == 0)
		return cwb_err_set(err, CWP_EMISSING, "%s: key %s is absent", m->g->input.path, key.text);
	put(m, "rms_norm_eps", cwe_gguf_decimal(epsilon));
	return rc < 0 ? rc : 0;
}

/* Gemma 2 and 3 divide by the root of the head's dimension, but for the largest model of each, which has the hidden size
 * over the heads there: no key says so, llama.cpp too goes by the number of layers. */
static int add_attention_scale(struct cwe_gguf_making *m, struct cwb_err *err)
{
	struct cwe_gguf_key key = cwe_gguf_key(m->f, "attention.scale");
	uint64_t scalar = m->s.head_dim;
	float scale = 0;
	int rc;

	if ((m->f->bit == CWE_GGUF_GEMMA2 && m->s.layers == 46) || (m->f->bit == CWE_GGUF_GEMMA3 && m->s.layers == 62))
		scalar = m->s.hidden / m->s.heads;
	if (m->f->bit & (CWE_GGUF_GEMMA2 | CWE_GGUF_GEMMA3))
		put_size(m, "query_pre_attn_scalar", scalar);
	rc = cwe_gguf_get_f32(m->g, key.text, &scale, err);
	if (rc > 0 && scale != 0 && !(fabs((double)scale * sqrt((double)scalar) - 1) <= 1e-6))
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: %s: %g, other than 1 / sqrt(%" PRIu64 "), is not read in a %s model",
			m->g->input.path, key.text, (double)scale, scalar, m->f->model_type);
	return rc < 0 ? rc : 0;
}

/* 0 stands for none. */
static int add_cap(struct cwe_gguf_making *m, const char *part, float cap, struct cwb_err *err)
{
	struct cwe_gguf_key key = cwe_gguf_key(m->f, part);
	int rc = cwe_gguf_get_f32(m->g, key.text, &cap, err);

	if (rc >= 0 && cap < 0)
		return cwb_err_set(err, CWP_EVALUE, "%s: %s: %g is below 0", m->g->input.path, key.text, (double)cap);
	put(m, part, cap > 0 ? cwe_gguf_decimal(cap) : json_null());
	return rc < 0 ? rc : 0;
}

static int add_caps(struct cwe_gguf_making *m, struct cwb_err *err)
{
	int has_standard = m->f->bit == CWE_GGUF_GEMMA2; /* llama.cpp's, when a key is absent */
	int rc;

	if (!(m->f->traits & CWE_GGUF_SOFTCAPS))
		return 0;
	rc = add_cap(m, "attn_logit_softcapping", has_standard ? 50 : 0, err);
	return rc ? rc : add_cap(m, "final_logit_softcapping", has_standard ? 30 : 0, err);
}

/* Which layers have a window, by name: every layer but each period-th, or as listed. */
static json_t *layer_types(const struct cwe_gguf_making *m, const struct cwe_gguf_value *list, uint64_t period)
{
	json_t *types = json_array();

	for (uint64_t i = 0; i < m->s.layers; i++) {
		int is_sliding = list ? list->data[i] : !period || (i + 1) % period;

		if (json_array_append_new(types, json_string(is_sliding ? "sliding_attention" : "full_attention"))) {
			json_decref(types);
			return NULL;
		}
	}
	return types;
}

/* Gemma 2 has a window in every other layer, Gemma 3 in all but each sixth, unless the file says otherwise. */
static int add_pattern(struct cwe_gguf_making *m, int has_window, struct cwb_err *err)
{
	struct cwe_gguf_key key = cwe_gguf_key(m->f, "attention.sliding_window_pattern");
	const struct cwe_gguf_value *list = cwe_gguf_value(m->g, key.text);
	uint64_t usual = m->f->bit == CWE_GGUF_GEMMA2 ? 2 : 6, period = usual;
	int is_list = list && list->is_array, rc;

	if (is_list)
		rc = cwe_gguf_get_array(m->g, key.text, CWE_GGUF_BOOL, &list, err);
	else
		rc = cwe_gguf_get_u64(m->g, key.text, 0, CWE_GGUF_LAYERS_MAX, &period, err);
	if (rc < 0)
		return rc;
	if (is_list && list->count != m->s.layers)
		return cwb_err_set(err, CWP_EVALUE, "%s: %s: %" PRIu64 " entries for %" PRIu64 " layers", m->g->input.path,
			key.text, list->count, m->s.layers);
	if (!has_window)
		period = 1;
	if (has_window && (is_list || !period))
		put(m, "layer_types", layer_types(m, is_list ? list : NULL, period));
	else if (m->f->bit == CWE_GGUF_GEMMA3)
		put_size(m, "sliding_window_pattern", period);
	else if (period != usual)
		put(m, "layer_types", layer_types(m, NULL, period));
	return 0;
}

static int add_window(struct cwe_gguf_making *m, struct cwb_err *err)
{
	struct cwe_gguf_key key = cwe_gguf_key(m->f, "attention.sliding_window");
	uint64_t window = m->f->bit == CWE_GGUF_GEMMA2 ? 4096 : 0; /* llama.cpp's, when the key is absent */
	int rc;

	if (m->f->bit & (CWE_GGUF_QWEN2 | CWE_GGUF_QWEN3 | CWE_GGUF_QWEN_MOE))
		put(m, "use_sliding_window", json_false());
	if (!(m->f->traits & CWE_GGUF_WINDOW))
		return 0;
	rc = cwe_gguf_get_u64(m->g, key.text, 0, CWE_GGUF_SIZE_MAX, &window, err);
	if (rc < 0)
		return rc;
	put(m, "sliding_window", window ? json_integer((json_int_t)window) : json_null());
	if (m->f->traits & CWE_GGUF_LAYER_PATTERN)
		return add_pattern(m, window > 0, err);
	if (window && cwe_gguf_value(m->g, cwe_gguf_key(m->f, "attention.sliding_window_pattern").text))
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: %s_pattern: a window in some layers only is not read in a %s model",
			m->g->input.path, key.text, m->f->model_type);
	return 0;
}

/* No file says whether the chosen experts' weights are made to sum to 1: they are in Mixtral and Qwen3, as in llama.cpp. */
static int add_experts(struct cwe_gguf_making *m, struct cwb_err *err)
{
	struct cwe_gguf_key key = cwe_gguf_key(m->f, "expert_weights_norm");
	int is_mixtral = m->f->bit == CWE_GGUF_MIXTRAL, norm = m->f->bit != CWE_GGUF_QWEN2MOE, rc;

	if (!(m->f->traits & CWE_GGUF_EXPERTS))
		return 0;
	rc = cwe_gguf_get_bool(m->g, key.text, &norm, err);
	if (rc < 0)
		return rc;
	put_size(m, is_mixtral ? "num_local_experts" : "num_experts", m->s.experts);
	put_size(m, "num_experts_per_tok", m->s.experts_used);
	if (is_mixtral)
		return norm ? 0 : cwb_err_set(err, CWP_EUNKNOWN, "%s: %s: false is not read in a mixtral model", m->g->input.path,
			key.text);
	put(m, "norm_topk_prob", json_boolean(norm));
	put_size(m, "decoder_sparse_step", 1);
	put(m, "mlp_only_layers", json_array());
	put_size(m, "moe_intermediate_size", m->s.expert_inner);
	if (m->f->bit == CWE_GGUF_QWEN2MOE)
		put_size(m, "shared_expert_intermediate_size", m->s.shared_inner);
	return 0;
}

static int has_suffix(const char *name, const char *part)
{
	const char *p = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;

	return p && !strncmp(p + 1, part, strlen(part)) && strstr(p, ".bias");
}

/* What the tensors themselves say: vocabulary, biases, tied embeddings, dtype. */
static int add_from_tensors(struct cwe_gguf_making *m, struct cwb_err *err)
{
	const struct cwe_gguf_tensor *embed = cwe_gguf_find(m->g, "token_embd.weight");
	int attention_bias = 0, mlp_bias = 0, has_f16 = 0, has_bf16 = 0;
	uint64_t vocabulary;
	int rc;

	if (!embed || embed->rank != 2)
		return cwb_err_set(err, CWP_EMISSING, "%s: no matrix token_embd.weight", m->g->input.path);
	vocabulary = embed->dims[1];
	rc = cwe_gguf_get_u64(m->g, cwe_gguf_key(m->f, "vocab_size").text, vocabulary, vocabulary, &vocabulary, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < m->g->count; i++) {
		const struct cwe_gguf_tensor *t = &m->g->tensors[i];

		attention_bias |= has_suffix(t->name, "attn_");
		mlp_bias |= has_suffix(t->name, "ffn_");
		has_f16 |= t->type == CWE_GGUF_TYPE_F16;
		has_bf16 |= t->type != CWE_GGUF_TYPE_F16 && t->type != CWE_GGUF_TYPE_F32;
	}
	if (m->f->bit == CWE_GGUF_LLAMA)
		put(m, "mlp_bias", json_boolean(mlp_bias));
	if (m->f->bit == CWE_GGUF_QWEN2MOE)
		put(m, "qkv_bias", json_boolean(attention_bias));
	if (m->f->bit & HAS_ATTENTION_BIAS)
		put(m, "attention_bias", json_boolean(attention_bias));
	put(m, "tie_word_embeddings", json_boolean(!cwe_gguf_find(m->g, "output.weight")));
	put(m, "torch_dtype", json_string(has_bf16 ? "bfloat16" : has_f16 ? "float16" : "float32"));
	put_size(m, "vocab_size", vocabulary);
	return 0;
}

static int add_token_ids(const struct cwe_gguf *g, json_t *to, struct cwb_err *err)
{
	static const struct {
		const char *gguf, *hugging_face;
	} ids[] = {
		{"tokenizer.ggml.bos_token_id", "bos_token_id"},
		{"tokenizer.ggml.eos_token_id", "eos_token_id"},
		{"tokenizer.ggml.padding_token_id", "pad_token_id"},
	};

	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
		uint64_t id;
		int rc = cwe_gguf_get_u64(g, ids[i].gguf, 0, CWE_GGUF_SIZE_MAX, &id, err);

		if (rc < 0)
			return rc;
		if (rc && json_object_set_new(to, ids[i].hugging_face, json_integer((json_int_t)id)))
			return cwb_err_set(err, -ENOMEM, "%s: out of memory for its configuration", g->input.path);
	}
	return 0;
}

/* What a family says by itself. */
static json_t *begin(const struct cwe_gguf_family *f)
{
	const char *activation = "hidden_act", *name = "silu";
	json_t *config;

	if (f->traits & CWE_GGUF_NORM_OFFSET)
		name = "gelu_pytorch_tanh";
	if (f->bit & (CWE_GGUF_GEMMA2 | CWE_GGUF_GEMMA3))
		activation = "hidden_activation";
	config = json_pack("{s:[s], s:s, s:f, s:s, s:b}", "architectures", f->class_name, "model_type", f->model_type,
		"attention_dropout", 0.0, activation, name, "use_cache", 1);
	if (f->bit == CWE_GGUF_LLAMA && json_object_set_new(config, "pretraining_tp", json_integer(1))) {
		json_decref(config);
		return NULL;
	}
	return config;
}

static int fill(struct cwe_gguf_making *m, struct cwb_err *err)
{
	int rc = cwe_gguf_sizes_of(m->g, m->f, &m->s, err);

	if (rc)
		return rc;
	add_sizes(m);
	rc = add_epsilon(m, err);
	if (!rc)
		rc = add_attention_scale(m, err);
	if (!rc)
		rc = add_caps(m, err);
	if (!rc)
		rc = add_window(m, err);
	if (!rc)
		rc = cwe_gguf_rope(m, err);
	if (!rc)
		rc = add_experts(m, err);
	if (!rc)
		rc = add_from_tensors(m, err);
	return rc ? rc : add_token_ids(m->g, m->config, err);
}

int cwe_gguf_config(const struct cwe_gguf *g, json_t **ret, struct cwb_err *err)
{
	struct cwe_gguf_making m = {.g = g};
	int rc = cwe_gguf_family_of(g, &m.f, err);

	if (rc)
		return rc;
	m.config = begin(m.f);
	rc = m.config ? fill(&m, err) : 0;
	if (!rc && (!m.config || m.failed))
		rc = cwb_err_set(err, -ENOMEM, "%s: out of memory for its configuration", g->input.path);
	if (rc) {
		json_decref(m.config);
		return rc;
	}
	*ret = m.config;
	return 0;
}

int cwe_gguf_generation_config(const struct cwe_gguf *g, json_t **ret, struct cwb_err *err)
{
	json_t *config = json_object(), *eos;
	uint64_t turn = 0;
	int rc;

	if (!config)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory for its configuration", g->input.path);
	rc = add_token_ids(g, config, err);
	/* A chat model ends its turn with another token than its text: generation stops at either. */
	if (!rc)
		rc = cwe_gguf_get_u64(g, "tokenizer.ggml.eot_token_id", 0, CWE_GGUF_SIZE_MAX, &turn, err);
	eos = json_object_get(config, "eos_token_id");
	if (rc > 0 && eos && json_integer_value(eos) != (json_int_t)turn)
		json_object_set_new(config, "eos_token_id",
			json_pack("[I, I]", json_integer_value(eos), (json_int_t)turn));
	if (rc < 0) {
		json_decref(config);
		return rc;
	}
	*ret = config;
	return 0;
}
