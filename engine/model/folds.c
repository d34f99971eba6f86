/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Lists what can be folded, from the description of a family alone. */
#include <string.h>

#include "engine/model/folds.h"

static int is_moe(const struct cwe_arch *a, uint32_t layer)
{
	return cwe_arch_layer_is(a, layer, CWE_LAYER_MOE);
}

static int has(const struct cwe_arch *a, enum cwe_norm norm)
{
	return a->norm[norm] != NULL;
}

/* MLPs of a layer: the dense one, or all experts and the shared one. */
static uint32_t mlps(const struct cwe_arch *a, uint32_t layer)
{
	return is_moe(a, layer) ? a->moe.experts + (a->moe.shared > 0) : 1;
}

static uint32_t expert_of(const struct cwe_arch *a, uint32_t layer, uint32_t mlp)
{
	return !is_moe(a, layer) ? CWE_DENSE : mlp < a->moe.experts ? mlp : CWE_SHARED;
}

uint32_t cwe_folds(const struct cwe_arch *a, uint32_t layer)
{
	return (uint32_t)has(a, CWE_NORM_ATTENTION) + 1 + (uint32_t)has(a, CWE_NORM_MLP) + mlps(a, layer);
}

static uint32_t number_of(const struct cwe_arch *a, uint32_t layer, enum cwe_role role, uint32_t expert)
{
	uint64_t row;
	return cwe_linear_of(a, layer, role, expert, &row);
}

static void norm_at(const struct cwe_arch *a, uint32_t layer, enum cwe_norm norm, struct cwe_fold *ret)
{
	ret->kind = CWE_FOLD_NORM;
	ret->norm = norm;
	ret->channels = ret->cols = ret->width = a->hidden;
	ret->repeat = 1;
	ret->role = norm == CWE_NORM_ATTENTION ? CWE_Q : CWE_GATE;
	ret->expert = norm == CWE_NORM_ATTENTION ? CWE_DENSE : expert_of(a, layer, 0);
	if (norm == CWE_NORM_ATTENTION) {
		ret->consumers = a->fused ? 1 : 3;
	} else if (is_moe(a, layer)) {
		/* gate and up of each, and the matrices that choose. */
		ret->consumers = 2 * mlps(a, layer) + cwe_linears(a, layer) - cwe_linears_scored(a, layer);
	} else {
		ret->consumers = a->fused ? 1 : 2;
	}
}

static void rows_at(const struct cwe_arch *a, uint32_t layer, enum cwe_role producer, enum cwe_role consumer, uint32_t expert,
	struct cwe_fold *ret)
{
	uint64_t in;
	ret->kind = CWE_FOLD_ROWS;
	ret->producer = cwe_linear_of(a, layer, producer, expert, &ret->row);
	cwe_role_shape(a, producer, expert, &ret->channels, &in);
	cwe_role_shape(a, consumer, expert, &in, &ret->cols);
	ret->width = producer == CWE_V ? a->head_dim : ret->channels;
	ret->repeat = producer == CWE_V ? a->heads / a->kv_heads : 1;
	ret->consumers = 1;
	ret->role = consumer;
	ret->expert = expert;
}

void cwe_fold_at(const struct cwe_arch *a, uint32_t layer, uint32_t index, struct cwe_fold *ret)
{
	memset(ret, 0, sizeof *ret);
	if (has(a, CWE_NORM_ATTENTION) && index-- == 0) {
		norm_at(a, layer, CWE_NORM_ATTENTION, ret);
	} else if (index-- == 0) {
		rows_at(a, layer, CWE_V, CWE_O, CWE_DENSE, ret);
	} else if (has(a, CWE_NORM_MLP) && index-- == 0) {
		norm_at(a, layer, CWE_NORM_MLP, ret);
	} else {
		rows_at(a, layer, CWE_UP, CWE_DOWN, expert_of(a, layer, index), ret);
	}
}

uint32_t cwe_fold_consumer(const struct cwe_arch *a, uint32_t layer, const struct cwe_fold *fold, uint32_t i)
{
	if (fold->kind == CWE_FOLD_NORM && fold->norm == CWE_NORM_MLP && is_moe(a, layer)) {
		uint32_t n = mlps(a, layer);
		return i < 2 * n ? number_of(a, layer, i % 2 == 0 ? CWE_GATE : CWE_UP, expert_of(a, layer, i / 2))
				 : cwe_linears_scored(a, layer) + i - 2 * n;
	}
	return number_of(a, layer, fold->role, fold->expert) + i;
}
