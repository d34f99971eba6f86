/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the blocks of a layer share: a pass at work, and the steps that every block is made of. Private to this folder. */
#pragma once

#include "engine/model/layer.h"
#include "engine/model/ops.h"

struct cwe_block {
	struct cwe_model *model;
	const struct cwe_layer *layer;
	const struct cwe_chunk *chunk;
	struct cwe_workspace *ws;
	const struct cwe_tap *tap; /* may be NULL */
	int recalls; /* what products and attention make is in the workspace already */
};

/* Rows that go through a role's matrix together. */
struct cwe_rows {
	uint64_t count;
	struct cwp_sequences samples;
	struct cwp_sequences sequences; /* count 0: each row is one of its own */
};

/* What the matrices of one input multiply: X [rows, in], and X as the last of them quantized it. */
struct cwe_operand {
	const float *d_x;
	const struct cwp_activation *how; /* NULL: not quantized yet */
};

/* All tokens of the chunk. */
struct cwe_rows cwe_block_rows(const struct cwe_block *b);

/* Shows X to the tap; then y [rows, out] = x W^T + bias, where x is X, or X as the matrix quantizes its input. The matrices of one
 * input come one after another with one operand, in which d_x alone is filled at first: then X is quantized once for all
 * that do it alike. y NULL, or where the block recalls: X is only shown. */
int cwe_block_linear(const struct cwe_block *b, enum cwe_role role, uint32_t expert, const struct cwe_rows *rows,
	struct cwe_operand *x, float *d_y, struct cwb_err *err);
/* Shows X and dY to the tap; then dx (+)= dY W. */
int cwe_block_linear_backward(const struct cwe_block *b, enum cwe_role role, uint32_t expert, const struct cwe_rows *rows,
	const float *d_x, const float *d_dy, int accumulate, float *d_dx, struct cwb_err *err);

/* A norm over the rows of all tokens (of all heads, for queries and keys). */
int cwe_block_norm(const struct cwe_block *b, enum cwe_norm norm, const float *d_x, float *d_y, struct cwb_err *err);
int cwe_block_norm_backward(const struct cwe_block *b, enum cwe_norm norm, const float *d_dy, const float *d_x,
	int accumulate, float *d_dx, struct cwb_err *err);

/* The attention block without its residual sum: x [T, hidden] -> ws->d_x2 [T, hidden]. decode: NULL, or the caches that
 * stand for the chunk's own keys and values. */
int cwe_attention_forward(const struct cwe_block *b, const float *d_x, const struct cwe_decode *decode, struct cwb_err *err);
/* The gradient at the block's output -> ws->d_dx, the one at its input (before or behind its norm: the caller's). */
int cwe_attention_backward(const struct cwe_block *b, const float *d_x, const float *d_dy, struct cwb_err *err);

/* The dense MLP or a shared expert: x [T, hidden] -> y [T, hidden], unless y is NULL. */
int cwe_mlp_forward(const struct cwe_block *b, uint32_t expert, const float *d_x, float *d_y, struct cwb_err *err);
/* dx (+)= gradient. */
int cwe_mlp_backward(const struct cwe_block *b, uint32_t expert, const float *d_x, const float *d_dy, int accumulate,
	float *d_dx, struct cwb_err *err);

/* A mixture of experts, alike. y NULL: only what the backward pass needs. */
int cwe_moe_forward(const struct cwe_block *b, const float *d_x, float *d_y, struct cwb_err *err);
/* dx is overwritten. */
int cwe_moe_backward(const struct cwe_block *b, const float *d_x, const float *d_dy, float *d_dx, struct cwb_err *err);
