/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Products over panels: both operands are copied into panels once, a chunk of the depth at a time, then C is cut into tiles
 * by its shape alone, and each tile is one piece of work. Within a tile the depth goes in blocks, so that a panel of B stays
 * in the first-level cache while all of A's pass it. */
#include <errno.h>
#include <string.h>

#include "plugins/backends/cpu/cpu.h"

enum {
	TILE_M = 96, /* at most */
	TILE_N = 192,
	CHUNK = 2048,    /* depth that is packed at a time, at most */
	DEPTH = 512,     /* of a block, at most */
	PACK_COLUMNS = 64 /* about as many rows or columns are one piece of copying */
};

struct product {
	const struct panels *p;
	const struct gemm *g;
	size_t tile_m, tile_n;
	size_t across;             /* tiles side by side */
	size_t chunk, first, k;    /* depth: of a chunk at most, where this one begins, and its own */
	size_t padded, depth;      /* its own in whole steps, and that of a block */
	size_t a_distance, b_distance; /* bytes between panels */
	size_t a_each, b_each;     /* columns of one piece of copying */
	size_t a_pieces;
	char *a, *b;
};

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t up(size_t n, size_t each)
{
	return (n + each - 1) / each;
}

static size_t round_up(size_t n, size_t to)
{
	return up(n, to) * to;
}

/* The size of parts of at most `most`, all alike but for the last, in whole steps. */
static size_t even(size_t n, size_t most, size_t step)
{
	return round_up(up(n, up(n, most)), step);
}

static void pack_piece(void *arg, size_t i)
{
	const struct product *w = arg;
	const struct gemm *g = w->g;
	struct pack p = {.k = w->k};
	if (i < w->a_pieces) {
		size_t column = i * w->a_each;
		p.along = !g->trans_a;
		p.ld = g->lda;
		p.n = least(w->a_each, g->m - column);
		p.src = g->a + (p.along ? column * p.ld + w->first : w->first * p.ld + column);
		p.distance = w->a_distance;
		p.dst = w->a + column / w->p->mr * p.distance;
		w->p->pack_a(&p);
	} else {
		size_t column = (i - w->a_pieces) * w->b_each;
		p.along = g->trans_b;
		p.ld = g->ldb;
		p.n = least(w->b_each, g->n - column);
		p.src = g->b + (p.along ? column * p.ld + w->first : w->first * p.ld + column);
		p.distance = w->b_distance;
		p.dst = w->b + column / w->p->nr * p.distance;
		w->p->pack_b(&p);
	}
}

/* One register tile at the edge of C, by way of a whole one. */
static void edge(const struct product *w, size_t k, const char *a, const char *b, const struct ahead *next, int accumulate,
	float *c, size_t rows, size_t cols)
{
	float cell[MOST_MR * MOST_NR] __attribute__((aligned(PANEL_ALIGN)));
	size_t nr = w->p->nr, ld = w->g->ldc;
	memset(cell, 0, sizeof(cell));
	for (size_t i = 0; accumulate && i < rows; i++) {
		memcpy(cell + i * nr, c + i * ld, cols * sizeof(float));
	}
	w->p->micro(k, a, b, next, accumulate, cell, nr);
	for (size_t i = 0; i < rows; i++) {
		memcpy(c + i * ld, cell + i * nr, cols * sizeof(float));
	}
}

/* One block of the depth for all register tiles of the tile at (row, col). */
static void block(const struct product *w, size_t row, size_t col, size_t at, size_t k)
{
	const struct panels *p = w->p;
	const struct gemm *g = w->g;
	size_t end_row = least(row + w->tile_m, g->m), end_col = least(col + w->tile_n, g->n);
	int accumulate = g->accumulate || w->first || at;
	for (size_t j = col; j < end_col; j += p->nr) {
		const char *b = w->b + j / p->nr * w->b_distance + at * p->nr * p->size;
		for (size_t i = row; i < end_row; i += p->mr) {
			const char *a = w->a + i / p->mr * w->a_distance + at * p->mr * p->size;
			struct ahead next = {a + w->a_distance, b + w->b_distance, 64, 0};
			float *c = g->c + i * g->ldc + j;
			size_t rows = least(p->mr, end_row - i), cols = least(p->nr, end_col - j);
			if (rows == p->mr && cols == p->nr) {
				p->micro(k, a, b, &next, accumulate, c, g->ldc);
			} else {
				edge(w, k, a, b, &next, accumulate, c, rows, cols);
			}
		}
	}
}

static void tile(void *arg, size_t i)
{
	const struct product *w = arg;
	size_t row = i / w->across * w->tile_m, col = i % w->across * w->tile_n;
	if (w->p->begin) {
		w->p->begin();
	}
	for (size_t at = 0; at < w->padded; at += w->depth) {
		block(w, row, col, at, least(w->depth, w->padded - at));
	}
	if (w->p->end) {
		w->p->end();
	}
}

int cpu_product(struct cpu *b, const struct gemm *g)
{
	const struct panels *p = b->panels;
	struct product w = {.p = p, .g = g, .chunk = even(g->k, CHUNK, MOST_STEP)};
	size_t longest = round_up(least(w.chunk, g->k), p->step);
	w.tile_m = even(g->m, TILE_M, p->mr);
	w.tile_n = even(g->n, TILE_N, p->nr);
	w.across = up(g->n, w.tile_n);
	w.a_distance = round_up(longest * p->mr * p->size, PANEL_ALIGN);
	w.b_distance = round_up(longest * p->nr * p->size, PANEL_ALIGN);
	w.a_each = round_up(PACK_COLUMNS, p->mr);
	w.b_each = round_up(PACK_COLUMNS, p->nr);
	w.a_pieces = up(g->m, w.a_each);
	size_t a_bytes = up(g->m, p->mr) * w.a_distance;
	w.a = cpu_scratch_shared(b, a_bytes + up(g->n, p->nr) * w.b_distance);
	if (!w.a) {
		return -ENOMEM;
	}
	w.b = w.a + a_bytes;
	for (w.first = 0; w.first < g->k; w.first += w.chunk) {
		w.k = least(w.chunk, g->k - w.first);
		w.padded = round_up(w.k, p->step);
		w.depth = even(w.padded, DEPTH, MOST_STEP);
		cpu_run(b, w.a_pieces + up(g->n, w.b_each), pack_piece, &w);
		cpu_run(b, w.across * up(g->m, w.tile_m), tile, &w);
	}
	return 0;
}
