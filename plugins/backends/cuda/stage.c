/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Slots of pinned memory: free, in a thread's hands, or on their way. Who finds none free takes the one that was sent first and waits
 * for it alone, so that threads wait beside each other. */
#include <errno.h>

#include "plugins/backends/cuda/stage.h"

int cuda_stage_open(struct cuda_stage *s)
{
	*s = (struct cuda_stage){.p = NULL};
	if (pthread_mutex_init(&s->lock, NULL)) {
		return -ENOMEM;
	}
	if (pthread_cond_init(&s->given, NULL)) {
		(void)pthread_mutex_destroy(&s->lock);
		return -ENOMEM;
	}
	return 0;
}

static void clear(struct cuda_stage *s)
{
	for (unsigned i = 0; i < CUDA_STAGE_SLOTS; i++) {
		if (s->event[i]) {
			(void)cudaEventDestroy(s->event[i]);
			s->event[i] = NULL;
		}
	}
	if (s->p) {
		(void)cudaFreeHost(s->p);
		s->p = NULL;
	}
	s->n_free = s->n_sent = 0;
}

void cuda_stage_close(struct cuda_stage *s)
{
	clear(s);
	(void)pthread_cond_destroy(&s->given);
	(void)pthread_mutex_destroy(&s->lock);
}

/* Threads that wait sleep: the work of others waits for their processors. */
static cudaError_t make(struct cuda_stage *s)
{
	void *p = NULL;
	cudaError_t e = cudaHostAlloc(&p, (size_t)CUDA_STAGE_SLOTS * CUDA_STAGE_SLOT, cudaHostAllocPortable);
	for (unsigned i = 0; e == cudaSuccess && i < CUDA_STAGE_SLOTS; i++) {
		e = cudaEventCreateWithFlags(&s->event[i], cudaEventDisableTiming | cudaEventBlockingSync);
		s->free[i] = i;
	}
	s->p = p;
	s->n_free = CUDA_STAGE_SLOTS;
	s->n_sent = 0;
	if (e != cudaSuccess) {
		clear(s);
	}
	return e;
}

static void put_back(struct cuda_stage *s, unsigned slot)
{
	s->free[s->n_free++] = slot;
	(void)pthread_cond_signal(&s->given);
}

cudaError_t cuda_stage_take(struct cuda_stage *s, unsigned *ret_slot, char **ret)
{
	(void)pthread_mutex_lock(&s->lock);
	cudaError_t e = s->p ? cudaSuccess : make(s);
	while (e == cudaSuccess && s->n_free == 0 && s->n_sent == 0) {
		(void)pthread_cond_wait(&s->given, &s->lock);
	}
	unsigned slot = 0;
	if (e == cudaSuccess && s->n_free > 0) {
		slot = s->free[--s->n_free];
	} else if (e == cudaSuccess) {
		slot = s->sent[s->oldest];
		s->oldest = (s->oldest + 1) % CUDA_STAGE_SLOTS;
		s->n_sent--;
		(void)pthread_mutex_unlock(&s->lock);
		e = cudaEventSynchronize(s->event[slot]);
		(void)pthread_mutex_lock(&s->lock);
		if (e != cudaSuccess) {
			put_back(s, slot);
		}
	}
	(void)pthread_mutex_unlock(&s->lock);
	if (e == cudaSuccess) {
		*ret_slot = slot;
		*ret = s->p + (size_t)slot * CUDA_STAGE_SLOT;
	}
	return e;
}

cudaError_t cuda_stage_sent(struct cuda_stage *s, unsigned slot, cudaStream_t stream)
{
	(void)pthread_mutex_lock(&s->lock);
	cudaError_t e = cudaEventRecord(s->event[slot], stream);
	if (e == cudaSuccess) {
		s->sent[(s->oldest + s->n_sent) % CUDA_STAGE_SLOTS] = slot;
		s->n_sent++;
		(void)pthread_cond_signal(&s->given);
	} else {
		put_back(s, slot);
	}
	(void)pthread_mutex_unlock(&s->lock);
	return e;
}

void cuda_stage_unused(struct cuda_stage *s, unsigned slot)
{
	(void)pthread_mutex_lock(&s->lock);
	put_back(s, slot);
	(void)pthread_mutex_unlock(&s->lock);
}
