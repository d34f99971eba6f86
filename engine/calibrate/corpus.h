/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sample sets laid out for computing: all tokens one after another, cut into pieces of whole samples. The cut depends on
 * the samples alone, never on threads or memory, so that a limit never changes a result. */
#pragma once

#include "engine/model/layer.h"
#include "engine/text/samples.h"

/* A piece holds whole samples of one set, at most so many tokens unless one sample alone is longer: this many where the
 * caller has no other number. */
#define CWE_PIECE_TOKENS 2048

struct cwe_piece {
	uint32_t set;
	uint64_t at;     /* its first token among all */
	uint64_t tokens;
	uint64_t sequences, samples;
	uint64_t *sequence_start; /* [sequences + 1], relative to `at` */
	uint64_t *sample_start;   /* [samples + 1] */
	/* What sequences go on after, relative to `at`, as struct cwp_prefixes has it; NULL: each is whole (shared.h). */
	uint64_t *range, *range_first, *range_count;
};

struct cwe_corpus {
	uint32_t sets;
	uint64_t tokens;
	uint32_t *id;       /* [tokens] */
	float *weight;      /* [tokens] signed weight on the prediction of id[t]; 0 for the first of a sequence */
	uint32_t *position; /* [tokens] */
	uint64_t longest;   /* tokens of the longest sequence */
	uint64_t widest;    /* tokens of the largest piece */
	size_t pieces;
	struct cwe_piece *piece;
	uint64_t *set_samples; /* [sets] */
	uint64_t *set_tokens;  /* [sets] */
};

/* Copies what it needs of the sets. piece: tokens of a piece, 0: CWE_PIECE_TOKENS. */
int cwe_corpus_new(const struct cwe_sample_set *set, size_t sets, uint64_t piece, struct cwe_corpus *ret, struct cwb_err *err);
void cwe_corpus_free(struct cwe_corpus *c);
void cwe_piece_free(struct cwe_piece *p);

/* The piece as a chunk whose positions are on the device already. */
struct cwe_chunk cwe_piece_chunk(const struct cwe_piece *p, const uint32_t *d_position);
/* The piece as a chunk for the layers; d_position is the caller's device array, filled by cwe_chunk_load. */
int cwe_chunk_load(struct cwe_model *model, const struct cwe_corpus *c, const struct cwe_piece *p, uint32_t *d_position,
	struct cwe_chunk *ret, struct cwb_err *err);
