/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* config.json of every family of GGUF files: sizes, windows, scalings of the rotary embedding, experts; what is refused. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/gguf.h"

static const uint8_t zeros[64 * 7 * 4];

static const char *name_of(const char *architecture, const char *part)
{
	static char name[128];

	snprintf(name, sizeof name, "%s.%s", architecture, part);
	return name;
}

static void u32(struct gguf_build *g, const char *architecture, const char *part, uint32_t n)
{
	gguf_u32(g, name_of(architecture, part), n);
}

static void f32(struct gguf_build *g, const char *architecture, const char *part, float x)
{
	gguf_f32(g, name_of(architecture, part), x);
}

/* What every model has; more is added to it. 4 heads of 16. */
static void begin(struct gguf_build *g, const char *architecture)
{
	*g = (struct gguf_build){0};
	gguf_text(g, "general.architecture", architecture);
	u32(g, architecture, "block_count", 4);
	u32(g, architecture, "context_length", 4096);
	u32(g, architecture, "embedding_length", 64);
	u32(g, architecture, "feed_forward_length", 160);
	u32(g, architecture, "attention.head_count", 4);
	u32(g, architecture, "attention.head_count_kv", 2);
	f32(g, architecture, "attention.layer_norm_rms_epsilon", 1e-6f);
	gguf_tensor(g, "token_embd.weight", 0, 64, 7, zeros, sizeof zeros);
}

static void begin_moe(struct gguf_build *g, const char *architecture)
{
	begin(g, architecture);
	u32(g, architecture, "expert_count", 6);
	u32(g, architecture, "expert_used_count", 2);
}

static int run(struct gguf_build *build, json_t **ret, struct cwb_err *err)
{
	struct blob b = {0};
	struct cwe_gguf *g;
	int rc;

	gguf_finish(build, &b);
	gguf_free(build);
	rc = cwe_gguf_adopt(blob_fd(&b), "test", &g, err);
	blob_free(&b);
	assert_int_equal(rc, 0);
	rc = cwe_gguf_config(g, ret, err);
	cwe_gguf_close(g);
	return rc;
}

/* `want` lists what must be there, `absent` (NULL or names with a blank around each) what must not. */
static void expect(struct gguf_build *build, const char *want, const char *absent)
{
	json_t *list = json_loads(want, 0, NULL), *config = NULL, *value;
	struct cwb_err err = {0};
	const char *key;
	char blank[80];

	assert_non_null(list);
	if (run(build, &config, &err))
		print_error("%s\n", err.message);
	assert_non_null(config);
	json_object_foreach(list, key, value) {
		char *got = json_dumps(json_object_get(config, key), JSON_ENCODE_ANY);

		if (!json_equal(json_object_get(config, key), value))
			print_error("\"%s\" is %s\n", key, got ? got : "absent");
		assert_true(json_equal(json_object_get(config, key), value));
		free(got);
	}
	json_object_foreach(config, key, value) {
		snprintf(blank, sizeof blank, " %s ", key);
		if (absent && strstr(absent, blank))
			print_error("\"%s\" is there\n", key);
		assert_true(!absent || !strstr(absent, blank));
	}
	json_decref(config);
	json_decref(list);
}

static void refuse(struct gguf_build *build, int code, const char *part)
{
	json_t *config = NULL;
	struct cwb_err err = {0};

	assert_refused(run(build, &config, &err), &err, code, part);
	assert_null(config);
}

/* What each family says without any more keys. */
static void test_families(void **state)
{
	static const struct {
		const char *architecture, *want, *absent;
	} cases[] = {
		{"llama", "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_act\":\"silu\","
			  "\"attention_bias\":false,\"mlp_bias\":false,\"num_key_value_heads\":2,\"rms_norm_eps\":1e-06,"
			  "\"rope_theta\":10000,\"rope_scaling\":null,\"tie_word_embeddings\":true,\"torch_dtype\":\"float32\"}",
			" head_dim sliding_window "},
		{"qwen2", "{\"architectures\":[\"Qwen2ForCausalLM\"],\"model_type\":\"qwen2\",\"hidden_act\":\"silu\","
			  "\"use_sliding_window\":false}",
			" head_dim attention_bias sliding_window mlp_bias "},
		{"qwen3", "{\"architectures\":[\"Qwen3ForCausalLM\"],\"model_type\":\"qwen3\",\"head_dim\":16,"
			  "\"attention_bias\":false,\"use_sliding_window\":false}", " mlp_bias "},
		{"gemma", "{\"architectures\":[\"GemmaForCausalLM\"],\"model_type\":\"gemma\",\"hidden_act\":\"gelu_pytorch_tanh\","
			  "\"head_dim\":16,\"tie_word_embeddings\":true}", " query_pre_attn_scalar sliding_window hidden_activation "},
		{"gemma2", "{\"architectures\":[\"Gemma2ForCausalLM\"],\"model_type\":\"gemma2\",\"head_dim\":16,"
			   "\"hidden_activation\":\"gelu_pytorch_tanh\",\"query_pre_attn_scalar\":16,\"sliding_window\":4096,"
			   "\"attn_logit_softcapping\":50.0,\"final_logit_softcapping\":30.0}", " hidden_act layer_types "},
		{"gemma3", "{\"architectures\":[\"Gemma3ForCausalLM\"],\"model_type\":\"gemma3_text\",\"head_dim\":16,"
			   "\"hidden_activation\":\"gelu_pytorch_tanh\",\"query_pre_attn_scalar\":16,\"sliding_window\":null,"
			   "\"sliding_window_pattern\":1,\"rope_local_base_freq\":10000.0,\"attn_logit_softcapping\":null,"
			   "\"final_logit_softcapping\":null}", " layer_types "},
		{"phi3", "{\"architectures\":[\"Phi3ForCausalLM\"],\"model_type\":\"phi3\",\"hidden_act\":\"silu\","
			 "\"sliding_window\":null}", " partial_rotary_factor original_max_position_embeddings attention_bias "},
		{"olmo2", "{\"architectures\":[\"Olmo2ForCausalLM\"],\"model_type\":\"olmo2\",\"attention_bias\":false}",
			" sliding_window head_dim "},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct gguf_build build;

		begin(&build, cases[i].architecture);
		expect(&build, cases[i].want, cases[i].absent);
	}
}

static void test_experts(void **state)
{
	struct gguf_build build;

	(void)state;
	begin_moe(&build, "llama");
	expect(&build, "{\"architectures\":[\"MixtralForCausalLM\"],\"model_type\":\"mixtral\",\"num_local_experts\":6,"
		       "\"num_experts_per_tok\":2,\"intermediate_size\":160,\"sliding_window\":null}", " mlp_bias num_experts ");
	begin_moe(&build, "qwen2moe"); /* sizes as llama.cpp takes them when keys are absent */
	gguf_tensor(&build, "blk.0.attn_q.bias", 0, 64, 0, zeros, 256);
	expect(&build, "{\"model_type\":\"qwen2_moe\",\"num_experts\":6,\"num_experts_per_tok\":2,\"moe_intermediate_size\":80,"
		       "\"shared_expert_intermediate_size\":160,\"norm_topk_prob\":false,\"decoder_sparse_step\":1,"
		       "\"mlp_only_layers\":[],\"qkv_bias\":true}", NULL);
	begin_moe(&build, "qwen2moe");
	u32(&build, "qwen2moe", "expert_feed_forward_length", 48);
	u32(&build, "qwen2moe", "expert_shared_feed_forward_length", 96);
	gguf_bool(&build, "qwen2moe.expert_weights_norm", 1);
	expect(&build, "{\"moe_intermediate_size\":48,\"shared_expert_intermediate_size\":96,\"norm_topk_prob\":true,"
		       "\"qkv_bias\":false}", NULL);
	begin_moe(&build, "qwen3moe");
	expect(&build, "{\"model_type\":\"qwen3_moe\",\"norm_topk_prob\":true,\"head_dim\":16}", " shared_expert_intermediate_size ");
	begin(&build, "qwen3moe");
	refuse(&build, CWP_EMISSING, "qwen3moe.expert_count is absent");
	begin(&build, "llama");
	u32(&build, "llama", "expert_count", 6);
	refuse(&build, CWP_EMISSING, "llama.expert_used_count is absent");
	begin(&build, "llama");
	u32(&build, "llama", "expert_count", 6);
	u32(&build, "llama", "expert_used_count", 7);
	refuse(&build, CWP_EVALUE, "llama.expert_used_count: 7 of 6 experts");
	begin_moe(&build, "llama");
	gguf_bool(&build, "llama.expert_weights_norm", 0);
	refuse(&build, CWP_EUNKNOWN, "llama.expert_weights_norm: false is not read in a mixtral model");
}

static void bools(struct gguf_build *g, const char *key, const uint8_t *x, uint64_t count)
{
	gguf_key(g, key, 9);
	blob_u32(&g->values, 7);
	blob_u64(&g->values, count);
	blob_add(&g->values, x, count);
}

#define SLIDING "\"sliding_attention\""
#define FULL "\"full_attention\""

static void test_windows(void **state)
{
	static const uint8_t pattern[4] = {0, 1, 1, 0};
	struct gguf_build build;

	(void)state;
	begin(&build, "llama");
	u32(&build, "llama", "attention.sliding_window", 16);
	expect(&build, "{\"model_type\":\"mistral\",\"architectures\":[\"MistralForCausalLM\"],\"sliding_window\":16}",
		" attention_bias mlp_bias pretraining_tp ");
	begin(&build, "llama");
	u32(&build, "llama", "attention.sliding_window", 0);
	expect(&build, "{\"model_type\":\"llama\"}", " sliding_window ");
	begin_moe(&build, "llama");
	u32(&build, "llama", "attention.sliding_window", 17);
	expect(&build, "{\"model_type\":\"mixtral\",\"sliding_window\":17}", NULL);
	begin(&build, "phi3");
	u32(&build, "phi3", "attention.sliding_window", 2047);
	expect(&build, "{\"sliding_window\":2047}", NULL);
	begin(&build, "gemma2");
	u32(&build, "gemma2", "attention.sliding_window", 9);
	u32(&build, "gemma2", "attention.sliding_window_pattern", 2);
	expect(&build, "{\"sliding_window\":9}", " layer_types ");
	begin(&build, "gemma2");
	u32(&build, "gemma2", "attention.sliding_window_pattern", 4);
	expect(&build, "{\"layer_types\":[" SLIDING "," SLIDING "," SLIDING "," FULL "]}", " sliding_window_pattern ");
	begin(&build, "gemma2");
	u32(&build, "gemma2", "attention.sliding_window", 0);
	expect(&build, "{\"sliding_window\":null,\"layer_types\":[" FULL "," FULL "," FULL "," FULL "]}", NULL);
	begin(&build, "gemma3");
	u32(&build, "gemma3", "attention.sliding_window", 9);
	expect(&build, "{\"sliding_window\":9,\"sliding_window_pattern\":6}", " layer_types ");
	begin(&build, "gemma3");
	u32(&build, "gemma3", "attention.sliding_window", 9);
	u32(&build, "gemma3", "attention.sliding_window_pattern", 3);
	expect(&build, "{\"sliding_window_pattern\":3}", " layer_types ");
	begin(&build, "gemma3");
	u32(&build, "gemma3", "attention.sliding_window", 9);
	u32(&build, "gemma3", "attention.sliding_window_pattern", 0);
	expect(&build, "{\"layer_types\":[" SLIDING "," SLIDING "," SLIDING "," SLIDING "]}", " sliding_window_pattern ");
	begin(&build, "gemma3");
	u32(&build, "gemma3", "attention.sliding_window", 9);
	bools(&build, "gemma3.attention.sliding_window_pattern", pattern, 4);
	expect(&build, "{\"layer_types\":[" FULL "," SLIDING "," SLIDING "," FULL "]}", " sliding_window_pattern ");

	begin(&build, "gemma3");
	u32(&build, "gemma3", "attention.sliding_window", 9);
	bools(&build, "gemma3.attention.sliding_window_pattern", pattern, 3);
	refuse(&build, CWP_EVALUE, "gemma3.attention.sliding_window_pattern: 3 entries for 4 layers");
	begin(&build, "gemma3");
	gguf_i32s(&build, "gemma3.attention.sliding_window_pattern", (const int32_t[]){1, 1, 1, 0}, 4);
	refuse(&build, CWP_EVALUE, "sliding_window_pattern: needs an array of a truth value");
	begin(&build, "phi3");
	u32(&build, "phi3", "attention.sliding_window", 9);
	bools(&build, "phi3.attention.sliding_window_pattern", pattern, 4);
	refuse(&build, CWP_EUNKNOWN, "phi3.attention.sliding_window_pattern: a window in some layers only is not read");
	begin(&build, "olmo2"); /* this is OLMo 3 */
	u32(&build, "olmo2", "attention.sliding_window", 9);
	refuse(&build, CWP_EUNKNOWN, "olmo2.attention.sliding_window: 9 is not read from GGUF files of a olmo2 model");
	begin(&build, "qwen2");
	u32(&build, "qwen2", "attention.sliding_window", 9);
	refuse(&build, CWP_EUNKNOWN, "qwen2.attention.sliding_window: 9 is not read");
}

static void test_scales_and_caps(void **state)
{
	struct gguf_build build;

	(void)state;
	begin(&build, "gemma2");
	f32(&build, "gemma2", "attn_logit_softcapping", 20.5f);
	f32(&build, "gemma2", "final_logit_softcapping", 0);
	expect(&build, "{\"attn_logit_softcapping\":20.5,\"final_logit_softcapping\":null}", NULL);
	begin(&build, "gemma3");
	f32(&build, "gemma3", "final_logit_softcapping", 12);
	f32(&build, "gemma3", "rope.freq_base_swa", 5000);
	f32(&build, "gemma3", "rope.freq_base", 1e6f);
	f32(&build, "gemma3", "attention.scale", 0.25f); /* 16 ** -0.5 */
	expect(&build, "{\"final_logit_softcapping\":12.0,\"rope_local_base_freq\":5000.0,\"rope_theta\":1000000}", NULL);
	begin(&build, "gemma2");
	f32(&build, "gemma2", "attn_logit_softcapping", -1);
	refuse(&build, CWP_EVALUE, "gemma2.attn_logit_softcapping: -1 is below 0");
	begin(&build, "llama");
	f32(&build, "llama", "attention.scale", 0.125f);
	refuse(&build, CWP_EUNKNOWN, "llama.attention.scale: 0.125, other than 1 / sqrt(16), is not read in a llama model");
	begin(&build, "llama");
	f32(&build, "llama", "attention.scale", 0);
	expect(&build, "{\"model_type\":\"llama\"}", NULL);
	begin(&build, "qwen3");
	f32(&build, "qwen3", "rope.freq_base_swa", 5000);
	refuse(&build, CWP_EUNKNOWN, "qwen3.rope.freq_base_swa: 5000, another one than that of all layers");
	begin(&build, "llama");
	f32(&build, "llama", "rope.freq_base", -10);
	refuse(&build, CWP_EVALUE, "llama.rope.freq_base: -10 is not above 0");
}

static void test_heads(void **state)
{
	struct gguf_build build;
	struct cwb_err err = {0};
	json_t *config = NULL;
	double share;

	(void)state;
	begin(&build, "qwen3");
	u32(&build, "qwen3", "attention.key_length", 32);
	u32(&build, "qwen3", "attention.value_length", 32);
	expect(&build, "{\"head_dim\":32}", NULL);
	begin(&build, "phi3");
	u32(&build, "phi3", "rope.dimension_count", 12);
	expect(&build, "{\"partial_rotary_factor\":0.75}", " head_dim ");
	begin(&build, "phi3");
	u32(&build, "phi3", "attention.key_length", 98);
	u32(&build, "phi3", "attention.value_length", 98);
	u32(&build, "phi3", "rope.dimension_count", 2);
	assert_int_equal(run(&build, &config, &err), 0);
	share = json_real_value(json_object_get(config, "partial_rotary_factor"));
	assert_true((int)(share * 98) == 2 && (int)(2 / 98.0 * 98) == 1); /* 2 / 98 would be one value less */
	json_decref(config);
	begin(&build, "phi3");
	u32(&build, "phi3", "rope.dimension_count", 18);
	refuse(&build, CWP_EUNKNOWN, "phi3.rope.dimension_count: 18 beside heads of 16 values");
	begin(&build, "phi3");
	u32(&build, "phi3", "rope.dimension_count", 7);
	refuse(&build, CWP_EUNKNOWN, "phi3.rope.dimension_count: 7 beside heads of 16 values");
	begin(&build, "gemma");
	u32(&build, "gemma", "attention.value_length", 8);
	refuse(&build, CWP_EUNKNOWN, "gemma.attention.value_length: 8 beside heads of 16 values is not read in a gemma model");
	begin(&build, "gemma3");
	u32(&build, "gemma3", "attention.key_length_swa", 8);
	refuse(&build, CWP_EUNKNOWN, "gemma3.attention.key_length_swa: 8 beside");
	begin(&build, "qwen2");
	u32(&build, "qwen2", "rope.dimension_count", 8);
	refuse(&build, CWP_EUNKNOWN, "qwen2.rope.dimension_count: 8 beside heads of 16 values is not read in a qwen2 model");
}

static void test_yarn(void **state)
{
	struct gguf_build build;

	(void)state;
	begin(&build, "qwen2");
	gguf_text(&build, "qwen2.rope.scaling.type", "yarn");
	f32(&build, "qwen2", "rope.scaling.factor", 4);
	u32(&build, "qwen2", "rope.scaling.original_context_length", 1024);
	expect(&build, "{\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":1024}}", NULL);
	begin(&build, "qwen3");
	gguf_text(&build, "qwen3.rope.scaling.type", "yarn");
	f32(&build, "qwen3", "rope.scaling.factor", 4);
	u32(&build, "qwen3", "rope.scaling.original_context_length", 1024);
	f32(&build, "qwen3", "rope.scaling.yarn_attn_factor", 1.25f);
	f32(&build, "qwen3", "rope.scaling.yarn_beta_fast", 24);
	f32(&build, "qwen3", "rope.scaling.yarn_beta_slow", 2);
	f32(&build, "qwen3", "rope.scaling.yarn_ext_factor", 1);
	f32(&build, "qwen3", "rope.scaling.yarn_log_multiplier", 0);
	expect(&build, "{\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":1024,"
		       "\"attention_factor\":1.25,\"beta_fast\":24.0,\"beta_slow\":2.0}}", NULL);

	begin(&build, "qwen2");
	gguf_text(&build, "qwen2.rope.scaling.type", "yarn");
	refuse(&build, CWP_EMISSING, "qwen2.rope.scaling.factor is absent");
	begin(&build, "qwen2");
	gguf_text(&build, "qwen2.rope.scaling.type", "yarn");
	f32(&build, "qwen2", "rope.scaling.factor", 4);
	refuse(&build, CWP_EMISSING, "qwen2.rope.scaling.original_context_length is absent");
	begin(&build, "qwen2");
	gguf_text(&build, "qwen2.rope.scaling.type", "linear");
	f32(&build, "qwen2", "rope.scaling.factor", 0);
	refuse(&build, CWP_EVALUE, "qwen2.rope.scaling.factor: 0 is not above 0");
	begin(&build, "qwen2");
	gguf_text(&build, "qwen2.rope.scaling.type", "linear");
	f32(&build, "qwen2", "rope.scaling.attn_factor", 1.5f);
	refuse(&build, CWP_EUNKNOWN, "qwen2.rope.scaling.attn_factor: 1.5 is read for yarn and longrope only");
	begin(&build, "qwen2");
	gguf_text(&build, "qwen2.rope.scaling.type", "dynamic");
	refuse(&build, CWP_EUNKNOWN, "qwen2.rope.scaling.type: \"dynamic\" is not read from GGUF files; take");
	begin(&build, "phi3");
	gguf_text(&build, "phi3.rope.scaling.type", "longrope");
	refuse(&build, CWP_EUNKNOWN, "\"longrope\" is not read from GGUF files without rope_factors_long.weight");
}

static const float longs[8] = {1.5f, 2, 2.5f, 3, 4, 5, 6, 7}, shorts[8] = {1, 1, 1, 1, 1.25f, 1.25f, 1.5f, 1.5f};
#define LISTS "\"long_factor\":[1.5,2.0,2.5,3.0,4.0,5.0,6.0,7.0],\"short_factor\":[1.0,1.0,1.0,1.0,1.25,1.25,1.5,1.5]"

static void add_lists(struct gguf_build *g)
{
	gguf_tensor(g, "rope_factors_long.weight", 0, 8, 0, longs, sizeof longs);
	gguf_tensor(g, "rope_factors_short.weight", 0, 8, 0, shorts, sizeof shorts);
}

static void test_longrope(void **state)
{
	float bad[8] = {1, 1, 1, 0, 1, 1, 1, 1};
	struct gguf_build build;

	(void)state;
	begin(&build, "phi3");
	add_lists(&build);
	u32(&build, "phi3", "rope.scaling.original_context_length", 256);
	f32(&build, "phi3", "rope.scaling.attn_factor", (float)sqrt(1 + log(16) / log(256)));
	expect(&build, "{\"rope_scaling\":{\"type\":\"longrope\"," LISTS "},\"original_max_position_embeddings\":256}", NULL);
	begin(&build, "phi3");
	add_lists(&build);
	u32(&build, "phi3", "rope.scaling.original_context_length", 256);
	f32(&build, "phi3", "rope.scaling.attn_factor", 1.5f);
	expect(&build, "{\"rope_scaling\":{\"type\":\"longrope\"," LISTS ",\"attention_factor\":1.5}}", NULL);
	begin(&build, "llama");
	add_lists(&build);
	gguf_text(&build, "llama.rope.scaling.type", "longrope");
	u32(&build, "llama", "rope.scaling.original_context_length", 1024);
	expect(&build, "{\"rope_scaling\":{\"rope_type\":\"longrope\"," LISTS ",\"factor\":4.0,"
		       "\"original_max_position_embeddings\":1024,\"attention_factor\":1.0}}", NULL);

	begin(&build, "phi3");
	add_lists(&build);
	refuse(&build, CWP_EMISSING, "phi3.rope.scaling.original_context_length is absent");
	begin(&build, "phi3");
	u32(&build, "phi3", "rope.scaling.original_context_length", 256);
	gguf_tensor(&build, "rope_factors_short.weight", 0, 8, 0, shorts, sizeof shorts);
	refuse(&build, CWP_EMISSING, "no tensor \"rope_factors_long.weight\" beside \"rope_factors_short.weight\"");
	begin(&build, "phi3");
	u32(&build, "phi3", "rope.scaling.original_context_length", 256);
	gguf_tensor(&build, "rope_factors_long.weight", 0, 7, 0, longs, 28);
	gguf_tensor(&build, "rope_factors_short.weight", 0, 8, 0, shorts, sizeof shorts);
	refuse(&build, CWP_ESHAPE, "\"rope_factors_long.weight\" is no list of 8 F32 factors");
	begin(&build, "phi3");
	u32(&build, "phi3", "rope.scaling.original_context_length", 256);
	gguf_tensor(&build, "rope_factors_long.weight", 0, 8, 0, longs, sizeof longs);
	gguf_tensor(&build, "rope_factors_short.weight", 0, 8, 0, bad, sizeof bad);
	refuse(&build, CWP_EVALUE, "\"rope_factors_short.weight\": factor 3 is 0");
	begin(&build, "phi3");
	add_lists(&build);
	gguf_tensor(&build, "rope_freqs.weight", 0, 8, 0, longs, sizeof longs);
	refuse(&build, CWP_EUNKNOWN, "\"rope_freqs.weight\" beside another scaling");
	begin(&build, "phi3");
	add_lists(&build);
	gguf_text(&build, "phi3.rope.scaling.type", "yarn");
	refuse(&build, CWP_EUNKNOWN, "\"rope_factors_long.weight\" beside another scaling");
}

/* Factors of the llama3 scaling by its definition: the ratio of the plain and the scaled frequencies. */
static void llama3(float *ret, int n, double base, double factor, double context)
{
	for (int i = 0; i < n; i++) {
		double frequency = pow(base, -(double)i / n), wave = 2 * M_PI / frequency, scaled = frequency;
		double smooth = (context / wave - 1) / 3;

		if (wave > context)
			scaled = frequency / factor;
		else if (wave >= context / 4)
			scaled = (1 - smooth) * frequency / factor + smooth * frequency;
		ret[i] = (float)(frequency / scaled);
	}
}

static void add_freqs(struct gguf_build *g, const float *factor, uint64_t n)
{
	begin(g, "llama");
	u32(g, "llama", "attention.key_length", (uint32_t)(2 * n));
	u32(g, "llama", "attention.value_length", (uint32_t)(2 * n));
	f32(g, "llama", "rope.freq_base", 500000);
	gguf_tensor(g, "rope_freqs.weight", 0, n, 0, factor, n * sizeof *factor);
}

static void test_llama3(void **state)
{
	static const uint32_t contexts[] = {8192, 64, 1024, 131072, 1u << 20};
	float factors[64];
	struct gguf_build build;
	char want[256];

	(void)state;
	for (size_t c = 0; c < sizeof contexts / sizeof *contexts; c++)
		for (int factor = 8; factor <= 32; factor *= 4) {
			llama3(factors, 64, 500000, factor, contexts[c]);
			add_freqs(&build, factors, 64);
			snprintf(want, sizeof want, "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":%d.0,\"low_freq_factor\":1.0,"
				"\"high_freq_factor\":4.0,\"original_max_position_embeddings\":%u}}", factor, contexts[c]);
			expect(&build, want, NULL);
		}
	for (int i = 0; i < 64; i++)
		factors[i] = 1;
	add_freqs(&build, factors, 64);
	expect(&build, "{\"rope_scaling\":null,\"rope_theta\":500000}", NULL);
}

/* Factors that no parameters give stay what they are, at every length. */
static void test_other_factors(void **state)
{
	static const float odd[4] = {1, 2.5f, 0.75f, 3};
	float factors[64];
	struct gguf_build build;
	json_t *config = NULL, *scaling;
	struct cwb_err err = {0};

	(void)state;
	add_freqs(&build, odd, 4);
	expect(&build, "{\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":1.0,\"attention_factor\":1.0,"
		       "\"original_max_position_embeddings\":4096,\"short_factor\":[1.0,2.5,0.75,3.0],"
		       "\"long_factor\":[1.0,2.5,0.75,3.0]}}", NULL);
	llama3(factors, 64, 500000, 8, 8192);
	factors[30] *= 1.0002f; /* nearly, but not the llama3 scaling */
	add_freqs(&build, factors, 64);
	assert_int_equal(run(&build, &config, &err), 0);
	scaling = json_object_get(config, "rope_scaling");
	assert_string_equal(json_string_value(json_object_get(scaling, "rope_type")), "longrope");
	for (size_t i = 0; i < 64; i++)
		assert_true((float)json_real_value(json_array_get(json_object_get(scaling, "long_factor"), i)) == factors[i]);
	json_decref(config);

	factors[40] = NAN;
	add_freqs(&build, factors, 64);
	refuse(&build, CWP_EVALUE, "\"rope_freqs.weight\": factor 40 is nan");
	begin(&build, "llama");
	gguf_tensor(&build, "rope_freqs.weight", 0, 64, 0, factors, sizeof factors);
	refuse(&build, CWP_ESHAPE, "\"rope_freqs.weight\" is no list of 8 F32 factors");
	begin(&build, "llama");
	gguf_tensor(&build, "rope_freqs.weight", 1, 8, 0, factors, 16);
	refuse(&build, CWP_ESHAPE, "\"rope_freqs.weight\" is no list of 8 F32 factors");
	add_freqs(&build, odd, 4);
	gguf_text(&build, "llama.rope.scaling.type", "linear");
	refuse(&build, CWP_EUNKNOWN, "\"rope_freqs.weight\" beside another scaling");
}

/* Keys of other models that would change the arithmetic unseen. */
static void test_foreign_keys(void **state)
{
	static const struct {
		const char *part;
		float neutral, other;
	} cases[] = {
		{"attention.clamp_kqv", 0, 8}, {"attention.max_alibi_bias", 0, 8}, {"attention.causal", 1, 0},
		{"attention.output_scale", 1, 2}, {"attention.temperature_scale", 0, 0.1f}, {"attn_logit_softcapping", 0, 50},
		{"embedding_scale", 1, 12}, {"expert_gating_func", 1, 2}, {"expert_group_count", 1, 8},
		{"expert_weights_scale", 1, 2.5f}, {"final_logit_softcapping", 0, 30}, {"leading_dense_block_count", 0, 1},
		{"logit_scale", 1, 0.5f}, {"nextn_predict_layers", 0, 1}, {"residual_scale", 1, 0.2f},
		{"rope.scaling.yarn_ext_factor", 1, 0}, {"rope.scaling.yarn_log_multiplier", 0, 0.1f},
		{"router_logit_softcapping", 0, 30}, {"swin_norm", 0, 1}, {"use_parallel_residual", 0, 1},
	};
	struct gguf_build build;
	char part[128];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		begin(&build, "qwen2");
		f32(&build, "qwen2", cases[i].part, cases[i].neutral);
		expect(&build, "{\"model_type\":\"qwen2\"}", NULL);
		begin(&build, "qwen2");
		f32(&build, "qwen2", cases[i].part, cases[i].other);
		snprintf(part, sizeof part, "qwen2.%s: %g is not read from GGUF files of a qwen2 model", cases[i].part,
			(double)cases[i].other);
		refuse(&build, CWP_EUNKNOWN, part);
	}
	begin(&build, "qwen2"); /* the same as integers and truth values */
	gguf_bool(&build, "qwen2.use_parallel_residual", 0);
	u32(&build, "qwen2", "expert_gating_func", 1);
	expect(&build, "{\"model_type\":\"qwen2\"}", NULL);
	begin(&build, "qwen2");
	gguf_bool(&build, "qwen2.attention.causal", 0);
	refuse(&build, CWP_EUNKNOWN, "qwen2.attention.causal: 0 is not read");
	begin(&build, "qwen2");
	gguf_i32s(&build, "qwen2.rope.dimension_sections", (const int32_t[]){16, 24, 24, 0}, 4);
	refuse(&build, CWP_EVALUE, "qwen2.rope.dimension_sections: needs a number, found an array of i32");
	begin(&build, "qwen2");
	gguf_text(&build, "qwen2.swin_norm", "no");
	refuse(&build, CWP_EVALUE, "qwen2.swin_norm: needs a number, found a string");
}

static void test_missing(void **state)
{
	static const char *const needed[] = {"block_count", "context_length", "embedding_length", "feed_forward_length",
		"attention.head_count", "attention.layer_norm_rms_epsilon"};
	char part[128];

	(void)state;
	for (size_t missing = 0; missing < 6; missing++) {
		struct gguf_build build = {0};

		gguf_text(&build, "general.architecture", "gemma2");
		gguf_tensor(&build, "token_embd.weight", 0, 64, 7, zeros, sizeof zeros);
		for (size_t i = 0; i < 5; i++)
			if (i != missing)
				u32(&build, "gemma2", needed[i], 64);
		if (missing != 5)
			f32(&build, "gemma2", needed[5], 1e-6f);
		snprintf(part, sizeof part, "gemma2.%s is absent", needed[missing]);
		refuse(&build, CWP_EMISSING, part);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_families),
		cmocka_unit_test(test_experts),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_scales_and_caps),
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_yarn),
		cmocka_unit_test(test_longrope),
		cmocka_unit_test(test_llama3),
		cmocka_unit_test(test_other_factors),
		cmocka_unit_test(test_foreign_keys),
		cmocka_unit_test(test_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
