/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The normalizers that are no Unicode form: each appends what it makes of a text. */
#pragma once

#include "engine/text/buffer.h"
#include "engine/text/replace.h"

/* All return 0 or the errors of cwe_buffer_put, without a message. */
int cwe_rewrite_prepend(
	const struct cwe_string *front, const struct cwe_buffer *in, struct cwe_buffer *out);
/* White space at the ends; marks anywhere; bytes as characters of the byte alphabet. */
int cwe_rewrite_strip(int left, int right, const struct cwe_buffer *in, struct cwe_buffer *out);
int cwe_rewrite_accents(const struct cwe_buffer *in, struct cwe_buffer *out);
int cwe_rewrite_bytes(const struct cwe_buffer *in, struct cwe_buffer *out);
