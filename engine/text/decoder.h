/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json's decoder: ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Strip and Sequence;
 * without one, tokens are joined by spaces. */
#pragma once

#include <jansson.h>

#include "base/err.h"

struct cwe_decoder;

/* component may be NULL or null. */
int cwe_decoder_new(const json_t *component, struct cwe_decoder **ret, struct cwb_err *err);
void cwe_decoder_free(struct cwe_decoder *d); /* NULL is allowed */

struct cwe_token_text {
	const char *text;
	size_t length;
};

/* The text of tokens, valid UTF-8 with a NUL behind it, freed with free(). [any-thread] */
int cwe_decoder_apply(const struct cwe_decoder *d, const struct cwe_token_text *token, size_t count,
	char **ret_text, size_t *ret_length, struct cwb_err *err);
