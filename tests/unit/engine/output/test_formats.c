/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The formats beside compressed-tensors: what is written comes back, bytes are as their definitions have them, and what
 * cannot be written or read is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/dtype.h"
#include "engine/format/format.h"
#include "tests/unit/engine/output/toy.h"

/* Modules of the toy model from this one on have sizes that all formats take. */
#define FIRST 1

static struct cwe_output_module module_of(const char *name, uint64_t rows, uint64_t cols, struct cwp_grid grid)
{
	return (struct cwe_output_module){.name = name, .rows = rows, .cols = cols, .grid = grid};
}

/* ---- there and back ---- */

static void check_module(struct toy_world *x, struct cwe_source *out, const struct toy_result *r)
{
	uint64_t rows = r->module.rows, cols = r->module.cols, row, n;
	float *expected = toy_expected(x->source, r), *got = malloc(rows * cols * sizeof *got);
	const struct cwe_tensor *t;
	struct cwb_err err = {0};
	char *name;

	assert_true(asprintf(&name, "%s.weight", r->module.name) > 0);
	t = cwe_weights_find(out->weights, name);
	assert_non_null(t);
	assert_int_equal(t->shape[0], rows);
	assert_int_equal(t->shape[1], cols);
	assert_int_equal(cwe_weights_read_f32(out->weights, t, 0, rows, got, &err), 0);
	assert_memory_equal(got, expected, rows * cols * sizeof *got);
	for (row = 0, n = 1; row < rows; row += n, n = n % 7 + 1) { /* pieces that cut words and blocks */
		float piece[7 * 160];

		n = n > rows - row ? rows - row : n;
		assert_int_equal(cwe_weights_read_f32(out->weights, t, row, n, piece, &err), 0);
		assert_memory_equal(piece, expected + row * cols, n * cols * sizeof *piece);
	}
	free(name);
	free(expected);
	free(got);
}

/* What engines of the format do with a module's inputs. */
static void check_input(struct cwe_source *out, const struct cwp_grid *grid)
{
	struct cwe_linear_input input;

	cwe_weights_input(out->weights, cwe_weights_find(out->weights, "model.layers.1.mlp.down_proj.weight"), &input);
	assert_int_equal(input.how.kind, grid->activation);
	assert_int_equal(input.how.group, grid->activation_group);
	assert_true(input.how.threshold == grid->threshold);
	cwe_weights_input(out->weights, cwe_weights_find(out->weights, "model.norm.weight"), &input);
	assert_int_equal(input.how.kind, CWP_ACT_NONE);
}

static void round_trip(int format, struct cwp_grid grid, int carrier, const char *method)
{
	struct cwe_output_size size;
	struct cwe_writer_size planned;
	struct cwb_err err = {0};
	struct cwe_source *out = NULL;
	struct toy_world x;
	size_t i;

	toy_begin(&x, CWP_BF16, &grid, 0.05, carrier);
	x.options.format = format;
	x.options.shard = 9000;
	toy_write(x.source, &x.options, x.result + FIRST, 3);
	assert_int_equal(cwe_source_open(x.out, 0, &out, &err), 0);
	assert_int_equal(out->kind, CWE_SOURCE_OUTPUT);
	assert_string_equal(json_string_value(json_object_get(json_object_get(out->config, "quantization_config"), "quant_method")),
		method);
	check_input(out, &grid);
	assert_int_equal(cwe_output_check(x.out, out->config, &err), 0);
	assert_int_equal(out->weights->count, x.source->weights->count);
	for (i = FIRST; i < 4; i++) {
		if (carrier == CWJ_CARRIER_NONE) {
			free(x.result[i].mask);
			x.result[i].mask = NULL;
		}
		check_module(&x, out, &x.result[i]);
	}
	assert_int_equal(cwe_output_measure(x.out, &size, &err), 0);
	assert_int_equal(cwe_writer_measure(x.source, &x.options, x.module + FIRST, 3, &planned, &err), 0);
	assert_int_equal(size.modules, 3);
	assert_int_equal(size.quantized_bytes, planned.quantized_bytes);
	cwe_source_close(out);
	toy_end(&x);
}

static void test_round_trips(void **state)
{
	static const int carriers[] = {CWJ_CARRIER_OVERLAY, CWJ_CARRIER_NONE};
	struct cwp_grid int8 = toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_OUTLIER);
	size_t i;

	(void)state;
	int8.threshold = 5.5f;
	for (i = 0; i < 2; i++) {
		round_trip(CWJ_FORMAT_BITSANDBYTES, int8, carriers[i], "bitsandbytes");
		round_trip(CWJ_FORMAT_GPTQ, toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE), carriers[i], "gptq");
		round_trip(CWJ_FORMAT_GPTQ, toy_grid(CWP_CODE_INT, 4, 1, 0, CWP_ACT_NONE), carriers[i], "gptq");
		round_trip(CWJ_FORMAT_GPTQ, toy_grid(CWP_CODE_INT, 8, 1, 16, CWP_ACT_NONE), carriers[i], "gptq");
		round_trip(CWJ_FORMAT_FP8, toy_block_grid(16, 32, 32), carriers[i], "fp8");
		round_trip(CWJ_FORMAT_FP8, toy_block_grid(8, 16, 16), carriers[i], "fp8");
	}
}

/* ---- bytes ---- */

struct caught {
	uint8_t data[CWE_FORMAT_TENSORS_MAX][4096];
};

static int catch (void *arg, size_t tensor, uint64_t offset, const void *data, uint64_t bytes, struct cwb_err *err)
{
	struct caught *c = arg;

	(void)err;
	assert_true(tensor < CWE_FORMAT_TENSORS_MAX && offset + bytes <= sizeof c->data[0]);
	memcpy(c->data[tensor] + offset, data, bytes);
	return 0;
}

static uint32_t word(const struct caught *c, size_t tensor, size_t i)
{
	const uint8_t *p = c->data[tensor] + 4 * i;

	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Eight outputs of eight inputs; stored codes of the first two are 2 k and 2 k + 1 for input k. */
static void test_gptq_bytes(void **state)
{
	const struct cwe_format *f = cwe_format_find(CWJ_FORMAT_GPTQ);
	const struct cwe_output_module m = module_of("m", 8, 8, toy_grid(CWP_CODE_INT, 4, 1, 4, CWP_ACT_NONE));
	struct caught c;
	const struct cwe_format_sink sink = {catch, &c};
	struct cwb_err err = {0};
	uint8_t codes[64] = {0};
	float scales[16];
	const struct cwe_format_values v = {.codes = codes, .scales = scales};
	size_t i;

	(void)state;
	for (i = 0; i < 16; i++)
		scales[i] = (float)(i + 1) / 32;
	for (i = 0; i < 8; i++) {
		codes[i] = (uint8_t)(2 * i - 8);
		codes[8 + i] = (uint8_t)(2 * i + 1 - 8);
	}
	assert_int_equal(f->encode(&m, CWP_BF16, &v, &sink, &err), 0);
	assert_int_equal(word(&c, 0, 0), 0xeca86420);
	assert_int_equal(word(&c, 0, 1), 0xfdb97531);
	assert_int_equal(word(&c, 0, 2), 0x88888888);
	for (i = 0; i < 16; i++) { /* scale of output i % 8 and group i / 8 */
		uint16_t half = (uint16_t)(c.data[1][2 * i] | c.data[1][2 * i + 1] << 8);

		assert_true(cwe_f32_from_f16(half) == scales[i % 8 * 2 + i / 8]);
	}
	assert_int_equal(word(&c, 2, 0), 0x77777777);
	assert_int_equal(word(&c, 2, 1), 0x77777777);
	for (i = 0; i < 8; i++)
		assert_int_equal(word(&c, 3, i), i / 4);
}

/* Scales that F16 cannot hold become ones that it can, and codes follow. */
static void test_gptq_small_scales(void **state)
{
	const struct cwe_format *f = cwe_format_find(CWJ_FORMAT_GPTQ);
	const struct cwe_output_module m = module_of("m", 8, 8, toy_grid(CWP_CODE_INT, 4, 1, 0, CWP_ACT_NONE));
	static const float small[8] = {0x1.8p-24f, 0x1p-30f, 0x1.02p-17f, 1, 1, 1, 1, 1};
	struct caught c;
	const struct cwe_format_sink sink = {catch, &c};
	struct cwb_err err = {0};
	uint8_t codes[64];
	float scales[8];
	const struct cwe_format_values v = {.codes = codes, .scales = scales};

	(void)state;
	memset(codes, 6, sizeof codes);
	memcpy(scales, small, sizeof scales);
	assert_int_equal(f->encode(&m, CWP_BF16, &v, &sink, &err), 0);
	assert_int_equal(c.data[1][0] | c.data[1][1] << 8, 2); /* 2^-23: 6 * 1.5 / 2 = 4.5, even: 4 */
	assert_int_equal(word(&c, 0, 0), 0xcccccccc);
	assert_int_equal(c.data[1][2] | c.data[1][3] << 8, 1); /* 2^-24: 6 * 2^-6 is nothing */
	assert_int_equal(word(&c, 0, 1), 0x88888888);
	assert_int_equal(word(&c, 0, 2), 0xeeeeeeee); /* exact */
	scales[3] = 0x1p17f;
	assert_int_equal(f->encode(&m, CWP_BF16, &v, &sink, &err), CWP_ENUMBER);
	assert_non_null(strstr(err.message, "row 3"));
}

static void test_bitsandbytes_bytes(void **state)
{
	const struct cwe_format *f = cwe_format_find(CWJ_FORMAT_BITSANDBYTES);
	const struct cwe_output_module m = module_of("m", 2, 3, toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TOKEN));
	static const uint8_t codes[6] = {1, 2, 3, 0x81, 0, 0x7f};
	float scales[2] = {0.5f, 0x1.fep-9f}, scb[2];
	const struct cwe_format_values v = {.codes = codes, .scales = scales};
	struct caught c;
	const struct cwe_format_sink sink = {catch, &c};
	struct cwb_err err = {0};

	(void)state;
	memset(&c, 0xff, sizeof c);
	assert_int_equal(f->encode(&m, CWP_BF16, &v, &sink, &err), 0);
	assert_memory_equal(c.data[0], codes, sizeof codes);
	cwe_f32_from_dtype(scb, c.data[1], CWP_F32, 2);
	assert_true(scb[0] == 63.5f && scb[1] / 127 == scales[1]);
	assert_int_equal(c.data[2][0], 0);
	scales[1] = 0x1p126f;
	assert_int_equal(f->encode(&m, CWP_BF16, &v, &sink, &err), CWP_ENUMBER);
	assert_non_null(strstr(err.message, "row 1"));
}

static void test_fp8_bytes(void **state)
{
	const struct cwe_format *f = cwe_format_find(CWJ_FORMAT_FP8);
	const struct cwe_output_module m = module_of("m", 4, 4, toy_block_grid(2, 2, 2));
	uint8_t codes[16] = {0};
	float scales[8] = {1, 2, 1, 2, 3, 4, 3, 4}, stored[4];
	const struct cwe_format_values v = {.codes = codes, .scales = scales};
	struct caught c;
	const struct cwe_format_sink sink = {catch, &c};
	struct cwb_err err = {0};

	(void)state;
	assert_int_equal(f->encode(&m, CWP_BF16, &v, &sink, &err), 0);
	cwe_f32_from_dtype(stored, c.data[1], CWP_F32, 4);
	assert_true(stored[0] == 1 && stored[1] == 2 && stored[2] == 3 && stored[3] == 4);
}

/* ---- configurations ---- */

static json_t *config_of(int format, const struct cwe_output_module *m, size_t n)
{
	static const char *const ignore[] = {"lm_head", "model.layers.0.mlp.gate"};
	struct cwb_err err = {0};
	json_t *config = NULL;

	assert_int_equal(cwe_format_find(format)->config(m, n, ignore, 2, &config, &err), 0);
	return config;
}

static void test_configs(void **state)
{
	struct cwe_output_module m = module_of("m", 64, 128, toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TOKEN));
	json_t *c, *list;

	(void)state;
	m.grid.threshold = 5.5f;
	c = config_of(CWJ_FORMAT_BITSANDBYTES, &m, 1);
	assert_true(json_is_true(json_object_get(c, "load_in_8bit")));
	assert_true(json_real_value(json_object_get(c, "llm_int8_threshold")) == 5.5);
	list = json_object_get(c, "llm_int8_skip_modules");
	assert_int_equal(json_array_size(list), 2);
	assert_string_equal(json_string_value(json_array_get(list, 0)), "lm_head");
	json_decref(c);
	m.grid = toy_grid(CWP_CODE_INT, 4, 1, 64, CWP_ACT_NONE);
	c = config_of(CWJ_FORMAT_GPTQ, &m, 1);
	assert_int_equal(json_integer_value(json_object_get(c, "group_size")), 64);
	assert_string_equal(json_string_value(json_object_get(c, "checkpoint_format")), "gptq");
	assert_non_null(json_object_get(json_object_get(c, "dynamic"), "-:^model\\.layers\\.0\\.mlp\\.gate$"));
	list = json_array_get(json_object_get(c, "modules_in_block_to_quantize"), 0);
	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(json_string_value(json_array_get(list, 0)), "m");
	json_decref(c);
	m.grid = toy_grid(CWP_CODE_INT, 4, 1, 0, CWP_ACT_NONE);
	c = config_of(CWJ_FORMAT_GPTQ, &m, 1);
	assert_int_equal(json_integer_value(json_object_get(c, "group_size")), -1);
	json_decref(c);
	m.grid = toy_block_grid(32, 64, 64);
	c = config_of(CWJ_FORMAT_FP8, &m, 1);
	assert_int_equal(json_integer_value(json_array_get(json_object_get(c, "weight_block_size"), 0)), 32);
	assert_int_equal(json_integer_value(json_array_get(json_object_get(c, "weight_block_size"), 1)), 64);
	assert_int_equal(json_array_size(json_object_get(c, "modules_to_not_convert")), 2);
	assert_int_equal(json_array_size(json_object_get(c, "ignored_layers")), 2);
	json_decref(c);
}

/* ---- what cannot be written ---- */

static void refuse_all(int format, const struct cwe_output_module *m, size_t n, const char *text)
{
	struct cwb_err err = {0};
	int rc = cwe_format_check_all(cwe_format_find(format), m, n, NULL, 0, &err);

	if (rc != CWP_EVALUE || !strstr(err.message, text))
		fail_msg("%d, \"%s\" instead of a refusal with \"%s\"", rc, err.message, text);
}

static void refuse_module(int format, const char *name, uint64_t rows, uint64_t cols, struct cwp_grid grid, const char *text)
{
	const struct cwe_output_module m = module_of(name, rows, cols, grid);

	refuse_all(format, &m, 1, text);
}

static void test_refused_modules(void **state)
{
	const char *expert = "model.layers.0.mlp.experts.3.up_proj";
	struct cwp_grid int8 = toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TOKEN), int4 = toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE);
	int b = CWJ_FORMAT_BITSANDBYTES, g = CWJ_FORMAT_GPTQ, f = CWJ_FORMAT_FP8;

	(void)state;
	refuse_module(b, "m", 64, 64, int4, "for this choose compressed-tensors or gptq or gguf or dense");
	refuse_module(b, "m", 64, 64, toy_grid(CWP_CODE_INT, 8, 0, 0, CWP_ACT_INT8_TOKEN), "it holds int8 by channel, symmetric");
	refuse_module(b, "m", 64, 64, toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_NONE), "activations int8 by token");
	refuse_module(b, expert, 64, 64, int8, "experts");
	refuse_module(g, "m", 64, 64, int8, "activations int8 by token");
	refuse_module(g, "m", 64, 64, toy_grid(CWP_CODE_INT, 4, 0, 32, CWP_ACT_NONE), "for this choose compressed-tensors");
	refuse_module(g, "m", 64, 64, toy_grid(CWP_CODE_INT, 3, 1, 32, CWP_ACT_NONE), "for this choose dense");
	refuse_module(g, "m", 51, 64, int4, "multiples of 8");
	refuse_module(g, "m", 64, 60, int4, "multiples of 8");
	refuse_module(g, "m", 64, 48, int4, "do not divide its width of 48");
	refuse_module(g, "m", 64, 80, toy_grid(CWP_CODE_INT, 4, 1, 8, CWP_ACT_NONE), "no groups of 8");
	refuse_module(g, "m", 64, 96, toy_grid(CWP_CODE_INT, 4, 1, 48, CWP_ACT_NONE), "no groups of 48");
	refuse_module(g, expert, 64, 64, int4, "add experts");
	refuse_module(g, "lm_head", 64, 64, int4, "add lm_head");
	refuse_module(f, "m", 64, 64, toy_grid(CWP_CODE_E4M3, 8, 1, 0, CWP_ACT_NONE), "fp8 by block");
	refuse_module(f, "m", 64, 64, toy_block_grid(32, 32, 0), "activations fp8 by group");
	refuse_module(f, "m", 64, 64, toy_block_grid(32, 32, 16), "the width of a block, 32");
	refuse_module(f, "m", 64, 160, toy_block_grid(64, 128, 128), "64 x 160");
	refuse_module(f, "m", 96, 128, toy_block_grid(64, 128, 128), "96 x 128");
}

static void test_refused_mixtures(void **state)
{
	struct cwe_output_module m[2] = {module_of("a", 64, 128, toy_grid(CWP_CODE_INT, 4, 1, 128, CWP_ACT_NONE)),
		module_of("b", 64, 192, toy_grid(CWP_CODE_INT, 4, 1, 64, CWP_ACT_NONE))};

	(void)state;
	refuse_all(CWJ_FORMAT_GPTQ, m, 2, "choose group 64, 32, 16, or granularity channel");
	m[1].grid = toy_grid(CWP_CODE_INT, 8, 1, 64, CWP_ACT_NONE);
	refuse_all(CWJ_FORMAT_GPTQ, m, 2, "int8, groups of 64");
	m[1].cols = 24;
	m[1].grid = toy_grid(CWP_CODE_INT, 4, 1, 0, CWP_ACT_NONE);
	refuse_all(CWJ_FORMAT_GPTQ, m, 2, "choose granularity channel");
	m[0].grid = m[1].grid = toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TOKEN);
	m[1].grid.threshold = 6;
	refuse_all(CWJ_FORMAT_BITSANDBYTES, m, 2, "one threshold");
	m[0].grid = toy_block_grid(64, 64, 64);
	m[1].grid = toy_block_grid(32, 8, 8);
	refuse_all(CWJ_FORMAT_FP8, m, 2, "one size of blocks");
}

/* Experts in compressed-tensors, as far as transformers loads them. */
static void test_experts(void **state)
{
	struct cwp_grid fp8 = toy_grid(CWP_CODE_E4M3, 8, 1, 0, CWP_ACT_NONE), int4 = toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE);
	struct cwe_output_module m[2] = {module_of("model.layers.1.mlp.experts.0.up_proj", 64, 64, fp8),
		module_of("model.layers.0.self_attn.q_proj", 64, 64, fp8)};
	const char *same[] = {"lm_head", "model.layers.1.mlp.experts.1.up_proj"}, *other[] = {"lm_head", "model.layers.10.mlp.experts.1.up_proj"};
	const struct cwe_format *f = cwe_format_find(CWJ_FORMAT_COMPRESSED_TENSORS);
	struct cwb_err err = {0};

	(void)state;
	refuse_module(f->id, m[0].name, 64, 64, toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_NONE), "granularity group or 4 bits");
	refuse_module(f->id, m[0].name, 64, 64, toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TOKEN), "plugin fp8");
	assert_int_equal(cwe_format_check_all(f, m, 2, other, 2, &err), 0);
	assert_int_equal(cwe_format_check_all(f, m, 2, same, 2, &err), CWP_EVALUE);
	assert_non_null(strstr(err.message, "keep or quantize all of them"));
	cwb_err_clear(&err);
	m[0].grid = m[1].grid = int4;
	assert_int_equal(cwe_format_check_all(f, m, 2, same, 1, &err), 0);
	assert_int_equal(cwe_format_check_all(f, m, 2, other, 2, &err), CWP_EVALUE);
	assert_non_null(strstr(err.message, "quantize them all"));
	cwb_err_clear(&err);
	m[1].name = "model.layers.1.mlp.experts.0.down_proj";
	assert_int_equal(cwe_format_check_all(f, m, 2, NULL, 0, &err), 0);
	m[1].grid = toy_grid(CWP_CODE_INT, 4, 1, 16, CWP_ACT_NONE);
	refuse_all(f->id, m, 2, "a group that divides the width of both");
	m[1].name = "model.layers.2.mlp.experts.0.down_proj";
	assert_int_equal(cwe_format_check_all(f, m, 2, NULL, 0, &err), 0);
}

/* Every declared family is one that some grid can be of, and names are unique. */
static void test_table(void **state)
{
	const struct cwe_format *f;
	size_t i, k;

	(void)state;
	for (i = 0; (f = cwe_format_at(i)); i++) {
		assert_ptr_equal(cwe_format_find(f->id), f);
		assert_true(f->n_grids > 0 && f->carriers);
		for (k = 0; k < f->n_grids; k++)
			assert_true(f->grid[k].bits && f->grid[k].granularities && f->grid[k].symmetric && f->grid[k].activations);
		for (k = 0; k < i; k++)
			assert_string_not_equal(cwe_format_at(k)->name, f->name);
	}
	assert_null(cwe_format_find(77));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_gptq_bytes),
		cmocka_unit_test(test_gptq_small_scales),
		cmocka_unit_test(test_bitsandbytes_bytes),
		cmocka_unit_test(test_fp8_bytes),
		cmocka_unit_test(test_configs),
		cmocka_unit_test(test_refused_modules),
		cmocka_unit_test(test_refused_mixtures),
		cmocka_unit_test(test_experts),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
