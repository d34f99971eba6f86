/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A backend with memory of its own that checks who uses it. It computes through the CPU backend's table, in f32. Its device
 * pointers lie in a mapping that nobody may touch; the numbers are elsewhere. Each operation says which bytes it reads and
 * writes: those must lie in one allocation, and must not be part of a transfer that has not been waited for. */
#ifndef FAKE_FAKE_H
#define FAKE_FAKE_H

#include <pthread.h>

#include <cwp/backend.h>

#include "plugins/backends/cpu/cpu.h"

enum { FAKE_TRANSFERS = 64 };

struct fake_block {
	size_t at, bytes;
	uint64_t used; /* the operation that touched it last, by number */
	int loading;   /* load() wrote to it, and nobody waited for it yet */
};

/* One that is under way. A fetch is done at fetch_wait(); what was sent is there at send_wait(), and its source stays as it
 * is until the host has waited. */
struct fake_transfer {
	size_t at, bytes; /* on the device */
	char *host;
	char *copy; /* of what is sent */
	int waited;
};

struct fake {
	const struct cwp_host *host;
	void *cpu;
	char *address; /* device pointers: never to be touched */
	char *memory;  /* what is behind them */
	size_t mapped, total, taken_by_others;
	size_t limit; /* of alloc() after reserve(), else 0 */
	uint64_t allocated;
	int bf16;
	uint64_t factors, rounds; /* calls of gptq_factor() and gptq_round() */
	int full;      /* reserve() fails */
	uint64_t lost; /* operations from this one on fail; 0: none */
	pthread_t owner;
	pthread_mutex_t lock; /* for load(), which another thread may call */
	struct fake_block *block;
	size_t blocks, room;
	struct fake_block *pinned; /* host memory: at is an address */
	size_t pins, pin_room;
	uint64_t operations, load_from; /* number of the operation at load_begin() */
	int loads;                      /* between load_begin() and load_wait() */
	struct fake_transfer fetch[FAKE_TRANSFERS], send[FAKE_TRANSFERS];
	size_t fetches, sends;
};

/* What one operation touches. */
struct fake_access {
	struct fake *b;
	const char *op;
	int code;
};

/* Explains through fail(), and on standard error, and returns CWP_EPLUGIN. */
int fake_refuse(struct fake *b, const char *op, const char *format, ...) __attribute__((format(printf, 3, 4)));

struct fake_access fake_begin(struct fake *b, const char *op);
/* What is behind the device pointer; NULL for NULL. */
void *fake_read(struct fake_access *a, const void *d_p, uint64_t bytes);
void *fake_write(struct fake_access *a, void *d_p, uint64_t bytes);

/* memory.c */
void *fake_alloc(void *vb, size_t bytes);
void fake_free(void *vb, void *d_p);
void *fake_host_alloc(void *vb, size_t bytes);
void fake_host_free(void *vb, void *p);
int fake_memory(void *vb, uint64_t *ret_total, uint64_t *ret_free);
uint64_t fake_overhead(void *vb, const struct cwp_backend_use *use);
int fake_reserve(void *vb, uint64_t bytes, const struct cwp_backend_use *use);
/* The allocation that holds these bytes, or NULL. The lock is held. */
struct fake_block *fake_find(struct fake *b, const void *d_p, uint64_t bytes);
int fake_is_pinned(const struct fake *b, const void *p, size_t bytes);

/* transfer.c */
int fake_upload(void *vb, void *d_dst, const void *src, size_t bytes);
int fake_download(void *vb, void *dst, const void *d_src, size_t bytes);
int fake_zero(void *vb, void *d_dst, size_t bytes);
int fake_sync(void *vb);
int fake_copy(void *vb, void *d_dst, const void *d_src, size_t bytes);
int fake_load_begin(void *vb);
int fake_load(void *vb, float *d_dst, const void *src, uint32_t dtype, uint64_t n);
int fake_load_wait(void *vb);
int fake_fetch(void *vb, void *dst, const void *d_src, size_t bytes);
int fake_fetch_wait(void *vb);
int fake_send(void *vb, void *d_dst, const void *src, size_t bytes);
int fake_send_wait(void *vb);
/* Whether bytes of the device are part of a transfer under way: "" or what it is. */
const char *fake_busy(const struct fake *b, size_t at, uint64_t bytes, int write);

/* several.c */
int fake_enter(void *vb);
int fake_reduce(void *const *b, uint32_t n, uint32_t kind, void *const *d_x, uint64_t count);

/* ops.c: fills in the operations that only pass on. */
void fake_fill_ops(struct cwp_backend *table);

/* gptq.c: its operations, and how often they were called into the file CWP_FAKE_TELL. */
void fake_fill_gptq(struct cwp_backend *table);
void fake_tell_gptq(const struct fake *b);

#endif
