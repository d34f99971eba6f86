/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json's pre_tokenizer: Sequence, Split, Digits, ByteLevel, Metaspace, Punctuation,
 * Whitespace, WhitespaceSplit. */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "engine/text/pieces.h"

struct cwe_pretokenizer;

/* component may be NULL or null (nothing is cut). */
int cwe_pretokenizer_new(
	const json_t *component, struct cwe_pretokenizer **ret, struct cwb_err *err);
void cwe_pretokenizer_free(struct cwe_pretokenizer *p); /* NULL is allowed */
/* Cuts and rewrites p. bytes: where the last step writes each byte as a character, that is left to
 * the model, and p->bytes is set. [any-thread] */
int cwe_pretokenizer_apply(
	const struct cwe_pretokenizer *t, int bytes, struct cwe_pieces *p, struct cwb_err *err);
