/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rounding that is the same on every machine: BF16-valued scales, integer codes, E4M3 codes, and the ranges of
 * a row with its protected weights left out. Plain C without branches in the inner loops, so that compilers
 * vectorize it; needs round-to-nearest-even mode and no -ffast-math. */
#ifndef CWP_QUANTIZERS_ROUNDING_H
#define CWP_QUANTIZERS_ROUNDING_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float v)
{
	uint32_t u;
	memcpy(&u, &v, sizeof(u));
	return u;
}

static inline float bits_float(uint32_t u)
{
	float v;
	memcpy(&v, &u, sizeof(v));
	return v;
}

/* The nearest value that BF16 can hold, ties to even. v is finite. */
static inline float round_bf16(float v)
{
	uint32_t u = float_bits(v);
	return bits_float((u + 0x7fff + ((u >> 16) & 1)) & 0xffff0000u);
}

/* The nearest value that F16 can hold, ties to even; infinite from 65520 on, and for NaN. */
static inline float round_f16(float v)
{
	const uint32_t u = float_bits(v), sign = u & 0x80000000u, a = u & 0x7fffffff;
	const float small = (bits_float(a) + 0.5f) - 0.5f; /* multiples of 2^-24: the last place of a sum below 1 */
	const uint32_t normal = (a + 0xfff + ((a >> 13) & 1)) & ~0x1fffu;
	/* 0x38800000 is 2^-14, 0x477ff000 is 65520. */
	const uint32_t r = a < 0x38800000u ? float_bits(small) : a < 0x477ff000u ? normal : 0x7f800000u;

	return bits_float(sign | r);
}

/* A scale that engines can use: a BF16 value that is a normal number. Where all weights are zero, or so small that
 * the scale would be subnormal (engines flush those to zero), it is 1, which gives codes 0. */
static inline float usable_scale(float exact)
{
	float s = round_bf16(exact);
	return s >= FLT_MIN ? s : 1.0f;
}

/* The nearest integer, ties to even; |v| < 2^22. Adding 1.5 * 2^23 leaves no bits for a fraction. */
static inline float round_even(float v)
{
	return (v + 12582912.0f) - 12582912.0f;
}

static inline float clamp(float v, float low, float high)
{
	v = v < low ? low : v;
	return v > high ? high : v;
}

/* round(w / scale) + zero within [low, high]. w is finite, scale > 0. The quotient is clamped first, to a range that
 * reaches the limits from any zero point: so an overflow to infinity is harmless. */
static inline int8_t code_int(float w, float scale, float zero, float low, float high)
{
	float q = round_even(clamp(w / scale, low - high - 1.0f, high - low + 1.0f)) + zero;
	return (int8_t)clamp(q, low, high);
}

/* What that code stands for: w, rounded. */
static inline float value_int(float w, float scale, float zero, float low, float high)
{
	return ((float)code_int(w, scale, zero, low, high) - zero) * scale;
}

/* E4M3FN bits of v, saturating at 448, ties to even, NaN to NaN (0x7f), the sign kept (also of zero).
 * Normal numbers: exponent 1..15 with bias 7, 3 bits of fraction. Below 2^-6: multiples of 2^-9. */
static inline uint8_t e4m3_bits(float v)
{
	uint32_t u = float_bits(v), sign = (u >> 24) & 0x80, a = u & 0x7fffffff;
	/* 0x43e00000 is 448. */
	uint32_t c = a > 0x43e00000u ? 0x43e00000u : a;
	uint32_t normal = ((c + 0x7ffff + ((c >> 20) & 1)) >> 20) - (120u << 3);
	/* 2^14 has a last place of 2^-9: the sum's low bits are the code. */
	uint32_t small = float_bits(bits_float(c) + 16384.0f) - 0x46800000u;
	uint32_t code = c < 0x3c800000u ? small : normal;

	return (uint8_t)(sign | (a > 0x7f800000u ? 0x7f : code));
}

/* Whether all of v are finite. The largest magnitude's bits decide, since integers order as magnitudes do. */
static inline int all_finite(const float *v, uint64_t n)
{
	int32_t top = 0;
	for (uint64_t i = 0; i < n; i++) {
		int32_t a = (int32_t)(float_bits(v[i]) & 0x7fffffff);
		top = a > top ? a : top;
	}
	return top < 0x7f800000;
}

/* The bits of row r; NULL where there is no mask. stride: bytes of a row. */
static inline const uint8_t *mask_row(const uint8_t *mask, uint64_t stride, uint64_t r)
{
	return mask != NULL ? mask + r * stride : NULL;
}

static inline int is_protected(const uint8_t *mask, uint64_t column)
{
	return mask[column >> 3] >> (column & 7) & 1;
}

/* Largest |w| of the columns [first, first + n) of a row; protected ones (mask may be NULL) are left out. */
static inline float absmax_of(const float *row, const uint8_t *mask, uint64_t first, uint64_t n)
{
	int32_t top = 0;
	if (mask == NULL) {
		for (uint64_t c = first; c < first + n; c++) {
			int32_t a = (int32_t)(float_bits(row[c]) & 0x7fffffff);
			top = a > top ? a : top;
		}
	} else {
		for (uint64_t c = first; c < first + n; c++) {
			int32_t a = (int32_t)(float_bits(row[c]) & 0x7fffffff);
			a = is_protected(mask, c) ? 0 : a;
			top = a > top ? a : top;
		}
	}
	return bits_float((uint32_t)top);
}

/* Smallest and largest w, zero included, protected ones left out. */
static inline void range_of(const float *row, const uint8_t *mask, uint64_t first, uint64_t n, float *ret_low, float *ret_high)
{
	float low = 0, high = 0;
	for (uint64_t c = first; c < first + n; c++) {
		float w = mask != NULL && is_protected(mask, c) ? 0 : row[c];
		low = w < low ? w : low;
		high = w > high ? w : high;
	}
	*ret_low = low;
	*ret_high = high;
}

/* Codes of one row whose scales (and zero points, or NULL) are given: `group` columns share one. */
static inline void codes_int(const float *row, uint64_t cols, uint64_t group, const float *scales, const int8_t *zeros, int bits,
	uint8_t *codes)
{
	const float low = -(float)(1 << (bits - 1)), high = -low - 1;
	for (uint64_t first = 0, g = 0; first < cols; first += group, g++) {
		const uint64_t end = cols - first < group ? cols : first + group;
		const float scale = scales[g], zero = zeros != NULL ? (float)zeros[g] : 0;
		for (uint64_t c = first; c < end; c++) {
			codes[c] = (uint8_t)code_int(row[c], scale, zero, low, high);
		}
	}
}

/* Codes of one row whose scale is given. */
static inline void codes_e4m3(const float *row, uint64_t cols, float scale, uint8_t *codes)
{
	for (uint64_t c = 0; c < cols; c++) {
		codes[c] = e4m3_bits(row[c] / scale);
	}
}

#endif
