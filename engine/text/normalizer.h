/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json's normalizer: Sequence, Prepend, Replace (of a string). */
#pragma once

#include <jansson.h>

#include "base/err.h"

struct cwe_normalizer;

/* component may be NULL or null (nothing changes). */
int cwe_normalizer_new(const json_t *component, struct cwe_normalizer **ret, struct cwb_err *err);
void cwe_normalizer_free(struct cwe_normalizer *n); /* NULL is allowed */
/* Normalizes text (valid UTF-8); *ret_text has a NUL behind it and is freed with free().
 * [any-thread] */
int cwe_normalizer_apply(const struct cwe_normalizer *n, const char *text, size_t length,
	char **ret_text, size_t *ret_length, struct cwb_err *err);
