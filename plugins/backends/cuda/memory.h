/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the backend's own parts ask of its memory. */
#ifndef CUDA_MEMORY_H
#define CUDA_MEMORY_H

#include "plugins/backends/cuda/cuda.h"
#include "plugins/backends/cuda/needs.h"

/* Memory that stays until close(), CUDA_WORKSPACE bytes; NULL: explained. */
void *cuda_memory_workspace(struct cuda *b, const char *op);
/* Memory that loads pass through, another one after reserve(); NULL: explained. */
void *cuda_memory_chunk(struct cuda *b, const char *op, uint64_t *ret_bytes);
/* Whether all that there will ever be was taken. */
int cuda_memory_reserved(const struct cuda *b);
/* Where the driver gave no memory: 0 when there was none, else the code of another error, explained. */
int cuda_memory_lost(struct cuda *b, const char *op);
/* Memory of its own that stays until it is given back; NULL when there is none, with nothing explained. For the time before
 * reserve() alone. */
void *cuda_memory_take(struct cuda *b, uint64_t bytes);
void cuda_memory_give(struct cuda *b, void *d_p);
/* Bytes from d_p to the end of what alloc() gave with it; of other memory, to the end of all addresses. */
size_t cuda_memory_behind(const struct cuda *b, const void *d_p);

/* Copies in BF16, cache.c: their memory for good; and all that they hold given back. */
int cuda_cache_region(struct cuda *b, void *d_p, uint64_t bytes);
void cuda_cache_shed(struct cuda *b);
uint64_t cuda_cache_size(const struct cuda *b); /* bytes of that memory */
/* Memory that is no longer anybody's. */
void cuda_cache_gone(struct cuda *b, const void *d_p, uint64_t bytes);
/* Memory that loads write. */
void cuda_cache_loaded(struct cuda *b, uint64_t begin, uint64_t end);
/* As cuda_bf16, but a part of a copy that there is will do: what lies behind its columns is then not zero. */
const void *cuda_bf16_part(struct cuda *b, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, uint64_t *ret_ld);

/* Tells the cache what was loaded so far, beside.c. */
void cuda_beside_drain(struct cuda *b);
/* Host memory that host_alloc() gave, pinned by now; pinned.c. */
int cuda_is_pinned(const struct cuda *b, const void *p, size_t bytes);

#endif
