/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* AMX: 32 by 32 sums in four tiles, each met by 32 tokens at a time. Compiled with its own flags. Panels of B are those of
 * AVX512_BF16, 32 columns wide; a panel of A has, for each 32 tokens, its 32 columns one after another with these tokens
 * together. Numbers below 2^-126 count as 0, and sums are rounded to nearest even whatever mode is set. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "plugins/backends/cpu/kernels.h"

#include "plugins/backends/cpu/panels_bf16.inc.c" /* NOLINT(bugprone-suspicious-include) */

enum { MR = 2 * BLOCK, NR = 2 * BLOCK, STEP = BLOCK_TOKENS, ROW_BYTES = 64, TILE_BYTES = BLOCK * ROW_BYTES };

/* What LDTILECFG reads: eight tiles of 16 rows of 64 bytes. */
struct configuration {
	uint8_t palette;
	uint8_t start_row;
	uint8_t reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
};

/* Not on the stack: compilers do not know that the instruction reads all of it. */
#define EACH(x) {x, x, x, x, x, x, x, x}
static const struct configuration tiles = {.palette = 1, .row_bytes = EACH(ROW_BYTES), .rows = EACH(BLOCK)};

static void begin(void)
{
	_tile_loadconfig(&tiles);
}

/* A thread whose tiles are released has less to save when it is switched. */
static void end(void)
{
	_tile_release();
}

INLINE void pack_columns(const struct pack *p, char *dst, size_t column, int along)
{
	__m512i v[BLOCK];
	for (size_t token = 0; token < p->k; token += STEP, dst += 2 * TILE_BYTES) {
		load_block(v, p, token, column, BLOCK, along, 1);
#pragma GCC unroll 16
		for (size_t i = 0; i < BLOCK; i++) {
			_mm512_storeu_si512(dst + i * ROW_BYTES, v[i]);
		}
	}
}

static void pack_a(const struct pack *p)
{
	char *dst = p->dst;
	for (size_t column = 0; column < p->n; column += MR, dst += p->distance) {
		for (size_t i = 0; i < 2; i++) {
			if (p->along) {
				pack_columns(p, dst + i * TILE_BYTES, column + i * BLOCK, 1);
			} else {
				pack_columns(p, dst + i * TILE_BYTES, column + i * BLOCK, 0);
			}
		}
	}
}

static void pack_b(const struct pack *p)
{
	pack_pairs(p, NR, STEP);
}

/* Tiles 0 to 3 hold sums, 4 and 5 columns of A, 6 and 7 pairs of B. */
INLINE void start_tiles(const float *g, size_t ld)
{
	if (!g) {
		_tile_zero(0);
		_tile_zero(1);
		_tile_zero(2);
		_tile_zero(3);
		return;
	}
	_tile_loadd(0, g, ld * sizeof(float));
	_tile_loadd(1, g + BLOCK, ld * sizeof(float));
	_tile_loadd(2, g + BLOCK * ld, ld * sizeof(float));
	_tile_loadd(3, g + BLOCK * ld + BLOCK, ld * sizeof(float));
}

INLINE void store_tiles(float *g, size_t ld)
{
	_tile_stored(0, g, ld * sizeof(float));
	_tile_stored(1, g + BLOCK, ld * sizeof(float));
	_tile_stored(2, g + BLOCK * ld, ld * sizeof(float));
	_tile_stored(3, g + BLOCK * ld + BLOCK, ld * sizeof(float));
}

INLINE void product_tiles(size_t k, const char *a, const char *b, const struct ahead *next)
{
	const char *next_a = next->a, *next_b = next->b;
	for (; k >= STEP; k -= STEP) {
		__builtin_prefetch(next_a, 0, 2);
		__builtin_prefetch(next_b, 0, 2);
		_tile_loadd(6, b, NR * 4);
		_tile_loadd(4, a, ROW_BYTES);
		_tile_dpbf16ps(0, 4, 6);
		_tile_loadd(7, b + 64, NR * 4);
		_tile_dpbf16ps(1, 4, 7);
		_tile_loadd(5, a + TILE_BYTES, ROW_BYTES);
		_tile_dpbf16ps(2, 5, 6);
		_tile_dpbf16ps(3, 5, 7);
		next_a += next->step_a;
		next_b += next->step_b;
		a += (size_t)2 * MR * STEP;
		b += (size_t)2 * NR * STEP;
	}
}

static void micro(size_t k, const void *a, const void *b, const struct ahead *next, int accumulate, float *g, size_t ld)
{
	start_tiles(accumulate ? g : NULL, ld);
	product_tiles(k, a, b, next);
	store_tiles(g, ld);
}

static void micro_stats(size_t k, const void *a, const void *b, const struct ahead *next, const float *g,
	const struct micro_stats *s)
{
	float cell[MR * NR] __attribute__((aligned(64)));
	start_tiles(g, NR);
	product_tiles(k, a, b, next);
	store_tiles(cell, NR);
	for (size_t i = 0; i < (size_t)MR * NR / BLOCK; i++) {
		add_stats(s, i, _mm512_load_ps(cell + i * BLOCK));
	}
}

void kernels_amx(struct kernels *k)
{
	k->bf16_panels = (struct panels){"amx", MR, NR, STEP, 2, STEP, begin, end, pack_a, pack_b, micro, micro_stats};
}
