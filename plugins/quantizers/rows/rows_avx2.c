/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Ranges and codes with AVX2: blocks of 8 or 32 columns, and the plain C of rounding.h for what is left over. */
#include <immintrin.h>

#include "plugins/quantizers/rounding.h"
#include "plugins/quantizers/rows/rows.h"

static inline __m256i magnitude(const float *v)
{
	return _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(const void *)v), _mm256_set1_epi32(0x7fffffff));
}

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

static inline uint32_t largest(__m256i v)
{
	__m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
	m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
	m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
	return (uint32_t)_mm_cvtsi128_si32(m);
}

static uint32_t top(const float *v, uint64_t n)
{
	__m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
	uint64_t i = 0;

	for (; n - i >= 32; i += 32) {
		a = _mm256_max_epi32(a, magnitude(v + i));
		b = _mm256_max_epi32(b, magnitude(v + i + 8));
		c = _mm256_max_epi32(c, magnitude(v + i + 16));
		d = _mm256_max_epi32(d, magnitude(v + i + 24));
	}
	for (; n - i >= 8; i += 8) {
		a = _mm256_max_epi32(a, magnitude(v + i));
	}
	const uint32_t most = largest(_mm256_max_epi32(_mm256_max_epi32(a, b), _mm256_max_epi32(c, d)));
	const uint32_t rest = float_bits(absmax_of(v, NULL, i, n - i));
	return most > rest ? most : rest;
}

static uint32_t top_masked(const float *v, const uint8_t *mask, uint64_t first, uint64_t n)
{
	const uint64_t end = first + n;
	__m256i a = _mm256_setzero_si256();
	uint64_t i = first;

	for (; end - i >= 8; i += 8) {
		a = _mm256_max_epi32(a, _mm256_andnot_si256(protected_lanes(mask, i), magnitude(v + i)));
	}
	const uint32_t most = largest(a), rest = float_bits(absmax_of(v, mask, i, end - i));
	return most > rest ? most : rest;
}

static inline float least_of(__m256 v)
{
	__m128 m = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
	m = _mm_min_ps(m, _mm_movehl_ps(m, m));
	return _mm_cvtss_f32(_mm_min_ss(m, _mm_shuffle_ps(m, m, 1)));
}

static inline float greatest_of(__m256 v)
{
	__m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
	m = _mm_max_ps(m, _mm_movehl_ps(m, m));
	return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}

/* Zeros in v become +0 first: which of two zeros is the least must not depend on their order. */
static void range(const float *v, const uint8_t *mask, uint64_t first, uint64_t n, float *ret_low, float *ret_high)
{
	const uint64_t end = first + n;
	const __m256 none = _mm256_setzero_ps();
	__m256 low = none, high = none;
	uint64_t i = first;
	float l, h;

	for (; end - i >= 8; i += 8) {
		__m256 w = _mm256_loadu_ps(v + i);
		if (mask != NULL) {
			w = _mm256_andnot_ps(_mm256_castsi256_ps(protected_lanes(mask, i)), w);
		}
		w = _mm256_add_ps(w, none);
		low = _mm256_min_ps(w, low);
		high = _mm256_max_ps(w, high);
	}
	range_of(v, mask, i, end - i, &l, &h);
	const float least = least_of(low), greatest = greatest_of(high);
	*ret_low = least < l ? least : l;
	*ret_high = greatest > h ? greatest : h;
}

/* Four times eight integers within -128 .. 127 as bytes, in order. */
static inline void store_signed(uint8_t *dst, __m256i a, __m256i b, __m256i c, __m256i d)
{
	const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
	_mm256_storeu_si256((__m256i *)(void *)dst, _mm256_permutevar8x32_epi32(bytes, order));
}

/* The same within 0 .. 255. */
static inline void store_unsigned(uint8_t *dst, __m256i a, __m256i b, __m256i c, __m256i d)
{
	const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	const __m256i bytes = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
	_mm256_storeu_si256((__m256i *)(void *)dst, _mm256_permutevar8x32_epi32(bytes, order));
}

/* Limits before the zero point is added: whole numbers, so that rounding cannot leave them. */
struct integers {
	__m256 scale, low, high;
	__m256i zero;
};

static inline __m256i integers_of(const float *v, const struct integers *p)
{
	const __m256 q = _mm256_div_ps(_mm256_loadu_ps(v), p->scale);
	return _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(q, p->low), p->high)), p->zero);
}

static void code_ints(const float *v, uint64_t n, float scale, float zero, float low, float high, uint8_t *codes)
{
	const struct integers p = {_mm256_set1_ps(scale), _mm256_set1_ps(low - zero), _mm256_set1_ps(high - zero),
		_mm256_set1_epi32((int)zero)};
	uint64_t i = 0;

	for (; n - i >= 32; i += 32) {
		store_signed(codes + i, integers_of(v + i, &p), integers_of(v + i + 8, &p), integers_of(v + i + 16, &p),
			integers_of(v + i + 24, &p));
	}
	for (; i < n; i++) {
		codes[i] = (uint8_t)code_int(v[i], scale, zero, low, high);
	}
}

/* e4m3_bits of what is no NaN, step by step. */
static inline __m256i e4m3_of(__m256 v)
{
	const __m256i u = _mm256_castps_si256(v), a = _mm256_and_si256(u, _mm256_set1_epi32(0x7fffffff));
	const __m256i c = _mm256_min_epi32(a, _mm256_set1_epi32(0x43e00000));
	const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(c, 20), _mm256_set1_epi32(1));
	const __m256i normal = _mm256_sub_epi32(_mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(c, odd),
		_mm256_set1_epi32(0x7ffff)), 20), _mm256_set1_epi32(120 << 3));
	const __m256i small = _mm256_sub_epi32(_mm256_castps_si256(_mm256_add_ps(_mm256_castsi256_ps(c), _mm256_set1_ps(16384.0f))),
		_mm256_set1_epi32(0x46800000));
	const __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x3c800000), c);
	const __m256i code = _mm256_blendv_epi8(normal, small, is_small);
	return _mm256_or_si256(code, _mm256_and_si256(_mm256_srli_epi32(u, 24), _mm256_set1_epi32(0x80)));
}

static void code_e4m3(const float *v, uint64_t n, float scale, uint8_t *codes)
{
	const __m256 s = _mm256_set1_ps(scale);
	uint64_t i = 0;

	for (; n - i >= 32; i += 32) {
		store_unsigned(codes + i, e4m3_of(_mm256_div_ps(_mm256_loadu_ps(v + i), s)),
			e4m3_of(_mm256_div_ps(_mm256_loadu_ps(v + i + 8), s)), e4m3_of(_mm256_div_ps(_mm256_loadu_ps(v + i + 16), s)),
			e4m3_of(_mm256_div_ps(_mm256_loadu_ps(v + i + 24), s)));
	}
	codes_e4m3(v + i, n - i, scale, codes + i);
}

const struct row_kernels row_kernels_avx2 = {top, top_masked, range, code_ints, code_e4m3};
