/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Whether the configuration that a file gives back computes what the checkpoint's does. */
#include <math.h>
#include <string.h>

#include "engine/format/gguf_describe.h"

#define NEAR 2e-6 /* f32, and factors that were divided by each other */

static int differs(const char *what, double wanted, double found, struct cwb_err *err)
{
	return cwb_err_set(err, CWP_EVALUE, "write.format: gguf cannot say what config.json says of %s (%.9g would be read as %.9g): "
		"choose compressed-tensors or dense", what, wanted, found);
}

static int compare_numbers(const struct cwe_arch *a, const struct cwe_arch *b, struct cwb_err *err)
{
	const struct {
		const char *what;
		double wanted, found;
	} numbers[] = {
		{"layers", a->layers, b->layers}, {"the hidden size", a->hidden, b->hidden}, {"heads", a->heads, b->heads},
		{"heads of keys", a->kv_heads, b->kv_heads}, {"the size of a head", a->head_dim, b->head_dim},
		{"the intermediate size", a->intermediate, b->intermediate}, {"the vocabulary", a->vocabulary, b->vocabulary},
		{"the context", a->context, b->context}, {"the sliding window", a->window, b->window},
		{"the activation", a->glu, b->glu}, {"the epsilon of norms", (double)a->norm_eps, (double)b->norm_eps},
		{"the offset of norms", (double)a->norm_offset, (double)b->norm_offset},
		{"the scale of embeddings", (double)a->embedding_scale, (double)b->embedding_scale},
		{"the scale of attention", (double)a->attention_scale, (double)b->attention_scale},
		{"the cap of attention", (double)a->attention_softcap, (double)b->attention_softcap},
		{"the cap of logits", (double)a->logit_softcap, (double)b->logit_softcap},
		{"biases of queries, keys and values", a->bias_qkv, b->bias_qkv}, {"the bias of attention's output", a->bias_o, b->bias_o},
		{"biases of the MLP", a->bias_mlp, b->bias_mlp}, {"fused matrices", a->fused, b->fused},
		{"norms by head", a->norm_heads, b->norm_heads}, {"experts", a->moe.experts, b->moe.experts},
		{"experts a token", a->moe.top_k, b->moe.top_k}, {"the size of an expert", a->moe.intermediate, b->moe.intermediate},
		{"the shared expert", a->moe.shared, b->moe.shared}, {"norm_topk_prob", a->moe.normalize, b->moe.normalize},
	};

	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (!(fabs(numbers[i].wanted - numbers[i].found) <= NEAR * fabs(numbers[i].wanted)))
			return differs(numbers[i].what, numbers[i].wanted, numbers[i].found, err);
	return 0;
}

static int compare_rope(const struct cwe_rope *a, const struct cwe_rope *b, int extended, struct cwb_err *err)
{
	float wanted[CWE_ROTARY_MAX / 2], found[CWE_ROTARY_MAX / 2];

	if (a->rotary != b->rotary)
		return differs("rotated channels", a->rotary, b->rotary, err);
	if (!(fabs(a->attention_factor / b->attention_factor - 1) <= NEAR))
		return differs("the rotary embedding's attention factor", a->attention_factor, b->attention_factor, err);
	if (a->kind == CWE_ROPE_LONGROPE && (b->kind != CWE_ROPE_LONGROPE || a->original_context != b->original_context))
		return differs("the rotary embedding's first context", a->original_context, b->original_context, err);
	cwe_rope_frequencies(a, extended, wanted);
	cwe_rope_frequencies(b, extended, found);
	for (uint32_t i = 0; i < a->rotary / 2; i++)
		if (!(fabsf(wanted[i] / found[i] - 1) <= 4 * (float)NEAR))
			return differs("the rotary embedding's frequencies", (double)wanted[i], (double)found[i], err);
	return 0;
}

static int same_norm(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : !a && !b;
}

int cwe_gguf_same_arch(const struct cwe_arch *wanted, const struct cwe_arch *found, struct cwb_err *err)
{
	int rc = compare_numbers(wanted, found, err);

	for (uint32_t i = 0; i < wanted->layers && !rc; i++)
		if (wanted->layer[i] != found->layer[i])
			rc = cwb_err_set(err, CWP_EVALUE, "write.format: gguf cannot say that layer %u has %s: choose compressed-tensors or "
				"dense", i, (wanted->layer[i] ^ found->layer[i]) & CWE_LAYER_MOE ? "no experts unlike others" : "such a window");
	for (int i = 0; i < CWE_NORMS && !rc; i++)
		if (!same_norm(wanted->norm[i], found->norm[i]))
			rc = differs("norms", i, -1, err);
	for (int i = 0; i < 4 && !rc; i++)
		rc = compare_rope(&wanted->rope[i / 2], &found->rope[i / 2], i % 2, err);
	return rc;
}
