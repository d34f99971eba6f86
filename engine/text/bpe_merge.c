/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The merges of one word: of all neighbours that a merge joins the pair of the lowest rank,
 * leftmost, again and again. Few symbols lie in an array; many are linked, and a heap holds the
 * merges that their neighbours allow. */
#include <errno.h>
#include <stdlib.h>

#include "engine/text/bpe_p.h"

#define NONE CWE_BPE_NONE
#define FEW 48 /* symbols that are merged in an array: the time is quadratic */
#define WAYS 8 /* of the heap */

struct cwe_bpe_symbol {
	uint64_t merge; /* with the next one; CWE_MERGE_NONE also of a symbol that is gone */
	uint32_t previous, next; /* NONE at the ends */
};

/* Room for n symbols, and for the candidates that they can give: n - 1 at first and two for each of
 * n - 1 merges. */
static int reserve_symbols(struct cwe_bpe_work *w, size_t n)
{
	if (n <= w->symbols)
		return 0;
	w->symbols = 0;
	free(w->symbol);
	free(w->candidate);
	w->symbol = malloc(n * sizeof(*w->symbol));
	w->candidate = malloc(3 * n * sizeof(*w->candidate));
	if (!w->symbol || !w->candidate)
		return -ENOMEM;
	w->symbols = n;
	return 0;
}

/* Merges a few symbols in place; returns their new count. */
static size_t merge_few(const struct cwe_bpe *b, uint32_t *id, size_t n)
{
	uint64_t merge[FEW];
	for (size_t i = 0; i + 1 < n; i++)
		merge[i] = cwe_merges_find(&b->merges, id[i], id[i + 1]);
	while (n > 1) {
		size_t best = 0;
		for (size_t i = 1; i + 1 < n; i++) {
			if (merge[i] < merge[best])
				best = i;
		}
		if (merge[best] == CWE_MERGE_NONE)
			break;
		id[best] = CWE_MERGE_ID(merge[best]);
		n--;
		for (size_t i = best + 1; i < n; i++) {
			id[i] = id[i + 1];
			merge[i - 1] = merge[i];
		}
		if (best > 0)
			merge[best - 1] = cwe_merges_find(&b->merges, id[best - 1], id[best]);
		if (best + 1 < n)
			merge[best] = cwe_merges_find(&b->merges, id[best], id[best + 1]);
	}
	return n;
}

/* A heap in which each entry has up to WAYS below it: these lie in one cache line, and there are
 * few levels. */
static void push(uint64_t *heap, size_t *count, uint64_t candidate)
{
	size_t i = (*count)++;
	while (i > 0 && candidate < heap[(i - 1) / WAYS]) {
		heap[i] = heap[(i - 1) / WAYS];
		i = (i - 1) / WAYS;
	}
	heap[i] = candidate;
}

static uint64_t pop(uint64_t *heap, size_t *count)
{
	uint64_t top = heap[0];
	uint64_t last = heap[--*count];
	size_t i = 0;
	for (;;) {
		size_t first = WAYS * i + 1;
		if (first >= *count)
			break;
		size_t end = first + WAYS < *count ? first + WAYS : *count;
		size_t least = first;
		for (size_t child = first + 1; child < end; child++)
			least = heap[child] < heap[least] ? child : least;
		if (heap[least] >= last)
			break;
		heap[i] = heap[least];
		i = least;
	}
	heap[i] = last;
	return top;
}

static void offer(const struct cwe_bpe *b, struct cwe_bpe_work *w, const uint32_t *id,
	size_t *count, uint32_t position)
{
	struct cwe_bpe_symbol *s = &w->symbol[position];
	s->merge = s->next == NONE ? CWE_MERGE_NONE
				   : cwe_merges_find(&b->merges, id[position], id[s->next]);
	if (s->merge != CWE_MERGE_NONE)
		push(w->candidate, count, s->merge >> 24 << 32 | position);
}

/* Merges any number of symbols in place; returns their new count. */
static size_t merge_many(const struct cwe_bpe *b, struct cwe_bpe_work *w, uint32_t *id, size_t n)
{
	size_t count = 0;
	size_t kept = 0;
	for (size_t i = 0; i < n; i++) {
		w->symbol[i].previous = i > 0 ? (uint32_t)i - 1 : NONE;
		w->symbol[i].next = i + 1 < n ? (uint32_t)i + 1 : NONE;
		offer(b, w, id, &count, (uint32_t)i);
	}
	while (count > 0) {
		uint64_t top = pop(w->candidate, &count);
		uint32_t position = (uint32_t)top;
		struct cwe_bpe_symbol *s = &w->symbol[position];
		if (s->merge >> 24 != top >> 32)
			continue; /* one of the two has changed since */
		struct cwe_bpe_symbol *right = &w->symbol[s->next];
		id[position] = CWE_MERGE_ID(s->merge);
		right->merge = CWE_MERGE_NONE;
		s->next = right->next;
		if (s->next != NONE)
			w->symbol[s->next].previous = position;
		if (s->previous != NONE)
			offer(b, w, id, &count, s->previous);
		offer(b, w, id, &count, position);
	}
	for (uint32_t i = 0; i != NONE; i = w->symbol[i].next)
		id[kept++] = id[i];
	return kept;
}

int cwe_bpe_merge(
	const struct cwe_bpe *b, struct cwe_bpe_work *w, size_t n, size_t *ret, struct cwb_err *err)
{
	if (n <= FEW) {
		*ret = merge_few(b, w->id, n);
		return 0;
	}
	if (reserve_symbols(w, n) < 0)
		return cwb_err_set(err, -ENOMEM, "out of memory for a word of %zu symbols", n);
	*ret = merge_many(b, w, w->id, n);
	return 0;
}
