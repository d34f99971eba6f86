/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Bookkeeping of one piece of memory that is handed out in parts: addresses are numbers here, so that it works for memory of a
 * device, and without one. The lowest place that fits is taken: the same calls give the same places. */
#ifndef CUDA_ARENA_H
#define CUDA_ARENA_H

#include <stdint.h>

enum { CUDA_ALIGN = 256 }; /* of every part, and its size is a multiple of it */

struct cuda_arena;

/* Of [base, base + size), both rounded inwards to CUDA_ALIGN; NULL when there is no memory. */
struct cuda_arena *cuda_arena_new(uint64_t base, uint64_t size);
void cuda_arena_destroy(struct cuda_arena *a); /* NULL is allowed */
/* A part of at least `bytes`; 0 bytes take CUDA_ALIGN. 0 and its address; -ENOMEM when none fits. */
int cuda_arena_take(struct cuda_arena *a, uint64_t bytes, uint64_t *ret_address);
/* 0 and how long the part was; CWP_EVALUE when no part begins at this address. ret_bytes may be NULL. */
int cuda_arena_give(struct cuda_arena *a, uint64_t address, uint64_t *ret_bytes);
/* What a part of this many bytes takes; UINT64_MAX: more than there can be. */
uint64_t cuda_arena_round(uint64_t bytes);
/* Where the part ends in which an address lies, taken or not; 0: in none. */
uint64_t cuda_arena_end(const struct cuda_arena *a, uint64_t address);
int cuda_arena_holds(const struct cuda_arena *a, uint64_t address);
uint64_t cuda_arena_size(const struct cuda_arena *a);
uint64_t cuda_arena_free(const struct cuda_arena *a);    /* in all */
uint64_t cuda_arena_largest(const struct cuda_arena *a); /* in one piece */

#endif
