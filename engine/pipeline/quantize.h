/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One module at a time through the quantizer, in row tiles: what both orders of work share. Private to this folder. */
#pragma once

#include "engine/pipeline/mask.h"
#include "engine/pipeline/run.h"
#include "engine/pipeline/smooth.h"

/* On a GPU (quantize_device.h); d_block NULL: everything is quantized on the host. */
struct cwe_quantizing_there {
	void *d_block, *d_work; /* the quantizer's */
	uint64_t bytes;
	uint8_t *d_codes, *d_mask; /* [largest module] as those below */
	float *d_scales, *d_exact;
	int8_t *d_zeros;
};

struct cwe_quantizing {
	struct cwe_run *run;
	int masked;      /* weights are protected */
	float *weight;   /* [largest module] */
	float *exact;    /* [largest module] what protected weights are worth; NULL where nothing is protected or calibrated */
	uint8_t *mask;   /* [largest module's bits], NULL where nothing is protected */
	uint8_t *codes;  /* [largest module] */
	float *scales;
	int8_t *zeros;
	int *code;       /* [row tiles] */
	float input_scale; /* what prepare() found for the module's inputs, where they have one scale */
	int8_t input_zero; /* and their zero point */
	struct cwe_smoothing *smoothing; /* NULL: the quantizer scales no channels */
	struct cwe_quantizing_there there;
	/* Of the module at hand. */
	const struct cwe_run_module *m;
	uint64_t stride; /* bytes of a row of the mask */
	const float *source;
	const void *state;
};

/* On failure *ret needs no free. */
int cwe_quantizing_new(struct cwe_run *run, int masked, struct cwe_quantizing *ret, struct cwb_err *err);
void cwe_quantizing_free(struct cwe_quantizing *q);

/* Quantizes module m, whose mask is in q->mask: weight [rows, cols], state of prepare() or NULL. Fills codes, scales, zeros
 * and, with a state and a mask, exact. */
int cwe_quantizing_module(struct cwe_quantizing *q, const struct cwe_run_module *m, const float *weight, const void *state,
	struct cwb_err *err);
/* What cwe_quantizing_module gave, to the writer. */
int cwe_quantizing_write(struct cwe_quantizing *q, const struct cwe_run_module *m, struct cwe_writer *writer, struct cwb_err *err);
/* What an engine computes with -> q->weight: decoded codes, and protected weights rounded to the source's type. */
void cwe_quantizing_decode(struct cwe_quantizing *q, const struct cwe_run_module *m);
/* CWP_ENUMBER where one of these rows' weights is no number, with its place, since the quantizer says only that there is one. */
int cwe_quantizing_bad_weight(const struct cwe_run_module *m, uint64_t row, uint64_t rows, const float *weight, struct cwb_err *err);
