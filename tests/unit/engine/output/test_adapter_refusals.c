/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Adapters that are refused: each names the folder, the module or the key, and what to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/engine/output/adapters.h"

/* Both factors of one module. */
#define PAIR                                                                                       \
	{"base_model.model." Q0 ".lora_A.weight", CWE_DTYPE_F32, 4, 64},                           \
	{                                                                                          \
		"base_model.model." Q0 ".lora_B.weight", CWE_DTYPE_F32, 51, 4                      \
	}

static void test_refused_tensors(void **state)
{
	static const struct {
		struct adapter_tensor t[4];
		int code;
		const char *part, *other;
	} cases[] = {
		{{{0}}, CWP_EMISSING, "holds no factors", "adapter_model.safetensors"},
		{{{LORA(Q0, "A"), CWE_DTYPE_F32, 4, 64}}, CWP_EMISSING,
			"\"" Q0 "\" has no factor B", "lora_B"},
		{{{LORA(Q0, "B"), CWE_DTYPE_F32, 51, 4}}, CWP_EMISSING,
			"\"" Q0 "\" has no factor A", "lora_A"},
		{{PAIR, {LORA(Q1, "A"), CWE_DTYPE_F32, 4, 64}}, CWP_EMISSING,
			"\"" Q1 "\" has no factor B", ""},
		{{PAIR, {"base_model.model." Q0 ".lora_A.default.weight", CWE_DTYPE_F32, 4, 64}},
			CWP_EVALUE, "\"" Q0 "\" has its factor A twice", ""},
		{{PAIR, {"base_model.model." Q0 ".lora_B.default.weight", CWE_DTYPE_F32, 51, 4}},
			CWP_EVALUE, "\"" Q0 "\" has its factor B twice", ""},
		{{{Q0 ".lora_A.weight", CWE_DTYPE_F32, 4, 64}}, CWP_EUNKNOWN,
			"\"" Q0 ".lora_A.weight\" does not begin with \"base_model.model.\"", ""},
		{{PAIR, {"base_model.model.model.embed_tokens.lora_embedding_A", CWE_DTYPE_F32, 4,
				40}},
			CWP_EUNKNOWN, "lora_embedding_A\" adapts an embedding", ""},
		{{PAIR, {"base_model.model." Q0 ".lora_magnitude_vector", CWE_DTYPE_F32, 51, 0}},
			CWP_EUNKNOWN, "belongs to DoRA", Q0},
		{{PAIR, {"base_model.model." Q0 ".lora_magnitude_vector.default.weight",
				CWE_DTYPE_F32, 51, 0}},
			CWP_EUNKNOWN, "belongs to DoRA", Q0},
		{{PAIR, {"base_model.model.lm_head.modules_to_save.weight", CWE_DTYPE_F32, 40, 64}},
			CWP_EUNKNOWN, "is a module saved whole", "lm_head"},
		{{PAIR, {"base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta",
				CWE_DTYPE_F32, 2, 64}},
			CWP_EUNKNOWN, "holds trained tokens", ""},
		{{PAIR, {"base_model.model." Q0 ".lora_B.bias", CWE_DTYPE_F32, 51, 0}},
			CWP_EUNKNOWN, "is a bias of lora_bias", ""},
		{{PAIR, {"base_model.model." Q0 ".bias", CWE_DTYPE_F32, 51, 0}}, CWP_EUNKNOWN,
			"is a trained bias", ""},
		{{PAIR, {"base_model.model.model.embed_tokens.weight", CWE_DTYPE_F32, 40, 64}},
			CWP_EUNKNOWN,
			"\"model.embed_tokens\" was saved whole and is not as the model has it",
			""},
		{{PAIR, {"base_model.model.model.norm.weight", CWE_DTYPE_F32, 64, 0}}, CWP_EUNKNOWN,
			"is no factor, but a tensor saved whole", ""},
		{{PAIR, {"base_model.model." Q0 ".lora_diag.weight", CWE_DTYPE_F32, 4, 0}},
			CWP_EUNKNOWN, "is no factor of plain LoRA", ""},
		{{PAIR, {"base_model.model.lora_A.weight", CWE_DTYPE_F32, 4, 64}}, CWP_EUNKNOWN,
			"tensor \"base_model.model.lora_A.weight\"", ""},
		{{{LORA(Q0, "A"), CWE_DTYPE_F32, 5, 64}, {LORA(Q0, "B"), CWE_DTYPE_F32, 51, 5}},
			CWP_ESHAPE, "has shape [5, 64]", "gives the module rank 4"},
		{{{LORA(Q0, "A"), CWE_DTYPE_F32, 4, 64}, {LORA(Q0, "B"), CWE_DTYPE_F32, 51, 3}},
			CWP_ESHAPE, "has shape [51, 3]", "gives the module rank 4"},
		{{{LORA(Q0, "A"), CWE_DTYPE_F32, 4, 0}, {LORA(Q0, "B"), CWE_DTYPE_F32, 51, 4}},
			CWP_ESHAPE, "a factor is a matrix", "lora_A"},
		{{{LORA(Q0, "A"), CWE_DTYPE_F64, 4, 64}, {LORA(Q0, "B"), CWE_DTYPE_F32, 51, 4}},
			CWP_EUNKNOWN, "has dtype F64", "F32, F16 or BF16"},
		{{{LORA(Q0, "A"), CWE_DTYPE_F32, 4, 63}, {LORA(Q0, "B"), CWE_DTYPE_F32, 51, 4}},
			CWP_ESHAPE, "\"" Q0 "\" is adapted as [51, 63]", "[51, 64]"},
		{{{LORA(Q0, "A"), CWE_DTYPE_F32, 4, 51}, {LORA(Q0, "B"), CWE_DTYPE_F32, 64, 4}},
			CWP_ESHAPE, "is adapted as [64, 51]", "[51, 64]"},
		{{PAIR, {LORA("model.layers.2.self_attn.q_proj", "A"), CWE_DTYPE_F32, 4, 64},
			 {LORA("model.layers.2.self_attn.q_proj", "B"), CWE_DTYPE_F32, 48, 4}},
			CWP_EUNKNOWN,
			"\"model.layers.2.self_attn.q_proj\" is no module of the model", ""},
		{{{LORA("model.norm", "A"), CWE_DTYPE_F32, 4, 64},
			 {LORA("model.norm", "B"), CWE_DTYPE_F32, 64, 4}},
			CWP_ESHAPE, "\"model.norm\"", "shape [64, 0]"},
		{{{LORA("lm_head", "A"), CWE_DTYPE_F32, 4, 64},
			 {LORA("lm_head", "B"), CWE_DTYPE_F32, 40, 4}},
			CWP_EUNKNOWN, "\"lm_head\" has no weight of its own", ""},
		{{{LORA("model.language_model.layers.0.self_attn.q_proj", "A"), CWE_DTYPE_F32, 4,
			  64},
			 {LORA("model.language_model.layers.0.self_attn.q_proj", "B"),
				 CWE_DTYPE_F32, 51, 4},
			 PAIR},
			CWP_EVALUE, "is adapted twice", Q0},
	};
	char *model = toy_folder();

	(void)state;
	toy_model(model, CWP_BF16);
	for (size_t i = 0; i < COUNT(cases); i++) {
		size_t n = 0;
		char *adapter;

		while (n < 4 && cases[i].t[n].name)
			n++;
		adapter = adapter_make(PLAIN, cases[i].t, n, 5);
		adapter_refuse(model, &adapter, 1, cases[i].code, cases[i].part, cases[i].other);
		adapter_drop(adapter);
	}
	adapter_drop(model);
}

/* The configuration and the file must speak of the same modules. */
static void test_refused_targets(void **state)
{
	static const struct {
		const char *keys;
		size_t n; /* of all_bf16 */
		int code;
		const char *part;
	} cases[] = {
		{"\"target_modules\": [\"down_proj\"]", 2, CWP_EVALUE,
			"\"" Q0 "\" has factors, but target_modules"},
		{"\"target_modules\": [\"q_proj\"], \"layers_to_transform\": [1]", 2, CWP_EVALUE,
			"\"" Q0 "\" has factors"},
		{"\"target_modules\": [\"q_proj\"], \"exclude_modules\": "
		 "[\"layers.0.self_attn.q_proj\"]",
			2, CWP_EVALUE, "\"" Q0 "\" has factors"},
		{"\"target_modules\": [\"q_proj\"]", 2, CWP_EMISSING,
			"target_modules names \"" Q1 "\" of the model, but the file"},
		{"\"target_modules\": \".*(q|down)_proj\"", 6, CWP_EMISSING,
			"target_modules names \"" DOWN1 "\" of the model"},
		{"\"target_modules\": [\"q_proj\"], \"layers_to_transform\": [0]", 2, 0, NULL},
		{"\"target_modules\": [\"q_proj\", \"k_proj\"]", 4, 0, NULL},
		{"\"target_modules\": [\"q_proj\"], \"exclude_modules\": \".*1.self_attn.*\"", 2, 0,
			NULL},
		{"\"target_modules\": \"all-linear\"", 2, 0, NULL},
		{"\"target_modules\": null", 2, 0, NULL},
	};
	char *model = toy_folder();

	(void)state;
	toy_model(model, CWP_BF16);
	for (size_t i = 0; i < COUNT(cases); i++) {
		char *config, *adapter;

		assert_true(asprintf(&config, "{\"peft_type\": \"LORA\", \"r\": 4, %s}",
				    cases[i].keys) > 0);
		adapter = adapter_make(config, adapter_all, cases[i].n, 5);
		if (cases[i].code)
			adapter_refuse(model, &adapter, 1, cases[i].code, cases[i].part, "");
		else
			cwe_source_close(adapter_open(model, &adapter, 1));
		free(config);
		adapter_drop(adapter);
	}
	adapter_drop(model);
}

static void test_refused_folders(void **state)
{
	char *model = toy_folder(), *empty = toy_folder(),
	     *path = toy_path(empty, CWE_ADAPTER_CONFIG_FILE);
	char *good = adapter_make(PLAIN, adapter_all, 2, 5), *twice[] = {good, good},
	     *both[] = {good, empty};
	char nowhere[] = "/nowhere/adapter", *none = nowhere, *file;

	(void)state;
	toy_model(model, CWP_BF16);
	adapter_refuse(model, &none, 1, CWP_EMISSING, "/nowhere/adapter: no adapter_config.json",
		"save_pretrained");
	adapter_refuse(model, &empty, 1, CWP_EMISSING, "no adapter_config.json", empty);
	adapter_refuse(model, both, 2, CWP_EMISSING, "no adapter_config.json", empty);
	adapter_refuse(model, &path, 1, CWP_EMISSING, "no adapter_config.json", path);
	toy_put(path, PLAIN, strlen(PLAIN));
	adapter_refuse(model, &empty, 1, CWP_EMISSING, "no adapter_model.safetensors",
		"adapter_model.bin");
	adapter_refuse(model, &path, 1, CWP_EMISSING, "no adapter_config.json",
		path); /* a file is no folder */
	file = toy_path(empty, CWE_ADAPTER_WEIGHTS_FILE);
	toy_put(file, "\x08\0\0\0\0\0\0\0{}", 10);
	adapter_refuse(model, &empty, 1, CWP_EFORMAT, "adapter_model.safetensors", "");
	adapter_refuse(model, twice, 2, CWP_EVALUE, "is given twice", good);
	free(file);
	free(path);
	adapter_drop(good);
	adapter_drop(empty);
	adapter_drop(model);
}

/* An expert may be a Linear or not: the list need not mean it, and may. */
static void test_experts(void **state)
{
	static const struct adapter_tensor weights[] = {
		{"model.layers.0.mlp.experts.0.up_proj.weight", CWE_DTYPE_BF16, 8, 12},
		{"model.layers.0.mlp.experts.1.up_proj.weight", CWE_DTYPE_BF16, 8, 12},
		{"model.layers.0.mlp.shared.up_proj.weight", CWE_DTYPE_BF16, 8, 12},
		{Q0 ".weight", CWE_DTYPE_BF16, 51, 64},
	};
	static const struct adapter_tensor t[] = {
		{LORA("model.layers.0.mlp.experts.1.up_proj", "A"), CWE_DTYPE_F32, 4, 12},
		{LORA("model.layers.0.mlp.experts.1.up_proj", "B"), CWE_DTYPE_F32, 8, 4},
		{LORA("model.layers.0.mlp.shared.up_proj", "A"), CWE_DTYPE_F32, 4, 12},
		{LORA("model.layers.0.mlp.shared.up_proj", "B"), CWE_DTYPE_F32, 8, 4},
	};
	static const char config[] =
		"{\"peft_type\": \"LORA\", \"r\": 4, \"target_modules\": [\"up_proj\"]}";
	char *model = toy_folder(), *path = toy_path(model, "config.json");
	char *all = adapter_make(config, t, 4, 5), *shared = adapter_make(config, t + 2, 2, 5);
	char *none = adapter_make(config, t, 2, 5);

	(void)state;
	toy_put(path, "{}", 2);
	adapter_put(model, "model.safetensors", weights, 4, 3);
	cwe_source_close(adapter_open(model, &all, 1));
	cwe_source_close(adapter_open(model, &shared, 1));
	adapter_refuse(
		model, &none, 1, CWP_EMISSING, "\"model.layers.0.mlp.shared.up_proj\"", none);
	free(path);
	adapter_drop(all);
	adapter_drop(shared);
	adapter_drop(none);
	adapter_drop(model);
}

/* Copies of the base model's embeddings, which PEFT saves with adapters of lm_head, are passed over
 * where they are the model's, value for value. */
static void test_copies(void **state)
{
#define COPY(module, dtype, rows)                                                                  \
	{                                                                                          \
		"base_model.model." module ".weight", dtype, rows, 64                              \
	}
	static const struct {
		const char
			*model; /* its first tensor; the copy is the first of the adapter's file */
		struct adapter_tensor copy;
		uint64_t seed; /* 3 makes them equal */
		int good;
	} cases[] = {
		{"model.embed_tokens.weight", COPY("model.embed_tokens", CWE_DTYPE_BF16, 40), 3, 1},
		{"model.embed_tokens.weight", COPY("model.embed_tokens", CWE_DTYPE_BF16, 40), 4, 0},
		{"model.embed_tokens.weight", COPY("model.embed_tokens", CWE_DTYPE_F32, 40), 3, 0},
		{"model.embed_tokens.weight", COPY("model.embed_tokens", CWE_DTYPE_I32, 40), 3, 0},
		{"model.embed_tokens.weight", COPY("model.embed_tokens", CWE_DTYPE_BF16, 41), 3, 0},
		{"model.embed_tokens.weight",
			COPY("model.embed_tokens.base_layer", CWE_DTYPE_BF16, 40), 3, 1},
		{"model.embed_tokens.weight", COPY("lm_head", CWE_DTYPE_BF16, 40), 3, 1}, /* tied */
		{"model.embed_tokens.weight", COPY("lm_head", CWE_DTYPE_BF16, 40), 4, 0},
		{"lm_head.weight", COPY("lm_head.base_layer", CWE_DTYPE_BF16, 40), 3, 1},
		{"lm_head.weight", COPY("model.embed_tokens", CWE_DTYPE_BF16, 40), 3,
			0}, /* there is none */
		{"language_model.model.embed_tokens.weight",
			COPY("model.language_model.embed_tokens", CWE_DTYPE_BF16, 40), 3, 1},
		{"language_model.model.embed_tokens.weight", COPY("lm_head", CWE_DTYPE_BF16, 40), 3,
			1},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct adapter_tensor weights[] = {{cases[i].model, CWE_DTYPE_BF16, 40, 64},
			{Q0 ".weight", CWE_DTYPE_BF16, 51, 64}};
		const struct adapter_tensor t[] = {cases[i].copy, PAIR};
		char *model = toy_folder(), *path = toy_path(model, "config.json");
		char *adapter = adapter_make(PLAIN, t, 3, cases[i].seed);

		toy_put(path, "{}", 2);
		adapter_put(model, "model.safetensors", weights, 2, 3);
		if (cases[i].good)
			cwe_source_close(adapter_open(model, &adapter, 1));
		else
			adapter_refuse(model, &adapter, 1, CWP_EUNKNOWN,
				"was saved whole and is not as the model has it", adapter);
		free(path);
		adapter_drop(adapter);
		adapter_drop(model);
	}
}

/* A sum that is not finite is refused when its row is read, and the adapter named. */
static void test_not_finite(void **state)
{
	static const char *const kinds[] = {
		"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 1e42}",
		"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 1e308}"};
	char *model = toy_folder();

	(void)state;
	toy_model(model, CWP_BF16);
	for (size_t i = 0; i < COUNT(kinds); i++) {
		char *adapter = adapter_make(kinds[i], adapter_all, 2, 5);
		struct cwe_source *s = adapter_open(model, &adapter, 1);
		struct cwb_err err = {0};
		float x[51 * 64];

		assert_int_equal(
			cwe_weights_read_f32(s->weights, adapter_find(s, Q0), 3, 2, x, &err),
			CWP_ENUMBER);
		assert_non_null(strstr(err.message, Q0 ".weight is not finite in row 3"));
		assert_non_null(strstr(err.message, adapter));
		cwe_source_close(s);
		adapter_drop(adapter);
	}
	adapter_drop(model);
}

/* A file that is cut after it was opened: an error while its rows are read. */
static void test_cut_file(void **state)
{
	char *model = toy_folder(), *adapter = adapter_make(PLAIN, adapter_all, 2, 5),
	     *file = toy_path(adapter, CWE_ADAPTER_WEIGHTS_FILE);
	struct cwe_source *s;
	struct cwb_err err = {0};
	float x[51 * 64];

	(void)state;
	toy_model(model, CWP_BF16);
	s = adapter_open(model, &adapter, 1);
	assert_int_equal(truncate(file, 300), 0);
	assert_true(cwe_weights_read_f32(s->weights, adapter_find(s, Q0), 0, 51, x, &err) < 0);
	assert_non_null(strstr(err.message, "adapter_model.safetensors"));
	cwe_source_close(s);
	free(file);
	adapter_drop(adapter);
	adapter_drop(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused_tensors),
		cmocka_unit_test(test_refused_targets),
		cmocka_unit_test(test_refused_folders),
		cmocka_unit_test(test_experts),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_not_finite),
		cmocka_unit_test(test_cut_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
