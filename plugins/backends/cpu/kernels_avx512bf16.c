/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* AVX512_BF16: panels of BF16 numbers, two products and their sum an instruction and lane. Compiled with its own flags.
 * The processor takes numbers below 2^-126 for 0, of the operands and of sums alike, and rounds to nearest even whatever
 * mode is set. */
#include <immintrin.h>
#include <string.h>

#include "plugins/backends/cpu/kernels.h"

#include "plugins/backends/cpu/panels_bf16.inc.c" /* NOLINT(bugprone-suspicious-include) */

enum { MR = 12, NR = 2 * BLOCK, STEP = 2, FETCH = 16 };

static void pack_a(const struct pack *p)
{
	pack_pairs(p, MR, STEP);
}

static void pack_b(const struct pack *p)
{
	pack_pairs(p, NR, STEP);
}

/* MR x 2 vectors of sums, each met by one pair of tokens at a time. */
INLINE void outer_products(size_t pairs, const char *a, const char *b, __m512 c[MR][2])
{
	for (size_t p = 0; p < pairs; p++) {
		__m512bh b0 = (__m512bh)_mm512_loadu_ps(b), b1 = (__m512bh)_mm512_loadu_ps(b + 64);
#pragma GCC unroll 12
		for (size_t i = 0; i < MR; i++) {
			__m512bh x = (__m512bh)_mm512_set1_epi32(((const int *)(const void *)a)[i]);
			c[i][0] = _mm512_dpbf16_ps(c[i][0], x, b0);
			c[i][1] = _mm512_dpbf16_ps(c[i][1], x, b1);
		}
		a += (size_t)4 * MR;
		b += (size_t)4 * NR;
	}
}

INLINE void product_tile(size_t k, const char *a, const char *b, const struct ahead *next, __m512 c[MR][2])
{
	const char *next_a = next->a, *next_b = next->b;
	for (; k >= FETCH; k -= FETCH) {
		__builtin_prefetch(next_a, 0, 2);
		__builtin_prefetch(next_b, 0, 2);
		outer_products(FETCH / 2, a, b, c);
		next_a += next->step_a;
		next_b += next->step_b;
		a += (size_t)2 * FETCH * MR;
		b += (size_t)2 * FETCH * NR;
	}
	outer_products(k / 2, a, b, c);
}

INLINE void start_tile(const float *g, size_t ld, __m512 c[MR][2])
{
#pragma GCC unroll 12
	for (size_t i = 0; i < MR; i++) {
		c[i][0] = g ? _mm512_loadu_ps(g + i * ld) : _mm512_setzero_ps();
		c[i][1] = g ? _mm512_loadu_ps(g + i * ld + BLOCK) : _mm512_setzero_ps();
	}
}

static void micro(size_t k, const void *a, const void *b, const struct ahead *next, int accumulate, float *g, size_t ld)
{
	__m512 c[MR][2];
	start_tile(accumulate ? g : NULL, ld, c);
	product_tile(k, a, b, next, c);
#pragma GCC unroll 12
	for (size_t i = 0; i < MR; i++) {
		_mm512_storeu_ps(g + i * ld, c[i][0]);
		_mm512_storeu_ps(g + i * ld + BLOCK, c[i][1]);
	}
}

static void micro_stats(size_t k, const void *a, const void *b, const struct ahead *next, const float *g,
	const struct micro_stats *s)
{
	__m512 c[MR][2];
	start_tile(g, NR, c);
	product_tile(k, a, b, next, c);
#pragma GCC unroll 24
	for (size_t i = 0; i < (size_t)2 * MR; i++) {
		add_stats(s, i, c[i / 2][i % 2]);
	}
}

void kernels_avx512bf16(struct kernels *k)
{
	k->bf16_panels = (struct panels){"bf16", MR, NR, STEP, 2, FETCH, NULL, NULL, pack_a, pack_b, micro, micro_stats};
}
