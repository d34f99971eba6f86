/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quotients by one scale as IEEE 754 rounds them, without dividing, and what E4M3 codes need. Inside of the tiers.
 *
 * Let s be the scale, of at most 8 significant bits (BF16), i = RN(1 / s), q = RN(x i), r = RN(x - q s) in one rounding, and
 * p = RN(q + r i) in one rounding. Then p = RN(x / s), as long as nothing overflows or is subnormal:
 * - q = (x / s)(1 + e) with |e| < 1.01 * 2^-23, the sum of the errors of i and of the product.
 * - r is exact. With u = ulp(q) times the last place of s, q s and x are whole multiples of u; |x| < 2^32 u, so that
 *   |x - q s| = |x e| < 2^10 u.
 * - So x / s = q + r / s, and q + r i differs from it by |r / s| 2^-24 < |x / s| 2^-46.
 * - A number m half way between two neighbours has 25 bits: x - m s is a whole multiple of u / 2, and not zero, since m s
 *   has an odd part of more than 24 bits, and x has none. So |x / s - m| > |x / s| 2^-33: no m lies between x / s and
 *   q + r i, and both are rounded to the same.
 * Limits of integers are applied to x first, so that nothing overflows: with up to 9 bits a limit times s is exact. For s from
 * 2^-100 to 2^100 only what has |x / s| < 2^-12 can be subnormal on the way, and its code is 0 whatever the last bits are. */
#ifndef CWP_QUANTIZERS_QUOTIENT_H
#define CWP_QUANTIZERS_QUOTIENT_H

#include "plugins/quantizers/rounding.h"

struct quotient {
	float scale, inverse;
	float low, high; /* of what is divided where products do, else of quotients */
};

/* Whether products give the quotients by it. */
static inline int quotient_by_products(float scale)
{
	return (float_bits(scale) & 0xffffu) == 0 && scale >= 0x1p-100f && scale <= 0x1p100f;
}

/* For whole numbers. The limits, before the zero point is added, are whole numbers too: rounding cannot leave them. */
static inline int quotient_integers(float scale, float zero, float low, float high, struct quotient *ret)
{
	const int products = quotient_by_products(scale);
	const float unit = products ? scale : 1.0f;

	*ret = (struct quotient){scale, 1.0f / scale, (low - zero) * unit, (high - zero) * unit};
	return products;
}

/* For magnitudes of E4M3, which have no limits here. */
static inline int quotient_e4m3(float scale, struct quotient *ret)
{
	*ret = (struct quotient){scale, 1.0f / scale, 0, 0};
	return quotient_by_products(scale);
}

/* A magnitude of exponent e becomes a number of eighths of 2^e when 2^(e + 20), whose last place that is, is added to it; e is at
 * least -6, that of subnormal codes. The code is that number, 0 to 16, and eight for each e above -6; E4M3_BIAS is
 * what the exponent's own bias makes of -6. Beyond 448 it goes on until, from e = 108 on, 2^(e + 20) is no number any more, or
 * the quotient is none: what integers make of it is then either greater than 448's code too, or negative and below any
 * 16-bit number, which becomes positive when the bias is subtracted. So the lesser of it, without sign, and 448's
 * code is the code. */
enum { E4M3_EXPONENT = 0x7f800000, E4M3_LEAST = 121 << 23, E4M3_TO_EIGHTHS = 20 << 23, E4M3_BIAS = 121 << 3, E4M3_MOST = 0x7e };

#endif
