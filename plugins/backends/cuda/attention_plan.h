/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* How attention over packed sequences is cut into blocks of rows, and these into pieces whose copies fit into scratch. No call
 * of CUDA. How it is cut changes no number of the result. */
#ifndef CUDA_ATTENTION_PLAN_H
#define CUDA_ATTENTION_PLAN_H

#include <stddef.h>
#include <stdint.h>

struct cwp_attention;

/* One block of rows of one sequence. */
struct attention_block {
	uint32_t start;  /* the sequence's first row */
	uint32_t length; /* its rows */
	uint32_t first;  /* the block's first row within it */
	uint32_t before; /* keys of its prefix */
	uint32_t range;  /* its prefix: ranges [range, range + ranges) */
	uint32_t ranges;
};

/* Rows [row, row + count) are a prefix's keys [key, key + count). */
struct attention_range {
	uint32_t key;
	uint32_t row;
	uint32_t count;
};

struct attention_plan {
	struct attention_block *blocks; /* a sequence's last comes first: it has most keys */
	struct attention_range *ranges;
	size_t *first;     /* [sequences + 1] the first block of each */
	size_t n_blocks;
	size_t n_ranges;
	uint32_t longest;  /* keys of a sequence, its prefix included */
	const struct cwp_attention *attention;
};

/* Sequences [sequence, sequence_end), rows [row, row + rows), heads of keys [kv, kv + kv_count). */
struct attention_piece {
	uint64_t sequence;
	uint64_t sequence_end;
	uint32_t row;
	uint32_t rows;
	uint32_t kv;
	uint32_t kv_count;
};

/* Blocks of `rows` rows of all sequences; a is checked before and outlives the plan. -ENOMEM. */
int attention_plan_init(struct attention_plan *p, const struct cwp_attention *a, uint32_t rows);
void attention_plan_done(struct attention_plan *p);

/* The piece after *piece, which is {0} before the first; 0 when there is none. `each` bytes of scratch are needed for a row
 * and one head of keys: a piece needs at most `budget`, or it is one sequence (with prefixes: all of them) and one head. */
int attention_plan_next(const struct attention_plan *p, uint64_t each, uint64_t budget, struct attention_piece *piece);

#endif
