/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The merges of byte pair encoding: for two tokens side by side the rank of their merge and the
 * token that they become; and which characters a merge can ever bring together. Some 15 bytes a
 * merge. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "engine/text/hash.h"

#define CWE_MERGE_LIMIT 0xFFFFFFu /* of merges; ids are below 2^24 as well */

struct cwe_merges {
	/* Hash table with open addressing: the rank, and in the highest byte some bits of the hash;
	 * UINT32_MAX is empty. Most pairs that are asked for have no merge, and to know that these
	 * words are enough. */
	uint32_t *slot;
	size_t slots; /* four thirds of the merges */
	/* By rank: left, right and new id, three bytes each. */
	unsigned char *entry;
	/* A Bloom filter of the pairs (last character of the left token, first one of the right
	 * token): bits, a power of two many. */
	uint64_t *joint;
	size_t joints;
};

/* The rank, and in the low 24 bits the new id: the lower one is merged first. */
#define CWE_MERGE_NONE UINT64_MAX
#define CWE_MERGE_ID(merge) ((uint32_t)((merge)&0xFFFFFFu))

/* Room for n merges, at most CWE_MERGE_LIMIT. -ENOMEM. */
int cwe_merges_new(struct cwe_merges *m, size_t n);
void cwe_merges_free(struct cwe_merges *m);
/* A pair that is there twice has its later rank. point: the two characters that touch. Each rank
 * once. */
void cwe_merges_put(struct cwe_merges *m, const uint32_t id[2], const uint32_t point[2],
	uint32_t rank, uint32_t to);

static inline uint64_t cwe_merges_hash(uint32_t left, uint32_t right)
{
	return cwe_hash_mix(((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u);
}

/* The slot of a pair: where it is, or the empty one where it would go. */
static inline size_t cwe_merges_slot(
	const struct cwe_merges *m, uint32_t left, uint32_t right, uint64_t h)
{
	uint64_t pair = (uint64_t)right << 24 | left;
	uint32_t bits = cwe_hash_tag(h);
	size_t i = cwe_hash_place(h, m->slots);
	for (; m->slot[i] != UINT32_MAX; i = i + 1 < m->slots ? i + 1 : 0) {
		uint64_t there;
		if ((m->slot[i] & 0xFF000000u) != bits)
			continue;
		memcpy(&there, m->entry + 9 * (size_t)(m->slot[i] & 0xFFFFFFu), 8);
		if (((there ^ pair) & 0xFFFFFFFFFFFFu) == 0)
			break;
	}
	return i;
}

/* CWE_MERGE_NONE: the two are not merged. */
static inline uint64_t cwe_merges_find(const struct cwe_merges *m, uint32_t left, uint32_t right)
{
	uint32_t found = m->slot[cwe_merges_slot(m, left, right, cwe_merges_hash(left, right))];
	uint32_t to;
	if (found == UINT32_MAX)
		return CWE_MERGE_NONE;
	memcpy(&to, m->entry + 9 * (size_t)(found & 0xFFFFFFu) + 5, 4);
	return (uint64_t)(found & 0xFFFFFFu) << 24 | to >> 8;
}

/* Whether a merge may join a token that ends with left and one that begins with right. 0 is
 * certain. */
static inline int cwe_merges_join(const struct cwe_merges *m, uint32_t left, uint32_t right)
{
	uint64_t h = cwe_merges_hash(left, right);
	size_t a = (size_t)h & (m->joints - 1);
	size_t b = (size_t)(h >> 32) & (m->joints - 1);
	return (m->joint[a / 64] >> a % 64 & m->joint[b / 64] >> b % 64 & 1) != 0;
}
