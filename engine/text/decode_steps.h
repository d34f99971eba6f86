/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The steps of a decoder: each makes a list of strings from another one. */
#pragma once

#include "base/err.h"
#include "engine/text/buffer.h"
#include "engine/text/metaspace.h"
#include "engine/text/replace.h"

/* Strings one behind the other. Zeroed is empty. */
struct cwe_strings {
	struct cwe_buffer all;
	size_t *end; /* in all, of each string */
	size_t count, room;
};

/* Appends a string, or ends the one that cwe_buffer_put on all has begun (length 0). 0, -ENOMEM or
 * CWP_ELIMIT. */
int cwe_strings_add(struct cwe_strings *s, const char *text, size_t length);
void cwe_strings_free(struct cwe_strings *s);

/* Each appends to out; errors of cwe_strings_add, without a message, but for the pattern's. */
int cwe_decode_bytelevel(const struct cwe_strings *in, struct cwe_strings *out);
int cwe_decode_fallback(const struct cwe_strings *in, struct cwe_strings *out);
int cwe_decode_fuse(const struct cwe_strings *in, struct cwe_strings *out);
int cwe_decode_metaspace(
	const struct cwe_metaspace *m, const struct cwe_strings *in, struct cwe_strings *out);
int cwe_decode_replace(const struct cwe_replace *r, const struct cwe_strings *in,
	struct cwe_strings *out, struct cwb_err *err);
/* Takes the character away, up to left times in front of each string and right times behind it. */
int cwe_decode_strip(const struct cwe_string *character, size_t left, size_t right,
	const struct cwe_strings *in, struct cwe_strings *out);
