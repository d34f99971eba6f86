/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reads config.json into struct cwe_arch, by the family's row. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/arch.h"
#include "engine/model/config.h"
#include "engine/model/family.h"

/* architectures names the class that made the weights: one with another head has another output. */
static int check_architecture(const json_t *config, const char *supported, struct cwb_err *err)
{
	char text[CWE_CONFIG_TEXT];
	const json_t *list = cwe_config_get(config, "architectures"), *first = json_array_get(list, 0);
	if (list == NULL || (json_is_array(list) && first == NULL)) {
		return 0;
	}
	if (!json_is_string(first) || strcmp(json_string_value(first), supported) != 0) {
		return cwb_err_set(err, CWP_EUNKNOWN, "architecture %s is not supported; supported for this model_type is %s",
			cwe_config_text(first != NULL ? first : list, text), supported);
	}
	return 0;
}

static int find_family(const json_t *config, const char *standard, const struct cwe_family **ret, struct cwb_err *err)
{
	char text[CWE_CONFIG_TEXT], names[256];
	const json_t *v = cwe_config_get(config, "model_type");
	const char *type = v == NULL ? standard : json_string_value(v);
	if (v == NULL && standard == NULL) {
		return cwb_err_set(err, CWP_EMISSING, "key \"model_type\" is missing");
	}
	*ret = type != NULL ? cwe_family_find(type) : NULL;
	if (*ret == NULL) {
		return cwb_err_set(err, CWP_EUNKNOWN, "model_type %s is not supported; supported are %s", cwe_config_text(v, text),
			cwe_family_names(names, sizeof names));
	}
	return 0;
}

static int read_choice(const json_t *config, const struct cwe_family_choice *c, int *ret, struct cwb_err *err)
{
	*ret = c->standard;
	return c->key == NULL ? 0 : cwe_config_flag(config, c->key, c->standard, ret, err);
}

static int read_activation(const json_t *config, const struct cwe_family *f, uint32_t *ret, struct cwb_err *err)
{
	char text[CWE_CONFIG_TEXT];
	const json_t *v = cwe_config_get(config, f->activation_key);
	const char *name = v == NULL ? f->activation : json_string_value(v);
	if (name != NULL && (strcmp(name, "silu") == 0 || strcmp(name, "swish") == 0)) {
		*ret = CWP_GLU_SILU;
	} else if (name != NULL && (strcmp(name, "gelu_pytorch_tanh") == 0 ||
			(strcmp(name, "gelu") == 0 && (f->flags & CWE_FAMILY_GELU_IS_TANH)))) {
		*ret = CWP_GLU_GELU_TANH;
	} else {
		return cwb_err_set(err, CWP_EVALUE, "\"%s\" is %s; supported are silu, gelu_pytorch_tanh",
			f->activation_key, cwe_config_text(v, text));
	}
	return 0;
}

static int read_heads(const json_t *config, const struct cwe_family *f, struct cwe_arch *a, struct cwb_err *err)
{
	const json_t *kv = json_object_get(config, "num_key_value_heads");
	int as_heads = f->kv_heads == 0 || (json_is_null(kv) && (f->flags & CWE_FAMILY_KV_NULL));
	int r = cwe_config_size(config, "num_attention_heads", f->heads, &a->heads, err);
	r = r == 0 ? cwe_config_size(config, "num_key_value_heads", as_heads ? a->heads : f->kv_heads, &a->kv_heads, err) : r;
	if (r != 0) {
		return r;
	}
	if (f->head_dim == 0 && cwe_config_get(config, "head_dim") == NULL && a->hidden % a->heads != 0) {
		return cwb_err_set(err, CWP_ESHAPE, "num_attention_heads %u does not divide hidden_size %u, and there is no head_dim",
			a->heads, a->hidden);
	}
	uint32_t standard = f->head_dim > 0 ? f->head_dim : a->hidden / a->heads;
	if ((r = cwe_config_size(config, "head_dim", standard > 0 ? standard : 1, &a->head_dim, err)) != 0) {
		return r;
	}
	if (a->heads % a->kv_heads != 0) {
		return cwb_err_set(err, CWP_ESHAPE, "num_key_value_heads %u does not divide num_attention_heads %u", a->kv_heads,
			a->heads);
	}
	if (a->head_dim % 2 != 0 || a->head_dim > CWE_HEAD_DIM_MAX) {
		return cwb_err_set(err, CWP_ESHAPE, "head_dim %u must be even and at most %d", a->head_dim, CWE_HEAD_DIM_MAX);
	}
	if ((uint64_t)a->heads * a->head_dim > CWE_CONFIG_SIZE_MAX) {
		return cwb_err_set(err, CWP_ESHAPE, "%u heads of %u are too wide; at most %u together", a->heads, a->head_dim,
			CWE_CONFIG_SIZE_MAX);
	}
	return 0;
}

static int read_sizes(const json_t *config, const struct cwe_family *f, struct cwe_arch *a, struct cwb_err *err)
{
	int r;
	if ((r = cwe_config_size(config, "num_hidden_layers", 0, &a->layers, err)) != 0 ||
		(r = cwe_config_size(config, "hidden_size", 0, &a->hidden, err)) != 0 ||
		(r = read_heads(config, f, a, err)) != 0 ||
		(r = cwe_config_size(config, "intermediate_size", f->intermediate, &a->intermediate, err)) != 0 ||
		(r = cwe_config_size(config, "vocab_size", f->vocabulary, &a->vocabulary, err)) != 0 ||
		(r = cwe_config_size(config, "max_position_embeddings", f->context, &a->context, err)) != 0) {
		return r;
	}
	if (a->layers > CWE_LAYERS_MAX) {
		return cwb_err_set(err, CWP_EVALUE, "\"num_hidden_layers\" is %u, and must be at most %d", a->layers,
			CWE_LAYERS_MAX);
	}
	return 0;
}

/* A soft cap: null switches it off. */
static int read_softcap(const json_t *config, const char *key, double standard, float *ret, struct cwb_err *err)
{
	double cap = json_is_null(json_object_get(config, key)) ? 0 : standard;
	int r = cwe_config_number(config, key, cap, &cap, err);
	*ret = (float)cap;
	return r;
}

static int read_scales(const json_t *config, const struct cwe_family *f, struct cwe_arch *a, struct cwb_err *err)
{
	double eps = 0, query = a->head_dim;
	int r = cwe_config_number(config, "rms_norm_eps", f->norm_eps, &eps, err);
	if (r == 0 && f->query_scale > 0) {
		r = cwe_config_number(config, "query_pre_attn_scalar", f->query_scale, &query, err);
	}
	if (r == 0 && (f->flags & CWE_FAMILY_ATTENTION_SOFTCAP)) {
		r = read_softcap(config, "attn_logit_softcapping", f->attention_softcap, &a->attention_softcap, err);
	}
	if (r == 0 && (f->flags & CWE_FAMILY_LOGIT_SOFTCAP)) {
		r = read_softcap(config, "final_logit_softcapping", f->logit_softcap, &a->logit_softcap, err);
	}
	a->norm_eps = (float)eps;
	a->norm_offset = f->norm_offset;
	a->embedding_scale = f->flags & CWE_FAMILY_SCALED_EMBEDDING ? (float)sqrt(a->hidden) : 1;
	a->attention_scale = (float)(1 / sqrt(query));
	return r;
}

static int read_moe(const json_t *config, const struct cwe_family_moe *f, struct cwe_arch *a, struct cwb_err *err)
{
	struct cwe_moe *m = &a->moe;
	int other = f->experts_other_key != NULL && cwe_config_get(config, f->experts_key) == NULL;
	const char *key = other ? f->experts_other_key : f->experts_key;
	int r;
	*m = f->names;
	m->intermediate = a->intermediate;
	if ((r = cwe_config_size(config, key, f->experts, &m->experts, err)) != 0 ||
		(r = cwe_config_size(config, "num_experts_per_tok", f->top_k, &m->top_k, err)) != 0 ||
		(r = read_choice(config, &f->normalize, &m->normalize, err)) != 0) {
		return r;
	}
	if (f->intermediate > 0 &&
		(r = cwe_config_size(config, "moe_intermediate_size", f->intermediate, &m->intermediate, err)) != 0) {
		return r;
	}
	if (f->shared > 0 &&
		(r = cwe_config_size(config, "shared_expert_intermediate_size", f->shared, &m->shared, err)) != 0) {
		return r;
	}
	if (m->experts > CWE_EXPERTS_MAX) {
		return cwb_err_set(err, CWP_EVALUE, "\"%s\" is %u, and must be at most %d", key, m->experts, CWE_EXPERTS_MAX);
	}
	if (m->top_k > m->experts) {
		return cwb_err_set(err, CWP_ESHAPE, "num_experts_per_tok %u is above %s %u", m->top_k, key, m->experts);
	}
	return 0;
}

/* Which layers have experts. */
static int mark_moe(const json_t *config, const struct cwe_family_moe *f, struct cwe_arch *a, struct cwb_err *err)
{
	char text[CWE_CONFIG_TEXT];
	uint32_t step = 1;
	const json_t *dense = f->mixed ? cwe_config_get(config, "mlp_only_layers") : NULL;
	int r = f->mixed ? cwe_config_size(config, "decoder_sparse_step", 1, &step, err) : 0;
	if (r != 0) {
		return r;
	}
	for (uint32_t i = 0; i < a->layers; i++) {
		a->layer[i] |= (i + 1) % step == 0 ? CWE_LAYER_MOE : 0;
	}
	for (size_t i = 0; i < json_array_size(dense); i++) {
		const json_t *v = json_array_get(dense, i);
		json_int_t layer = json_integer_value(v);
		if (!json_is_integer(v) || layer < 0 || layer >= a->layers) {
			return cwb_err_set(err, CWP_EVALUE, "\"mlp_only_layers\"[%zu] is %s, and must be the number of a layer, 0 to %u",
				i, cwe_config_text(v, text), a->layers - 1);
		}
		a->layer[layer] &= (uint8_t)~CWE_LAYER_MOE;
	}
	if (dense != NULL && !json_is_array(dense)) {
		return cwb_err_set(err, CWP_EVALUE, "\"mlp_only_layers\" is %s, and must be a list", cwe_config_text(dense, text));
	}
	return 0;
}

/* The window, 0 where it is off; then nothing is marked by a rule. */
static int read_window(const json_t *config, const struct cwe_family *f, uint32_t *ret, struct cwb_err *err)
{
	int use = 1, r = 0;
	*ret = 0;
	if (f->flags & CWE_FAMILY_USE_WINDOW) {
		r = cwe_config_flag(config, "use_sliding_window", 0, &use, err);
	}
	if (r != 0 || !use || f->windows == CWE_WINDOW_NONE) {
		return r;
	}
	const json_t *v = json_object_get(config, "sliding_window");
	if (json_is_null(v) || (v == NULL && f->window == 0)) {
		return 0;
	}
	return cwe_config_size(config, "sliding_window", f->window, ret, err);
}

static int mark_rule(const json_t *config, const struct cwe_family *f, struct cwe_arch *a, struct cwb_err *err)
{
	uint32_t limit = 28, pattern = f->pattern;
	int r = 0;
	if (f->windows == CWE_WINDOW_UPPER || f->windows == CWE_WINDOW_EVEN) {
		const json_t *v = cwe_config_get(config, "max_window_layers");
		if (json_is_integer(v) && json_integer_value(v) == 0) {
			limit = 0;
		} else {
			r = cwe_config_size(config, "max_window_layers", limit, &limit, err);
		}
	}
	if (r == 0 && f->pattern_key != NULL) {
		r = cwe_config_size(config, f->pattern_key, pattern, &pattern, err);
	}
	for (uint32_t i = 0; r == 0 && i < a->layers; i++) {
		int sliding = f->windows == CWE_WINDOW_PATTERN ? (i + 1) % pattern != 0 :
			a->window == 0 ? 0 :
			f->windows == CWE_WINDOW_UPPER ? i >= limit :
			f->windows == CWE_WINDOW_EVEN ? i % 2 == 0 && i < limit :
			f->windows == CWE_WINDOW_ALL;
		a->layer[i] |= sliding ? CWE_LAYER_SLIDING : 0;
	}
	return r;
}

/* layer_types: wins over the rule where the family reads it; elsewhere it may only say the same. */
static int mark_listed(const json_t *list, const struct cwe_family *f, struct cwe_arch *a, struct cwb_err *err)
{
	char text[CWE_CONFIG_TEXT];
	if (!json_is_array(list) || json_array_size(list) != a->layers) {
		return cwb_err_set(err, CWP_ESHAPE, "\"layer_types\" has %zu elements, and must have num_hidden_layers %u",
			json_array_size(list), a->layers);
	}
	for (uint32_t i = 0; i < a->layers; i++) {
		const json_t *v = json_array_get(list, i);
		const char *name = json_string_value(v);
		int sliding = name != NULL && strcmp(name, "sliding_attention") == 0;
		if (!sliding && (name == NULL || strcmp(name, "full_attention") != 0)) {
			return cwb_err_set(err, CWP_EVALUE, "\"layer_types\"[%u] is %s; supported are full_attention, sliding_attention",
				i, cwe_config_text(v, text));
		}
		if (!(f->flags & CWE_FAMILY_LAYER_TYPES) && sliding != cwe_arch_layer_is(a, i, CWE_LAYER_SLIDING)) {
			return cwb_err_set(err, CWP_EVALUE, "\"layer_types\"[%u] is %s, but model_type %s does not choose by layer", i,
				cwe_config_text(v, text), f->model_type);
		}
		a->layer[i] = (uint8_t)((a->layer[i] & ~CWE_LAYER_SLIDING) | (sliding ? CWE_LAYER_SLIDING : 0));
	}
	return 0;
}

static int mark_windows(const json_t *config, const struct cwe_family *f, struct cwe_arch *a, struct cwb_err *err)
{
	const json_t *list = cwe_config_get(config, "layer_types");
	int r = read_window(config, f, &a->window, err), any = 0;
	r = r == 0 ? mark_rule(config, f, a, err) : r;
	r = r == 0 && list != NULL ? mark_listed(list, f, a, err) : r;
	for (uint32_t i = 0; r == 0 && i < a->layers; i++) {
		if (!cwe_arch_layer_is(a, i, CWE_LAYER_SLIDING)) {
			continue;
		}
		any = 1;
		if (a->window == 0) {
			return cwb_err_set(err, CWP_EMISSING, "layer %u has sliding attention, but \"sliding_window\" is off; give its "
				"size%s", i, f->flags & CWE_FAMILY_USE_WINDOW ? " and \"use_sliding_window\": true" : "");
		}
	}
	a->window = any ? a->window : 0;
	return r;
}

static int read_text(const json_t *config, const struct cwe_family *f, struct cwe_arch *a, struct cwb_err *err)
{
	int r;
	strncpy(a->family, f->model_type, sizeof a->family - 1);
	memcpy(a->norm, f->norm, sizeof a->norm);
	a->fused = (f->flags & CWE_FAMILY_FUSED) != 0;
	a->norm_heads = (f->flags & CWE_FAMILY_NORM_HEADS) != 0;
	if ((r = cwe_family_check(f, config, err)) != 0 || (r = read_activation(config, f, &a->glu, err)) != 0 ||
		(r = read_sizes(config, f, a, err)) != 0 || (r = read_scales(config, f, a, err)) != 0 ||
		(r = cwe_config_flag(config, "tie_word_embeddings", (f->flags & CWE_FAMILY_TIED) != 0, &a->tied, err)) != 0 ||
		(r = read_choice(config, &f->bias_qkv, &a->bias_qkv, err)) != 0 ||
		(r = read_choice(config, &f->bias_o, &a->bias_o, err)) != 0 ||
		(r = read_choice(config, &f->bias_mlp, &a->bias_mlp, err)) != 0 ||
		(r = mark_windows(config, f, a, err)) != 0 ||
		(r = cwe_rope_read(config, &f->rope, a->head_dim, a->context, a->rope, err)) != 0) {
		return r;
	}
	if (f->moe != NULL) {
		r = read_moe(config, f->moe, a, err);
		r = r == 0 ? mark_moe(config, f->moe, a, err) : r;
	}
	return r;
}

static int is_wrapper(const json_t *config, const struct cwe_family *f)
{
	const char *type = json_string_value(json_object_get(config, "model_type"));
	return type != NULL && f->wrapper != NULL && strcmp(f->wrapper, type) == 0;
}

static int read_inner(const json_t *text, const struct cwe_family *f, struct cwe_arch *a, struct cwb_err *err)
{
	const struct cwe_family *inner = NULL;
	int r = find_family(text, f->model_type, &inner, err);
	if (r == 0 && (inner != f || is_wrapper(text, f))) {
		r = cwb_err_set(err, CWP_EUNKNOWN, "model_type %s in a %s is not supported; supported is %s",
			json_string_value(json_object_get(text, "model_type")), f->wrapper, f->model_type);
	}
	r = r == 0 ? check_architecture(text, f->architecture, err) : r;
	return r == 0 ? read_text(text, f, a, err) : r;
}

/* A multimodal model: its text_config, and from outside it whether the output is tied. */
static int read_wrapped(const json_t *config, const struct cwe_family *f, struct cwe_arch *a, struct cwb_err *err)
{
	const json_t *text = NULL;
	int r = check_architecture(config, f->wrapper_architecture, err);
	r = r == 0 ? cwe_config_object(config, "text_config", &text, err) : r;
	if (r != 0) {
		return r;
	}
	if (text == NULL) {
		return cwb_err_set(err, CWP_EMISSING, "key \"text_config\" is missing; model_type %s keeps its text model there",
			f->wrapper);
	}
	if ((r = read_inner(text, f, a, err)) != 0) {
		(void)cwb_err_prefix(err, "text_config");
		return r;
	}
	a->wrapped = 1;
	return cwe_config_flag(config, "tie_word_embeddings", 1, &a->tied, err);
}

int cwe_arch_read(const json_t *config, struct cwe_arch *ret, struct cwb_err *err)
{
	struct cwe_arch a;
	const struct cwe_family *f = NULL;
	memset(&a, 0, sizeof a);
	int r = find_family(config, NULL, &f, err);
	if (r == 0 && is_wrapper(config, f)) {
		r = read_wrapped(config, f, &a, err);
	} else if (r == 0) {
		r = check_architecture(config, f->architecture, err);
		r = r == 0 ? read_text(config, f, &a, err) : r;
	}
	if (r != 0) {
		(void)cwb_err_prefix(err, "config.json");
		return r;
	}
	*ret = a;
	return 0;
}
