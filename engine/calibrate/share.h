/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A corpus divided among devices. */
#pragma once

#include "engine/calibrate/corpus.h"

/* The pieces of part `index` of n, in their order, with their tokens one after another. Each piece goes to the part that has
 * the fewest tokens so far: what a part gets follows from the samples and n alone. Numbers of whole sets (set_samples,
 * set_tokens, longest, widest) stay those of all parts. n is at most corpus->pieces, so that no part is empty; corpus must
 * outlive *ret. */
int cwe_share_new(const struct cwe_corpus *corpus, uint32_t n, uint32_t index, struct cwe_corpus *ret, struct cwb_err *err);
void cwe_share_free(struct cwe_corpus *share); /* also fine on a zeroed one */
/* Tokens of the largest part. */
uint64_t cwe_share_tokens(const struct cwe_corpus *corpus, uint32_t n);
