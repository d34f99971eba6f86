/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Texts to token sequences with weights. */
#pragma once

#include "engine/text/samples.h"

/* A text that is scored, behind one that is not. */
struct cwe_joint {
	const char *context;
	size_t context_length;
	const char *continuation;
	size_t continuation_length;
	int chat; /* the context is a rendered conversation: it has its BOS, and its white space
		     stays */
};

/* Tokens of context and continuation encoded as one text; *ret_first is the index of the first
 * token that is scored (at least 1). White space at the end of the context counts to the
 * continuation. In front: what the tokenizer's template puts there; for an empty context at least
 * BOS, if there is one. ret->weight is zeroed. */
int cwe_sequence_join(const struct cwe_tokenizer *t, const struct cwe_joint *j,
	struct cwe_sequence *ret, size_t *ret_first, struct cwb_err *err);

/* Length of a UTF-8 text without the white space at its end, as Python's rstrip sees it: White_Space
 * and the separators U+001C to U+001F. */
size_t cwe_text_without_spaces(const char *text, size_t length);

/* Gives total/n to each of the n tokens from first on. */
void cwe_sequence_weigh(struct cwe_sequence *s, size_t first, double total);
void cwe_sequence_free(struct cwe_sequence *s);
