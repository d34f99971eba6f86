/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* config.json and generation_config.json of a GGUF file, from its metadata. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/gguf.h"

#define COUNT_MAX (1u << 30) /* more than any dimension of a model */
#define ROTARY_MAX 1024

int cwe_gguf_check_architecture(const struct cwe_gguf *g, struct cwb_err *err)
{
	const char *name = NULL, *path = g->input.path;
	uint64_t n;
	int rc = cwe_gguf_get_string(g, "general.architecture", &name, err);

	if (rc < 0)
		return rc;
	if (!name)
		return cwb_err_set(err, CWP_EMISSING, "%s: key general.architecture is absent", path);
	if (strcmp(name, "llama") != 0)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: general.architecture: \"%.100s\" is not read from GGUF files, only "
			"\"llama\"; take the model's safetensors", path, name);
	n = 0;
	rc = cwe_gguf_get_u64(g, "llama.expert_count", 0, UINT64_MAX, &n, err);
	if (rc >= 0 && n)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: llama.expert_count: %" PRIu64 "; a mixture of experts is not read from "
			"GGUF files, take the model's safetensors", path, n);
	if (rc >= 0)
		rc = cwe_gguf_get_u64(g, "llama.attention.sliding_window", 0, UINT64_MAX, &n, err);
	if (rc > 0 && n)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: llama.attention.sliding_window: %" PRIu64 "; windows are not read from "
			"GGUF files, take the model's safetensors", path, n);
	return rc < 0 ? rc : 0;
}

/* The decimal that an author wrote: the shortest that gives this f32. Whole numbers become integers. */
static json_t *number(float x)
{
	char text[64];

	if (floorf(x) == x && fabsf(x) < 9e15f)
		return json_integer((json_int_t)x);
	for (int digits = 1; digits <= 9; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, (double)x);
		if (strtof(text, NULL) == x)
			break;
	}
	return json_real(strtod(text, NULL));
}

/* As llama.cpp's converter makes rope_freqs.weight from the llama3 scaling with the parameters that all models so far have. */
static double llama3_factor(double base, uint64_t i, uint64_t rotary, double factor)
{
	double wavelength = 2 * M_PI * pow(base, 2.0 * (double)i / (double)rotary), smooth;

	if (wavelength < 8192.0 / 4)
		return 1;
	if (wavelength > 8192.0)
		return factor;
	smooth = (8192.0 / wavelength - 1) / (4 - 1);
	return 1 / ((1 - smooth) / factor + smooth);
}

/* The llama3 scaling is in a GGUF file only as a tensor of factors; the parameters are taken back from it and checked
 * against every one of them. */
static int llama3_scaling(const struct cwe_gguf *g, const struct cwe_gguf_tensor *t, double base, json_t **ret,
	struct cwb_err *err)
{
	float factor[ROTARY_MAX];
	uint64_t n = t->dims[0];
	float largest = 1;
	int rc;

	if (t->type != CWE_GGUF_TYPE_F32 || t->rank != 1 || n > ROTARY_MAX)
		return cwb_err_set(err, CWP_ESHAPE, "%s: tensor \"%s\" is no list of at most %d F32 factors", g->input.path,
			t->name, ROTARY_MAX);
	rc = cwe_input_read(&g->input, t->offset, factor, n * sizeof *factor, err);
	if (rc)
		return rc;
	for (uint64_t i = 0; i < n; i++)
		largest = factor[i] > largest ? factor[i] : largest;
	for (uint64_t i = 0; i < n; i++)
		if (!(fabs(factor[i] - llama3_factor(base, i, 2 * n, largest)) <= 1e-4 * (double)largest))
			return cwb_err_set(err, CWP_EUNKNOWN, "%s: tensor \"%s\": its factors are not those of the llama3 scaling "
				"from 8192 tokens; take the model's safetensors", g->input.path, t->name);
	*ret = json_pack("{s:s, s:o, s:f, s:f, s:i}", "rope_type", "llama3", "factor", number(largest), "low_freq_factor", 1.0,
		"high_freq_factor", 4.0, "original_max_position_embeddings", 8192);
	return 0;
}

static int linear_scaling(const struct cwe_gguf *g, json_t **ret, struct cwb_err *err)
{
	const char *type = NULL;
	float factor = 1;
	int rc = cwe_gguf_get_string(g, "llama.rope.scaling.type", &type, err);

	if (rc >= 0)
		rc = cwe_gguf_get_f32(g, type ? "llama.rope.scaling.factor" : "llama.rope.scale_linear", &factor, err);
	if (rc < 0)
		return rc;
	if (type && !strcmp(type, "none"))
		factor = 1;
	else if (type && strcmp(type, "linear") != 0)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: llama.rope.scaling.type: \"%.100s\" is not read from GGUF files; take the "
			"model's safetensors", g->input.path, type);
	*ret = factor == 1 ? json_null() : json_pack("{s:s, s:o}", "rope_type", "linear", "factor", number(factor));
	return 0;
}

static int add_rope(const struct cwe_gguf *g, json_t *config, struct cwb_err *err)
{
	const struct cwe_gguf_tensor *factors = cwe_gguf_find(g, "rope_freqs.weight");
	json_t *scaling = NULL;
	float base = 10000; /* what llama.cpp takes when the key is absent */
	int rc = cwe_gguf_get_f32(g, "llama.rope.freq_base", &base, err);

	if (rc >= 0)
		rc = linear_scaling(g, &scaling, err);
	if (rc >= 0 && factors) {
		if (!json_is_null(scaling))
			rc = cwb_err_set(err, CWP_EUNKNOWN, "%s: llama.rope.scaling beside rope_freqs.weight is not read",
				g->input.path);
		json_decref(scaling);
		scaling = NULL;
		if (rc >= 0)
			rc = llama3_scaling(g, factors, (double)base, &scaling, err);
	}
	if (rc < 0) {
		json_decref(scaling);
		return rc;
	}
	json_object_set_new(config, "rope_scaling", scaling);
	json_object_set_new(config, "rope_theta", number(base));
	return 0;
}

/* Head dimension: only written where it is not hidden_size / heads. All of a head is rotated. */
static int add_head(const struct cwe_gguf *g, json_t *config, uint64_t hidden, uint64_t heads, struct cwb_err *err)
{
	uint64_t head = hidden / heads, value, rotary;
	int rc = cwe_gguf_get_u64(g, "llama.attention.key_length", 1, COUNT_MAX, &head, err);

	value = rotary = head;
	if (rc >= 0)
		rc = cwe_gguf_get_u64(g, "llama.attention.value_length", 1, COUNT_MAX, &value, err);
	if (rc >= 0)
		rc = cwe_gguf_get_u64(g, "llama.rope.dimension_count", 1, COUNT_MAX, &rotary, err);
	if (rc < 0)
		return rc;
	if (value != head || rotary != head)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: llama.rope.dimension_count %" PRIu64 " and llama.attention.value_length %"
			PRIu64 " must both be the head dimension %" PRIu64, g->input.path, rotary, value, head);
	if (head * heads != hidden)
		json_object_set_new(config, "head_dim", json_integer((json_int_t)head));
	return 0;
}

static int has_suffix(const char *name, const char *part)
{
	const char *p = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;

	return p && !strncmp(p + 1, part, strlen(part)) && strstr(p, ".bias");
}

/* What the tensors themselves say: vocabulary, biases, tied embeddings, dtype. */
static int add_from_tensors(const struct cwe_gguf *g, json_t *config, struct cwb_err *err)
{
	const struct cwe_gguf_tensor *embed = cwe_gguf_find(g, "token_embd.weight");
	int attention_bias = 0, mlp_bias = 0, has_f16 = 0, has_bf16 = 0;
	uint64_t vocabulary;
	int rc;

	if (!embed || embed->rank != 2)
		return cwb_err_set(err, CWP_EMISSING, "%s: no matrix token_embd.weight", g->input.path);
	vocabulary = embed->dims[1];
	rc = cwe_gguf_get_u64(g, "llama.vocab_size", vocabulary, vocabulary, &vocabulary, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < g->count; i++) {
		const struct cwe_gguf_tensor *t = &g->tensors[i];

		attention_bias |= has_suffix(t->name, "attn_");
		mlp_bias |= has_suffix(t->name, "ffn_");
		has_f16 |= t->type == CWE_GGUF_TYPE_F16;
		has_bf16 |= t->type != CWE_GGUF_TYPE_F16 && t->type != CWE_GGUF_TYPE_F32;
	}
	json_object_set_new(config, "attention_bias", json_boolean(attention_bias));
	json_object_set_new(config, "mlp_bias", json_boolean(mlp_bias));
	json_object_set_new(config, "tie_word_embeddings", json_boolean(!cwe_gguf_find(g, "output.weight")));
	json_object_set_new(config, "torch_dtype", json_string(has_bf16 ? "bfloat16" : has_f16 ? "float16" : "float32"));
	json_object_set_new(config, "vocab_size", json_integer((json_int_t)vocabulary));
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
		int rc = cwe_gguf_get_u64(g, ids[i].gguf, 0, COUNT_MAX, &id, err);

		if (rc < 0)
			return rc;
		if (rc)
			json_object_set_new(to, ids[i].hugging_face, json_integer((json_int_t)id));
	}
	return 0;
}

static int add_sizes(const struct cwe_gguf *g, json_t *config, struct cwb_err *err)
{
	uint64_t hidden = 0, heads = 1, kv_heads, inner = 0, layers = 0, context = 0;
	int rc = cwe_gguf_need_u64(g, "llama.embedding_length", COUNT_MAX, &hidden, err);

	if (!rc)
		rc = cwe_gguf_need_u64(g, "llama.attention.head_count", COUNT_MAX, &heads, err);
	if (!rc)
		rc = cwe_gguf_need_u64(g, "llama.feed_forward_length", COUNT_MAX, &inner, err);
	if (!rc)
		rc = cwe_gguf_need_u64(g, "llama.block_count", COUNT_MAX, &layers, err);
	if (!rc)
		rc = cwe_gguf_need_u64(g, "llama.context_length", COUNT_MAX, &context, err);
	kv_heads = heads;
	if (!rc)
		rc = cwe_gguf_get_u64(g, "llama.attention.head_count_kv", 1, COUNT_MAX, &kv_heads, err);
	if (rc < 0)
		return rc;
	json_object_set_new(config, "hidden_size", json_integer((json_int_t)hidden));
	json_object_set_new(config, "intermediate_size", json_integer((json_int_t)inner));
	json_object_set_new(config, "max_position_embeddings", json_integer((json_int_t)context));
	json_object_set_new(config, "num_attention_heads", json_integer((json_int_t)heads));
	json_object_set_new(config, "num_hidden_layers", json_integer((json_int_t)layers));
	json_object_set_new(config, "num_key_value_heads", json_integer((json_int_t)kv_heads));
	return add_head(g, config, hidden, heads, err);
}

static int add_epsilon(const struct cwe_gguf *g, json_t *config, struct cwb_err *err)
{
	float epsilon = 0;
	int rc = cwe_gguf_get_f32(g, "llama.attention.layer_norm_rms_epsilon", &epsilon, err);

	if (rc == 0)
		return cwb_err_set(err, CWP_EMISSING, "%s: key llama.attention.layer_norm_rms_epsilon is absent", g->input.path);
	json_object_set_new(config, "rms_norm_eps", number(epsilon));
	return rc < 0 ? rc : 0;
}

int cwe_gguf_config(const struct cwe_gguf *g, json_t **ret, struct cwb_err *err)
{
	json_t *config = NULL;
	int rc = cwe_gguf_check_architecture(g, err);

	if (rc)
		return rc;
	config = json_pack("{s:[s], s:s, s:f, s:s, s:i, s:b}", "architectures", "LlamaForCausalLM", "model_type", "llama",
		"attention_dropout", 0.0, "hidden_act", "silu", "pretraining_tp", 1, "use_cache", 1);
	if (!config)
		return cwb_err_set(err, -ENOMEM, "%s: out of memory for its configuration", g->input.path);
	rc = add_sizes(g, config, err);
	if (!rc)
		rc = add_epsilon(g, config, err);
	if (!rc)
		rc = add_rope(g, config, err);
	if (!rc)
		rc = add_from_tensors(g, config, err);
	if (!rc)
		rc = add_token_ids(g, config, err);
	if (rc) {
		json_decref(config);
		return rc;
	}
	*ret = config;
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
		rc = cwe_gguf_get_u64(g, "tokenizer.ggml.eot_token_id", 0, COUNT_MAX, &turn, err);
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
