/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Numbers the matrices of a layer. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/model/linears.h"

/* Matrices of the attention block, and of one dense MLP. */
static uint32_t attention_count(const struct cwe_arch *a)
{
	return a->fused ? 2 : 4;
}

static uint32_t mlp_count(const struct cwe_arch *a)
{
	return a->fused ? 2 : 3;
}

static int is_moe(const struct cwe_arch *a, uint32_t layer)
{
	return cwe_arch_layer_is(a, layer, CWE_LAYER_MOE);
}

/* First matrix of the shared expert in a layer of experts; each expert has three, never fused. */
static uint32_t shared_at(const struct cwe_arch *a)
{
	return attention_count(a) + 3 * a->moe.experts;
}

uint32_t cwe_linears_scored(const struct cwe_arch *a, uint32_t layer)
{
	return is_moe(a, layer) ? shared_at(a) + (a->moe.shared > 0 ? 3 : 0) : attention_count(a) + mlp_count(a);
}

uint32_t cwe_linears(const struct cwe_arch *a, uint32_t layer)
{
	return cwe_linears_scored(a, layer) + (is_moe(a, layer) ? 1 + (a->moe.shared > 0) : 0);
}

static uint64_t q_width(const struct cwe_arch *a)
{
	return (uint64_t)a->heads * a->head_dim;
}

static uint64_t kv_width(const struct cwe_arch *a)
{
	return (uint64_t)a->kv_heads * a->head_dim;
}

static uint64_t inner(const struct cwe_arch *a, uint32_t expert)
{
	return expert == CWE_DENSE ? a->intermediate : expert == CWE_SHARED ? a->moe.shared : a->moe.intermediate;
}

void cwe_role_shape(const struct cwe_arch *a, enum cwe_role role, uint32_t expert, uint64_t *ret_rows, uint64_t *ret_cols)
{
	uint64_t d = a->hidden;
	*ret_cols = role == CWE_O ? q_width(a) : role == CWE_DOWN ? inner(a, expert) : d;
	switch (role) {
	case CWE_Q:
		*ret_rows = q_width(a);
		break;
	case CWE_K:
	case CWE_V:
		*ret_rows = kv_width(a);
		break;
	case CWE_GATE:
	case CWE_UP:
		*ret_rows = inner(a, expert);
		break;
	case CWE_ROUTER:
		*ret_rows = a->moe.experts;
		break;
	case CWE_SHARED_GATE:
		*ret_rows = 1;
		break;
	default:
		*ret_rows = d;
	}
}

/* Rows of a matrix: those of its role, and of the roles fused behind it. */
static uint64_t rows_of(const struct cwe_arch *a, enum cwe_role first, uint32_t expert)
{
	if (a->fused && first == CWE_Q) {
		return q_width(a) + 2 * kv_width(a);
	}
	uint64_t rows, cols;
	cwe_role_shape(a, first, expert, &rows, &cols);
	return a->fused && first == CWE_GATE && expert == CWE_DENSE ? 2 * rows : rows;
}

static void set(const struct cwe_arch *a, enum cwe_role first, uint32_t expert, struct cwe_linear *ret)
{
	uint64_t rows;
	cwe_role_shape(a, first, expert, &rows, &ret->cols);
	ret->rows = rows_of(a, first, expert);
	ret->bias = first <= CWE_V ? a->bias_qkv : first == CWE_O ? a->bias_o : expert == CWE_DENSE && a->bias_mlp;
	ret->kept = first >= CWE_ROUTER;
}

/* Attention: index 0 .. 3, or qkv and o. The input of q, k and v comes first, that of o second. */
static void attention_at(const struct cwe_arch *a, uint32_t index, struct cwe_linear *ret)
{
	static const char *const name[] = {"q_proj", "k_proj", "v_proj", "o_proj"};
	enum cwe_role role = a->fused ? (index == 0 ? CWE_Q : CWE_O) : (enum cwe_role)index;
	(void)snprintf(ret->name, sizeof ret->name, "self_attn.%s", a->fused && index == 0 ? "qkv_proj" : name[role]);
	set(a, role, CWE_DENSE, ret);
	ret->measures = role == CWE_Q || role == CWE_O;
	ret->input_at = role == CWE_O ? a->hidden : 0;
	for (uint32_t i = 0; i < index; i++) {
		ret->weight_at += rows_of(a, (enum cwe_role)i, CWE_DENSE) * a->hidden;
	}
}

/* What the attention block takes. */
static void attention_sum(const struct cwe_arch *a, uint64_t *ret_weights, uint64_t *ret_inputs)
{
	*ret_weights = (2 * q_width(a) + 2 * kv_width(a)) * a->hidden;
	*ret_inputs = a->hidden + q_width(a);
}

/* gate, up, down of one MLP (or gate_up and down) below `prefix`. */
static void mlp_at(const struct cwe_arch *a, uint32_t index, uint32_t expert, const char *prefix, const char *const name[3],
	struct cwe_linear *ret)
{
	int fused = a->fused && expert == CWE_DENSE;
	enum cwe_role role = fused ? (index == 0 ? CWE_GATE : CWE_DOWN) : (enum cwe_role)(CWE_GATE + index);
	(void)snprintf(ret->name, sizeof ret->name, "%s.%s", prefix, fused && index == 0 ? "gate_up_proj" : name[role - CWE_GATE]);
	set(a, role, expert, ret);
	ret->measures = role != CWE_UP;
	ret->input_at += role == CWE_DOWN ? a->hidden : 0;
	/* Gate and up have the same size. */
	ret->weight_at += (role == CWE_DOWN ? 2 : role == CWE_UP) * inner(a, expert) * a->hidden;
}

static uint64_t mlp_weights(const struct cwe_arch *a, uint32_t expert)
{
	return 3 * inner(a, expert) * a->hidden;
}

static void router_at(const struct cwe_arch *a, int shared_gate, struct cwe_linear *ret)
{
	(void)snprintf(ret->name, sizeof ret->name, "%s", shared_gate ? a->moe.shared_gate : a->moe.router);
	set(a, shared_gate ? CWE_SHARED_GATE : CWE_ROUTER, CWE_DENSE, ret);
	/* All tokens come through the shared expert: its input is that of the router. */
	ret->measures = a->moe.shared == 0;
	ret->weight_at += shared_gate ? (uint64_t)a->moe.experts * a->hidden : 0;
}

static void moe_at(const struct cwe_arch *a, uint32_t index, struct cwe_linear *ret)
{
	static const char *const plain[3] = {"gate_proj", "up_proj", "down_proj"};
	const char *const name[3] = {a->moe.gate, a->moe.up, a->moe.down};
	uint64_t experts = 3 * a->moe.experts;
	if (index < experts) {
		char prefix[CWE_LINEAR_NAME_MAX];
		uint32_t e = index / 3;
		ret->weight_at += e * mlp_weights(a, e);
		ret->input_at += (uint64_t)e * (a->hidden + a->moe.intermediate);
		(void)snprintf(prefix, sizeof prefix, "%.40s.%" PRIu32, a->moe.prefix, e);
		mlp_at(a, index % 3, e, prefix, name, ret);
		return;
	}
	ret->weight_at += a->moe.experts * mlp_weights(a, 0);
	ret->input_at += (uint64_t)a->moe.experts * (a->hidden + a->moe.intermediate);
	index -= (uint32_t)experts;
	if (a->moe.shared > 0 && index < 3) {
		mlp_at(a, index, CWE_SHARED, a->moe.shared_prefix, plain, ret);
		return;
	}
	ret->weight_at += mlp_weights(a, CWE_SHARED);
	router_at(a, a->moe.shared > 0 && index == 4, ret);
}

void cwe_linear_at(const struct cwe_arch *a, uint32_t layer, uint32_t index, struct cwe_linear *ret)
{
	static const char *const plain[3] = {"gate_proj", "up_proj", "down_proj"};
	memset(ret, 0, sizeof *ret);
	if (index < attention_count(a)) {
		attention_at(a, index, ret);
		return;
	}
	attention_sum(a, &ret->weight_at, &ret->input_at);
	index -= attention_count(a);
	if (is_moe(a, layer)) {
		moe_at(a, index, ret);
	} else {
		mlp_at(a, index, CWE_DENSE, "mlp", plain, ret);
	}
}

uint32_t cwe_linear_of(const struct cwe_arch *a, uint32_t layer, enum cwe_role role, uint32_t expert, uint64_t *ret_row)
{
	uint32_t at = attention_count(a);
	*ret_row = 0;
	if (role <= CWE_O) {
		if (!a->fused) {
			return role;
		}
		*ret_row = role == CWE_K ? q_width(a) : role == CWE_V ? q_width(a) + kv_width(a) : 0;
		return role == CWE_O;
	}
	if (role >= CWE_ROUTER) {
		return cwe_linears_scored(a, layer) + (role == CWE_SHARED_GATE);
	}
	if (expert == CWE_DENSE && a->fused) {
		*ret_row = role == CWE_UP ? a->intermediate : 0;
		return at + (role == CWE_DOWN);
	}
	at = expert == CWE_SHARED ? shared_at(a) : expert == CWE_DENSE ? at : at + 3 * expert;
	return at + (uint32_t)(role - CWE_GATE);
}

uint32_t cwe_linear_group(const struct cwe_arch *a, uint32_t layer, uint32_t index)
{
	uint32_t attention = attention_count(a), experts = is_moe(a, layer) ? 3 * a->moe.experts : 0;
	if (index < attention) {
		return a->fused || index == CWE_O ? index : CWE_Q;
	}
	if (index < attention + experts) {
		return attention;
	}
	/* gate, up, down of a dense MLP or a shared expert; then routers, each for itself. */
	uint32_t first = attention + experts, triple = is_moe(a, layer) ? (a->moe.shared > 0 ? 3 : 0) : a->fused ? 0 : 3;
	return index == first + 1 && triple > 0 ? first : index;
}

void cwe_linears_sum(const struct cwe_arch *a, uint32_t layer, uint64_t *ret_weights, uint64_t *ret_inputs)
{
	attention_sum(a, ret_weights, ret_inputs);
	if (!is_moe(a, layer)) {
		*ret_weights += mlp_weights(a, CWE_DENSE);
		*ret_inputs += (uint64_t)a->hidden + a->intermediate;
		return;
	}
	*ret_weights += a->moe.experts * mlp_weights(a, 0) + mlp_weights(a, CWE_SHARED) +
		((uint64_t)a->moe.experts + (a->moe.shared > 0)) * a->hidden;
	*ret_inputs += (uint64_t)a->moe.experts * (a->hidden + a->moe.intermediate) + a->hidden + a->moe.shared;
}

/* There are at most two kinds of layers; the first of each speaks for all. */
static void each_kind(const struct cwe_arch *a, uint32_t *ret_count, uint64_t *ret_weights, uint64_t *ret_inputs)
{
	int seen[2] = {0, 0};
	*ret_count = 0;
	*ret_weights = *ret_inputs = 0;
	for (uint32_t l = 0; l < a->layers; l++) {
		int kind = is_moe(a, l);
		if (!seen[kind]) {
			uint64_t weights, inputs;
			uint32_t count = cwe_linears(a, l);
			cwe_linears_sum(a, l, &weights, &inputs);
			*ret_count = count > *ret_count ? count : *ret_count;
			*ret_weights = weights > *ret_weights ? weights : *ret_weights;
			*ret_inputs = inputs > *ret_inputs ? inputs : *ret_inputs;
			seen[kind] = 1;
		}
	}
}

uint32_t cwe_linears_most(const struct cwe_arch *a)
{
	uint32_t count;
	uint64_t weights, inputs;
	each_kind(a, &count, &weights, &inputs);
	return count;
}

void cwe_linears_sum_most(const struct cwe_arch *a, uint64_t *ret_weights, uint64_t *ret_inputs)
{
	uint32_t count;
	each_kind(a, &count, ret_weights, ret_inputs);
}
