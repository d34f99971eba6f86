/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quotients by one scale as IEEE 754 rounds them, without dividing, and what E4M3 codes need. Inside of the tiers.
 *
 * Let s be the scale, of at most 8 significant bits (BF16), i = RN(1 / s), j = RN((1 - s i) i), t = RN(x j), and p = RN(x i + t) in one
 * rounding. Then p = RN(x / s), as long as nothing overflows or is subnormal:
 * - 1 - s i is exact in one rounding: s i has 32 bits and lies within 2^-24 of 1.
 * - i is 1 / s but for 2^-24 of it, so that j is what is missing but for 2^-23 of that: i + j = (1 / s)(1 + e) with |e| < 2^-47.
 * - t adds 2^-24 of |x j| < |x / s| 2^-24: x i + t differs from x / s by less than |x / s| 2^-46.
 * - A number m half way between two neighbours has 25 bits. Let u be the last place of x / s times that of s: x - m s is a whole
 *   multiple of u / 2 and |x| < 2^32 u; it is not zero, since m s has an odd part of more than 24 bits, and x has none. So
 *   |x / s - m| > |x / s| 2^-33: no m lies between x / s and x i + t, and both are rounded to the same.
 * For integers a limit is applied to x first, so that what is too large cannot overflow: with up to 9 bits a limit times s is exact.
 * What is too small may: it becomes minus infinity or no number, for which the conversion to integers has the least of them. For s
 * from 2^-80 to 2^80 only what has |x / s| < 2^-12 can be subnormal on the way, and its code is 0 whatever the last bits are. */
#ifndef CWP_QUANTIZERS_QUOTIENT_H
#define CWP_QUANTIZERS_QUOTIENT_H

#include "plugins/quantizers/rounding.h"

struct quotient {
	float scale, inverse, rest; /* i and j */
	float most; /* of what is divided where products do, else of quotients */
};

/* Whether products give the quotients by it. */
static inline int quotient_by_products(float scale)
{
	return (float_bits(scale) & 0xffffu) == 0 && scale >= 0x1p-80f && scale <= 0x1p80f;
}

static inline struct quotient quotient_of(float scale, float most)
{
	const float inverse = 1.0f / scale;

	return (struct quotient){scale, inverse, fmaf(-scale, inverse, 1.0f) * inverse, most};
}

/* For whole numbers up to `high` when the zero point is added. */
static inline int quotient_integers(float scale, float zero, float high, struct quotient *ret)
{
	const int products = quotient_by_products(scale);

	*ret = quotient_of(scale, products ? (high - zero) * scale : high - zero);
	return products;
}

/* For magnitudes of E4M3, which have no limit here. */
static inline int quotient_e4m3(float scale, struct quotient *ret)
{
	*ret = quotient_of(scale, 0);
	return quotient_by_products(scale);
}

/* A magnitude of exponent e becomes a number n of eighths of 2^e when 2^(e + 20), whose last place that is, is added to it; e is at
 * least -6, that of subnormal codes. The sum has n, 0 to 16, in its lower half, and 128 (e + 147) in its upper half, so that
 * 16 n and the upper half make sixteen times the code and E4M3_BIAS. Beyond 448 it goes on up to e = 107; from there on the sum is
 * infinite, or no number where the quotient is none. The upper half is then 0x7f80 or has all bits of the exponent and the sign,
 * which is as large as no code's where it has no sign. So the lesser of it, without sign, and 448's code is the code. */
enum { E4M3_EXPONENT = 0x7f800000, E4M3_LEAST = 121 << 23, E4M3_WEIGHTS = 1 << 16 | 16, E4M3_BIAS = 16 * 8 * 141, E4M3_MOST = 0x7e };
#define E4M3_TO_EIGHTHS 0x1p20f

/* Bytes of n weights, and a page more: what is as far behind those at hand comes from memory, as far as the second-level cache,
 * while they become codes. It belongs to the next row, or to the one after it where the processor itself fetches a page ahead. What
 * does not exist is fetched by nobody. */
static inline uintptr_t fetched_behind(uint64_t n)
{
	return n * sizeof(float) + 4096;
}

#endif
