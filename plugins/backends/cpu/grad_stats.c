/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Statistics of per-sample gradients, fused: for a tile of [rows, cols] all samples are gone through one after
 * another, each sample's g = dY_s^T X_s is made in registers, and its sum, absolute value and square are added to the
 * tile's accumulators, which stay in the second-level cache. The gradient itself is never written.
 *
 * The tile's accumulators are kept micro tile by micro tile, in the order in which the kernel goes through them. A
 * sample longer than DEPTH tokens is cut; its g so far then waits in the tile's memory too. Every element is one chain
 * of additions over tokens, then over samples: its value depends neither on tiles nor on threads. */
#include <string.h>

#include "plugins/backends/cpu/cpu.h"

enum {
	TILE_ROWS = 192,
	TILE_COLS = 256,
	DEPTH = 256 /* tokens of one panel */
};

struct stats {
	struct cpu *b;
	const struct cwp_grad_stats *s;
	size_t across; /* tiles side by side */
	size_t cells;  /* floats of one set of accumulators */
};

/* One tile at work. */
struct tile {
	const struct kernels *k;
	size_t row, col;
	size_t rows, cols;    /* of it within the matrix */
	size_t down, across;  /* micro tiles */
	float *a, *x;         /* panels of dY and X */
	float *g;             /* what a long sample has so far */
	float *sum, *abs, *sq; /* NULL where not wanted */
};

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t round_up(size_t a, size_t to)
{
	return (a + to - 1) / to * to;
}

static void advance(const struct tile *t, size_t depth, int first, int last)
{
	const struct kernels *k = t->k;
	size_t cell = (size_t)k->mr * k->nr;
	for (size_t j = 0; j < t->across; j++) {
		const float *x = t->x + j * depth * k->nr;
		for (size_t i = 0; i < t->down; i++) {
			const float *a = t->a + i * depth * k->mr;
			size_t o = (j * t->down + i) * cell;
			if (!last) {
				k->micro(depth, a, x, !first, t->g + o);
				continue;
			}
			struct micro_stats s = {t->sum ? t->sum + o : NULL, t->abs ? t->abs + o : NULL,
				t->sq ? t->sq + o : NULL};
			k->micro_stats(depth, a, x, first ? NULL : t->g + o, &s);
		}
	}
}

static void sample(const struct tile *t, const struct cwp_grad_stats *s, uint64_t start, uint64_t end)
{
	for (uint64_t at = start; at < end;) {
		size_t depth = least(DEPTH, (size_t)(end - at));
		t->k->pack(t->a, s->d_dy + at * s->lddy + t->row, s->lddy, depth, t->rows, t->k->mr);
		t->k->pack(t->x, s->d_x + at * s->ldx + t->col, s->ldx, depth, t->cols, t->k->nr);
		advance(t, depth, at == start, at + depth == end);
		at += depth;
	}
}

/* Adds a tile's accumulators to the matrix. */
static void add_tile(const struct tile *t, const float *cells, float *to, uint64_t ld)
{
	size_t mr = t->k->mr, nr = t->k->nr;
	for (size_t r = 0; cells && r < t->rows; r++) {
		for (size_t j = 0; j < t->across; j++) {
			const float *from = cells + (j * t->down + r / mr) * mr * nr + r % mr * nr;
			t->k->add(to + (t->row + r) * ld + t->col + j * nr, from, least(nr, t->cols - j * nr));
		}
	}
}

static void stats_tile(void *arg, size_t index)
{
	const struct stats *w = arg;
	const struct cwp_grad_stats *s = w->s;
	const struct kernels *k = &w->b->k;
	struct scratch *scratch = cpu_scratch_take(w->b);
	float *memory = scratch->memory;
	struct tile t = {.k = k, .row = index / w->across * TILE_ROWS, .col = index % w->across * TILE_COLS};
	t.rows = least(TILE_ROWS, s->rows - t.row);
	t.cols = least(TILE_COLS, s->cols - t.col);
	t.down = (t.rows + k->mr - 1) / k->mr;
	t.across = (t.cols + k->nr - 1) / k->nr;
	float *cells = memory;
	size_t used = t.down * t.across * k->mr * k->nr;
	float **wanted[] = {&t.sum, &t.abs, &t.sq};
	const float *given[] = {s->d_sum, s->d_abs, s->d_sq};
	for (int i = 0; i < 3; i++) {
		if (given[i]) {
			*wanted[i] = cells;
			memset(cells, 0, used * sizeof(float));
			cells += w->cells;
		}
	}
	t.g = cells;
	t.a = cells + w->cells;
	t.x = t.a + (size_t)DEPTH * round_up(TILE_ROWS, k->mr);
	for (uint64_t i = 0; i < s->samples.count; i++) {
		sample(&t, s, s->samples.start[i], s->samples.start[i + 1]);
	}
	add_tile(&t, t.sum, s->d_sum, s->cols);
	add_tile(&t, t.abs, s->d_abs, s->cols);
	add_tile(&t, t.sq, s->d_sq, s->cols);
	cpu_scratch_give(scratch);
}

static int check(struct cpu *b, const struct cwp_grad_stats *s)
{
	if (!s || s->size < sizeof(*s) || s->flags != 0) {
		return cpu_refuse(b, CWP_EVALUE, "grad_stats: unknown size or flags");
	}
	int rc = cpu_check_sequences(b, "grad_stats", &s->samples);
	if (rc) {
		return rc;
	}
	uint64_t tokens = s->samples.count ? s->samples.start[s->samples.count] : 0;
	rc = cpu_check_matrix(b, "grad_stats", "X", s->d_x, tokens, s->cols, s->ldx);
	if (!rc) {
		rc = cpu_check_matrix(b, "grad_stats", "dY", s->d_dy, tokens, s->rows, s->lddy);
	}
	/* Only for the size: the arrays themselves are optional. */
	return rc ? rc : cpu_check_matrix(b, "grad_stats", "the result", b, s->rows, s->cols, s->cols);
}

int cpu_grad_stats(void *vb, const struct cwp_grad_stats *s)
{
	struct cpu *b = vb;
	int rc = check(b, s);
	if (rc) {
		return rc;
	}
	if (s->samples.count == 0 || s->rows == 0 || s->cols == 0 || (!s->d_sum && !s->d_abs && !s->d_sq)) {
		return 0;
	}
	size_t rows = round_up(TILE_ROWS, b->k.mr), cols = round_up(TILE_COLS, b->k.nr);
	struct stats w = {b, s, (size_t)((s->cols + TILE_COLS - 1) / TILE_COLS), rows * cols};
	rc = cpu_scratch_reserve(b, (4 * w.cells + DEPTH * (rows + cols)) * sizeof(float));
	if (rc) {
		return rc;
	}
	cpu_run(b, w.across * (size_t)((s->rows + TILE_ROWS - 1) / TILE_ROWS), stats_tile, &w);
	return 0;
}
