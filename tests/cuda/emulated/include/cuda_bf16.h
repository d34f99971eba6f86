/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* In place of CUDA's own header: numbers in BF16, rounded to nearest even. */
#ifndef EMULATED_CUDA_BF16_H
#define EMULATED_CUDA_BF16_H

#include <stdint.h>
#include <string.h>

struct __nv_bfloat16 {
	uint16_t bits;
};

struct __nv_bfloat162 {
	__nv_bfloat16 x, y;
};

static inline __nv_bfloat16 __float2bfloat16_rn(float v)
{
	uint32_t u;
	memcpy(&u, &v, sizeof(u));
	return {(uint16_t)(v != v ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16)};
}

static inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y)
{
	return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}

#endif
