/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What a config.json may not say: sizes out of range, shapes that do not fit, unknown models, and keys that change the
 * arithmetic in a way that is not there. Each message names the key and its value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/engine/model/configs.h"

#define LLAMA CONFIG("llama")

/* Every size of every family, with values that no size has. */
static void sizes(void **state)
{
	static const char *const llama[] = {"num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads",
		"head_dim", "intermediate_size", "vocab_size", "max_position_embeddings"};
	static const char *const moe[] = {"num_experts", "num_experts_per_tok", "moe_intermediate_size",
		"shared_expert_intermediate_size", "decoder_sparse_step"};
	static const char *const bad[] = {"0", "-1", "2.5", "4.0", "16777217", "9223372036854775807", "'64'", "[64]", "true"};
	char changes[128], said[128];
	(void)state;
	for (size_t i = 0; i < 13; i++) {
		const char *key = i < 8 ? llama[i] : moe[i - 8];
		for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
			(void)snprintf(changes, sizeof changes, "{'%s': %s}", key, bad[k]);
			(void)snprintf(said, sizeof said, "\"%s\" is %s%s", key, bad[k][0] == '\'' ? "\"64\"" : bad[k],
				", and must be a whole number from 1 to 16777216");
			config_refused(i < 8 ? LLAMA : CONFIG("qwen2_moe"), changes, CWP_EVALUE, said, NULL);
		}
	}
	for (size_t i = 0; i < 7; i++) {
		if (i != 3 && i != 4) { /* which have a safe default here */
			(void)snprintf(changes, sizeof changes, "{'%s': %s}", llama[i], i % 2 == 0 ? "null" : "'absent'");
			config_refused(LLAMA, changes, CWP_EMISSING, llama[i], "no safe default");
		}
	}
	config_refused(LLAMA, "{'num_hidden_layers': 1025}", CWP_EVALUE, "num_hidden_layers\" is 1025", "1024");
	config_refused(CONFIG("mixtral"), "{'num_local_experts': 1025}", CWP_EVALUE, "num_local_experts\" is 1025", "1024");
	assert_int_equal(config_read(LLAMA, "{'num_hidden_layers': 1024}").layers, 1024);
	assert_int_equal(config_read(CONFIG("mixtral"), "{'num_local_experts': 1024}").moe.experts, 1024);
}

static void shapes(void **state)
{
	(void)state;
	config_refused(LLAMA, "{'num_key_value_heads': 5}", CWP_ESHAPE, "num_key_value_heads 5", "num_attention_heads 32");
	config_refused(LLAMA, "{'num_key_value_heads': 64}", CWP_ESHAPE, "num_key_value_heads 64", "num_attention_heads 32");
	config_refused(LLAMA, "{'num_attention_heads': 7}", CWP_ESHAPE, "num_attention_heads 7", "hidden_size 64");
	config_refused(LLAMA, "{'num_attention_heads': 128}", CWP_ESHAPE, "num_attention_heads 128", "hidden_size 64");
	assert_int_equal(config_read(LLAMA, "{'num_attention_heads': 7, 'head_dim': 8}").kv_heads, 7);
	config_refused(LLAMA, "{'num_attention_heads': 64}", CWP_ESHAPE, "head_dim 1 ", "even");
	config_refused(LLAMA, "{'head_dim': 7}", CWP_ESHAPE, "head_dim 7", "even");
	config_refused(LLAMA, "{'head_dim': 514}", CWP_ESHAPE, "head_dim 514", "at most 512");
	assert_int_equal(config_read(LLAMA, "{'head_dim': 512}").rope[1].rotary, 512);
	config_refused(LLAMA, "{'num_attention_heads': 16777216, 'num_key_value_heads': 1, 'head_dim': 512}", CWP_ESHAPE,
		"16777216 heads of 512", "too wide");
	config_refused(CONFIG("mixtral"), "{'num_local_experts': 3, 'num_experts_per_tok': 4}", CWP_ESHAPE,
		"num_experts_per_tok 4", "num_local_experts 3");
	config_refused(CONFIG("gemma2"), "{'layer_types': ['full_attention']}", CWP_ESHAPE, "layer_types\" has 1", "4");
	config_refused(CONFIG("gemma2"), "{'layer_types': 'full_attention'}", CWP_ESHAPE, "layer_types", "4");
}

static void values(void **state)
{
	(void)state;
	config_refused(LLAMA, "{'rms_norm_eps': -1}", CWP_EVALUE, "rms_norm_eps\" is -1", "above 0");
	config_refused(LLAMA, "{'rms_norm_eps': 1e300}", CWP_EVALUE, "rms_norm_eps\" is 1e300", NULL);
	config_refused(LLAMA, "{'attention_bias': 1}", CWP_EVALUE, "attention_bias\" is 1", "true or false");
	config_refused(LLAMA, "{'mlp_bias': 'yes'}", CWP_EVALUE, "mlp_bias\" is \"yes\"", "true or false");
	config_refused(LLAMA, "{'tie_word_embeddings': 0}", CWP_EVALUE, "tie_word_embeddings\" is 0", "true or false");
	config_refused(LLAMA, "{'hidden_act': 'gelu'}", CWP_EVALUE, "hidden_act\" is \"gelu\"", "silu");
	config_refused(LLAMA, "{'hidden_act': 3}", CWP_EVALUE, "hidden_act\" is 3", "silu");
	config_refused(CONFIG("gemma2"), "{'hidden_activation': 'gelu'}", CWP_EVALUE, "hidden_activation\" is \"gelu\"", NULL);
	assert_int_equal(config_read(CONFIG("gemma"), "{'hidden_act': 'gelu'}").glu, CWP_GLU_GELU_TANH);
	config_refused(CONFIG("gemma2"), "{'query_pre_attn_scalar': 0}", CWP_EVALUE, "query_pre_attn_scalar\" is 0", NULL);
	config_refused(CONFIG("gemma2"), "{'attn_logit_softcapping': 0}", CWP_EVALUE, "attn_logit_softcapping\" is 0", NULL);
	config_refused(CONFIG("gemma3_text"), "{'final_logit_softcapping': -3}", CWP_EVALUE, "final_logit_softcapping\" is -3",
		NULL);
	config_refused(CONFIG("qwen2_moe"), "{'norm_topk_prob': 1}", CWP_EVALUE, "norm_topk_prob\" is 1", NULL);
	config_refused(CONFIG("qwen2_moe"), "{'mlp_only_layers': 1}", CWP_EVALUE, "mlp_only_layers\" is 1", "a list");
	config_refused(CONFIG("qwen2_moe"), "{'mlp_only_layers': [0, 4]}", CWP_EVALUE, "mlp_only_layers\"[1] is 4", "0 to 3");
	config_refused(CONFIG("qwen2_moe"), "{'mlp_only_layers': [-1]}", CWP_EVALUE, "mlp_only_layers\"[0] is -1", NULL);
	config_refused(CONFIG("qwen2_moe"), "{'mlp_only_layers': [0.5]}", CWP_EVALUE, "mlp_only_layers\"[0] is 0.5", NULL);
	config_refused(LLAMA, "{'hidden_act': ['a long value that no message can hold as a whole: it is cut', 'here'],"
		" 'x': 1}", CWP_EVALUE, "hidden_act\" is [", "...; supported are");
	config_refused(LLAMA, "{'hidden_act': [1111111111, 2222222222, 3333333333, 4444444444, 5555555555, 6666666666]}",
		CWP_EVALUE, "5555555555", "...; supported are");
}

static void windows(void **state)
{
	(void)state;
	config_refused(CONFIG("mistral"), "{'sliding_window': 0}", CWP_EVALUE, "sliding_window\" is 0", NULL);
	config_refused(CONFIG("qwen2"), "{'use_sliding_window': 1}", CWP_EVALUE, "use_sliding_window\" is 1", NULL);
	config_refused(CONFIG("qwen2"), "{'use_sliding_window': true, 'max_window_layers': -1}", CWP_EVALUE,
		"max_window_layers\" is -1", NULL);
	config_refused(CONFIG("gemma3_text"), "{'sliding_window_pattern': 0}", CWP_EVALUE, "sliding_window_pattern\" is 0", NULL);
	config_refused(CONFIG("gemma2"), "{'sliding_window': null}", CWP_EMISSING, "sliding_window", "layer 0");
	config_refused(CONFIG("qwen2"), "{'layer_types': ['full_attention', 'sliding_attention', 'full_attention',"
		" 'full_attention']}", CWP_EMISSING, "layer 1", "use_sliding_window");
	config_refused(CONFIG("gemma2"), "{'layer_types': ['full_attention', 'full_attention', 'chunked_attention',"
		" 'full_attention']}", CWP_EVALUE, "layer_types\"[2] is \"chunked_attention\"", "supported are");
	config_refused(CONFIG("gemma2"), "{'layer_types': ['full_attention', 1, 'full_attention', 'full_attention']}",
		CWP_EVALUE, "layer_types\"[1] is 1", "supported are");
	config_refused(CONFIG("phi3"), "{'sliding_window': 8, 'layer_types': ['sliding_attention', 'full_attention',"
		" 'sliding_attention', 'full_attention']}", CWP_EVALUE, "layer_types\"[1] is \"full_attention\"", "phi3");
}

static void unknown(void **state)
{
	(void)state;
	config_refused(LLAMA, "{'model_type': 'mamba'}", CWP_EUNKNOWN, "model_type \"mamba\"", "llama, mistral");
	config_refused(LLAMA, "{'model_type': 'absent'}", CWP_EMISSING, "model_type", NULL);
	config_refused(LLAMA, "{'model_type': null}", CWP_EMISSING, "model_type", NULL);
	config_refused(LLAMA, "{'model_type': 3}", CWP_EUNKNOWN, "model_type 3", "supported are");
	config_refused(LLAMA, "{'model_type': 'a\\nb'}", CWP_EUNKNOWN, "model_type \"a\\nb\"", "supported are");
	config_refused(LLAMA, "{'architectures': ['LlamaForSequenceClassification']}", CWP_EUNKNOWN,
		"LlamaForSequenceClassification", "LlamaForCausalLM");
	config_refused(CONFIG("gemma3_text"), "{'architectures': ['Gemma3TextModel']}", CWP_EUNKNOWN, "Gemma3TextModel",
		"Gemma3ForCausalLM");
	config_refused(LLAMA, "{'architectures': 'LlamaForCausalLM'}", CWP_EUNKNOWN, "LlamaForCausalLM", NULL);
	config_refused(LLAMA, "{'architectures': [1]}", CWP_EUNKNOWN, "architecture 1", "LlamaForCausalLM");
	(void)config_read(LLAMA, "{'architectures': []}");
}

/* Keys of other models, with a value that changes nothing (NULL: only null does) and one that changes something. */
static const struct {
	const char *type, *key, *harmless, *harmful;
} others[] = {
	{"llama", "sliding_window", NULL, "4096"},
	{"olmo2", "use_sliding_window", "false", "true"},
	{"mistral", "sliding_window_pattern", NULL, "6"},
	{"gemma", "attn_logit_softcapping", NULL, "50.0"},
	{"gemma3_text", "attn_logit_softcapping", NULL, "50.0"},
	{"qwen2", "final_logit_softcapping", NULL, "30.0"},
	{"qwen3", "query_pre_attn_scalar", NULL, "256"},
	{"gemma3_text", "use_bidirectional_attention", "false", "true"},
	{"gemma", "use_bidirectional_attention", "false", "true"},
	{"llama", "is_causal", "true", "false"},
	{"llama", "attention_chunk_size", NULL, "8192"},
	{"llama", "attention_multiplier", NULL, "0.0625"},
	{"llama", "attn_temperature_tuning", "false", "true"},
	{"olmo2", "clip_qkv", NULL, "8.0"},
	{"gemma3_text", "num_kv_shared_layers", "0", "10"},
	{"llama", "q_lora_rank", NULL, "1536"},
	{"llama", "kv_lora_rank", NULL, "512"},
	{"llama", "use_qk_norm", "false", "true"},
	{"phi3", "qk_layernorm", "false", "true"},
	{"qwen3_moe", "use_qk_norm", "true", NULL},
	{"llama", "add_cross_attention", "false", "true"},
	{"llama", "is_encoder_decoder", "false", "true"},
	{"llama", "partial_rotary_factor", "1.0", "0.5"},
	{"gemma3_text", "partial_rotary_factor", "1", "0.5"},
	{"llama", "rotary_pct", "1", "0.25"},
	{"gemma2", "rope_local_base_freq", NULL, "10000.0"},
	{"llama", "no_rope_layers", "[]", "[1,1,1,0]"},
	{"llama", "no_rope_layer_interval", NULL, "4"},
	{"llama", "rope_interleaved", "false", "true"},
	{"llama", "alibi", "false", "true"},
	{"mistral", "attention_bias", "false", "true"},
	{"phi3", "attention_bias", "false", "true"},
	{"qwen2_moe", "attention_bias", "false", "true"},
	{"qwen2", "attention_bias", "true", NULL},
	{"qwen3", "qkv_bias", "false", "true"},
	{"gemma2", "mlp_bias", "false", "true"},
	{"phi3", "lm_head_bias", "false", "true"},
	{"llama", "num_local_experts", "0", "8"},
	{"qwen3", "num_experts", "0", "128"},
	{"qwen3_moe", "shared_expert_intermediate_size", "0", "5632"},
	{"mixtral", "n_routed_experts", "0", "64"},
	{"qwen2_moe", "n_shared_experts", "0", "2"},
	{"llama", "num_shared_experts", "0", "1"},
	{"llama", "moe_num_experts", "0", "16"},
	{"llama", "logit_scale", "1.0", "0.0625"},
	{"llama", "logits_scaling", "1", "16.0"},
	{"llama", "residual_multiplier", "1.0", "0.22"},
	{"llama", "embedding_multiplier", "1.0", "12.0"},
	{"llama", "scale_emb", "1", "12"},
	{"llama", "scale_depth", NULL, "1.4"},
	{"llama", "use_parallel_residual", "false", "true"},
	{"llama", "parallel_attn", "false", "true"},
	{"gemma3_text", "hidden_size_per_layer_input", NULL, "256"},
	{"llama", "per_layer_config", "{}", "{\"0\":{}}"},
};

static void other_keys(void **state)
{
	char base[256], changes[256], said[256];
	(void)state;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		(void)snprintf(base, sizeof base, "{'model_type': '%s', " CONFIG_SIZES "}", others[i].type);
		(void)snprintf(changes, sizeof changes, "{'%s': %s}", others[i].key, others[i].harmless ? others[i].harmless : "null");
		(void)config_read(base, changes);
		if (others[i].harmful != NULL) {
			(void)snprintf(changes, sizeof changes, "{'%s': %s}", others[i].key, others[i].harmful);
			(void)snprintf(said, sizeof said, "\"%s\" is %s, which is not supported for model_type %s", others[i].key,
				others[i].harmful, others[i].type);
			config_refused(base, changes, CWP_EVALUE, said, "remove the key only if");
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(sizes), cmocka_unit_test(shapes), cmocka_unit_test(values),
		cmocka_unit_test(windows), cmocka_unit_test(unknown), cmocka_unit_test(other_keys)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
