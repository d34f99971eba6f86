/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scaled weights: products and their rounding in every dtype, what is refused, and outputs written of them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/dtype.h"
#include "engine/format/scaled.h"
#include "tests/unit/engine/output/toy.h"

#define MATRIX "model.layers.0.self_attn.q_proj.weight" /* [51, 64] */
#define BIAS "model.layers.0.self_attn.q_proj.bias"
#define NORM "model.layers.0.input_layernorm.weight" /* [64] */

struct world {
	char *in, *out;
	struct cwe_source *source;
	struct cwe_weights *scaled;
	float row[51], column[64];
};

static void begin(struct world *x, uint32_t dtype)
{
	struct cwb_err err = {0};

	memset(x, 0, sizeof *x);
	x->in = toy_folder();
	x->out = toy_folder();
	toy_model(x->in, dtype);
	assert_int_equal(cwe_source_open(x->in, 0, &x->source, &err), 0);
	assert_int_equal(cwe_scaled_new(x->source->weights, &x->scaled, &err), 0);
	for (int i = 0; i < 51; i++)
		x->row[i] = 0.5f + 0.03f * (float)i;
	for (int i = 0; i < 64; i++)
		x->column[i] = 3.0f / (float)(i + 2);
}

static void end(struct world *x)
{
	cwe_weights_close(x->scaled);
	cwe_source_close(x->source);
	toy_remove(x->in);
	toy_remove(x->out);
	free(x->in);
	free(x->out);
}

static const struct cwe_tensor *tensor(const struct world *x, const char *name)
{
	const struct cwe_tensor *t = cwe_weights_find(x->scaled, name);

	assert_non_null(t);
	return t;
}

static float rounded(float v, uint32_t dtype)
{
	uint8_t raw[4];

	cwe_f32_to_dtype(raw, &v, dtype, 1);
	cwe_f32_from_dtype(&v, raw, dtype, 1);
	return v;
}

/* Rows from `first` on, through all three reads, against products made here. */
static void check_rows(struct world *x, const struct cwe_tensor *t, uint64_t first, int by_row, int by_column)
{
	uint64_t rows = t->shape[0] - first, cols = t->rank > 1 ? t->shape[1] : 1, n = rows * cols, rounds = 0;
	float *plain = malloc(n * 4), *exact = malloc(n * 4), *held = malloc(n * 4), *again = malloc(n * 4);
	uint8_t *raw = malloc(n * 4);
	struct cwb_err err = {0};

	assert_int_equal(cwe_weights_read_f32(x->source->weights, t, first, rows, plain, &err), 0);
	assert_int_equal(cwe_scaled_read(x->scaled, t, first, rows, exact, &err), 0);
	assert_int_equal(cwe_weights_read_f32(x->scaled, t, first, rows, held, &err), 0);
	assert_int_equal(cwe_weights_read_raw(x->scaled, t, first, rows, raw, &err), 0);
	cwe_f32_from_dtype(again, raw, t->dtype, n);
	for (uint64_t i = 0; i < n; i++) {
		double want = (double)plain[i] * (by_row ? (double)x->row[first + i / cols] : 1) *
			(by_column ? (double)x->column[i % cols] : 1);

		assert_true(exact[i] == (float)want);
		assert_true(held[i] == rounded(exact[i], t->dtype));
		assert_true(again[i] == held[i]);
		rounds += held[i] != exact[i];
	}
	assert_true((rounds > n / 2) == (t->dtype != CWP_F32));
	free(plain);
	free(exact);
	free(held);
	free(again);
	free(raw);
}

static void test_products(void **state)
{
	static const uint32_t dtypes[] = {CWP_F32, CWP_BF16, CWP_F16};
	struct cwb_err err = {0};
	struct world x;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		begin(&x, dtypes[i]);
		const struct cwe_tensor *m = tensor(&x, MATRIX), *b = tensor(&x, BIAS);
		assert_int_equal(cwe_scaled_rows(x.scaled, m, 0, 51, x.row, 0, &err), 0);
		check_rows(&x, m, 0, 1, 0);
		assert_int_equal(cwe_scaled_columns(x.scaled, m, x.column, &err), 0);
		check_rows(&x, m, 0, 1, 1);
		check_rows(&x, m, 17, 1, 1);
		assert_int_equal(cwe_scaled_rows(x.scaled, b, 0, 51, x.row, 0, &err), 0);
		check_rows(&x, b, 5, 1, 0);
		end(&x);
	}
}

/* Some rows of a matrix, again, and what has no factors. */
static void test_some_rows(void **state)
{
	const float half[2] = {0.5f, 0.25f};
	struct cwb_err err = {0};
	float a[64], b[64];
	struct world x;

	(void)state;
	begin(&x, CWP_BF16);
	const struct cwe_tensor *m = tensor(&x, MATRIX), *other = tensor(&x, "model.layers.1.self_attn.q_proj.weight");
	assert_int_equal(cwe_scaled_rows(x.scaled, m, 20, 2, half, 0, &err), 0);
	for (uint64_t r = 19; r < 23; r++) {
		float by = r == 20 ? 0.5f : r == 21 ? 0.25f : 1;

		assert_int_equal(cwe_weights_read_f32(x.source->weights, m, r, 1, a, &err), 0);
		assert_int_equal(cwe_weights_read_f32(x.scaled, m, r, 1, b, &err), 0);
		for (int c = 0; c < 64; c++)
			assert_true(b[c] == a[c] * by);
	}
	assert_int_equal(cwe_weights_read_f32(x.source->weights, other, 3, 1, a, &err), 0);
	assert_int_equal(cwe_weights_read_f32(x.scaled, other, 3, 1, b, &err), 0);
	assert_memory_equal(a, b, sizeof a);
	end(&x);
}

/* Norms that multiply by 1 + w. */
static void test_offset(void **state)
{
	struct cwb_err err = {0};
	float a[64], b[64];
	struct world x;

	(void)state;
	begin(&x, CWP_F32);
	const struct cwe_tensor *t = tensor(&x, NORM);
	assert_int_equal(cwe_scaled_rows(x.scaled, t, 0, 64, x.column, 1, &err), 0);
	assert_int_equal(cwe_weights_read_f32(x.source->weights, t, 0, 64, a, &err), 0);
	assert_int_equal(cwe_weights_read_f32(x.scaled, t, 0, 64, b, &err), 0);
	for (int c = 0; c < 64; c++)
		assert_true(fabs((1 + (double)b[c]) - (1 + (double)a[c]) * (double)x.column[c]) <= 1e-6);
	end(&x);
}

static void test_refusals(void **state)
{
	float bad[64], y[64 * 51];
	struct cwb_err err = {0};
	struct world x;

	(void)state;
	begin(&x, CWP_F16);
	const struct cwe_tensor *m = tensor(&x, MATRIX), *b = tensor(&x, BIAS);
	assert_int_equal(cwe_scaled_rows(x.scaled, m, 50, 2, x.row, 0, &err), CWP_EVALUE);
	assert_non_null(strstr(err.message, MATRIX));
	cwb_err_clear(&err);
	assert_int_equal(cwe_scaled_rows(x.scaled, m, 52, 0, x.row, 0, &err), CWP_EVALUE);
	cwb_err_clear(&err);
	assert_int_equal(cwe_scaled_columns(x.scaled, b, x.column, &err), CWP_EVALUE);
	static const float values[] = {0, -1, NAN, INFINITY};
	for (size_t i = 0; i < 4; i++) {
		memcpy(bad, x.column, sizeof bad);
		bad[63] = values[i];
		cwb_err_clear(&err);
		assert_int_equal(cwe_scaled_columns(x.scaled, m, bad, &err), CWP_EVALUE);
		assert_non_null(strstr(err.message, "channel 63"));
	}
	/* More than F16 holds, once it is scaled. */
	for (int c = 0; c < 64; c++)
		bad[c] = c == 9 ? 1e7f : 1;
	assert_int_equal(cwe_scaled_columns(x.scaled, m, bad, &err), 0);
	cwb_err_clear(&err);
	assert_int_equal(cwe_weights_read_f32(x.scaled, m, 1, 50, y, &err), CWP_ENUMBER);
	assert_non_null(strstr(err.message, MATRIX));
	assert_non_null(strstr(err.message, "element 73 "));
	end(&x);
}

/* As toy_write, with other values; in two attempts, of which the first ends early. */
static void write_scaled(struct world *x, const struct cwe_writer_options *o, const struct toy_result *r)
{
	struct cwe_output_module module[4];
	struct cwb_err err = {0};

	for (size_t i = 0; i < 4; i++)
		module[i] = r[i].module;
	for (int attempt = 0; attempt < 2; attempt++) {
		struct cwe_writer *w;

		assert_int_equal(cwe_writer_new(x->source, o, module, 4, &w, &err), 0);
		cwe_writer_values(w, x->scaled);
		for (size_t i = 2 * (size_t)attempt; i < 2 + 2 * (size_t)attempt; i++)
			assert_int_equal(cwe_writer_module(w, &r[i].module, r[i].codes, r[i].scales, r[i].zeros, r[i].mask, r[i].stride, &err), 0);
		for (size_t i = 0; i < x->source->weights->count; i++) {
			const char *name = x->source->weights->tensors[i].name;

			if (attempt == 0 ? !strcmp(name, NORM) : !strstr(name, "proj.weight"))
				assert_int_equal(cwe_writer_copy(w, name, &err), 0);
		}
		if (attempt)
			assert_int_equal(cwe_writer_finish(w, &err), 0);
		cwe_writer_free(w);
	}
}

/* An output of scaled weights: norm and bias scaled, protected values scaled and rounded, the rest its codes. */
static void test_output(void **state)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE);
	struct cwe_writer_options o;
	struct toy_result r[4];
	struct cwe_source *out;
	struct cwb_err err = {0};
	float a[64], b[64];
	struct world x;

	(void)state;
	begin(&x, CWP_BF16);
	o = (struct cwe_writer_options){x.out, CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_CARRIER_OVERLAY, 1 << 20};
	assert_int_equal(cwe_scaled_rows(x.scaled, tensor(&x, NORM), 0, 64, x.column, 0, &err), 0);
	assert_int_equal(cwe_scaled_rows(x.scaled, tensor(&x, BIAS), 0, 51, x.row, 0, &err), 0);
	assert_int_equal(cwe_scaled_columns(x.scaled, tensor(&x, MATRIX), x.column, &err), 0);
	for (size_t i = 0; i < 4; i++)
		toy_quantize(x.source, toy_modules[i], &grid, 0.1, i, &r[i]);
	write_scaled(&x, &o, r);
	assert_int_equal(cwe_source_open(x.out, 0, &out, &err), 0);
	static const char *const copied[] = {NORM, BIAS, "model.norm.weight"};
	for (size_t i = 0; i < 3; i++) {
		const struct cwe_tensor *t = cwe_weights_find(out->weights, copied[i]);

		assert_int_equal(cwe_weights_read_f32(out->weights, t, 0, t->shape[0], a, &err), 0);
		assert_int_equal(cwe_weights_read_f32(x.scaled, tensor(&x, copied[i]), 0, t->shape[0], b, &err), 0);
		assert_memory_equal(a, b, t->shape[0] * sizeof *a);
		assert_int_equal(cwe_weights_read_f32(x.source->weights, tensor(&x, copied[i]), 0, t->shape[0], b, &err), 0);
		assert_true((memcmp(a, b, t->shape[0] * sizeof *a) != 0) == (i < 2));
	}
	uint64_t kept = 0;
	for (uint64_t row = 0; row < 51; row++) {
		assert_int_equal(cwe_weights_read_f32(out->weights, cwe_weights_find(out->weights, MATRIX), row, 1, a, &err), 0);
		assert_int_equal(cwe_weights_read_f32(x.scaled, tensor(&x, MATRIX), row, 1, b, &err), 0);
		for (int c = 0; c < 64; c++)
			if (r[0].mask[row * r[0].stride + (size_t)c / 8] >> (c % 8) & 1) {
				assert_true(a[c] == b[c]);
				kept++;
			}
	}
	assert_true(kept > 100);
	cwe_source_close(out);
	for (size_t i = 0; i < 4; i++)
		toy_result_free(&r[i]);
	end(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_products),
		cmocka_unit_test(test_some_rows),
		cmocka_unit_test(test_offset),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_output),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
