/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Insides of layers that wait in memory for the backward pass, which computes those again that are not there: as many as there
 * is room for, those of the last layers first. The numbers are the same either way. Where memory is the host's. */
#pragma once

#include "engine/calibrate/corpus.h"
#include "engine/calibrate/room.h"

struct cwe_inside {
	struct cwe_room room; /* of the pieces that are kept */
	size_t pieces;        /* [0, pieces) are to be kept */
	size_t made;          /* [0, made) are there */
};

struct cwe_insides {
	struct cwe_model *model;
	const struct cwe_corpus *corpus;
	struct cwe_inside *layer; /* [layers]; NULL: nothing is kept */
	uint64_t *start[2];       /* [pieces + 1] where they begin in a dense layer, and in one of experts */
};

/* Bytes of all pieces of all layers. */
uint64_t cwe_insides_bytes(const struct cwe_model *model, const struct cwe_corpus *corpus);
/* What fits into so many bytes will be kept. Both are the caller's and must outlive it. */
int cwe_insides_new(struct cwe_model *model, const struct cwe_corpus *corpus, uint64_t bytes, struct cwe_insides *ret,
	struct cwb_err *err);
void cwe_insides_free(struct cwe_insides *in); /* a zeroed one is fine */

/* Where the forward pass leaves the inside of a piece; pieces of a layer come in order. NULL: it is not kept. */
float *cwe_insides_make(struct cwe_insides *in, uint32_t layer, size_t piece);
/* Where it is; NULL: nowhere. */
float *cwe_insides_of(const struct cwe_insides *in, uint32_t layer, size_t piece);
/* The layer is through. */
void cwe_insides_drop(struct cwe_insides *in, uint32_t layer);
