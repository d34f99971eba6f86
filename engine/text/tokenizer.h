/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json, exactly: added tokens, pre-tokenizer, byte-level BPE, post-processor. Every
 * component that is not known is refused by name and place: a wrong tokenization would spoil
 * calibration silently. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cwe_tokenizer;

/* json: the text of tokenizer.json; config: that of tokenizer_config.json, or NULL. Copies what it
 * needs. */
int cwe_tokenizer_new(const char *json, size_t length, const char *config, size_t config_length,
	struct cwe_tokenizer **ret, struct cwb_err *err);
/* The same, but frees *json and sets it to NULL once the long lists of the file are read, or on an
 * error: text and tokenizer then need memory together for as short as possible. */
int cwe_tokenizer_take(char **json, size_t length, const char *config, size_t config_length,
	struct cwe_tokenizer **ret, struct cwb_err *err);
void cwe_tokenizer_free(struct cwe_tokenizer *t); /* NULL is allowed */

struct cwe_ids {
	uint32_t *id; /* freed with free() */
	size_t count;
};

/* UTF-8 text (may hold NUL) -> token ids. special: apply the post-processor's template (BOS).
 * *ret->id is the caller's. CWP_EFORMAT: not UTF-8; CWP_ELIMIT: the pattern matcher's limit.
 * [any-thread] */
int cwe_tokenizer_encode(const struct cwe_tokenizer *t, const char *text, size_t length,
	int special, struct cwe_ids *ret, struct cwb_err *err);
/* Token ids -> text, bytes as the decoder gives them (invalid UTF-8 becomes U+FFFD). skip_special:
 * leave out tokens marked special. *ret_text is freed with free(). */
int cwe_tokenizer_decode(const struct cwe_tokenizer *t, const uint32_t *id, size_t count,
	int skip_special, char **ret_text, size_t *ret_length, struct cwb_err *err);

/* The id of a token by its text (added tokens first), or -1. */
int64_t cwe_tokenizer_id(const struct cwe_tokenizer *t, const char *token);
/* bos_token, eos_token as tokenizer_config.json names them, or -1. */
int64_t cwe_tokenizer_bos(const struct cwe_tokenizer *t);
int64_t cwe_tokenizer_eos(const struct cwe_tokenizer *t);
size_t cwe_tokenizer_size(const struct cwe_tokenizer *t); /* largest id + 1 */
/* The ids that encode with special = 1 puts in front of a text (BOS, or none); *ret_id lives as
 * long as t. */
size_t cwe_tokenizer_prefix(const struct cwe_tokenizer *t, const uint32_t **ret_id);
