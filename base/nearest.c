/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Optimal string alignment distance with three rolling rows; long names are not compared at all. */
#include <string.h>
#include <strings.h>

#include "base/nearest.h"

enum { LONGEST = 63 };

static char fold(char c)
{
	if (c >= 'A' && c <= 'Z') {
		return (char)(c - 'A' + 'a');
	}
	return c == '_' ? '-' : c;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;
	return least < c ? least : c;
}

/* Both at most LONGEST bytes. */
static unsigned distance(const char *a, size_t n, const char *b, size_t m)
{
	unsigned rows[3][LONGEST + 1];
	unsigned *before = rows[0], *last = rows[1], *row = rows[2];

	for (size_t j = 0; j <= m; j++) {
		last[j] = (unsigned)j;
		before[j] = 0;
	}
	for (size_t i = 1; i <= n; i++) {
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			char ca = fold(a[i - 1]), cb = fold(b[j - 1]);
			row[j] = min3(last[j] + 1, row[j - 1] + 1, last[j - 1] + (ca != cb));
			if (i > 1 && j > 1 && ca == fold(b[j - 2]) && cb == fold(a[i - 2]) &&
				before[j - 2] + 1 < row[j]) {
				row[j] = before[j - 2] + 1;
			}
		}
		unsigned *free_row = before;
		before = last;
		last = row;
		row = free_row;
	}
	return last[m];
}

static const char *name_at(const char *const *first, size_t i, size_t stride)
{
	return *(const char *const *)((const char *)first + i * stride);
}

/* The only name that begins with the given one; at least 3 letters, so that one letter proves
 * nothing. */
static const char *only_extension(
	const char *name, size_t n, const char *const *first, size_t count, size_t stride)
{
	const char *found = NULL;

	for (size_t i = 0; n >= 3 && i < count; i++) {
		const char *other = name_at(first, i, stride);
		if (other == NULL || strncasecmp(name, other, n) != 0) {
			continue;
		}
		if (found != NULL) {
			return NULL;
		}
		found = other;
	}
	return found;
}

const char *cwb_nearest(const char *name, const char *const *first, size_t count, size_t stride)
{
	size_t n = strlen(name);
	const char *best = NULL;

	if (n == 0 || n > LONGEST) {
		return NULL;
	}
	unsigned best_distance =
		n / 3 > 1 ? (unsigned)(n / 3) + 1 : 2; /* one more than is allowed */
	for (size_t i = 0; i < count; i++) {
		const char *other = name_at(first, i, stride);
		if (other == NULL || strlen(other) > LONGEST) {
			continue;
		}
		size_t m = strlen(other);
		unsigned d = distance(name, n, other, m);
		/* A distance as long as the name itself would make any short name "near". */
		if (d < best_distance && d < m && d < n) {
			best = other;
			best_distance = d;
		}
	}
	return best != NULL ? best : only_extension(name, n, first, count, stride);
}
