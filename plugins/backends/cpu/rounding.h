/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* BF16 in plain C. */
#ifndef CPU_ROUNDING_H
#define CPU_ROUNDING_H

#include <stdint.h>
#include <string.h>

/* To nearest even; a NaN stays one, whatever of its payload is cut off. */
static inline uint16_t bf16_bits(float x)
{
	uint32_t u;
	memcpy(&u, &x, sizeof(u));
	if ((u & 0x7fffffffU) > 0x7f800000U) {
		return (uint16_t)(u >> 16 | 0x40U);
	}
	return (uint16_t)((u + 0x7fffU + (u >> 16 & 1U)) >> 16);
}

static inline float bf16_rounded(float x)
{
	uint32_t u = (uint32_t)bf16_bits(x) << 16;
	memcpy(&x, &u, sizeof(x));
	return x;
}

#endif
