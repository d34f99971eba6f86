/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* How attention is cut. */
#include <errno.h>
#include <stdlib.h>

#include <cwp/backend.h>

#include "plugins/backends/cuda/attention_plan.h"

static uint64_t length_of(const struct cwp_attention *a, uint64_t sequence)
{
	return a->sequences.start[sequence + 1] - a->sequences.start[sequence];
}

static int allocate(struct attention_plan *p, const struct cwp_attention *a, uint32_t rows)
{
	size_t blocks = 0, ranges = a->prefixes ? (size_t)a->prefixes->range[a->sequences.count] : 0;
	for (uint64_t i = 0; i < a->sequences.count; i++) {
		blocks += (size_t)((length_of(a, i) + rows - 1) / rows);
	}
	p->blocks = calloc(blocks ? blocks : 1, sizeof(*p->blocks));
	p->ranges = calloc(ranges ? ranges : 1, sizeof(*p->ranges));
	p->first = calloc((size_t)a->sequences.count + 1, sizeof(*p->first));
	return p->blocks && p->ranges && p->first ? 0 : -ENOMEM;
}

/* Notes the prefix of a sequence in what its blocks have in common. */
static void add_ranges(struct attention_plan *p, uint64_t sequence, struct attention_block *block)
{
	const struct cwp_prefixes *prefixes = p->attention->prefixes;
	block->range = (uint32_t)p->n_ranges;
	for (uint64_t r = prefixes ? prefixes->range[sequence] : 0; prefixes && r < prefixes->range[sequence + 1]; r++) {
		if (prefixes->count[r] == 0) {
			continue;
		}
		p->ranges[p->n_ranges++] = (struct attention_range){
			block->before, (uint32_t)prefixes->first[r], (uint32_t)prefixes->count[r]};
		block->before += (uint32_t)prefixes->count[r];
		block->ranges++;
	}
}

int attention_plan_init(struct attention_plan *p, const struct cwp_attention *a, uint32_t rows)
{
	*p = (struct attention_plan){.attention = a};
	if (allocate(p, a, rows)) {
		attention_plan_done(p);
		return -ENOMEM;
	}
	for (uint64_t i = 0; i < a->sequences.count; i++) {
		struct attention_block block = {.start = (uint32_t)a->sequences.start[i], .length = (uint32_t)length_of(a, i)};
		p->first[i] = p->n_blocks;
		if (block.length == 0) {
			continue;
		}
		add_ranges(p, i, &block);
		for (uint32_t n = (block.length - 1) / rows + 1; n > 0; n--) {
			block.first = (n - 1) * rows;
			p->blocks[p->n_blocks++] = block;
		}
		p->longest = block.before + block.length > p->longest ? block.before + block.length : p->longest;
	}
	p->first[a->sequences.count] = p->n_blocks;
	return 0;
}

void attention_plan_done(struct attention_plan *p)
{
	free(p->blocks);
	free(p->ranges);
	free(p->first);
	*p = (struct attention_plan){.blocks = NULL};
}

/* Where the piece that begins at sequence `from` ends. */
static uint64_t sequences_end(const struct cwp_attention *a, uint64_t from, uint64_t each, uint64_t budget)
{
	uint64_t count = a->sequences.count, end = from + 1, row = a->sequences.start[from];
	if (a->prefixes) {
		return count;
	}
	while (end < count && (a->sequences.start[end + 1] - row) * each * a->kv_heads <= budget) {
		end++;
	}
	return end;
}

int attention_plan_next(const struct attention_plan *p, uint64_t each, uint64_t budget, struct attention_piece *piece)
{
	const struct cwp_attention *a = p->attention;
	uint64_t from = piece->sequence_end;
	uint32_t kv = piece->kv + piece->kv_count;
	if (piece->kv_count > 0 && kv < a->kv_heads) {
		piece->kv = kv;
		piece->kv_count = piece->kv_count < a->kv_heads - kv ? piece->kv_count : a->kv_heads - kv;
		return 1;
	}
	while (from < a->sequences.count && length_of(a, from) == 0) {
		from++;
	}
	if (from >= a->sequences.count) {
		return 0;
	}
	uint64_t end = sequences_end(a, from, each, budget), row = a->prefixes ? 0 : a->sequences.start[from];
	uint64_t rows = a->sequences.start[end] - row, fit = each ? budget / (rows * each) : a->kv_heads;
	*piece = (struct attention_piece){.sequence = from, .sequence_end = end, .row = (uint32_t)row, .rows = (uint32_t)rows};
	piece->kv_count = fit > a->kv_heads ? a->kv_heads : fit > 0 ? (uint32_t)fit : 1;
	return 1;
}
