/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Floats as integers of the same order. */
#pragma once

#include <stdint.h>
#include <string.h>

/* Integers in the order of the floats. Both zeros are equal, as they are to >=. */
static inline uint32_t cwe_key_of(float v)
{
	uint32_t u;

	memcpy(&u, &v, sizeof(u));
	if ((u << 1) == 0) {
		u = 0;
	}
	return u & 0x80000000u ? ~u : u | 0x80000000u;
}

static inline float cwe_key_value(uint32_t key)
{
	uint32_t u = key & 0x80000000u ? key & 0x7fffffffu : ~key;
	float v;

	memcpy(&v, &u, sizeof(v));
	return v;
}
