/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Where a generated text ends: strings that stop it, looked for in the text of its tokens as they
 * come. A string may begin and end within tokens; a character whose bytes are not all there yet is
 * no match. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/text/tokenizer.h"

#define CWE_STOP_STRINGS 64
#define CWE_STOP_LENGTH 1024 /* bytes of a string */

struct cwe_stop_string {
	const char *text; /* UTF-8 */
	size_t length;
};

struct cwe_stop; /* of one text */

/* Copies the strings. CWP_EVALUE: one is empty or not UTF-8; CWP_ELIMIT: too many, or too long. The
 * tokenizer is borrowed. */
int cwe_stop_new(const struct cwe_tokenizer *t, const struct cwe_stop_string *string, size_t count,
	struct cwe_stop **ret, struct cwb_err *err);
void cwe_stop_free(struct cwe_stop *s); /* NULL is allowed */

/* Whether the text of tokens [count] has one of the strings; asked after each new token. */
int cwe_stop_seen(struct cwe_stop *s, const uint32_t *id, size_t count, int *ret, struct cwb_err *err);
/* The text of tokens [count] without special ones, cut before the first string, then before the
 * second in what is left, and so on. *ret_text is freed with free(). */
int cwe_stop_text(const struct cwe_stop *s, const uint32_t *id, size_t count, char **ret_text,
	size_t *ret_length, struct cwb_err *err);

/* The id of a special token by its text, which is no part of a generated text; else -1. */
int cwe_stop_token(
	const struct cwe_tokenizer *t, const char *text, size_t length, int64_t *ret, struct cwb_err *err);
