/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 (F, BW, VL, DQ): the vector type of kernels_simd.inc.c with 16 lanes. Compiled with its
 * own flags. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "plugins/backends/cpu/kernels.h"
#include "plugins/backends/cpu/rounding.h"

enum { W = 16, MR = 12, NR = 2 * W, LINES = 4, ROWS = 4 };

typedef __m512 V;
typedef __m512d D; /* half as many f64 */
typedef __mmask16 M;

#define TIER_NAME "avx512"
#define TIER_FILL kernels_avx512

static inline M first_lanes(size_t n)
{
	return (M)((1U << n) - 1U);
}

static inline V v_load(const float *p)
{
	return _mm512_loadu_ps(p);
}

/* The first n < W lanes; the others are 0 and their memory is not touched. */
static inline V v_load_first(const float *p, size_t n)
{
	return _mm512_maskz_loadu_ps(first_lanes(n), p);
}

static inline void v_store(float *p, V v)
{
	_mm512_storeu_ps(p, v);
}

static inline void v_store_first(float *p, V v, size_t n)
{
	_mm512_mask_storeu_ps(p, first_lanes(n), v);
}

static inline V v_set(float x)
{
	return _mm512_set1_ps(x);
}

static inline V v_add(V a, V b)
{
	return _mm512_add_ps(a, b);
}

static inline V v_sub(V a, V b)
{
	return _mm512_sub_ps(a, b);
}

static inline V v_mul(V a, V b)
{
	return _mm512_mul_ps(a, b);
}

static inline V v_div(V a, V b)
{
	return _mm512_div_ps(a, b);
}

/* a * b + c */
static inline V v_fma(V a, V b, V c)
{
	return _mm512_fmadd_ps(a, b, c);
}

/* c - a * b */
static inline V v_fnma(V a, V b, V c)
{
	return _mm512_fnmadd_ps(a, b, c);
}

/* Both give b where a or b is NaN. */
static inline V v_max(V a, V b)
{
	return _mm512_max_ps(a, b);
}

static inline V v_min(V a, V b)
{
	return _mm512_min_ps(a, b);
}

static inline V v_abs(V a)
{
	return _mm512_abs_ps(a);
}

static inline V v_rint(V a)
{
	return _mm512_roundscale_ps(a, _MM_FROUND_CUR_DIRECTION);
}

static inline M v_less(V a, V b)
{
	return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

static inline M v_nan(V a)
{
	return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
}

/* Bit i for lane i. */
static inline unsigned v_equal_bits(V a, V b)
{
	return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

/* yes where m, else no */
static inline V v_choose(M m, V yes, V no)
{
	return _mm512_mask_blend_ps(m, no, yes);
}

/* The magnitude of a with the sign of s. */
static inline V v_sign(V a, V s)
{
	const __m512 sign = _mm512_set1_ps(-0.0F);
	return _mm512_or_ps(_mm512_andnot_ps(sign, a), _mm512_and_ps(sign, s));
}

/* a * 2^n for whole n in [-151, 129] */
static inline V v_ldexp(V a, V n)
{
	return _mm512_scalef_ps(a, n);
}

/* Mantissa rounded to 3 bits, to even. Not for NaN. */
static inline V v_round3(V a)
{
	__m512i bits = _mm512_castps_si512(a);
	__m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 20), _mm512_set1_epi32(1));
	bits = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFFF)));
	return _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(~0xFFFFF)));
}

/* Likewise to 7 bits: BF16. */
static inline V v_round7(V a)
{
	__m512i bits = _mm512_castps_si512(a);
	__m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
	bits = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
	return _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(~0xFFFF)));
}

static inline float v_sum(V a)
{
	return _mm512_reduce_add_ps(a);
}

/* Not for NaN. */
static inline float v_largest(V a)
{
	return _mm512_reduce_max_ps(a);
}

static inline V v_bf16(const uint16_t *p)
{
	__m256i x = _mm256_loadu_si256((const __m256i *)p);
	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

static inline V v_f16(const uint16_t *p)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

static inline V v_round_f16(V a)
{
	return _mm512_cvtph_ps(_mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

static inline D d_low(V a)
{
	return _mm512_cvtps_pd(_mm512_castps512_ps256(a));
}

static inline D d_high(V a)
{
	return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
}

static inline D d_zero(void)
{
	return _mm512_setzero_pd();
}

static inline D d_add(D a, D b)
{
	return _mm512_add_pd(a, b);
}

static inline D d_fma(D a, D b, D c)
{
	return _mm512_fmadd_pd(a, b, c);
}

static inline D d_load(const double *p)
{
	return _mm512_loadu_pd(p);
}

static inline void d_store(double *p, D a)
{
	_mm512_storeu_pd(p, a);
}

static inline double d_sum(D a)
{
	return _mm512_reduce_add_pd(a);
}

#include "plugins/backends/cpu/kernels_simd.inc.c" /* NOLINT(bugprone-suspicious-include) */
