/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Statistics of one layer's Linears over one set, gathered on the device while the layer runs. */
#pragma once

#include <cwp/scorer.h>

#include "engine/model/layer.h"

/* What a sink gets: host memory, valid until it returns. Arrays that were not asked for are NULL. */
struct cwe_module_statistics {
	uint64_t rows, cols;
	uint64_t samples;
	uint64_t tokens; /* that came through the matrix: for an expert, those that were sent to it */
	const float *weight;     /* [rows, cols] */
	const float *grad_sum, *grad_abs, *grad_sq; /* [rows, cols] sums over the samples */
	const float *bias_sum, *bias_abs, *bias_sq; /* [rows] the same of the bias, where there is one */
	const double *act_sum, *act_sq, *act_abs; /* [cols] sums over the tokens */
	const float *act_absmax; /* [cols] */
	const float *gram;       /* [cols, cols] sum over the tokens of x x^T */
	const uint64_t *act_histogram; /* [CWP_HISTOGRAM_BINS] over tokens and channels */
	const float *act_least, *act_greatest; /* [cols] */
};

/* Elements before a matrix's own: biases, x x^T of distinct inputs, and those inputs. */
struct cwe_statistics_place {
	uint64_t bias, gram, input;
};

struct cwe_statistics {
	struct cwe_model *model;
	uint32_t needs;     /* enum cwp_statistic bits */
	uint32_t layer;     /* at hand */
	float *d_grad[3];   /* sum, abs, sq of all matrices one after another; NULL when not wanted */
	float *d_bias[3];   /* the same of their biases */
	float *d_ones;      /* [widest] what a bias is multiplied with */
	uint64_t widest;    /* tokens of the largest piece */
	double *d_act;      /* sums, then squares, then magnitudes where they are wanted, of the distinct inputs */
	float *d_absmax;
	float *d_gram;      /* of the distinct inputs one after another: upper triangles; NULL when not wanted */
	uint64_t *tokens;   /* [cwe_linears_most] */
	struct cwe_statistics_place *place; /* [cwe_linears_most] of the layer at hand */
	uint64_t weights;   /* of the largest layer's matrices */
	uint64_t inputs;    /* all distinct inputs' channels */
	uint64_t biases;    /* elements, 0 when not wanted */
	void *d_block;
	uint64_t bytes;
	uint64_t *d_histogram; /* of the distinct inputs one after another; NULL when not wanted */
	float *range;       /* [2, inputs] least and greatest, on the host; NULL when not wanted */

	/* Where memory is the backend's own: what lies in d_block and the layer's weights, at the same offsets. */
	char *host_block;
	float *host_weights;
	/* What was kept: cwe_statistics_keep. */
	void *d_spare;       /* the other block; NULL: nothing is kept */
	float *spare_weights; /* of the layer at hand, while those in host_weights are looked at */
	uint32_t kept_layer;
	uint64_t *kept_tokens;
	struct cwe_statistics_place *kept_place;
	float *kept_range;
	int fetching;        /* something of it is on its way */
	int fresh;           /* spare_weights are of a layer of which nothing was kept yet */
};

/* Bytes of device memory for these needs, biases left out. */
uint64_t cwe_statistics_bytes(const struct cwe_arch *arch, uint32_t needs);
/* widest: tokens of the largest piece, when the gradients of biases are wanted too; else 0. */
int cwe_statistics_new(struct cwe_model *model, uint32_t needs, uint64_t widest, struct cwe_statistics *ret,
	struct cwb_err *err);
void cwe_statistics_free(struct cwe_statistics *s);
/* Forgets everything; the next taps and results are those of this layer. */
int cwe_statistics_begin(struct cwe_statistics *s, uint32_t layer, struct cwb_err *err);
/* A tap that adds to s: give its result to the layer's passes. gradients: in the backward pass too. */
struct cwe_tap cwe_statistics_tap(struct cwe_statistics *s, int gradients);
/* Of host memory, where memory is the backend's own; else 0. */
uint64_t cwe_statistics_host_bytes(const struct cwe_model *model, uint32_t needs);

/* Where memory is the backend's own: finished statistics go to the host while the next ones are gathered, in another block.
 * keeps: takes memory for that, as much again. weights: those of a layer that is measured from now on are on their way. keep: all
 * of the layer at hand is; what was kept before is gone, and the layer's memory stays as it is until they are there. settle: they
 * are. kept: of one matrix, after settle, until the next keep. */
int cwe_statistics_keeps(struct cwe_statistics *s, struct cwb_err *err);
int cwe_statistics_weights(struct cwe_statistics *s, const struct cwe_layer *layer, struct cwb_err *err);
int cwe_statistics_keep(struct cwe_statistics *s, struct cwb_err *err);
int cwe_statistics_settle(struct cwe_statistics *s, struct cwb_err *err);
void cwe_statistics_kept(const struct cwe_statistics *s, uint32_t linear, struct cwe_module_statistics *ret);

/* Elements of all matrices of the layer at hand together. */
struct cwe_statistics_place cwe_statistics_places(const struct cwe_statistics *s);
/* Adds those of s[1 .. n), the same layer and needs on other devices, to those of s[0]; whose thread calls while the others wait. */
int cwe_statistics_join(struct cwe_statistics *const *s, uint32_t n, struct cwb_err *err);

/* The finished statistics of one matrix of the layer. Valid until the next call. */
int cwe_statistics_get(struct cwe_statistics *s, const struct cwe_layer *layer, uint32_t linear,
	struct cwe_module_statistics *ret, struct cwb_err *err);
/* The same on a device with memory of its own where weight and x x^T stay there: both are NULL, and *ret_d_gram is the latter
 * as the device has it, of which only what lies right of the diagonal counts, and that. NULL: it was not asked for. */
int cwe_statistics_get_there(struct cwe_statistics *s, uint32_t linear, struct cwe_module_statistics *ret, const float **ret_d_gram,
	struct cwb_err *err);
