/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tokens and their ids, both ways. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cwe_vocabulary;

int cwe_vocabulary_new(struct cwe_vocabulary **ret, struct cwb_err *err);
void cwe_vocabulary_free(struct cwe_vocabulary *v); /* NULL is allowed */

/* Room for so many texts of so many bytes together, before the first is added: nothing then has to
 * grow, nor to be copied. CWP_ELIMIT: more than a vocabulary can hold. */
int cwe_vocabulary_reserve(struct cwe_vocabulary *v, size_t count, size_t bytes, const char *place,
	struct cwb_err *err);
/* Copies the text (no NUL is needed behind it). id is below CWE_ID_LIMIT. Refuses a text or an id
 * that is there (CWP_EVALUE); place names the field. */
int cwe_vocabulary_add(struct cwe_vocabulary *v, const char *text, size_t length, uint32_t id,
	const char *place, struct cwb_err *err);

/* Frees the table of texts, for which ids are then looked for one after another: some milliseconds
 * at most, but nothing for a loop. */
void cwe_vocabulary_forget(struct cwe_vocabulary *v);

int64_t cwe_vocabulary_id(
	const struct cwe_vocabulary *v, const char *text, size_t length); /* -1: not there */
/* The text of an id (no NUL is behind it), or NULL. Valid until the next addition. */
const char *cwe_vocabulary_text(const struct cwe_vocabulary *v, uint32_t id, size_t *ret_length);
size_t cwe_vocabulary_count(const struct cwe_vocabulary *v);
size_t cwe_vocabulary_size(const struct cwe_vocabulary *v); /* largest id + 1 */
