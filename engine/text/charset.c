/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sets of code points as ranges. */
#include "engine/text/charset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int cwe_charset_add(struct cwe_charset *s, uint32_t first, uint32_t last)
{
	if (s->count == s->room) {
		size_t room = s->room ? 2 * s->room : 8;
		struct cwe_range *range = realloc(s->range, room * sizeof(*range));
		if (!range)
			return -ENOMEM;
		s->range = range;
		s->room = room;
	}
	s->range[s->count++] = (struct cwe_range){first, last};
	return 0;
}

int cwe_charset_add_class(struct cwe_charset *s, const struct cwe_class *c, int negated)
{
	uint32_t next = 0; /* first point that is in none of the ranges so far */
	for (size_t i = 0; i < c->count; i++) {
		const struct cwe_range *r = &c->range[i];
		if (!negated && cwe_charset_add(s, r->first, r->last) < 0)
			return -ENOMEM;
		if (negated && r->first > next && cwe_charset_add(s, next, r->first - 1) < 0)
			return -ENOMEM;
		next = r->last + 1;
	}
	if (negated && next <= CWE_POINT_LAST)
		return cwe_charset_add(s, next, CWE_POINT_LAST);
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct cwe_range *x = a;
	const struct cwe_range *y = b;
	return x->first < y->first ? -1 : x->first > y->first;
}

void cwe_charset_sort(struct cwe_charset *s)
{
	if (s->count == 0)
		return;
	qsort(s->range, s->count, sizeof(*s->range), compare);
	size_t n = 1;
	for (size_t i = 1; i < s->count; i++) {
		struct cwe_range *last = &s->range[n - 1];
		if (s->range[i].first <= last->last + 1) {
			if (s->range[i].last > last->last)
				last->last = s->range[i].last;
		} else {
			s->range[n++] = s->range[i];
		}
	}
	s->count = n;
}

int cwe_charset_complement(struct cwe_charset *s)
{
	struct cwe_charset other = {0};
	struct cwe_class self = {"", s->range, s->count};
	if (cwe_charset_add_class(&other, &self, 1) < 0) {
		cwe_charset_free(&other);
		return -ENOMEM;
	}
	cwe_charset_free(s);
	*s = other;
	return 0;
}

int cwe_charset_equal(const struct cwe_charset *a, const struct cwe_charset *b)
{
	if (a->count != b->count)
		return 0;
	for (size_t i = 0; i < a->count; i++) {
		if (a->range[i].first != b->range[i].first || a->range[i].last != b->range[i].last)
			return 0;
	}
	return 1;
}

void cwe_charset_free(struct cwe_charset *s)
{
	free(s->range);
	*s = (struct cwe_charset){0};
}
