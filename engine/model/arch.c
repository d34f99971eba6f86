/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reads config.json of the Llama architecture into struct cwe_arch. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/arch.h"

/* The largest value of any size in config.json: bounds products of two of them to 64 bits. */
#define SIZE_LIMIT (1u << 24)

static int read_size(const json_t *config, const char *key, uint32_t standard, uint32_t *ret, struct cwb_err *err)
{
	const json_t *v = json_object_get(config, key);
	if (v == NULL || json_is_null(v)) {
		if (standard == 0) {
			return cwb_err_set(err, CWP_EMISSING, "config.json: key \"%s\" is missing", key);
		}
		*ret = standard;
		return 0;
	}
	if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > SIZE_LIMIT) {
		return cwb_err_set(err, CWP_EVALUE, "config.json: \"%s\" must be a whole number from 1 to %u", key, SIZE_LIMIT);
	}
	*ret = (uint32_t)json_integer_value(v);
	return 0;
}

static int read_number(const json_t *object, const char *key, double standard, double *ret, struct cwb_err *err)
{
	const json_t *v = json_object_get(object, key);
	if (v == NULL || json_is_null(v)) {
		if (isnan(standard)) {
			return cwb_err_set(err, CWP_EMISSING, "config.json: key \"%s\" is missing", key);
		}
		*ret = standard;
		return 0;
	}
	if (!json_is_number(v) || !isfinite(json_number_value(v)) || json_number_value(v) <= 0) {
		return cwb_err_set(err, CWP_EVALUE, "config.json: \"%s\" must be a number above 0", key);
	}
	*ret = json_number_value(v);
	return 0;
}

static int read_flag(const json_t *config, const char *key, int *ret, struct cwb_err *err)
{
	const json_t *v = json_object_get(config, key);
	if (v == NULL || json_is_null(v)) {
		*ret = 0;
		return 0;
	}
	if (!json_is_boolean(v)) {
		return cwb_err_set(err, CWP_EVALUE, "config.json: \"%s\" must be true or false", key);
	}
	*ret = json_is_true(v);
	return 0;
}

static int read_rope(const json_t *config, struct cwe_rope *rope, struct cwb_err *err)
{
	const json_t *parameters = json_object_get(config, "rope_parameters");
	const json_t *scaling = json_object_get(config, "rope_scaling");
	double theta = 10000.0;
	int r = read_number(config, "rope_theta", theta, &theta, err);
	if (r == 0 && json_is_object(parameters)) {
		r = read_number(parameters, "rope_theta", theta, &theta, err);
	}
	if (r != 0) {
		return r;
	}
	if (theta < 1) {
		return cwb_err_set(err, CWP_EVALUE, "config.json: \"rope_theta\" %g must be at least 1", theta);
	}
	rope->theta = theta;
	rope->kind = CWE_ROPE_DEFAULT;
	const json_t *p = json_is_object(scaling) && json_object_size(scaling) > 0 ? scaling : parameters;
	if (!json_is_object(p)) {
		return 0;
	}
	const json_t *kind = json_object_get(p, "rope_type");
	if (kind == NULL) {
		kind = json_object_get(p, "type");
	}
	const char *name = kind == NULL || json_is_null(kind) ? "default" : json_string_value(kind);
	if (name == NULL) {
		return cwb_err_set(err, CWP_EVALUE, "config.json: \"rope_type\" must be a string");
	}
	if (strcmp(name, "default") == 0) {
		return 0;
	}
	if (strcmp(name, "linear") == 0) {
		rope->kind = CWE_ROPE_LINEAR;
		return read_number(p, "factor", NAN, &rope->factor, err);
	}
	if (strcmp(name, "llama3") != 0) {
		return cwb_err_set(err, CWP_EVALUE,
			"config.json: rope type \"%s\" is not supported; supported are default, linear, llama3", name);
	}
	rope->kind = CWE_ROPE_LLAMA3;
	if ((r = read_number(p, "factor", NAN, &rope->factor, err)) != 0 ||
		(r = read_number(p, "low_freq_factor", NAN, &rope->low_freq_factor, err)) != 0 ||
		(r = read_number(p, "high_freq_factor", NAN, &rope->high_freq_factor, err)) != 0) {
		return r;
	}
	if (rope->high_freq_factor <= rope->low_freq_factor) {
		return cwb_err_set(err, CWP_EVALUE, "config.json: \"high_freq_factor\" %g must be above \"low_freq_factor\" %g",
			rope->high_freq_factor, rope->low_freq_factor);
	}
	return read_number(p, "original_max_position_embeddings", NAN, &rope->original_context, err);
}

/* Refuses what would change the numbers silently. */
static int check_family(const json_t *config, const char **ret_family, struct cwb_err *err)
{
	const char *family = json_string_value(json_object_get(config, "model_type"));
	const json_t *list = json_object_get(config, "architectures");
	const char *arch = json_string_value(json_array_get(list, 0));
	if (family == NULL) {
		return cwb_err_set(err, CWP_EMISSING, "config.json: key \"model_type\" is missing");
	}
	if (strcmp(family, "llama") != 0) {
		return cwb_err_set(err, CWP_EUNKNOWN,
			"config.json: model_type \"%.60s\" is not supported; supported is llama", family);
	}
	if (arch != NULL && strcmp(arch, "LlamaForCausalLM") != 0) {
		return cwb_err_set(err, CWP_EUNKNOWN,
			"config.json: architecture \"%.60s\" is not supported; supported is LlamaForCausalLM", arch);
	}
	const json_t *hidden_act = json_object_get(config, "hidden_act");
	const char *act = json_string_value(hidden_act);
	if (hidden_act != NULL && (act == NULL || strcmp(act, "silu") != 0)) {
		return cwb_err_set(err, CWP_EVALUE, "config.json: hidden_act \"%.40s\" is not supported; supported is silu",
			act != NULL ? act : "(no string)");
	}
	static const char *const refused[] = {"sliding_window", "partial_rotary_factor", "attn_logit_softcapping",
		"final_logit_softcapping", "num_local_experts", "num_experts"};
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		const json_t *v = json_object_get(config, refused[i]);
		/* A partial rotary factor of 1 is the whole. */
		int harmless = json_is_null(v) || (i == 1 && json_is_number(v) && json_number_value(v) == 1.0);
		if (v != NULL && !harmless) {
			return cwb_err_set(err, CWP_EVALUE, "config.json: key \"%s\" is not supported for model_type llama", refused[i]);
		}
	}
	*ret_family = family;
	return 0;
}

static int check_shapes(const struct cwe_arch *a, struct cwb_err *err)
{
	if (a->heads % a->kv_heads != 0) {
		return cwb_err_set(err, CWP_ESHAPE, "config.json: num_key_value_heads %u does not divide num_attention_heads %u",
			a->kv_heads, a->heads);
	}
	if (a->head_dim % 2 != 0 || a->head_dim > 512) {
		return cwb_err_set(err, CWP_ESHAPE, "config.json: head_dim %u must be even and at most 512", a->head_dim);
	}
	if ((uint64_t)a->heads * a->head_dim > SIZE_LIMIT) {
		return cwb_err_set(err, CWP_ESHAPE, "config.json: %u heads of %u are too wide", a->heads, a->head_dim);
	}
	return 0;
}

int cwe_arch_read(const json_t *config, struct cwe_arch *ret, struct cwb_err *err)
{
	struct cwe_arch a = {.glu = CWP_GLU_SILU};
	const char *family = NULL;
	int r = check_family(config, &family, err);
	if (r != 0) {
		return r;
	}
	strncpy(a.family, family, sizeof a.family - 1);
	double eps = 0;
	if ((r = read_size(config, "num_hidden_layers", 0, &a.layers, err)) != 0 ||
		(r = read_size(config, "hidden_size", 0, &a.hidden, err)) != 0 ||
		(r = read_size(config, "num_attention_heads", 0, &a.heads, err)) != 0 ||
		(r = read_size(config, "num_key_value_heads", a.heads, &a.kv_heads, err)) != 0 ||
		(r = read_size(config, "head_dim", a.hidden / a.heads ? a.hidden / a.heads : 1, &a.head_dim, err)) != 0 ||
		(r = read_size(config, "intermediate_size", 0, &a.intermediate, err)) != 0 ||
		(r = read_size(config, "vocab_size", 0, &a.vocabulary, err)) != 0 ||
		(r = read_size(config, "max_position_embeddings", 2048, &a.context, err)) != 0 ||
		(r = read_number(config, "rms_norm_eps", 1e-6, &eps, err)) != 0 ||
		(r = read_flag(config, "tie_word_embeddings", &a.tied, err)) != 0 ||
		(r = read_flag(config, "attention_bias", &a.attention_bias, err)) != 0 ||
		(r = read_flag(config, "mlp_bias", &a.mlp_bias, err)) != 0 ||
		(r = read_rope(config, &a.rope, err)) != 0 || (r = check_shapes(&a, err)) != 0) {
		return r;
	}
	a.norm_eps = (float)eps;
	*ret = a;
	return 0;
}

void cwe_rope_frequencies(const struct cwe_arch *arch, float *inverse)
{
	const struct cwe_rope *rope = &arch->rope;
	uint32_t half = arch->head_dim / 2;
	for (uint32_t i = 0; i < half; i++) {
		double f = 1.0 / pow(rope->theta, 2.0 * i / arch->head_dim);
		if (rope->kind == CWE_ROPE_LINEAR) {
			f /= rope->factor;
		} else if (rope->kind == CWE_ROPE_LLAMA3) {
			/* Long waves are stretched, short ones kept, those between blended: Llama 3.1. */
			double wave = 2.0 * M_PI / f;
			double low = rope->original_context / rope->low_freq_factor;
			double high = rope->original_context / rope->high_freq_factor;
			if (wave > low) {
				f /= rope->factor;
			} else if (wave >= high) {
				double smooth = (rope->original_context / wave - rope->low_freq_factor) /
					(rope->high_freq_factor - rope->low_freq_factor);
				f = (1.0 - smooth) * f / rope->factor + smooth * f;
			}
		}
		inverse[i] = (float)f;
	}
}

void cwe_rope_tables(const struct cwe_arch *arch, uint64_t positions, float *cosine, float *sine)
{
	uint32_t half = arch->head_dim / 2;
	float inverse[256];
	cwe_rope_frequencies(arch, inverse);
	for (uint64_t p = 0; p < positions; p++) {
		for (uint32_t i = 0; i < half; i++) {
			float angle = (float)p * inverse[i];
			cosine[p * half + i] = cosf(angle);
			sine[p * half + i] = sinf(angle);
		}
	}
}
