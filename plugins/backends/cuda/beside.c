/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Loads and transfers beside the computation, each on a stream of its own. A load goes through pinned memory to the device in the
 * type that it has; its threads use nothing that operations use but the list of what was loaded. Where there is room for all
 * of it, it is widened when it is waited for: kernels of another stream would wait for the operations' own at every
 * piece. Threads load in any order, so the numbers' places in that room follow from where they go to: the room is a window on
 * half of twice as much memory. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/backends/cuda/memory.h"
#include "plugins/backends/cuda/ops_base.h"
#include "plugins/backends/cuda/pinned.h"
#include "plugins/backends/cuda/ranges.h"
#include "plugins/backends/cuda/stage.h"

struct cuda_beside {
	cudaStream_t load, fetch, send;
	cudaEvent_t before; /* what the operations called so far have done */
	cudaEvent_t after;  /* what a stream beside has done */
	struct cuda_stage stage; /* of loads */
	pthread_mutex_t lock;    /* of the load stream and what follows */
	char *chunk;             /* of the device: numbers of 16 bits on their way */
	uint64_t room;           /* of its bytes */
	uint64_t window;         /* the address of f32 numbers whose place is the chunk's first */
	uint32_t dtype;          /* of those that are there */
	struct cuda_ranges stored; /* f32 addresses of what lies there, to be widened */
	struct cuda_ranges loaded; /* of all that was loaded */
};

int cuda_beside_open(struct cuda *b)
{
	struct cuda_beside *s = calloc(1, sizeof(*s));
	int low = 0, high = 0;
	if (!s) {
		return -ENOMEM;
	}
	if (pthread_mutex_init(&s->lock, NULL)) {
		free(s);
		return -ENOMEM;
	}
	if (cuda_stage_open(&s->stage)) {
		(void)pthread_mutex_destroy(&s->lock);
		free(s);
		return -ENOMEM;
	}
	b->beside = s;
	cudaError_t e = cudaDeviceGetStreamPriorityRange(&low, &high);
	/* Widening is short, and the next layer waits for it. */
	e = e != cudaSuccess ? e : cudaStreamCreateWithPriority(&s->load, cudaStreamNonBlocking, high);
	e = e != cudaSuccess ? e : cudaStreamCreateWithFlags(&s->fetch, cudaStreamNonBlocking);
	e = e != cudaSuccess ? e : cudaStreamCreateWithFlags(&s->send, cudaStreamNonBlocking);
	e = e != cudaSuccess ? e : cudaEventCreateWithFlags(&s->before, cudaEventDisableTiming);
	e = e != cudaSuccess ? e : cudaEventCreateWithFlags(&s->after, cudaEventDisableTiming);
	return cuda_check(b, "open", e);
}

static void close_stream(cudaStream_t stream)
{
	if (stream) {
		(void)cudaStreamSynchronize(stream);
		(void)cudaStreamDestroy(stream);
	}
}

void cuda_beside_close(struct cuda *b)
{
	struct cuda_beside *s = b->beside;
	if (!s) {
		return;
	}
	close_stream(s->load);
	close_stream(s->fetch);
	close_stream(s->send);
	if (s->before) {
		(void)cudaEventDestroy(s->before);
	}
	if (s->after) {
		(void)cudaEventDestroy(s->after);
	}
	cuda_stage_close(&s->stage);
	(void)pthread_mutex_destroy(&s->lock);
	cuda_ranges_free(&s->loaded);
	cuda_ranges_free(&s->stored);
	free(s);
	b->beside = NULL;
}

/* What `first` was told so far is done before what `then` is told from now on. */
static cudaError_t order(cudaEvent_t event, cudaStream_t first, cudaStream_t then)
{
	cudaError_t e = cudaEventRecord(event, first);
	return e != cudaSuccess ? e : cudaStreamWaitEvent(then, event, 0);
}

int cuda_load_begin(void *vb)
{
	struct cuda *b = vb;
	struct cuda_beside *s = b->beside;
	s->chunk = cuda_memory_chunk(b, "load_begin", &s->room);
	return s->chunk ? cuda_check(b, "load_begin", order(s->before, b->stream, s->load)) : b->refused;
}

void cuda_beside_drain(struct cuda *b)
{
	struct cuda_beside *s = b->beside;
	(void)pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->loaded.n; i++) {
		cuda_cache_loaded(b, s->loaded.range[i].begin, s->loaded.range[i].end);
	}
	cuda_ranges_clear(&s->loaded);
	(void)pthread_mutex_unlock(&s->lock);
}

static char *place_of(const struct cuda_beside *s, uint64_t address)
{
	return s->chunk + (address - s->window) / 2;
}

/* Widens what lies in the chunk. */
static cudaError_t widen(struct cuda_beside *s, cudaStream_t stream)
{
	cudaError_t e = cudaSuccess;
	for (size_t i = 0; e == cudaSuccess && i < s->stored.n; i++) {
		const struct cuda_range *r = &s->stored.range[i];
		float *d_dst = (float *)(uintptr_t)r->begin;
		const void *d_raw = place_of(s, r->begin);
		uint64_t n = (r->end - r->begin) / sizeof(float);
		e = s->dtype == CWP_BF16 ? launch_from_bf16(stream, d_dst, d_raw, n) : launch_from_f16(stream, d_dst, d_raw, n);
	}
	cuda_ranges_clear(&s->stored);
	return e;
}

/* Before the first number's address there is room for those of threads that are a little behind. Aligned numbers have aligned
 * places. */
static void place_window(struct cuda_beside *s, uint64_t begin)
{
	s->window = (begin > CUDA_LOAD_CHUNK ? begin - CUDA_LOAD_CHUNK : 0) & ~(uint64_t)511;
}

/* The place of numbers of 16 bits in the chunk. What does not fit beside those that are there comes after them, in the order of the
 * stream. NULL: no memory for the list. */
static void *place(struct cuda_beside *s, uint64_t begin, uint64_t end, uint32_t dtype, cudaError_t *ret_e)
{
	*ret_e = cudaSuccess;
	if (s->stored.n > 0 && (s->dtype != dtype || begin < s->window || end - s->window > 2 * s->room)) {
		*ret_e = widen(s, s->load);
	}
	if (s->stored.n == 0) {
		place_window(s, begin);
		s->dtype = dtype;
	}
	if (cuda_ranges_add(&s->stored, begin, end)) {
		*ret_e = cudaErrorMemoryAllocation;
	}
	return place_of(s, begin);
}

/* Numbers that lie in a slot. */
static cudaError_t send_piece(struct cuda_beside *s, float *d_dst, unsigned slot, const char *staged, uint32_t dtype, uint64_t n)
{
	uint64_t begin = (uint64_t)(uintptr_t)d_dst, end = begin + n * sizeof(float);
	void *d_piece = d_dst;
	(void)pthread_mutex_lock(&s->lock);
	cudaError_t e = cuda_ranges_add(&s->loaded, begin, end) ? cudaErrorMemoryAllocation : cudaSuccess;
	if (e == cudaSuccess && dtype != CWP_F32) {
		d_piece = place(s, begin, end, dtype, &e);
	}
	if (e == cudaSuccess) {
		e = cudaMemcpyAsync(d_piece, staged, n * (dtype == CWP_F32 ? 4 : 2), cudaMemcpyHostToDevice, s->load);
	}
	if (e == cudaSuccess) {
		e = cuda_stage_sent(&s->stage, slot, s->load);
	} else {
		cuda_stage_unused(&s->stage, slot);
	}
	(void)pthread_mutex_unlock(&s->lock);
	return e;
}

int cuda_load(void *vb, float *d_dst, const void *src, uint32_t dtype, uint64_t n)
{
	struct cuda *b = vb;
	struct cuda_beside *s = b->beside;
	uint64_t each = dtype == CWP_F32 ? 4 : 2, step = CUDA_STAGE_SLOT / each;
	if ((dtype != CWP_F32 && dtype != CWP_BF16 && dtype != CWP_F16) || n > PTRDIFF_MAX / sizeof(float)) {
		return CWP_EVALUE;
	}
	if (!s->chunk) {
		return CWP_ESTATE; /* before load_begin() */
	}
	cudaError_t e = cudaSetDevice(b->device);
	for (uint64_t at = 0; e == cudaSuccess && at < n; at += step) {
		uint64_t count = n - at < step ? n - at : step;
		unsigned slot = 0;
		char *staged = NULL;
		e = cuda_stage_take(&s->stage, &slot, &staged);
		if (e == cudaSuccess) {
			memcpy(staged, (const char *)src + at * each, count * each);
			e = send_piece(s, d_dst + at, slot, staged, dtype, count);
		}
	}
	return cuda_code(e);
}

int cuda_load_wait(void *vb)
{
	struct cuda *b = vb;
	struct cuda_beside *s = b->beside;
	cuda_beside_drain(b);
	cudaError_t e = order(s->after, s->load, b->stream);
	(void)pthread_mutex_lock(&s->lock);
	e = e != cudaSuccess ? e : widen(s, b->stream);
	(void)pthread_mutex_unlock(&s->lock);
	return cuda_check(b, "load_wait", e);
}

int cuda_fetch(void *vb, void *dst, const void *d_src, size_t bytes)
{
	struct cuda *b = vb;
	struct cuda_beside *s = b->beside;
	return bytes ? cuda_check(b, "fetch", cuda_pinned_fetch(b, s->fetch, s->before, dst, d_src, bytes)) : 0;
}

/* The sources of sends are free after this too. */
int cuda_fetch_wait(void *vb)
{
	struct cuda *b = vb;
	cudaError_t e = cuda_pinned_fetched(b);
	e = e != cudaSuccess ? e : cudaStreamSynchronize(b->beside->fetch);
	e = e != cudaSuccess ? e : cudaStreamSynchronize(b->beside->send);
	return cuda_check(b, "fetch_wait", e);
}

int cuda_send(void *vb, void *d_dst, const void *src, size_t bytes)
{
	struct cuda *b = vb;
	struct cuda_beside *s = b->beside;
	cudaError_t e = order(s->before, b->stream, s->send);
	cuda_pinned_wait(b, src, bytes);
	if (e == cudaSuccess && bytes) {
		e = cudaMemcpyAsync(d_dst, src, bytes, cudaMemcpyHostToDevice, s->send);
	}
	cuda_wrote(b, d_dst, bytes);
	return cuda_check(b, "send", e);
}

int cuda_send_wait(void *vb)
{
	struct cuda *b = vb;
	return cuda_check(b, "send_wait", order(b->beside->after, b->beside->send, b->stream));
}

int cuda_sync(void *vb)
{
	struct cuda *b = vb;
	cudaError_t e = cudaStreamSynchronize(b->stream);
	e = e != cudaSuccess ? e : cudaStreamSynchronize(b->beside->send);
	return cuda_check(b, "sync", e);
}
