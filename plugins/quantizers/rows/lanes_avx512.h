/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which of sixteen columns count, with AVX-512. Inside of the tier. */
#ifndef CWP_QUANTIZERS_LANES_AVX512_H
#define CWP_QUANTIZERS_LANES_AVX512_H

#include <immintrin.h>
#include <stdint.h>

/* Lanes of the first n, at most all. */
static inline __mmask16 lanes(uint64_t n)
{
	return n < 16 ? (__mmask16)((1u << n) - 1) : (__mmask16)0xffff;
}

/* The `n` <= 16 bits of a mask from bit `at` on, in the lowest bits; no byte is read that holds none of them. */
static inline unsigned protected_bits(const uint8_t *mask, uint64_t at, uint64_t n)
{
	const uint8_t *p = mask + (at >> 3);
	const unsigned shift = at & 7, end = shift + (unsigned)n;
	unsigned bits = p[0];

	bits |= end > 8 ? (unsigned)p[1] << 8 : 0;
	bits |= end > 16 ? (unsigned)p[2] << 16 : 0;
	return bits >> shift;
}

#endif
