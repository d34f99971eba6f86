/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* AVX2 with FMA and F16C: the vector type of kernels_simd.inc.c with 8 lanes. Compiled with its own
 * flags. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "plugins/backends/cpu/kernels.h"
#include "plugins/backends/cpu/rounding.h"

enum { W = 8, MR = 6, NR = 2 * W, LINES = 2, ROWS = 4 };

typedef __m256 V;
typedef __m256d D; /* half as many f64 */
typedef __m256 M;

#define TIER_NAME "avx2"
#define TIER_FILL kernels_avx2

static inline __m256i first_lanes(size_t n)
{
	return _mm256_cmpgt_epi32(
		_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline V v_load(const float *p)
{
	return _mm256_loadu_ps(p);
}

/* The first n < W lanes; the others are 0 and their memory is not touched. */
static inline V v_load_first(const float *p, size_t n)
{
	return _mm256_maskload_ps(p, first_lanes(n));
}

static inline void v_store(float *p, V v)
{
	_mm256_storeu_ps(p, v);
}

static inline void v_store_first(float *p, V v, size_t n)
{
	_mm256_maskstore_ps(p, first_lanes(n), v);
}

static inline V v_set(float x)
{
	return _mm256_set1_ps(x);
}

static inline V v_add(V a, V b)
{
	return _mm256_add_ps(a, b);
}

static inline V v_sub(V a, V b)
{
	return _mm256_sub_ps(a, b);
}

static inline V v_mul(V a, V b)
{
	return _mm256_mul_ps(a, b);
}

static inline V v_div(V a, V b)
{
	return _mm256_div_ps(a, b);
}

/* a * b + c */
static inline V v_fma(V a, V b, V c)
{
	return _mm256_fmadd_ps(a, b, c);
}

/* c - a * b */
static inline V v_fnma(V a, V b, V c)
{
	return _mm256_fnmadd_ps(a, b, c);
}

/* Both give b where a or b is NaN. */
static inline V v_max(V a, V b)
{
	return _mm256_max_ps(a, b);
}

static inline V v_min(V a, V b)
{
	return _mm256_min_ps(a, b);
}

static inline V v_abs(V a)
{
	return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a);
}

static inline V v_rint(V a)
{
	return _mm256_round_ps(a, _MM_FROUND_CUR_DIRECTION);
}

static inline M v_less(V a, V b)
{
	return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}

static inline M v_nan(V a)
{
	return _mm256_cmp_ps(a, a, _CMP_UNORD_Q);
}

/* Bit i for lane i. */
static inline unsigned v_equal_bits(V a, V b)
{
	return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ));
}

/* yes where m, else no */
static inline V v_choose(M m, V yes, V no)
{
	return _mm256_blendv_ps(no, yes, m);
}

/* The magnitude of a with the sign of s. */
static inline V v_sign(V a, V s)
{
	const __m256 sign = _mm256_set1_ps(-0.0F);
	return _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, s));
}

static inline V power_of_two(__m256i n)
{
	return _mm256_castsi256_ps(
		_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/* a * 2^n for whole n in [-151, 129], in two steps, so that each factor is a normal number */
static inline V v_ldexp(V a, V n)
{
	__m256i whole = _mm256_cvtps_epi32(n);
	__m256i half = _mm256_srai_epi32(whole, 1);
	return _mm256_mul_ps(
		_mm256_mul_ps(a, power_of_two(half)), power_of_two(_mm256_sub_epi32(whole, half)));
}

/* Mantissa rounded to 3 bits, to even. Not for NaN. */
static inline V v_round3(V a)
{
	__m256i bits = _mm256_castps_si256(a);
	__m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 20), _mm256_set1_epi32(1));
	bits = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFFF)));
	return _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32(~0xFFFFF)));
}

/* Likewise to 7 bits: BF16. */
static inline V v_round7(V a)
{
	__m256i bits = _mm256_castps_si256(a);
	__m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
	bits = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
	return _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32(~0xFFFF)));
}

static inline float v_sum(V a)
{
	__m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	s = _mm_add_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* Not for NaN. */
static inline float v_largest(V a)
{
	__m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	s = _mm_max_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

static inline V v_bf16(const uint16_t *p)
{
	__m128i x = _mm_loadu_si128((const __m128i *)p);
	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}

static inline V v_f16(const uint16_t *p)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

static inline V v_round_f16(V a)
{
	return _mm256_cvtph_ps(_mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

static inline D d_low(V a)
{
	return _mm256_cvtps_pd(_mm256_castps256_ps128(a));
}

static inline D d_high(V a)
{
	return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
}

static inline D d_zero(void)
{
	return _mm256_setzero_pd();
}

static inline D d_add(D a, D b)
{
	return _mm256_add_pd(a, b);
}

static inline D d_fma(D a, D b, D c)
{
	return _mm256_fmadd_pd(a, b, c);
}

static inline D d_load(const double *p)
{
	return _mm256_loadu_pd(p);
}

static inline void d_store(double *p, D a)
{
	_mm256_storeu_pd(p, a);
}

static inline double d_sum(D a)
{
	__m128d s = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
	return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

#include "plugins/backends/cpu/kernels_simd.inc.c" /* NOLINT(bugprone-suspicious-include) */
