/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Loads and transfers beside the computation, each on a stream of its own. A load goes through pinned memory to the device in the
 * type that it has; its thread uses nothing that operations use but the list of what was loaded. Where there is room for all
 * of it, it is widened when it is waited for: kernels of another stream would wait for the operations' own at every
 * piece. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/backends/cuda/memory.h"
#include "plugins/backends/cuda/ops_base.h"
#include "plugins/backends/cuda/ranges.h"
#include "plugins/backends/cuda/ring.h"

/* Numbers as they were stored. */
struct stored {
	float *d_dst;
	const char *d_raw;
	uint32_t dtype;
	uint64_t n;
};

struct cuda_beside {
	cudaStream_t load, fetch, send;
	cudaEvent_t before; /* what the operations called so far have done */
	cudaEvent_t after;  /* what a stream beside has done */
	struct cuda_ring ring; /* of loads */
	char *chunk;           /* of the device, of loads */
	uint64_t room_bytes, used;
	struct stored *stored; /* in the chunk, to be widened */
	size_t n_stored, stored_room;
	pthread_mutex_t lock;  /* of what follows */
	struct cuda_range *loaded;
	size_t n, room;
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
	cuda_ring_close(&s->ring);
	(void)pthread_mutex_destroy(&s->lock);
	free(s->loaded);
	free(s->stored);
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
	s->chunk = cuda_memory_chunk(b, "load_begin", &s->room_bytes);
	s->used = 0;
	return s->chunk ? cuda_check(b, "load_begin", order(s->before, b->stream, s->load)) : b->refused;
}

/* One more range of what was loaded. Ranges one behind the other are one. */
static int note(struct cuda_beside *s, uint64_t begin, uint64_t end)
{
	int rc = 0;
	(void)pthread_mutex_lock(&s->lock);
	if (s->n > 0 && s->loaded[s->n - 1].end == begin) {
		s->loaded[s->n - 1].end = end;
		goto done;
	}
	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		struct cuda_range *loaded = realloc(s->loaded, room * sizeof(*loaded));
		if (!loaded) {
			rc = -ENOMEM;
			goto done;
		}
		s->loaded = loaded;
		s->room = room;
	}
	s->loaded[s->n++] = (struct cuda_range){begin, end};
done:
	(void)pthread_mutex_unlock(&s->lock);
	return rc;
}

void cuda_beside_drain(struct cuda *b)
{
	struct cuda_beside *s = b->beside;
	(void)pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->n; i++) {
		cuda_cache_loaded(b, s->loaded[i].begin, s->loaded[i].end);
	}
	s->n = 0;
	(void)pthread_mutex_unlock(&s->lock);
}

/* Widens what lies in the chunk. */
static cudaError_t widen(struct cuda_beside *s, cudaStream_t stream)
{
	cudaError_t e = cudaSuccess;
	for (size_t i = 0; e == cudaSuccess && i < s->n_stored; i++) {
		const struct stored *p = &s->stored[i];
		e = p->dtype == CWP_BF16 ? launch_from_bf16(stream, p->d_dst, (const void *)p->d_raw, p->n)
					 : launch_from_f16(stream, p->d_dst, (const void *)p->d_raw, p->n);
	}
	s->n_stored = 0;
	return e;
}

/* A place in the chunk for n numbers; one behind the last where they go on there. NULL: no memory for the list. */
static void *place(struct cuda_beside *s, float *d_dst, uint32_t dtype, uint64_t n)
{
	struct stored *last = s->n_stored ? &s->stored[s->n_stored - 1] : NULL;
	if (last && last->dtype == dtype && last->d_dst + last->n == d_dst && last->d_raw + 2 * last->n == s->chunk + s->used) {
		last->n += n;
	} else {
		if (!s->stored || s->n_stored == s->stored_room) {
			size_t room = s->stored_room ? 2 * s->stored_room : 64;
			struct stored *stored = realloc(s->stored, room * sizeof(*stored));
			if (!stored) {
				return NULL;
			}
			s->stored = stored;
			s->stored_room = room;
		}
		s->used = (s->used + 255) & ~(uint64_t)255;
		s->stored[s->n_stored++] = (struct stored){d_dst, s->chunk + s->used, dtype, n};
	}
	void *d_raw = s->chunk + s->used;
	s->used += 2 * n;
	return d_raw;
}

/* One piece of at most CUDA_RING_PIECE bytes. */
static cudaError_t load_piece(struct cuda_beside *s, float *d_dst, const char *src, uint32_t dtype, uint64_t n, size_t bytes)
{
	void *staged = NULL, *d_piece = d_dst;
	cudaError_t e = cuda_ring_take(&s->ring, bytes, &staged);
	if (e != cudaSuccess) {
		return e;
	}
	memcpy(staged, src, bytes);
	if (dtype != CWP_F32) {
		/* Without room the chunk is used again, in the order of the stream. */
		if (s->used + 255 + bytes > s->room_bytes) {
			e = widen(s, s->load);
			s->used = 0;
		}
		d_piece = place(s, d_dst, dtype, n);
		e = d_piece ? e : cudaErrorMemoryAllocation;
	}
	e = e != cudaSuccess ? e : cudaMemcpyAsync(d_piece, staged, bytes, cudaMemcpyHostToDevice, s->load);
	return e != cudaSuccess ? e : cuda_ring_sent(&s->ring, s->load, NULL);
}

int cuda_load(void *vb, float *d_dst, const void *src, uint32_t dtype, uint64_t n)
{
	struct cuda *b = vb;
	struct cuda_beside *s = b->beside;
	uint64_t begin = (uint64_t)(uintptr_t)d_dst, each = dtype == CWP_F32 ? 4 : 2, step = CUDA_RING_PIECE / each;
	if ((dtype != CWP_F32 && dtype != CWP_BF16 && dtype != CWP_F16) || n > PTRDIFF_MAX / sizeof(float)) {
		return CWP_EVALUE;
	}
	if (!s->chunk) {
		return CWP_ESTATE; /* before load_begin() */
	}
	cudaError_t e = cudaSetDevice(b->device);
	int rc = n ? note(s, begin, begin + n * sizeof(float)) : 0;
	for (uint64_t at = 0; !rc && e == cudaSuccess && at < n; at += step) {
		uint64_t count = n - at < step ? n - at : step;
		e = load_piece(s, d_dst + at, (const char *)src + at * each, dtype, count, count * each);
	}
	return rc ? rc : cuda_code(e);
}

int cuda_load_wait(void *vb)
{
	struct cuda *b = vb;
	struct cuda_beside *s = b->beside;
	cuda_beside_drain(b);
	cudaError_t e = order(s->after, s->load, b->stream);
	return cuda_check(b, "load_wait", e != cudaSuccess ? e : widen(s, b->stream));
}

int cuda_fetch(void *vb, void *dst, const void *d_src, size_t bytes)
{
	struct cuda *b = vb;
	struct cuda_beside *s = b->beside;
	cudaError_t e = order(s->before, b->stream, s->fetch);
	if (e == cudaSuccess && bytes) {
		e = cudaMemcpyAsync(dst, d_src, bytes, cudaMemcpyDeviceToHost, s->fetch);
	}
	return cuda_check(b, "fetch", e);
}

/* The sources of sends are free after this too. */
int cuda_fetch_wait(void *vb)
{
	struct cuda *b = vb;
	cudaError_t e = cudaStreamSynchronize(b->beside->fetch);
	e = e != cudaSuccess ? e : cudaStreamSynchronize(b->beside->send);
	return cuda_check(b, "fetch_wait", e);
}

int cuda_send(void *vb, void *d_dst, const void *src, size_t bytes)
{
	struct cuda *b = vb;
	struct cuda_beside *s = b->beside;
	cudaError_t e = order(s->before, b->stream, s->send);
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
