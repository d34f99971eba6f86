/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Loops of multiplications whose operands and sums stay in registers, independent of one another: nothing is faster. */
#include <stddef.h>

#include "bench/cpu-peak.h"

enum { ROUNDS = 1 << 16, SUMS = 12 };

#if defined(__x86_64__)
#include <immintrin.h>

/* Twelve sums in registers of their own; operands and sums are 0. */
#define EACH(x) x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9) x(10) x(11)
#define LOOP(name, isa, clear, multiply)                                                                     \
	__attribute__((target(isa))) static void name(void)                                                  \
	{                                                                                                    \
		size_t left = ROUNDS;                                                                        \
		__asm__ volatile(EACH(clear) clear(14) clear(15) "1:\n" EACH(multiply) "dec %0\njnz 1b"      \
				 : "+r"(left)                                                                \
				 :                                                                           \
				 : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",     \
				 "xmm8", "xmm9", "xmm10", "xmm11", "xmm14", "xmm15");                        \
	}

#define CLEAR(i) "vxorps %%xmm" #i ", %%xmm" #i ", %%xmm" #i "\n"
#define FMA256(i) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #i "\n"
#define FMA512(i) "vfmadd231ps %%zmm14, %%zmm15, %%zmm" #i "\n"
#define DOT512(i) "vdpbf16ps %%zmm14, %%zmm15, %%zmm" #i "\n"
LOOP(fma256, "avx2,fma", CLEAR, FMA256)
LOOP(fma512, "avx512f", CLEAR, FMA512)
LOOP(dot512, "avx512f,avx512bf16", CLEAR, DOT512)

struct configuration {
	unsigned char palette, start_row, reserved[14];
	unsigned short row_bytes[16];
	unsigned char rows[16];
};

static const struct configuration tiles = {
	.palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

__attribute__((target("amx-tile,amx-bf16"))) static void dot_tiles(void)
{
	_tile_loadconfig(&tiles);
	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	_tile_zero(4);
	_tile_zero(5);
	for (size_t r = 0; r < ROUNDS; r++) {
		_tile_dpbf16ps(0, 4, 5);
		_tile_dpbf16ps(1, 4, 5);
		_tile_dpbf16ps(2, 4, 5);
		_tile_dpbf16ps(3, 4, 5);
	}
	_tile_release();
}

peak_loop peak_of(enum tier tier, int bf16, double *ret_gflop)
{
	const double each = 2e-9 * ROUNDS;
	if (bf16 && tier == TIER_AMX) {
		*ret_gflop = each * 4 * 16 * 16 * 32;
		return dot_tiles;
	}
	if (bf16 && tier == TIER_AVX512BF16) {
		*ret_gflop = each * SUMS * 32;
		return dot512;
	}
	if (tier >= TIER_AVX512) {
		*ret_gflop = each * SUMS * 16;
		return fma512;
	}
	*ret_gflop = each * SUMS * 8;
	return tier == TIER_AVX2 ? fma256 : NULL;
}
#else
peak_loop peak_of(enum tier tier, int bf16, double *ret_gflop)
{
	(void)tier;
	(void)bf16;
	*ret_gflop = 0.0;
	return NULL;
}
#endif
