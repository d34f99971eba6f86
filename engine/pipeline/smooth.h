/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scales of channels for quantizers that ask for them: a layer's inputs are shown to the plugin one by one, and the scales
 * that it chooses are folded into the layer's weights. Private to this folder. */
#pragma once

#include "engine/calibrate/statistics.h"
#include "engine/model/folds.h"
#include "engine/pipeline/run.h"

struct cwe_smoothing {
	struct cwe_run *run;
	struct cwe_weights *scaled; /* the source's weights, with all scales so far */
	struct cwe_model model;     /* the run's, with these weights */
	int masked;
	uint8_t *mask;   /* of the layer's modules one after another: cwe_smoothing_mask; NULL where nothing is protected */
	float *scale;    /* [inputs] of the layer's distinct inputs, as linears.h counts channels */
	float *chosen;   /* [chosen_count] scales of the layer's folds one after another, as the plugin gave them */
	uint64_t chosen_count;
	/* Room for errors of so many rows of the widest matrix. */
	uint64_t rows;
	float *error, *d_error, *d_product, *d_dot, *d_gram;
	int *code;       /* [row tiles] */
	/* Statistics of scaled inputs. */
	int measured;    /* they need no scaling */
	float *gram, *absmax, *range; /* range: [2, widest] */
	double *sum;     /* [3, widest] */
	uint64_t gram_input; /* which one is in gram, or UINT64_MAX */
};

/* Whether the run's quantizer wants scales under its settings. */
int cwe_smoothing_wanted(const struct cwe_run *run);
int cwe_smoothing_new(struct cwe_run *run, int masked, struct cwe_smoothing **ret, struct cwb_err *err);
void cwe_smoothing_free(struct cwe_smoothing *s); /* NULL is allowed */
/* Bytes at most, from shapes. */
uint64_t cwe_smoothing_memory(const struct cwe_run *run);
/* Of a GPU's memory; what cwe_smoothing_memory says is the host's then. */
uint64_t cwe_smoothing_device_memory(const struct cwe_run *run);

/* Where the mask of a module of the layer at hand belongs, to be filled before cwe_smoothing_run. */
uint8_t *cwe_smoothing_mask(struct cwe_smoothing *s, const struct cwe_run_module *m);

struct cwe_smoothing_layer {
	uint32_t layer;
	struct cwe_statistics *statistics; /* of its inputs */
	struct cwe_layer *loaded;          /* its weights */
};

/* All scales of a layer. On return `loaded` has the folded weights, rounded as they will be written. */
int cwe_smoothing_run(struct cwe_smoothing *s, const struct cwe_smoothing_layer *at, struct cwb_err *err);
/* smooth_input.c: the scales [channels] of one fold, as the plugin wants them; 1 where nothing that reads it is quantized, or
 * no token came. */
int cwe_smoothing_choose(struct cwe_smoothing *s, const struct cwe_smoothing_layer *at, const struct cwe_fold *fold, float *scale,
	struct cwb_err *err);
/* From now on statistics are those of the scaled inputs themselves, until the next layer. */
void cwe_smoothing_measured(struct cwe_smoothing *s);
/* Statistics of a module as its scaled input has them, and its folded weights, not rounded, in weight [rows, cols]. Valid
 * until the next call. */
int cwe_smoothing_module(struct cwe_smoothing *s, const struct cwe_run_module *m, float *weight,
	struct cwe_module_statistics *statistics, struct cwb_err *err);

/* The layer's scales to scratch, and those of an earlier attempt from there: CWP_EDIGEST where they are not whole. */
int cwe_smoothing_save(const struct cwe_smoothing *s, uint32_t layer, struct cwb_err *err);
int cwe_smoothing_load(struct cwe_smoothing *s, uint32_t layer, struct cwb_err *err);
