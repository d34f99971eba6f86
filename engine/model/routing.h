/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which experts a token goes to, and how much each counts: host arithmetic on the router's logits. */
#pragma once

#include <stdint.h>

#include <cwp/backend.h>

#include "base/err.h"
#include "engine/model/arch.h"

struct cwe_routing {
	uint32_t experts, top_k;
	int normalize;
	uint64_t tokens;     /* of the last choice; at most those of cwe_routing_new */
	float *probability;  /* [tokens, experts] softmax of the logits */
	uint32_t *expert;    /* [tokens, top_k] chosen, the most likely first; the lower number of equals */
	uint32_t *place;     /* [tokens, top_k] where that assignment is in the order below */
	/* Assignments, expert by expert, tokens rising: those of expert e are [start[e], start[e + 1]). */
	uint64_t *start;     /* [experts + 1] */
	uint32_t *token;     /* [tokens * top_k] */
	float *weight;       /* [tokens * top_k] */
	uint64_t *sample;    /* [samples + 1] of the last cwe_routing_samples */
	uint64_t samples;
};

int cwe_routing_new(const struct cwe_moe *moe, uint64_t tokens, struct cwe_routing *ret, struct cwb_err *err);
void cwe_routing_free(struct cwe_routing *r); /* a zeroed one is fine */

/* logits [tokens, experts]. Weights are the chosen probabilities, divided by their sum where the model does so. */
void cwe_routing_choose(struct cwe_routing *r, const float *logits, uint64_t tokens);
/* The samples of the tokens that came to an expert, some of them empty; valid until the next call. -ENOMEM. */
int cwe_routing_samples(struct cwe_routing *r, uint32_t expert, const struct cwp_sequences *samples,
	struct cwp_sequences *ret, struct cwb_err *err);
/* Gradient of each assignment's weight -> gradient of the logits [tokens, experts], which may take the
 * place of r->probability. */
void cwe_routing_backward(const struct cwe_routing *r, const float *dweight, float *dlogits);
