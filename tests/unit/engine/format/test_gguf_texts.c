/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The texts that are made of a GGUF file's metadata: config.json, tokenizer files, and what is refused by name. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "engine/format/gguf.h"

static const uint8_t zeros[4096];
static const char *const words[] = {"<s>", "a", "b", "ab", "\xc4\xa0", "<|x|>", "<pad0>"};
static const char *const merges[] = {"a b"};
static const int32_t token_types[] = {3, 1, 1, 1, 1, 4, 5};

/* What every model has; more is added to it. */
static void sizes(struct gguf_build *g)
{
	gguf_text(g, "general.architecture", "llama");
	gguf_u32(g, "llama.block_count", 2);
	gguf_u32(g, "llama.context_length", 4096);
	gguf_u32(g, "llama.embedding_length", 64);
	gguf_u32(g, "llama.feed_forward_length", 160);
	gguf_u32(g, "llama.attention.head_count", 4);
	gguf_f32(g, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
	gguf_tensor(g, "token_embd.weight", 1, 64, 7, zeros, 64 * 7 * 2);
}

static void vocabulary(struct gguf_build *g, const char *pre)
{
	gguf_text(g, "tokenizer.ggml.model", "gpt2");
	gguf_text(g, "tokenizer.ggml.pre", pre);
	gguf_strings(g, "tokenizer.ggml.tokens", words, 7);
	gguf_strings(g, "tokenizer.ggml.merges", merges, 1);
	gguf_i32s(g, "tokenizer.ggml.token_type", token_types, 7);
}

typedef int make(const struct cwe_gguf *g, json_t **ret, struct cwb_err *err);

static int run(struct gguf_build *build, make *function, json_t **ret, struct cwb_err *err)
{
	struct blob b = {0};
	struct cwe_gguf *g;
	int rc;

	gguf_finish(build, &b);
	gguf_free(build);
	rc = cwe_gguf_adopt(blob_fd(&b), "test", &g, err);
	blob_free(&b);
	assert_int_equal(rc, 0);
	rc = function(g, ret, err);
	cwe_gguf_close(g);
	return rc;
}

/* `want` lists what must be in the object, with the same values. */
static void assert_holds(const json_t *object, const char *want)
{
	json_t *list = json_loads(want, 0, NULL), *value;
	const char *key;

	assert_non_null(list);
	json_object_foreach(list, key, value) {
		if (!json_equal(json_object_get(object, key), value))
			print_error("\"%s\" differs\n", key);
		assert_true(json_equal(json_object_get(object, key), value));
	}
	json_decref(list);
}

static void test_config(void **state)
{
	struct gguf_build build = {0};
	json_t *config;
	struct cwb_err err = {0};

	(void)state;
	sizes(&build);
	assert_int_equal(run(&build, cwe_gguf_config, &config, &err), 0);
	assert_holds(config,
		"{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_act\":\"silu\",\"hidden_size\":64,"
		"\"intermediate_size\":160,\"max_position_embeddings\":4096,\"num_attention_heads\":4,\"num_hidden_layers\":2,"
		"\"num_key_value_heads\":4,\"rms_norm_eps\":1e-05,\"rope_theta\":10000,\"rope_scaling\":null,"
		"\"tie_word_embeddings\":true,\"torch_dtype\":\"float16\",\"vocab_size\":7,\"attention_bias\":false,"
		"\"mlp_bias\":false}");
	assert_null(json_object_get(config, "head_dim"));
	assert_null(json_object_get(config, "bos_token_id"));
	json_decref(config);

	build = (struct gguf_build){0};
	sizes(&build);
	gguf_u32(&build, "llama.attention.head_count_kv", 2);
	gguf_u32(&build, "llama.attention.key_length", 32);
	gguf_u32(&build, "llama.attention.value_length", 32);
	gguf_u32(&build, "llama.rope.dimension_count", 32);
	gguf_u32(&build, "llama.vocab_size", 7);
	gguf_f32(&build, "llama.rope.freq_base", 12345.5f);
	gguf_text(&build, "llama.rope.scaling.type", "linear");
	gguf_f32(&build, "llama.rope.scaling.factor", 2.5f);
	gguf_u32(&build, "tokenizer.ggml.bos_token_id", 0);
	gguf_u32(&build, "tokenizer.ggml.eos_token_id", 5);
	gguf_tensor(&build, "output.weight", 8, 64, 7, zeros, 14 * 34);
	gguf_tensor(&build, "blk.0.attn_q.bias", 0, 64, 0, zeros, 256);
	gguf_tensor(&build, "blk.0.ffn_up.bias", 0, 160, 0, zeros, 640);
	assert_int_equal(run(&build, cwe_gguf_config, &config, &err), 0);
	assert_holds(config,
		"{\"num_key_value_heads\":2,\"head_dim\":32,\"rope_theta\":12345.5,"
		"\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2.5},\"bos_token_id\":0,\"eos_token_id\":5,"
		"\"tie_word_embeddings\":false,\"torch_dtype\":\"bfloat16\",\"attention_bias\":true,\"mlp_bias\":true}");
	json_decref(config);
}

static void test_config_refused(void **state)
{
	struct gguf_build build = {0};
	json_t *config = NULL;
	struct cwb_err err = {0};

	(void)state;
	sizes(&build);
	gguf_text(&build, "llama.rope.scaling.type", "ntk");
	assert_refused(run(&build, cwe_gguf_config, &config, &err), &err, CWP_EUNKNOWN, "llama.rope.scaling.type: \"ntk\"");

	cwb_err_clear(&err);
	build = (struct gguf_build){0};
	sizes(&build);
	gguf_u32(&build, "llama.rope.dimension_count", 8);
	assert_refused(run(&build, cwe_gguf_config, &config, &err), &err, CWP_EUNKNOWN, "llama.rope.dimension_count: 8");

	cwb_err_clear(&err);
	build = (struct gguf_build){0};
	sizes(&build);
	gguf_u32(&build, "llama.vocab_size", 8);
	assert_refused(run(&build, cwe_gguf_config, &config, &err), &err, CWP_EVALUE, "llama.vocab_size: 8");

	cwb_err_clear(&err);
	build = (struct gguf_build){0};
	gguf_text(&build, "general.architecture", "llama");
	assert_refused(run(&build, cwe_gguf_config, &config, &err), &err, CWP_EMISSING, "llama.embedding_length is absent");

	cwb_err_clear(&err);
	build = (struct gguf_build){0};
	gguf_text(&build, "general.architecture", "bloom");
	assert_refused(run(&build, cwe_gguf_config, &config, &err), &err, CWP_EUNKNOWN, "\"bloom\"");
}

static void test_generation(void **state)
{
	struct gguf_build build = {0};
	json_t *config;
	struct cwb_err err = {0};

	(void)state;
	gguf_u32(&build, "tokenizer.ggml.bos_token_id", 1);
	gguf_u32(&build, "tokenizer.ggml.eos_token_id", 2);
	gguf_u32(&build, "tokenizer.ggml.padding_token_id", 2);
	assert_int_equal(run(&build, cwe_gguf_generation_config, &config, &err), 0);
	assert_holds(config, "{\"bos_token_id\":1,\"eos_token_id\":2,\"pad_token_id\":2}");
	json_decref(config);

	build = (struct gguf_build){0};
	gguf_u32(&build, "tokenizer.ggml.eos_token_id", 2);
	gguf_u32(&build, "tokenizer.ggml.eot_token_id", 9);
	assert_int_equal(run(&build, cwe_gguf_generation_config, &config, &err), 0);
	assert_holds(config, "{\"eos_token_id\":[2,9]}");
	json_decref(config);
}

static void test_smollm(void **state)
{
	struct gguf_build build = {0};
	json_t *json;
	struct cwb_err err = {0};

	(void)state;
	vocabulary(&build, "smollm");
	assert_int_equal(run(&build, cwe_gguf_tokenizer, &json, &err), 0);
	assert_holds(json, "{\"version\":\"1.0\",\"normalizer\":null,\"post_processor\":null,"
			   "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},"
			   "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}]}}");
	assert_holds(json_object_get(json, "model"),
		"{\"type\":\"BPE\",\"ignore_merges\":false,\"byte_fallback\":false,\"unk_token\":null,\"merges\":[\"a b\"],"
		"\"vocab\":{\"<s>\":0,\"a\":1,\"b\":2,\"ab\":3,\"\xc4\xa0\":4,\"<|x|>\":5}}");
	assert_int_equal(json_array_size(json_object_get(json, "added_tokens")), 2);
	assert_holds(json_array_get(json_object_get(json, "added_tokens"), 1),
		"{\"id\":5,\"content\":\"<|x|>\",\"special\":false,\"normalized\":false}");
	json_decref(json);
}

static void test_llama_bpe(void **state)
{
	struct gguf_build build = {0};
	json_t *json, *processors;
	struct cwb_err err = {0};

	(void)state;
	vocabulary(&build, "llama-bpe");
	gguf_u32(&build, "tokenizer.ggml.bos_token_id", 0);
	assert_int_equal(run(&build, cwe_gguf_tokenizer, &json, &err), 0);
	assert_true(json_is_true(json_object_get(json_object_get(json, "model"), "ignore_merges")));
	processors = json_object_get(json_object_get(json, "post_processor"), "processors");
	assert_holds(json_array_get(processors, 1),
		"{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
		"{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],"
		"\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[0],\"tokens\":[\"<s>\"]}}}");
	json_decref(json);

	build = (struct gguf_build){0};
	vocabulary(&build, "llama-bpe");
	gguf_bool(&build, "tokenizer.ggml.add_bos_token", 0);
	assert_int_equal(run(&build, cwe_gguf_tokenizer, &json, &err), 0);
	assert_true(json_is_null(json_object_get(json, "post_processor")));
	json_decref(json);
}

static void test_tokenizer_config(void **state)
{
	struct gguf_build build = {0};
	json_t *json;
	struct cwb_err err = {0};

	(void)state;
	sizes(&build);
	vocabulary(&build, "smollm");
	gguf_u32(&build, "tokenizer.ggml.bos_token_id", 0);
	gguf_u32(&build, "tokenizer.ggml.eos_token_id", 5);
	gguf_text(&build, "tokenizer.chat_template", "{% for %}");
	assert_int_equal(run(&build, cwe_gguf_tokenizer_config, &json, &err), 0);
	assert_holds(json, "{\"bos_token\":\"<s>\",\"eos_token\":\"<|x|>\",\"tokenizer_class\":\"PreTrainedTokenizerFast\","
			   "\"model_max_length\":4096,\"chat_template\":\"{% for %}\",\"clean_up_tokenization_spaces\":false}");
	assert_null(json_object_get(json, "unk_token"));
	json_decref(json);
}

/* One thing is wrong with a vocabulary. */
static void refuse(void (*spoil)(struct gguf_build *g), int code, const char *part)
{
	struct gguf_build build = {0};
	json_t *json = NULL;
	struct cwb_err err = {0};

	spoil(&build);
	assert_refused(run(&build, cwe_gguf_tokenizer, &json, &err), &err, code, part);
}

static void unknown_pre(struct gguf_build *g)
{
	vocabulary(g, "bloom");
}

static void word_piece(struct gguf_build *g)
{
	gguf_text(g, "tokenizer.ggml.model", "bert");
	gguf_strings(g, "tokenizer.ggml.tokens", words, 7);
}

static void no_tokens(struct gguf_build *g)
{
	gguf_text(g, "tokenizer.ggml.model", "gpt2");
}

static void no_pre(struct gguf_build *g)
{
	gguf_text(g, "tokenizer.ggml.model", "gpt2");
	gguf_strings(g, "tokenizer.ggml.tokens", words, 7);
}

static void space_prefix(struct gguf_build *g)
{
	vocabulary(g, "smollm");
	gguf_bool(g, "tokenizer.ggml.add_space_prefix", 1);
}

static void no_eos_id(struct gguf_build *g)
{
	vocabulary(g, "smollm");
	gguf_bool(g, "tokenizer.ggml.add_eos_token", 1);
}

static void no_bos_id(struct gguf_build *g)
{
	vocabulary(g, "llama-bpe");
}

static void large_bos_id(struct gguf_build *g)
{
	vocabulary(g, "llama-bpe");
	gguf_u32(g, "tokenizer.ggml.bos_token_id", 7);
}

/* Tokens as given instead of the good ones. */
static void other_tokens(struct gguf_build *g, const char *const *text, uint64_t count)
{
	gguf_text(g, "tokenizer.ggml.model", "gpt2");
	gguf_text(g, "tokenizer.ggml.pre", "smollm");
	gguf_strings(g, "tokenizer.ggml.tokens", text, count);
}

static void no_merges(struct gguf_build *g)
{
	other_tokens(g, words, 7);
}

static void twice(struct gguf_build *g)
{
	other_tokens(g, (const char *const[]){"a", "b", "a"}, 3);
	gguf_strings(g, "tokenizer.ggml.merges", merges, 1);
}

static void not_utf8(struct gguf_build *g)
{
	other_tokens(g, (const char *const[]){"a", "\xff"}, 2);
	gguf_strings(g, "tokenizer.ggml.merges", merges, 1);
}

static void few_types(struct gguf_build *g)
{
	other_tokens(g, words, 7);
	gguf_strings(g, "tokenizer.ggml.merges", merges, 1);
	gguf_i32s(g, "tokenizer.ggml.token_type", token_types, 6);
}

static void merges_are_numbers(struct gguf_build *g)
{
	other_tokens(g, words, 7);
	gguf_i32s(g, "tokenizer.ggml.merges", token_types, 6);
}

static void merge_not_utf8(struct gguf_build *g)
{
	other_tokens(g, words, 7);
	gguf_strings(g, "tokenizer.ggml.merges", (const char *const[]){"\xc3 b"}, 1);
}

static void test_tokenizer_refused(void **state)
{
	(void)state;
	refuse(unknown_pre, CWP_EUNKNOWN, "tokenizer.ggml.pre: \"bloom\"");
	refuse(word_piece, CWP_EUNKNOWN, "tokenizer.ggml.model: \"bert\"");
	refuse(no_tokens, CWP_EMISSING, "tokenizer.ggml.tokens is absent");
	refuse(no_pre, CWP_EMISSING, "tokenizer.ggml.pre is absent");
	refuse(space_prefix, CWP_EUNKNOWN, "add_space_prefix");
	refuse(no_eos_id, CWP_EMISSING, "tokenizer.ggml.eos_token_id is absent");
	refuse(no_bos_id, CWP_EMISSING, "tokenizer.ggml.bos_token_id is absent");
	refuse(large_bos_id, CWP_EVALUE, "there are only 7 tokens");
	refuse(no_merges, CWP_EMISSING, "tokenizer.ggml.merges is absent");
	refuse(twice, CWP_EFORMAT, "\"a\" comes twice");
	refuse(not_utf8, CWP_EFORMAT, "entry 1 is not UTF-8");
	refuse(few_types, CWP_EFORMAT, "6 entries for 7 tokens");
	refuse(merges_are_numbers, CWP_EVALUE, "tokenizer.ggml.merges: needs an array of a string");
	refuse(merge_not_utf8, CWP_EFORMAT, "tokenizer.ggml.merges: entry 0 is not UTF-8");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_config_refused),
		cmocka_unit_test(test_generation),
		cmocka_unit_test(test_smollm),
		cmocka_unit_test(test_llama_bpe),
		cmocka_unit_test(test_tokenizer_config),
		cmocka_unit_test(test_tokenizer_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
