/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Ranges and codes with AVX-512: sixteen columns at a time, the last ones with lanes left out. */
#include <immintrin.h>
#include <stddef.h>

#include "plugins/quantizers/rows/rows.h"

/* Lanes of the first n, at most all. */
static inline __mmask16 lanes(uint64_t n)
{
	return n < 16 ? (__mmask16)((1u << n) - 1) : (__mmask16)0xffff;
}

static inline __m512i magnitude(__m512 v)
{
	return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff));
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

static uint32_t top(const float *v, uint64_t n)
{
	__m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
	uint64_t i = 0;

	for (; n - i >= 64; i += 64) {
		a = _mm512_max_epi32(a, magnitude(_mm512_loadu_ps(v + i)));
		b = _mm512_max_epi32(b, magnitude(_mm512_loadu_ps(v + i + 16)));
		c = _mm512_max_epi32(c, magnitude(_mm512_loadu_ps(v + i + 32)));
		d = _mm512_max_epi32(d, magnitude(_mm512_loadu_ps(v + i + 48)));
	}
	for (; i < n; i += 16) {
		a = _mm512_max_epi32(a, magnitude(_mm512_maskz_loadu_ps(lanes(n - i), v + i)));
	}
	return (uint32_t)_mm512_reduce_max_epi32(_mm512_max_epi32(_mm512_max_epi32(a, b), _mm512_max_epi32(c, d)));
}

static inline __m512 load_free(const float *v, const uint8_t *mask, uint64_t at, uint64_t left)
{
	const uint64_t n = left < 16 ? left : 16;
	const unsigned out = mask != NULL ? protected_bits(mask, at, n) : 0;
	return _mm512_maskz_loadu_ps((__mmask16)(lanes(n) & ~out), v + at);
}

static uint32_t top_masked(const float *v, const uint8_t *mask, uint64_t first, uint64_t n)
{
	const uint64_t end = first + n;
	__m512i a = _mm512_setzero_si512();

	for (uint64_t i = first; i < end; i += 16) {
		a = _mm512_max_epi32(a, magnitude(load_free(v, mask, i, end - i)));
	}
	return (uint32_t)_mm512_reduce_max_epi32(a);
}

/* Zeros in v become +0 first: which of two zeros is the least must not depend on their order. */
static void range(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, float *ret_low, float *ret_high)
{
	const uint64_t end = first + n;
	__m512 low = _mm512_setzero_ps(), high = low;

	for (uint64_t i = first; i < end; i += 16) {
		const __m512 w = _mm512_add_ps(load_free(v, mask, i, end - i), _mm512_setzero_ps());
		low = _mm512_min_ps(w, low);
		high = _mm512_max_ps(w, high);
	}
	*ret_low = _mm512_reduce_min_ps(low);
	*ret_high = _mm512_reduce_max_ps(high);
}

/* Limits before the zero point is added: whole numbers, so that rounding cannot leave them. */
struct integers {
	__m512 scale, low, high;
	__m512i zero;
};

static inline __m128i integers_of(__m512 v, const struct integers *p)
{
	const __m512 q = _mm512_min_ps(_mm512_max_ps(_mm512_div_ps(v, p->scale), p->low), p->high);
	return _mm512_cvtepi32_epi8(_mm512_add_epi32(_mm512_cvtps_epi32(q), p->zero));
}

static void code_ints(const float *v, uint64_t n, float scale, float zero, float low, float high, uint8_t *codes)
{
	const struct integers p = {_mm512_set1_ps(scale), _mm512_set1_ps(low - zero), _mm512_set1_ps(high - zero),
		_mm512_set1_epi32((int)zero)};
	uint64_t i = 0;

	for (; n - i >= 16; i += 16) {
		_mm_storeu_si128((__m128i *)(void *)(codes + i), integers_of(_mm512_loadu_ps(v + i), &p));
	}
	if (i < n) {
		const __mmask16 some = lanes(n - i);
		_mm_mask_storeu_epi8(codes + i, some, integers_of(_mm512_maskz_loadu_ps(some, v + i), &p));
	}
}

/* e4m3_bits of what is no NaN, step by step. */
static inline __m128i e4m3_of(__m512 v)
{
	const __m512i u = _mm512_castps_si512(v), a = magnitude(v);
	const __m512i c = _mm512_min_epi32(a, _mm512_set1_epi32(0x43e00000));
	const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(c, 20), _mm512_set1_epi32(1));
	const __m512i normal = _mm512_sub_epi32(_mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(c, odd),
		_mm512_set1_epi32(0x7ffff)), 20), _mm512_set1_epi32(120 << 3));
	const __m512i small = _mm512_sub_epi32(_mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(c), _mm512_set1_ps(16384.0f))),
		_mm512_set1_epi32(0x46800000));
	__m512i code = _mm512_mask_mov_epi32(normal, _mm512_cmplt_epi32_mask(c, _mm512_set1_epi32(0x3c800000)), small);
	code = _mm512_or_si512(code, _mm512_and_si512(_mm512_srli_epi32(u, 24), _mm512_set1_epi32(0x80)));
	return _mm512_cvtepi32_epi8(code);
}

static void code_e4m3(const float *v, uint64_t n, float scale, uint8_t *codes)
{
	const __m512 s = _mm512_set1_ps(scale);
	uint64_t i = 0;

	for (; n - i >= 16; i += 16) {
		_mm_storeu_si128((__m128i *)(void *)(codes + i), e4m3_of(_mm512_div_ps(_mm512_loadu_ps(v + i), s)));
	}
	if (i < n) {
		const __mmask16 some = lanes(n - i);
		_mm_mask_storeu_epi8(codes + i, some, e4m3_of(_mm512_div_ps(_mm512_maskz_loadu_ps(some, v + i), s)));
	}
}

const struct row_kernels row_kernels_avx512 = {top, top_masked, range, code_ints, code_e4m3};
