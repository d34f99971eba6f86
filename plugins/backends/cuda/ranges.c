/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sets of addresses as sorted ranges. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/backends/cuda/ranges.h"

/* The first range that ends at `at` or behind it, or n. */
static size_t find(const struct cuda_ranges *s, uint64_t at)
{
	size_t low = 0, high = s->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (s->range[middle].end < at) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return low;
}

static int make_room(struct cuda_ranges *s)
{
	if (s->n < s->room) {
		return 0;
	}
	size_t room = s->room ? 2 * s->room : 16;
	struct cuda_range *range = realloc(s->range, room * sizeof(*range));
	if (!range) {
		return -ENOMEM;
	}
	s->range = range;
	s->room = room;
	return 0;
}

/* The ranges [first, last) become one. */
static void replace(struct cuda_ranges *s, size_t first, size_t last, struct cuda_range with)
{
	memmove(s->range + first + 1, s->range + last, (s->n - last) * sizeof(*s->range));
	s->n = s->n - (last - first) + 1;
	s->range[first] = with;
}

int cuda_ranges_add(struct cuda_ranges *s, uint64_t begin, uint64_t end)
{
	if (begin >= end) {
		return 0;
	}
	int rc = make_room(s);
	if (rc) {
		return rc;
	}
	struct cuda_range with = {begin, end};
	size_t first = find(s, begin), last = first;
	while (last < s->n && s->range[last].begin <= end) {
		with.begin = s->range[last].begin < with.begin ? s->range[last].begin : with.begin;
		with.end = s->range[last].end > with.end ? s->range[last].end : with.end;
		last++;
	}
	replace(s, first, last, with);
	return 0;
}

static void drop(struct cuda_ranges *s, size_t i)
{
	memmove(s->range + i, s->range + i + 1, (s->n - i - 1) * sizeof(*s->range));
	s->n--;
}

int cuda_ranges_remove(struct cuda_ranges *s, uint64_t begin, uint64_t end)
{
	if (begin >= end) {
		return 0;
	}
	int rc = make_room(s); /* one range may become two */
	size_t i = find(s, begin);
	while (!rc && i < s->n && s->range[i].begin < end) {
		struct cuda_range *r = &s->range[i];
		if (r->begin < begin && r->end > end) {
			struct cuda_range behind = {end, r->end};
			r->end = begin;
			replace(s, i + 1, i + 1, behind);
			return 0;
		}
		if (r->begin < begin) {
			r->end = r->end > begin ? begin : r->end;
			i++;
		} else if (r->end > end) {
			r->begin = end;
			return 0;
		} else {
			drop(s, i);
		}
	}
	return rc;
}

int cuda_ranges_meet(const struct cuda_ranges *s, uint64_t begin, uint64_t end)
{
	size_t i = begin < end ? find(s, begin + 1) : s->n;
	return i < s->n && s->range[i].begin < end;
}

void cuda_ranges_clear(struct cuda_ranges *s)
{
	s->n = 0;
}

void cuda_ranges_free(struct cuda_ranges *s)
{
	free(s->range);
	*s = (struct cuda_ranges){.range = NULL};
}
