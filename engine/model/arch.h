/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* config.json -> what the layers need to know. One description for all families: a family is data (family.h), not
 * code. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include <cwp/backend.h>

#include "base/err.h"
#include "engine/model/rope.h"

#define CWE_LAYERS_MAX 1024
#define CWE_EXPERTS_MAX 1024
#define CWE_HEAD_DIM_MAX 512

/* The norms that a layer may have. The two of queries and keys come before the rotary embedding. */
enum cwe_norm {
	CWE_NORM_ATTENTION,     /* input of the attention block */
	CWE_NORM_ATTENTION_OUT, /* its output, before the residual sum */
	CWE_NORM_MLP,
	CWE_NORM_MLP_OUT,
	CWE_NORM_Q,
	CWE_NORM_K,
	CWE_NORMS
};

enum cwe_layer_flags {
	CWE_LAYER_SLIDING = 1 << 0, /* attention sees the last `window` tokens only, and rotates by rope[1] */
	CWE_LAYER_MOE = 1 << 1      /* the MLP is a mixture of experts */
};

/* Mixture of experts: experts 0 in models without. Names are below the layer's. */
struct cwe_moe {
	uint32_t experts;
	uint32_t top_k;
	uint32_t intermediate;
	uint32_t shared;     /* intermediate size of the shared expert, or 0 */
	int normalize;       /* the chosen experts' probabilities are divided by their sum */
	const char *prefix;  /* "mlp.experts": an expert's matrices are prefix.N.gate_proj */
	const char *gate, *up, *down; /* "gate_proj" or "w1" */
	const char *router;  /* "mlp.gate" */
	const char *shared_prefix; /* "mlp.shared_expert" */
	const char *shared_gate;   /* "mlp.shared_expert_gate" [1, hidden], sigmoid of it scales the shared expert */
};

struct cwe_arch {
	char family[32];     /* model_type of the text model */
	int wrapped;         /* the text model of a multimodal one: its tensors have a prefix (model.h finds it) */
	uint32_t layers;
	uint32_t hidden;
	uint32_t heads;
	uint32_t kv_heads;
	uint32_t head_dim;
	uint32_t intermediate; /* of dense MLPs */
	uint32_t vocabulary;
	uint32_t context;    /* max_position_embeddings */
	uint32_t window;     /* of layers with CWE_LAYER_SLIDING; 0: none has it */
	uint32_t glu;        /* enum cwp_glu */
	float norm_eps;
	float norm_offset;   /* 1: norms multiply by 1 + w */
	float embedding_scale;
	float attention_scale;
	float attention_softcap; /* 0: none */
	float logit_softcap;
	int tied;            /* the output projection is the embedding matrix (cwe_model_open: unless there is another one) */
	int bias_qkv, bias_o, bias_mlp;
	int fused;           /* one matrix qkv_proj and one gate_up_proj */
	int norm_heads;      /* norms of queries and keys are by head [head_dim], else over the whole projection */
	const char *norm[CWE_NORMS]; /* tensor below the layer, without ".weight"; NULL: the layer has none */
	struct cwe_moe moe;
	struct cwe_rope rope[2];     /* of layers that see everything, and of sliding ones */
	uint8_t layer[CWE_LAYERS_MAX]; /* enum cwe_layer_flags */
};

/* Reads a config.json object. CWP_EUNKNOWN for an architecture that is not known, CWP_EVALUE for a known one with a key
 * that asks for arithmetic that no family here has, CWP_EMISSING for a key without a safe default: each
 * names the key and its value. Old (rope_theta, rope_scaling) and new (rope_parameters) spellings are read. Strings of
 * *ret are static. */
int cwe_arch_read(const json_t *config, struct cwe_arch *ret, struct cwb_err *err);

/* Whether a layer has the flag (enum cwe_layer_flags). */
static inline int cwe_arch_layer_is(const struct cwe_arch *a, uint32_t layer, uint8_t flag)
{
	return (a->layer[layer] & flag) != 0;
}
