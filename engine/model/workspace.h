/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Intermediate results of one layer, on the device, in one allocation that serves every layer in turn. */
#pragma once

#include "engine/model/model.h"
#include "engine/model/routing.h"

/* Rows of logits held at once, and vocabulary entries a slice (head.h): fixed, so that no limit changes a result. */
#define CWE_HEAD_ROWS 1024
#define CWE_HEAD_SLICE 4096

/* T: tokens of the chunk at hand, at most `tokens`. Arrays that the architecture or the pass does not need are NULL. */
struct cwe_workspace {
	uint64_t tokens;
	uint64_t positions; /* of the rotary tables; an extended sequence's rows lie behind them (cwe_rope_extended) */
	int backward;
	float *d_rstd[CWE_NORMS]; /* [T], of queries and keys by head [T, heads] */
	float *d_h1;        /* [T, hidden] normed input of attention; output of a decoded token */
	float *d_q0, *d_k0; /* [T, ..] queries and keys before their norms */
	float *d_q;         /* [T, heads * head_dim] after rope */
	float *d_k, *d_v;   /* [T, kv_heads * head_dim] */
	float *d_attention; /* [T, heads * head_dim] */
	float *d_lse;       /* [heads, T] */
	float *d_o;         /* [T, hidden] output of attention before its norm */
	float *d_x2;        /* [T, hidden] after the attention block */
	float *d_h2;        /* [T, hidden] normed input of the MLP */
	float *d_gate, *d_up, *d_h; /* [T, intermediate], of the dense MLP or the shared expert */
	float *d_m;         /* [T, hidden] output of the MLP before its norm */
	float *d_quantized; /* [T, widest input] where inputs are quantized */
	float *d_cos[2], *d_sin[2]; /* [positions, rotary / 2], as struct cwe_arch's rope */

	/* Mixture of experts. A: assignments of a token to an expert, T * top_k. */
	struct cwe_routing routing;
	float *d_router;    /* [T, experts] */
	uint32_t *d_token;  /* [A] */
	float *d_weight;    /* [A] */
	float *d_xe;        /* [A, hidden] inputs, expert by expert */
	float *d_ge, *d_ue, *d_he; /* [A, moe.intermediate] */
	float *d_ye;        /* [A, hidden] outputs */
	float *d_ys;        /* [T, hidden] output of the shared expert */
	float *d_ws;        /* [T] its gate */
	float *host;        /* [T * max(experts, top_k)] on the host */

	/* Backward. */
	float *d_dblock;    /* [T, hidden] gradient at a block's output before its norm */
	float *d_dh;        /* widest of the inner gradients */
	float *d_dx;        /* [T, hidden] */
	float *d_dq, *d_dk, *d_dv;
	float *d_dq0, *d_dk0;
	float *d_dye;       /* [A, hidden] */
	float *d_dw;        /* [A] or [T] */

	float *d_block;
	uint64_t bytes;
};

/* Bytes that a workspace takes: device memory, and host memory for routing. */
uint64_t cwe_workspace_bytes(const struct cwe_model *model, uint64_t tokens, uint64_t positions, int backward);
/* What a backend is used for by passes over pieces of at most this many tokens, and by the head behind them: for its overhead()
 * and reserve(). */
void cwe_workspace_use(const struct cwe_model *model, uint64_t tokens, struct cwp_backend_use *ret);
/* positions: of the longest sequence. *ret needs no free when it fails. */
int cwe_workspace_new(struct cwe_model *model, uint64_t tokens, uint64_t positions, int backward,
	struct cwe_workspace *ret, struct cwb_err *err);
void cwe_workspace_free(struct cwe_model *model, struct cwe_workspace *ws); /* a zeroed one is fine */

/* The inside of a layer: of what its forward pass leaves for the backward pass, all that products and attention made. The rest is
 * made of it (cwe_layer_recall). Bytes for so many tokens. */
uint64_t cwe_workspace_inside_bytes(const struct cwe_model *model, uint32_t layer, uint64_t tokens);
/* From now on the inside of this layer, for a chunk of so many tokens, is at d_inside, which begins a line of 64 bytes; NULL: in
 * the workspace's own memory again. */
void cwe_workspace_inside(const struct cwe_model *model, struct cwe_workspace *ws, uint32_t layer, uint64_t tokens, float *d_inside);

/* Whether a sequence of this length rotates by the frequencies for long ones: then its positions begin at
 * ws->positions. */
int cwe_rope_extended(const struct cwe_arch *arch, uint64_t length);
