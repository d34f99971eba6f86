/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Device memory is the host's; scratch memory is kept from call to call, one piece a thread. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "plugins/backends/cpu/cpu.h"

static const size_t LARGE_PAGE = (size_t)2 << 20;

/* Large pieces lie in large pages where the system has them to give: panels and tiles are read with
 * wide strides. */
void *cpu_alloc(void *vb, size_t bytes)
{
	(void)vb;
	size_t align = bytes < LARGE_PAGE ? 64 : LARGE_PAGE, rounded = 0;
	if (__builtin_add_overflow(bytes, (size_t)63, &rounded) || rounded > PTRDIFF_MAX) {
		return NULL;
	}
	rounded &= ~(size_t)63;
	void *p = NULL;
	if (posix_memalign(&p, align, rounded ? rounded : 64)) {
		return NULL;
	}
#ifdef MADV_HUGEPAGE
	if (align == LARGE_PAGE) {
		(void)madvise(p, rounded & ~(LARGE_PAGE - 1), MADV_HUGEPAGE);
	}
#endif
	return p;
}

void cpu_free(void *vb, void *d_p)
{
	(void)vb;
	free(d_p);
}

/* Bytes that are moved, or set to 0 where there is no source. Pages of new memory lie near the threads that write them first. */
enum { MOVE_PIECE = 1 << 20, MOVE_ALONE = 4 << 20 };

struct move {
	char *dst;
	const char *src;
	size_t bytes;
};

static void move_piece(void *arg, size_t i)
{
	const struct move *m = arg;
	size_t first = i * MOVE_PIECE, n = m->bytes - first < MOVE_PIECE ? m->bytes - first : MOVE_PIECE;
	if (m->src) {
		memcpy(m->dst + first, m->src + first, n);
	} else {
		memset(m->dst + first, 0, n);
	}
}

static int move(struct cpu *b, void *dst, const void *src, size_t bytes)
{
	struct move m = {dst, src, bytes};
	if (bytes >= MOVE_ALONE) {
		cpu_run(b, (bytes + MOVE_PIECE - 1) / MOVE_PIECE, move_piece, &m);
	} else if (bytes && src) {
		memcpy(dst, src, bytes);
	} else if (bytes) {
		memset(dst, 0, bytes);
	}
	return 0;
}

int cpu_upload(void *vb, void *d_dst, const void *src, size_t bytes)
{
	return move(vb, d_dst, src, bytes);
}

int cpu_download(void *vb, void *dst, const void *d_src, size_t bytes)
{
	return move(vb, dst, d_src, bytes);
}

int cpu_zero(void *vb, void *d_dst, size_t bytes)
{
	return move(vb, d_dst, NULL, bytes);
}

int cpu_sync(void *vb)
{
	(void)vb;
	return 0;
}

int cpu_copy(void *vb, void *d_dst, const void *d_src, size_t bytes)
{
	return cpu_upload(vb, d_dst, d_src, bytes);
}

/* How much the process may take is its caller's affair: 0 says so. */
int cpu_memory(void *vb, uint64_t *ret_total, uint64_t *ret_free)
{
	(void)vb;
	*ret_total = *ret_free = 0;
	return 0;
}

/* Scratch is kept at the most that any operation asked for. Beside it oneDNN has buffers of its own, one a thread. */
uint64_t cpu_overhead(void *vb, const struct cwp_backend_use *use)
{
	const struct cpu *b = vb;
	/* No machine has what larger uses would need; sums of these do not wrap around. */
	const uint64_t limit = UINT64_C(1) << 24;
	uint64_t tokens = use->tokens < limit ? use->tokens : limit, width = use->width < limit ? use->width : limit;
	uint64_t most = tokens > width ? tokens : width;
	uint64_t shared = cpu_grad_stats_memory(b->panels, tokens, width);
	/* Columns of outliers by row, few rows rounded, histograms. */
	const uint64_t others[] = {b->bf16 ? cpu_product_memory(b->panels, most) : 0, tokens * width * sizeof(float),
		16 * most * sizeof(float), cpu_act_histogram_memory()};
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		shared = others[i] > shared ? others[i] : shared;
	}
	/* Scores, probabilities and their gradients of one block of queries. */
	uint64_t thread = 3 * tokens * ATTENTION_BLOCK * sizeof(float), stats = cpu_grad_stats_thread_memory();
	return shared + b->slots * (thread > stats ? thread : stats);
}

int cpu_reserve(void *vb, uint64_t bytes, const struct cwp_backend_use *use)
{
	(void)vb;
	(void)bytes;
	(void)use;
	return 0;
}

static int grow(struct cpu *b, struct scratch *s, size_t bytes)
{
	if (s->size >= bytes) {
		return 0;
	}
	free(s->memory);
	s->size = 0;
	s->memory = cpu_alloc(b, bytes);
	if (!s->memory) {
		return cpu_refuse(b, -ENOMEM, "no memory for %zu bytes of scratch", bytes);
	}
	s->size = bytes;
	return 0;
}

int cpu_scratch_reserve(struct cpu *b, size_t bytes)
{
	int rc = 0;
	for (size_t i = 0; !rc && i < b->slots; i++) {
		rc = grow(b, &b->scratch[i], bytes);
	}
	return rc;
}

void *cpu_scratch_shared(struct cpu *b, size_t bytes)
{
	return grow(b, &b->shared, bytes) ? NULL : b->shared.memory;
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
	free(b->shared.memory);
	b->shared = (struct scratch){.memory = NULL};
	free(b->scratch);
	b->scratch = NULL;
	b->slots = 0;
}

int cpu_devices(const struct cwp_host *host, uint32_t index, struct cwp_backend_device *ret)
{
	(void)host;
	(void)index;
	(void)ret;
	return CWP_EMISSING; /* one machine, nothing to choose */
}
