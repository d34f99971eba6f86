/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json's added_tokens: texts that are cut out whole before the model sees the rest. */
#pragma once

#include "base/err.h"
#include "engine/text/document.h"
#include "engine/text/normalizer.h"
#include "engine/text/vocabulary.h"

struct cwe_added;

/* list may be absent or null. An added token that the model's vocabulary has too must have the same
 * id there. normalizer: tokens marked normalized are looked for in their normalized form. */
int cwe_added_new(const struct cwe_section *list, const struct cwe_vocabulary *model,
	const struct cwe_normalizer *normalizer, struct cwe_added **ret, struct cwb_err *err);
void cwe_added_free(struct cwe_added *a); /* NULL is allowed */

/* The tokens as texts and ids. */
const struct cwe_vocabulary *cwe_added_vocabulary(const struct cwe_added *a);
/* What a token is decoded to: the reference gives the normalized form of one marked normalized. NULL: no such token. */
const char *cwe_added_text(const struct cwe_added *a, uint32_t id, size_t *ret_length);
/* Whether a text is that of a token marked special: as in the reference it is looked up by what it was decoded to. */
int cwe_added_special(const struct cwe_added *a, const char *text, size_t length);

struct cwe_cut {
	size_t start, end;
	int64_t id; /* of the token that this part is, or -1 for text between tokens */
};

struct cwe_cuts {
	struct cwe_cut *cut;
	size_t count, room;
};

/* The parts of text: leftmost and longest tokens, and what is between them. normalized: which of
 * the two kinds of tokens to look for. *ret is filled from its start and freed by its owner.
 * [any-thread] */
int cwe_added_cut(const struct cwe_added *a, int normalized, const char *text, size_t length,
	struct cwe_cuts *ret, struct cwb_err *err);
