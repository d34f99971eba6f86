/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Statistics of one layer's Linears over one set, gathered on the device while the layer runs. */
#pragma once

#include <cwp/scorer.h>

#include "engine/model/layer.h"

/* What a sink gets: host memory, valid until it returns. Arrays that were not asked for are NULL. */
struct cwe_module_statistics {
	uint64_t rows, cols;
	uint64_t samples, tokens;
	const float *weight;     /* [rows, cols] */
	const float *grad_sum, *grad_abs, *grad_sq; /* [rows, cols] sums over the samples */
	const double *act_sum, *act_sq; /* [cols] sums over the tokens */
	const float *act_absmax; /* [cols] */
};

struct cwe_statistics {
	struct cwe_model *model;
	uint32_t needs;     /* enum cwp_statistic bits */
	float *d_grad[3];   /* sum, abs, sq of all Linears one after another; NULL when not wanted */
	double *d_act;      /* sums, then squares, of the four distinct inputs */
	float *d_absmax;
	uint64_t weights;   /* all Linears' weights */
	uint64_t inputs;    /* all distinct inputs' channels */
	void *d_block;
	uint64_t bytes;
	float *host;        /* staging for devices without host memory */
	double *host_act;
};

/* Bytes of device memory for these needs. */
uint64_t cwe_statistics_bytes(const struct cwe_arch *arch, uint32_t needs);
int cwe_statistics_new(struct cwe_model *model, uint32_t needs, struct cwe_statistics *ret, struct cwb_err *err);
void cwe_statistics_free(struct cwe_statistics *s);
int cwe_statistics_zero(struct cwe_statistics *s, struct cwb_err *err);
/* A tap that adds to s: give its result to the layer's passes. gradients: in the backward pass too. */
struct cwe_tap cwe_statistics_tap(struct cwe_statistics *s, int gradients);
/* The finished statistics of one Linear. Valid until the next call. */
int cwe_statistics_get(struct cwe_statistics *s, const struct cwe_layer *layer, enum cwe_linear linear,
	struct cwe_module_statistics *ret, struct cwb_err *err);
