/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* config.json of every family: what its class says where keys are absent, both spellings, which layers are of which kind,
 * and the text model of a multimodal one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/model/family.h"
#include "tests/unit/engine/model/configs.h"

/* What the classes of transformers have. */
static const struct {
	const char *type;
	uint32_t context, kv_heads, head_dim, glu, window;
	double eps, theta, local_theta, attention_scale;
	int tied, bias_qkv, gemma, fused, norm_heads;
	uint32_t experts, top_k, moe_intermediate, shared, normalize;
} classes[] = {
	{"llama", 2048, 32, 2, CWP_GLU_SILU, 0, 1e-6, 1e4, 1e4, M_SQRT1_2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	{"mistral", 131072, 8, 2, CWP_GLU_SILU, 4096, 1e-6, 1e4, 1e4, M_SQRT1_2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	{"qwen2", 32768, 32, 2, CWP_GLU_SILU, 0, 1e-6, 1e4, 1e4, M_SQRT1_2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0},
	{"qwen3", 32768, 32, 128, CWP_GLU_SILU, 0, 1e-6, 1e4, 1e4, 0.08838834764831845, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0},
	{"gemma", 8192, 16, 256, CWP_GLU_GELU_TANH, 0, 1e-6, 1e4, 1e4, 0.0625, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0},
	{"gemma2", 8192, 4, 256, CWP_GLU_GELU_TANH, 4096, 1e-6, 1e4, 1e4, 0.0625, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0},
	{"gemma3_text", 131072, 4, 256, CWP_GLU_GELU_TANH, 4096, 1e-6, 1e6, 1e4, 0.0625, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0},
	{"phi3", 4096, 32, 2, CWP_GLU_SILU, 0, 1e-5, 1e4, 1e4, M_SQRT1_2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0},
	{"olmo2", 2048, 32, 2, CWP_GLU_SILU, 0, 1e-5, 1e4, 1e4, M_SQRT1_2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	{"mixtral", 131072, 8, 2, CWP_GLU_SILU, 0, 1e-5, 1e6, 1e6, M_SQRT1_2, 0, 0, 0, 0, 0, 8, 2, 96, 0, 1},
	{"qwen2_moe", 32768, 16, 2, CWP_GLU_SILU, 0, 1e-6, 1e4, 1e4, M_SQRT1_2, 0, 1, 0, 0, 0, 60, 4, 1408, 5632, 0},
	{"qwen3_moe", 32768, 4, 2, CWP_GLU_SILU, 0, 1e-6, 1e4, 1e4, M_SQRT1_2, 0, 0, 0, 0, 1, 128, 8, 768, 0, 0},
};

#define CLASSES (sizeof classes / sizeof *classes)

static const char *base_of(const char *type, char *text, size_t size)
{
	(void)snprintf(text, size, "{'model_type': '%s', " CONFIG_SIZES "}", type);
	return text;
}

static void defaults(void **state)
{
	char base[256];
	(void)state;
	for (size_t i = 0; i < CLASSES; i++) {
		struct cwe_arch a = config_read(base_of(classes[i].type, base, sizeof base), "{}");
		print_message("%s\n", classes[i].type);
		assert_string_equal(a.family, classes[i].type);
		assert_int_equal(a.layers, 4);
		assert_int_equal(a.hidden, 64);
		assert_int_equal(a.heads, 32);
		assert_int_equal(a.intermediate, 96);
		assert_int_equal(a.vocabulary, 300);
		assert_int_equal(a.context, classes[i].context);
		assert_int_equal(a.kv_heads, classes[i].kv_heads);
		assert_int_equal(a.head_dim, classes[i].head_dim);
		assert_int_equal(a.glu, classes[i].glu);
		assert_int_equal(a.window, classes[i].window);
		assert_true(a.norm_eps == (float)classes[i].eps);
		assert_true(a.attention_scale == (float)classes[i].attention_scale);
		assert_true(a.rope[0].theta == classes[i].theta && a.rope[1].theta == classes[i].local_theta);
		assert_int_equal(a.rope[0].rotary, a.head_dim);
		assert_int_equal(a.tied, classes[i].tied);
		assert_int_equal(a.bias_qkv, classes[i].bias_qkv);
		assert_int_equal(a.bias_o | a.bias_mlp | a.wrapped, 0);
		assert_true(a.norm_offset == (float)classes[i].gemma);
		assert_true(a.embedding_scale == (classes[i].gemma ? 8 : 1));
		assert_int_equal(a.fused, classes[i].fused);
		assert_int_equal(a.norm_heads, classes[i].norm_heads);
		assert_int_equal(a.moe.experts, classes[i].experts);
		assert_int_equal(a.moe.top_k, classes[i].top_k);
		assert_int_equal(a.moe.intermediate, classes[i].moe_intermediate);
		assert_int_equal(a.moe.shared, classes[i].shared);
		assert_int_equal(a.moe.normalize, classes[i].normalize);
		assert_int_equal(cwe_arch_layer_is(&a, 3, CWE_LAYER_MOE), classes[i].experts > 0);
	}
	/* Sizes that only published Gemma 3 models leave out. */
	struct cwe_arch a = config_read(CONFIG("gemma3_text"), "{'num_attention_heads': 'absent', 'vocab_size': 'absent'}");
	assert_int_equal(a.heads, 8);
	assert_int_equal(a.vocabulary, 262208);
}

static void norms(void **state)
{
	static const struct {
		const char *type, *norm[CWE_NORMS];
	} names[] = {
		{"llama", {"input_layernorm", NULL, "post_attention_layernorm", NULL, NULL, NULL}},
		{"gemma", {"input_layernorm", NULL, "post_attention_layernorm", NULL, NULL, NULL}},
		{"gemma2", {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
			"post_feedforward_layernorm", NULL, NULL}},
		{"gemma3_text", {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
			"post_feedforward_layernorm", "self_attn.q_norm", "self_attn.k_norm"}},
		{"olmo2", {NULL, "post_attention_layernorm", NULL, "post_feedforward_layernorm", "self_attn.q_norm",
			"self_attn.k_norm"}},
		{"qwen3_moe", {"input_layernorm", NULL, "post_attention_layernorm", NULL, "self_attn.q_norm",
			"self_attn.k_norm"}},
	};
	char base[256];
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct cwe_arch a = config_read(base_of(names[i].type, base, sizeof base), "{}");
		for (int n = 0; n < CWE_NORMS; n++) {
			assert_string_equal(a.norm[n] ? a.norm[n] : "", names[i].norm[n] ? names[i].norm[n] : "");
		}
	}
}

/* Every byte: the struct is filled from zeros. */
static void check_same(const char *base, const char *old, const char *new)
{
	struct cwe_arch a = config_read(base, old), b = config_read(base, new);
	assert_memory_equal(&a, &b, sizeof a);
}

static void spellings(void **state)
{
	(void)state;
	check_same(CONFIG("llama"), "{'rope_theta': 5e5, 'rope_scaling': {'type': 'linear', 'factor': 2}}",
		"{'rope_parameters': {'rope_theta': 500000, 'rope_type': 'linear', 'factor': 2.0}}");
	check_same(CONFIG("llama"), "{'rope_theta': 5e5, 'rope_scaling': {'rope_type': 'llama3', 'factor': 8, 'low_freq_factor': 1,"
		" 'high_freq_factor': 4, 'original_max_position_embeddings': 64}}",
		"{'rope_parameters': {'rope_theta': 5e5, 'rope_type': 'llama3', 'factor': 8, 'low_freq_factor': 1,"
		" 'high_freq_factor': 4, 'original_max_position_embeddings': 64}}");
	check_same(CONFIG("qwen2"), "{'rope_scaling': {'type': 'yarn', 'factor': 4, 'original_max_position_embeddings': 64}}",
		"{'rope_parameters': {'rope_type': 'yarn', 'factor': 4, 'original_max_position_embeddings': 64}}");
	check_same(CONFIG("phi3"), "{'partial_rotary_factor': 0.5, 'head_dim': 16, 'rope_scaling': {'type': 'su', 'short_factor':"
		" [1, 2, 3, 4], 'long_factor': [5, 6, 7, 8]}}", "{'head_dim': 16, 'rope_parameters': {'rope_type': 'longrope',"
		" 'partial_rotary_factor': 0.5, 'short_factor': [1, 2, 3, 4], 'long_factor': [5, 6, 7, 8]}}");
	check_same(CONFIG("gemma3_text"), "{'rope_theta': 3e6, 'rope_local_base_freq': 2e4, 'sliding_window_pattern': 2,"
		" 'rope_scaling': {'rope_type': 'linear', 'factor': 8}}", "{'rope_parameters': {'full_attention': {'rope_type':"
		" 'linear', 'factor': 8, 'rope_theta': 3e6}, 'sliding_attention': {'rope_type': 'default', 'rope_theta': 2e4}},"
		" 'layer_types': ['sliding_attention', 'full_attention', 'sliding_attention', 'full_attention']}");
	check_same(CONFIG("gemma2"), "{}",
		"{'layer_types': ['sliding_attention', 'full_attention', 'sliding_attention', 'full_attention']}");
	/* What counts where both are there. */
	check_same(CONFIG("llama"), "{'rope_theta': 7, 'rope_parameters': {'rope_theta': 9}}", "{'rope_theta': 9}");
	check_same(CONFIG("llama"), "{'rope_theta': 7, 'rope_scaling': {'type': 'linear', 'factor': 2}, 'rope_parameters':"
		" {'rope_theta': 9, 'rope_type': 'linear', 'factor': 3}}",
		"{'rope_parameters': {'rope_theta': 7, 'rope_type': 'linear', 'factor': 2}}");
	check_same(CONFIG("llama"), "{'rope_scaling': {}, 'rope_parameters': {'rope_theta': 9}}", "{'rope_theta': 9}");
}

/* null is as good as absent. */
static void nulls(void **state)
{
	char base[256];
	(void)state;
	for (size_t i = 0; i < CLASSES; i++) {
		check_same(base_of(classes[i].type, base, sizeof base), "{}", "{'head_dim': null, 'rms_norm_eps': null,"
			" 'tie_word_embeddings': null, 'hidden_act': null, 'hidden_activation': null, 'attention_bias': null,"
			" 'mlp_bias': null, 'qkv_bias': null, 'layer_types': null, 'rope_theta': null, 'rope_scaling': null,"
			" 'rope_parameters': null, 'partial_rotary_factor': null, 'use_sliding_window': null,"
			" 'use_bidirectional_attention': null, 'num_experts': null, 'num_local_experts': null, 'architectures': null,"
			" 'max_position_embeddings': null, 'mlp_only_layers': null, 'sliding_window_pattern': null,"
			" 'query_pre_attn_scalar': null, 'clip_qkv': null, 'original_max_position_embeddings': null}");
	}
	/* Except where it switches something off, or means as many as heads. */
	assert_int_equal(config_read(CONFIG("mistral"), "{'sliding_window': null}").window, 0);
	assert_int_equal(config_read(CONFIG("mistral"), "{'num_key_value_heads': null}").kv_heads, 32);
	assert_int_equal(config_read(CONFIG("gemma"), "{'num_key_value_heads': null}").kv_heads, 16);
	struct cwe_arch a = config_read(CONFIG("gemma2"), "{'attn_logit_softcapping': null, 'final_logit_softcapping': null}");
	assert_true(a.attention_softcap == 0 && a.logit_softcap == 0);
	a = config_read(CONFIG("gemma2"), "{}");
	assert_true(a.attention_softcap == 50 && a.logit_softcap == 30);
	a = config_read(CONFIG("gemma3_text"), "{'final_logit_softcapping': 20, 'query_pre_attn_scalar': 64}");
	assert_true(a.attention_softcap == 0 && a.logit_softcap == 20 && a.attention_scale == 0.125f);
}

/* "S" and "f" for each layer. */
static void check_layers(const char *base, const char *changes, const char *want, uint32_t window)
{
	struct cwe_arch a = config_read(base, changes);
	char got[16] = {0};
	assert_in_range(a.layers, 1, sizeof got - 1);
	for (uint32_t i = 0; i < a.layers; i++) {
		got[i] = cwe_arch_layer_is(&a, i, CWE_LAYER_SLIDING) ? 'S' : 'f';
	}
	assert_string_equal(got, want);
	assert_int_equal(a.window, window);
}

static void windows(void **state)
{
	static const char listed[] = "{'sliding_window': 9, 'use_sliding_window': true, 'layer_types':"
		" ['full_attention', 'sliding_attention', 'sliding_attention', 'full_attention']}";
	(void)state;
	check_layers(CONFIG("mistral"), "{'sliding_window': 16}", "SSSS", 16);
	check_layers(CONFIG("mixtral"), "{'sliding_window': 16}", "SSSS", 16);
	check_layers(CONFIG("phi3"), "{'sliding_window': 16}", "SSSS", 16);
	check_layers(CONFIG("phi3"), "{}", "ffff", 0);
	check_layers(CONFIG("qwen2"), "{'sliding_window': 16}", "ffff", 0);
	check_layers(CONFIG("qwen2"), "{'sliding_window': 0, 'use_sliding_window': false}", "ffff", 0);
	check_layers(CONFIG("qwen2"), "{'use_sliding_window': true, 'max_window_layers': 3}", "fffS", 4096);
	check_layers(CONFIG("qwen2"), "{'use_sliding_window': true, 'max_window_layers': 0}", "SSSS", 4096);
	check_layers(CONFIG("qwen2"), "{'use_sliding_window': true}", "ffff", 0);
	check_layers(CONFIG("qwen3"), "{'use_sliding_window': true, 'max_window_layers': 1, 'sliding_window': 8}", "fSSS", 8);
	check_layers(CONFIG("qwen3"), "{'use_sliding_window': true, 'max_window_layers': 1, 'sliding_window': null}", "ffff", 0);
	check_layers(CONFIG("qwen2_moe"), "{'use_sliding_window': true, 'max_window_layers': 1, 'sliding_window': 8}", "Sfff", 8);
	check_layers(CONFIG("qwen2_moe"), "{'use_sliding_window': true, 'sliding_window': 8}", "SfSf", 8);
	check_layers(CONFIG("qwen3_moe"), "{'use_sliding_window': true, 'sliding_window': 8}", "SSSS", 8);
	check_layers(CONFIG("gemma2"), "{'sliding_window': 8}", "SfSf", 8);
	check_layers(CONFIG("gemma3_text"), "{'sliding_window': 8}", "SSSS", 8);
	check_layers(CONFIG("gemma3_text"), "{'num_hidden_layers': 7, 'sliding_window': 8}", "SSSSSfS", 8);
	check_layers(CONFIG("gemma3_text"), "{'sliding_window_pattern': 3}", "SSfS", 4096);
	check_layers(CONFIG("gemma3_text"), "{'sliding_window_pattern': 1}", "ffff", 0);
	check_layers(CONFIG("mistral"), listed, "fSSf", 9);
	check_layers(CONFIG("qwen2"), listed, "fSSf", 9);
	check_layers(CONFIG("qwen3"), listed, "fSSf", 9);
	check_layers(CONFIG("qwen2_moe"), listed, "fSSf", 9);
	check_layers(CONFIG("gemma3_text"), "{'sliding_window': 9, 'layer_types':"
		" ['full_attention', 'sliding_attention', 'sliding_attention', 'full_attention']}", "fSSf", 9);
	/* Elsewhere it may say what the rule says. */
	check_layers(CONFIG("llama"), "{'layer_types': ['full_attention', 'full_attention', 'full_attention',"
		" 'full_attention']}", "ffff", 0);
}

static void check_sparse(const char *changes, const char *want)
{
	struct cwe_arch a = config_read(CONFIG("qwen3_moe"), changes);
	for (uint32_t i = 0; i < a.layers; i++) {
		assert_int_equal(cwe_arch_layer_is(&a, i, CWE_LAYER_MOE), want[i] == 'M');
	}
}

static void experts(void **state)
{
	(void)state;
	check_sparse("{}", "MMMM");
	check_sparse("{'mlp_only_layers': [0, 2]}", "dMdM");
	check_sparse("{'decoder_sparse_step': 2}", "dMdM");
	check_sparse("{'decoder_sparse_step': 2, 'mlp_only_layers': [3]}", "dMdd");
	check_sparse("{'decoder_sparse_step': 5}", "dddd");
	struct cwe_arch a = config_read(CONFIG("mixtral"), "{'num_experts': 3, 'num_experts_per_tok': 1}");
	assert_int_equal(a.moe.experts, 3);
	assert_int_equal(a.moe.top_k, 1);
	assert_string_equal(a.moe.prefix, "block_sparse_moe.experts");
	assert_string_equal(a.moe.gate, "w1");
	assert_string_equal(a.moe.up, "w3");
	assert_string_equal(a.moe.down, "w2");
	assert_string_equal(a.moe.router, "block_sparse_moe.gate");
	assert_null(a.moe.shared_prefix);
	a = config_read(CONFIG("qwen2_moe"), "{'num_experts': 8, 'norm_topk_prob': true, 'moe_intermediate_size': 24,"
		" 'shared_expert_intermediate_size': 40, 'qkv_bias': false}");
	assert_int_equal(a.moe.experts, 8);
	assert_int_equal(a.moe.normalize, 1);
	assert_int_equal(a.moe.intermediate, 24);
	assert_int_equal(a.moe.shared, 40);
	assert_int_equal(a.intermediate, 96);
	assert_int_equal(a.bias_qkv, 0);
	assert_string_equal(a.moe.prefix, "mlp.experts");
	assert_string_equal(a.moe.down, "down_proj");
	assert_string_equal(a.moe.shared_gate, "mlp.shared_expert_gate");
	a = config_read(CONFIG("qwen3_moe"), "{'num_local_experts': 9}");
	assert_int_equal(a.moe.experts, 9);
	assert_null(a.moe.shared_prefix);
}

static void biases(void **state)
{
	(void)state;
	struct cwe_arch a = config_read(CONFIG("llama"), "{'attention_bias': true}");
	assert_int_equal(a.bias_qkv * 4 + a.bias_o * 2 + a.bias_mlp, 6);
	a = config_read(CONFIG("llama"), "{'mlp_bias': true}");
	assert_int_equal(a.bias_qkv * 4 + a.bias_o * 2 + a.bias_mlp, 1);
	a = config_read(CONFIG("qwen2"), "{'attention_bias': false}");
	assert_int_equal(a.bias_qkv * 4 + a.bias_o * 2 + a.bias_mlp, 4);
	a = config_read(CONFIG("gemma3_text"), "{'attention_bias': true}");
	assert_int_equal(a.bias_qkv * 4 + a.bias_o * 2 + a.bias_mlp, 6);
}

static void wrappers(void **state)
{
	static const char gemma[] = "{'model_type': 'gemma3', 'architectures': ['Gemma3ForConditionalGeneration'],"
		" 'text_config': {" CONFIG_SIZES ", 'sliding_window': 8}, 'vision_config': {}}";
	static const char mistral[] = "{'model_type': 'mistral3', 'text_config': {'model_type': 'mistral', " CONFIG_SIZES
		", 'sliding_window': null, 'tie_word_embeddings': true}}";
	(void)state;
	struct cwe_arch a = config_read(gemma, "{}"), b = config_read(CONFIG("gemma3_text"), "{'sliding_window': 8}");
	assert_int_equal(a.wrapped, 1);
	b.wrapped = 1;
	assert_memory_equal(&a, &b, sizeof a);
	a = config_read(mistral, "{}");
	assert_string_equal(a.family, "mistral");
	assert_int_equal(a.wrapped, 1);
	assert_int_equal(a.window, 0);
	assert_int_equal(a.tied, 1);
	/* The outer key says whether the output is tied. */
	assert_int_equal(config_read(mistral, "{'tie_word_embeddings': false}").tied, 0);
	config_refused(gemma, "{'text_config': 'absent'}", CWP_EMISSING, "text_config", "gemma3");
	config_refused(gemma, "{'text_config': 3}", CWP_EVALUE, "text_config", "3");
	config_refused(gemma, "{'architectures': ['Gemma3ForCausalLM']}", CWP_EUNKNOWN, "Gemma3ForCausalLM",
		"Gemma3ForConditionalGeneration");
	config_refused(gemma, "{'text_config': {'model_type': 'llama'}}", CWP_EUNKNOWN, "text_config: ", "llama");
	config_refused(gemma, "{'text_config': {'model_type': 'gemma3'}}", CWP_EUNKNOWN, "text_config: ", "gemma3 in");
	config_refused(gemma, "{'text_config': {'model_type': 'gemma4'}}", CWP_EUNKNOWN, "text_config: ", "gemma4");
	config_refused(mistral, "{'text_config': {'hidden_size': 64}}", CWP_EMISSING, "text_config: ", "num_hidden_layers");
	config_refused(mistral, "{'tie_word_embeddings': 7}", CWP_EVALUE, "tie_word_embeddings", "7");
}

/* Names of all families fit the message that lists them. */
static void names(void **state)
{
	char text[256];
	(void)state;
	(void)cwe_family_names(text, sizeof text);
	for (size_t i = 0; i < CLASSES; i++) {
		assert_non_null(strstr(text, classes[i].type));
	}
	assert_non_null(strstr(text, "mistral3"));
	assert_true(strlen(text) < sizeof text - 1);
	assert_null(cwe_family_find("gpt2"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(defaults), cmocka_unit_test(norms), cmocka_unit_test(spellings),
		cmocka_unit_test(nulls), cmocka_unit_test(windows), cmocka_unit_test(experts), cmocka_unit_test(biases),
		cmocka_unit_test(wrappers), cmocka_unit_test(names)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
