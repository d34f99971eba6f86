/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The matrices of a layer, numbered as the checkpoint has them: attention, then the MLP or all experts one after
 * another and the shared expert, last the small ones that choose experts. What a matrix does in the arithmetic is its
 * role; several roles may share one matrix (qkv_proj), one after another in its rows. */
#pragma once

#include <stddef.h>

#include "engine/model/arch.h"

enum cwe_role {
	CWE_Q,
	CWE_K,
	CWE_V,
	CWE_O,
	CWE_GATE,
	CWE_UP,
	CWE_DOWN,
	CWE_ROUTER,     /* [experts, hidden] */
	CWE_SHARED_GATE /* [1, hidden] */
};

/* Whose gate, up and down: of the dense MLP, of an expert by number, or of the shared one. */
#define CWE_DENSE UINT32_MAX
#define CWE_SHARED (UINT32_MAX - 1)

#define CWE_LINEAR_NAME_MAX 64
#define CWE_MODULE_NAME_MAX 112

struct cwe_linear {
	char name[CWE_LINEAR_NAME_MAX]; /* below the layer: "self_attn.q_proj" */
	uint64_t rows, cols;            /* [out, in] */
	int bias;
	int kept;           /* a router: never scored, protected or quantized, it stays what it is */
	int measures;       /* the first that reads its input: q of q, k and v */
	uint64_t weight_at; /* weights of the layer's matrices before it */
	uint64_t input_at;  /* channels of the layer's distinct inputs before its own */
};

/* How many matrices a layer has, and how many of them are not `kept`: those are the first. */
uint32_t cwe_linears(const struct cwe_arch *arch, uint32_t layer);
uint32_t cwe_linears_scored(const struct cwe_arch *arch, uint32_t layer);
/* All weights of a layer's matrices, and channels of its distinct inputs. */
void cwe_linears_sum(const struct cwe_arch *arch, uint32_t layer, uint64_t *ret_weights, uint64_t *ret_inputs);
/* The most of any layer: for memory that serves all. */
uint32_t cwe_linears_most(const struct cwe_arch *arch);
void cwe_linears_sum_most(const struct cwe_arch *arch, uint64_t *ret_weights, uint64_t *ret_inputs);

/* Matrix `index` of a layer. */
void cwe_linear_at(const struct cwe_arch *arch, uint32_t layer, uint32_t index, struct cwe_linear *ret);
/* The matrix that has a role, and its first row there. expert counts for gate, up and down only. */
uint32_t cwe_linear_of(const struct cwe_arch *arch, uint32_t layer, enum cwe_role role, uint32_t expert, uint64_t *ret_row);
/* The first of the matrices that engines fuse or load under one scheme with this one: q, k and v; gate and up; all experts
 * of a layer. Matrices of a group lie one after another. */
uint32_t cwe_linear_group(const struct cwe_arch *arch, uint32_t layer, uint32_t index);
/* Rows [out] and columns [in] of a role. */
void cwe_role_shape(const struct cwe_arch *arch, enum cwe_role role, uint32_t expert, uint64_t *ret_rows,
	uint64_t *ret_cols);
