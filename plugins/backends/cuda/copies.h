/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Bookkeeping of copies of matrices: which are true, where they lie, which goes when there is no room. Addresses are numbers. */
#ifndef CUDA_COPIES_H
#define CUDA_COPIES_H

#include <stdint.h>

#include "plugins/backends/cuda/ranges.h"

/* A matrix of f32 at `from`. */
struct cuda_source {
	uint64_t from;
	uint64_t rows, cols, ld; /* rows and cols at least 1 */
};

struct cuda_copy {
	struct cuda_source source;
	uint64_t end;   /* of the source's memory */
	uint64_t at;    /* of the copy */
	uint64_t ld;    /* elements of the copy's rows, a multiple of 8 */
	uint64_t used;  /* number of the last call that returned it */
	int loaded;     /* it lies in memory that loads wrote: weights, which many calls read */
	int unasked;    /* made beside its source, and nobody has asked for it yet */
};

struct cuda_copies;

struct cuda_copies *cuda_copies_new(void); /* NULL: no memory */
void cuda_copies_destroy(struct cuda_copies *c); /* NULL is allowed */
/* Memory for copies; may be called several times. 0 or -ENOMEM. */
int cuda_copies_region(struct cuda_copies *c, uint64_t base, uint64_t size);
/* Neither copies nor regions. */
void cuda_copies_clear(struct cuda_copies *c);
/* Elements between rows of a copy, and its bytes (2 an element); UINT64_MAX: more than there can be. */
uint64_t cuda_copies_ld(uint64_t cols);
uint64_t cuda_copies_bytes(uint64_t rows, uint64_t cols);

/* The true copy of exactly this matrix, or NULL. Its use counts. */
const struct cuda_copy *cuda_copies_find(struct cuda_copies *c, const struct cuda_source *s);
/* A true copy of a matrix that holds this one, with the first element 16-byte aligned, and that element's address; or NULL.
 * What lies behind the columns is then not zero. Its use counts. */
const struct cuda_copy *cuda_copies_inside(struct cuda_copies *c, const struct cuda_source *s, uint64_t *ret_at);
/* Room for a copy that there is not; with `evict`, copies that were used longest ago make room: those of what was not loaded
 * first, never the one returned last. The caller fills it. NULL: no room. */
const struct cuda_copy *cuda_copies_make(struct cuda_copies *c, const struct cuda_source *s, int evict);
/* A product had to wait for a copy of this matrix: whoever writes its memory next should make the copy at once. Nothing is
 * noted of rows that do not follow one another or are no multiple of 8 long. */
void cuda_copies_wish(struct cuda_copies *c, const struct cuda_source *s);
/* The matrix of n numbers at `from` as products asked for it, if it is likely that they will again: 1, or 0. Wishes that were
 * fulfilled in vain more often than not are forgotten. */
int cuda_copies_wished(const struct cuda_copies *c, uint64_t from, uint64_t n, struct cuda_source *ret);
/* The copy was made for a wish. */
void cuda_copies_fulfilled(struct cuda_copies *c, const struct cuda_source *s);
/* The bytes [begin, end) were written: copies of them are no longer true. */
void cuda_copies_wrote(struct cuda_copies *c, uint64_t begin, uint64_t end);
/* Loads write there, from now on: copies of what lies there are kept rather than others. */
void cuda_copies_loaded(struct cuda_copies *c, uint64_t begin, uint64_t end);
/* The memory is no longer what it was: neither loaded nor copied. */
void cuda_copies_gone(struct cuda_copies *c, uint64_t begin, uint64_t end);

/* For messages and tests. */
uint64_t cuda_copies_count(const struct cuda_copies *c);
uint64_t cuda_copies_size(const struct cuda_copies *c);
uint64_t cuda_copies_free(const struct cuda_copies *c);

#endif
