/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Ranges and codes with AVX-512: sixteen columns at a time, the last ones with lanes left out. */
#include <immintrin.h>
#include <stddef.h>

#include "plugins/quantizers/rows/lanes_avx512.h"
#include "plugins/quantizers/rows/quotient.h"
#include "plugins/quantizers/rows/rows.h"

static inline __m512i magnitude(__m512 v)
{
	return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff));
}

static inline __m256i half_magnitude(const float *v)
{
	return _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(const void *)v), _mm256_set1_epi32(0x7fffffff));
}

/* By halves of registers: what comes from memory comes faster. */
static uint32_t top(const float *v, uint64_t n)
{
	__m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
	uint64_t i = 0;

	for (; n - i >= 32; i += 32) {
		a = _mm256_max_epi32(a, half_magnitude(v + i));
		b = _mm256_max_epi32(b, half_magnitude(v + i + 8));
		c = _mm256_max_epi32(c, half_magnitude(v + i + 16));
		d = _mm256_max_epi32(d, half_magnitude(v + i + 24));
	}
	__m512i all = _mm512_zextsi256_si512(_mm256_max_epi32(_mm256_max_epi32(a, b), _mm256_max_epi32(c, d)));
	for (; i < n; i += 16) {
		all = _mm512_max_epi32(all, magnitude(_mm512_maskz_loadu_ps(lanes(n - i), v + i)));
	}
	return (uint32_t)_mm512_reduce_max_epi32(all);
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
	if (!products) {
		return _mm512_div_ps(v, _mm512_set1_ps(p->scale));
	}
	return _mm512_fmadd_ps(v, _mm512_set1_ps(p->inverse), _mm512_mul_ps(v, _mm512_set1_ps(p->rest)));
}

/* Whole numbers up to the limit, the zero point not added yet; what is far below any limit is the least integer. */
static inline __m512i integers_of(__m512 v, const struct quotient *p, int products)
{
	const __m512 most = _mm512_set1_ps(p->most);

	return _mm512_cvtps_epi32(products ? quotient(_mm512_min_ps(v, most), p, 1) : _mm512_min_ps(quotient(v, p, 0), most));
}

/* 64 bytes in order, as the packs of two halves each leave them. */
static inline __m512i in_order(__m512i bytes)
{
	return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes);
}

/* Packing saturates, so that integers below the limit stay there; zero, of the type that it has here, is the zero point. */
static inline void integers(const float *v, uint64_t n, const struct quotient *p, int zero, int low, int products, uint8_t *codes)
{
	const __m512i z = _mm512_set1_epi16((short)zero), least = _mm512_set1_epi8((char)low);
	uint64_t i = 0;

	for (; n - i >= 64; i += 64) {
		__m512i a = _mm512_packs_epi32(integers_of(_mm512_loadu_ps(v + i), p, products),
			integers_of(_mm512_loadu_ps(v + i + 16), p, products));
		__m512i b = _mm512_packs_epi32(integers_of(_mm512_loadu_ps(v + i + 32), p, products),
			integers_of(_mm512_loadu_ps(v + i + 48), p, products));
		if (zero != 0) {
			a = _mm512_adds_epi16(a, z);
			b = _mm512_adds_epi16(b, z);
		}
		_mm512_storeu_si512(codes + i, in_order(_mm512_max_epi8(_mm512_packs_epi16(a, b), least)));
	}
	for (; i < n; i += 16) {
		const __mmask16 some = lanes(n - i);
		const __m512i a = integers_of(_mm512_maskz_loadu_ps(some, v + i), p, products);
		const __m256i c = _mm256_adds_epi16(_mm512_cvtsepi32_epi16(a), _mm512_castsi512_si256(z));
		_mm_mask_storeu_epi8(codes + i, some, _mm_max_epi8(_mm256_cvtsepi16_epi8(c), _mm512_castsi512_si128(least)));
	}
}

static void code_ints(const float *v, uint64_t n, float scale, float zero, float low, float high, uint8_t *codes)
{
	struct quotient p;

	if (!quotient_integers(scale, zero, high, &p)) {
		integers(v, n, &p, (int)zero, (int)low, 0, codes);
	} else if (zero != 0) {
		integers(v, n, &p, (int)zero, (int)low, 1, codes);
	} else {
		integers(v, n, &p, 0, (int)low, 1, codes);
	}
}

/* E4M3 codes are those of the tier below: they wait for memory, which registers of twice the size make no faster. */
const struct row_kernels row_kernels_avx512 = {top, tops, top_masked, range, code_ints, row_code_e4m3_avx2,
	row_squares_avx512, row_count_avx512, row_errors_avx512, row_weigh_avx512};
