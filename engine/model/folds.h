/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Where a scale of channels can move inside a layer without changing what the layer computes. Columns of the matrices
 * that read an input are multiplied by s, and what makes that input gives 1/s of each channel: the weight of a norm
 * (which multiplies by w, or by 1 + w), or rows and biases of another matrix. What stands between the two must be linear
 * in each channel: attention is so in its values, a gated MLP in what comes from `up`. */
#pragma once

#include "engine/model/linears.h"

enum cwe_fold_kind {
	CWE_FOLD_NORM, /* of the attention block or of the MLP */
	CWE_FOLD_ROWS  /* values, or up */
};

/* One distinct input of a layer, or several that come from one norm: the experts of a layer. */
struct cwe_fold {
	enum cwe_fold_kind kind;
	enum cwe_norm norm; /* of CWE_FOLD_NORM: [channels] */
	uint32_t producer;  /* of CWE_FOLD_ROWS: the matrix, and its rows [row, row + channels) */
	uint64_t row;
	uint64_t channels;  /* scales */
	uint64_t cols;      /* columns of a consumer; more than channels where query heads share their values */
	uint64_t width;     /* columns of a head, and how many heads follow each other on one and the same */
	uint64_t repeat;
	uint32_t consumers; /* matrices that read the input */
	enum cwe_role role; /* of the first of them */
	uint32_t expert;    /* whose it is: see linears.h */
};

/* How many folds a layer has. Without a norm before a block its input has none. */
uint32_t cwe_folds(const struct cwe_arch *arch, uint32_t layer);
/* Fold `index` of a layer, in the order of its inputs: attention, values, MLP, then up of each MLP. */
void cwe_fold_at(const struct cwe_arch *arch, uint32_t layer, uint32_t index, struct cwe_fold *ret);
/* The number of the i-th consumer among the layer's matrices; increasing with i. */
uint32_t cwe_fold_consumer(const struct cwe_arch *arch, uint32_t layer, const struct cwe_fold *fold, uint32_t i);

/* The scale that a column of a consumer has. */
static inline uint64_t cwe_fold_channel(const struct cwe_fold *fold, uint64_t column)
{
	return column / (fold->width * fold->repeat) * fold->width + column % fold->width;
}

struct cwe_model;
struct cwe_weights;

/* Folds scale [channels] into the weights of a layer, as `scaled` (scaled.h, over the model's own weights) gives them from
 * now on. On return scale holds what the columns were multiplied with: where a norm's weight was rounded to its dtype, the
 * quotient of the weights before and after, so that rounding changes nothing; 1 where the norm's channel is 0. */
int cwe_fold_apply(const struct cwe_model *model, struct cwe_weights *scaled, uint32_t layer, const struct cwe_fold *fold,
	float *scale, struct cwb_err *err);
/* What scale would hold on return of cwe_fold_apply, without folding anything. */
int cwe_fold_round(const struct cwe_model *model, uint32_t layer, const struct cwe_fold *fold, float *scale, struct cwb_err *err);
