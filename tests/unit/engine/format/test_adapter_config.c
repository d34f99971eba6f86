/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* adapter_config.json: ranks and scales by module, which modules are meant, and all that is
 * refused. */
#include "support.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/adapter_config.h"

#define Q0 "model.layers.0.self_attn.q_proj"
#define K11 "model.layers.11.self_attn.k_proj"
#define DOWN1 "model.layers.1.mlp.down_proj"

static char *folder;

static int set_up(void **state)
{
	(void)state;
	folder = folder_make();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	folder_remove(folder);
	return 0;
}

/* Reads {"peft_type": "LORA", <keys>}. */
static int read_keys(const char *keys, struct cwe_adapter_config **ret, struct cwb_err *err)
{
	char *text;

	assert_true(asprintf(&text, "{\"peft_type\": \"LORA\"%s%s}", *keys ? ", " : "", keys) > 0);
	folder_text(folder, "adapter_config.json", text);
	free(text);
	return cwe_adapter_config_read(folder, ret, err);
}

static struct cwe_adapter_config *must_read(const char *keys)
{
	struct cwe_adapter_config *c = NULL;
	struct cwb_err err = {0};

	if (read_keys(keys, &c, &err))
		fail_msg("%s: %s", keys, err.message);
	return c;
}

static void expect_scale(const char *keys, const char *module, uint64_t rank, double scale)
{
	struct cwe_adapter_config *c = must_read(keys);
	struct cwb_err err = {0};
	uint64_t r = 0;
	double s = 0;

	assert_int_equal(cwe_adapter_config_scale(c, module, &r, &s, &err), 0);
	if (r != rank || !(fabs(s - scale) <= 1e-15 * fabs(scale)))
		fail_msg("%s: %s has rank %d and scale %.17g, not %d and %.17g", keys, module,
			(int)r, s, (int)rank, scale);
	cwe_adapter_config_free(c);
}

static void test_scales(void **state)
{
	(void)state;
	expect_scale("", Q0, 8, 1.0);
	expect_scale("\"r\": 32, \"lora_alpha\": 64", Q0, 32, 2.0);
	expect_scale("\"r\": 32, \"lora_alpha\": 24.5", Q0, 32, 24.5 / 32);
	expect_scale("\"r\": 12, \"lora_alpha\": 5, \"use_rslora\": true", Q0, 12, 5 / sqrt(12));
	expect_scale("\"r\": null, \"lora_alpha\": null, \"use_rslora\": null", Q0, 8, 1.0);
	expect_scale("\"r\": 4, \"lora_alpha\": -2", Q0, 4, -0.5);
	/* Of each mapping the first entry that matches, and each for itself. */
	expect_scale("\"r\": 4, \"lora_alpha\": 4, \"rank_pattern\": {\"q_proj\": 16, "
		     "\"self_attn.q_proj\": 2}",
		Q0, 16, 0.25);
	expect_scale("\"r\": 4, \"lora_alpha\": 4, \"alpha_pattern\": {\"k_proj\": 9, "
		     "\"self_attn.q_proj\": 2}",
		Q0, 4, 0.5);
	expect_scale("\"r\": 4, \"lora_alpha\": 4, \"rank_pattern\": {\"q_proj\": 16}, "
		     "\"alpha_pattern\": {\"layers.0.*\": 1}, "
		     "\"use_rslora\": true",
		Q0, 16, 0.25);
	expect_scale("\"r\": 4, \"rank_pattern\": null, \"alpha_pattern\": {}", Q0, 4, 2.0);
}

static void test_rule_names(void **state)
{
	static const struct {
		const char *key, *module;
		int matches;
	} cases[] = {
		{"q_proj", Q0, 1},
		{"proj", Q0, 0},
		{"_proj", Q0, 0},
		{"self_attn.q_proj", Q0, 1},
		{"self_attn_q_proj", Q0, 0},
		{"self.attn.q.proj", Q0, 1}, /* a dot stands for any character */
		{"0.self_attn.q_proj", Q0, 1},
		{Q0, Q0, 1},
		{"x" Q0, Q0, 0},
		{"del.layers.0.self_attn.q_proj", Q0, 0},
		{"self_attn", Q0, 0},
		{"self_attn.", Q0, 0},
		{"", "", 1},
		{"", Q0, 0},
		{"1.self_attn.k_proj", K11, 0},
		{"11.self_attn.k_proj", K11, 1},
		{"^" Q0, Q0, 1},
		{"^q_proj", Q0, 0},
		{"^model\\\\.layers\\\\.0\\\\.self_attn\\\\.q_proj$", Q0, 1},
		{"self\\\\.attn\\\\.q_proj", Q0, 0},
		{".*q_proj", Q0, 1},
		{"(q|k)_proj", K11, 1},
		{"q_proj|k_proj", K11, 1},
		{"q_proj|k_proj", DOWN1, 0},
		{"layers\\\\.(?:[0-9]|1[01])\\\\..*", K11, 1},
		{"layers\\\\.[0-9]\\\\..*", K11, 0},
		{"layers\\\\.[0-9]\\\\..*", DOWN1, 1},
		{".*", K11, 1},
		{"(?P<part>mlp|self_attn)\\\\.down_proj", DOWN1, 1},
		{"down_proj\\\\Z", DOWN1, 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char keys[256];

		snprintf(keys, sizeof keys,
			"\"r\": 3, \"lora_alpha\": 3, \"rank_pattern\": {\"%s\": 6}", cases[i].key);
		expect_scale(keys, cases[i].module, cases[i].matches ? 6 : 3,
			cases[i].matches ? 0.5 : 1.0);
	}
}

/* Plain names are compared without the matcher: it must say the same. */
static void test_plain_as_expression(void **state)
{
	static const char alphabet[] = "ab.";
	struct cwb_err err = {0};

	(void)state;
	for (unsigned key = 0; key < 243; key++) {
		struct cwe_adapter_pattern *plain, *slow;
		char text[8] = "", again[16];
		unsigned n = key;

		for (size_t i = 0; i < 1 + key % 4; i++, n /= 3)
			text[i] = alphabet[n % 3];
		snprintf(again, sizeof again, "(?:%s)", text);
		assert_int_equal(
			cwe_adapter_pattern_new(text, CWE_ADAPTER_SUFFIX, "x", &plain, &err), 0);
		assert_int_equal(
			cwe_adapter_pattern_new(again, CWE_ADAPTER_SUFFIX, "x", &slow, &err), 0);
		assert_false(cwe_adapter_pattern_is_slow(plain));
		assert_true(cwe_adapter_pattern_is_slow(slow));
		for (unsigned name = 0; name < 729; name++) {
			char module[8] = "";

			n = name;
			for (size_t i = 0; i < 6; i++, n /= 3)
				module[i] = alphabet[n % 3];
			if (cwe_adapter_pattern_match(plain, module, NULL, &err) !=
				cwe_adapter_pattern_match(slow, module, NULL, &err))
				fail_msg("\"%s\" and \"%s\"", text, module);
		}
		cwe_adapter_pattern_free(plain);
		cwe_adapter_pattern_free(slow);
	}
}

static void test_targets(void **state)
{
	static const struct {
		const char *keys;
		int q0, k11, down1, head; /* expected of the four modules */
	} cases[] = {
		{"", 1, 1, 1, 1},
		{"\"target_modules\": null", 1, 1, 1, 1},
		{"\"target_modules\": \"all-linear\"", 1, 1, 1, 1},
		{"\"target_modules\": []", 0, 0, 0, 0},
		{"\"target_modules\": [\"q_proj\", \"lm_head\"]", 1, 0, 0, 1},
		{"\"target_modules\": [\"proj\", \"self_attn\", \"m_head\"]", 0, 0, 0, 0},
		{"\"target_modules\": [\"" DOWN1 "\"]", 0, 0, 1, 0},
		/* A list holds names, not expressions; one text is an expression over the whole
		   name. */
		{"\"target_modules\": [\".*_proj\"]", 0, 0, 0, 0},
		{"\"target_modules\": \".*_proj\"", 1, 1, 1, 0},
		{"\"target_modules\": \"q_proj\"", 0, 0, 0, 0},
		{"\"target_modules\": \"model|model.*q_proj\"", 1, 0, 0, 0},
		{"\"target_modules\": \".*\\\\.(0|1)\\\\..*\"", 1, 0, 1, 0},
		{"\"target_modules\": [\"q_proj\", \"k_proj\"], \"exclude_modules\": [\"q_proj\"]",
			0, 1, 0, 0},
		{"\"target_modules\": [\"q_proj\", \"k_proj\"], \"exclude_modules\": [\"proj\"]", 1,
			1, 0, 0},
		{"\"target_modules\": [\"q_proj\", \"k_proj\"], \"exclude_modules\": []", 1, 1, 0,
			0},
		{"\"target_modules\": \".*\", \"exclude_modules\": \".*self_attn.*\"", 0, 0, 1, 1},
		{"\"target_modules\": \".*\", \"exclude_modules\": \"self_attn\"", 1, 1, 1, 1},
		{"\"target_modules\": [\"q_proj\", \"k_proj\", \"down_proj\", \"lm_head\"], "
		 "\"layers_to_transform\": 1",
			0, 0, 1, 1},
		{"\"target_modules\": [\"q_proj\", \"k_proj\", \"x.lm_head\"], "
		 "\"layers_to_transform\": [0, 11]",
			1, 1, 0, 0},
		{"\"target_modules\": [\"q_proj\", \"k_proj\"], \"layers_to_transform\": []", 1, 1,
			0, 0},
		/* A whole name counts whatever its layer. */
		{"\"target_modules\": [\"" Q0 "\", \"k_proj\"], \"layers_to_transform\": [5]", 1, 0,
			0, 0},
		{"\"target_modules\": [\"q_proj\", \"k_proj\"], \"layers_to_transform\": [0, 1, "
		 "11], \"layers_pattern\": \"layers\"",
			1, 1, 0, 0},
		{"\"target_modules\": [\"q_proj\", \"k_proj\"], \"layers_to_transform\": [0, 1, "
		 "11], \"layers_pattern\": \"h\"",
			0, 0, 0, 0},
		{"\"target_modules\": [\"q_proj\", \"k_proj\"], \"layers_to_transform\": [11], "
		 "\"layers_pattern\": [\"h\", \"lay...\"]",
			0, 1, 0, 0},
		{"\"target_modules\": [\"q_proj\", \"k_proj\"], \"layers_to_transform\": [11], "
		 "\"layers_pattern\": []",
			0, 1, 0, 0},
		{"\"target_modules\": [\"q_proj\", \"k_proj\"], \"layers_to_transform\": [11], "
		 "\"layers_pattern\": \"\"",
			0, 1, 0, 0},
	};
	static const char *const module[] = {Q0, K11, DOWN1, "lm_head"};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const int want[] = {cases[i].q0, cases[i].k11, cases[i].down1, cases[i].head};
		struct cwe_adapter_config *c = must_read(cases[i].keys);
		struct cwb_err err = {0};

		for (size_t k = 0; k < 4; k++)
			if (cwe_adapter_config_targets(c, module[k], &err) != want[k])
				fail_msg("%s: %s is %s", cases[i].keys, module[k],
					want[k] ? "missed" : "named");
		cwe_adapter_config_free(c);
	}
}

/* The first number of a list counts: experts have numbers of their own. */
static void test_layer_of_experts(void **state)
{
	struct cwe_adapter_config *c =
		must_read("\"target_modules\": [\"w1\"], \"layers_to_transform\": [3]");
	struct cwb_err err = {0};

	(void)state;
	assert_int_equal(cwe_adapter_config_targets(c, "model.layers.3.moe.experts.7.w1", &err), 1);
	assert_int_equal(cwe_adapter_config_targets(c, "model.layers.7.moe.experts.3.w1", &err), 0);
	assert_int_equal(
		cwe_adapter_config_targets(c, "model.layers.99999999999999999999.w1", &err), 0);
	cwe_adapter_config_free(c);
}

/* What says nothing of the merged weights is passed over, set or not. */
static void test_accepted(void **state)
{
	static const char *const keys[] = {
		"\"task_type\": \"CAUSAL_LM\", \"base_model_name_or_path\": \"x\", \"revision\": "
		"\"main\", \"inference_mode\": true",
		"\"lora_dropout\": 0.1, \"peft_version\": \"0.21.2\", \"auto_mapping\": "
		"{\"base_model_class\": \"X\"}",
		"\"loftq_config\": {}, \"eva_config\": {\"rho\": 2.0}, \"corda_config\": null, "
		"\"qalora_group_size\": 16",
		"\"megatron_core\": \"megatron.core\", \"runtime_config\": {\"x\": 1}, "
		"\"fan_in_fan_out\": true",
		"\"init_lora_weights\": true",
		"\"init_lora_weights\": false",
		"\"init_lora_weights\": null",
		"\"init_lora_weights\": \"gaussian\"",
		"\"init_lora_weights\": \"eva\"",
		"\"init_lora_weights\": \"orthogonal\"",
		"\"init_lora_weights\": \"mica\"",
		"\"bias\": \"none\"",
		"\"bias\": null",
		"\"use_dora\": false, \"lora_bias\": false, \"modules_to_save\": null, "
		"\"trainable_token_indices\": null",
		"\"use_qalora\": false, \"alora_invocation_tokens\": null, \"layer_replication\": "
		"null, \"megatron_config\": null",
		"\"modules_to_save\": [], \"target_parameters\": [], \"arrow_config\": null, "
		"\"use_bdlora\": null",
		"\"ensure_weight_tying\": false, \"velora_config\": null, \"kasa_config\": null, "
		"\"monteclora_config\": null",
		"\"of_tomorrow\": null, \"too\": false, \"also\": {}, \"and\": [], \"so\": \"\", "
		"\"on\": 0",
	};

	(void)state;
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		cwe_adapter_config_free(must_read(keys[i]));
}

static void refuse(const char *keys, int code, const char *part)
{
	struct cwe_adapter_config *c = NULL;
	struct cwb_err err = {0};
	int rc = read_keys(keys, &c, &err);

	if (rc != code || !strstr(err.message, part) || !strstr(err.message, "adapter_config.json"))
		fail_msg("%s: %d \"%s\", not %d \"%s\"", keys, rc, err.message, code, part);
	assert_null(c);
	assert_refused(read_keys(keys, &c, &err), &err, code, part);
}

static void test_refused_features(void **state)
{
	static const struct {
		const char *keys, *part;
	} cases[] = {
		{"\"use_dora\": true", "use_dora: DoRA"},
		{"\"lora_bias\": true", "lora_bias: biases"},
		{"\"modules_to_save\": [\"lm_head\"]", "modules_to_save: whole modules"},
		{"\"trainable_token_indices\": [1, 2]", "trainable_token_indices: tokens"},
		{"\"trainable_token_indices\": {\"embed_tokens\": [1]}",
			"trainable_token_indices: tokens"},
		{"\"layer_replication\": [[0, 2]]", "layer_replication: layers"},
		{"\"target_parameters\": [\"experts.down_proj\"]", "target_parameters: parameters"},
		{"\"alora_invocation_tokens\": [1]", "alora_invocation_tokens: an activated"},
		{"\"use_qalora\": true", "use_qalora: QALoRA"},
		{"\"use_bdlora\": {\"nblocks\": 2}", "use_bdlora: factors"},
		{"\"arrow_config\": {\"top_k\": 3}", "arrow_config: Arrow"},
		{"\"kasa_config\": {\"beta\": 1}", "kasa_config: KaSA"},
		{"\"monteclora_config\": {\"n\": 1}", "monteclora_config: MonteCLoRA"},
		{"\"velora_config\": {\"scale\": 1}", "velora_config: VeLoRA"},
		{"\"megatron_config\": {\"a\": 1}", "megatron_config: modules"},
		{"\"ensure_weight_tying\": true", "ensure_weight_tying: tied"},
		{"\"bias\": \"all\"", "bias: \"all\""},
		{"\"bias\": \"lora_only\"", "bias: \"lora_only\""},
		{"\"init_lora_weights\": \"pissa\"", "init_lora_weights: \"pissa\""},
		{"\"init_lora_weights\": \"pissa_niter_16\"",
			"init_lora_weights: \"pissa_niter_16\""},
		{"\"init_lora_weights\": \"olora\"", "init_lora_weights: \"olora\""},
		{"\"init_lora_weights\": \"corda\"", "init_lora_weights: \"corda\""},
		{"\"init_lora_weights\": \"loftq\"", "init_lora_weights: \"loftq\""},
		{"\"init_lora_weights\": \"lora_ga\"", "init_lora_weights: \"lora_ga\""},
		{"\"init_lora_weights\": 3", "init_lora_weights: \"integer\""},
		{"\"of_tomorrow\": true", "\"of_tomorrow\" is not a known key"},
		{"\"of_tomorrow\": 0.5", "\"of_tomorrow\" is not a known key"},
		{"\"of_tomorrow\": \"x\"", "\"of_tomorrow\" is not a known key"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		refuse(cases[i].keys, CWP_EUNKNOWN, cases[i].part);
}

static void test_refused_values(void **state)
{
	static const struct {
		const char *keys;
		int code;
		const char *part;
	} cases[] = {
		{"\"r\": 0", CWP_EVALUE, "r"},
		{"\"r\": -4", CWP_EVALUE, "r"},
		{"\"r\": 8.0", CWP_EVALUE, "r"},
		{"\"r\": 65537", CWP_EVALUE, "r"},
		{"\"r\": \"8\"", CWP_EVALUE, "r"},
		{"\"lora_alpha\": \"16\"", CWP_EVALUE, "lora_alpha"},
		{"\"use_rslora\": 1", CWP_EVALUE, "use_rslora"},
		{"\"fan_in_fan_out\": \"no\"", CWP_EVALUE, "fan_in_fan_out"},
		{"\"bias\": 1", CWP_EVALUE, "bias"},
		{"\"rank_pattern\": [1]", CWP_EVALUE, "rank_pattern"},
		{"\"rank_pattern\": {\"q_proj\": 0}", CWP_EVALUE,
			"rank_pattern: \"q_proj\": a rank"},
		{"\"rank_pattern\": {\"q_proj\": 2.5}", CWP_EVALUE,
			"rank_pattern: \"q_proj\": a rank"},
		{"\"rank_pattern\": {\"q_proj\": 70000}", CWP_EVALUE,
			"rank_pattern: \"q_proj\": a rank"},
		{"\"rank_pattern\": {\"q_proj\": null}", CWP_EVALUE,
			"rank_pattern: \"q_proj\": a rank"},
		{"\"alpha_pattern\": {\"q_proj\": \"2\"}", CWP_EVALUE,
			"alpha_pattern: \"q_proj\": alpha"},
		{"\"rank_pattern\": {\"(q_proj\": 2}", CWP_EVALUE,
			"rank_pattern: \"(q_proj\" is no regular expression"},
		{"\"alpha_pattern\": {\"q_proj)\": 2}", CWP_EVALUE,
			"alpha_pattern: \"q_proj)\" is no regular expression"},
		{"\"rank_pattern\": {\"\\\\C\": 2}", CWP_EVALUE,
			"is no regular expression that can be used"},
		{"\"target_modules\": \"[q\"", CWP_EVALUE,
			"target_modules: \"[q\" is no regular expression"},
		{"\"target_modules\": 3", CWP_EVALUE, "target_modules: must be"},
		{"\"target_modules\": [\"q_proj\", 3]", CWP_EVALUE, "target_modules: element 1"},
		{"\"exclude_modules\": {}", CWP_EVALUE, "exclude_modules: must be"},
		{"\"layers_to_transform\": \"1\"", CWP_EVALUE, "layers_to_transform: must be"},
		{"\"layers_to_transform\": [1, -2]", CWP_EVALUE, "layers_to_transform: must be"},
		{"\"layers_to_transform\": [1.5]", CWP_EVALUE, "layers_to_transform: must be"},
		{"\"layers_to_transform\": 1, \"target_modules\": \".*\"", CWP_EVALUE,
			"layers_to_transform: cannot"},
		{"\"layers_to_transform\": 1, \"layers_pattern\": [1]", CWP_EVALUE,
			"layers_pattern: must be"},
		{"\"layers_to_transform\": 1, \"layers_pattern\": 1", CWP_EVALUE,
			"layers_pattern: must be"},
		{"\"layers_to_transform\": 1, \"layers_pattern\": \"(?P<idx>h)\"", CWP_EVALUE,
			"layers_pattern: \"(?P<idx>h)\" is no"},
		{"\"layers_to_transform\": 1, \"layers_pattern\": \"(\"", CWP_EVALUE,
			"layers_pattern: \"(\" is no"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		refuse(cases[i].keys, cases[i].code, cases[i].part);
}

static void test_refused_files(void **state)
{
	struct cwe_adapter_config *c = NULL;
	struct cwb_err err = {0};
	char *none = path_join(folder, "none");

	(void)state;
	assert_refused(cwe_adapter_config_read(none, &c, &err), &err, CWP_EMISSING,
		"no adapter_config.json");
	free(none);
	cwb_err_clear(&err);
	folder_text(folder, "adapter_config.json", "[]");
	assert_refused(cwe_adapter_config_read(folder, &c, &err), &err, CWP_EFORMAT, "no object");
	cwb_err_clear(&err);
	folder_text(folder, "adapter_config.json", "{\"r\": 8");
	assert_refused(cwe_adapter_config_read(folder, &c, &err), &err, CWP_EFORMAT,
		"adapter_config.json");
	cwb_err_clear(&err);
	folder_text(folder, "adapter_config.json", "{\"peft_type\": \"LORA\", \"r\": 8, \"r\": 4}");
	assert_refused(cwe_adapter_config_read(folder, &c, &err), &err, CWP_EFORMAT, "duplicate");
	cwb_err_clear(&err);
	folder_text(folder, "adapter_config.json", "{\"r\": 8}");
	assert_refused(cwe_adapter_config_read(folder, &c, &err), &err, CWP_EMISSING, "peft_type");
	cwb_err_clear(&err);
	folder_text(folder, "adapter_config.json", "{\"peft_type\": \"IA3\"}");
	assert_refused(cwe_adapter_config_read(folder, &c, &err), &err, CWP_EUNKNOWN,
		"peft_type: \"IA3\" is not supported; LORA is");
	cwb_err_clear(&err);
	folder_text(folder, "adapter_config.json", "{\"peft_type\": 7}");
	assert_refused(cwe_adapter_config_read(folder, &c, &err), &err, CWP_EVALUE, "peft_type");
}

/* Patterns of strangers end with an error, never with a wait. */
static void test_limits(void **state)
{
	struct cwe_adapter_config *c;
	struct cwb_err err = {0};
	struct blob b = {0};
	uint64_t rank;
	double scale;
	char module[600];

	(void)state;
	c = must_read("\"rank_pattern\": {\"((a+)+)+[bc]\": 4}");
	memset(module, 'a', sizeof module - 1);
	module[sizeof module - 1] = 0;
	assert_refused(cwe_adapter_config_scale(c, module, &rank, &scale, &err), &err, CWP_ELIMIT,
		"too many steps");
	cwe_adapter_config_free(c);
	cwb_err_clear(&err);
	c = must_read("\"target_modules\": \"(a|aa|aaa)*[bc]\"");
	assert_refused(cwe_adapter_config_targets(c, module, &err), &err, CWP_ELIMIT,
		"target_modules: \"(a|aa|aaa)*[bc]\" takes too many steps");
	cwe_adapter_config_free(c);

	blob_text(&b, "\"target_modules\": \"");
	for (int i = 0; i < 5000; i++)
		blob_text(&b, "a");
	blob_text(&b, "\"");
	blob_add(&b, "", 1);
	refuse((const char *)b.data, CWP_ELIMIT, "a pattern of 5000 bytes");
	blob_free(&b);
	memset(&b, 0, sizeof b);
	blob_text(&b, "\"target_modules\": \"");
	for (int i = 0; i < 100; i++)
		blob_text(&b, "(");
	for (int i = 0; i < 100; i++)
		blob_text(&b, ")");
	blob_text(&b, "\"");
	blob_add(&b, "", 1);
	refuse((const char *)b.data, CWP_EVALUE, "is no regular expression that can be used here");
	blob_free(&b);
}

static void add_rules(struct blob *b, const char *format, int n)
{
	blob_text(b, "\"rank_pattern\": {");
	for (int i = 0; i < n; i++) {
		char one[64];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(one, sizeof one, format, i ? ", " : "", i);
#pragma GCC diagnostic pop
		blob_text(b, one);
	}
	blob_text(b, "}");
	blob_add(b, "", 1);
}

static void test_many_rules(void **state)
{
	struct blob b = {0};

	(void)state;
	/* Names are cheap: EVA gives every module its own rank. */
	add_rules(&b, "%s\"layers.%d.q_proj\": 5", 20000);
	expect_scale((const char *)b.data, "model.layers.19999.q_proj", 5, 8.0 / 5);
	blob_free(&b);
	memset(&b, 0, sizeof b);
	add_rules(&b, "%s\"layers.%d.*q_proj\": 5", 257);
	refuse((const char *)b.data, CWP_ELIMIT, "rank_pattern: 257 regular expressions");
	blob_free(&b);
	memset(&b, 0, sizeof b);
	add_rules(&b, "%s\"%d\": 5", 65537);
	refuse((const char *)b.data, CWP_ELIMIT, "rank_pattern: 65537 entries");
	blob_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scales),
		cmocka_unit_test(test_rule_names),
		cmocka_unit_test(test_plain_as_expression),
		cmocka_unit_test(test_targets),
		cmocka_unit_test(test_layer_of_experts),
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_refused_features),
		cmocka_unit_test(test_refused_values),
		cmocka_unit_test(test_refused_files),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_many_rules),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
