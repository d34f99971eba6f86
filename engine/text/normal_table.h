/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The tables of the normalization forms and of small letters, as the reference library has them (of
 * about Unicode 9 and of 17): written by scripts/unicode-measured.py. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A character and what it becomes: count code points of the pool from first on. */
struct cwe_normal_entry {
	uint32_t point;
	uint16_t first, count;
};

struct cwe_normal_map {
	const struct cwe_normal_entry *entry; /* ascending */
	size_t count;
	const uint32_t *pool;
};

/* Full decompositions; compatible has those that differ from the canonical ones. Hangul is in
 * neither. */
extern const struct cwe_normal_map cwe_normal_canonical, cwe_normal_compatible, cwe_normal_lower;

/* Two characters that become one, ascending. */
struct cwe_normal_pair {
	uint32_t first, second, whole;
};
extern const struct cwe_normal_pair cwe_normal_pair[];
extern const size_t cwe_normal_pairs;

/* Characters with a combining class; all others have 0. */
struct cwe_normal_marks {
	uint32_t first, last;
	unsigned char class;
};
extern const struct cwe_normal_marks cwe_normal_marks[];
extern const size_t cwe_normal_mark_runs;

/* What NFC may change, alone or behind another character: a bitmap of each 256 code points. */
extern const unsigned char cwe_normal_unstable_page[];
extern const size_t cwe_normal_unstable_pages;
extern const unsigned char cwe_normal_unstable_bits[][32];
