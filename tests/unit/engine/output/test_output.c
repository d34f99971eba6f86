/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs: what is written comes back exactly, in every scheme, dtype and carrier. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "engine/format/compressed_tensors.h"
#include "engine/format/dtype.h"
#include "tests/unit/engine/output/toy.h"

struct world {
	char *model, *out;
	struct cwe_source *source;
};

static void begin(struct world *x, uint32_t dtype)
{
	struct cwb_err err = {0};

	x->model = toy_folder();
	x->out = toy_folder();
	toy_model(x->model, dtype);
	assert_int_equal(cwe_source_open(x->model, 0, &x->source, &err), 0);
}

static void end(struct world *x)
{
	cwe_source_close(x->source);
	toy_remove(x->model);
	toy_remove(x->out);
	free(x->model);
	free(x->out);
}

static struct cwe_source *open_output(const char *folder)
{
	struct cwb_err err = {0};
	struct cwe_source *s = NULL;
	int rc = cwe_source_open(folder, 0, &s, &err);

	if (rc)
		fail_msg("%s", err.message);
	return s;
}

/* All rows at once, and pieces of rows, give the same expected values. */
static void check_weight(struct cwe_source *out, const char *tensor, const float *expected, uint64_t rows, uint64_t cols)
{
	const struct cwe_tensor *t = cwe_weights_find(out->weights, tensor);
	float *got = malloc(rows * cols * sizeof *got);
	struct cwb_err err = {0};
	uint64_t row, n;

	assert_non_null(t);
	assert_int_equal(t->rank, 2);
	assert_int_equal(t->shape[0], rows);
	assert_int_equal(t->shape[1], cols);
	assert_int_equal(cwe_weights_read_f32(out->weights, t, 0, rows, got, &err), 0);
	assert_memory_equal(got, expected, rows * cols * sizeof *got);
	memset(got, 0, rows * cols * sizeof *got);
	for (row = 0, n = 1; row < rows; row += n, n = n % 7 + 1) {
		if (n > rows - row)
			n = rows - row;
		assert_int_equal(cwe_weights_read_f32(out->weights, t, row, n, got + row * cols, &err), 0);
	}
	assert_memory_equal(got, expected, rows * cols * sizeof *got);
	if (t->dtype == CWP_F32) {
		memset(got, 0, rows * cols * sizeof *got);
		assert_int_equal(cwe_weights_read_raw(out->weights, t, 0, rows, got, &err), 0);
		assert_memory_equal(got, expected, rows * cols * sizeof *got);
	}
	free(got);
}

/* Every tensor that no result covers is the source's, byte for byte. */
static void check_copies(struct cwe_source *source, struct cwe_source *out, const struct toy_result *r, size_t n)
{
	struct cwb_err err = {0};
	size_t i, k;

	assert_int_equal(source->weights->count, out->weights->count);
	for (i = 0; i < source->weights->count; i++) {
		const struct cwe_tensor *a = &source->weights->tensors[i], *b = &out->weights->tensors[i];
		uint64_t bytes = a->shape[0] * (a->rank == 2 ? a->shape[1] : 1) * cwe_cwp_dtype_size(a->dtype);
		void *x = malloc(bytes), *y = malloc(bytes);

		assert_string_equal(a->name, b->name);
		for (k = 0; k < n; k++)
			if (!strncmp(a->name, r[k].module.name, strlen(r[k].module.name)) && strstr(a->name, ".weight"))
				break;
		if (k == n) {
			assert_int_equal(a->dtype, b->dtype);
			assert_int_equal(cwe_weights_read_raw(source->weights, a, 0, a->shape[0], x, &err), 0);
			assert_int_equal(cwe_weights_read_raw(out->weights, b, 0, a->shape[0], y, &err), 0);
			assert_memory_equal(x, y, bytes);
		}
		free(x);
		free(y);
	}
}

struct scheme_case {
	const char *name;
	uint32_t code, bits, symmetric, group, activation;
	const char *format;
	uint32_t block_rows, tensor; /* scales by block of so many rows x group; one scale */
};

static const struct scheme_case cases[] = {
	{"W8A8", CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TOKEN, "int-quantized", 0, 0},
	{"W8A8 zero points", CWP_CODE_INT, 8, 0, 0, CWP_ACT_INT8_TOKEN, "int-quantized", 0, 0},
	{"W8 channel", CWP_CODE_INT, 8, 1, 0, CWP_ACT_NONE, "naive-quantized", 0, 0},
	{"W8 group", CWP_CODE_INT, 8, 1, 32, CWP_ACT_NONE, "pack-quantized", 0, 0},
	{"W4 group", CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE, "pack-quantized", 0, 0},
	{"W4 channel", CWP_CODE_INT, 4, 1, 0, CWP_ACT_NONE, "pack-quantized", 0, 0},
	{"W4 group zero points", CWP_CODE_INT, 4, 0, 32, CWP_ACT_NONE, "pack-quantized", 0, 0},
	{"FP8", CWP_CODE_E4M3, 8, 1, 0, CWP_ACT_FP8_TOKEN, "float-quantized", 0, 0},
	{"FP8 weights", CWP_CODE_E4M3, 8, 1, 0, CWP_ACT_NONE, "naive-quantized", 0, 0},
	{"W8A8 static", CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TENSOR, "int-quantized", 0, 0},
	{"W8A8 tensor", CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TENSOR, "int-quantized", 0, 1},
	{"W8A8 tensor zero points", CWP_CODE_INT, 8, 0, 0, CWP_ACT_INT8_TOKEN, "int-quantized", 0, 1},
	{"W8 tensor", CWP_CODE_INT, 8, 1, 0, CWP_ACT_NONE, "naive-quantized", 0, 1},
	{"FP8 static", CWP_CODE_E4M3, 8, 1, 0, CWP_ACT_FP8_TENSOR, "float-quantized", 0, 1},
	{"FP8 block", CWP_CODE_E4M3, 8, 1, 16, CWP_ACT_FP8_GROUP, "float-quantized", 16, 0},
	{"FP8 ragged block", CWP_CODE_E4M3, 8, 1, 24, CWP_ACT_NONE, "naive-quantized", 20, 0},
};

/* How the input is quantized, and the weights that are kept out of that. */
static void check_input(const struct cwe_source *out, const char *tensor, const struct toy_result *r, const float *expected,
	uint32_t activation)
{
	const struct cwe_tensor *t = cwe_weights_find(out->weights, tensor);
	uint64_t rows = r->module.rows, cols = r->module.cols, n = rows * cols, i;
	float *quantized = calloc(n, sizeof *quantized), *exact = calloc(n, sizeof *exact);
	struct cwb_err err = {0};
	struct cwe_linear_input input;
	int any = 0;

	assert_true(quantized && exact);
	for (i = 0; r->mask && i < rows * r->stride; i++)
		any |= r->mask[i] != 0;
	cwe_weights_input(out->weights, t, &input);
	assert_int_equal(input.how.kind, activation);
	assert_int_equal(input.how.group, activation == CWP_ACT_FP8_GROUP ? 16 : 0);
	assert_true(input.how.scale == r->module.input_scale);
	assert_int_equal(input.split, activation != CWP_ACT_NONE && any);
	/* All rows but the first, so that places in the files matter. */
	assert_int_equal(cwe_weights_read_split(out->weights, t, 1, rows - 1, quantized, exact, &err), 0);
	for (i = cols; i < n; i++) {
		uint64_t row = i / cols, col = i % cols;
		int kept = r->mask && r->mask[row * r->stride + col / 8] >> col % 8 & 1;

		assert_true(quantized[i - cols] == (kept ? 0 : expected[i]));
		assert_true(exact[i - cols] == (kept ? expected[i] : 0));
	}
	free(quantized);
	free(exact);
}

static void one_case(const struct scheme_case *c, uint32_t dtype, int carrier, double fraction)
{
	struct cwp_grid grid = c->tensor ? toy_tensor_grid(c->code, c->symmetric, c->activation) :
			       c->block_rows ?
			       toy_block_grid(c->block_rows, c->group, c->activation == CWP_ACT_FP8_GROUP ? c->group : 0) :
			       toy_grid(c->code, c->bits, c->symmetric, c->group, c->activation);
	struct toy_result r[4];
	struct cwe_writer_options o = {.format = CWJ_FORMAT_COMPRESSED_TENSORS, .carrier = carrier, .shard = 1u << 30};
	struct cwe_source *out;
	struct world x;
	json_t *q, *group;
	size_t i;

	begin(&x, dtype);
	o.directory = x.out;
	for (i = 0; i < 4; i++)
		toy_quantize(x.source, toy_modules[i], &grid, i == 3 ? 0 : fraction, i, &r[i]);
	toy_write(x.source, &o, r, 4);
	out = open_output(x.out);
	assert_int_equal(out->kind, CWE_SOURCE_OUTPUT);
	q = json_object_get(out->config, "quantization_config");
	assert_string_equal(json_string_value(json_object_get(q, "format")), c->format);
	assert_string_equal(json_string_value(json_object_get(q, "quantization_status")), "compressed");
	group = json_object_get(json_object_get(q, "config_groups"), "group_0");
	assert_string_equal(json_string_value(json_object_get(group, "format")), c->format);
	for (i = 0; i < 4; i++) {
		char *tensor;
		float *expected;

		assert_true(asprintf(&tensor, "%s.weight", toy_modules[i]) > 0);
		if (carrier == CWJ_CARRIER_NONE) {
			free(r[i].mask);
			r[i].mask = NULL;
		}
		expected = toy_expected(x.source, &r[i]);
		check_weight(out, tensor, expected, r[i].module.rows, r[i].module.cols);
		check_input(out, tensor, &r[i], expected, c->activation);
		free(expected);
		free(tensor);
	}
	check_copies(x.source, out, r, 4);
	for (i = 0; i < 4; i++)
		toy_result_free(&r[i]);
	cwe_source_close(out);
	end(&x);
}

/* Each scheme with each source dtype; carriers and fractions go round, so that each scheme meets several. */
static void test_schemes(void **state)
{
	static const uint32_t dtypes[] = {CWP_F32, CWP_BF16, CWP_F16};
	static const double fractions[] = {0.05, 0.001, 0.4, 0.0};
	size_t i, d;

	(void)state;
	for (i = 0; i < sizeof cases / sizeof *cases; i++)
		for (d = 0; d < 3; d++)
			one_case(&cases[i], dtypes[d], CWJ_CARRIER_OVERLAY, fractions[(i + d) % 4]);
}

/* Nothing protects without a carrier, whatever the mask says. */
static void test_no_carrier(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof cases / sizeof *cases; i++)
		one_case(&cases[i], CWP_BF16, CWJ_CARRIER_NONE, 0.05);
}

/* By hand: a ragged last group, zero points, FP8. */
static void test_dequantize(void **state)
{
	static const int8_t codes[10] = {-8, 7, 0, 1, 2, 3, 4, 5, 6, -1}, zeros[4] = {-2, 3, 0, 1};
	static const uint8_t fp8[2] = {0x7e, 0x81}; /* 448, -2^-9 */
	static const float scales[4] = {0.5f, 2.0f, 1.0f, -4.0f};
	static const float expected[10] = {-3.0f, 4.5f, 1.0f, -4.0f, -2.0f, 3.0f, 4.0f, 5.0f, -20.0f, 8.0f};
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 4, 0, 3, CWP_ACT_NONE);
	float dst[10];
	size_t i;

	(void)state;
	assert_int_equal(cwe_grid_scales(&grid, 5), 2);
	assert_int_equal(cwe_grid_scales(&grid, 6), 2);
	assert_int_equal(cwe_grid_scales(&grid, 7), 3);
	cwe_dequantize(&grid, 2, 5, (const uint8_t *)codes, scales, zeros, dst);
	for (i = 0; i < 10; i++)
		assert_true(dst[i] == expected[i]);
	grid = toy_grid(CWP_CODE_E4M3, 8, 1, 0, CWP_ACT_NONE);
	assert_int_equal(cwe_grid_scales(&grid, 5), 1);
	cwe_dequantize(&grid, 1, 2, fp8, scales, NULL, dst);
	assert_true(dst[0] == 224.0f && dst[1] == -0.0009765625f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dequantize),
		cmocka_unit_test(test_schemes),
		cmocka_unit_test(test_no_carrier),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
