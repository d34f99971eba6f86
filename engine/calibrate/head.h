/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The end of the model: final norm, output projection in slices of the vocabulary, log-likelihoods of the predicted
 * tokens, and the gradient of the samples' losses at the last boundary. */
#pragma once

#include "engine/calibrate/boundary.h"
#include "engine/calibrate/corpus.h"

/* Rows of logits held at once where memory is the backend's own, at most. */
#define CWE_HEAD_ROWS_MOST 4096
/* Predictions whose hidden rows are gathered before the vocabulary is walked. */
#define CWE_HEAD_BATCH 8192

/* Per token of the corpus; [tokens] arrays of the caller. A token counts when its weight is not 0. */
struct cwe_token_score {
	float *nll;      /* negative log-likelihood of the token; 0 where it does not count */
	uint8_t *greedy; /* 1 where the token was the most likely one; may be NULL */
};

/* For the gradients of the output projection (cwp-inspect statistics): kept from the run when not NULL. */
struct cwe_head_trace {
	uint64_t rows;
	uint64_t *token;  /* [rows] the predicted token's place in the corpus, ascending */
	float *hidden;    /* [rows, hidden] normed input of the output projection */
	double *lse;      /* [rows] */
	float *dnorm;     /* [samples of all sets, hidden] gradient of the final norm's weight, by sample */
	double *act_sq;   /* [hidden] sum over all tokens of the squared input of the output projection */
	float *act_absmax; /* [hidden] its largest magnitude */
};

/* What a backward pass begins with. */
struct cwe_head_back {
	struct cwe_boundary *gradient; /* slot 0 of it [tokens, hidden] gets the gradient of each sample's loss (sum of weight * NLL) */
	struct cwe_head_trace *trace;  /* may be NULL; its arrays are freed with cwe_head_trace_free; dnorm, act_sq and act_absmax come
					  zeroed from the caller, NULL where they are not wanted */
	uint64_t memory;               /* bytes in which logits may wait for the walk that makes gradients of them, on the host; what has
					  no room is computed again, to the same numbers */
};

/* Of so many bytes of that memory, what a corpus has a use for. */
uint64_t cwe_head_logits(const struct cwe_model *model, const struct cwe_corpus *corpus, uint64_t memory);

/* Bytes of device memory that cwe_head_run needs for a corpus whose widest piece has this many tokens, in the place of a
 * workspace for as many, of both directions where there are gradients. */
uint64_t cwe_head_bytes(const struct cwe_model *model, uint64_t widest, int gradients);

/* last: boundary slot with the output of the last layer [tokens, hidden]. score: results. back: NULL where no gradient is
 * wanted. */
int cwe_head_run(struct cwe_model *model, const struct cwe_corpus *corpus, struct cwe_boundary *boundary, uint32_t last,
	const struct cwe_token_score *score, const struct cwe_head_back *back, struct cwb_err *err);
void cwe_head_trace_free(struct cwe_head_trace *trace);
