/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sequences that begin alike, laid out so that a shared beginning is computed once: several continuations of one context,
 * few-shot preambles, sentences that differ in a word. Forward passes only, of
 * models that cwe_model_divisible allows. */
#pragma once

#include "engine/calibrate/corpus.h"

/* Where the tokens of each sequence lie: sequence i has the runs [run[i], run[i + 1]); run r is the corpus' tokens
 * [first[r], first[r] + count[r]). */
struct cwe_shared {
	struct cwe_corpus corpus; /* one set, in an order of its own; a token's weight is not 0 where it counts in any sequence */
	uint64_t sequences;
	uint64_t *run;   /* [sequences + 1] */
	uint64_t *first, *count;
	uint64_t tokens; /* of all sequences, each beginning counted as often as it occurs */
};

/* The samples of the set must be single sequences. Copies what it needs of it. */
int cwe_shared_new(const struct cwe_sample_set *set, struct cwe_shared *ret, struct cwb_err *err);
void cwe_shared_free(struct cwe_shared *s);
