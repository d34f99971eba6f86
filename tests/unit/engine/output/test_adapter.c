/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Adapters merged while weights are read, against sums made in f64, and what writers make of merged
 * weights. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/format/overlay.h"
#include "tests/unit/engine/output/adapters.h"

static void test_dtypes(void **state)
{
	static const uint32_t models[] = {CWP_F32, CWP_F16, CWP_BF16};
	static const enum cwe_dtype factors[] = {CWE_DTYPE_F32, CWE_DTYPE_F16, CWE_DTYPE_BF16};

	(void)state;
	for (size_t m = 0; m < 3; m++) {
		char *model = toy_folder();

		toy_model(model, models[m]);
		for (size_t f = 0; f < 3; f++) {
			const struct adapter_tensor t[] = {{LORA(Q0, "A"), factors[f], 4, 64},
				{LORA(Q0, "B"), factors[(f + 1) % 3], 51, 4},
				{LORA(DOWN1, "A"), factors[f], 4, 160},
				{LORA(DOWN1, "B"), factors[f], 64, 4}};
			char *adapter = adapter_make(PLAIN, t, COUNT(t), 5);
			struct cwe_source *base = adapter_base(model),
					  *s = adapter_open(model, &adapter, 1);

			adapter_expect(base, s, Q0, adapter, LORA(Q0, "A"), LORA(Q0, "B"), 4, 2.0);
			adapter_expect(base, s, DOWN1, adapter, LORA(DOWN1, "A"), LORA(DOWN1, "B"),
				4, 2.0);
			assert_int_equal(adapter_find(s, DOWN0)->dtype, models[m]);
			assert_int_equal(adapter_find(s, DOWN0)->stored, 0);
			cwe_source_close(base);
			cwe_source_close(s);
			adapter_drop(adapter);
		}
		adapter_drop(model);
	}
}

/* All that no module of the adapter names is as it was, raw too; and raw rows of the others are
 * their f32. */
static void test_others_untouched(void **state)
{
	char *model = toy_folder(), *adapter = adapter_make(PLAIN, adapter_all, 2, 5);
	struct cwe_source *base, *s;
	struct cwb_err err = {0};
	uint8_t a[64 * 160 * 4], b[64 * 160 * 4];

	(void)state;
	toy_model(model, CWP_BF16);
	base = adapter_base(model);
	s = adapter_open(model, &adapter, 1);
	assert_int_equal(s->weights->count, base->weights->count);
	for (size_t i = 0; i < base->weights->count; i++) {
		const struct cwe_tensor *t = &base->weights->tensors[i],
					*m = &s->weights->tensors[i];
		uint64_t n = t->shape[0] * (t->rank > 1 ? t->shape[1] : 1);

		assert_string_equal(t->name, m->name);
		assert_ptr_equal(cwe_weights_find(s->weights, t->name), m);
		assert_int_equal(cwe_weights_read_raw(s->weights, m, 0, m->shape[0], a, &err), 0);
		if (!strcmp(t->name, Q0 ".weight")) {
			float *x = adapter_read(s, m);

			assert_memory_equal(a, x, n * sizeof *x);
			free(x);
			continue;
		}
		assert_int_equal(t->dtype, m->dtype);
		assert_int_equal(
			cwe_weights_read_raw(base->weights, t, 0, t->shape[0], b, &err), 0);
		assert_memory_equal(a, b, n * 2);
	}
	cwe_source_close(base);
	cwe_source_close(s);
	adapter_drop(adapter);
	adapter_drop(model);
}

/* Large enough for several tiles of columns and pieces of rows, and neither a multiple of a tile.
 */
static void test_large_and_in_parts(void **state)
{
	static const struct adapter_tensor big[] = {
		{"model.big.weight", CWE_DTYPE_BF16, 150, 1111}};
	static const struct adapter_tensor t[] = {
		{LORA("model.big", "A"), CWE_DTYPE_BF16, 37, 1111},
		{LORA("model.big", "B"), CWE_DTYPE_F32, 150, 37}};
	char *model = toy_folder(), *path = toy_path(model, "config.json");
	char *adapter = adapter_make(
		"{\"peft_type\": \"LORA\", \"r\": 37, \"lora_alpha\": 5, \"use_rslora\": true}", t,
		COUNT(t), 9);
	struct cwe_source *base, *s;
	struct cwb_err err = {0};
	float *whole, *part;

	(void)state;
	toy_put(path, "{}", 2);
	free(path);
	adapter_put(model, "model.safetensors", big, 1, 3);
	base = adapter_base(model);
	s = adapter_open(model, &adapter, 1);
	adapter_expect(base, s, "model.big", adapter, LORA("model.big", "A"),
		LORA("model.big", "B"), 37, 5 / sqrt(37));
	assert_true(s->merge_memory >= 37 * 1111 * sizeof(float) &&
		    s->merge_memory < 37 * 2000 * sizeof(float));
	whole = adapter_read(s, adapter_find(s, "model.big"));
	part = malloc(150 * 1111 * sizeof *part);
	for (uint64_t rows = 1; rows < 150; rows += 24)
		for (uint64_t row = 0; row < 150; row += rows) {
			uint64_t n = 150 - row < rows ? 150 - row : rows;

			assert_int_equal(cwe_weights_read_f32(s->weights,
						 adapter_find(s, "model.big"), row, n, part, &err),
				0);
			assert_memory_equal(part, whole + row * 1111, n * 1111 * sizeof *part);
		}
	assert_int_equal(
		cwe_weights_read_f32(s->weights, adapter_find(s, "model.big"), 0, 0, part, &err),
		0);
	assert_int_equal(
		cwe_weights_read_f32(s->weights, adapter_find(s, "model.big"), 149, 2, part, &err),
		CWP_EVALUE);
	free(whole);
	free(part);
	cwe_source_close(base);
	cwe_source_close(s);
	adapter_drop(adapter);
	adapter_drop(model);
}

/* Each module has the rank and the scale that the configuration gives it. */
static void test_patterns(void **state)
{
	static const struct adapter_tensor t[] = {
		{LORA(Q0, "A"), CWE_DTYPE_F32, 2, 64},
		{LORA(Q0, "B"), CWE_DTYPE_F32, 51, 2},
		{LORA(Q1, "A"), CWE_DTYPE_F32, 6, 64},
		{LORA(Q1, "B"), CWE_DTYPE_F32, 48, 6},
		{LORA(DOWN0, "A"), CWE_DTYPE_F32, 4, 160},
		{LORA(DOWN0, "B"), CWE_DTYPE_F32, 64, 4},
		{LORA(DOWN1, "A"), CWE_DTYPE_F32, 4, 160},
		{LORA(DOWN1, "B"), CWE_DTYPE_F32, 64, 4},
	};
	char *model = toy_folder();
	char *adapter = adapter_make(
		"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"fan_in_fan_out\": true, "
		"\"target_modules\": [\"q_proj\", \"down_proj\"], \"rank_pattern\": "
		"{\"layers.0.self_attn.q_proj\": 2, \".*self_attn.q_proj\": 6}, "
		"\"alpha_pattern\": {\"^model.layers.1.mlp.down_proj\": 3}}",
		t, COUNT(t), 11);
	struct cwe_source *base, *s;

	(void)state;
	toy_model(model, CWP_BF16);
	base = adapter_base(model);
	s = adapter_open(model, &adapter, 1);
	adapter_expect(base, s, Q0, adapter, LORA(Q0, "A"), LORA(Q0, "B"), 2, 4.0);
	adapter_expect(base, s, Q1, adapter, LORA(Q1, "A"), LORA(Q1, "B"), 6, 8.0 / 6);
	adapter_expect(base, s, DOWN0, adapter, LORA(DOWN0, "A"), LORA(DOWN0, "B"), 4, 2.0);
	adapter_expect(base, s, DOWN1, adapter, LORA(DOWN1, "A"), LORA(DOWN1, "B"), 4, 0.75);
	cwe_source_close(base);
	cwe_source_close(s);
	adapter_drop(adapter);
	adapter_drop(model);
}

/* One after the other, as the list says, and the same when each comes in a call of its own. */
static void test_several(void **state)
{
	static const struct adapter_tensor first[] = {
		{LORA(Q0, "A"), CWE_DTYPE_BF16, 4, 64}, {LORA(Q0, "B"), CWE_DTYPE_BF16, 51, 4}};
	static const struct adapter_tensor second[] = {{LORA(Q0, "A"), CWE_DTYPE_F32, 3, 64},
		{LORA(Q0, "B"), CWE_DTYPE_F32, 51, 3}, {LORA(DOWN1, "A"), CWE_DTYPE_F32, 3, 160},
		{LORA(DOWN1, "B"), CWE_DTYPE_F32, 64, 3}};
	char *model = toy_folder(), *adapter[2];
	struct cwe_source *base, *both, *one;
	struct cwb_err err = {0};
	float *w, *x, *y, *a, *b;

	(void)state;
	toy_model(model, CWP_BF16);
	adapter[0] = adapter_make(PLAIN, first, COUNT(first), 5);
	adapter[1] = adapter_make(
		"{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 1}", second, COUNT(second), 6);
	base = adapter_base(model);
	both = adapter_open(model, adapter, 2);
	one = adapter_open(model, adapter, 1);
	assert_int_equal(cwe_source_adapt(one, adapter + 1, 1, &err), 0);
	w = adapter_read(base, adapter_find(base, Q0));
	for (int i = 0; i < 2; i++) {
		a = adapter_factor(adapter[i], LORA(Q0, "A"));
		b = adapter_factor(adapter[i], LORA(Q0, "B"));
		adapter_add(w, 51, 64, b, a, i ? 3 : 4, i ? 1.0 / 3 : 2.0);
		free(a);
		free(b);
	}
	x = adapter_read(both, adapter_find(both, Q0));
	y = adapter_read(one, adapter_find(one, Q0));
	assert_memory_equal(w, x, 51 * 64 * sizeof *w);
	assert_memory_equal(w, y, 51 * 64 * sizeof *w);
	assert_int_equal(adapter_find(both, Q0)->stored, CWP_BF16);
	assert_int_equal(adapter_find(one, Q0)->stored, CWP_BF16);
	assert_int_equal(both->merge_memory, one->merge_memory);
	adapter_expect(
		base, both, DOWN1, adapter[1], LORA(DOWN1, "A"), LORA(DOWN1, "B"), 3, 1.0 / 3);
	free(w);
	free(x);
	free(y);
	cwe_source_close(base);
	cwe_source_close(both);
	cwe_source_close(one);
	adapter_drop(adapter[0]);
	adapter_drop(adapter[1]);
	adapter_drop(model);
}

/* Names as PEFT has written them: with the adapter's own name inside, and text parts under other
 * prefixes. */
static void test_names(void **state)
{
	static const struct {
		const char *tensor, *module;
	} cases[] = {
		{"model.layers.0.x.weight", "model.layers.0.x"},
		{"language_model.model.layers.0.x.weight", "language_model.model.layers.0.x"},
		{"language_model.model.layers.0.x.weight", "model.language_model.layers.0.x"},
		{"model.language_model.layers.0.x.weight", "language_model.model.layers.0.x"},
		{"model.layers.0.x.weight", "model.language_model.layers.0.x"},
		{"lm_head.weight", "lm_head"},
		{"language_model.lm_head.weight", "lm_head"},
		{"lm_head.weight", "language_model.lm_head"},
	};
	static const char *const inside[] = {"", ".default", ".my-adapter_2"};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		for (size_t k = 0; k < COUNT(inside); k++) {
			const struct adapter_tensor weight = {
				cases[i].tensor, CWE_DTYPE_BF16, 8, 12};
			char *model = toy_folder(), *path = toy_path(model, "config.json"),
			     *name[2], *adapter, *module;
			struct cwe_source *base, *s;

			for (int f = 0; f < 2; f++)
				assert_true(
					asprintf(&name[f], "base_model.model.%s.lora_%c%s.weight",
						cases[i].module, "AB"[f], inside[k]) > 0);
			const struct adapter_tensor t[] = {
				{name[0], CWE_DTYPE_F32, 4, 12}, {name[1], CWE_DTYPE_F32, 8, 4}};

			toy_put(path, "{\"tie_word_embeddings\": false}", 30);
			adapter_put(model, "model.safetensors", &weight, 1, 3);
			adapter = adapter_make(PLAIN, t, 2, 5);
			base = adapter_base(model);
			s = adapter_open(model, &adapter, 1);
			module = strndup(
				cases[i].tensor, strlen(cases[i].tensor) - strlen(".weight"));
			adapter_expect(base, s, module, adapter, name[0], name[1], 4, 2.0);
			cwe_source_close(base);
			cwe_source_close(s);
			adapter_drop(adapter);
			adapter_drop(model);
			free(path);
			free(module);
			free(name[0]);
			free(name[1]);
		}
}

/* ---- outputs ---- */

static void expect_values(const struct cwe_source *s, const char *module, const float *want)
{
	const struct cwe_tensor *t = adapter_find(s, module);
	float *x = adapter_read(s, t);

	assert_memory_equal(x, want, t->shape[0] * t->shape[1] * sizeof *x);
	free(x);
}

/* Protected values are the merged sums to the last bit, and only they grow: scales stay in the
 * model's own dtype. */
static void check_output(int format, int carrier)
{
	char *model = toy_folder(), *out = toy_folder(),
	     *adapter = adapter_make(PLAIN, adapter_all, 4, 5); /* both q_proj */
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE);
	struct cwe_writer_options options = {out, format, carrier, 1u << 30};
	int dense = format == CWJ_FORMAT_DENSE || carrier == CWJ_CARRIER_DENSE;
	struct toy_result q[2];
	struct cwe_source *s, *again;
	struct cwb_err err = {0};
	float *kept;

	toy_model(model, CWP_BF16);
	s = adapter_open(model, &adapter, 1);
	toy_quantize(s, Q0, &grid, 0.05, 1, &q[0]);
	toy_quantize(s, DOWN0, &grid, 0.05, 2, &q[1]);
	toy_write(s, &options, q, 2);
	again = adapter_base(out);
	assert_int_equal(again->kind, dense ? CWE_SOURCE_DIRECTORY : CWE_SOURCE_OUTPUT);
	for (size_t i = 0; i < 2; i++) {
		float *want = toy_expected(s, &q[i]);
		uint64_t n = q[i].module.rows * q[i].module.cols;

		if (dense && i == 1) { /* not merged: rounded to the model's dtype, as ever */
			uint16_t *raw = malloc(n * 2);

			cwe_f32_to_dtype(raw, want, CWP_BF16, n);
			cwe_f32_from_dtype(want, raw, CWP_BF16, n);
			free(raw);
		}
		expect_values(again, q[i].module.name, want);
		free(want);
	}
	/* Merged and not quantized: copied exactly. */
	kept = adapter_read(s, adapter_find(s, Q1));
	expect_values(again, Q1, kept);
	assert_int_equal(adapter_find(again, Q1)->dtype, CWP_F32);
	assert_int_equal(adapter_find(again, DOWN1)->dtype, CWP_BF16);
	if (dense) {
		assert_int_equal(adapter_find(again, Q0)->dtype, CWP_F32);
		assert_int_equal(adapter_find(again, DOWN0)->dtype, CWP_BF16);
	} else {
		struct cwe_overlay *o;
		struct cwe_safetensors *file;
		char *path = toy_path(out, "model.safetensors");

		assert_int_equal(cwe_overlay_open(out, &o, &err), 0);
		assert_int_equal(cwe_overlay_find(o, Q0)->values->dtype, CWE_DTYPE_F32);
		assert_int_equal(cwe_overlay_find(o, DOWN0)->values->dtype, CWE_DTYPE_BF16);
		cwe_overlay_close(o);
		assert_int_equal(cwe_safetensors_open(path, &file, &err), 0);
		assert_int_equal(
			cwe_safetensors_find(file, Q0 ".weight_scale")->dtype, CWE_DTYPE_BF16);
		assert_int_equal(
			cwe_safetensors_find(file, DOWN0 ".weight_scale")->dtype, CWE_DTYPE_BF16);
		cwe_safetensors_close(file);
		free(path);
		adapter_refuse(out, &adapter, 1, CWP_EVALUE, "is quantized already", out);
	}
	free(kept);
	toy_result_free(&q[0]);
	toy_result_free(&q[1]);
	cwe_source_close(again);
	cwe_source_close(s);
	adapter_drop(adapter);
	adapter_drop(out);
	adapter_drop(model);
}

static void test_overlay(void **state)
{
	(void)state;
	check_output(CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_CARRIER_OVERLAY);
}

static void test_dense(void **state)
{
	(void)state;
	check_output(CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_CARRIER_DENSE);
	check_output(CWJ_FORMAT_DENSE, CWJ_CARRIER_OVERLAY);
}

static void test_source_dense(void **state)
{
	char *model = toy_folder(), *parent = toy_folder(), *out = toy_path(parent, "dense"),
	     *adapter = adapter_make(PLAIN, adapter_all, 2, 5);
	struct cwe_source *s, *again;
	struct cwb_err err = {0};
	float *x;

	(void)state;
	toy_model(model, CWP_BF16);
	assert_int_equal(cwe_source_dense(model, &adapter, 1, out, CWP_F32, 1u << 30, &err), 0);
	s = adapter_open(model, &adapter, 1);
	again = adapter_base(out);
	for (size_t i = 0; i < toy_n_modules; i++) {
		x = adapter_read(s, adapter_find(s, toy_modules[i]));
		expect_values(again, toy_modules[i], x);
		free(x);
	}
	cwe_source_close(s);
	cwe_source_close(again);
	toy_remove(out);
	free(out);
	adapter_drop(parent);
	adapter_drop(adapter);
	adapter_drop(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dtypes),
		cmocka_unit_test(test_others_untouched),
		cmocka_unit_test(test_large_and_in_parts),
		cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_overlay),
		cmocka_unit_test(test_dense),
		cmocka_unit_test(test_source_dense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
