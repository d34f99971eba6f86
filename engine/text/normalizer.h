/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json's normalizer: Sequence, Prepend, Replace (of a string or a pattern), NFC, NFD,
 * NFKC, NFKD, Lowercase, Strip, StripAccents, ByteLevel. */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "engine/text/buffer.h"

struct cwe_normalizer;

/* component may be NULL or null (nothing changes). */
int cwe_normalizer_new(const json_t *component, struct cwe_normalizer **ret, struct cwb_err *err);
void cwe_normalizer_free(struct cwe_normalizer *n); /* NULL is allowed */
/* Normalizes text (valid UTF-8). origin: its bytes that are of the first character of the whole
 * text. *ret is freed with cwe_buffer_free. CWP_ELIMIT: the text grew too long, or a pattern went
 * back too often. [any-thread] */
int cwe_normalizer_apply(const struct cwe_normalizer *n, const char *text, size_t length,
	size_t origin, struct cwe_buffer *ret, struct cwb_err *err);
