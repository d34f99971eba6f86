/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Log-likelihoods and logits of given tokens: forward passes only, a layer at a time over all sequences. */
#pragma once

#include "engine/calibrate/head.h"
#include "engine/calibrate/next.h"

struct cwe_forward_options {
	const char *scratch; /* folder for boundaries that do not fit; NULL: memory only */
	uint64_t memory;     /* bytes of boundaries that may stay in memory */
	void *arg;
	void (*progress)(void *arg, uint64_t done, uint64_t total); /* token layers; may be NULL */
	const struct cwe_next *next; /* cwe_loglik_run: distributions that are wanted besides; NULL: none */
	/* cwe_loglik_run: the first token that has NaN or infinity behind the last layer, with CWP_ENUMBER; NULL: not looked for. */
	uint64_t *ret_bad;
};

/* Bytes of device memory at most, and of boundaries. */
uint64_t cwe_loglik_bytes(const struct cwe_model *model, uint64_t tokens, uint64_t widest, uint64_t longest,
	uint64_t *ret_boundaries);
/* Of cwe_loglik_bytes, what is memory of the host on a backend with memory of its own. */
uint64_t cwe_loglik_host_bytes(const struct cwe_model *model, uint64_t tokens, uint64_t widest);

/* Scores every token whose weight is not 0 (see struct cwe_token_score). */
int cwe_loglik_run(struct cwe_model *model, const struct cwe_corpus *corpus, const struct cwe_forward_options *options,
	const struct cwe_token_score *score, struct cwb_err *err);

/* Logits [tokens of the sequence, n] of the vocabulary entries [first, first + n) of each sequence, slices of a sequence in
 * rising order, host memory valid during the call. */
typedef int (*cwe_logits_sink)(void *arg, uint64_t sequence, uint64_t tokens, uint64_t first, uint64_t n,
	const float *logits, struct cwb_err *err);
int cwe_logits_run(struct cwe_model *model, const struct cwe_corpus *corpus, const struct cwe_forward_options *options,
	cwe_logits_sink sink, void *arg, struct cwb_err *err);
