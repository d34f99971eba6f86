/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A text and the pieces it is cut into. */
#include "engine/text/pieces.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int cwe_pieces_set(struct cwe_pieces *p, const char *text, size_t length, size_t origin)
{
	char *copy = malloc(length + 1);
	if (!copy)
		return -ENOMEM;
	if (length > 0)
		memcpy(copy, text, length);
	copy[length] = '\0';
	free(p->text);
	p->text = copy;
	p->length = length;
	p->origin = origin;
	p->count = 0;
	p->bytes = 0;
	return cwe_pieces_add(p, 0, length);
}

int cwe_pieces_add(struct cwe_pieces *p, size_t start, size_t end)
{
	if (start == end)
		return 0;
	if (p->count == p->room) {
		size_t room = p->room ? 2 * p->room : 16;
		struct cwe_piece *piece = realloc(p->piece, room * sizeof(*piece));
		if (!piece)
			return -ENOMEM;
		p->piece = piece;
		p->room = room;
	}
	p->piece[p->count++] = (struct cwe_piece){start, end};
	return 0;
}

void cwe_pieces_free(struct cwe_pieces *p)
{
	free(p->text);
	free(p->piece);
	*p = (struct cwe_pieces){0};
}
