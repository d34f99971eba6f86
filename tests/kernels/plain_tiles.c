/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The kernels of AMX with its instructions in plain C: what they read, multiply and write is looked at on machines that have
 * AVX512_BF16, which packs their panels, but no tiles. */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "plugins/backends/cpu/kernels.h"
#include "tests/kernels/plain_tiles.h"

enum { TILES = 8, ROWS = 16, WORDS = 16 };

/* Tiles belong to a thread, and are there between configuration and release alone. */
static _Thread_local uint32_t tile_of[TILES][ROWS][WORDS];
static _Thread_local int configured;

static void plain_configure(const void *p)
{
	const unsigned char *c = p;
	configured = c[0] == 1;
	for (size_t i = 0; i < TILES; i++) {
		configured = configured && c[16 + 2 * i] == 64 && c[17 + 2 * i] == 0 && c[48 + i] == ROWS;
	}
}

static void plain_load(size_t t, const void *base, size_t stride)
{
	for (size_t r = 0; r < ROWS; r++) {
		memcpy(tile_of[t][r], (const char *)base + r * stride, sizeof(tile_of[t][r]));
	}
}

static void plain_store(size_t t, void *base, size_t stride)
{
	for (size_t r = 0; r < ROWS; r++) {
		memcpy((char *)base + r * stride, tile_of[t][r], sizeof(tile_of[t][r]));
	}
}

static float half_of(uint32_t word, int high)
{
	uint32_t bits = high ? word & 0xffff0000U : word << 16;
	float x = 0.0F;
	memcpy(&x, &bits, sizeof(x));
	return x;
}

/* c += the sum over words of both products. Without a configuration the sums become NaN. */
static void plain_multiply(size_t c, size_t a, size_t b)
{
	for (size_t r = 0; r < ROWS; r++) {
		for (size_t n = 0; n < WORDS; n++) {
			float sum = 0.0F;
			memcpy(&sum, &tile_of[c][r][n], sizeof(sum));
			for (size_t k = 0; k < WORDS; k++) {
				uint32_t x = tile_of[a][r][k], y = tile_of[b][k][n];
				sum += half_of(x, 0) * half_of(y, 0);
				sum += half_of(x, 1) * half_of(y, 1);
			}
			sum = configured ? sum : (float)__builtin_nan("");
			memcpy(&tile_of[c][r][n], &sum, sizeof(sum));
		}
	}
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(c) plain_configure(c)
#define _tile_release() ((void)(configured = 0))
#define _tile_zero(t) ((void)memset(tile_of[t], 0, sizeof(tile_of[t])))
#define _tile_loadd(t, base, stride) plain_load(t, base, stride)
#define _tile_stored(t, base, stride) plain_store(t, base, stride)
#define _tile_dpbf16ps(c, a, b) plain_multiply(c, a, b)
#define kernels_amx kernels_plain_tiles

#include "plugins/backends/cpu/kernels_amx.c" /* NOLINT(bugprone-suspicious-include) */
