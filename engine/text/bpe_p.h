/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What reading and encoding of the model "BPE" share. */
#pragma once

#include "engine/text/bpe.h"
#include "engine/text/merges.h"

#define CWE_BPE_NONE UINT32_MAX
#define CWE_BPE_LOW                                                                                \
	0x200u /* characters below have a table of their own; the byte alphabet is among them */

struct cwe_bpe {
	struct cwe_vocabulary *vocabulary;
	struct cwe_merges merges;
	uint32_t unknown; /* id or CWE_BPE_NONE */
	int fuse_unknown, byte_fallback, ignore_merges;
	size_t longest;            /* bytes of the longest token */
	uint32_t byte_id[256];     /* of "<0x00>" to "<0xFF>", or CWE_BPE_NONE */
	uint32_t low[CWE_BPE_LOW]; /* ids of the single characters, or CWE_BPE_NONE */
	/* Those of the others: a hash table, the id and below it the character. */
	uint64_t *high;
	size_t highs;
	uint64_t known[0x10000 / 64]; /* bit: whether a character of the basic plane is a token */
};

/* The id of one character, or CWE_BPE_NONE. */
static inline uint32_t cwe_bpe_character(const struct cwe_bpe *b, uint32_t point)
{
	if (point < CWE_BPE_LOW)
		return b->low[point];
	size_t i = cwe_hash_place(cwe_hash_mix(point * 0x9E3779B97F4A7C15u), b->highs);
	while (b->high[i] != UINT64_MAX && (uint32_t)b->high[i] != point)
		i = i + 1 < b->highs ? i + 1 : 0;
	return b->high[i] == UINT64_MAX ? CWE_BPE_NONE : (uint32_t)(b->high[i] >> 32);
}

static inline int cwe_bpe_knows(const struct cwe_bpe *b, uint32_t point)
{
	return point < 0x10000 && (b->known[point / 64] >> point % 64 & 1) != 0;
}

/* Merges the symbols w->id[0..n). *ret: how many are left there. */
int cwe_bpe_merge(const struct cwe_bpe *b, struct cwe_bpe_work *w, size_t n, size_t *ret,
	struct cwb_err *err);
