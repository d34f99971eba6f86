/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* x x^T of each distinct input of a layer, against sums in f64: wider than a strip, over several pieces, in all families. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/calibrate/statistics.h"
#include "tests/unit/engine/model/synthetic.h"

#define WIDE "{\"model_type\": \"llama\", \"num_hidden_layers\": 1, \"hidden_size\": 600, \"num_attention_heads\": 2,"       \
	" \"num_key_value_heads\": 1, \"head_dim\": 8, \"intermediate_size\": 24, \"vocab_size\": 5,"                          \
	" \"max_position_embeddings\": 64}"

static const uint64_t tokens[] = {700, 37, 0, 1};
enum { PIECES = 4, ALL = 738 };

/* Token t of the input that begins at this channel: not around zero, so that all products count. */
static float value(uint64_t input, uint64_t t, uint64_t c)
{
	return 0.3f + (float)(int64_t)cwe_random(5, input + c, t) * 0x1p-63f * (1 + (float)(c % 7));
}

static void feed(struct cwe_tap *tap, const struct cwe_linear *l, uint32_t linear)
{
	struct cwb_err err = {0};
	uint64_t t = 0;
	for (int p = 0; p < PIECES; p++) {
		float *x = malloc(tokens[p] * l->cols * sizeof *x + 1);
		struct cwe_flow flow = {.linear = linear, .out = l->rows, .in = l->cols, .tokens = tokens[p]};
		assert_non_null(x);
		for (uint64_t i = 0; i < tokens[p] * l->cols; i++) {
			x[i] = value(l->input_at, t + i / l->cols, i % l->cols);
		}
		t += tokens[p];
		if (tap->input(tap->arg, &flow, x, &err) != 0) {
			fail_msg("%s", err.message);
		}
		free(x);
	}
}

static double product(uint64_t input, uint64_t i, uint64_t k)
{
	double sum = 0;
	for (uint64_t t = 0; t < ALL; t++) {
		sum += (double)value(input, t, i) * (double)value(input, t, k);
	}
	return sum;
}

/* Some elements of x x^T, its symmetry, and the diagonal against the sums of squares. */
static double check(const struct cwe_linear *l, const struct cwe_module_statistics *s)
{
	double worst = 0;
	assert_int_equal(s->tokens, ALL);
	for (uint64_t i = 0; i < l->cols; i += l->cols / 40 + 1) {
		double own = (double)s->gram[i * l->cols + i];
		assert_true(fabs(own - s->act_sq[i]) <= 1e-5 * s->act_sq[i]);
		for (uint64_t k = 0; k < l->cols; k += l->cols / 40 + 1) {
			double want = product(l->input_at, i, k), got = (double)s->gram[i * l->cols + k];
			double size = sqrt(s->act_sq[i] * s->act_sq[k]);
			worst = fmax(worst, fabs(got - want) / size);
			assert_true(s->gram[k * l->cols + i] == s->gram[i * l->cols + k]);
		}
	}
	return worst;
}

static void check_model(const char *config)
{
	struct synthetic s;
	struct cwe_statistics statistics;
	struct cwe_layer layer;
	struct cwb_err err = {0};
	double worst = 0;
	synthetic_open(&s, config);
	assert_int_equal(cwe_layer_new(&s.model, &layer, &err), 0);
	assert_int_equal(cwe_statistics_new(&s.model, CWP_STAT_GRAM | CWP_STAT_ACT_SQ, 0, &statistics, &err), 0);
	struct cwe_tap tap = cwe_statistics_tap(&statistics, 0);
	for (uint32_t at = 0; at < s.model.arch.layers; at++) {
		assert_int_equal(cwe_layer_load(&s.model, at, &layer, &err), 0);
		assert_int_equal(cwe_statistics_begin(&statistics, at, &err), 0);
		for (int step = 0; step < 2; step++) { /* all are fed before any is looked at */
			for (uint32_t i = 0; i < cwe_linears(&s.model.arch, at); i++) {
				struct cwe_linear l;
				struct cwe_module_statistics st;
				cwe_linear_at(&s.model.arch, at, i, &l);
				if (step == 0) {
					feed(&tap, &l, i);
					continue;
				}
				assert_int_equal(cwe_statistics_get(&statistics, &layer, i, &st, &err), 0);
				assert_true((st.gram == NULL) == l.kept);
				worst = l.kept ? worst : fmax(worst, check(&l, &st));
			}
		}
	}
	print_message("largest error %.1e\n", worst);
	assert_true(worst > 0 && worst < 2e-6);
	cwe_statistics_free(&statistics);
	cwe_layer_free(&s.model, &layer);
	synthetic_close(&s);
}

static void test_wide(void **state)
{
	(void)state;
	check_model(WIDE);
}

static void test_families(void **state)
{
	(void)state;
	for (int i = 0; i < SYNTHETIC_FAMILIES; i++) {
		check_model(synthetic_family[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_wide), cmocka_unit_test(test_families)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
