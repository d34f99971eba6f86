/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The sets' importances of a layer into its combined scores, with all threads. Private to this folder. */
#pragma once

#include "engine/pipeline/run.h"
#include "engine/pipeline/tiles.h"

/* Shares of a module that threads read, write and count: fixed, whatever the number of threads. */
#define CWE_SHARES 16

struct cwe_combining {
	struct cwe_run *run;
	struct cwe_tiles *tiles;
	const struct cwe_combine *combine;
	/* Finished scores are counted here on their way to the disk; no histogram: they are not. */
	struct cwe_threshold *threshold;
	/* Who takes finished scores instead of the disk, or NULL. */
	int (*take)(void *arg, const struct cwe_run_module *m, const float *score, uint64_t n, struct cwb_err *err);
	void *arg;

	float *score;           /* [largest module] */
	float *weight;          /* [largest module] when the scorer asks for the quantizer's error, else NULL */
	float **importance;     /* [sets] of [largest module] */
	struct cwe_tile *tile;  /* [sets] of the layer at hand */
	struct cwe_tile scores; /* its combined scores */
	const struct cwe_run_module *m; /* at hand */
	int *code;              /* [row tiles] */
	double *column;         /* [widest module] */
	double *module;         /* [modules of the largest layer] sums, with unit module */
	struct cwe_threshold_part *part; /* [CWE_SHARES] */
	uint64_t *nonpositive;  /* [CWE_SHARES] */
};

/* combine, tiles and threshold outlive it. */
int cwe_combining_new(struct cwe_run *run, struct cwe_tiles *tiles, const struct cwe_combine *combine,
	struct cwe_threshold *threshold, struct cwe_combining *ret, struct cwb_err *err);
void cwe_combining_free(struct cwe_combining *c); /* a zeroed one is fine */

/* A layer's scores, in the order of its modules, to its combined tile or to whoever takes them; run->nonpositive grows by those
 * <= 0. The sets' tiles are checked against their digests. */
int cwe_combining_layer(struct cwe_combining *c, uint32_t layer, struct cwb_err *err);
/* Counts the combined scores of a layer again, for a later pass of the threshold. */
int cwe_combining_again(struct cwe_combining *c, uint32_t layer, struct cwb_err *err);
