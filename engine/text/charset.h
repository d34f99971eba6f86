/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sets of code points as ranges: what a character class of a pattern holds. */
#pragma once

#include "engine/text/classes.h"

#define CWE_POINT_LAST 0x10FFFFu

/* Zeroed is the empty set. */
struct cwe_charset {
	struct cwe_range *range;
	size_t count, room;
};

/* These return 0 or -ENOMEM. add needs no order; sort makes the ranges ascending and disjoint, as
 * complement and cwe_charset_equal need them. */
int cwe_charset_add(struct cwe_charset *s, uint32_t first, uint32_t last);
int cwe_charset_add_class(struct cwe_charset *s, const struct cwe_class *c, int negated);
void cwe_charset_sort(struct cwe_charset *s);
int cwe_charset_complement(struct cwe_charset *s);
int cwe_charset_equal(const struct cwe_charset *a, const struct cwe_charset *b);
void cwe_charset_free(struct cwe_charset *s);
