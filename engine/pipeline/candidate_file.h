/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One layer's candidates as a file (candidates.h has the form). Private to this folder. */
#pragma once

#include "engine/pipeline/candidates.h"

struct cwe_candidate {
	uint32_t index;
	float score;
};

/* Candidates that are read or written at a time. */
#define CWE_CANDIDATE_PIECE 8192

/* Combines the layer's set tiles and writes what reaches the floor, which each module raises; c->layer[layer] gets count,
 * digest and nonpositive. Durable on return. */
int cwe_candidate_file_write(struct cwe_candidates *c, uint32_t layer, const struct cwe_combine *combine, struct cwb_err *err);
/* The same candidates but those below the floor, in the next generation. Durable on return; the old file stays. */
int cwe_candidate_file_renew(struct cwe_candidates *c, uint32_t layer, float floor, struct cwb_err *err);
/* All candidates in pieces, in order; what is not as the journal says is CWP_EDIGEST. */
int cwe_candidate_file_walk(const struct cwe_candidates *c, uint32_t layer,
	int (*take)(void *arg, const struct cwe_candidate *candidate, size_t n), void *arg, struct cwb_err *err);
void cwe_candidate_file_remove(const struct cwe_candidates *c, uint32_t layer, uint32_t generation);
