/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A list of parts in the order of their addresses, each taken or free; no two free ones are neighbours. */
#include <errno.h>
#include <stdlib.h>

#include <cwp/error.h>

#include "plugins/backends/cuda/arena.h"

struct part {
	struct part *before, *after;
	uint64_t at, size;
	int taken;
};

struct cuda_arena {
	struct part *first;
	uint64_t base, size, free;
};

uint64_t cuda_arena_round(uint64_t bytes)
{
	if (bytes == 0) {
		return CUDA_ALIGN;
	}
	return bytes > UINT64_MAX - CUDA_ALIGN ? UINT64_MAX : (bytes + CUDA_ALIGN - 1) / CUDA_ALIGN * CUDA_ALIGN;
}

struct cuda_arena *cuda_arena_new(uint64_t base, uint64_t size)
{
	struct cuda_arena *a = calloc(1, sizeof(*a));
	uint64_t begin = (base + CUDA_ALIGN - 1) / CUDA_ALIGN * CUDA_ALIGN, end = (base + size) / CUDA_ALIGN * CUDA_ALIGN;
	if (!a) {
		return NULL;
	}
	a->base = begin;
	a->size = a->free = end > begin ? end - begin : 0;
	if (a->size > 0) {
		a->first = calloc(1, sizeof(*a->first));
		if (!a->first) {
			free(a);
			return NULL;
		}
		a->first->at = begin;
		a->first->size = a->size;
	}
	return a;
}

void cuda_arena_destroy(struct cuda_arena *a)
{
	if (!a) {
		return;
	}
	struct part *p = a->first;
	while (p) {
		struct part *after = p->after;
		free(p);
		p = after;
	}
	free(a);
}

/* What is left of p behind its first `bytes` becomes a free part of its own. */
static int split(struct part *p, uint64_t bytes)
{
	struct part *rest = calloc(1, sizeof(*rest));
	if (!rest) {
		return -ENOMEM;
	}
	rest->at = p->at + bytes;
	rest->size = p->size - bytes;
	rest->before = p;
	rest->after = p->after;
	if (p->after) {
		p->after->before = rest;
	}
	p->after = rest;
	p->size = bytes;
	return 0;
}

int cuda_arena_take(struct cuda_arena *a, uint64_t bytes, uint64_t *ret_address)
{
	uint64_t need = cuda_arena_round(bytes);
	for (struct part *p = a->first; p; p = p->after) {
		if (p->taken || p->size < need) {
			continue;
		}
		if (p->size > need && split(p, need)) {
			return -ENOMEM;
		}
		p->taken = 1;
		a->free -= need;
		*ret_address = p->at;
		return 0;
	}
	return -ENOMEM;
}

/* p takes in the part behind it. */
static void join(struct part *p)
{
	struct part *rest = p->after;
	p->size += rest->size;
	p->after = rest->after;
	if (rest->after) {
		rest->after->before = p;
	}
	free(rest);
}

int cuda_arena_give(struct cuda_arena *a, uint64_t address, uint64_t *ret_bytes)
{
	struct part *p = a->first;
	while (p && p->at < address) {
		p = p->after;
	}
	if (!p || p->at != address || !p->taken) {
		return CWP_EVALUE;
	}
	p->taken = 0;
	a->free += p->size;
	if (ret_bytes) {
		*ret_bytes = p->size;
	}
	if (p->after && !p->after->taken) {
		join(p);
	}
	if (p->before && !p->before->taken) {
		join(p->before);
	}
	return 0;
}

uint64_t cuda_arena_end(const struct cuda_arena *a, uint64_t address)
{
	for (const struct part *p = a->first; p; p = p->after) {
		if (address >= p->at && address - p->at < p->size) {
			return p->at + p->size;
		}
	}
	return 0;
}

int cuda_arena_holds(const struct cuda_arena *a, uint64_t address)
{
	return address >= a->base && address - a->base < a->size;
}

uint64_t cuda_arena_size(const struct cuda_arena *a)
{
	return a->size;
}

uint64_t cuda_arena_free(const struct cuda_arena *a)
{
	return a->free;
}

uint64_t cuda_arena_largest(const struct cuda_arena *a)
{
	uint64_t largest = 0;
	for (const struct part *p = a->first; p; p = p->after) {
		if (!p->taken && p->size > largest) {
			largest = p->size;
		}
	}
	return largest;
}
