/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Products over panels: both operands are copied into panels once, a chunk of the depth at a time, then C is cut into tiles
 * by its shape alone, and each tile is one piece of work. Within a tile the depth goes in blocks, so that a panel of B stays
 * in the first-level cache while all of A's pass it. Where the depth is cut depends on the columns of C and on the depth alone,
 * and many rows go one part after another: panels stay small, and a row of C is the same whatever rows are beside it. */
#include <errno.h>
#include <string.h>

#include "plugins/backends/cpu/cpu.h"

enum {
	TILE_M = 96, /* at most, and half where there would be fewer tiles than ENOUGH */
	TILE_N = 192,
	ENOUGH = 64,
	CHUNK = 2048,      /* depth that is packed at a time, at most */
	CHUNK_LEAST = 256, /* ... and at least, where B's panels would take more than B_BYTES */
	B_BYTES = 24 << 20,
	PART = 4096,       /* rows that are packed at a time, at most */
	DEPTH = 512,       /* of a block, at most */
	PACK_COLUMNS = 64  /* about as many rows or columns are one piece of copying */
};

struct product {
	const struct panels *p;
	struct gemm g; /* the rows at work */
	size_t tile_m, tile_n;
	size_t across;                 /* tiles side by side */
	size_t chunk, first, k;        /* depth: of a chunk at most, where this one begins, and its own */
	size_t padded, depth;          /* its own in whole steps, and that of a block */
	size_t a_distance, b_distance; /* bytes between panels */
	size_t a_each, b_each;         /* columns of one piece of copying */
	size_t a_pieces, b_pieces;
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

static void pack_a_piece(void *arg, size_t i)
{
	const struct product *w = arg;
	const struct gemm *g = &w->g;
	size_t column = i * w->a_each;
	struct pack p = {.k = w->k, .along = !g->trans_a, .ld = g->lda, .distance = w->a_distance};
	p.n = least(w->a_each, g->m - column);
	p.src = g->a + (p.along ? column * p.ld + w->first : w->first * p.ld + column);
	p.dst = w->a + column / w->p->mr * p.distance;
	w->p->pack_a(&p);
}

static void pack_b_piece(void *arg, size_t i)
{
	const struct product *w = arg;
	const struct gemm *g = &w->g;
	size_t column = i * w->b_each;
	struct pack p = {.k = w->k, .along = g->trans_b, .ld = g->ldb, .distance = w->b_distance};
	p.n = least(w->b_each, g->n - column);
	p.src = g->b + (p.along ? column * p.ld + w->first : w->first * p.ld + column);
	p.dst = w->b + column / w->p->nr * p.distance;
	w->p->pack_b(&p);
}

/* B's pieces come first where they are wanted. */
static void pack_piece(void *arg, size_t i)
{
	struct product *w = arg;
	if (i < w->b_pieces) {
		pack_b_piece(arg, i);
	} else {
		pack_a_piece(arg, i - w->b_pieces);
	}
}

/* One register tile at the edge of C, by way of a whole one. */
static void edge(const struct product *w, size_t k, const char *a, const char *b, const struct ahead *next, int accumulate,
	float *c, size_t rows, size_t cols)
{
	float cell[MOST_MR * MOST_NR] __attribute__((aligned(PANEL_ALIGN)));
	size_t nr = w->p->nr, ld = w->g.ldc;
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
	const struct gemm *g = &w->g;
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

/* Depth of a chunk: all alike, and few enough for B's panels. */
static size_t chunk_of(const struct panels *p, size_t n, size_t k)
{
	size_t most = B_BYTES / (round_up(n, p->nr) * p->size);
	most = most < CHUNK_LEAST ? CHUNK_LEAST : most;
	return even(k, most < CHUNK ? most : CHUNK, MOST_STEP);
}

/* Sizes for products of this shape; returns the bytes of both operands' panels. */
static size_t lay_out(struct product *w, size_t m, size_t n, size_t k)
{
	const struct panels *p = w->p;
	w->chunk = chunk_of(p, n, k);
	w->tile_n = even(n, TILE_N, p->nr);
	w->across = up(n, w->tile_n);
	w->a_distance = round_up(w->chunk * p->mr * p->size, PANEL_ALIGN);
	w->b_distance = round_up(w->chunk * p->nr * p->size, PANEL_ALIGN);
	w->a_each = round_up(PACK_COLUMNS, p->mr);
	w->b_each = round_up(PACK_COLUMNS, p->nr);
	return up(least(m, PART), p->mr) * w->a_distance + up(n, p->nr) * w->b_distance;
}

/* Rows [row, row + g.m) of one chunk; B's panels are made with those of the first rows. */
static void part(struct cpu *b, struct product *w, const struct gemm *all, size_t row)
{
	w->g = *all;
	w->g.m = least(PART, all->m - row);
	w->g.a += all->trans_a ? row : row * all->lda;
	w->g.c += row * all->ldc;
	w->tile_m = even(w->g.m, TILE_M, w->p->mr);
	if (w->across * up(w->g.m, w->tile_m) < ENOUGH) {
		w->tile_m = even(w->g.m, TILE_M / 2, w->p->mr);
	}
	w->a_pieces = up(w->g.m, w->a_each);
	w->b_pieces = row == 0 ? up(all->n, w->b_each) : 0;
	cpu_run(b, w->a_pieces + w->b_pieces, pack_piece, w);
	cpu_run(b, w->across * up(w->g.m, w->tile_m), tile, w);
}

uint64_t cpu_product_memory(const struct panels *p, uint64_t most)
{
	uint64_t columns = most + MOST_NR, deepest = (most < CHUNK ? most : CHUNK) + MOST_STEP;
	uint64_t a = ((most < PART ? most : PART) + MOST_MR) * deepest, b = columns * deepest;
	uint64_t cut = columns * (CHUNK_LEAST + MOST_STEP), limit = B_BYTES / p->size + columns * MOST_STEP;
	limit = limit > cut ? limit : cut;
	return (a + (b < limit ? b : limit)) * p->size;
}

int cpu_product(struct cpu *b, const struct gemm *g)
{
	struct product w = {.p = b->panels};
	w.b = cpu_scratch_shared(b, lay_out(&w, g->m, g->n, g->k));
	if (!w.b) {
		return -ENOMEM;
	}
	w.a = w.b + up(g->n, w.p->nr) * w.b_distance;
	for (w.first = 0; w.first < g->k; w.first += w.chunk) {
		w.k = least(w.chunk, g->k - w.first);
		w.padded = round_up(w.k, w.p->step);
		w.depth = even(w.padded, DEPTH, MOST_STEP);
		for (size_t row = 0; row < g->m; row += PART) {
			part(b, &w, g, row);
		}
	}
	return 0;
}
