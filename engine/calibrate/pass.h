/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A forward pass over all pieces of a corpus, a layer at a time: what calibration, log-likelihoods and logits share. */
#pragma once

#include "engine/calibrate/boundary.h"
#include "engine/calibrate/corpus.h"
#include "engine/calibrate/insides.h"
#include "engine/model/ahead.h"

struct cwe_pass {
	struct cwe_model *model;
	const struct cwe_corpus *corpus;
	struct cwe_layer layer;
	struct cwe_ahead ahead;
	struct cwe_workspace ws;      /* there from the first piece on, behind all else: what is freed comes together */
	struct cwe_boundary boundary; /* outputs of layers, in slots */
	float *d_x, *d_y;             /* [widest piece, hidden] */
	struct cwe_insides *insides;  /* where cwe_pass_piece leaves what a backward pass wants; NULL: nowhere */
	uint32_t *d_position;         /* of a piece, or, where memory is the backend's own, of all tokens */
};

/* slots: how many boundaries are kept. memory, scratch: as cwe_boundary_new. On failure *ret needs no free. */
int cwe_pass_new(struct cwe_model *model, const struct cwe_corpus *corpus, uint32_t slots, uint64_t memory,
	const char *scratch, struct cwe_pass *ret, struct cwb_err *err);
void cwe_pass_free(struct cwe_pass *pass); /* also fine on a zeroed one */

/* The workspace anew, for both directions or for forward passes. */
int cwe_pass_workspace(struct cwe_pass *pass, int backward, struct cwb_err *err);
/* pass->layer becomes layer `index`, and the loading of `next` begins, as cwe_ahead_take. */
int cwe_pass_layer(struct cwe_pass *pass, uint32_t index, uint32_t next, struct cwb_err *err);
/* Bytes of the device's memory, boundaries and workspace left out; of host memory beside it. */
uint64_t cwe_pass_bytes(const struct cwe_model *model, uint64_t tokens, uint64_t widest, uint64_t *ret_host);
/* A piece as a chunk for the layers, until the next one. */
int cwe_pass_chunk(struct cwe_pass *pass, const struct cwe_piece *p, struct cwe_chunk *ret, struct cwb_err *err);
/* A slot's numbers of a piece -> d_x; those of the piece after it begin to come. b: of this corpus. */
int cwe_pass_get(struct cwe_pass *pass, struct cwe_boundary *b, uint32_t slot, const struct cwe_piece *p, float *d_x,
	struct cwb_err *err);
/* Embeddings of all tokens -> slot 0. */
int cwe_pass_embed(struct cwe_pass *pass, struct cwb_err *err);
/* One piece through the loaded layer, slot `from` -> slot `to`. CWP_ECANCELLED when the host says so. */
int cwe_pass_piece(struct cwe_pass *pass, const struct cwe_piece *p, uint32_t from, uint32_t to,
	const struct cwe_tap *tap, struct cwb_err *err);
/* One piece through the loaded layer for what a tap sees of it; no boundary is written. */
int cwe_pass_look(struct cwe_pass *pass, const struct cwe_piece *p, uint32_t from, const struct cwe_tap *tap, struct cwb_err *err);
/* CWP_ECANCELLED once the job was cancelled, else 0. */
int cwe_pass_cancelled(const struct cwe_pass *pass, struct cwb_err *err);
