/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What is known of a family of models before its config.json is read: one row of a table, no code. A default is that of
 * the family's configuration class in transformers, which writes no key that has it. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/model/arch.h"

/* Which layers have a window where config.json does not list them (layer_types). */
enum cwe_window_rule {
	CWE_WINDOW_NONE,  /* the family has no windows */
	CWE_WINDOW_ALL,   /* every layer */
	CWE_WINDOW_UPPER, /* layers from max_window_layers on */
	CWE_WINDOW_EVEN,  /* layers 0, 2, 4, ... below max_window_layers */
	CWE_WINDOW_PATTERN /* all but every `pattern`-th */
};

enum cwe_family_flags {
	CWE_FAMILY_TIED = 1 << 0,             /* tie_word_embeddings where the key is absent */
	CWE_FAMILY_KV_NULL = 1 << 1,          /* num_key_value_heads null: as many as heads, not the default */
	CWE_FAMILY_SCALED_EMBEDDING = 1 << 2, /* embeddings are multiplied by sqrt(hidden_size) */
	CWE_FAMILY_FUSED = 1 << 3,            /* qkv_proj and gate_up_proj */
	CWE_FAMILY_NORM_HEADS = 1 << 4,       /* norms of queries and keys are by head */
	CWE_FAMILY_ATTENTION_SOFTCAP = 1 << 5, /* attn_logit_softcapping is read */
	CWE_FAMILY_LOGIT_SOFTCAP = 1 << 6,    /* final_logit_softcapping is read */
	CWE_FAMILY_USE_WINDOW = 1 << 7,       /* windows only where use_sliding_window */
	CWE_FAMILY_LAYER_TYPES = 1 << 8,      /* layer_types is read; elsewhere it may only repeat the rule */
	CWE_FAMILY_GELU_IS_TANH = 1 << 9      /* activation "gelu" means the approximation */
};

/* A yes or no: of a key, or fixed where that is NULL. */
struct cwe_family_choice {
	const char *key;
	int standard;
};

struct cwe_family_moe {
	const char *experts_key, *experts_other_key; /* the second is another spelling, or NULL */
	uint32_t experts;
	uint32_t top_k;
	uint32_t intermediate; /* default of moe_intermediate_size; 0: intermediate_size is that of the experts */
	uint32_t shared;       /* default of shared_expert_intermediate_size; 0: there is no shared expert */
	struct cwe_family_choice normalize;
	int mixed;             /* mlp_only_layers and decoder_sparse_step say which layers have experts */
	struct cwe_moe names;
};

struct cwe_family {
	const char *model_type, *architecture;
	const char *wrapper, *wrapper_architecture; /* multimodal model with this one as its text_config, or NULL */
	uint32_t flags;        /* enum cwe_family_flags */
	/* Defaults of keys; 0: the key must be there. */
	uint32_t heads, vocabulary;
	uint32_t kv_heads;     /* 0: as many as heads */
	uint32_t head_dim;     /* 0: hidden_size / num_attention_heads */
	uint32_t intermediate;
	uint32_t context;
	const char *activation_key;
	const char *activation;
	double norm_eps;
	float norm_offset;
	double query_scale;    /* default of query_pre_attn_scalar; 0: the scale is of head_dim */
	double attention_softcap, logit_softcap; /* defaults; 0: off */
	struct cwe_family_choice bias_qkv, bias_o, bias_mlp;
	enum cwe_window_rule windows;
	uint32_t window;       /* default of sliding_window; 0: off */
	const char *pattern_key; /* of CWE_WINDOW_PATTERN; NULL: pattern is fixed */
	uint32_t pattern;
	struct cwe_rope_rules rope;
	const char *norm[CWE_NORMS];
	const struct cwe_family_moe *moe;
};

/* The family of a model_type, its own or its wrapper's; NULL when there is none. */
const struct cwe_family *cwe_family_find(const char *model_type);

/* CWP_EVALUE for a key of the model's configuration that changes the arithmetic in a way that the family does not have:
 * names the key, its value and what to do. */
int cwe_family_check(const struct cwe_family *family, const json_t *config, struct cwb_err *err);

/* The model types as text "llama, mistral, ...". */
const char *cwe_family_names(char *text, size_t size);
