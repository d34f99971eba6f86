/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Look-ups in the table of Unicode classes. */
#include "engine/text/classes.h"

#include <string.h>

const struct cwe_class *cwe_class_find(const char *name, size_t length)
{
	for (size_t i = 0; i < cwe_class_count; i++) {
		const struct cwe_class *c = &cwe_class_table[i];
		if (strlen(c->name) == length && memcmp(c->name, name, length) == 0)
			return c;
	}
	return NULL;
}

int cwe_class_has(const struct cwe_class *c, uint32_t point)
{
	size_t low = 0;
	size_t high = c->count;
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
