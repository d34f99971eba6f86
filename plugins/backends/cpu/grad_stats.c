/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Statistics of per-sample gradients, fused: for a tile of [rows, cols] all samples are gone
 * through one after another, each sample's g = dY_s^T X_s is made in registers, and its sum,
 * absolute value and square are added to the tile's accumulators, which stay in the second-level
 * cache. The gradient itself is never written.
 *
 * Both matrices are first copied into panels, in the order in which the kernel reads them, once for
 * all tiles. Samples are taken in batches, so that this copy stays small beside what the caller
 * holds anyway.
 *
 * The tile's accumulators are kept micro tile by micro tile, in the order in which the kernel goes
 * through them. A sample longer than DEPTH tokens is cut into blocks; its g so far then waits in
 * the tile's memory too. Every element is one chain of additions over tokens, then over samples:
 * its value depends neither on tiles nor on threads. */
#include <errno.h>
#include <string.h>

#include "plugins/backends/cpu/cpu.h"

enum {
	TILE_ROWS = 192, /* at most, and half or a quarter ... */
	TILE_COLS = 192,
	ENOUGH = 64,     /* ... where there would be fewer tiles than this */
	DEPTH = 256,            /* tokens of one block at most */
	PACK_ROWS = 64,         /* tokens of one piece of copying */
	BATCH_FLOATS = 4 << 20, /* of panels in a batch ... */
	BATCH_TOKENS = 2048     /* ... or this many tokens, if that is more */
};

/* Tokens of one sample. Its panels lie at `at` times the padded number of rows or columns, in numbers. */
struct block {
	uint64_t token; /* within the batch */
	uint64_t at;    /* the same, each block before it being whole steps deep */
	uint32_t tokens;
	uint32_t depth; /* in whole steps */
	uint8_t first; /* of its sample */
	uint8_t last;
};

struct stats {
	struct cpu *b;
	const struct panels *p;
	const struct cwp_grad_stats *s;
	size_t tile_rows, tile_cols;
	size_t across;     /* tiles side by side */
	size_t cells;      /* floats of one set of accumulators */
	size_t rows, cols; /* padded to whole panels */
	uint64_t token;    /* first of the batch */
	struct block *blocks;
	size_t n_blocks;
	char *dy, *x; /* panels */
};

/* One tile at work. */
struct tile {
	size_t row, col;
	size_t rows, cols;     /* of it within the matrix */
	size_t down, across;   /* micro tiles */
	float *g;              /* what a long sample has so far */
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

/* One block's tokens [row, row + PACK_ROWS) into panels. Blocks have as many pieces as the longest
 * may have. */
static void pack_piece(void *arg, size_t index)
{
	const struct stats *w = arg;
	const struct cwp_grad_stats *s = w->s;
	const struct panels *p = w->p;
	const struct block *block = &w->blocks[index / (DEPTH / PACK_ROWS)];
	size_t row = index % (DEPTH / PACK_ROWS) * PACK_ROWS;
	if (row >= block->tokens) {
		return;
	}
	size_t n = least(PACK_ROWS, block->tokens - row);
	uint64_t token = w->token + block->token + row;
	p->pack_a(&(struct pack){.dst = w->dy + (block->at * w->rows + row * p->mr) * p->size,
		.distance = (size_t)block->depth * p->mr * p->size,
		.src = s->d_dy + token * s->lddy,
		.ld = s->lddy,
		.k = n,
		.n = s->rows});
	p->pack_b(&(struct pack){.dst = w->x + (block->at * w->cols + row * p->nr) * p->size,
		.distance = (size_t)block->depth * p->nr * p->size,
		.src = s->d_x + token * s->ldx,
		.ld = s->ldx,
		.k = n,
		.n = s->cols});
}

static const char *dy_panel(
	const struct stats *w, const struct tile *t, const struct block *block, size_t i)
{
	return w->dy + (block->at * w->rows + (t->row + i * w->p->mr) * block->depth) * w->p->size;
}

static const char *x_panel(
	const struct stats *w, const struct tile *t, const struct block *block, size_t j)
{
	return w->x + (block->at * w->cols + (t->col + j * w->p->nr) * block->depth) * w->p->size;
}

/* What a micro tile at (i, j) fetches ahead: its share of the next block's panels i of dY and j of
 * X. */
static struct ahead share(const struct stats *w, const struct tile *t, const struct block *block,
	const struct block *next, size_t i, size_t j)
{
	const struct panels *p = w->p;
	size_t times = block->depth / p->fetch + 1;
	size_t dy = (size_t)next->depth * p->mr * p->size / t->across, x = (size_t)next->depth * p->nr * p->size / t->down;
	return (struct ahead){.a = dy_panel(w, t, next, i) + j * dy,
		.b = x_panel(w, t, next, j) + i * x,
		.step_a = dy / times,
		.step_b = x / times};
}

static void advance(const struct stats *w, const struct tile *t, const struct block *block,
	const struct block *next)
{
	const struct panels *p = w->p;
	size_t cell = (size_t)p->mr * p->nr, depth = block->depth;
	for (size_t j = 0; j < t->across; j++) {
		const char *x = x_panel(w, t, block, j);
		for (size_t i = 0; i < t->down; i++) {
			const char *dy = dy_panel(w, t, block, i);
			struct ahead ahead = share(w, t, block, next, i, j);
			size_t o = (j * t->down + i) * cell;
			if (!block->last) {
				p->micro(depth, dy, x, &ahead, !block->first, t->g + o, p->nr);
				continue;
			}
			struct micro_stats s = {t->sum ? t->sum + o : NULL,
				t->abs ? t->abs + o : NULL, t->sq ? t->sq + o : NULL};
			p->micro_stats(depth, dy, x, &ahead, block->first ? NULL : t->g + o, &s);
		}
	}
}

/* Adds a tile's accumulators to the matrix. */
static void add_tile(
	const struct stats *w, const struct tile *t, const float *cells, float *to, uint64_t ld)
{
	size_t mr = w->p->mr, nr = w->p->nr;
	for (size_t r = 0; cells && r < t->rows; r++) {
		for (size_t j = 0; j < t->across; j++) {
			const float *from = cells + (j * t->down + r / mr) * mr * nr + r % mr * nr;
			w->b->k.add(to + (t->row + r) * ld + t->col + j * nr, from,
				least(nr, t->cols - j * nr));
		}
	}
}

static void stats_tile(void *arg, size_t index)
{
	const struct stats *w = arg;
	const struct cwp_grad_stats *s = w->s;
	const struct panels *p = w->p;
	struct scratch *scratch = cpu_scratch_take(w->b);
	struct tile t = {
		.row = index / w->across * w->tile_rows, .col = index % w->across * w->tile_cols};
	t.rows = least(w->tile_rows, s->rows - t.row);
	t.cols = least(w->tile_cols, s->cols - t.col);
	t.down = (t.rows + p->mr - 1) / p->mr;
	t.across = (t.cols + p->nr - 1) / p->nr;
	float *cells = scratch->memory;
	float **wanted[] = {&t.sum, &t.abs, &t.sq};
	const float *given[] = {s->d_sum, s->d_abs, s->d_sq};
	for (int i = 0; i < 3; i++) {
		if (given[i]) {
			*wanted[i] = cells;
			memset(cells, 0, t.down * t.across * p->mr * p->nr * sizeof(float));
			cells += w->cells;
		}
	}
	t.g = cells;
	if (p->begin) {
		p->begin();
	}
	for (size_t i = 0; i < w->n_blocks; i++) {
		const struct block *block = &w->blocks[i];
		advance(w, &t, block, i + 1 < w->n_blocks ? block + 1 : block);
	}
	if (p->end) {
		p->end();
	}
	add_tile(w, &t, t.sum, s->d_sum, s->cols);
	add_tile(w, &t, t.abs, s->d_abs, s->cols);
	add_tile(w, &t, t.sq, s->d_sq, s->cols);
	cpu_scratch_give(scratch);
}

/* The size of tiles of at most `most`, all alike, in whole micro tiles. */
static size_t even(uint64_t n, size_t most, size_t micro)
{
	size_t count = (size_t)((n + most - 1) / most);
	return round_up((size_t)((n + count - 1) / count), micro);
}

/* By the shape alone: many threads find work in small matrices too, and elements do not depend on it. */
static void choose_tile(struct stats *w)
{
	size_t rows = TILE_ROWS, cols = TILE_COLS;
	for (;;) {
		w->tile_rows = even(w->s->rows, rows, w->p->mr);
		w->tile_cols = even(w->s->cols, cols, w->p->nr);
		uint64_t down = (w->s->rows + w->tile_rows - 1) / w->tile_rows;
		uint64_t across = (w->s->cols + w->tile_cols - 1) / w->tile_cols;
		if (down * across >= ENOUGH || (rows == TILE_ROWS / 4 && cols == TILE_COLS / 2)) {
			return;
		}
		if (rows >= cols && rows > TILE_ROWS / 4) {
			rows /= 2;
		} else {
			cols /= 2;
		}
	}
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
	return rc ? rc
		  : cpu_check_matrix(b, "grad_stats", "the result", b, s->rows, s->cols, s->cols);
}

/* Tokens of sample i when each block is whole steps deep: only its last one may be filled up. */
static uint64_t deep(const struct stats *w, uint64_t i)
{
	const uint64_t *start = w->s->samples.start;
	return round_up((size_t)(start[i + 1] - start[i]), w->p->step);
}

/* The end of the batch that begins with sample `first`: at least one sample, then as many as fit.
 */
static uint64_t batch_end(const struct stats *w, uint64_t first)
{
	uint64_t most = BATCH_FLOATS / (w->rows + w->cols), end = first + 1, tokens = deep(w, first);
	most = most > BATCH_TOKENS ? most : BATCH_TOKENS;
	while (end < w->s->samples.count && tokens + deep(w, end) <= most) {
		tokens += deep(w, end++);
	}
	return end;
}

/* Fills w->blocks, which has room. */
static void cut(struct stats *w, uint64_t first, uint64_t end)
{
	const uint64_t *start = w->s->samples.start;
	w->token = start[first];
	w->n_blocks = 0;
	uint64_t at = 0;
	for (uint64_t i = first; i < end; i++) {
		for (uint64_t t = start[i]; t < start[i + 1]; t += DEPTH) {
			uint64_t left = start[i + 1] - t;
			uint32_t tokens = (uint32_t)least(DEPTH, (size_t)left);
			uint32_t depth = (uint32_t)round_up(tokens, w->p->step);
			w->blocks[w->n_blocks++] = (struct block){.token = t - w->token,
				.at = at,
				.tokens = tokens,
				.depth = depth,
				.first = t == start[i],
				.last = left <= DEPTH};
			at += depth;
		}
	}
}

/* The most tokens, each block being whole steps deep, and blocks of a batch. */
static void largest_batch(const struct stats *w, size_t *ret_tokens, size_t *ret_blocks)
{
	*ret_tokens = *ret_blocks = 0;
	for (uint64_t first = 0, end = 0; first < w->s->samples.count; first = end) {
		end = batch_end(w, first);
		size_t tokens = 0;
		for (uint64_t i = first; i < end; i++) {
			tokens += (size_t)deep(w, i);
		}
		/* Each sample has at most one block that is not full. */
		size_t blocks = (size_t)(end - first) + tokens / DEPTH;
		*ret_tokens = tokens > *ret_tokens ? tokens : *ret_tokens;
		*ret_blocks = blocks > *ret_blocks ? blocks : *ret_blocks;
	}
}

static int run_batches(struct stats *w)
{
	size_t tokens = 0, blocks = 0;
	largest_batch(w, &tokens, &blocks);
	size_t dy_bytes = round_up(tokens * w->rows * w->p->size, PANEL_ALIGN);
	char *panels = cpu_scratch_shared(w->b, dy_bytes + tokens * w->cols * w->p->size);
	w->blocks = cpu_alloc(w->b, blocks * sizeof(*w->blocks));
	int rc = -ENOMEM;
	if (!panels || !w->blocks) {
		goto out;
	}
	rc = cpu_scratch_reserve(w->b, 4 * w->cells * sizeof(float));
	if (rc) {
		goto out;
	}
	w->dy = panels;
	w->x = panels + dy_bytes;
	for (uint64_t first = 0, end = 0; first < w->s->samples.count; first = end) {
		end = batch_end(w, first);
		cut(w, first, end);
		cpu_run(w->b, w->n_blocks * (DEPTH / PACK_ROWS), pack_piece, w);
		if (w->n_blocks) {
			cpu_run(w->b, w->across * ((w->s->rows + w->tile_rows - 1) / w->tile_rows),
				stats_tile, w);
		}
	}
out:
	cpu_free(w->b, w->blocks);
	return rc;
}

uint64_t cpu_grad_stats_memory(const struct panels *p, uint64_t tokens, uint64_t width)
{
	uint64_t both = 2 * (width + MOST_NR), deepest = tokens * p->step;
	uint64_t batch = tokens + p->step > BATCH_TOKENS ? tokens + p->step : BATCH_TOKENS;
	uint64_t numbers = (batch < deepest ? batch : deepest) * both, small = deepest * both;
	small = small < BATCH_FLOATS ? small : BATCH_FLOATS;
	return (numbers > small ? numbers : small) * p->size + PANEL_ALIGN;
}

size_t cpu_grad_stats_thread_memory(void)
{
	return (size_t)4 * (TILE_ROWS + MOST_MR) * (TILE_COLS + MOST_NR) * sizeof(float);
}

int cpu_grad_stats(void *vb, const struct cwp_grad_stats *s)
{
	struct cpu *b = vb;
	int rc = check(b, s);
	if (rc) {
		return rc;
	}
	if (s->samples.count == 0 || s->rows == 0 || s->cols == 0 ||
		(!s->d_sum && !s->d_abs && !s->d_sq)) {
		return 0;
	}
	const struct panels *p = b->panels;
	struct stats w = {.b = b, .p = p, .s = s};
	choose_tile(&w);
	w.across = (size_t)((s->cols + w.tile_cols - 1) / w.tile_cols);
	w.cells = w.tile_rows * w.tile_cols;
	w.rows = round_up((size_t)s->rows, p->mr);
	w.cols = round_up((size_t)s->cols, p->nr);
	return run_batches(&w);
}
