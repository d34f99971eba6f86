/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Ranges and codes with AVX-512: sixteen columns at a time, the last ones with lanes left out. */
#include <immintrin.h>
#include <stddef.h>

#include "plugins/quantizers/rows/quotient.h"
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

static void tops(const float *v, uint64_t n, uint64_t group, float *ret)
{
	for (uint64_t first = 0, i = 0; first < n; first += group, i++) {
		ret[i] = bits_float(top(v + first, n - first < group ? n - first : group));
	}
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

/* v / scale as IEEE 754 has it: by products where quotient.h allows that. */
static inline __m512 quotient(__m512 v, const struct quotient *p, int products)
{
	const __m512 scale = _mm512_set1_ps(p->scale), inverse = _mm512_set1_ps(p->inverse);

	if (!products) {
		return _mm512_div_ps(v, scale);
	}
	const __m512 q = _mm512_mul_ps(v, inverse);
	return _mm512_fmadd_ps(_mm512_fnmadd_ps(q, scale, v), inverse, q);
}

/* Whole numbers within the limits, the zero point not added yet. With products limits are those of v, else of quotients. */
static inline __m512i integers_of(__m512 v, const struct quotient *p, int products)
{
	const __m512 low = _mm512_set1_ps(p->low), high = _mm512_set1_ps(p->high);

	if (products) {
		return _mm512_cvtps_epi32(quotient(_mm512_min_ps(_mm512_max_ps(v, low), high), p, 1));
	}
	return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(quotient(v, p, 0), low), high));
}

/* 64 bytes in order, as the packs of two halves each leave them. */
static inline __m512i in_order(__m512i bytes)
{
	return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes);
}

static inline void integers(const float *v, uint64_t n, const struct quotient *p, float zero, int products, uint8_t *codes)
{
	const __m512i z = _mm512_set1_epi16((short)zero);
	uint64_t i = 0;

	for (; n - i >= 64; i += 64) {
		const __m512i a = _mm512_packs_epi32(integers_of(_mm512_loadu_ps(v + i), p, products),
			integers_of(_mm512_loadu_ps(v + i + 16), p, products));
		const __m512i b = _mm512_packs_epi32(integers_of(_mm512_loadu_ps(v + i + 32), p, products),
			integers_of(_mm512_loadu_ps(v + i + 48), p, products));
		_mm512_storeu_si512(codes + i, in_order(_mm512_packs_epi16(_mm512_add_epi16(a, z), _mm512_add_epi16(b, z))));
	}
	for (; i < n; i += 16) {
		const __mmask16 some = lanes(n - i);
		const __m512i a = integers_of(_mm512_maskz_loadu_ps(some, v + i), p, products);
		_mm_mask_storeu_epi8(codes + i, some, _mm512_cvtepi32_epi8(_mm512_add_epi32(a, _mm512_set1_epi32((int)zero))));
	}
}

static void code_ints(const float *v, uint64_t n, float scale, float zero, float low, float high, uint8_t *codes)
{
	struct quotient p;

	if (quotient_integers(scale, zero, low, high, &p)) {
		integers(v, n, &p, zero, 1, codes);
	} else {
		integers(v, n, &p, zero, 0, codes);
	}
}

/* e4m3_bits of |v| / scale, E4M3_BIAS more and without end: quotient.h. */
static inline __m512i e4m3_of(__m512 v, const struct quotient *p, int products)
{
	const __m512 q = quotient(_mm512_castsi512_ps(magnitude(v)), p, products);
	const __m512i exponent = _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(q), _mm512_set1_epi32(E4M3_EXPONENT)),
		_mm512_set1_epi32(E4M3_LEAST));
	const __m512i large = _mm512_add_epi32(exponent, _mm512_set1_epi32(E4M3_TO_EIGHTHS));
	const __m512i sum = _mm512_castps_si512(_mm512_add_ps(q, _mm512_castsi512_ps(large)));
	return _mm512_add_epi32(_mm512_sub_epi32(sum, large), _mm512_srli_epi32(exponent, 20));
}

/* Saturated twice, an integer keeps its sign. */
static inline __m512i signs_of(__m512 a, __m512 b, __m512 c, __m512 d)
{
	return _mm512_packs_epi16(_mm512_packs_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)),
		_mm512_packs_epi32(_mm512_castps_si512(c), _mm512_castps_si512(d)));
}

static inline void e4m3(const float *v, uint64_t n, const struct quotient *p, int products, uint8_t *codes)
{
	const __m512i bias = _mm512_set1_epi16(E4M3_BIAS), sign = _mm512_set1_epi8((char)0x80), most = _mm512_set1_epi8(E4M3_MOST);
	uint64_t i = 0;

	for (; n - i >= 64; i += 64) {
		const __m512 a = _mm512_loadu_ps(v + i), b = _mm512_loadu_ps(v + i + 16), c = _mm512_loadu_ps(v + i + 32),
			d = _mm512_loadu_ps(v + i + 48);
		const __m512i low = _mm512_packs_epi32(e4m3_of(a, p, products), e4m3_of(b, p, products));
		const __m512i high = _mm512_packs_epi32(e4m3_of(c, p, products), e4m3_of(d, p, products));
		const __m512i all = _mm512_min_epu8(_mm512_packus_epi16(_mm512_sub_epi16(low, bias), _mm512_sub_epi16(high, bias)), most);
		/* all | (signs & sign) */
		_mm512_storeu_si512(codes + i, in_order(_mm512_ternarylogic_epi32(all, signs_of(a, b, c, d), sign, 0xf8)));
	}
	for (; i < n; i += 16) {
		const __mmask16 some = lanes(n - i);
		const __m512 a = _mm512_maskz_loadu_ps(some, v + i);
		const __m512i negative = _mm512_and_si512(_mm512_srli_epi32(_mm512_castps_si512(a), 24), _mm512_set1_epi32(0x80));
		const __m512i code = _mm512_min_epu32(_mm512_sub_epi32(e4m3_of(a, p, products), _mm512_set1_epi32(E4M3_BIAS)),
			_mm512_set1_epi32(E4M3_MOST));
		_mm_mask_storeu_epi8(codes + i, some, _mm512_cvtepi32_epi8(_mm512_or_si512(code, negative)));
	}
}

static void code_e4m3(const float *v, uint64_t n, float scale, uint8_t *codes)
{
	struct quotient p;

	if (quotient_e4m3(scale, &p)) {
		e4m3(v, n, &p, 1, codes);
	} else {
		e4m3(v, n, &p, 0, codes);
	}
}

const struct row_kernels row_kernels_avx512 = {top, tops, top_masked, range, code_ints, code_e4m3};
