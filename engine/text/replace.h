/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json's Replace, which is a normalizer and a decoder. */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "engine/text/buffer.h"
#include "engine/text/pattern.h"

/* A string of tokenizer.json, with a NUL behind it. */
struct cwe_string {
	char *text;
	size_t length;
};

int cwe_string_read(const json_t *component, const char *place, const char *key,
	struct cwe_string *ret, struct cwb_err *err);

struct cwe_replace {
	struct cwe_string what; /* not empty, unless pattern is set */
	struct cwe_pattern *pattern;
	struct cwe_string with;
};

/* Freed with cwe_replace_free, after an error too. */
int cwe_replace_read(
	const json_t *component, const char *place, struct cwe_replace *ret, struct cwb_err *err);
void cwe_replace_free(struct cwe_replace *r); /* its parts, not *r */

/* Appends in to out with everything replaced, from left to right. What replaces a match counts as
 * come from the match's last byte (see cwe_buffer's origin). Errors of cwe_buffer_put (without a
 * message) and of the pattern's matcher (with one). */
int cwe_replace_apply(const struct cwe_replace *r, const struct cwe_buffer *in,
	struct cwe_buffer *out, struct cwb_err *err);
