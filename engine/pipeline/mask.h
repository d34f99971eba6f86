/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The mask of each module, in the order of the modules: from its scores and thresholds, or masks of earlier outputs, and the super weights. Private to this
 * folder. */
#pragma once

#include "engine/pipeline/candidates.h"
#include "engine/pipeline/run.h"

struct cwe_mask_reader {
	struct cwe_run *run;
	struct cwe_tiles tiles;
	struct cwe_scores scores; /* of the layer at hand */
	float *score;         /* [largest module] */
	int *code;            /* [row tiles] */
	uint64_t *count;      /* [row tiles] */
	/* At hand. */
	const struct cwe_run_module *m;
	uint8_t *mask;
	uint64_t stride;
	uint8_t *unit;        /* [widest or tallest] of its columns or rows, where over_rank.h cuts masks; else NULL */
	uint64_t dropped;     /* columns or rows that it cut off */
};

int cwe_mask_reader_open(struct cwe_run *run, struct cwe_mask_reader *ret, struct cwb_err *err);
void cwe_mask_reader_close(struct cwe_mask_reader *r);
/* The next module, quantized or not: all come in order, once. mask [rows, stride of (cols + 7) / 8 bytes]; NULL passes over
 * it. *ret_set: protected ones, super weights that nothing else protects left out; their bits are set too. */
int cwe_mask_reader_next(struct cwe_mask_reader *r, const struct cwe_run_module *m, uint8_t *mask, uint64_t *ret_set,
	struct cwb_err *err);
/* Notes which super weights are protected without being super weights, and counts the others by module. */
int cwe_run_mark_super(struct cwe_run *run, struct cwb_err *err);
