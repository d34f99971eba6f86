/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which of eight columns count, with AVX2. Inside of the tier. */
#ifndef CWP_QUANTIZERS_LANES_AVX2_H
#define CWP_QUANTIZERS_LANES_AVX2_H

#include <immintrin.h>
#include <stdint.h>

/* Eight bits of a mask, from bit `at` on, as lanes of ones where they are set. */
static inline __m256i protected_lanes(const uint8_t *mask, uint64_t at)
{
	unsigned shift = at & 7, bits = mask[at >> 3] >> shift;

	if (shift != 0) {
		bits |= (unsigned)mask[(at >> 3) + 1] << (8 - shift);
	}
	const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
	return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), bit), bit);
}

#endif
