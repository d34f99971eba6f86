/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which family a GGUF file's model is of, its sizes, and the keys that would change its arithmetic unseen. */
#include "engine/format/gguf_family.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct cwe_gguf_family families[] = {
	{"llama", CWE_GGUF_LLAMA, "llama", "LlamaForCausalLM", CWE_GGUF_INTERLEAVED},
	{"llama", CWE_GGUF_MISTRAL, "mistral", "MistralForCausalLM", CWE_GGUF_INTERLEAVED | CWE_GGUF_WINDOW},
	{"llama", CWE_GGUF_MIXTRAL, "mixtral", "MixtralForCausalLM",
		CWE_GGUF_INTERLEAVED | CWE_GGUF_WINDOW | CWE_GGUF_EXPERTS},
	{"qwen2", CWE_GGUF_QWEN2, "qwen2", "Qwen2ForCausalLM", 0},
	{"qwen2moe", CWE_GGUF_QWEN2MOE, "qwen2_moe", "Qwen2MoeForCausalLM", CWE_GGUF_EXPERTS},
	{"qwen3", CWE_GGUF_QWEN3, "qwen3", "Qwen3ForCausalLM", CWE_GGUF_HEAD_DIM},
	{"qwen3moe", CWE_GGUF_QWEN3MOE, "qwen3_moe", "Qwen3MoeForCausalLM", CWE_GGUF_HEAD_DIM | CWE_GGUF_EXPERTS},
	{"gemma", CWE_GGUF_GEMMA, "gemma", "GemmaForCausalLM", CWE_GGUF_HEAD_DIM | CWE_GGUF_NORM_OFFSET},
	{"gemma2", CWE_GGUF_GEMMA2, "gemma2", "Gemma2ForCausalLM",
		CWE_GGUF_HEAD_DIM | CWE_GGUF_NORM_OFFSET | CWE_GGUF_WINDOW | CWE_GGUF_LAYER_PATTERN | CWE_GGUF_SOFTCAPS},
	{"gemma3", CWE_GGUF_GEMMA3, "gemma3_text", "Gemma3ForCausalLM",
		CWE_GGUF_HEAD_DIM | CWE_GGUF_NORM_OFFSET | CWE_GGUF_WINDOW | CWE_GGUF_LAYER_PATTERN | CWE_GGUF_SOFTCAPS},
	{"phi3", CWE_GGUF_PHI3, "phi3", "Phi3ForCausalLM", CWE_GGUF_WINDOW | CWE_GGUF_PARTIAL_ROTARY},
	{"olmo2", CWE_GGUF_OLMO2, "olmo2", "Olmo2ForCausalLM", 0},
};

#define KNOWN "llama, qwen2, qwen2moe, qwen3, qwen3moe, gemma, gemma2, gemma3, phi3 and olmo2"

struct cwe_gguf_key cwe_gguf_key(const struct cwe_gguf_family *f, const char *part)
{
	struct cwe_gguf_key key;

	snprintf(key.text, sizeof key.text, "%s.%s", f->architecture, part);
	return key;
}

const struct cwe_gguf_family *cwe_gguf_family_find(const char *model_type)
{
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		if (!strcmp(model_type, families[i].model_type))
			return &families[i];
	return NULL;
}

/* Keys that change the arithmetic of some models, and the two values that leave it as it is: all families but those with
 * one of the traits are refused with another value. */
static const struct {
	const char *part;
	double neutral[2];
	unsigned traits;
} keys[] = {
	{"activation_sparsity_scale", {0, 0}, 0},
	{"attention.causal", {1, 1}, 0},
	{"attention.clamp_kqv", {0, 0}, 0},
	{"attention.kv_lora_rank", {0, 0}, 0},
	{"attention.max_alibi_bias", {0, 0}, 0},
	{"attention.output_scale", {0, 1}, 0},
	{"attention.q_lora_rank", {0, 0}, 0},
	{"attention.shared_kv_layers", {0, 0}, 0},
	{"attention.sliding_window", {0, 0}, CWE_GGUF_WINDOW},
	{"attention.temperature_length", {0, 0}, 0},
	{"attention.temperature_scale", {0, 0}, 0},
	{"attn_logit_softcapping", {0, 0}, CWE_GGUF_SOFTCAPS},
	{"embedding_length_per_layer_input", {0, 0}, 0},
	{"embedding_scale", {0, 1}, 0},
	{"expert_count", {0, 0}, CWE_GGUF_EXPERTS},
	{"expert_gating_func", {0, 1}, 0}, /* 1: softmax */
	{"expert_group_count", {0, 1}, 0},
	{"expert_weights_scale", {0, 1}, 0},
	{"final_logit_softcapping", {0, 0}, CWE_GGUF_SOFTCAPS},
	{"full_attention_interval", {0, 1}, 0},
	{"interleave_moe_layer_step", {0, 1}, 0},
	{"leading_dense_block_count", {0, 0}, 0},
	{"logit_scale", {0, 1}, 0},
	{"moe_every_n_layers", {0, 1}, 0},
	{"nextn_predict_layers", {0, 0}, 0},
	{"residual_scale", {0, 1}, 0},
	{"rope.dimension_sections", {0, 0}, 0},
	{"rope.scaling.alpha", {0, 1}, 0},
	{"rope.scaling.yarn_ext_factor", {1, -1}, 0},
	{"rope.scaling.yarn_log_multiplier", {0, 0}, 0},
	{"router_logit_softcapping", {0, 0}, 0},
	{"swin_norm", {0, 0}, 0},
	{"use_parallel_residual", {0, 0}, 0},
};

static int check_keys(const struct cwe_gguf *g, const struct cwe_gguf_family *f, struct cwb_err *err)
{
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		struct cwe_gguf_key key = cwe_gguf_key(f, keys[i].part);
		double x = NAN;
		int rc;

		if (f->traits & keys[i].traits)
			continue;
		rc = cwe_gguf_get_number(g, key.text, &x, err);
		if (rc < 0)
			return rc;
		if (rc && x != keys[i].neutral[0] && x != keys[i].neutral[1])
			return cwb_err_set(err, CWP_EUNKNOWN, "%s: %s: %g is not read from GGUF files of a %s model; take the model's "
				"safetensors", g->input.path, key.text, x, f->model_type);
	}
	return 0;
}

/* Large models are often cut into several files. */
static int check_whole(const struct cwe_gguf *g, struct cwb_err *err)
{
	uint64_t files = 1;
	int rc = cwe_gguf_get_u64(g, "split.count", 0, UINT64_MAX, &files, err);

	if (rc >= 0 && files > 1)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: split.count: one of %" PRIu64 " files of a model; put them together with "
			"llama-gguf-split --merge", g->input.path, files);
	return rc < 0 ? rc : 0;
}

/* Files of all models like Llama say "llama": what the model has tells them apart. */
static int choose_llama(const struct cwe_gguf *g, const struct cwe_gguf_family **ret, struct cwb_err *err)
{
	uint64_t experts = 0, window = 0;
	int rc = cwe_gguf_get_u64(g, "llama.expert_count", 0, CWE_GGUF_EXPERTS_MAX, &experts, err);

	if (rc >= 0)
		rc = cwe_gguf_get_u64(g, "llama.attention.sliding_window", 0, CWE_GGUF_SIZE_MAX, &window, err);
	*ret = &families[experts ? 2 : window ? 1 : 0];
	return rc < 0 ? rc : 0;
}

int cwe_gguf_family_of(const struct cwe_gguf *g, const struct cwe_gguf_family **ret, struct cwb_err *err)
{
	const struct cwe_gguf_family *f = NULL;
	const char *name = NULL;
	int rc = cwe_gguf_get_string(g, "general.architecture", &name, err);

	if (rc < 0)
		return rc;
	if (!name)
		return cwb_err_set(err, CWP_EMISSING, "%s: key general.architecture is absent", g->input.path);
	for (size_t i = 0; i < sizeof families / sizeof *families && !f; i++)
		if (!strcmp(name, families[i].architecture))
			f = &families[i];
	if (!f)
		return cwb_err_set(err, CWP_EUNKNOWN, "%s: general.architecture: \"%.100s\" is not read from GGUF files, only "
			KNOWN "; take the model's safetensors", g->input.path, name);
	rc = check_whole(g, err);
	if (!rc && f == families)
		rc = choose_llama(g, &f, err);
	if (!rc)
		rc = check_keys(g, f, err);
	if (!rc)
		*ret = f;
	return rc;
}

struct size {
	const char *part;
	uint64_t max;
	uint64_t *to;
};

/* Each is needed when it is not there yet, else it may be absent. */
static int read_sizes(const struct cwe_gguf *g, const struct cwe_gguf_family *f, const struct size *size, size_t count,
	struct cwb_err *err)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc >= 0; i++) {
		struct cwe_gguf_key key = cwe_gguf_key(f, size[i].part);

		if (*size[i].to)
			rc = cwe_gguf_get_u64(g, key.text, 1, size[i].max, size[i].to, err);
		else
			rc = cwe_gguf_need_u64(g, key.text, size[i].max, size[i].to, err);
	}
	return rc < 0 ? rc : 0;
}

static int read_head(const struct cwe_gguf *g, const struct cwe_gguf_family *f, struct cwe_gguf_sizes *s,
	struct cwb_err *err)
{
	static const char *const same[] = {"attention.value_length", "attention.key_length_swa", "attention.value_length_swa",
		"rope.dimension_count", "rope.dimension_count_swa"};
	int rc;

	s->head_dim = s->hidden / s->heads;
	rc = read_sizes(g, f, &(struct size){"attention.key_length", CWE_GGUF_SIZE_MAX, &s->head_dim}, 1, err);
	s->rotary = s->head_dim;
	for (size_t i = 0; i < sizeof same / sizeof *same && !rc; i++) {
		uint64_t n = s->head_dim;
		int is_rotary = !strcmp(same[i], "rope.dimension_count") && (f->traits & CWE_GGUF_PARTIAL_ROTARY);

		rc = read_sizes(g, f, &(struct size){same[i], CWE_GGUF_SIZE_MAX, &n}, 1, err);
		if (!rc && (is_rotary ? n > s->head_dim || n % 2 : n != s->head_dim))
			return cwb_err_set(err, CWP_EUNKNOWN, "%s: %s: %" PRIu64 " beside heads of %" PRIu64 " values is not read in a "
				"%s model", g->input.path, cwe_gguf_key(f, same[i]).text, n, s->head_dim, f->model_type);
		if (is_rotary)
			s->rotary = n;
	}
	return rc;
}

static int read_experts(const struct cwe_gguf *g, const struct cwe_gguf_family *f, struct cwe_gguf_sizes *s,
	struct cwb_err *err)
{
	int rc = read_sizes(g, f, (const struct size[]){
		{"expert_count", CWE_GGUF_EXPERTS_MAX, &s->experts},
		{"expert_used_count", CWE_GGUF_EXPERTS_MAX, &s->experts_used}}, 2, err);

	if (rc)
		return rc;
	if (s->experts_used > s->experts)
		return cwb_err_set(err, CWP_EVALUE, "%s: %s: %" PRIu64 " of %" PRIu64 " experts", g->input.path,
			cwe_gguf_key(f, "expert_used_count").text, s->experts_used, s->experts);
	/* What llama.cpp takes when a key is absent. */
	s->expert_inner = s->inner / s->experts_used ? s->inner / s->experts_used : 1;
	s->shared_inner = s->inner;
	return read_sizes(g, f, (const struct size[]){
		{"expert_feed_forward_length", CWE_GGUF_SIZE_MAX, &s->expert_inner},
		{"expert_shared_feed_forward_length", CWE_GGUF_SIZE_MAX, &s->shared_inner}},
		f->bit == CWE_GGUF_QWEN2MOE ? 2 : 1, err);
}

int cwe_gguf_sizes_of(const struct cwe_gguf *g, const struct cwe_gguf_family *f, struct cwe_gguf_sizes *ret,
	struct cwb_err *err)
{
	struct cwe_gguf_sizes s = {0};
	int rc = read_sizes(g, f, (const struct size[]){
		{"embedding_length", CWE_GGUF_SIZE_MAX, &s.hidden},
		{"feed_forward_length", CWE_GGUF_SIZE_MAX, &s.inner},
		{"block_count", CWE_GGUF_LAYERS_MAX, &s.layers},
		{"context_length", CWE_GGUF_SIZE_MAX, &s.context},
		{"attention.head_count", CWE_GGUF_SIZE_MAX, &s.heads}}, 5, err);

	s.kv_heads = s.heads;
	if (!rc)
		rc = read_sizes(g, f, &(struct size){"attention.head_count_kv", CWE_GGUF_SIZE_MAX, &s.kv_heads}, 1, err);
	if (!rc)
		rc = read_head(g, f, &s, err);
	if (!rc && (f->traits & CWE_GGUF_EXPERTS))
		rc = read_experts(g, f, &s, err);
	if (!rc)
		*ret = s;
	return rc;
}

int cwe_gguf_norm_offset(const struct cwe_gguf_family *f, const char *name)
{
	static const char tail[] = "norm.weight";
	size_t n = strlen(name), k = strlen(tail);

	return (f->traits & CWE_GGUF_NORM_OFFSET) && n >= k && !strcmp(name + n - k, tail);
}
