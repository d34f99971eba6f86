/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A growing list of token ids. */
#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

struct cwe_idlist {
	uint32_t *id;
	size_t count, room;
};

/* 0 or -ENOMEM. */
static inline int cwe_idlist_add(struct cwe_idlist *l, uint32_t id)
{
	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		uint32_t *grown = (uint32_t *)realloc(l->id, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		l->id = grown;
		l->room = room;
	}
	l->id[l->count++] = id;
	return 0;
}
