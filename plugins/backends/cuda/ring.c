/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Pieces of pinned memory one behind the other, given again in the order in which they were taken. */
#include "plugins/backends/cuda/ring.h"

static cudaError_t make(struct cuda_ring *r)
{
	void *p = NULL;
	cudaError_t e = cudaHostAlloc(&p, CUDA_RING_SIZE, cudaHostAllocPortable);
	for (size_t i = 0; e == cudaSuccess && i < CUDA_RING_PIECES; i++) {
		e = cudaEventCreateWithFlags(&r->piece[i].event, cudaEventDisableTiming);
	}
	r->p = p;
	if (e != cudaSuccess) {
		cuda_ring_close(r);
	}
	return e;
}

void cuda_ring_close(struct cuda_ring *r)
{
	for (size_t i = 0; i < CUDA_RING_PIECES; i++) {
		if (r->piece[i].event) {
			(void)cudaEventDestroy(r->piece[i].event);
		}
	}
	if (r->p) {
		(void)cudaFreeHost(r->p);
	}
	*r = (struct cuda_ring){.p = NULL};
}

static cudaError_t wait_oldest(struct cuda_ring *r)
{
	cudaError_t e = cudaEventSynchronize(r->piece[r->oldest].event);
	r->oldest = (r->oldest + 1) % CUDA_RING_PIECES;
	r->count--;
	return e;
}

static int overlaps(const struct cuda_ring *r, size_t begin, size_t end)
{
	for (size_t i = 0; i < r->count; i++) {
		const struct cuda_ring_piece *p = &r->piece[(r->oldest + i) % CUDA_RING_PIECES];
		if (p->begin < end && begin < p->end) {
			return 1;
		}
	}
	return 0;
}

cudaError_t cuda_ring_take(struct cuda_ring *r, size_t bytes, void **ret)
{
	size_t rounded = (bytes + 63) & ~(size_t)63;
	if (!r->p) {
		cudaError_t e = make(r);
		if (e != cudaSuccess) {
			return e;
		}
	}
	size_t begin = r->head + rounded <= CUDA_RING_SIZE ? r->head : 0;
	/* The record of the piece that is taken must be free too. */
	while (r->count == CUDA_RING_PIECES || overlaps(r, begin, begin + rounded)) {
		cudaError_t e = wait_oldest(r);
		if (e != cudaSuccess) {
			return e;
		}
	}
	struct cuda_ring_piece *p = &r->piece[(r->oldest + r->count) % CUDA_RING_PIECES];
	p->begin = begin;
	p->end = begin + rounded;
	r->head = begin + rounded;
	*ret = r->p + begin;
	return cudaSuccess;
}

cudaError_t cuda_ring_sent(struct cuda_ring *r, cudaStream_t stream, cudaEvent_t *ret_event)
{
	cudaEvent_t event = r->piece[(r->oldest + r->count) % CUDA_RING_PIECES].event;
	cudaError_t e = cudaEventRecord(event, stream);
	if (e == cudaSuccess) {
		r->count++;
		if (ret_event) {
			*ret_event = event;
		}
	}
	return e;
}
