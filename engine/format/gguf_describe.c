/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Keys of an architecture, as llama.cpp's converter writes them. */
#include "engine/format/gguf_describe.h"

#include <math.h>
#include <string.h>

struct description {
	const struct cwe_arch *a;
	const struct cwe_gguf_family *f;
	struct cwe_gguf_keys *k;
	struct cwe_gguf_factors *factors;
	size_t count;
};

static void u32(const struct description *d, const char *part, uint32_t x)
{
	struct cwe_gguf_key key = cwe_gguf_key(d->f, part);

	cwe_gguf_keys_u32(d->k, key.text, x);
}

static void f32(const struct description *d, const char *part, double x)
{
	struct cwe_gguf_key key = cwe_gguf_key(d->f, part);

	cwe_gguf_keys_f32(d->k, key.text, (float)x);
}

static void text(const struct description *d, const char *part, const char *value)
{
	struct cwe_gguf_key key = cwe_gguf_key(d->f, part);

	cwe_gguf_keys_text(d->k, key.text, value, strlen(value));
}

static void add_sizes(const struct description *d)
{
	const struct cwe_arch *a = d->a;

	u32(d, "vocab_size", a->vocabulary);
	u32(d, "context_length", a->context);
	u32(d, "embedding_length", a->hidden);
	u32(d, "block_count", a->layers);
	u32(d, "feed_forward_length", a->intermediate);
	u32(d, "attention.head_count", a->heads);
	u32(d, "attention.head_count_kv", a->kv_heads);
	f32(d, "attention.layer_norm_rms_epsilon", (double)a->norm_eps);
	u32(d, "attention.key_length", a->head_dim);
	u32(d, "attention.value_length", a->head_dim);
	if (d->f->traits & CWE_GGUF_EXPERTS) {
		u32(d, "expert_count", a->moe.experts);
		u32(d, "expert_used_count", a->moe.top_k);
		if (d->f->bit != CWE_GGUF_MIXTRAL)
			u32(d, "expert_feed_forward_length", a->moe.intermediate);
		if (d->f->bit == CWE_GGUF_QWEN2MOE)
			u32(d, "expert_shared_feed_forward_length", a->moe.shared);
	}
}

/* Layers with a window: llama.cpp knows the usual ones of Gemma 2 (every other) and Gemma 3 (all but each sixth). */
static void add_windows(const struct description *d)
{
	const struct cwe_arch *a = d->a;
	uint32_t period = d->f->bit == CWE_GGUF_GEMMA2 ? 2 : 6;
	uint8_t is_sliding[CWE_LAYERS_MAX];
	int is_usual = 1;

	if (!(d->f->traits & CWE_GGUF_WINDOW))
		return;
	if (a->window || d->f->bit == CWE_GGUF_PHI3 || d->f->bit == CWE_GGUF_GEMMA2)
		u32(d, "attention.sliding_window", a->window);
	if (!(d->f->traits & CWE_GGUF_LAYER_PATTERN) || !a->window)
		return;
	for (uint32_t i = 0; i < a->layers; i++) {
		is_sliding[i] = cwe_arch_layer_is(a, i, CWE_LAYER_SLIDING);
		is_usual &= is_sliding[i] == ((i + 1) % period != 0);
	}
	if (is_usual)
		return;
	cwe_gguf_keys_array(d->k, cwe_gguf_key(d->f, "attention.sliding_window_pattern").text, CWE_GGUF_BOOL, a->layers);
	cwe_gguf_keys_bytes(d->k, is_sliding, a->layers);
}

static void add_softcaps(const struct description *d)
{
	int always = d->f->bit == CWE_GGUF_GEMMA2; /* whose caps are taken for on when a key is absent */

	if (!(d->f->traits & CWE_GGUF_SOFTCAPS))
		return;
	if (always || d->a->attention_softcap > 0)
		f32(d, "attn_logit_softcapping", (double)d->a->attention_softcap);
	if (always || d->a->logit_softcap > 0)
		f32(d, "final_logit_softcapping", (double)d->a->logit_softcap);
}

double cwe_gguf_llama3_factor(const struct cwe_rope *rope, uint64_t i)
{
	double wave = 2 * M_PI * pow(rope->theta, 2.0 * (double)i / (double)rope->rotary), smooth;

	if (wave < rope->original_context / rope->high_freq_factor)
		return 1;
	if (wave > rope->original_context / rope->low_freq_factor)
		return rope->factor;
	smooth = (rope->original_context / wave - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
	return 1 / ((1 - smooth) / rope->factor + smooth);
}

static struct cwe_gguf_factors *new_factors(struct description *d, const char *name)
{
	struct cwe_gguf_factors *f = &d->factors[d->count++];

	f->name = name;
	f->count = d->a->rope[0].rotary / 2;
	return f;
}

static void add_yarn(const struct description *d, const struct cwe_rope *r)
{
	double usual = 0.1 * log(r->factor) + 1;

	text(d, "rope.scaling.type", "yarn");
	f32(d, "rope.scaling.factor", r->factor);
	u32(d, "rope.scaling.original_context_length", (uint32_t)r->original_context);
	if (!(fabs(r->attention_factor / usual - 1) <= 1e-6)) /* llama.cpp multiplies the usual factor with it */
		f32(d, "rope.scaling.attn_factor", r->attention_factor / usual);
	if (r->beta_fast != 32)
		f32(d, "rope.scaling.yarn_beta_fast", r->beta_fast);
	if (r->beta_slow != 1)
		f32(d, "rope.scaling.yarn_beta_slow", r->beta_slow);
}

static void add_longrope(struct description *d, const struct cwe_rope *r)
{
	u32(d, "rope.scaling.original_context_length", (uint32_t)r->original_context);
	f32(d, "rope.scaling.attn_factor", r->attention_factor);
	memcpy(new_factors(d, "rope_factors_long.weight")->x, r->long_factor, r->rotary / 2 * sizeof(float));
	memcpy(new_factors(d, "rope_factors_short.weight")->x, r->short_factor, r->rotary / 2 * sizeof(float));
}

static void add_rope(struct description *d)
{
	const struct cwe_rope *r = &d->a->rope[0];
	struct cwe_gguf_factors *factors;

	u32(d, "rope.dimension_count", r->rotary);
	f32(d, "rope.freq_base", r->theta);
	if (d->f->bit == CWE_GGUF_GEMMA3)
		f32(d, "rope.freq_base_swa", d->a->rope[1].theta);
	switch (r->kind) {
	case CWE_ROPE_LINEAR:
		text(d, "rope.scaling.type", "linear");
		f32(d, "rope.scaling.factor", r->factor);
		return;
	case CWE_ROPE_YARN:
		add_yarn(d, r);
		return;
	case CWE_ROPE_LONGROPE:
		add_longrope(d, r);
		return;
	case CWE_ROPE_LLAMA3:
		factors = new_factors(d, "rope_freqs.weight");
		for (uint32_t i = 0; i < factors->count; i++)
			factors->x[i] = (float)cwe_gguf_llama3_factor(r, i);
		return;
	case CWE_ROPE_DEFAULT:
		return;
	}
}

void cwe_gguf_describe(const struct cwe_arch *arch, const struct cwe_gguf_family *f, struct cwe_gguf_keys *k,
	struct cwe_gguf_factors ret[CWE_GGUF_FACTORS_MAX], size_t *ret_count)
{
	struct description d = {arch, f, k, ret, 0};

	cwe_gguf_keys_text(k, "general.architecture", f->architecture, strlen(f->architecture));
	cwe_gguf_keys_text(k, "general.type", "model", strlen("model"));
	add_sizes(&d);
	add_windows(&d);
	add_softcaps(&d);
	add_rope(&d);
	*ret_count = d.count;
}
