/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Transfers in the order of the operations. Ordinary memory of the host goes through pinned memory of ours: the driver's own way
 * waits for the stream and is several times slower. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/backends/cuda/memory.h"
#include "plugins/backends/cuda/ops_base.h"
#include "plugins/backends/cuda/ring.h"

enum { AHEAD = 2 /* pieces that come down while one is copied on */ };

struct cuda_transfer {
	struct cuda_ring ring;
};

int cuda_transfer_open(struct cuda *b)
{
	b->transfer = calloc(1, sizeof(*b->transfer));
	return b->transfer ? 0 : -ENOMEM;
}

void cuda_transfer_close(struct cuda *b)
{
	struct cuda_transfer *t = b->transfer;
	if (!t) {
		return;
	}
	cuda_ring_close(&t->ring);
	free(t);
	b->transfer = NULL;
}

static size_t piece_of(size_t bytes)
{
	return bytes < CUDA_RING_PIECE ? bytes : CUDA_RING_PIECE;
}

int cuda_upload(void *vb, void *d_dst, const void *src, size_t bytes)
{
	struct cuda *b = vb;
	struct cuda_ring *ring = &b->transfer->ring;
	cudaError_t e = cudaSuccess;
	for (size_t at = 0; e == cudaSuccess && at < bytes; at += CUDA_RING_PIECE) {
		size_t n = piece_of(bytes - at);
		void *staged = NULL;
		e = cuda_ring_take(ring, n, &staged);
		if (e == cudaSuccess) {
			memcpy(staged, (const char *)src + at, n);
			e = cudaMemcpyAsync((char *)d_dst + at, staged, n, cudaMemcpyHostToDevice, b->stream);
		}
		e = e != cudaSuccess ? e : cuda_ring_sent(ring, b->stream, NULL);
	}
	cuda_wrote(b, d_dst, bytes);
	return cuda_check(b, "upload", e);
}

/* Pieces on their way down. */
struct coming {
	struct {
		const void *staged;
		cudaEvent_t event;
		char *dst;
		size_t n;
	} piece[AHEAD + 1];
	size_t asked, done;
};

static cudaError_t ask(struct cuda *b, struct coming *c, char *dst, const char *d_src, size_t n)
{
	struct cuda_ring *ring = &b->transfer->ring;
	size_t i = c->asked % (AHEAD + 1);
	void *staged = NULL;
	cudaError_t e = cuda_ring_take(ring, n, &staged);
	e = e != cudaSuccess ? e : cudaMemcpyAsync(staged, d_src, n, cudaMemcpyDeviceToHost, b->stream);
	e = e != cudaSuccess ? e : cuda_ring_sent(ring, b->stream, &c->piece[i].event);
	if (e == cudaSuccess) {
		c->piece[i].staged = staged;
		c->piece[i].dst = dst;
		c->piece[i].n = n;
		c->asked++;
	}
	return e;
}

static cudaError_t receive(struct coming *c)
{
	size_t i = c->done % (AHEAD + 1);
	cudaError_t e = cudaEventSynchronize(c->piece[i].event);
	if (e == cudaSuccess) {
		memcpy(c->piece[i].dst, c->piece[i].staged, c->piece[i].n);
		c->done++;
	}
	return e;
}

static cudaError_t download_staged(struct cuda *b, char *dst, const char *d_src, size_t bytes)
{
	struct coming c = {.asked = 0};
	cudaError_t e = cudaSuccess;
	for (size_t at = 0; e == cudaSuccess && at < bytes; at += CUDA_RING_PIECE) {
		if (c.asked - c.done > AHEAD) {
			e = receive(&c);
		}
		e = e != cudaSuccess ? e : ask(b, &c, dst + at, d_src + at, piece_of(bytes - at));
	}
	while (e == cudaSuccess && c.done < c.asked) {
		e = receive(&c);
	}
	return e;
}

int cuda_download(void *vb, void *dst, const void *d_src, size_t bytes)
{
	struct cuda *b = vb;
	cudaError_t e = cudaSuccess;
	if (cuda_is_pinned(b, dst, bytes)) {
		e = cudaMemcpyAsync(dst, d_src, bytes, cudaMemcpyDeviceToHost, b->stream);
		e = e != cudaSuccess ? e : cudaStreamSynchronize(b->stream);
	} else {
		e = download_staged(b, dst, d_src, bytes);
	}
	return cuda_check(b, "download", e);
}

int cuda_zero(void *vb, void *d_dst, size_t bytes)
{
	struct cuda *b = vb;
	cuda_wrote(b, d_dst, bytes);
	return bytes ? cuda_check(b, "zero", cudaMemsetAsync(d_dst, 0, bytes, b->stream)) : 0;
}

int cuda_copy(void *vb, void *d_dst, const void *d_src, size_t bytes)
{
	struct cuda *b = vb;
	cuda_wrote(b, d_dst, bytes);
	return bytes ? cuda_check(b, "copy", cudaMemcpyAsync(d_dst, d_src, bytes, cudaMemcpyDeviceToDevice, b->stream)) : 0;
}
