/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Inputs of the layers, made from the nearest one below that is there, and kept for later attempts where the calibration
 * checkpoints. The input of layer 0 are the embeddings; `layers` stands for the output of the last layer. */
#pragma once

#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/pass.h"

struct cwe_forward {
	struct cwe_calibration *c;
	struct cwe_pass *pass;
	int two;       /* slots are used in turn, else each input has its own */
	uint8_t *have; /* [layers + 1] that are in their slots, whole */
	uint32_t durable; /* the last input that was kept or taken, 0: none */
	void *arg;
	void (*advance)(void *arg, uint32_t layer, uint64_t tokens); /* a piece is through a layer; NULL: nobody asks */
};

/* The pass was made with two slots, or with layers + 1. Removes files of earlier attempts that this one has no use for. */
int cwe_forward_new(struct cwe_calibration *c, struct cwe_pass *pass, int two, struct cwe_forward *ret, struct cwb_err *err);
void cwe_forward_free(struct cwe_forward *f);

uint32_t cwe_forward_slot(const struct cwe_forward *f, uint32_t layer);
/* Brings the input of a layer into its slot: at once where it is there, else from a file, else through the layers below.
 * What is in pass->layer is another layer afterwards. */
int cwe_forward_to(struct cwe_forward *f, uint32_t layer, struct cwb_err *err);
/* For a caller that runs the pieces through a layer itself: around them. The output is durable after the second; ret_digest
 * is of its file, "" when there is none. */
int cwe_forward_begin(struct cwe_forward *f, uint32_t layer, struct cwb_err *err);
int cwe_forward_end(struct cwe_forward *f, uint32_t layer, char ret_digest[CWB_DIGEST_HEX], struct cwb_err *err);
/* A layer is through. Its input is of no use any more, unless attempts to come have no other. */
void cwe_forward_over(struct cwe_forward *f, uint32_t layer);
/* The input of a layer is of no use any more. */
void cwe_forward_drop(struct cwe_forward *f, uint32_t layer);
