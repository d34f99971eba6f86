/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The whole distribution of what follows some tokens: log-softmax of their logits, over the vocabulary. */
#pragma once

#include "engine/calibrate/boundary.h"
#include "engine/calibrate/corpus.h"

/* The tokens that are asked about, and who gets the answers. */
struct cwe_next {
	const uint64_t *token; /* [count] places in the corpus */
	uint64_t count;
	void *arg;
	/* logp [vocabulary], host memory, valid during the call; in the order of the tokens. NaN or infinite where the model
	 * gave no number. */
	int (*take)(void *arg, uint64_t i, const float *logp, struct cwb_err *err);
};

/* Bytes of memory for up to `count` tokens, those on the device included. */
uint64_t cwe_next_bytes(const struct cwe_model *model, uint64_t count);

/* last: the boundary's slot with the output of the last layer [tokens, hidden]. CWP_ECANCELLED when the host says so. */
int cwe_next_run(struct cwe_model *model, struct cwe_boundary *boundary, uint32_t last, const struct cwe_next *next,
	struct cwb_err *err);
