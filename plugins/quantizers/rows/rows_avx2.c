/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Ranges and codes with AVX2 and FMA: blocks of 8 or 32 columns, and the plain C of rounding.h for what is left over. */
#include <immintrin.h>

#include "plugins/quantizers/rounding.h"
#include "plugins/quantizers/rows/lanes_avx2.h"
#include "plugins/quantizers/rows/quotient.h"
#include "plugins/quantizers/rows/rows.h"

static inline __m256i magnitude(const float *v)
{
	return _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(const void *)v), _mm256_set1_epi32(0x7fffffff));
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

static void tops(const float *v, uint64_t n, uint64_t group, float *ret)
{
	for (uint64_t first = 0, i = 0; first < n; first += group, i++) {
		ret[i] = bits_float(top(v + first, n - first < group ? n - first : group));
	}
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

/* Four times eight of 16 bits to 32 bytes in order, as the packs of two halves each leave them. */
static inline __m256i in_order(__m256i bytes)
{
	return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* v / scale as IEEE 754 has it: by products where quotient.h allows that. */
static inline __m256 quotient(__m256 v, const struct quotient *p, int products)
{
	if (!products) {
		return _mm256_div_ps(v, _mm256_set1_ps(p->scale));
	}
	return _mm256_fmadd_ps(v, _mm256_set1_ps(p->inverse), _mm256_mul_ps(v, _mm256_set1_ps(p->rest)));
}

/* Whole numbers up to the limit, the zero point not added yet; what is far below any limit is the least integer. */
static inline __m256i integers_of(const float *v, const struct quotient *p, int products)
{
	const __m256 w = _mm256_loadu_ps(v), most = _mm256_set1_ps(p->most);

	return _mm256_cvtps_epi32(products ? quotient(_mm256_min_ps(w, most), p, 1) : _mm256_min_ps(quotient(w, p, 0), most));
}

/* Packing saturates, so that integers below the limit stay there. */
static inline uint64_t integers(const float *v, uint64_t n, const struct quotient *p, int zero, int low, int products, uint8_t *codes)
{
	const __m256i z = _mm256_set1_epi16((short)zero), least = _mm256_set1_epi8((char)low);
	uint64_t i = 0;

	for (; n - i >= 32; i += 32) {
		__m256i a = _mm256_packs_epi32(integers_of(v + i, p, products), integers_of(v + i + 8, p, products));
		__m256i b = _mm256_packs_epi32(integers_of(v + i + 16, p, products), integers_of(v + i + 24, p, products));
		if (zero != 0) {
			a = _mm256_adds_epi16(a, z);
			b = _mm256_adds_epi16(b, z);
		}
		_mm256_storeu_si256((__m256i *)(void *)(codes + i), in_order(_mm256_max_epi8(_mm256_packs_epi16(a, b), least)));
	}
	for (; n - i >= 8; i += 8) {
		const __m256i a = integers_of(v + i, p, products);
		const __m128i half = _mm_adds_epi16(_mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1)),
			_mm256_castsi256_si128(z));
		const __m128i bytes = _mm_max_epi8(_mm_packs_epi16(half, half), _mm256_castsi256_si128(least));
		_mm_storel_epi64((__m128i *)(void *)(codes + i), bytes);
	}
	return i;
}

static void code_ints(const float *v, uint64_t n, float scale, float zero, float low, float high, uint8_t *codes)
{
	struct quotient p;
	uint64_t i;

	if (!quotient_integers(scale, zero, high, &p)) {
		i = integers(v, n, &p, (int)zero, (int)low, 0, codes);
	} else if (zero != 0) {
		i = integers(v, n, &p, (int)zero, (int)low, 1, codes);
	} else {
		i = integers(v, n, &p, 0, (int)low, 1, codes);
	}
	for (; i < n; i++) {
		codes[i] = (uint8_t)code_int(v[i], scale, zero, low, high);
	}
}

/* Sixteen times e4m3_bits of |v| / scale, E4M3_BIAS more and without end: quotient.h. */
static inline __m256i e4m3_of(__m256 v, const struct quotient *p, int products)
{
	const __m256i a = _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff));
	const __m256 q = quotient(_mm256_castsi256_ps(a), p, products);
	const __m256i exponent = _mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(q), _mm256_set1_epi32(E4M3_EXPONENT)),
		_mm256_set1_epi32(E4M3_LEAST));
	const __m256 sum = _mm256_fmadd_ps(_mm256_castsi256_ps(exponent), _mm256_set1_ps(E4M3_TO_EIGHTHS), q);
	return _mm256_madd_epi16(_mm256_castps_si256(sum), _mm256_set1_epi32(E4M3_WEIGHTS));
}

/* The same, of 16 magnitudes, as 16-bit numbers: saturated, an infinite or missing one is none that a code has. */
static inline __m256i e4m3_pair(__m256 a, __m256 b, const struct quotient *p, int products)
{
	const __m256i both = _mm256_packs_epi32(e4m3_of(a, p, products), e4m3_of(b, p, products));

	return _mm256_srli_epi16(_mm256_sub_epi16(both, _mm256_set1_epi16(E4M3_BIAS)), 4);
}

/* Bytes of 32 magnitudes end at 448. Saturated twice, an integer keeps its sign. */
static inline uint64_t e4m3(const float *v, uint64_t n, const struct quotient *p, int products, uint8_t *codes)
{
	const __m256i sign = _mm256_set1_epi8((char)0x80), most = _mm256_set1_epi8(E4M3_MOST);
	const uintptr_t behind = (uintptr_t)v + fetched_behind(n);
	uint64_t i = 0;

	for (; n - i >= 32; i += 32) {
		_mm_prefetch((const void *)(behind + 4 * i), _MM_HINT_T1);
		_mm_prefetch((const void *)(behind + 4 * i + 64), _MM_HINT_T1);
		const __m256 a = _mm256_loadu_ps(v + i), b = _mm256_loadu_ps(v + i + 8), c = _mm256_loadu_ps(v + i + 16),
			d = _mm256_loadu_ps(v + i + 24);
		const __m256i all = _mm256_min_epu8(_mm256_packus_epi16(e4m3_pair(a, b, p, products), e4m3_pair(c, d, p, products)), most);
		const __m256i signs = _mm256_packs_epi16(_mm256_packs_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)),
			_mm256_packs_epi32(_mm256_castps_si256(c), _mm256_castps_si256(d)));
		_mm256_storeu_si256((__m256i *)(void *)(codes + i), in_order(_mm256_or_si256(all, _mm256_and_si256(signs, sign))));
	}
	return i;
}

void row_code_e4m3_avx2(const float *v, uint64_t n, float scale, uint8_t *codes)
{
	struct quotient p;
	const uint64_t i = quotient_e4m3(scale, &p) ? e4m3(v, n, &p, 1, codes) : e4m3(v, n, &p, 0, codes);

	codes_e4m3(v + i, n - i, scale, codes + i);
}

const struct row_kernels row_kernels_avx2 = {top, tops, top_masked, range, code_ints, row_code_e4m3_avx2,
	row_squares_avx2, row_count_avx2, row_errors_avx2, row_weigh_avx2};
