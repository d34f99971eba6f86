/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One layer's candidates as a file (candidates.h has the form). Private to this folder. */
#pragma once

#include "engine/pipeline/candidates.h"

struct cwe_candidate {
	uint32_t index;
	float score;
};

/* Candidates that one thread reads or writes at a time, and those that all threads write at a time. */
#define CWE_CANDIDATE_PIECE 8192
#define CWE_CANDIDATE_BLOCK (1u << 20)

/* What is not above zero is never protected, so that ties at zero cannot fill the disk. */
static inline int cwe_candidate_reaches(float score, float floor)
{
	return score > 0 && score >= floor;
}

int cwe_candidate_file_open(const struct cwe_candidates *c, uint32_t layer, uint32_t generation, int flags, struct cwe_tile *ret,
	struct cwb_err *err);
/* Combines the layer's set tiles and writes what reaches the floor, which each module raises; c->layer[layer] gets count,
 * digest and nonpositive. All threads share it. Durable on return. (candidate_take.c) */
int cwe_candidate_file_write(struct cwe_candidates *c, uint32_t layer, const struct cwe_combine *combine, struct cwb_err *err);
/* The same candidates but those below the floor, in the next generation, which *ret says. Durable on return; the old file stays.
 * [any-thread] */
int cwe_candidate_file_renew(const struct cwe_candidates *c, uint32_t layer, float floor, struct cwe_candidate_layer *ret,
	struct cwb_err *err);
/* All candidates in pieces, in order; what is not as the journal says is CWP_EDIGEST. [any-thread] */
int cwe_candidate_file_walk(const struct cwe_candidates *c, uint32_t layer,
	int (*take)(void *arg, const struct cwe_candidate *candidate, size_t n), void *arg, struct cwb_err *err);
void cwe_candidate_file_remove(const struct cwe_candidates *c, uint32_t layer, uint32_t generation);
