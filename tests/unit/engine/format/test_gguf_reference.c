/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A real GGUF file against the Hugging Face directory that the reference tool made of it, and Llama 3.1's tokenizer put
 * into a GGUF file and taken out again. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "engine/format/gguf.h"
#include "engine/format/source.h"

static struct cwe_source *ours, *reference;
static char *llama3;

static char *cache_path(const char *name)
{
	const char *cache = getenv("CWP_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char *folder, *path;

	if (cache && *cache)
		return path_join(cache, name);
	folder = xdg && *xdg ? path_join(xdg, "cwp") : path_join(home ? home : "/", ".cache/cwp");
	path = path_join(folder, name);
	free(folder);
	return path;
}

#define PIECE (1u << 20)

static float ours_piece[PIECE], reference_piece[PIECE];

/* Rows [row, row + rows) of both, as f32, and as bytes where both have the same dtype. */
static void compare_rows(const struct cwe_tensor *got, const struct cwe_tensor *want, uint64_t row, uint64_t rows)
{
	uint64_t n = rows * (want->rank == 2 ? want->shape[1] : 1);

	assert_int_equal(cwe_weights_read_f32(ours->weights, got, row, rows, ours_piece, NULL), 0);
	assert_int_equal(cwe_weights_read_f32(reference->weights, want, row, rows, reference_piece, NULL), 0);
	assert_memory_equal(ours_piece, reference_piece, n * sizeof *ours_piece);
	if (got->dtype != want->dtype)
		return;
	assert_int_equal(cwe_weights_read_raw(ours->weights, got, row, rows, ours_piece, NULL), 0);
	assert_int_equal(cwe_weights_read_raw(reference->weights, want, row, rows, reference_piece, NULL), 0);
	assert_memory_equal(ours_piece, reference_piece, n * 2);
}

static void test_weights(void **state)
{
	size_t same_dtype = 0;

	(void)state;
	if (!ours) {
		skip();
		return;
	}
	assert_int_equal(ours->weights->count, reference->weights->count);
	for (size_t i = 0; i < reference->weights->count; i++) {
		const struct cwe_tensor *want = &reference->weights->tensors[i], *got = cwe_weights_find(ours->weights, want->name);
		uint64_t step = PIECE / (want->rank == 2 ? want->shape[1] : 1);

		assert_non_null(got);
		assert_int_equal(got->rank, want->rank);
		assert_memory_equal(got->shape, want->shape, want->rank * sizeof *want->shape);
		same_dtype += got->dtype == want->dtype;
		for (uint64_t row = 0; row < want->shape[0]; row += step)
			compare_rows(got, want, row, want->shape[0] - row < step ? want->shape[0] - row : step);
	}
	assert_true(same_dtype > 200);
}

static json_t *text_json(struct cwe_source *s, const char *name)
{
	size_t length = 0;
	char *text = NULL;
	json_t *json;

	assert_int_equal(cwe_source_text(s, name, &text, &length, NULL), 0);
	json = json_loadb(text, length, 0, NULL);
	assert_non_null(json);
	free(text);
	return json;
}

static void test_texts(void **state)
{
	static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "generation_config.json"};

	(void)state;
	if (!ours) {
		skip();
		return;
	}
	for (size_t i = 0; i < 3; i++) {
		json_t *got = text_json(ours, names[i]), *want = text_json(reference, names[i]);

		assert_true(json_equal(got, want));
		json_decref(got);
		json_decref(want);
	}
}

/* These three say how the model was trained; no GGUF file has them, and no engine needs them. */
static int is_not_in_gguf(const char *key)
{
	return !strcmp(key, "initializer_range") || !strcmp(key, "is_llama_config") || !strcmp(key, "rope_interleaved");
}

static void test_config(void **state)
{
	const char *key;
	json_t *value;

	(void)state;
	if (!ours) {
		skip();
		return;
	}
	json_object_foreach(reference->config, key, value) {
		if (is_not_in_gguf(key))
			continue;
		if (!json_equal(json_object_get(ours->config, key), value))
			print_error("config.json: \"%s\" differs\n", key);
		assert_true(json_equal(json_object_get(ours->config, key), value));
	}
	assert_int_equal(json_object_size(ours->config) + 3, json_object_size(reference->config));
}

/* The vocabulary and the added tokens by id, as a converter writes them. */
static void write_tokens(struct gguf_build *g, json_t *vocabulary, json_t *added)
{
	size_t count = json_object_size(vocabulary) + json_array_size(added), i;
	const char **text = calloc(count, sizeof *text), *key;
	int32_t *types = calloc(count, sizeof *types);
	json_t *value;

	assert_non_null(text);
	assert_non_null(types);
	json_object_foreach(vocabulary, key, value) {
		text[json_integer_value(value)] = key;
		types[json_integer_value(value)] = 1;
	}
	json_array_foreach(added, i, value) {
		text[json_integer_value(json_object_get(value, "id"))] = json_string_value(json_object_get(value, "content"));
		types[json_integer_value(json_object_get(value, "id"))] = 3;
	}
	for (i = 0; i < count; i++)
		assert_non_null(text[i]);
	gguf_strings(g, "tokenizer.ggml.tokens", text, count);
	gguf_i32s(g, "tokenizer.ggml.token_type", types, count);
	free(text);
	free(types);
}

static void write_merges(struct gguf_build *g, const json_t *merges)
{
	const char **text = calloc(json_array_size(merges), sizeof *text);

	assert_non_null(text);
	for (size_t i = 0; i < json_array_size(merges); i++)
		text[i] = json_string_value(json_array_get(merges, i));
	gguf_strings(g, "tokenizer.ggml.merges", text, json_array_size(merges));
	free(text);
}

static void test_llama3_tokenizer(void **state)
{
	static const char *const parts[] = {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
		"post_processor", "decoder"};
	struct gguf_build build = {0};
	struct blob b = {0};
	struct cwe_gguf *g;
	json_t *want, *got, *value, *vocabulary;
	const char *key;

	(void)state;
	if (!llama3) {
		skip();
		return;
	}
	assert_int_equal(cwb_json_load_file(llama3, 1u << 28, CWB_JSON_DEPTH, &want, NULL), 0);
	vocabulary = json_object_get(json_object_get(want, "model"), "vocab");
	gguf_text(&build, "tokenizer.ggml.model", "gpt2");
	gguf_text(&build, "tokenizer.ggml.pre", "llama-bpe");
	gguf_u32(&build, "tokenizer.ggml.bos_token_id", 128000);
	write_tokens(&build, vocabulary, json_object_get(want, "added_tokens"));
	write_merges(&build, json_object_get(json_object_get(want, "model"), "merges"));
	gguf_finish(&build, &b);
	gguf_free(&build);
	assert_int_equal(cwe_gguf_adopt(blob_fd(&b), "llama3", &g, NULL), 0);
	blob_free(&b);
	assert_int_equal(cwe_gguf_tokenizer(g, &got, NULL), 0);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		if (!json_equal(json_object_get(got, parts[i]), json_object_get(want, parts[i])))
			print_error("\"%s\" differs\n", parts[i]);
		assert_true(json_equal(json_object_get(got, parts[i]), json_object_get(want, parts[i])));
	}
	json_object_foreach(json_object_get(want, "model"), key, value)
		if (value != vocabulary)
			assert_true(json_equal(json_object_get(json_object_get(got, "model"), key), value));
	json_object_foreach(vocabulary, key, value)
		assert_true(json_equal(json_object_get(json_object_get(json_object_get(got, "model"), "vocab"), key), value));
	cwe_gguf_close(g);
	json_decref(got);
	json_decref(want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_weights),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_llama3_tokenizer),
	};
	const char *named = getenv("CWP_SMOLLM2_GGUF"), *shared = getenv("CWP_SHARED");
	char *gguf = named ? strdup(named) : cache_path("smollm2.gguf"), *folder = cache_path("smollm2-hf");
	int rc = 77;

	if (cwe_source_open(gguf, 0, &ours, NULL) || cwe_source_open(folder, 0, &reference, NULL)) {
		printf("no reference model: needs %s and %s\n", gguf, folder);
		cwe_source_close(ours);
		ours = NULL;
	}
	llama3 = path_join(shared ? shared : "", "tokenizers/llama3_1/tokenizer.json");
	if (access(llama3, R_OK)) {
		printf("no reference tokenizer: needs %s\n", llama3);
		free(llama3);
		llama3 = NULL;
	}
	if (ours || llama3)
		rc = cmocka_run_group_tests(tests, NULL, NULL);
	cwe_source_close(ours);
	cwe_source_close(reference);
	free(llama3);
	free(gguf);
	free(folder);
	return rc;
}
