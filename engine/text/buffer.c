/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A growing text. */
#include "engine/text/buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/error.h>

#include "engine/text/utf8.h"

static int grow(struct cwe_buffer *b, size_t more)
{
	size_t room = b->length + more + 1;
	room += room / 2;
	char *text = realloc(b->text, room);
	if (!text)
		return -ENOMEM;
	b->text = text;
	b->room = room;
	return 0;
}

int cwe_buffer_put(struct cwe_buffer *b, const char *text, size_t length, int origin)
{
	if (length > CWE_BUFFER_LIMIT || b->length > CWE_BUFFER_LIMIT - length)
		return CWP_ELIMIT;
	if (b->room < b->length + length + 1) {
		int rc = grow(b, length);
		if (rc < 0)
			return rc;
	}
	if (length > 0)
		memcpy(b->text + b->length, text, length);
	if (origin && b->origin == b->length)
		b->origin += length;
	b->length += length;
	b->text[b->length] = '\0';
	return 0;
}

int cwe_buffer_put_part(struct cwe_buffer *b, const struct cwe_buffer *in, size_t start, size_t end)
{
	size_t own = in->origin < end ? in->origin : end;
	int rc = 0;
	if (own > start) {
		rc = cwe_buffer_put(b, in->text + start, own - start, 1);
		start = own;
	}
	return rc == 0 && end > start ? cwe_buffer_put(b, in->text + start, end - start, 0) : rc;
}

int cwe_buffer_put_point(struct cwe_buffer *b, uint32_t point, int origin)
{
	char text[4] = "";
	return cwe_buffer_put(b, text, cwe_utf8_put(point, text), origin);
}

void cwe_buffer_free(struct cwe_buffer *b)
{
	free(b->text);
	*b = (struct cwe_buffer){0};
}
