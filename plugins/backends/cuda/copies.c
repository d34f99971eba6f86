/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Copies of matrices in regions of memory, found by the matrix, forgotten when it is written, evicted when room is short. */
#include <errno.h>
#include <stdlib.h>

#include "plugins/backends/cuda/arena.h"
#include "plugins/backends/cuda/copies.h"

enum { MOST_REGIONS = 64, WIDE = 8 /* elements of 16 bytes */, MOST_WISHES = 256, SURE = 3 };

/* A matrix that products ask for again and again, at the same address with different contents. */
struct wish {
	uint64_t from;
	uint64_t cols;
	int chance; /* 0 .. SURE: fulfilled where above 0 */
};

struct cuda_copies {
	struct cuda_copy *copy; /* in no order */
	size_t n, room;
	struct cuda_arena *region[MOST_REGIONS];
	size_t regions;
	struct cuda_ranges loaded;
	uint64_t calls;
	struct wish wish[MOST_WISHES]; /* of cols 0: none */
	size_t next_wish;
};

struct cuda_copies *cuda_copies_new(void)
{
	return calloc(1, sizeof(struct cuda_copies));
}

void cuda_copies_clear(struct cuda_copies *c)
{
	for (size_t i = 0; i < c->regions; i++) {
		cuda_arena_destroy(c->region[i]);
	}
	c->regions = 0;
	c->n = 0;
}

void cuda_copies_destroy(struct cuda_copies *c)
{
	if (!c) {
		return;
	}
	cuda_copies_clear(c);
	cuda_ranges_free(&c->loaded);
	free(c->copy);
	free(c);
}

int cuda_copies_region(struct cuda_copies *c, uint64_t base, uint64_t size)
{
	struct cuda_arena *a = c->regions < MOST_REGIONS ? cuda_arena_new(base, size) : NULL;
	if (!a) {
		return -ENOMEM;
	}
	c->region[c->regions++] = a;
	return 0;
}

uint64_t cuda_copies_ld(uint64_t cols)
{
	return cols > UINT64_MAX - WIDE ? UINT64_MAX : (cols + WIDE - 1) / WIDE * WIDE;
}

uint64_t cuda_copies_bytes(uint64_t rows, uint64_t cols)
{
	uint64_t bytes = 0, ld = cuda_copies_ld(cols);
	return __builtin_mul_overflow(rows, ld, &bytes) || bytes > INT64_MAX / 2 ? UINT64_MAX : 2 * bytes;
}

static struct wish *wish_at(struct cuda_copies *c, uint64_t from)
{
	for (size_t i = 0; i < MOST_WISHES; i++) {
		if (c->wish[i].from == from && c->wish[i].cols > 0) {
			return &c->wish[i];
		}
	}
	return NULL;
}

void cuda_copies_wish(struct cuda_copies *c, const struct cuda_source *s)
{
	if (s->ld != s->cols || s->cols % WIDE != 0) {
		return;
	}
	struct wish *w = wish_at(c, s->from);
	if (!w) {
		w = &c->wish[c->next_wish];
		c->next_wish = (c->next_wish + 1) % MOST_WISHES;
		*w = (struct wish){.from = s->from};
	}
	w->cols = s->cols;
	w->chance = w->chance + 2 < SURE ? w->chance + 2 : SURE;
}

int cuda_copies_wished(const struct cuda_copies *c, uint64_t from, uint64_t n, struct cuda_source *ret)
{
	for (size_t i = 0; i < MOST_WISHES; i++) {
		const struct wish *w = &c->wish[i];
		if (w->from == from && w->chance > 0 && w->cols > 0 && n > 0 && n % w->cols == 0) {
			*ret = (struct cuda_source){from, n / w->cols, w->cols, w->cols};
			return 1;
		}
	}
	return 0;
}

/* A wish was fulfilled: for somebody, or in vain. */
static void judge(struct cuda_copies *c, struct cuda_copy *p, int asked)
{
	struct wish *w = p->unasked ? wish_at(c, p->source.from) : NULL;
	if (w) {
		w->chance += asked ? w->chance < SURE : -(w->chance > 0);
	}
	p->unasked = 0;
}

static uint64_t end_of(const struct cuda_source *s)
{
	return s->from + ((s->rows - 1) * s->ld + s->cols) * sizeof(float);
}

const struct cuda_copy *cuda_copies_find(struct cuda_copies *c, const struct cuda_source *s)
{
	for (size_t i = 0; i < c->n; i++) {
		struct cuda_copy *p = &c->copy[i];
		/* The distance of rows means nothing where there is one. */
		if (p->source.from == s->from && p->source.rows == s->rows && p->source.cols == s->cols &&
			(p->source.ld == s->ld || s->rows == 1)) {
			judge(c, p, 1);
			p->used = ++c->calls;
			return p;
		}
	}
	return NULL;
}

const struct cuda_copy *cuda_copies_inside(struct cuda_copies *c, const struct cuda_source *s, uint64_t *ret_at)
{
	for (size_t i = 0; i < c->n; i++) {
		struct cuda_copy *p = &c->copy[i];
		if (s->from < p->source.from || s->from >= p->end || (p->source.ld != s->ld && s->rows > 1)) {
			continue;
		}
		uint64_t first = (s->from - p->source.from) / sizeof(float), row = first / p->source.ld, col = first % p->source.ld;
		if ((s->from - p->source.from) % sizeof(float) == 0 && col % WIDE == 0 && col < p->source.cols &&
			s->cols <= p->source.cols - col && row < p->source.rows && s->rows <= p->source.rows - row) {
			judge(c, p, 1);
			p->used = ++c->calls;
			*ret_at = p->at + (row * p->ld + col) * 2;
			return p;
		}
	}
	return NULL;
}

static void forget(struct cuda_copies *c, size_t i)
{
	judge(c, &c->copy[i], 0);
	for (size_t r = 0; r < c->regions; r++) {
		if (cuda_arena_holds(c->region[r], c->copy[i].at)) {
			(void)cuda_arena_give(c->region[r], c->copy[i].at, NULL);
			break;
		}
	}
	c->copy[i] = c->copy[--c->n];
}

/* The copy to give up: not loaded before loaded, then the one used longest ago; n: none may go. */
static size_t victim(const struct cuda_copies *c)
{
	size_t best = c->n;
	for (size_t i = 0; i < c->n; i++) {
		const struct cuda_copy *p = &c->copy[i], *b = &c->copy[best < c->n ? best : i];
		if (p->used == c->calls) {
			continue; /* returned last: in use together with the one that is made now */
		}
		if (best == c->n || p->loaded < b->loaded || (p->loaded == b->loaded && p->used < b->used)) {
			best = i;
		}
	}
	return best;
}

static int take(struct cuda_copies *c, uint64_t bytes, uint64_t *ret_at)
{
	for (size_t i = 0; i < c->regions; i++) {
		if (cuda_arena_take(c->region[i], bytes, ret_at) == 0) {
			return 0;
		}
	}
	return -ENOMEM;
}

static int make_room(struct cuda_copies *c)
{
	if (c->n < c->room) {
		return 0;
	}
	size_t room = c->room ? 2 * c->room : 64;
	struct cuda_copy *copy = realloc(c->copy, room * sizeof(*copy));
	if (!copy) {
		return -ENOMEM;
	}
	c->copy = copy;
	c->room = room;
	return 0;
}

const struct cuda_copy *cuda_copies_make(struct cuda_copies *c, const struct cuda_source *s, int evict)
{
	uint64_t at = 0, bytes = cuda_copies_bytes(s->rows, s->cols);
	if (bytes == UINT64_MAX || make_room(c)) {
		return NULL;
	}
	while (take(c, bytes, &at)) {
		size_t i = evict ? victim(c) : c->n;
		if (i == c->n) {
			return NULL;
		}
		forget(c, i);
	}
	struct cuda_copy *p = &c->copy[c->n++];
	*p = (struct cuda_copy){*s, end_of(s), at, cuda_copies_ld(s->cols), ++c->calls, 0, 0};
	p->loaded = cuda_ranges_meet(&c->loaded, s->from, p->end);
	return p;
}

void cuda_copies_fulfilled(struct cuda_copies *c, const struct cuda_source *s)
{
	for (size_t i = 0; i < c->n; i++) {
		struct cuda_copy *p = &c->copy[i];
		if (p->source.from == s->from && p->source.rows == s->rows && p->source.cols == s->cols) {
			p->unasked = 1;
		}
	}
}

void cuda_copies_wrote(struct cuda_copies *c, uint64_t begin, uint64_t end)
{
	for (size_t i = c->n; i-- > 0;) {
		if (c->copy[i].source.from < end && begin < c->copy[i].end) {
			forget(c, i);
		}
	}
}

void cuda_copies_loaded(struct cuda_copies *c, uint64_t begin, uint64_t end)
{
	cuda_copies_wrote(c, begin, end);
	/* It is but a hint: without memory for it, copies are evicted in another order. */
	(void)cuda_ranges_add(&c->loaded, begin, end);
}

void cuda_copies_gone(struct cuda_copies *c, uint64_t begin, uint64_t end)
{
	cuda_copies_wrote(c, begin, end);
	(void)cuda_ranges_remove(&c->loaded, begin, end);
}

uint64_t cuda_copies_count(const struct cuda_copies *c)
{
	return c->n;
}

uint64_t cuda_copies_size(const struct cuda_copies *c)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < c->regions; i++) {
		sum += cuda_arena_size(c->region[i]);
	}
	return sum;
}

uint64_t cuda_copies_free(const struct cuda_copies *c)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < c->regions; i++) {
		sum += cuda_arena_free(c->region[i]);
	}
	return sum;
}
