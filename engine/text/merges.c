/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The table of merges. */
#include "engine/text/merges.h"

#include <errno.h>
#include <stdlib.h>

#define JOINTS_MIN ((size_t)1 << 12)
#define JOINTS_MAX                                                                                 \
	((size_t)1 << 20) /* 128 KiB; half a million merges have about 30,000 pairs of characters  \
			   */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "entries are little-endian words");

int cwe_merges_new(struct cwe_merges *m, size_t n)
{
	*m = (struct cwe_merges){.slots = n + n / 3 + 16, .joints = JOINTS_MIN};
	while (m->joints < JOINTS_MAX && m->joints < 2 * n)
		m->joints *= 2;
	m->slot = malloc(m->slots * sizeof(*m->slot));
	m->entry = malloc(9 * n + 1);
	m->joint = calloc(m->joints / 64, sizeof(*m->joint));
	if (!m->slot || !m->entry || !m->joint) {
		cwe_merges_free(m);
		return -ENOMEM;
	}
	memset(m->slot, 0xFF, m->slots * sizeof(*m->slot));
	return 0;
}

void cwe_merges_free(struct cwe_merges *m)
{
	free(m->slot);
	free(m->entry);
	free(m->joint);
	*m = (struct cwe_merges){0};
}

void cwe_merges_put(struct cwe_merges *m, const uint32_t id[2], const uint32_t point[2],
	uint32_t rank, uint32_t to)
{
	uint64_t h = cwe_merges_hash(id[0], id[1]);
	uint64_t joint = cwe_merges_hash(point[0], point[1]);
	size_t a = (size_t)joint & (m->joints - 1);
	size_t b = (size_t)(joint >> 32) & (m->joints - 1);
	uint64_t pair = (uint64_t)id[1] << 24 | id[0];
	m->slot[cwe_merges_slot(m, id[0], id[1], h)] = cwe_hash_tag(h) | rank;
	memcpy(m->entry + 9 * (size_t)rank, &pair, 6);
	memcpy(m->entry + 9 * (size_t)rank + 6, &to, 3);
	m->joint[a / 64] |= (uint64_t)1 << a % 64;
	m->joint[b / 64] |= (uint64_t)1 << b % 64;
}
