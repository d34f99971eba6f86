/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A text and the pieces it is cut into, on its way from normalizer to model. */
#pragma once

#include <stddef.h>

struct cwe_piece {
	size_t start, end; /* bytes of the text; never empty */
};

/* Zeroed is empty. */
struct cwe_pieces {
	char *text; /* valid UTF-8; owned */
	size_t length;
	size_t origin; /* bytes at the start that are of the whole text's first character */
	struct cwe_piece *piece; /* ascending, without overlap */
	size_t count, room;
	int bytes; /* each byte of the pieces stands for its character of the byte alphabet */
};

/* A copy of text, as one piece (none when it is empty); origin as in struct cwe_buffer. 0 or -ENOMEM. */
int cwe_pieces_set(struct cwe_pieces *p, const char *text, size_t length, size_t origin);
/* Appends a piece unless it is empty. 0 or -ENOMEM. */
int cwe_pieces_add(struct cwe_pieces *p, size_t start, size_t end);
void cwe_pieces_free(struct cwe_pieces *p);
