/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Dividing a corpus by its pieces. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/share.h"

/* The part that a piece goes to; tokens [n] of each part so far, the piece included on return. */
static uint32_t place(const struct cwe_piece *p, uint32_t n, uint64_t *tokens)
{
	uint32_t least = 0;
	for (uint32_t k = 1; k < n; k++) {
		least = tokens[k] < tokens[least] ? k : least;
	}
	tokens[least] += p->tokens;
	return least;
}

/* Appends a piece. What it points to stays the corpus'. */
static void take(struct cwe_corpus *share, const struct cwe_corpus *c, const struct cwe_piece *p)
{
	struct cwe_piece *mine = &share->piece[share->pieces++];
	*mine = *p;
	mine->at = share->tokens;
	memcpy(share->id + mine->at, c->id + p->at, p->tokens * sizeof *c->id);
	memcpy(share->weight + mine->at, c->weight + p->at, p->tokens * sizeof *c->weight);
	memcpy(share->position + mine->at, c->position + p->at, p->tokens * sizeof *c->position);
	share->tokens += p->tokens;
}

int cwe_share_new(const struct cwe_corpus *c, uint32_t n, uint32_t index, struct cwe_corpus *ret, struct cwb_err *err)
{
	struct cwe_corpus share = {.sets = c->sets, .longest = c->longest, .widest = c->widest, .set_samples = c->set_samples,
		.set_tokens = c->set_tokens};
	uint64_t *tokens = calloc(n, sizeof *tokens);
	/* Room for all of it: the parts are known only when each piece has its place. */
	share.id = calloc(c->tokens + 1, sizeof *share.id);
	share.weight = calloc(c->tokens + 1, sizeof *share.weight);
	share.position = calloc(c->tokens + 1, sizeof *share.position);
	share.piece = calloc(c->pieces + 1, sizeof *share.piece);
	if (tokens == NULL || share.id == NULL || share.weight == NULL || share.position == NULL || share.piece == NULL) {
		free(tokens);
		cwe_share_free(&share);
		return cwb_err_set(err, -ENOMEM, "no memory for a part of %llu tokens of samples", (unsigned long long)c->tokens);
	}
	for (size_t i = 0; i < c->pieces; i++) {
		if (place(&c->piece[i], n, tokens) == index) {
			take(&share, c, &c->piece[i]);
		}
	}
	free(tokens);
	*ret = share;
	return 0;
}

void cwe_share_free(struct cwe_corpus *share)
{
	free(share->piece);
	free(share->id);
	free(share->weight);
	free(share->position);
	memset(share, 0, sizeof *share);
}

uint64_t cwe_share_tokens(const struct cwe_corpus *c, uint32_t n)
{
	uint64_t most = 0, *tokens = calloc(n, sizeof *tokens);
	if (tokens == NULL) {
		return c->tokens; /* no part is larger */
	}
	for (size_t i = 0; i < c->pieces; i++) {
		uint32_t k = place(&c->piece[i], n, tokens);
		most = tokens[k] > most ? tokens[k] : most;
	}
	free(tokens);
	return most;
}
