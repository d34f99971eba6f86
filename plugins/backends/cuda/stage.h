/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Pinned memory through which several threads send at the same time: each takes a slot, fills it, and gives it to a stream. */
#ifndef CUDA_STAGE_H
#define CUDA_STAGE_H

#include <pthread.h>

#include "plugins/backends/cuda/cuda.h"

enum {
	CUDA_STAGE_SLOTS = 32,
	CUDA_STAGE_SLOT = 1 << 20 /* bytes */
};

struct cuda_stage {
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t given; /* a slot is free, or on its way */
	char *p;              /* [CUDA_STAGE_SLOTS, CUDA_STAGE_SLOT], taken with the first slot */
	cudaEvent_t event[CUDA_STAGE_SLOTS];
	unsigned free[CUDA_STAGE_SLOTS], n_free;
	unsigned sent[CUDA_STAGE_SLOTS], oldest, n_sent; /* slots on their way, in a circle */
};

int cuda_stage_open(struct cuda_stage *s);
void cuda_stage_close(struct cuda_stage *s); /* the streams are done */
/* A slot that nobody uses; waits for one. Each is given back by one of the two below. [any-thread] */
cudaError_t cuda_stage_take(struct cuda_stage *s, unsigned *ret_slot, char **ret);
/* The slot is free when the stream comes to where it is now. Slots go to a stream in the order of these calls. [any-thread] */
cudaError_t cuda_stage_sent(struct cuda_stage *s, unsigned slot, cudaStream_t stream);
void cuda_stage_unused(struct cuda_stage *s, unsigned slot);

#endif
