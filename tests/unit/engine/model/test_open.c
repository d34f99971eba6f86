/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Opening a model whose tensors are not those of its config.json: missing, of another shape, more than it has, and below
 * a part of a multimodal model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/engine/model/synthetic.h"

static const char *const configs[] = {SYNTHETIC_CONFIG,
	"{\"model_type\": \"gemma3_text\", \"num_hidden_layers\": 2, \"hidden_size\": 12, \"num_attention_heads\": 2,"
	" \"num_key_value_heads\": 1, \"head_dim\": 6, \"intermediate_size\": 17, \"vocab_size\": 31, \"sliding_window\": 2}",
	"{\"model_type\": \"phi3\", \"num_hidden_layers\": 2, \"hidden_size\": 24, \"num_attention_heads\": 2,"
	" \"intermediate_size\": 17, \"vocab_size\": 31, \"pad_token_id\": 0}",
	"{\"model_type\": \"qwen2_moe\", \"num_hidden_layers\": 2, \"hidden_size\": 12, \"num_attention_heads\": 2,"
	" \"num_key_value_heads\": 1, \"intermediate_size\": 9, \"vocab_size\": 31, \"num_experts\": 3, \"num_experts_per_tok\": 2,"
	" \"moe_intermediate_size\": 7, \"shared_expert_intermediate_size\": 10, \"mlp_only_layers\": [1]}"};

#define CONFIGS (sizeof configs / sizeof *configs)

/* A view of some of the weights, in a test's own array. */
struct view {
	struct cwe_weights base;
	struct cwe_tensor tensor[160];
};

static void copy_all(const struct synthetic *s, struct view *v)
{
	*v = (struct view){.base = {.ops = s->source.weights->ops, .count = s->source.weights->count}};
	assert_true(v->base.count <= sizeof v->tensor / sizeof *v->tensor);
	memcpy(v->tensor, s->source.weights->tensors, v->base.count * sizeof *v->tensor);
	v->base.tensors = v->tensor;
}

static void check_refused(struct synthetic *s, struct view *v, int code, const char *name)
{
	struct cwb_err err = {0};
	struct cwe_model m;
	assert_int_equal(cwe_model_open(&s->source, &v->base, &s->device, &m, &err), code);
	if (strstr(err.message, name) == NULL) {
		fail_msg("%s is not named: %s", name, err.message);
	}
}

static void each_missing(void **state)
{
	(void)state;
	for (size_t c = 0; c < CONFIGS; c++) {
		struct synthetic s;
		struct view v;
		synthetic_open(&s, configs[c]);
		for (size_t i = 0; i < s.source.weights->count; i++) {
			copy_all(&s, &v);
			v.base.count--;
			for (size_t k = i; k < v.base.count; k++) {
				v.tensor[k] = v.tensor[k + 1];
			}
			check_refused(&s, &v, CWP_EMISSING, s.source.weights->tensors[i].name);
		}
		synthetic_close(&s);
	}
}

static void each_of_another_shape(void **state)
{
	(void)state;
	for (size_t c = 0; c < CONFIGS; c++) {
		struct synthetic s;
		struct view v;
		synthetic_open(&s, configs[c]);
		for (size_t i = 0; i < s.source.weights->count; i++) {
			copy_all(&s, &v);
			v.tensor[i].shape[0]++;
			check_refused(&s, &v, CWP_ESHAPE, v.tensor[i].name);
			copy_all(&s, &v);
			v.tensor[i].rank ^= 3; /* a matrix for a vector, and the other way */
			check_refused(&s, &v, CWP_ESHAPE, v.tensor[i].name);
			copy_all(&s, &v);
			if (v.tensor[i].rank == 2) {
				v.tensor[i].shape[1]--;
				check_refused(&s, &v, CWP_ESHAPE, v.tensor[i].name);
			}
		}
		synthetic_close(&s);
	}
}

struct names {
	size_t count;
	char text[4096];
};

static int add_name(void *arg, const char *name)
{
	struct names *n = arg;
	n->count++;
	strncat(n->text, name, sizeof n->text - strlen(n->text) - 2);
	strcat(n->text, " ");
	return n->count == 4; /* the visitor may end it */
}

static void none_is_extra(void **state)
{
	(void)state;
	for (size_t c = 0; c < CONFIGS; c++) {
		struct synthetic s;
		struct names n = {0};
		synthetic_open(&s, configs[c]);
		assert_int_equal(cwe_model_extra(&s.model, add_name, &n), 0);
		assert_string_equal(n.text, "");
		synthetic_close(&s);
	}
}

/* The biases of a model that says it has none, and a layer behind the last. */
static void extra(void **state)
{
	struct synthetic s;
	struct cwb_err err = {0};
	struct cwe_model m;
	struct names n = {0};
	(void)state;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	(void)json_object_set_new(s.source.config, "mlp_bias", json_false());
	assert_int_equal(cwe_model_open(&s.source, NULL, &s.device, &m, &err), 0);
	assert_int_equal(cwe_model_extra(&m, add_name, &n), 1);
	assert_string_equal(n.text, "model.layers.0.mlp.down_proj.bias model.layers.0.mlp.gate_proj.bias "
		"model.layers.0.mlp.up_proj.bias model.layers.1.mlp.down_proj.bias ");
	char text[1024];
	assert_int_equal(cwe_model_extra_text(&m, text, sizeof text), 6);
	assert_non_null(strstr(text, "6 tensors"));
	assert_non_null(strstr(text, "model.layers.1.mlp.up_proj.bias"));
	assert_int_equal(cwe_model_extra_text(&s.model, text, sizeof text), 0);
	assert_string_equal(text, "");
	(void)json_object_set_new(s.source.config, "mlp_bias", json_true());
	(void)json_object_set_new(s.source.config, "num_hidden_layers", json_integer(1));
	assert_int_equal(cwe_model_open(&s.source, NULL, &s.device, &m, &err), 0);
	n = (struct names){0};
	assert_int_equal(cwe_model_extra(&m, add_name, &n), 1);
	assert_non_null(strstr(n.text, "model.layers.1.input_layernorm.weight"));
	synthetic_close(&s);
}

/* Names of all tensors below another part, by both conventions; what lies beside the text model does not count. */
static void check_wrapped(const char *body, const char *head)
{
	static char name[160][160];
	static const char tower[] = "aaa.vision_tower.weight";
	struct synthetic s;
	struct cwb_err err = {0};
	struct cwe_model m;
	struct names n = {0};
	struct view v;
	char module[CWE_MODULE_NAME_MAX], want[CWE_MODULE_NAME_MAX];
	synthetic_open(&s, SYNTHETIC_CONFIG);
	copy_all(&s, &v);
	/* valgrind takes glibc's checked memmove for memcpy. */
	for (size_t i = v.base.count++; i > 0; i--) {
		v.tensor[i] = v.tensor[i - 1];
	}
	v.tensor[0].name = tower;
	/* The order of names stays: lm_head is before or between as its new name wants it. */
	size_t at = 1;
	for (size_t i = 1; i < v.base.count; i++) {
		const char *was = v.tensor[i].name;
		int is_head = strncmp(was, "model.", 6) != 0;
		(void)snprintf(name[i], sizeof name[i], "%s%s", is_head ? head : body, is_head ? "" : was + 6);
		v.tensor[i].name = name[i];
		at = is_head ? i : at;
	}
	for (; at + 1 < v.base.count && strcmp(v.tensor[at].name, v.tensor[at + 1].name) > 0; at++) {
		struct cwe_tensor t = v.tensor[at];
		v.tensor[at] = v.tensor[at + 1];
		v.tensor[at + 1] = t;
	}
	json_t *text = s.source.config;
	s.source.config = json_pack("{s: s, s: b, s: o}", "model_type", "mistral3", "tie_word_embeddings", 0,
		"text_config", json_deep_copy(text));
	json_t *inner = json_object_get(s.source.config, "text_config");
	(void)json_object_set_new(inner, "model_type", json_string("mistral"));
	(void)json_object_del(inner, "attention_bias");
	(void)json_object_del(inner, "mlp_bias");
	(void)json_object_set_new(inner, "sliding_window", json_null());
	if (cwe_model_open(&s.source, &v.base, &s.device, &m, &err) != 0) {
		fail_msg("%s: %s", body, err.message);
	}
	assert_string_equal(m.head, head);
	(void)snprintf(want, sizeof want, "%slayers.1.mlp.up_proj", body);
	assert_string_equal(cwe_module_name(&m, 1, 5, module, sizeof module), want);
	/* Mistral has no biases: those of the plain model are extra, the vision tower is not. */
	assert_int_equal(cwe_model_extra(&m, add_name, &n), 1);
	assert_null(strstr(n.text, "vision"));
	assert_non_null(strstr(n.text, "bias"));
	json_decref(text);
	synthetic_close(&s);
}

static void wrapped(void **state)
{
	(void)state;
	check_wrapped("language_model.model.", "language_model.lm_head.weight");
	check_wrapped("model.language_model.", "lm_head.weight");
}

/* Tied by its config, with an output projection beside: another one counts, the same one changes nothing. */
static void tied_with_a_head(void **state)
{
	struct synthetic s;
	struct cwb_err err = {0};
	struct cwe_model m;
	uint64_t n, k;
	(void)state;
	synthetic_open(&s, SYNTHETIC_CONFIG);
	float *embedding = synthetic_tensor(&s, "model.embed_tokens.weight", &n), *head = synthetic_tensor(&s, "lm_head.weight", &k);
	assert_int_equal(n, k);
	(void)json_object_set_new(s.source.config, "tie_word_embeddings", json_true());
	assert_int_equal(cwe_model_open(&s.source, NULL, &s.device, &m, &err), 0);
	assert_false(m.arch.tied);
	memcpy(head, embedding, n * sizeof *head);
	assert_int_equal(cwe_model_open(&s.source, NULL, &s.device, &m, &err), 0);
	assert_true(m.arch.tied);
	head[n - 1] += 1;
	assert_int_equal(cwe_model_open(&s.source, NULL, &s.device, &m, &err), 0);
	assert_false(m.arch.tied);
	synthetic_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(each_missing), cmocka_unit_test(each_of_another_shape),
		cmocka_unit_test(none_is_extra), cmocka_unit_test(extra), cmocka_unit_test(tied_with_a_head), cmocka_unit_test(wrapped)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
