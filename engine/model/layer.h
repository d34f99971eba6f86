/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One decoder layer, forward and backward, over a chunk of packed sequences. */
#pragma once

#include "engine/model/model.h"

/* A chunk: sequences packed one after another, and the samples (one or more whole sequences each) they belong to. */
struct cwe_chunk {
	uint64_t tokens;
	struct cwp_sequences sequences; /* attention does not cross them */
	struct cwp_sequences samples;   /* gradients are summed within them */
	const uint32_t *d_position;     /* [tokens] position within the sequence */
};

/* Intermediate results of one layer for at most `tokens` tokens. T: tokens of the chunk at hand. */
struct cwe_workspace {
	uint64_t tokens;
	int backward;
	float *d_h1;    /* [T, hidden] normed input of attention */
	float *d_rstd1; /* [T] */
	float *d_q;     /* [T, heads * head_dim] after rope */
	float *d_k, *d_v; /* [T, kv_heads * head_dim] */
	float *d_attention; /* [T, heads * head_dim] */
	float *d_lse;   /* [heads, T] */
	float *d_x2;    /* [T, hidden] after the attention block */
	float *d_h2;    /* [T, hidden] normed input of the MLP */
	float *d_rstd2; /* [T] */
	float *d_gate, *d_up, *d_h; /* [T, intermediate] */
	float *d_quantized; /* [T, widest input] when activations are quantized at run time, else NULL */
	float *d_dh;    /* backward only: [T, max(intermediate, heads * head_dim)] */
	float *d_dx;    /* [T, hidden] */
	float *d_dq, *d_dk, *d_dv;
	float *d_cos, *d_sin; /* [positions, head_dim / 2] */
	float *d_block;
	uint64_t bytes;
};

/* Bytes that a workspace takes. */
uint64_t cwe_workspace_bytes(const struct cwe_model *model, uint64_t tokens, uint64_t positions, int backward);
int cwe_workspace_new(struct cwe_model *model, uint64_t tokens, uint64_t positions, int backward,
	struct cwe_workspace *ret, struct cwb_err *err);
void cwe_workspace_free(struct cwe_model *model, struct cwe_workspace *ws);

/* Who looks at what flows through the Linears; NULL functions are not called. */
struct cwe_tap {
	void *arg;
	/* Input X [chunk->tokens, cols] of a Linear, in the forward pass. */
	int (*input)(void *arg, enum cwe_linear linear, const struct cwe_chunk *chunk, const float *d_x,
		struct cwb_err *err);
	/* X and the gradient dY [chunk->tokens, rows] of its output, in the backward pass. */
	int (*gradient)(void *arg, enum cwe_linear linear, const struct cwe_chunk *chunk, const float *d_x,
		const float *d_dy, struct cwb_err *err);
	/* Where the gradients of the two norms' weights go, [samples, hidden] each; NULL when not wanted. */
	float *d_dnorm_attention, *d_dnorm_mlp;
};

/* x [T, hidden] -> out [T, hidden] (may not be x); fills the workspace for the backward pass, which needs no output: out
 * may be NULL. tap may be NULL. */
int cwe_layer_forward(struct cwe_model *model, const struct cwe_layer *layer, const struct cwe_chunk *chunk,
	const float *d_x, struct cwe_workspace *ws, float *d_out, const struct cwe_tap *tap, struct cwb_err *err);
/* After cwe_layer_forward on the same chunk: d_dx [T, hidden] holds the gradient at the layer's output and gets the
 * one at its input. The workspace is used up. */
int cwe_layer_backward(struct cwe_model *model, const struct cwe_layer *layer, const struct cwe_chunk *chunk,
	const float *d_x, struct cwe_workspace *ws, float *d_dx, const struct cwe_tap *tap, struct cwb_err *err);

/* One new token of one sequence with a cache of keys and values [capacity, kv_heads * head_dim] that already holds
 * `length` tokens: x [hidden] is replaced by the layer's output; the cache gets the new token's row. */
int cwe_layer_decode(struct cwe_model *model, const struct cwe_layer *layer, float *d_x, uint64_t length,
	const uint32_t *d_position, float *d_k_cache, float *d_v_cache, struct cwe_workspace *ws, struct cwb_err *err);
