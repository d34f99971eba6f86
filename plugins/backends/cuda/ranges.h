/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sets of addresses, kept as ranges that neither overlap nor touch. */
#ifndef CUDA_RANGES_H
#define CUDA_RANGES_H

#include <stddef.h>
#include <stdint.h>

struct cuda_range {
	uint64_t begin, end; /* [begin, end) */
};

struct cuda_ranges {
	struct cuda_range *range; /* in order */
	size_t n, room;
};

/* 0, or -ENOMEM with the set as it was. An empty range changes nothing. */
int cuda_ranges_add(struct cuda_ranges *s, uint64_t begin, uint64_t end);
int cuda_ranges_remove(struct cuda_ranges *s, uint64_t begin, uint64_t end);
/* Whether an address of [begin, end) is in the set. */
int cuda_ranges_meet(const struct cuda_ranges *s, uint64_t begin, uint64_t end);
void cuda_ranges_clear(struct cuda_ranges *s); /* empty, its memory kept */
void cuda_ranges_free(struct cuda_ranges *s);

#endif
