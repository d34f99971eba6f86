/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Copies in BF16 of what products read. Weights are the same for all pieces of a layer and activations are read by several
 * products: each is rounded once. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "plugins/backends/cuda/arena.h"
#include "plugins/backends/cuda/copies.h"
#include "plugins/backends/cuda/memory.h"

enum { MOST_PIECES = 64 };

struct cuda_cache {
	struct cuda_copies *copies;
	void *piece[MOST_PIECES]; /* memory that was taken here, before reserve() */
	size_t n;
	uint64_t limit; /* of it, in bytes */
};

static const uint64_t LEAST_PIECE = 64 << 20;

int cuda_cache_open(struct cuda *b)
{
	size_t free = 0, total = 0;
	int rc = cuda_check(b, "open", cudaMemGetInfo(&free, &total));
	b->cache = rc ? NULL : calloc(1, sizeof(*b->cache));
	if (rc || !b->cache) {
		return rc ? rc : -ENOMEM;
	}
	b->cache->limit = total / 4;
	b->cache->copies = cuda_copies_new();
	return b->cache->copies ? 0 : -ENOMEM;
}

/* Memory goes with that of the device. */
void cuda_cache_close(struct cuda *b)
{
	if (b->cache) {
		cuda_copies_destroy(b->cache->copies);
	}
	free(b->cache);
	b->cache = NULL;
}

int cuda_cache_region(struct cuda *b, void *d_p, uint64_t bytes)
{
	return cuda_copies_region(b->cache->copies, (uint64_t)(uintptr_t)d_p, bytes);
}

void cuda_cache_shed(struct cuda *b)
{
	struct cuda_cache *c = b->cache;
	cuda_copies_clear(c->copies);
	while (c->n > 0) {
		cuda_memory_give(b, c->piece[--c->n]);
	}
}

uint64_t cuda_cache_size(const struct cuda *b)
{
	return cuda_copies_size(b->cache->copies);
}

void cuda_cache_gone(struct cuda *b, const void *d_p, uint64_t bytes)
{
	cuda_copies_gone(b->cache->copies, (uint64_t)(uintptr_t)d_p, (uint64_t)(uintptr_t)d_p + bytes);
}

void cuda_cache_loaded(struct cuda *b, uint64_t begin, uint64_t end)
{
	cuda_copies_loaded(b->cache->copies, begin, end);
}

void cuda_wrote(struct cuda *b, const void *d_p, size_t bytes)
{
	uint64_t begin = (uint64_t)(uintptr_t)d_p;
	if (bytes) {
		cuda_copies_wrote(b->cache->copies, begin, begin + bytes);
	}
}

/* More memory for copies, twice as much each time: at least `bytes` in one piece. */
static int grow(struct cuda *b, uint64_t bytes, uint64_t limit)
{
	struct cuda_cache *c = b->cache;
	uint64_t now = cuda_copies_size(c->copies), size = now > LEAST_PIECE ? now : LEAST_PIECE;
	size = bytes > size || now + size > limit ? bytes : size;
	if (cuda_memory_reserved(b) || c->n == MOST_PIECES || size > limit || now > limit - size) {
		return -ENOMEM;
	}
	void *d_p = cuda_memory_take(b, size);
	if (!d_p) {
		return -ENOMEM;
	}
	if (cuda_cache_region(b, d_p, size)) {
		cuda_memory_give(b, d_p);
		return -ENOMEM;
	}
	c->piece[c->n++] = d_p;
	return 0;
}

static const struct cuda_copy *make(struct cuda *b, const struct cuda_source *s)
{
	struct cuda_copies *c = b->cache->copies;
	const struct cuda_copy *p = cuda_copies_make(c, s, 0);
	uint64_t bytes = cuda_copies_bytes(s->rows, s->cols);
	if (p || bytes == UINT64_MAX) {
		return p;
	}
	/* What is being loaded over has no true copies any more. */
	cuda_beside_drain(b);
	p = cuda_copies_make(c, s, grow(b, cuda_arena_round(bytes), b->cache->limit) != 0);
	/* A copy that is longer than any piece of it comes before the limit. */
	if (!p && grow(b, cuda_arena_round(bytes), UINT64_MAX) == 0) {
		p = cuda_copies_make(c, s, 0);
	}
	return p;
}

void *cuda_wrote_beside(struct cuda *b, const float *d_p, uint64_t n)
{
	struct cuda_copies *c = b->cache->copies;
	struct cuda_source s;
	cuda_wrote(b, d_p, n * sizeof(float));
	if (b->precision != CUDA_BF16 || !cuda_copies_wished(c, (uint64_t)(uintptr_t)d_p, n, &s)) {
		return NULL;
	}
	const struct cuda_copy *p = make(b, &s);
	if (!p) {
		return NULL;
	}
	cuda_copies_fulfilled(c, &s);
	return (void *)(uintptr_t)p->at;
}

static const struct cuda_copy *fill(struct cuda *b, const float *d_x, const struct cuda_source *s)
{
	const struct cuda_copy *p = make(b, s);
	if (!p && cuda_memory_lost(b, "rounding to BF16")) {
		return NULL;
	}
	if (!p) {
		(void)cuda_refuse(b, cuda_memory_reserved(b) ? CWP_ELIMIT : -ENOMEM,
			"no room for a BF16 copy of a matrix [%" PRIu64 ", %" PRIu64 "]: of %" PRIu64 " bytes for copies %" PRIu64
			" are free: give the job more gpu_memory", s->rows, s->cols, cuda_copies_size(b->cache->copies),
			cuda_copies_free(b->cache->copies));
		return NULL;
	}
	if (!p->loaded) {
		cuda_copies_wish(b->cache->copies, s);
	}
	cudaError_t e = launch_round(b->stream, (void *)(uintptr_t)p->at, p->ld, d_x, s->rows, s->cols, s->ld);
	if (cuda_check(b, "rounding to BF16", e)) {
		cuda_copies_wrote(b->cache->copies, s->from, s->from + 1);
		return NULL;
	}
	return p;
}

static const void *copy_of(struct cuda *b, const float *d_x, const struct cuda_source *s, int part, uint64_t *ret_ld)
{
	struct cuda_copies *c = b->cache->copies;
	uint64_t at = 0;
	const struct cuda_copy *p = cuda_copies_find(c, s);
	if (!p && part) {
		p = cuda_copies_inside(c, s, &at);
	}
	if (!p) {
		p = fill(b, d_x, s);
	}
	if (!p) {
		return NULL;
	}
	*ret_ld = p->ld;
	return (const void *)(uintptr_t)(at ? at : p->at);
}

const void *cuda_bf16(struct cuda *b, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, uint64_t *ret_ld)
{
	const struct cuda_source s = {(uint64_t)(uintptr_t)d_x, rows, cols, ld};
	return copy_of(b, d_x, &s, 0, ret_ld);
}

const void *cuda_bf16_part(struct cuda *b, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, uint64_t *ret_ld)
{
	const struct cuda_source s = {(uint64_t)(uintptr_t)d_x, rows, cols, ld};
	return copy_of(b, d_x, &s, 1, ret_ld);
}
