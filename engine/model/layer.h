/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One decoder layer, forward and backward, over a chunk of packed sequences. The same code serves all families: what
 * differs is in struct cwe_arch. */
#pragma once

#include "engine/model/model.h"
#include "engine/model/workspace.h"

/* A chunk: sequences packed one after another, and the samples (one or more whole sequences each) they belong to. */
struct cwe_chunk {
	uint64_t tokens;
	struct cwp_sequences sequences; /* attention does not cross them */
	struct cwp_sequences samples;   /* gradients are summed within them */
	struct cwp_prefixes prefixes;   /* what sequences go on after; range NULL: nothing. Forward only */
	const uint32_t *d_position;     /* [tokens] row of the rotary tables: cwe_chunk_load */
};

/* What goes through a matrix of a layer, or through some rows of it where several roles share one. */
struct cwe_flow {
	uint32_t linear;    /* number of the matrix: linears.h */
	uint64_t row;       /* first output row */
	uint64_t out, in;   /* output rows, input channels */
	uint64_t tokens;    /* rows of X and dY: all tokens of the chunk, or those that came to an expert */
	struct cwp_sequences samples; /* their samples; one may have no token */
};

/* Who looks at what flows through the matrices; NULL functions are not called. */
struct cwe_tap {
	void *arg;
	/* Input X [tokens, in] of a matrix, in the forward pass: once a matrix, whatever its roles. */
	int (*input)(void *arg, const struct cwe_flow *flow, const float *d_x, struct cwb_err *err);
	/* X and the gradient dY [tokens, out] of its output, in the backward pass. */
	int (*gradient)(void *arg, const struct cwe_flow *flow, const float *d_x, const float *d_dy, struct cwb_err *err);
	/* Where the gradients of the norms' weights go, [samples, cwe_norm_width] each; NULL when not wanted. */
	float *d_dnorm[CWE_NORMS];
};

/* x [T, hidden] -> out [T, hidden] (may not be x); fills the workspace for the backward pass, which needs no output: out
 * may be NULL. tap may be NULL. */
int cwe_layer_forward(struct cwe_model *model, const struct cwe_layer *layer, const struct cwe_chunk *chunk,
	const float *d_x, struct cwe_workspace *ws, float *d_out, const struct cwe_tap *tap, struct cwb_err *err);
/* The same for the backward pass where the inside of an earlier forward pass over the chunk is in the workspace
 * (cwe_workspace_inside): makes the rest, and shows the inputs to the tap. */
int cwe_layer_recall(struct cwe_model *model, const struct cwe_layer *layer, const struct cwe_chunk *chunk, const float *d_x,
	struct cwe_workspace *ws, const struct cwe_tap *tap, struct cwb_err *err);
/* After cwe_layer_forward or cwe_layer_recall on the same chunk: d_dx [T, hidden] holds the gradient at the layer's output and gets the
 * one at its input. The workspace is used up. */
int cwe_layer_backward(struct cwe_model *model, const struct cwe_layer *layer, const struct cwe_chunk *chunk,
	const float *d_x, struct cwe_workspace *ws, float *d_dx, const struct cwe_tap *tap, struct cwb_err *err);

/* Whether the tokens of sequences of at most this length can be computed apart from those after them: not where the rotary
 * embedding depends on a sequence's length, nor where inputs are quantized by sequence. */
int cwe_model_divisible(const struct cwe_model *model, uint64_t longest);

/* One new token each of several sequences, with their caches of keys and values for this layer. */
struct cwe_decode {
	uint64_t count;
	const uint64_t *length;     /* [count] tokens that a cache holds already */
	const uint32_t *d_position; /* [count] */
	float *const *d_k, *const *d_v; /* [count] of [capacity, kv_heads * head_dim]; each gets the new token's row */
};

/* x [count, hidden] is replaced by the layer's output. */
int cwe_layer_decode(struct cwe_model *model, const struct cwe_layer *layer, float *d_x, const struct cwe_decode *decode,
	struct cwe_workspace *ws, struct cwb_err *err);
