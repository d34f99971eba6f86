/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rotary embeddings: frequencies as transformers 5 has them, tables, and parameters that are refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/engine/model/configs.h"

#define BASE "{'model_type': 'llama', " CONFIG_SIZES ", 'head_dim': 16}"
#define PHI "{'model_type': 'phi3', " CONFIG_SIZES ", 'head_dim': 16, 'max_position_embeddings': 131072}"
#define YARN "'rope_type': 'yarn', 'original_max_position_embeddings': 64"
#define LONGROPE "'rope_type': 'longrope', 'short_factor': [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5], 'long_factor': [2, 3, 4, 5, 6, 7, 8, 9]"

struct expected {
	const char *base, *parameters;
	double factor; /* of the attention */
	int extended;
	float inverse[8];
};

/* Printed by ROPE_INIT_FUNCTIONS of transformers 5. */
static const struct expected expected[] = {
	{BASE, "{'rope_type': 'linear', 'factor': 2.5}", 1, 0,
		{4.0000000596e-01f, 1.2649109960e-01f, 3.9999999106e-02f, 1.2649111450e-02f, 3.9999997243e-03f, 1.2649111450e-03f,
			4.0000001900e-04f, 1.2649111159e-04f}},
	{BASE, "{'rope_type': 'llama3', 'factor': 8, 'low_freq_factor': 1, 'high_freq_factor': 4, 'rope_theta': 5e5,"
		" 'original_max_position_embeddings': 64}", 1, 0,
		{1.0000000000e+00f, 7.9403012991e-02f, 4.7007538378e-03f, 9.1158313444e-04f, 1.7677668075e-04f, 3.4281023545e-05f,
			6.6478696681e-06f, 1.2891731558e-06f}},
	{BASE, "{" YARN ", 'factor': 4}", 1.138629436111989, 0,
		{1.0000000000e+00f, 2.3717081547e-01f, 4.9999997020e-02f, 7.9056946561e-03f, 2.4999999441e-03f, 7.9056946561e-04f,
			2.5000001187e-04f, 7.9056946561e-05f}},
	{BASE, "{" YARN ", 'factor': 4, 'truncate': false}", 1.138629436111989, 0,
		{1.0000000000e+00f, 1.9858352840e-01f, 2.5595249608e-02f, 7.9056946561e-03f, 2.4999999441e-03f, 7.9056946561e-04f,
			2.5000001187e-04f, 7.9056946561e-05f}},
	{BASE, "{" YARN ", 'factor': 4, 'beta_fast': 20, 'beta_slow': 2}", 1.138629436111989, 0,
		{1.0000000000e+00f, 1.9764235616e-01f, 2.5000000373e-02f, 7.9056946561e-03f, 2.4999999441e-03f, 7.9056946561e-04f,
			2.5000001187e-04f, 7.9056946561e-05f}},
	{BASE, "{" YARN ", 'factor': 4, 'mscale': 1.2, 'mscale_all_dim': 0.7, 'beta_fast': 0}", 1.0631833659779666, 0,
		{1.0000000000e+00f, 2.3717081547e-01f, 4.9999997020e-02f, 7.9056946561e-03f, 2.4999999441e-03f, 7.9056946561e-04f,
			2.5000001187e-04f, 7.9056946561e-05f}},
	{BASE, "{" YARN ", 'factor': 4, 'attention_factor': 0.8}", 0.8, 0,
		{1.0000000000e+00f, 2.3717081547e-01f, 4.9999997020e-02f, 7.9056946561e-03f, 2.4999999441e-03f, 7.9056946561e-04f,
			2.5000001187e-04f, 7.9056946561e-05f}},
	{BASE, "{'rope_type': 'yarn', 'original_max_position_embeddings': 131072, 'factor': 4}", 1.138629436111989, 0,
		{1.0000000000e+00f, 3.1622776389e-01f, 1.0000000149e-01f, 3.1622778624e-02f, 9.9999997765e-03f, 3.1622778624e-03f,
			8.1250001676e-04f, 1.9764236640e-04f}},
	{BASE, "{'rope_type': 'yarn', 'original_max_position_embeddings': 8192, 'factor': 4, 'truncate': false}",
		1.138629436111989, 0,
		{1.0000000000e+00f, 3.1622776389e-01f, 1.0000000149e-01f, 3.1622778624e-02f, 8.0569712445e-03f, 1.7599738203e-03f,
			3.0740795773e-04f, 7.9056946561e-05f}},
	{PHI, "{" LONGROPE "}", 1.1902380714238083, 0,
		{1.0000000000e+00f, 2.1081849933e-01f, 5.0000000745e-02f, 1.2649111450e-02f, 3.3333334140e-03f, 9.0350792743e-04f,
			2.5000001187e-04f, 7.0272835728e-05f}},
	{PHI, "{" LONGROPE "}", 1.1902380714238083, 1,
		{5.0000000000e-01f, 1.0540924966e-01f, 2.5000000373e-02f, 6.3245557249e-03f, 1.6666667070e-03f, 4.5175396372e-04f,
			1.2500000594e-04f, 3.5136417864e-05f}},
};

static struct cwe_arch read_parameters(const char *base, const char *parameters)
{
	char changes[1024];
	(void)snprintf(changes, sizeof changes, "{'rope_parameters': %s}", parameters);
	return config_read(base, changes);
}

static void frequencies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
		const struct expected *e = &expected[i];
		struct cwe_arch a = read_parameters(e->base, e->parameters);
		float inverse[CWE_ROTARY_MAX / 2];
		assert_int_equal(a.rope[0].rotary, 16);
		assert_memory_equal(&a.rope[0], &a.rope[1], sizeof a.rope[0]);
		cwe_rope_frequencies(&a.rope[0], e->extended, inverse);
		for (int k = 0; k < 8; k++) {
			if (!(fabsf(inverse[k] / e->inverse[k] - 1) < 1e-6f)) {
				fail_msg("%s[%d]: %.9g, not %.9g", e->parameters, k, (double)inverse[k], (double)e->inverse[k]);
			}
		}
		assert_true(fabs(a.rope[0].attention_factor / e->factor - 1) < 1e-12);
	}
}

static void tables(void **state)
{
	float cosine[5][4], sine[5][4], inverse[4];
	(void)state;
	struct cwe_arch a = config_read(PHI, "{'partial_rotary_factor': 0.5, 'rope_scaling': {'type': 'longrope',"
		" 'short_factor': [1, 1, 1, 1], 'long_factor': [2, 3, 4, 5], 'attention_factor': 1.5}}");
	assert_int_equal(a.rope[0].rotary, 8);
	for (int extended = 0; extended < 2; extended++) {
		cwe_rope_frequencies(&a.rope[0], extended, inverse);
		cwe_rope_tables(&a.rope[0], extended, 5, &cosine[0][0], &sine[0][0]);
		for (int p = 0; p < 5; p++) {
			for (int i = 0; i < 4; i++) {
				double angle = p * pow(1e4, -i / 4.0) / (extended ? i + 2 : 1);
				assert_true(fabs((double)cosine[p][i] - 1.5 * cos(angle)) < 2e-6);
				assert_true(fabs((double)sine[p][i] - 1.5 * sin(angle)) < 2e-6);
			}
		}
	}
}

/* Layers of two kinds have parameters of their own; the old scaling is of those that see everything. */
static void two_kinds(void **state)
{
	(void)state;
	struct cwe_arch a = config_read(CONFIG("gemma3_text"), "{'rope_scaling': {'rope_type': 'linear', 'factor': 8}}");
	assert_int_equal(a.rope[0].kind, CWE_ROPE_LINEAR);
	assert_true(a.rope[0].factor == 8 && a.rope[0].theta == 1e6);
	assert_int_equal(a.rope[1].kind, CWE_ROPE_DEFAULT);
	assert_true(a.rope[1].theta == 1e4);
	a = config_read(CONFIG("gemma3_text"), "{'rope_parameters': {'full_attention': null, 'sliding_attention':"
		" {'rope_type': 'linear', 'factor': 2}}, 'rope_theta': 5, 'rope_local_base_freq': 6}");
	assert_int_equal(a.rope[0].kind, CWE_ROPE_DEFAULT);
	assert_int_equal(a.rope[1].kind, CWE_ROPE_LINEAR);
	assert_true(a.rope[0].theta == 5 && a.rope[1].theta == 6);
	config_refused(CONFIG("gemma3_text"), "{'rope_parameters': {'rope_theta': 7}}", CWP_EVALUE, "rope_parameters",
		"full_attention");
	config_refused(CONFIG("gemma3_text"), "{'rope_parameters': {'full_attention': 7}}", CWP_EVALUE, "full_attention", "7");
	config_refused(CONFIG("gemma3_text"), "{'rope_scaling': {'type': 'linear', 'factor': 8}}", CWP_EVALUE, "rope_scaling",
		"rope_type");
	config_refused(CONFIG("gemma3_text"), "{'rope_parameters': {'sliding_attention': {'rope_type': 'dynamic'}}}", CWP_EVALUE,
		"dynamic", "supported are");
	config_refused(CONFIG("qwen3"), "{'rope_parameters': {'full_attention': {'rope_theta': 7}}}", CWP_EVALUE,
		"full_attention", "not supported");
}

/* Where the context of the first training is found. */
static void original_context(void **state)
{
	(void)state;
	struct cwe_arch a = config_read(PHI, "{'rope_parameters': {" LONGROPE ", 'original_max_position_embeddings': 64}}");
	assert_true(a.rope[0].original_context == 4096);
	a = config_read(PHI, "{'original_max_position_embeddings': 8192, 'rope_parameters': {" LONGROPE "}}");
	assert_true(a.rope[0].original_context == 8192);
	a = config_read(BASE, "{'original_max_position_embeddings': 128, 'rope_parameters': {" YARN ", 'factor': 2}}");
	assert_true(a.rope[0].original_context == 128);
	a = config_read(BASE, "{'max_position_embeddings': 192, 'rope_parameters': {" YARN ", 'factor': null}}");
	assert_true(a.rope[0].factor == 3);
	/* A context shorter than the first training's stretches nothing. */
	a = config_read(PHI, "{'max_position_embeddings': 2048, 'rope_parameters': {" LONGROPE "}}");
	assert_true(a.rope[0].factor == 0.5 && a.rope[0].attention_factor == 1);
	/* A key beside the parameters is not of those by kind of layer. */
	a = config_read(CONFIG("gemma3_text"), "{'original_max_position_embeddings': 128, 'rope_parameters': {'full_attention':"
		" {" YARN ", 'factor': 2}, 'sliding_attention': {'rope_type': 'default'}}}");
	assert_true(a.rope[0].original_context == 64);
}

static const struct {
	const char *base, *parameters;
	int code;
	const char *said, *also;
} refused[] = {
	{BASE, "{'rope_theta': 0.5}", CWP_EVALUE, "rope_theta", "0.5"},
	{BASE, "{'rope_theta': 1}", CWP_EVALUE, "rope_theta", "above 1"},
	{BASE, "{'rope_theta': -10000}", CWP_EVALUE, "rope_theta", "-10000"},
	{BASE, "{'rope_theta': 1e300}", CWP_EVALUE, "rope_theta", "1e300"},
	{BASE, "{'rope_theta': '10000'}", CWP_EVALUE, "rope_theta", "\"10000\""},
	{BASE, "{'rope_type': 'dynamic', 'factor': 2}", CWP_EVALUE, "dynamic", "supported are"},
	{BASE, "{'type': 'mrope'}", CWP_EVALUE, "mrope", "supported are"},
	{BASE, "{'rope_type': 'su'}", CWP_EVALUE, "\"su\"", "supported are"},
	{BASE, "{'rope_type': 'proportional'}", CWP_EVALUE, "proportional", "supported are"},
	{BASE, "{'rope_type': 7}", CWP_EVALUE, "rope type 7", "supported are"},
	{PHI, "{'rope_type': 'linear', 'factor': 2}", CWP_EVALUE, "linear", "default, longrope"},
	{PHI, "{'rope_type': 'llama3'}", CWP_EVALUE, "llama3", "default, longrope"},
	{BASE, "{'mrope_section': [1, 2, 5]}", CWP_EVALUE, "mrope_section", "[1,2,5]"},
	{BASE, "{'mrope_interleaved': true}", CWP_EVALUE, "mrope_interleaved", "true"},
	{BASE, "{" YARN ", 'factor': 4, 'llama_4_scaling_beta': 0.1}", CWP_EVALUE, "llama_4_scaling_beta", "0.1"},
	{PHI, "{" LONGROPE ", 'short_mscale': 1.1}", CWP_EVALUE, "short_mscale", "1.1"},
	{PHI, "{" LONGROPE ", 'long_mscale': 1.1}", CWP_EVALUE, "long_mscale", "1.1"},
	{BASE, "{'partial_rotary_factor': 0.5}", CWP_EVALUE, "partial_rotary_factor", "0.5"},
	{PHI, "{'partial_rotary_factor': 1.5}", CWP_EVALUE, "partial_rotary_factor", "1.5"},
	{PHI, "{'partial_rotary_factor': 0.2}", CWP_ESHAPE, "3 rotated channels", "even"},
	{PHI, "{'partial_rotary_factor': 0.01}", CWP_ESHAPE, "0 rotated channels", "even"},
	{PHI, "{'partial_rotary_factor': 0}", CWP_EVALUE, "partial_rotary_factor", "0"},
	{BASE, "{'rope_type': 'linear'}", CWP_EMISSING, "\"factor\"", NULL},
	{BASE, "{'rope_type': 'linear', 'factor': 0}", CWP_EVALUE, "\"factor\" is 0", "above 0"},
	{BASE, "{'rope_type': 'linear', 'factor': 1e-300}", CWP_EVALUE, "\"factor\" is 1e-300", "above 0"},
	{BASE, "{'rope_type': 'llama3', 'factor': 8}", CWP_EMISSING, "low_freq_factor", NULL},
	{BASE, "{'rope_type': 'llama3', 'factor': 8, 'low_freq_factor': 1}", CWP_EMISSING, "high_freq_factor", NULL},
	{BASE, "{'rope_type': 'llama3', 'factor': 8, 'low_freq_factor': 4, 'high_freq_factor': 4}", CWP_EVALUE,
		"high_freq_factor", "must be above"},
	{BASE, "{'rope_type': 'llama3', 'factor': 8, 'low_freq_factor': 1, 'high_freq_factor': 4}", CWP_EMISSING,
		"original_max_position_embeddings", NULL},
	{BASE, "{" YARN "}", CWP_EMISSING, "\"factor\"", NULL},
	{BASE, "{'rope_type': 'yarn', 'factor': 4}", CWP_EMISSING, "original_max_position_embeddings", NULL},
	{BASE, "{'rope_type': 'yarn', 'factor': 4, 'original_max_position_embeddings': 2.5}", CWP_EVALUE,
		"original_max_position_embeddings", "2.5"},
	{BASE, "{" YARN ", 'factor': 4, 'beta_fast': 1, 'beta_slow': 2}", CWP_EVALUE, "beta_fast", "beta_slow"},
	{BASE, "{" YARN ", 'factor': 4, 'beta_slow': -2}", CWP_EVALUE, "beta_slow", "-2"},
	{BASE, "{" YARN ", 'factor': 4, 'mscale': true}", CWP_EVALUE, "mscale", "true"},
	{BASE, "{" YARN ", 'factor': 4, 'mscale_all_dim': -1}", CWP_EVALUE, "mscale_all_dim", "-1"},
	{BASE, "{" YARN ", 'factor': 4, 'attention_factor': 0}", CWP_EVALUE, "attention_factor", "0"},
	{BASE, "{" YARN ", 'factor': 4, 'truncate': 1}", CWP_EVALUE, "truncate", "true or false"},
	{PHI, "{'rope_type': 'longrope'}", CWP_EMISSING, "short_factor", "8 factors"},
	{PHI, "{'rope_type': 'yarn', 'short_factor': [1, 1, 1, 1, 1, 1, 1, 1]}", CWP_EMISSING, "long_factor", "8 factors"},
	{PHI, "{" LONGROPE ", 'partial_rotary_factor': 0.5}", CWP_ESHAPE, "short_factor", "must have 4"},
	{PHI, "{'rope_type': 'longrope', 'short_factor': 1}", CWP_ESHAPE, "short_factor", "must have 8"},
	{PHI, "{'rope_type': 'longrope', 'short_factor': [1, 1, 1, 0, 1, 1, 1, 1]}", CWP_EVALUE, "short_factor", "[3] is 0"},
	{PHI, "{'rope_type': 'longrope', 'short_factor': [1, 1, 1, 'x', 1, 1, 1, 1]}", CWP_EVALUE, "short_factor", "[3] is \"x\""},
	{PHI, "{'rope_type': 'longrope', 'short_factor': [1, 1, 1, 1e99, 1, 1, 1, 1]}", CWP_EVALUE, "short_factor", "1e99"},
	{BASE, "{" LONGROPE ", 'original_max_position_embeddings': 1}", CWP_EVALUE, "original_max_position_embeddings", "2"},
	{BASE, "[]", CWP_EVALUE, "rope_parameters", "an object"},
};

static void refusals(void **state)
{
	char changes[1024];
	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		(void)snprintf(changes, sizeof changes, "{'rope_parameters': %s}", refused[i].parameters);
		config_refused(refused[i].base, changes, refused[i].code, refused[i].said, refused[i].also);
	}
	config_refused(BASE, "{'rope_scaling': 'linear'}", CWP_EVALUE, "rope_scaling", "linear");
	config_refused(BASE, "{'rope_scaling': {'type': 'ntk'}}", CWP_EVALUE, "ntk", "supported are");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(frequencies), cmocka_unit_test(tables), cmocka_unit_test(two_kinds),
		cmocka_unit_test(original_context), cmocka_unit_test(refusals)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
