/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Experts: who goes where and with what weight; gradients against differences; the matrices of a layer by number. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/model/linears.h"
#include "engine/model/routing.h"

#define TOKENS 4
#define EXPERTS 3

static const float logits[TOKENS * EXPERTS] = {0.5f, 2.0f, -1.0f, 1.0f, 1.0f, 1.0f, -3.0f, 0.0f, 4.0f, 0.1f, 0.2f, 0.3f};

static struct cwe_routing open_routing(uint32_t top_k, int normalize)
{
	const struct cwe_moe moe = {.experts = EXPERTS, .top_k = top_k, .normalize = normalize};
	struct cwe_routing r;
	struct cwb_err err = {0};
	assert_int_equal(cwe_routing_new(&moe, TOKENS, &r, &err), 0);
	return r;
}

static double probability(const float *logit, uint32_t e)
{
	double sum = 0;
	for (int i = 0; i < EXPERTS; i++) {
		sum += exp((double)logit[i]);
	}
	return exp((double)logit[e]) / sum;
}

static void choices(void **state)
{
	/* The most likely two; of equals the lower numbers. */
	static const uint32_t want[TOKENS][2] = {{1, 0}, {0, 1}, {2, 1}, {2, 1}};
	static const uint64_t start[] = {0, 2, 6, 8};
	static const uint32_t token[] = {0, 1, 0, 1, 2, 3, 2, 3};
	(void)state;
	for (int normalize = 0; normalize < 2; normalize++) {
		struct cwe_routing r = open_routing(2, normalize);
		cwe_routing_choose(&r, logits, TOKENS);
		assert_memory_equal(r.expert, want, sizeof want);
		assert_memory_equal(r.start, start, sizeof start);
		assert_memory_equal(r.token, token, sizeof token);
		for (size_t i = 0; i < sizeof want / sizeof **want; i++) {
			const float *row = logits + i / 2 * EXPERTS;
			double p = probability(row, want[i / 2][i % 2]);
			double both = probability(row, want[i / 2][0]) + probability(row, want[i / 2][1]);
			assert_true(r.token[r.place[i]] == i / 2);
			assert_true(fabs((double)r.weight[r.place[i]] - (normalize ? p / both : p)) < 1e-6);
		}
		cwe_routing_free(&r);
	}
}

static void samples_of_an_expert(void **state)
{
	/* Tokens 0, 1 | none | 2 | 3. */
	static const uint64_t start[] = {0, 2, 2, 3, 4};
	static const uint64_t want[EXPERTS][5] = {{0, 2, 2, 2, 2}, {0, 2, 2, 3, 4}, {0, 0, 0, 1, 2}};
	const struct cwp_sequences all = {4, start}, none = {0, NULL};
	struct cwe_routing r = open_routing(2, 1);
	struct cwp_sequences got;
	struct cwb_err err = {0};
	(void)state;
	cwe_routing_choose(&r, logits, TOKENS);
	for (uint32_t e = 0; e < EXPERTS; e++) {
		assert_int_equal(cwe_routing_samples(&r, e, &all, &got, &err), 0);
		assert_int_equal(got.count, 4);
		assert_memory_equal(got.start, want[e], sizeof want[e]);
		assert_int_equal(cwe_routing_samples(&r, e, &none, &got, &err), 0);
		assert_int_equal(got.count, 0);
	}
	cwe_routing_free(&r);
}

/* Sum of the weights, each times a number of its own. */
static double objective(struct cwe_routing *r, const float *at, const float *dweight)
{
	double sum = 0;
	cwe_routing_choose(r, at, TOKENS);
	for (uint64_t i = 0; i < (uint64_t)TOKENS * r->top_k; i++) {
		uint64_t token = i / r->top_k;
		double p = 0, chosen = 0;
		for (uint32_t j = 0; j < r->top_k; j++) {
			double other = probability(at + token * EXPERTS, r->expert[token * r->top_k + j]);
			chosen += other;
			p = j == i % r->top_k ? other : p;
		}
		sum += (double)dweight[r->place[i]] * (r->normalize ? p / chosen : p);
	}
	return sum;
}

static void gradients(void **state)
{
	static const float dweight[] = {0.3f, -1.0f, 2.0f, 0.7f, -0.2f, 1.5f, 0.4f, -0.6f, 1.1f, 0.9f, -0.8f, 0.05f};
	(void)state;
	for (uint32_t k = 1; k <= EXPERTS; k++) {
		for (int normalize = 0; normalize < 2; normalize++) {
			struct cwe_routing r = open_routing(k, normalize);
			float at[TOKENS * EXPERTS], got[TOKENS * EXPERTS];
			/* Without equals: there the choice jumps. */
			for (int i = 0; i < TOKENS * EXPERTS; i++) {
				at[i] = logits[i] + 0.01f * (float)(i % EXPERTS);
			}
			cwe_routing_choose(&r, at, TOKENS);
			cwe_routing_backward(&r, dweight, got);
			for (int i = 0; i < TOKENS * EXPERTS; i++) {
				float was = at[i];
				at[i] = was + 1e-3f;
				double above = objective(&r, at, dweight);
				at[i] = was - 1e-3f;
				double want = (above - objective(&r, at, dweight)) / 2e-3;
				at[i] = was;
				assert_true(fabs(want - (double)got[i]) < 2e-3);
			}
			/* In the place of the probabilities. */
			cwe_routing_choose(&r, at, TOKENS);
			cwe_routing_backward(&r, dweight, r.probability);
			assert_memory_equal(r.probability, got, sizeof got);
			cwe_routing_free(&r);
		}
	}
}

/* Numbers, roles and places agree with each other in every kind of layer. */
static void check_layer(const struct cwe_arch *a, uint32_t layer, uint32_t count, uint32_t scored)
{
	uint64_t weights, inputs, at = 0, channels = 0;
	assert_int_equal(cwe_linears(a, layer), count);
	assert_int_equal(cwe_linears_scored(a, layer), scored);
	for (uint32_t i = 0; i < count; i++) {
		struct cwe_linear l;
		cwe_linear_at(a, layer, i, &l);
		assert_int_equal(l.weight_at, at);
		assert_int_equal(l.kept, i >= scored);
		at += l.rows * l.cols;
		if (l.measures) {
			assert_int_equal(l.input_at, channels);
			channels += l.cols;
		} else {
			assert_true(l.input_at + l.cols <= channels);
		}
	}
	cwe_linears_sum(a, layer, &weights, &inputs);
	assert_int_equal(weights, at);
	assert_int_equal(inputs, channels);
}

static void check_role(const struct cwe_arch *a, uint32_t layer, enum cwe_role role, uint32_t expert, const char *name,
	uint64_t first)
{
	struct cwe_linear l;
	uint64_t row, rows, cols;
	cwe_linear_at(a, layer, cwe_linear_of(a, layer, role, expert, &row), &l);
	cwe_role_shape(a, role, expert, &rows, &cols);
	assert_string_equal(l.name, name);
	assert_int_equal(row, first);
	assert_int_equal(l.cols, cols);
	assert_true(row + rows <= l.rows);
}

static void matrices(void **state)
{
	struct cwe_arch a = {.layers = 2, .hidden = 6, .heads = 4, .kv_heads = 2, .head_dim = 5, .intermediate = 7,
		.layer = {0, CWE_LAYER_MOE}, .moe = {.experts = 3, .top_k = 2, .intermediate = 4, .prefix = "mlp.experts",
			.gate = "gate_proj", .up = "up_proj", .down = "down_proj", .router = "mlp.gate"}};
	(void)state;
	check_layer(&a, 0, 7, 7);
	check_layer(&a, 1, 14, 13);
	assert_int_equal(cwe_linears_most(&a), 14);
	check_role(&a, 0, CWE_V, CWE_DENSE, "self_attn.v_proj", 0);
	check_role(&a, 0, CWE_DOWN, CWE_DENSE, "mlp.down_proj", 0);
	check_role(&a, 1, CWE_UP, 2, "mlp.experts.2.up_proj", 0);
	check_role(&a, 1, CWE_ROUTER, CWE_DENSE, "mlp.gate", 0);
	static const uint32_t dense[] = {0, 0, 0, 3, 4, 4, 6}, moe[] = {0, 0, 0, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 13};
	for (uint32_t i = 0; i < 14; i++) {
		assert_true(i >= 7 || cwe_linear_group(&a, 0, i) == dense[i]);
		assert_int_equal(cwe_linear_group(&a, 1, i), moe[i]);
	}
	a.moe.shared = 9;
	a.moe.shared_prefix = "mlp.shared_expert";
	a.moe.shared_gate = "mlp.shared_expert_gate";
	check_layer(&a, 1, 18, 16);
	check_role(&a, 1, CWE_GATE, CWE_SHARED, "mlp.shared_expert.gate_proj", 0);
	check_role(&a, 1, CWE_ROUTER, CWE_DENSE, "mlp.gate", 0);
	check_role(&a, 1, CWE_SHARED_GATE, CWE_DENSE, "mlp.shared_expert_gate", 0);
	static const uint32_t shared[] = {13, 13, 15, 16, 17};
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(cwe_linear_group(&a, 1, 13 + i), shared[i]);
	}
	a.fused = 1;
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(cwe_linear_group(&a, 0, i), i);
	}
	check_layer(&a, 0, 4, 4);
	check_role(&a, 0, CWE_Q, CWE_DENSE, "self_attn.qkv_proj", 0);
	check_role(&a, 0, CWE_K, CWE_DENSE, "self_attn.qkv_proj", 20);
	check_role(&a, 0, CWE_V, CWE_DENSE, "self_attn.qkv_proj", 30);
	check_role(&a, 0, CWE_O, CWE_DENSE, "self_attn.o_proj", 0);
	check_role(&a, 0, CWE_UP, CWE_DENSE, "mlp.gate_up_proj", 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(choices), cmocka_unit_test(samples_of_an_expert),
		cmocka_unit_test(gradients), cmocka_unit_test(matrices)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
