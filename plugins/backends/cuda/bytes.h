/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sums and products of sizes; UINT64_MAX: more than there can be. */
#ifndef CUDA_BYTES_H
#define CUDA_BYTES_H

#include <stdint.h>

static inline uint64_t cuda_bytes_plus(uint64_t a, uint64_t b)
{
	uint64_t sum = 0;
	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static inline uint64_t cuda_bytes_times(uint64_t a, uint64_t b)
{
	uint64_t product = 0;
	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

#endif
