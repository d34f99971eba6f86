/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A growing text on its way through the normalizer. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CWE_BUFFER_LIMIT ((size_t)1 << 30)

/* Zeroed is empty. */
struct cwe_buffer {
	char *text; /* owned, with a NUL behind it; NULL while nothing was put */
	size_t length, room;
	/* Bytes at the start that came from the first character of the whole text: where they are,
	 * a text begins in the sense of Metaspace's prepend_scheme "first". */
	size_t origin;
};

/* Appends. origin: whether these bytes came from the first character (counts while all before did).
 * 0, -ENOMEM, or CWP_ELIMIT beyond CWE_BUFFER_LIMIT. */
int cwe_buffer_put(struct cwe_buffer *b, const char *text, size_t length, int origin);
/* in->text[start..end), with what of it is of the first character. */
int cwe_buffer_put_part(
	struct cwe_buffer *b, const struct cwe_buffer *in, size_t start, size_t end);
int cwe_buffer_put_point(struct cwe_buffer *b, uint32_t point, int origin);
void cwe_buffer_free(struct cwe_buffer *b);
