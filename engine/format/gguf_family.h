/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Within the GGUF reader: families of models as data. One row says what an architecture of GGUF is in Hugging Face's
 * configuration, one table says what its tensors are called there; the code below them is the same for all. */
#pragma once

#include "engine/format/gguf.h"

#define CWE_GGUF_LAYERS_MAX 100000
#define CWE_GGUF_EXPERTS_MAX 65536
#define CWE_GGUF_SIZE_MAX (1u << 30) /* more than any dimension of a model */

/* A set of families: which rows of a table hold for them. */
enum cwe_gguf_family_bit {
	CWE_GGUF_LLAMA = 1 << 0,
	CWE_GGUF_MISTRAL = 1 << 1, /* "llama" with a window */
	CWE_GGUF_MIXTRAL = 1 << 2, /* "llama" with experts */
	CWE_GGUF_QWEN2 = 1 << 3,
	CWE_GGUF_QWEN2MOE = 1 << 4,
	CWE_GGUF_QWEN3 = 1 << 5,
	CWE_GGUF_QWEN3MOE = 1 << 6,
	CWE_GGUF_GEMMA = 1 << 7,
	CWE_GGUF_GEMMA2 = 1 << 8,
	CWE_GGUF_GEMMA3 = 1 << 9,
	CWE_GGUF_PHI3 = 1 << 10,
	CWE_GGUF_OLMO2 = 1 << 11,
	CWE_GGUF_ALL = (1 << 12) - 1,
	CWE_GGUF_QWEN_MOE = CWE_GGUF_QWEN2MOE | CWE_GGUF_QWEN3MOE,
	CWE_GGUF_POST_NORMS = CWE_GGUF_GEMMA2 | CWE_GGUF_GEMMA3 | CWE_GGUF_OLMO2
};

enum cwe_gguf_trait {
	CWE_GGUF_INTERLEAVED = 1 << 0,    /* rows of q and k have the rotary halves of a head in turns */
	CWE_GGUF_NORM_OFFSET = 1 << 1,    /* norms are stored as 1 + w */
	CWE_GGUF_HEAD_DIM = 1 << 2,       /* head_dim has a standard of its own: it is always written */
	CWE_GGUF_WINDOW = 1 << 3,         /* may have a sliding window */
	CWE_GGUF_LAYER_PATTERN = 1 << 4,  /* in some layers only */
	CWE_GGUF_SOFTCAPS = 1 << 5,       /* may cap logits */
	CWE_GGUF_EXPERTS = 1 << 6,
	CWE_GGUF_PARTIAL_ROTARY = 1 << 7  /* may rotate a part of each head */
};

struct cwe_gguf_family {
	const char *architecture; /* general.architecture, and the prefix of its keys */
	enum cwe_gguf_family_bit bit;
	const char *model_type, *class_name; /* of config.json */
	unsigned traits;                     /* enum cwe_gguf_trait */
};

/* The family of a file. CWP_EMISSING or CWP_EUNKNOWN with the architecture's name, or with the key that changes the
 * arithmetic in a way that its family does not have. */
int cwe_gguf_family_of(const struct cwe_gguf *g, const struct cwe_gguf_family **ret, struct cwb_err *err);

/* The family of a model_type of config.json, or NULL. */
const struct cwe_gguf_family *cwe_gguf_family_find(const char *model_type);

/* "<architecture>.<part>" */
struct cwe_gguf_key {
	char text[128];
};
struct cwe_gguf_key cwe_gguf_key(const struct cwe_gguf_family *f, const char *part);

/* Sizes of a model, each within its limit and above 0; a head's dimension is that of queries, keys and values. */
struct cwe_gguf_sizes {
	uint64_t layers, hidden, inner, context, heads, kv_heads, head_dim;
	uint64_t rotary;                                       /* values of a head that are rotated */
	uint64_t experts, experts_used, expert_inner, shared_inner; /* 0 without experts */
};
int cwe_gguf_sizes_of(const struct cwe_gguf *g, const struct cwe_gguf_family *f, struct cwe_gguf_sizes *ret,
	struct cwb_err *err);

/* How a tensor of a file becomes one of a checkpoint. */
enum cwe_gguf_how {
	CWE_GGUF_AS_IS,
	CWE_GGUF_QUERY,  /* rows of a head come back into their order where the family interleaves them */
	CWE_GGUF_KEY,
	CWE_GGUF_ROW,    /* [n] becomes [1, n] */
	CWE_GGUF_NOTHING /* no weight: it has its place in config.json, or none */
};

/* A '#' in both names is the number of an expert; in Hugging Face's alone, the file has the experts' matrices on top of
 * each other in one tensor [experts, out, in]. */
struct cwe_gguf_part {
	const char *gguf, *hugging_face; /* below "blk.<layer>." and "model.layers.<layer>." in the table of layers */
	unsigned families;
	enum cwe_gguf_how how;
};

struct cwe_gguf_name {
	const struct cwe_gguf_part *part;
	int in_layer;
	uint64_t layer, expert;
};

/* What a tensor of this name is in a family's model of so many layers: 1, or 0 when it is not known. */
int cwe_gguf_name_find(const struct cwe_gguf_family *f, const char *name, uint64_t layers, struct cwe_gguf_name *ret);
/* The reverse: what a checkpoint's tensor is in a file of this family. Experts are parts of stacks. */
int cwe_gguf_name_of(const struct cwe_gguf_family *f, const char *tensor, uint64_t layers, struct cwe_gguf_name *ret);
/* What cwe_gguf_name_of found is called there; freed with free(). NULL: out of memory. */
char *cwe_gguf_name_in_file(const struct cwe_gguf_name *n);
/* Its name in a checkpoint, of the given expert where it has one; freed with free(). NULL: out of memory. */
char *cwe_gguf_name_make(const struct cwe_gguf_name *n, uint64_t expert);
/* Whether the file holds the matrices of all experts in one tensor. */
int cwe_gguf_name_is_stack(const struct cwe_gguf_name *n);

/* A config.json in the making. */
struct cwe_gguf_making {
	const struct cwe_gguf *g;
	const struct cwe_gguf_family *f;
	struct cwe_gguf_sizes s;
	json_t *config;
	int failed; /* memory was short somewhere */
};

/* object[key] = value, whose reference is taken over; NULL as object or value: m->failed. */
void cwe_gguf_put(struct cwe_gguf_making *m, json_t *object, const char *key, json_t *value);

/* Adds rope_theta and rope_scaling, and partial_rotary_factor, rope_local_base_freq and original_max_position_embeddings
 * where the family has them. */
int cwe_gguf_rope(struct cwe_gguf_making *m, struct cwb_err *err);

/* An f32 as the decimal that an author wrote: the shortest that reads back as the same. */
json_t *cwe_gguf_decimal(float x);
/* 1 where a tensor of this name is a norm whose weight is one more in a file than in a checkpoint. */
int cwe_gguf_norm_offset(const struct cwe_gguf_family *f, const char *name);
