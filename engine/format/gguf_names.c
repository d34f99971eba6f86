/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Names of tensors: from those of GGUF to those of Hugging Face's checkpoints. */
#include "engine/format/gguf_family.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ALL CWE_GGUF_ALL
#define LLAMA CWE_GGUF_LLAMA
#define MIXTRAL CWE_GGUF_MIXTRAL
#define QWEN2 (CWE_GGUF_QWEN2 | CWE_GGUF_QWEN2MOE)
#define QWEN2MOE CWE_GGUF_QWEN2MOE
#define QWEN3 (CWE_GGUF_QWEN3 | CWE_GGUF_QWEN3MOE)
#define QWEN_MOE CWE_GGUF_QWEN_MOE
#define DENSE (ALL & ~(MIXTRAL | QWEN_MOE))
#define GEMMA3 CWE_GGUF_GEMMA3
#define GEMMA23 (CWE_GGUF_GEMMA2 | CWE_GGUF_GEMMA3)
#define PHI3 CWE_GGUF_PHI3
#define OLMO2 CWE_GGUF_OLMO2
#define POST_NORMS CWE_GGUF_POST_NORMS

#define AS_IS CWE_GGUF_AS_IS
#define NOTHING CWE_GGUF_NOTHING

static const struct cwe_gguf_part globals[] = {
	{"token_embd.weight", "model.embed_tokens.weight", ALL, AS_IS},
	{"output_norm.weight", "model.norm.weight", ALL, AS_IS},
	{"output.weight", "lm_head.weight", ALL, AS_IS},
	{"rope_freqs.weight", NULL, ALL, NOTHING}, /* these three are in config.json */
	{"rope_factors_long.weight", NULL, ALL, NOTHING},
	{"rope_factors_short.weight", NULL, ALL, NOTHING},
};

static const struct cwe_gguf_part layered[] = {
	{"attn_norm.weight", "input_layernorm.weight", ALL & ~OLMO2, AS_IS},
	{"attn_q.weight", "self_attn.q_proj.weight", ALL & ~PHI3, CWE_GGUF_QUERY},
	{"attn_q.bias", "self_attn.q_proj.bias", LLAMA | QWEN2, CWE_GGUF_QUERY},
	{"attn_k.weight", "self_attn.k_proj.weight", ALL & ~PHI3, CWE_GGUF_KEY},
	{"attn_k.bias", "self_attn.k_proj.bias", LLAMA | QWEN2, CWE_GGUF_KEY},
	{"attn_v.weight", "self_attn.v_proj.weight", ALL & ~PHI3, AS_IS},
	{"attn_v.bias", "self_attn.v_proj.bias", LLAMA | QWEN2, AS_IS},
	{"attn_qkv.weight", "self_attn.qkv_proj.weight", PHI3, AS_IS},
	{"attn_output.weight", "self_attn.o_proj.weight", ALL, AS_IS},
	{"attn_output.bias", "self_attn.o_proj.bias", LLAMA, AS_IS},
	{"attn_q_norm.weight", "self_attn.q_norm.weight", QWEN3 | GEMMA3 | OLMO2, AS_IS},
	{"attn_k_norm.weight", "self_attn.k_norm.weight", QWEN3 | GEMMA3 | OLMO2, AS_IS},
	{"attn_rot_embd.weight", NULL, LLAMA | CWE_GGUF_MISTRAL | MIXTRAL, NOTHING}, /* of old files; rope_theta says the same */
	{"post_attention_norm.weight", "post_attention_layernorm.weight", POST_NORMS, AS_IS},
	{"ffn_norm.weight", "post_attention_layernorm.weight", ALL & ~POST_NORMS, AS_IS},
	{"ffn_norm.weight", "pre_feedforward_layernorm.weight", GEMMA23, AS_IS},
	{"post_ffw_norm.weight", "post_feedforward_layernorm.weight", POST_NORMS, AS_IS},
	{"ffn_gate.weight", "mlp.gate_proj.weight", DENSE & ~PHI3, AS_IS},
	{"ffn_gate.bias", "mlp.gate_proj.bias", LLAMA, AS_IS},
	{"ffn_up.weight", "mlp.up_proj.weight", DENSE & ~PHI3, AS_IS},
	{"ffn_up.weight", "mlp.gate_up_proj.weight", PHI3, AS_IS},
	{"ffn_up.bias", "mlp.up_proj.bias", LLAMA, AS_IS},
	{"ffn_down.weight", "mlp.down_proj.weight", DENSE, AS_IS},
	{"ffn_down.bias", "mlp.down_proj.bias", LLAMA, AS_IS},
	{"ffn_gate_inp.weight", "block_sparse_moe.gate.weight", MIXTRAL, AS_IS},
	{"ffn_gate_exps.weight", "block_sparse_moe.experts.#.w1.weight", MIXTRAL, AS_IS},
	{"ffn_down_exps.weight", "block_sparse_moe.experts.#.w2.weight", MIXTRAL, AS_IS},
	{"ffn_up_exps.weight", "block_sparse_moe.experts.#.w3.weight", MIXTRAL, AS_IS},
	{"ffn_gate.#.weight", "block_sparse_moe.experts.#.w1.weight", MIXTRAL, AS_IS},
	{"ffn_down.#.weight", "block_sparse_moe.experts.#.w2.weight", MIXTRAL, AS_IS},
	{"ffn_up.#.weight", "block_sparse_moe.experts.#.w3.weight", MIXTRAL, AS_IS},
	{"ffn_gate_inp.weight", "mlp.gate.weight", QWEN_MOE, AS_IS},
	{"ffn_gate_exps.weight", "mlp.experts.#.gate_proj.weight", QWEN_MOE, AS_IS},
	{"ffn_up_exps.weight", "mlp.experts.#.up_proj.weight", QWEN_MOE, AS_IS},
	{"ffn_down_exps.weight", "mlp.experts.#.down_proj.weight", QWEN_MOE, AS_IS},
	{"ffn_gate.#.weight", "mlp.experts.#.gate_proj.weight", QWEN_MOE, AS_IS},
	{"ffn_up.#.weight", "mlp.experts.#.up_proj.weight", QWEN_MOE, AS_IS},
	{"ffn_down.#.weight", "mlp.experts.#.down_proj.weight", QWEN_MOE, AS_IS},
	{"ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight", QWEN2MOE, CWE_GGUF_ROW},
	{"ffn_gate_shexp.weight", "mlp.shared_expert.gate_proj.weight", QWEN2MOE, AS_IS},
	{"ffn_up_shexp.weight", "mlp.shared_expert.up_proj.weight", QWEN2MOE, AS_IS},
	{"ffn_down_shexp.weight", "mlp.shared_expert.down_proj.weight", QWEN2MOE, AS_IS},
};

/* Parts of a multimodal model in the same file: the text model does without them. */
static const struct cwe_gguf_part other_parts = {"v. and mm.", NULL, ALL, NOTHING};

/* A number without leading zeros, which would name a thing twice; what follows it, or NULL. Larger than any limit: the
 * limit. */
static const char *number(const char *text, uint64_t *ret)
{
	uint64_t n = 0;

	if (*text < '0' || *text > '9' || (text[0] == '0' && text[1] >= '0' && text[1] <= '9'))
		return NULL;
	for (; *text >= '0' && *text <= '9'; text++)
		n = n < CWE_GGUF_SIZE_MAX ? 10 * n + (uint64_t)(*text - '0') : CWE_GGUF_SIZE_MAX;
	*ret = n;
	return text;
}

/* Whether a name is that of a pattern, whose '#' is a number. */
static int matches(const char *pattern, const char *name, uint64_t *ret_expert)
{
	for (; *pattern; pattern++) {
		if (*pattern == '#')
			name = number(name, ret_expert);
		else
			name = *name == *pattern ? name + 1 : NULL;
		if (!name)
			return 0;
	}
	return !*name;
}

/* The part that has this name in a file, or in a checkpoint. */
static int find_in(const struct cwe_gguf_part *parts, size_t count, const struct cwe_gguf_family *f, const char *name, int in_file,
	struct cwe_gguf_name *ret)
{
	for (size_t i = 0; i < count; i++) {
		const char *pattern = in_file ? parts[i].gguf : parts[i].hugging_face;

		if ((parts[i].families & f->bit) && pattern && matches(pattern, name, &ret->expert)) {
			ret->part = &parts[i];
			return 1;
		}
	}
	return 0;
}

/* The same of a name without or with a layer's number behind `before`. */
static int find(const struct cwe_gguf_family *f, const char *before, const char *name, uint64_t layers, int in_file,
	struct cwe_gguf_name *ret)
{
	size_t n = strlen(before);

	if (strncmp(name, before, n) != 0)
		return find_in(globals, sizeof globals / sizeof *globals, f, name, in_file, ret);
	name = number(name + n, &ret->layer);
	ret->in_layer = 1;
	return name && *name == '.' && ret->layer < layers &&
		find_in(layered, sizeof layered / sizeof *layered, f, name + 1, in_file, ret);
}

int cwe_gguf_name_find(const struct cwe_gguf_family *f, const char *name, uint64_t layers, struct cwe_gguf_name *ret)
{
	struct cwe_gguf_name n = {0};
	int found = 0;

	if (!strncmp(name, "v.", 2) || !strncmp(name, "mm.", 3)) {
		n.part = &other_parts;
		found = 1;
	} else {
		found = find(f, "blk.", name, layers, 1, &n);
	}
	if (found)
		*ret = n;
	return found;
}

int cwe_gguf_name_of(const struct cwe_gguf_family *f, const char *tensor, uint64_t layers, struct cwe_gguf_name *ret)
{
	struct cwe_gguf_name n = {0};
	int found = find(f, "model.layers.", tensor, layers, 0, &n);

	if (found)
		*ret = n;
	return found;
}

char *cwe_gguf_name_in_file(const struct cwe_gguf_name *n)
{
	char layer[48] = "", *ret;

	if (n->in_layer)
		snprintf(layer, sizeof layer, "blk.%" PRIu64 ".", n->layer);
	return asprintf(&ret, "%s%s", layer, n->part->gguf) < 0 ? NULL : ret;
}

int cwe_gguf_name_is_stack(const struct cwe_gguf_name *n)
{
	return n->part->hugging_face && strchr(n->part->hugging_face, '#') && !strchr(n->part->gguf, '#');
}

char *cwe_gguf_name_make(const struct cwe_gguf_name *n, uint64_t expert)
{
	const char *name = n->part->hugging_face, *place = strchr(name, '#');
	int before = place ? (int)(place - name) : (int)strlen(name);
	char layer[48] = "", number_of[24] = "", *ret;

	if (n->in_layer)
		snprintf(layer, sizeof layer, "model.layers.%" PRIu64 ".", n->layer);
	if (place)
		snprintf(number_of, sizeof number_of, "%" PRIu64, expert);
	return asprintf(&ret, "%s%.*s%s%s", layer, before, name, number_of, place ? place + 1 : "") < 0 ? NULL : ret;
}
