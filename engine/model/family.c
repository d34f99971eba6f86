/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The table of families, and the keys that no family or not every family has. */
#include <stdio.h>
#include <string.h>

#include "engine/model/config.h"
#include "engine/model/family.h"

#define NORMS_BEFORE [CWE_NORM_ATTENTION] = "input_layernorm", [CWE_NORM_MLP] = "post_attention_layernorm"
#define NORMS_AROUND                                                                                                   \
	[CWE_NORM_ATTENTION] = "input_layernorm", [CWE_NORM_ATTENTION_OUT] = "post_attention_layernorm",               \
	[CWE_NORM_MLP] = "pre_feedforward_layernorm", [CWE_NORM_MLP_OUT] = "post_feedforward_layernorm"
#define NORMS_AFTER                                                                                                    \
	[CWE_NORM_ATTENTION_OUT] = "post_attention_layernorm", [CWE_NORM_MLP_OUT] = "post_feedforward_layernorm"
#define NORMS_QK [CWE_NORM_Q] = "self_attn.q_norm", [CWE_NORM_K] = "self_attn.k_norm"

#define SILU .activation_key = "hidden_act", .activation = "silu"
#define BIAS_ATTENTION .bias_qkv = {"attention_bias", 0}, .bias_o = {"attention_bias", 0}

static const struct cwe_family_moe mixtral_moe = {
	.experts_key = "num_local_experts", .experts_other_key = "num_experts", .experts = 8, .top_k = 2,
	.normalize = {NULL, 1},
	.names = {.prefix = "block_sparse_moe.experts", .gate = "w1", .up = "w3", .down = "w2",
		.router = "block_sparse_moe.gate"},
};

#define QWEN_EXPERTS                                                                                                   \
	.prefix = "mlp.experts", .gate = "gate_proj", .up = "up_proj", .down = "down_proj", .router = "mlp.gate"

static const struct cwe_family_moe qwen2_moe = {
	.experts_key = "num_experts", .experts = 60, .top_k = 4,
	.intermediate = 1408, .shared = 5632, .normalize = {"norm_topk_prob", 0}, .mixed = 1,
	.names = {QWEN_EXPERTS, .shared_prefix = "mlp.shared_expert", .shared_gate = "mlp.shared_expert_gate"},
};

static const struct cwe_family_moe qwen3_moe = {
	.experts_key = "num_experts", .experts_other_key = "num_local_experts", .experts = 128, .top_k = 8,
	.intermediate = 768, .normalize = {"norm_topk_prob", 0}, .mixed = 1,
	.names = {QWEN_EXPERTS},
};

static const struct cwe_family families[] = {
	{
		.model_type = "llama", .architecture = "LlamaForCausalLM",
		.context = 2048, .norm_eps = 1e-6, SILU, BIAS_ATTENTION, .bias_mlp = {"mlp_bias", 0},
		.rope = {.theta = 1e4}, .norm = {NORMS_BEFORE},
	},
	{
		.model_type = "mistral", .architecture = "MistralForCausalLM",
		.wrapper = "mistral3", .wrapper_architecture = "Mistral3ForConditionalGeneration",
		.flags = CWE_FAMILY_KV_NULL | CWE_FAMILY_LAYER_TYPES,
		.kv_heads = 8, .context = 131072, .norm_eps = 1e-6, SILU, .windows = CWE_WINDOW_ALL, .window = 4096,
		.rope = {.theta = 1e4}, .norm = {NORMS_BEFORE},
	},
	{
		.model_type = "qwen2", .architecture = "Qwen2ForCausalLM",
		.flags = CWE_FAMILY_KV_NULL | CWE_FAMILY_LAYER_TYPES | CWE_FAMILY_USE_WINDOW,
		.kv_heads = 32, .context = 32768, .norm_eps = 1e-6, SILU, .bias_qkv = {NULL, 1},
		.windows = CWE_WINDOW_UPPER, .window = 4096, .rope = {.theta = 1e4}, .norm = {NORMS_BEFORE},
	},
	{
		.model_type = "qwen3", .architecture = "Qwen3ForCausalLM",
		.flags = CWE_FAMILY_KV_NULL | CWE_FAMILY_LAYER_TYPES | CWE_FAMILY_USE_WINDOW | CWE_FAMILY_NORM_HEADS,
		.kv_heads = 32, .head_dim = 128, .context = 32768, .norm_eps = 1e-6, SILU, BIAS_ATTENTION,
		.windows = CWE_WINDOW_UPPER, .window = 4096, .rope = {.theta = 1e4}, .norm = {NORMS_BEFORE, NORMS_QK},
	},
	{
		.model_type = "gemma", .architecture = "GemmaForCausalLM",
		.flags = CWE_FAMILY_TIED | CWE_FAMILY_SCALED_EMBEDDING | CWE_FAMILY_GELU_IS_TANH,
		.kv_heads = 16, .head_dim = 256, .context = 8192, .norm_eps = 1e-6, .norm_offset = 1,
		.activation_key = "hidden_act", .activation = "gelu_pytorch_tanh", BIAS_ATTENTION,
		.rope = {.theta = 1e4}, .norm = {NORMS_BEFORE},
	},
	{
		.model_type = "gemma2", .architecture = "Gemma2ForCausalLM",
		.flags = CWE_FAMILY_TIED | CWE_FAMILY_SCALED_EMBEDDING | CWE_FAMILY_LAYER_TYPES |
			CWE_FAMILY_ATTENTION_SOFTCAP | CWE_FAMILY_LOGIT_SOFTCAP,
		.kv_heads = 4, .head_dim = 256, .context = 8192, .norm_eps = 1e-6, .norm_offset = 1,
		.activation_key = "hidden_activation", .activation = "gelu_pytorch_tanh", BIAS_ATTENTION,
		.query_scale = 256, .attention_softcap = 50, .logit_softcap = 30,
		.windows = CWE_WINDOW_PATTERN, .window = 4096, .pattern = 2,
		.rope = {.theta = 1e4}, .norm = {NORMS_AROUND},
	},
	{
		.model_type = "gemma3_text", .architecture = "Gemma3ForCausalLM",
		.wrapper = "gemma3", .wrapper_architecture = "Gemma3ForConditionalGeneration",
		.flags = CWE_FAMILY_TIED | CWE_FAMILY_SCALED_EMBEDDING | CWE_FAMILY_LAYER_TYPES | CWE_FAMILY_NORM_HEADS |
			CWE_FAMILY_LOGIT_SOFTCAP,
		.heads = 8, .vocabulary = 262208, .kv_heads = 4, .head_dim = 256, .context = 131072, .norm_eps = 1e-6,
		.norm_offset = 1, .activation_key = "hidden_activation", .activation = "gelu_pytorch_tanh", BIAS_ATTENTION,
		.query_scale = 256,
		.windows = CWE_WINDOW_PATTERN, .window = 4096, .pattern_key = "sliding_window_pattern", .pattern = 6,
		.rope = {.theta = 1e6, .local_theta = 1e4}, .norm = {NORMS_AROUND, NORMS_QK},
	},
	{
		.model_type = "phi3", .architecture = "Phi3ForCausalLM", .flags = CWE_FAMILY_FUSED,
		.context = 4096, .norm_eps = 1e-5, SILU, .windows = CWE_WINDOW_ALL,
		.rope = {.theta = 1e4, .original = 4096, .phi = 1}, .norm = {NORMS_BEFORE},
	},
	{
		.model_type = "olmo2", .architecture = "Olmo2ForCausalLM",
		.context = 2048, .norm_eps = 1e-5, SILU, BIAS_ATTENTION,
		.rope = {.theta = 1e4}, .norm = {NORMS_AFTER, NORMS_QK},
	},
	{
		.model_type = "mixtral", .architecture = "MixtralForCausalLM", .flags = CWE_FAMILY_KV_NULL,
		.kv_heads = 8, .context = 131072, .norm_eps = 1e-5, SILU, .windows = CWE_WINDOW_ALL,
		.rope = {.theta = 1e6}, .norm = {NORMS_BEFORE}, .moe = &mixtral_moe,
	},
	{
		.model_type = "qwen2_moe", .architecture = "Qwen2MoeForCausalLM",
		.flags = CWE_FAMILY_LAYER_TYPES | CWE_FAMILY_USE_WINDOW,
		.kv_heads = 16, .intermediate = 5632, .context = 32768, .norm_eps = 1e-6, SILU, .bias_qkv = {"qkv_bias", 1},
		.windows = CWE_WINDOW_EVEN, .window = 4096,
		.rope = {.theta = 1e4}, .norm = {NORMS_BEFORE}, .moe = &qwen2_moe,
	},
	{
		.model_type = "qwen3_moe", .architecture = "Qwen3MoeForCausalLM",
		.flags = CWE_FAMILY_USE_WINDOW | CWE_FAMILY_NORM_HEADS,
		.kv_heads = 4, .intermediate = 6144, .context = 32768, .norm_eps = 1e-6, SILU, BIAS_ATTENTION,
		.windows = CWE_WINDOW_ALL, .window = 4096,
		.rope = {.theta = 1e4}, .norm = {NORMS_BEFORE, NORMS_QK}, .moe = &qwen3_moe,
	},
};

#define FAMILIES (sizeof families / sizeof *families)

const struct cwe_family *cwe_family_find(const char *model_type)
{
	for (size_t i = 0; i < FAMILIES; i++) {
		const struct cwe_family *f = &families[i];
		if (strcmp(f->model_type, model_type) == 0 || (f->wrapper != NULL && strcmp(f->wrapper, model_type) == 0)) {
			return f;
		}
	}
	return NULL;
}

const char *cwe_family_names(char *text, size_t size)
{
	size_t used = 0;
	for (size_t i = 0; i < FAMILIES && used < size; i++) {
		const struct cwe_family *f = &families[i];
		int n = snprintf(text + used, size - used, "%s%s%s%s", i > 0 ? ", " : "", f->model_type,
			f->wrapper != NULL ? ", " : "", f->wrapper != NULL ? f->wrapper : "");
		used += n > 0 ? (size_t)n : 0;
	}
	return text;
}

/* Values with which a key changes nothing, besides null. */
enum off { OFF_NULL, OFF_ZERO /* false, 0, [], {} */, OFF_ONE /* true, 1 */ };

/* What a family must have to read the key itself. */
enum reader { NOBODY, WITH_WINDOWS, WITH_PATTERN, WITH_ATTENTION_SOFTCAP, WITH_LOGIT_SOFTCAP, WITH_QUERY_SCALE,
	WITH_MOE, WITH_SHARED, WITH_QK_NORM, WITH_PARTIAL, WITH_LOCAL_ROPE, WITH_ATTENTION_BIAS, WITH_QKV_BIAS, WITH_MLP_BIAS };

static const struct {
	const char *key;
	enum off off;
	enum reader reader;
} refused[] = {
	/* Attention: masks, scales, shapes. */
	{"sliding_window", OFF_NULL, WITH_WINDOWS},
	{"use_sliding_window", OFF_ZERO, WITH_WINDOWS},
	{"sliding_window_pattern", OFF_NULL, WITH_PATTERN},
	{"attn_logit_softcapping", OFF_NULL, WITH_ATTENTION_SOFTCAP},
	{"query_pre_attn_scalar", OFF_NULL, WITH_QUERY_SCALE},
	{"use_bidirectional_attention", OFF_ZERO, NOBODY},
	{"is_causal", OFF_ONE, NOBODY},
	{"attention_chunk_size", OFF_NULL, NOBODY},
	{"attention_multiplier", OFF_NULL, NOBODY},
	{"attn_temperature_tuning", OFF_ZERO, NOBODY},
	{"clip_qkv", OFF_NULL, NOBODY},
	{"num_kv_shared_layers", OFF_ZERO, NOBODY},
	{"q_lora_rank", OFF_NULL, NOBODY},
	{"kv_lora_rank", OFF_NULL, NOBODY},
	{"use_qk_norm", OFF_ZERO, WITH_QK_NORM},
	{"qk_layernorm", OFF_ZERO, WITH_QK_NORM},
	{"add_cross_attention", OFF_ZERO, NOBODY},
	{"is_encoder_decoder", OFF_ZERO, NOBODY},
	/* Positions. */
	{"partial_rotary_factor", OFF_ONE, WITH_PARTIAL},
	{"rotary_pct", OFF_ONE, NOBODY},
	{"rope_local_base_freq", OFF_NULL, WITH_LOCAL_ROPE},
	{"no_rope_layers", OFF_ZERO, NOBODY},
	{"no_rope_layer_interval", OFF_NULL, NOBODY},
	{"rope_interleaved", OFF_ZERO, NOBODY},
	{"alibi", OFF_ZERO, NOBODY},
	/* Biases. */
	{"attention_bias", OFF_ZERO, WITH_ATTENTION_BIAS},
	{"qkv_bias", OFF_ZERO, WITH_QKV_BIAS},
	{"mlp_bias", OFF_ZERO, WITH_MLP_BIAS},
	{"lm_head_bias", OFF_ZERO, NOBODY},
	/* Experts. */
	{"num_local_experts", OFF_ZERO, WITH_MOE},
	{"num_experts", OFF_ZERO, WITH_MOE},
	{"shared_expert_intermediate_size", OFF_ZERO, WITH_SHARED},
	{"n_routed_experts", OFF_ZERO, NOBODY},
	{"n_shared_experts", OFF_ZERO, NOBODY},
	{"num_shared_experts", OFF_ZERO, NOBODY},
	{"moe_num_experts", OFF_ZERO, NOBODY},
	/* Scales of the residual stream and of the output, and layers that differ. */
	{"final_logit_softcapping", OFF_NULL, WITH_LOGIT_SOFTCAP},
	{"logit_scale", OFF_ONE, NOBODY},
	{"logits_scaling", OFF_ONE, NOBODY},
	{"residual_multiplier", OFF_ONE, NOBODY},
	{"embedding_multiplier", OFF_ONE, NOBODY},
	{"scale_emb", OFF_ONE, NOBODY},
	{"scale_depth", OFF_NULL, NOBODY},
	{"use_parallel_residual", OFF_ZERO, NOBODY},
	{"parallel_attn", OFF_ZERO, NOBODY},
	{"hidden_size_per_layer_input", OFF_NULL, NOBODY},
	{"per_layer_config", OFF_ZERO, NOBODY},
};

static int is_off(const json_t *v, enum off off)
{
	switch (off) {
	case OFF_ZERO:
		return json_is_false(v) || (json_is_number(v) && json_number_value(v) == 0) ||
			(json_is_array(v) && json_array_size(v) == 0) || (json_is_object(v) && json_object_size(v) == 0);
	case OFF_ONE:
		return json_is_true(v) || (json_is_number(v) && json_number_value(v) == 1);
	case OFF_NULL:
		break;
	}
	return 0;
}

/* Whether the key decides, or nothing has to: the biases are always there. */
static int is_choice(const struct cwe_family_choice *c, const char *key)
{
	return c->key != NULL ? strcmp(c->key, key) == 0 : c->standard;
}

static int reads(const struct cwe_family *f, enum reader reader)
{
	switch (reader) {
	case WITH_WINDOWS:
		return f->windows != CWE_WINDOW_NONE;
	case WITH_PATTERN:
		return f->windows == CWE_WINDOW_PATTERN;
	case WITH_ATTENTION_SOFTCAP:
		return (f->flags & CWE_FAMILY_ATTENTION_SOFTCAP) != 0;
	case WITH_LOGIT_SOFTCAP:
		return (f->flags & CWE_FAMILY_LOGIT_SOFTCAP) != 0;
	case WITH_QUERY_SCALE:
		return f->query_scale > 0;
	case WITH_MOE:
		return f->moe != NULL;
	case WITH_SHARED:
		return f->moe != NULL && f->moe->shared > 0;
	case WITH_QK_NORM:
		return f->norm[CWE_NORM_Q] != NULL;
	case WITH_PARTIAL:
		return f->rope.phi;
	case WITH_LOCAL_ROPE:
		return f->rope.local_theta > 0;
	case WITH_ATTENTION_BIAS:
		return is_choice(&f->bias_qkv, "attention_bias");
	case WITH_QKV_BIAS:
		return is_choice(&f->bias_qkv, "qkv_bias");
	case WITH_MLP_BIAS:
		return f->bias_mlp.key != NULL;
	case NOBODY:
		break;
	}
	return 0;
}

int cwe_family_check(const struct cwe_family *family, const json_t *config, struct cwb_err *err)
{
	char text[CWE_CONFIG_TEXT];
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		const json_t *v = cwe_config_get(config, refused[i].key);
		if (v != NULL && !reads(family, refused[i].reader) && !is_off(v, refused[i].off)) {
			return cwb_err_set(err, CWP_EVALUE, "\"%s\" is %s, which is not supported for model_type %s; "
				"remove the key only if the model was trained without it", refused[i].key,
				cwe_config_text(v, text), family->model_type);
		}
	}
	return 0;
}
