/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* With score.scale: pilot the factors are known beforehand. So each layer's combined scores are made as soon as the layer is
 * scored, and only those are kept that may still be among the k largest: a file a layer, position and score. Private to
 * this folder.
 *
 * candidates-<layer>-<generation> holds, for each quantized module in order, the number of its candidates (uint64_t) and as
 * many pairs {uint32_t index in the matrix, row by row; float score}, by index. Its digest, length and generation are in
 * the note of the layer's journal line. When too many candidates have fallen below the floor, files are written anew in
 * the next generation: file, line, and only then the old file goes. */
#pragma once

#include "engine/pipeline/combining.h"
#include "engine/pipeline/run.h"
#include "engine/pipeline/tiles.h"

struct cwe_candidate_layer {
	int done;
	uint32_t generation;
	uint64_t count;       /* candidates */
	uint64_t nonpositive; /* scores <= 0 of the whole layer, kept or not */
	char digest[65];
};

struct cwe_candidates {
	struct cwe_run *run;
	struct cwe_tiles *tiles;
	struct cwe_floor floor;
	struct cwe_candidate_layer *layer; /* [layers] */
	uint64_t total;                    /* candidates in all files */
	struct cwe_combining combining;    /* from the first layer that is taken on */
};

/* Bytes on scratch at most: candidates, and the largest layer's set tiles or its files while they are written. */
uint64_t cwe_candidates_bytes(const struct cwe_run *run);
/* Memory beside the combination's. */
uint64_t cwe_candidates_memory(const struct cwe_run *run);

/* What the journal has of them, every file read and checked. tiles outlives it. CWP_EDIGEST: a file is damaged or gone. */
int cwe_candidates_open(struct cwe_run *run, struct cwe_tiles *tiles, struct cwe_candidates *ret, struct cwb_err *err);
void cwe_candidates_close(struct cwe_candidates *c);
/* Forgets all layers: they will come again. */
int cwe_candidates_restart(struct cwe_candidates *c, struct cwb_err *err);
/* A layer whose set tiles are complete: its candidates are written, the tiles go, and its note is made; the caller commits the
 * layer then. combine: its factors. */
int cwe_candidates_take(struct cwe_candidates *c, uint32_t layer, const struct cwe_combine *combine, struct cwb_err *err);
/* After the commit: files that hold too many that cannot be protected any more are written anew. CWP_EVALUE: so many weights
 * share the score of the k-th that this saves nothing. */
int cwe_candidates_compact(struct cwe_candidates *c, struct cwb_err *err);
/* Every candidate into a pass of the threshold. */
int cwe_candidates_feed(const struct cwe_candidates *c, struct cwe_threshold *t, struct cwb_err *err);

/* The combined scores of a layer's modules in order, whatever form they have on scratch. What is no candidate reads as
 * -INFINITY. */
struct cwe_scores {
	struct cwe_tile tile;
	int sparse;
};
int cwe_scores_open(struct cwe_run *run, struct cwe_tiles *tiles, uint32_t layer, struct cwe_scores *ret, struct cwb_err *err);
int cwe_scores_read(struct cwe_scores *s, float *score, uint64_t n, struct cwb_err *err);
/* Passes over a module. */
int cwe_scores_skip(struct cwe_scores *s, uint64_t n, struct cwb_err *err);
void cwe_scores_close(struct cwe_scores *s);
