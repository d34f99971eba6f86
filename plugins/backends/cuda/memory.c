/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Device memory. Before reserve() it is taken from the driver as it is asked for; then all of it, what the backend needs for
 * itself included, lies in one arena, and nothing is taken any more. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/backends/cuda/arena.h"
#include "plugins/backends/cuda/memory.h"
#include "plugins/backends/cuda/ops_base.h"

/* What the driver gave by itself. */
struct piece {
	void *d_p;
	uint64_t bytes;
};

struct cuda_memory {
	struct piece *piece;
	size_t n, room;
	uint64_t taken;            /* bytes of all pieces */
	cudaError_t error;         /* the driver's last word where it gave nothing */
	struct cuda_arena *arena;  /* NULL before reserve() */
	void *workspace, *chunk;
	uint64_t chunk_bytes;
	struct piece scratch, table[CUDA_TABLES];
	unsigned next_table;
};

int cuda_memory_open(struct cuda *b)
{
	b->memory = calloc(1, sizeof(*b->memory));
	return b->memory ? 0 : -ENOMEM;
}

void cuda_memory_close(struct cuda *b)
{
	struct cuda_memory *m = b->memory;
	if (!m) {
		return;
	}
	for (size_t i = 0; i < m->n; i++) {
		(void)cudaFree(m->piece[i].d_p);
	}
	cuda_arena_destroy(m->arena);
	free(m->piece);
	free(m);
	b->memory = NULL;
}

int cuda_memory_reserved(const struct cuda *b)
{
	return b->memory->arena != NULL;
}

static void *ask_driver(struct cuda *b, uint64_t bytes)
{
	struct cuda_memory *m = b->memory;
	if (m->n == m->room) {
		size_t room = m->room ? 2 * m->room : 64;
		struct piece *piece = realloc(m->piece, room * sizeof(*piece));
		if (!piece) {
			return NULL;
		}
		m->piece = piece;
		m->room = room;
	}
	void *d_p = NULL;
	m->error = cudaMalloc(&d_p, bytes);
	if (m->error != cudaSuccess) {
		(void)cudaGetLastError();
		return NULL;
	}
	m->piece[m->n++] = (struct piece){d_p, bytes};
	m->taken += bytes;
	return d_p;
}

/* What the stream still does with it is done first. */
static uint64_t give_to_driver(struct cuda *b, void *d_p)
{
	struct cuda_memory *m = b->memory;
	for (size_t i = 0; i < m->n; i++) {
		if (m->piece[i].d_p == d_p) {
			uint64_t bytes = m->piece[i].bytes;
			(void)cudaStreamSynchronize(b->stream);
			(void)cudaFree(d_p);
			m->piece[i] = m->piece[--m->n];
			m->taken -= bytes;
			return bytes;
		}
	}
	return 0;
}

int cuda_memory_lost(struct cuda *b, const char *op)
{
	return b->memory->error == cudaErrorMemoryAllocation ? 0 : cuda_check(b, op, b->memory->error);
}

void *cuda_memory_take(struct cuda *b, uint64_t bytes)
{
	return cuda_memory_reserved(b) ? NULL : ask_driver(b, cuda_arena_round(bytes));
}

void cuda_memory_give(struct cuda *b, void *d_p)
{
	(void)give_to_driver(b, d_p);
}

size_t cuda_memory_behind(const struct cuda *b, const void *d_p)
{
	const struct cuda_memory *m = b->memory;
	uint64_t at = (uint64_t)(uintptr_t)d_p, end = m->arena ? cuda_arena_end(m->arena, at) : 0;
	for (size_t i = 0; end == 0 && i < m->n; i++) {
		uint64_t begin = (uint64_t)(uintptr_t)m->piece[i].d_p;
		if (at >= begin && at - begin < m->piece[i].bytes) {
			end = begin + m->piece[i].bytes;
		}
	}
	return (size_t)((end ? end : UINTPTR_MAX) - at);
}

static void *take_from_arena(struct cuda_memory *m, uint64_t bytes)
{
	uint64_t address = 0;
	return cuda_arena_take(m->arena, bytes, &address) == 0 ? (void *)(uintptr_t)address : NULL;
}

void *cuda_alloc(void *vb, size_t bytes)
{
	struct cuda *b = vb;
	uint64_t rounded = cuda_arena_round(bytes);
	if (rounded > PTRDIFF_MAX) {
		return NULL;
	}
	if (cuda_memory_reserved(b)) {
		return take_from_arena(b->memory, rounded);
	}
	void *d_p = ask_driver(b, rounded);
	if (!d_p) {
		cuda_cache_shed(b);
		d_p = ask_driver(b, rounded);
	}
	return d_p;
}

void cuda_free(void *vb, void *d_p)
{
	struct cuda *b = vb;
	struct cuda_memory *m = b->memory;
	uint64_t bytes = 0;
	if (!d_p) {
		return;
	}
	if (!m->arena || cuda_arena_give(m->arena, (uint64_t)(uintptr_t)d_p, &bytes)) {
		bytes = give_to_driver(b, d_p);
	}
	cuda_cache_gone(b, d_p, bytes);
}

/* One of the parts that stay. */
static void *part(struct cuda *b, const char *op, const char *what, void **p, uint64_t bytes)
{
	if (!*p && !cuda_memory_reserved(b)) {
		*p = ask_driver(b, bytes);
	}
	if (!*p && !cuda_memory_lost(b, op)) {
		(void)cuda_refuse(b, -ENOMEM, "%s: %s has no %" PRIu64 " bytes for %s: wait for what else runs there", op, b->name, bytes,
			what);
	}
	return *p;
}

void *cuda_memory_workspace(struct cuda *b, const char *op)
{
	return part(b, op, "the workspace of products", &b->memory->workspace, CUDA_WORKSPACE);
}

void *cuda_memory_chunk(struct cuda *b, const char *op, uint64_t *ret_bytes)
{
	struct cuda_memory *m = b->memory;
	m->chunk_bytes = m->chunk ? m->chunk_bytes : CUDA_LOAD_CHUNK;
	*ret_bytes = m->chunk_bytes;
	return part(b, op, "loading weights", &m->chunk, CUDA_LOAD_CHUNK);
}

/* Makes p at least `bytes` long; what was in it is lost. */
static void *grow(struct cuda *b, const char *op, const char *what, struct piece *p, uint64_t bytes)
{
	if (p->bytes >= bytes && p->d_p) {
		return p->d_p;
	}
	if (cuda_memory_reserved(b)) {
		(void)cuda_refuse(b, CWP_ELIMIT, "%s needs %" PRIu64 " bytes of %s, but %" PRIu64 " were reserved: the plan says less "
			"tokens or columns than it computes with; report this as a fault", op, bytes, what, p->bytes);
		return NULL;
	}
	if (p->d_p) {
		(void)give_to_driver(b, p->d_p);
	}
	uint64_t rounded = bytes > UINT64_MAX - CUDA_PAGE ? UINT64_MAX : (bytes + CUDA_PAGE - 1) / CUDA_PAGE * CUDA_PAGE;
	p->d_p = ask_driver(b, rounded);
	p->bytes = p->d_p ? rounded : 0;
	if (!p->d_p && !cuda_memory_lost(b, op)) {
		(void)cuda_refuse(b, -ENOMEM, "%s: %s has no %" PRIu64 " bytes for %s: wait for what else runs there, or give the job "
			"less gpu_memory", op, b->name, bytes, what);
	}
	return p->d_p;
}

void *cuda_scratch(struct cuda *b, size_t bytes)
{
	return grow(b, "an operation", "scratch", &b->memory->scratch, bytes ? bytes : CUDA_ALIGN);
}

const void *cuda_table(struct cuda *b, const char *op, const void *table, size_t bytes)
{
	struct cuda_memory *m = b->memory;
	struct piece *p = &m->table[m->next_table];
	void *d_p = grow(b, op, "tables", p, bytes ? bytes : CUDA_ALIGN);
	if (!d_p || cuda_upload(b, d_p, table, bytes)) {
		return NULL;
	}
	m->next_table = (m->next_table + 1) % CUDA_TABLES;
	return d_p;
}

int cuda_memory(void *vb, uint64_t *ret_total, uint64_t *ret_free)
{
	struct cuda *b = vb;
	size_t free = 0, total = 0;
	int rc = cuda_check(b, "memory", cudaMemGetInfo(&free, &total));
	if (!rc) {
		*ret_total = total;
		*ret_free = free;
	}
	return rc;
}

uint64_t cuda_overhead(void *vb, const struct cwp_backend_use *use)
{
	const struct cuda *b = vb;
	struct cuda_needs needs;
	cuda_needs_find(use, b->precision == CUDA_BF16, &needs);
	return cuda_needs_sum(&needs);
}

/* What grew before is given back, so that it lies in the arena. */
static void give_back(struct cuda *b)
{
	struct cuda_memory *m = b->memory;
	cuda_cache_shed(b);
	struct piece *grown[CUDA_TABLES + 1] = {&m->scratch};
	for (size_t i = 0; i < CUDA_TABLES; i++) {
		grown[i + 1] = &m->table[i];
	}
	for (size_t i = 0; i < CUDA_TABLES + 1; i++) {
		if (grown[i]->d_p) {
			(void)give_to_driver(b, grown[i]->d_p);
		}
		*grown[i] = (struct piece){.d_p = NULL};
	}
}

/* The backend's own parts come first; there is room for all of them. */
static int lay_out(struct cuda *b, const struct cuda_needs *needs)
{
	struct cuda_memory *m = b->memory;
	m->workspace = m->workspace ? m->workspace : take_from_arena(m, needs->workspace);
	if (m->chunk) {
		(void)give_to_driver(b, m->chunk); /* of loads before */
	}
	m->chunk = take_from_arena(m, needs->loading);
	m->chunk_bytes = needs->loading;
	m->scratch = (struct piece){take_from_arena(m, needs->scratch), needs->scratch};
	for (size_t i = 0; i < CUDA_TABLES; i++) {
		m->table[i] = (struct piece){take_from_arena(m, needs->table), needs->table};
	}
	void *copies = needs->copies ? take_from_arena(m, needs->copies) : NULL;
	return copies ? cuda_cache_region(b, copies, needs->copies) : 0;
}

int cuda_reserve(void *vb, uint64_t bytes, const struct cwp_backend_use *use)
{
	struct cuda *b = vb;
	struct cuda_memory *m = b->memory;
	struct cuda_needs needs;
	uint64_t total = 0, free = 0;
	if (cuda_memory_reserved(b)) {
		return cuda_refuse(b, CWP_ESTATE, "reserve: memory of %s was reserved already", b->name);
	}
	cuda_needs_find(use, b->precision == CUDA_BF16, &needs);
	give_back(b);
	uint64_t sum = cuda_needs_sum(&needs), beside = needs.context + m->taken;
	uint64_t rest = bytes < beside ? 0 : (bytes - beside) / CUDA_PAGE * CUDA_PAGE;
	if (bytes < sum || rest < cuda_needs_own(&needs)) {
		return cuda_refuse(b, CWP_ELIMIT, "reserve: %" PRIu64 " bytes of %s are not enough: the backend needs %" PRIu64 " for itself, "
			"and %" PRIu64 " are in use: give the job more gpu_memory", bytes, b->name, sum, m->taken);
	}
	int rc = cuda_memory(b, &total, &free);
	void *d_p = rc || rest > free ? NULL : ask_driver(b, rest);
	rc = rc || d_p || rest > free ? rc : cuda_memory_lost(b, "reserve");
	if (!d_p) {
		return rc ? rc : cuda_refuse(b, -ENOMEM, "reserve: %" PRIu64 " bytes of %s were asked for, %" PRIu64 " of its %" PRIu64
			" are free: wait for what else runs there, or give the job less gpu_memory", rest, b->name, free, total);
	}
	m->arena = cuda_arena_new((uint64_t)(uintptr_t)d_p, rest);
	return m->arena ? lay_out(b, &needs) : -ENOMEM;
}
