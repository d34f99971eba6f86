/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Items matched by id, and their differences. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/pairs.h"

static int by_id(const void *a, const void *b)
{
	return strcmp((*(const struct cwe_outcome *const *)a)->id, (*(const struct cwe_outcome *const *)b)->id);
}

/* The model's item of that id: usually where the first model has it, else in the list sorted by id, made when needed. */
static const struct cwe_outcome *find(const struct cwe_outcome *item, size_t n, size_t at, const char *id,
	const struct cwe_outcome ***sorted, int *failed)
{
	const struct cwe_outcome key = {.id = (char *)(uintptr_t)id}, *wanted = &key;
	if (at < n && strcmp(item[at].id, id) == 0) {
		return &item[at];
	}
	if (*sorted == NULL) {
		const struct cwe_outcome **list = malloc((n + 1) * sizeof(struct cwe_outcome *));
		if (list == NULL) {
			*failed = 1;
			return NULL;
		}
		for (size_t i = 0; i < n; i++) {
			list[i] = &item[i];
		}
		qsort(list, n, sizeof *list, by_id);
		*sorted = list;
	}
	const struct cwe_outcome **found = bsearch(&wanted, *sorted, n, sizeof(struct cwe_outcome *), by_id);
	return found != NULL ? *found : NULL;
}

int cwe_pairs_match(const struct cwe_outcome *const item[CWE_COMPARED], const size_t items[CWE_COMPARED], struct cwe_pair **ret,
	size_t *ret_n)
{
	const struct cwe_outcome **sorted[CWE_COMPARED] = {NULL};
	size_t first = 0, n = 0;
	int failed = 0;
	while (first < CWE_COMPARED - 1 && items[first] == 0) {
		first++;
	}
	const struct cwe_outcome *base = item[first];
	struct cwe_pair *pair = calloc(items[first] + 1, sizeof *pair);
	failed = pair == NULL;
	for (size_t i = 0; !failed && base != NULL && i < items[first]; i++) {
		struct cwe_pair p = {.of = {NULL}};
		int all = 1;
		for (size_t k = first; !failed && k < CWE_COMPARED; k++) {
			p.of[k] = k == first ? &base[i] : items[k] > 0 ? find(item[k], items[k], i, base[i].id, &sorted[k], &failed) : NULL;
			all = all && (p.of[k] != NULL || items[k] == 0);
		}
		if (all) {
			pair[n++] = p;
		}
	}
	for (size_t k = 0; k < CWE_COMPARED; k++) {
		free(sorted[k]);
	}
	if (failed) {
		free(pair);
		return -ENOMEM;
	}
	*ret = pair;
	*ret_n = n;
	return 0;
}

int cwe_pair_flipped(const struct cwe_pair *pair, enum cwe_compared than, enum cwe_compared which)
{
	const struct cwe_outcome *a = pair->of[than], *b = pair->of[which];
	return a != NULL && b != NULL && a->choice >= 0 && b->choice >= 0 && a->choice != b->choice;
}

struct cwe_flips cwe_pairs_flips(const struct cwe_pair *pair, size_t n, enum cwe_compared than, enum cwe_compared which)
{
	struct cwe_flips f = {.p = NAN};
	for (size_t i = 0; i < n; i++) {
		const struct cwe_outcome *a = pair[i].of[than], *b = pair[i].of[which];
		if (a == NULL || b == NULL || a->choice < 0 || b->choice < 0) {
			continue;
		}
		int differs = a->choice != b->choice;
		f.n++;
		f.count += differs;
		f.up += differs && b->value > a->value;
		f.down += differs && b->value < a->value;
	}
	f.p = f.n > 0 ? cwe_mcnemar(f.up, f.down) : NAN;
	return f;
}

uint64_t cwe_pairs_stream(const char *evaluation, const char *metric, const char *group)
{
	const char *part[] = {evaluation, ".", metric, "/", group != NULL ? group : ""};
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	for (size_t k = 0; k < sizeof part / sizeof *part; k++) {
		for (const char *c = part[k]; *c != '\0'; c++) {
			h = (h ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
		}
	}
	return h;
}

double cwe_worse_by(int32_t direction, double ideal, double value, double than)
{
	if (direction == 0 && isfinite(ideal)) {
		return fabs(value - ideal) - fabs(than - ideal);
	}
	return direction > 0 ? than - value : value - than;
}
