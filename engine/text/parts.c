/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The texts that an item of a calibration set is made of. */
#include "engine/text/parts.h"

#include <stdlib.h>
#include <string.h>

void cwe_parts_add(struct cwe_parts *p, const char *text, size_t length)
{
	if (p->failed)
		return;
	if (p->room - p->length < length) {
		size_t room = 2 * p->room + length + 256;
		char *grown = realloc(p->text, room);
		if (!grown) {
			p->failed = 1;
			return;
		}
		p->text = grown;
		p->room = room;
	}
	if (length > 0)
		memcpy(p->text + p->length, text, length);
	p->length += length;
}

void cwe_parts_end(struct cwe_parts *p)
{
	size_t begin = p->count > 0 ? p->start[p->count - 1] + p->size[p->count - 1] + 1 : 0;
	cwe_parts_add(p, "", 1);
	if (p->failed)
		return;
	p->start[p->count] = begin;
	p->size[p->count] = p->length - 1 - begin;
	p->count++;
}

void cwe_parts_free(struct cwe_parts *p)
{
	free(p->text);
	*p = (struct cwe_parts){0};
}

const char *cwe_parts_text(const struct cwe_parts *p, size_t part)
{
	return p->text + p->start[part];
}
