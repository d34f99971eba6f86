/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Allocations of the checking backend, and what an operation may touch of them. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/plugins/fake/fake.h"

enum { LINE = 64, SLACK = 1 << 20 /* of an arena, for what lies between allocations */ };

int fake_refuse(struct fake *b, const char *op, const char *format, ...)
{
	char text[512], whole[640];
	va_list ap;
	va_start(ap, format);
	(void)vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	(void)snprintf(whole, sizeof whole, "%s: %s", op, text);
	(void)fprintf(stderr, "checking backend: %s\n", whole);
	if (pthread_equal(pthread_self(), b->owner)) {
		b->host->fail(b->host->ctx, whole);
	}
	return CWP_EPLUGIN;
}

static size_t rounded(size_t bytes)
{
	return (bytes + LINE - 1) / LINE * LINE;
}

/* The first gap that is wide enough; a line stays free between allocations. */
static size_t find_gap(const struct fake *b, size_t bytes, size_t *ret_index)
{
	size_t at = 0, i = 0;
	while (i < b->blocks && b->block[i].at - at < bytes + LINE) {
		at = b->block[i].at + rounded(b->block[i].bytes) + LINE;
		i++;
	}
	*ret_index = i;
	return at;
}

void *fake_alloc(void *vb, size_t bytes)
{
	struct fake *b = vb;
	size_t limit = b->limit > 0 ? b->limit : b->total - b->taken_by_others, index;
	if (bytes == 0 || bytes > limit || b->allocated > limit - bytes) {
		return NULL;
	}
	size_t at = find_gap(b, bytes, &index);
	if (at + rounded(bytes) > (b->limit > 0 ? b->limit + SLACK : b->mapped)) {
		return NULL; /* there is no gap that is wide enough */
	}
	if (b->blocks == b->room) {
		size_t room = 2 * b->room + 64;
		struct fake_block *more = realloc(b->block, room * sizeof *more);
		if (more == NULL) {
			return NULL;
		}
		b->block = more;
		b->room = room;
	}
	(void)pthread_mutex_lock(&b->lock);
	memmove(b->block + index + 1, b->block + index, (b->blocks - index) * sizeof *b->block);
	b->block[index] = (struct fake_block){.at = at, .bytes = bytes};
	b->blocks++;
	b->allocated += bytes;
	(void)pthread_mutex_unlock(&b->lock);
	memset(b->memory + at, 0xff, bytes); /* NaN, whatever it is read as */
	return b->address + at;
}

struct fake_block *fake_find(struct fake *b, const void *d_p, uint64_t bytes)
{
	uintptr_t p = (uintptr_t)d_p, first = (uintptr_t)b->address;
	if (p < first || p - first >= b->mapped) {
		return NULL;
	}
	size_t at = p - first, low = 0, high = b->blocks;
	while (high - low > 1) {
		size_t middle = (low + high) / 2;
		*(b->block[middle].at <= at ? &low : &high) = middle;
	}
	struct fake_block *block = b->block + low;
	return high > 0 && block->at <= at && at - block->at <= block->bytes && bytes <= block->bytes - (at - block->at) ? block : NULL;
}

void fake_free(void *vb, void *d_p)
{
	struct fake *b = vb;
	if (d_p == NULL) {
		return;
	}
	(void)pthread_mutex_lock(&b->lock);
	struct fake_block *block = fake_find(b, d_p, 0);
	const char *busy = "what was not allocated";
	if (block != NULL && b->address + block->at == (char *)d_p) {
		busy = block->loading ? "memory that is being loaded" : fake_busy(b, block->at, block->bytes, 1);
	}
	if (block == NULL || busy[0] != '\0') {
		(void)fprintf(stderr, "checking backend: free: %s\n", busy);
		abort();
	}
	memset(b->memory + block->at, 0xff, block->bytes);
	b->allocated -= block->bytes;
	b->blocks--;
	memmove(block, block + 1, (size_t)(b->block + b->blocks - block) * sizeof *block);
	(void)pthread_mutex_unlock(&b->lock);
}

struct fake_access fake_begin(struct fake *b, const char *op)
{
	struct fake_access a = {.b = b, .op = op};
	if (!pthread_equal(pthread_self(), b->owner)) {
		a.code = fake_refuse(b, op, "called by another thread than open()");
	}
	b->operations++;
	if (a.code == 0 && b->lost > 0 && b->operations >= b->lost) {
		b->host->fail(b->host->ctx, "the device is lost");
		a.code = CWP_ESTATE;
	}
	return a;
}

static void *touch(struct fake_access *a, const void *d_p, uint64_t bytes, int write)
{
	struct fake *b = a->b;
	if (d_p == NULL || bytes == 0 || a->code != 0) {
		return (void *)(uintptr_t)(d_p == NULL ? NULL : b->memory);
	}
	(void)pthread_mutex_lock(&b->lock);
	struct fake_block *block = fake_find(b, d_p, bytes);
	size_t at = (size_t)((const char *)d_p - b->address);
	const char *busy = block == NULL ? "" : block->loading ? "loaded, and load_wait() has not been called" : fake_busy(b, at, bytes, write);
	if (block != NULL) {
		block->used = b->operations;
	}
	(void)pthread_mutex_unlock(&b->lock);
	if (block == NULL) {
		a->code = fake_refuse(b, a->op, "%p with %llu bytes is no device memory, or goes past the end of its allocation", d_p,
			(unsigned long long)bytes);
	} else if (busy[0] != '\0') {
		a->code = fake_refuse(b, a->op, "%s memory that is %s", write ? "writes" : "reads", busy);
	}
	return b->memory + at;
}

void *fake_read(struct fake_access *a, const void *d_p, uint64_t bytes)
{
	return touch(a, d_p, bytes, 0);
}

void *fake_write(struct fake_access *a, void *d_p, uint64_t bytes)
{
	return touch(a, d_p, bytes, 1);
}

void *fake_host_alloc(void *vb, size_t bytes)
{
	struct fake *b = vb;
	void *p = NULL;
	if (b->pins == b->pin_room) {
		size_t room = 2 * b->pin_room + 16;
		struct fake_block *more = realloc(b->pinned, room * sizeof *more);
		if (more == NULL) {
			return NULL;
		}
		b->pinned = more;
		b->pin_room = room;
	}
	if (posix_memalign(&p, LINE, rounded(bytes > 0 ? bytes : 1)) != 0) {
		return NULL;
	}
	memset(p, 0xff, bytes);
	b->pinned[b->pins++] = (struct fake_block){.at = (size_t)(uintptr_t)p, .bytes = bytes};
	return p;
}

int fake_is_pinned(const struct fake *b, const void *p, size_t bytes)
{
	size_t at = (size_t)(uintptr_t)p;
	for (size_t i = 0; i < b->pins; i++) {
		if (at >= b->pinned[i].at && at - b->pinned[i].at <= b->pinned[i].bytes && bytes <= b->pinned[i].bytes - (at - b->pinned[i].at)) {
			return 1;
		}
	}
	return 0;
}

static int in_transfer(const struct fake_transfer *t, size_t count, const char *p, size_t bytes)
{
	for (size_t i = 0; i < count; i++) {
		if (t[i].host < p + bytes && p < t[i].host + t[i].bytes) {
			return 1;
		}
	}
	return 0;
}

void fake_host_free(void *vb, void *p)
{
	struct fake *b = vb;
	for (size_t i = 0; p != NULL && i < b->pins; i++) {
		if (b->pinned[i].at != (size_t)(uintptr_t)p) {
			continue;
		}
		if (in_transfer(b->fetch, b->fetches, p, b->pinned[i].bytes) || in_transfer(b->send, b->sends, p, b->pinned[i].bytes)) {
			(void)fprintf(stderr, "checking backend: host_free: the memory is part of a transfer\n");
			abort();
		}
		free(p);
		b->pinned[i] = b->pinned[--b->pins];
		return;
	}
	if (p != NULL) {
		(void)fprintf(stderr, "checking backend: host_free: what was not allocated\n");
		abort();
	}
}

int fake_memory(void *vb, uint64_t *ret_total, uint64_t *ret_free)
{
	const struct fake *b = vb;
	uint64_t mine = b->limit > 0 ? b->limit : b->allocated;
	*ret_total = b->total;
	*ret_free = b->total - b->taken_by_others - mine;
	return 0;
}

uint64_t fake_overhead(void *vb, const struct cwp_backend_use *use)
{
	const struct fake *b = vb;
	uint64_t copies = b->bf16 ? 2 * (use->weights + use->tokens * (use->width > use->sum ? use->width : use->sum)) : 0;
	return (1u << 20) + copies;
}

int fake_reserve(void *vb, uint64_t bytes, const struct cwp_backend_use *use)
{
	struct fake *b = vb;
	uint64_t own = fake_overhead(b, use);
	if (b->limit > 0) {
		return fake_refuse(b, "reserve", "called twice");
	}
	if (bytes > b->total - b->taken_by_others || b->full) {
		b->host->fail(b->host->ctx, "the device has less memory free");
		return -ENOMEM;
	}
	if (bytes <= own || bytes - own < b->allocated) {
		return fake_refuse(b, "reserve", "%llu bytes are not more than the backend itself takes", (unsigned long long)bytes);
	}
	b->limit = bytes - own;
	return 0;
}
