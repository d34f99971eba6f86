/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sources: directories and GGUF files, their configuration and the texts beside the weights. */
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/source.h"

static void write_model(const char *folder)
{
	static const uint16_t data[2] = {0x3f80, 0x4000};
	struct blob b = {0};

	safetensors_build(&b, "{\"x.weight\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}}", data, 4);
	folder_write(folder, "model.safetensors", &b);
	blob_free(&b);
}

static void test_directory(void **state)
{
	char *folder = folder_make(), *text = NULL;
	struct cwe_source *s;
	struct cwb_err err = {0};
	size_t length = 0;

	(void)state;
	write_model(folder);
	folder_text(folder, "config.json", "{\"model_type\":\"llama\",\"quantization_config\":null}");
	folder_text(folder, "tokenizer.json", "not looked at");
	assert_int_equal(cwe_source_open(folder, 0, &s, &err), 0);
	assert_int_equal(s->kind, CWE_SOURCE_DIRECTORY);
	assert_string_equal(s->path, folder);
	assert_int_equal(s->weights->count, 1);
	assert_string_equal(json_string_value(json_object_get(s->config, "model_type")), "llama");
	assert_int_equal(cwe_source_text(s, "tokenizer.json", &text, &length, &err), 0);
	assert_int_equal(length, 13);
	assert_string_equal(text, "not looked at");
	free(text);
	assert_refused(cwe_source_text(s, "generation_config.json", &text, &length, &err), &err, CWP_EMISSING, "no generation_config.json");
	cwb_err_clear(&err);
	assert_refused(cwe_source_text(s, "../secret", &text, &length, &err), &err, CWP_EUNKNOWN, "\"../secret\" is no text");
	cwe_source_close(s);
	folder_remove(folder);
}

static void test_no_weights(void **state)
{
	char *folder = folder_make();
	struct cwe_source *s = NULL;
	struct cwb_err err = {0};

	(void)state;
	folder_text(folder, "tokenizer.json", "{}");
	assert_refused(cwe_source_open(folder, 0, &s, &err), &err, CWP_EMISSING, "no config.json");
	assert_int_equal(cwe_source_open(folder, CWE_SOURCE_NO_WEIGHTS, &s, &err), 0);
	assert_null(s->weights);
	assert_null(s->config);
	cwe_source_close(s);
	folder_remove(folder);
}

static void test_refused(void **state)
{
	char *folder = folder_make(), *none = path_join(folder, "none"), *file = path_join(folder, "config.json");
	struct cwe_source *s = NULL;
	struct cwb_err err = {0};

	(void)state;
	assert_refused(cwe_source_open(none, 0, &s, &err), &err, -ENOENT, "cannot be opened");
	cwb_err_clear(&err);
	write_model(folder);
	folder_text(folder, "config.json", "{\"a\":1,\"a\":2}");
	assert_refused(cwe_source_open(folder, 0, &s, &err), &err, CWP_EFORMAT, "duplicate");
	cwb_err_clear(&err);
	folder_text(folder, "config.json", "[]");
	assert_refused(cwe_source_open(folder, 0, &s, &err), &err, CWP_EFORMAT, "no object");
	cwb_err_clear(&err);
	assert_refused(cwe_source_open(file, 0, &s, &err), &err, CWP_EFORMAT, "cut off");
	cwb_err_clear(&err);
	folder_text(folder, "config.json", "{\"quantization_config\":{\"quant_method\":\"awq\"}}");
	assert_refused(cwe_source_open(folder, 0, &s, &err), &err, CWP_EUNKNOWN, "quantization_config");
	cwb_err_clear(&err);
	folder_text(folder, "config.json", "{}");
	folder_text(folder, "model.safetensors", "broken");
	assert_refused(cwe_source_open(folder, 0, &s, &err), &err, CWP_EFORMAT, "too short");
	assert_null(s);
	free(none);
	free(file);
	folder_remove(folder);
	cwe_source_close(NULL);
}

static void test_gguf(void **state)
{
	static const uint8_t zeros[256];
	static const char *const words[] = {"a", "b"};
	char *folder = folder_make(), *path = path_join(folder, "m.gguf"), *text;
	struct gguf_build build = {0};
	struct blob b = {0};
	struct cwe_source *s;
	struct cwb_err err = {0};
	json_t *json;
	size_t length;

	(void)state;
	gguf_text(&build, "general.architecture", "llama");
	gguf_u32(&build, "llama.block_count", 1);
	gguf_u32(&build, "llama.context_length", 128);
	gguf_u32(&build, "llama.embedding_length", 32);
	gguf_u32(&build, "llama.feed_forward_length", 32);
	gguf_u32(&build, "llama.attention.head_count", 2);
	gguf_f32(&build, "llama.attention.layer_norm_rms_epsilon", 1e-6f);
	gguf_text(&build, "tokenizer.ggml.model", "gpt2");
	gguf_text(&build, "tokenizer.ggml.pre", "smollm");
	gguf_strings(&build, "tokenizer.ggml.tokens", words, 2);
	gguf_strings(&build, "tokenizer.ggml.merges", words, 0);
	gguf_tensor(&build, "token_embd.weight", 8, 32, 2, zeros, 68);
	gguf_finish(&build, &b);
	gguf_free(&build);
	folder_write(folder, "m.gguf", &b);
	blob_free(&b);
	assert_int_equal(cwe_source_open(path, 0, &s, &err), 0);
	assert_int_equal(s->kind, CWE_SOURCE_GGUF);
	assert_int_equal(json_integer_value(json_object_get(s->config, "hidden_size")), 32);
	assert_non_null(cwe_weights_find(s->weights, "model.embed_tokens.weight"));
	assert_int_equal(cwe_source_text(s, "tokenizer.json", &text, &length, &err), 0);
	assert_int_equal(strlen(text), length);
	json = json_loadb(text, length, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(json_object_get(json, "model"), "type")), "BPE");
	json_decref(json);
	free(text);
	assert_refused(cwe_source_text(s, "chat_template.jinja", &text, &length, &err), &err, CWP_EMISSING, "has no chat_template.jinja");
	cwe_source_close(s);
	assert_int_equal(cwe_source_open(path, CWE_SOURCE_NO_WEIGHTS, &s, &err), 0);
	assert_null(s->weights);
	cwe_source_close(s);
	free(path);
	folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_directory),
		cmocka_unit_test(test_no_weights),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_gguf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
