/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sequences that begin alike, laid out so that a shared beginning is computed once: several continuations of one context,
 * few-shot preambles, sentences that differ in a word. Forward passes only. */
#pragma once

#include "engine/calibrate/head.h"

/* Where the tokens of each sequence lie: sequence i has the runs [run[i], run[i + 1]); run r is the corpus' tokens
 * [first[r], first[r] + count[r]). */
struct cwe_shared {
	struct cwe_corpus corpus; /* one set, in an order of its own; a token's weight is not 0 where it counts in any sequence */
	uint64_t sequences;
	uint64_t *run;   /* [sequences + 1] */
	uint64_t *first, *count;
	uint64_t tokens; /* of all sequences, each beginning counted as often as it occurs */
};

/* The samples of the set must be single sequences. Copies what it needs of it. share 0: every sequence is laid out whole, as
 * models need it that cwe_model_divisible does not allow. */
int cwe_shared_new(const struct cwe_sample_set *set, int share, struct cwe_shared *ret, struct cwb_err *err);
/* The longest sequence of a set, in tokens. */
uint64_t cwe_shared_longest(const struct cwe_sample_set *set);
/* Where token t of sequence i lies in the corpus. */
uint64_t cwe_shared_row(const struct cwe_shared *s, uint64_t i, uint64_t t);

/* What a model says of the scored tokens of a sequence. */
struct cwe_sequence_score {
	double loglik;
	uint64_t tokens;
	int greedy; /* 1: each was the most likely one */
};
/* Of sequence i of the set that s was made of. */
struct cwe_sequence_score cwe_shared_score(const struct cwe_shared *s, uint64_t i, const struct cwe_sequence *sequence,
	const struct cwe_token_score *score);
void cwe_shared_free(struct cwe_shared *s);
