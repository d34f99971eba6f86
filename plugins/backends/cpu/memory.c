/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Device memory is the host's; scratch memory is kept from call to call, one piece a thread. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/backends/cpu/cpu.h"

void *cpu_alloc(void *vb, size_t bytes)
{
	(void)vb;
	size_t rounded = 0;
	if (__builtin_add_overflow(bytes, (size_t)63, &rounded)) {
		return NULL;
	}
	rounded &= ~(size_t)63;
	return aligned_alloc(64, rounded ? rounded : 64);
}

void cpu_free(void *vb, void *d_p)
{
	(void)vb;
	free(d_p);
}

int cpu_upload(void *vb, void *d_dst, const void *src, size_t bytes)
{
	(void)vb;
	if (bytes) {
		memcpy(d_dst, src, bytes);
	}
	return 0;
}

int cpu_download(void *vb, void *dst, const void *d_src, size_t bytes)
{
	(void)vb;
	if (bytes) {
		memcpy(dst, d_src, bytes);
	}
	return 0;
}

int cpu_zero(void *vb, void *d_dst, size_t bytes)
{
	(void)vb;
	if (bytes) {
		memset(d_dst, 0, bytes);
	}
	return 0;
}

int cpu_sync(void *vb)
{
	(void)vb;
	return 0;
}

int cpu_scratch_reserve(struct cpu *b, size_t bytes)
{
	for (size_t i = 0; i < b->slots; i++) {
		struct scratch *s = &b->scratch[i];
		if (s->size >= bytes) {
			continue;
		}
		free(s->memory);
		s->size = 0;
		s->memory = cpu_alloc(b, bytes);
		if (!s->memory) {
			return cpu_refuse(b, -ENOMEM, "no memory for %zu bytes of scratch a thread", bytes);
		}
		s->size = bytes;
	}
	return 0;
}

struct scratch *cpu_scratch_take(struct cpu *b)
{
	for (;;) {
		for (size_t i = 0; i < b->slots; i++) {
			int idle = 0;
			if (atomic_compare_exchange_strong(&b->scratch[i].busy, &idle, 1)) {
				return &b->scratch[i];
			}
		}
		/* Only a host that runs more threads than it said comes here. */
		sched_yield();
	}
}

void cpu_scratch_give(struct scratch *s)
{
	atomic_store(&s->busy, 0);
}

void cpu_scratch_free(struct cpu *b)
{
	for (size_t i = 0; i < b->slots; i++) {
		free(b->scratch[i].memory);
	}
	free(b->scratch);
	b->scratch = NULL;
	b->slots = 0;
}
