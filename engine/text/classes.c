/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Look-ups in the table of Unicode classes. */
#include "engine/text/classes.h"

#include <string.h>

static const struct cwe_class *find(
	const struct cwe_class *table, size_t count, const char *name, size_t length)
{
	for (size_t i = 0; i < count; i++) {
		if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0)
			return &table[i];
	}
	return NULL;
}

const struct cwe_class *cwe_class_find(const char *name, size_t length)
{
	const struct cwe_class *c = find(cwe_class_table, cwe_class_count, name, length);
	return c ? c : find(cwe_class_measured, cwe_class_measured_count, name, length);
}

int cwe_class_has(const struct cwe_class *c, uint32_t point)
{
	size_t low = 0;
	size_t high = c->count;
	/* Few ranges begin below U+0080, and most characters are there. */
	for (; point < 0x80; low++) {
		if (low == high || c->range[low].first > point)
			return 0;
		if (point <= c->range[low].last)
			return 1;
	}
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (point > c->range[middle].last)
			low = middle + 1;
		else if (point < c->range[middle].first)
			high = middle;
		else
			return 1;
	}
	return 0;
}
