/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Pinned memory through which transfers go: a piece is taken, filled or received, and taken again when the stream is through
 * with it. For one thread. */
#ifndef CUDA_RING_H
#define CUDA_RING_H

#include "plugins/backends/cuda/cuda.h"

enum {
	CUDA_RING_PIECES = 64,
	CUDA_RING_PIECE = 8 << 20, /* the longest piece */
	CUDA_RING_SIZE = 4 * CUDA_RING_PIECE
};

/* A piece under way; it is over when its event is. */
struct cuda_ring_piece {
	size_t begin, end;
	cudaEvent_t event;
};

struct cuda_ring {
	char *p; /* [CUDA_RING_SIZE] */
	size_t head;
	struct cuda_ring_piece piece[CUDA_RING_PIECES]; /* `count` of them from `oldest` */
	size_t oldest, count;
};

/* All zero: its memory is taken with the first piece. */
void cuda_ring_close(struct cuda_ring *r);
/* bytes, at most CUDA_RING_PIECE, of memory that nobody uses; waits for it. */
cudaError_t cuda_ring_take(struct cuda_ring *r, size_t bytes, void **ret);
/* The piece taken last is free again when the stream comes here. ret_event may be NULL; it is good while not more than two
 * more pieces were taken. */
cudaError_t cuda_ring_sent(struct cuda_ring *r, cudaStream_t stream, cudaEvent_t *ret_event);

#endif
