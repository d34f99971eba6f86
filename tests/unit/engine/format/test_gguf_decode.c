/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quantized blocks of GGUF: numbers are packed here, in the order in which ggml's encoder goes through them, and must come
 * back as scale * q - minimum, every step rounded to f32. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/dtype.h"
#include "engine/format/gguf.h"

#define BLOCKS 40

static uint32_t state_of_random = 12345;

static uint32_t below(uint32_t n)
{
	state_of_random = state_of_random * 1664525 + 1013904223;
	return (state_of_random >> 8) % n;
}

/* Scales of all sizes; the first blocks have extremes. */
static uint16_t half(int block)
{
	static const uint16_t extremes[] = {0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0xfbff, 0x3c00};

	return block < 16 ? extremes[below(8)] : (uint16_t)(0x1000 + below(0x2000) + (below(2) << 15));
}

/* One block's numbers. All but the first members are what a type has of them. */
struct numbers {
	uint16_t d, m; /* f16 */
	int q[256];
	int scale[16], min[16];
	int group; /* values with one scale */
};

static struct numbers draw(int block, int low, int high, int group, int scale_low, int scale_high, int min_high)
{
	struct numbers x = {.d = half(block), .m = half(block), .group = group};

	for (int i = 0; i < 256; i++)
		x.q[i] = block == 0 ? low : block == 1 ? high : low + (int)below((uint32_t)(high - low + 1));
	for (int i = 0; i < 16; i++) {
		x.scale[i] = block == 0 ? scale_low : block == 1 ? scale_high : scale_low + (int)below((uint32_t)(scale_high - scale_low + 1));
		x.min[i] = min_high ? block == 0 ? 0 : block == 1 ? min_high : (int)below((uint32_t)min_high + 1) : 0;
	}
	return x;
}

static void put_half(uint8_t *p, uint16_t x)
{
	memcpy(p, &x, 2);
}

/* d * scale * q - m * min, rounded after each step. */
static void check(uint32_t type, const uint8_t *block, const struct numbers *x, int has_min)
{
	float got[256];

	assert_true(cwe_gguf_decodable(type));
	cwe_gguf_decode(type, block, got, 256);
	for (int i = 0; i < 256; i++) {
		int k = i / x->group;
		volatile float scale = cwe_f32_from_f16(x->d) * (float)x->scale[k];
		volatile float min = cwe_f32_from_f16(x->m) * (float)x->min[k];
		volatile float product = scale * (float)x->q[i], want = has_min ? product - min : product;

		assert_memory_equal(&got[i], (const void *)&want, sizeof want);
	}
}

static void test_q2_k(void **state)
{
	(void)state;
	for (int b = 0; b < BLOCKS; b++) {
		struct numbers x = draw(b, 0, 3, 16, 0, 15, 15);
		uint8_t block[84] = {0};

		for (int i = 0; i < 16; i++)
			block[i] = (uint8_t)(x.scale[i] | x.min[i] << 4);
		for (int half_at = 0, at = 16; half_at < 256; half_at += 128)
			for (int l = 0; l < 32; l++, at++)
				block[at] = (uint8_t)(x.q[half_at + l] | x.q[half_at + l + 32] << 2 | x.q[half_at + l + 64] << 4 |
					x.q[half_at + l + 96] << 6);
		put_half(block + 80, x.d);
		put_half(block + 82, x.m);
		check(CWE_GGUF_TYPE_Q2_K, block, &x, 1);
	}
}

static void test_q3_k(void **state)
{
	(void)state;
	for (int b = 0; b < BLOCKS; b++) {
		struct numbers x = draw(b, -4, 3, 16, -32, 31, 0);
		uint8_t block[110] = {0};

		for (int i = 0; i < 256; i++)
			block[i % 32] |= (uint8_t)((x.q[i] >= 0) << i / 32);
		for (int half_at = 0, at = 32; half_at < 256; half_at += 128)
			for (int l = 0; l < 32; l++, at++)
				for (int s = 0; s < 4; s++)
					block[at] |= (uint8_t)((x.q[half_at + l + 32 * s] & 3) << 2 * s);
		for (int i = 0; i < 16; i++) {
			int scale = x.scale[i] + 32;

			block[96 + i % 8] |= (uint8_t)((scale & 15) << (i < 8 ? 0 : 4));
			block[104 + i % 4] |= (uint8_t)(scale >> 4 << 2 * (i / 4));
		}
		put_half(block + 108, x.d);
		check(CWE_GGUF_TYPE_Q3_K, block, &x, 0);
	}
}

/* Eight scales and minima of 6 bits in 12 bytes. */
static void pack_scales(const struct numbers *x, uint8_t *ret)
{
	for (int i = 0; i < 8; i++) {
		if (i < 4) {
			ret[i] = (uint8_t)x->scale[i];
			ret[i + 4] = (uint8_t)x->min[i];
		} else {
			ret[i + 4] = (uint8_t)((x->scale[i] & 15) | (x->min[i] & 15) << 4);
			ret[i - 4] |= (uint8_t)(x->scale[i] >> 4 << 6);
			ret[i] |= (uint8_t)(x->min[i] >> 4 << 6);
		}
	}
}

static void pack_nibbles(const struct numbers *x, uint8_t *ret)
{
	for (int at = 0; at < 256; at += 64)
		for (int l = 0; l < 32; l++)
			*ret++ = (uint8_t)((x->q[at + l] & 15) | (x->q[at + l + 32] & 15) << 4);
}

static void test_q4_k(void **state)
{
	(void)state;
	for (int b = 0; b < BLOCKS; b++) {
		struct numbers x = draw(b, 0, 15, 32, 0, 63, 63);
		uint8_t block[144] = {0};

		put_half(block, x.d);
		put_half(block + 2, x.m);
		pack_scales(&x, block + 4);
		pack_nibbles(&x, block + 16);
		check(CWE_GGUF_TYPE_Q4_K, block, &x, 1);
	}
}

static void test_q5_k(void **state)
{
	(void)state;
	for (int b = 0; b < BLOCKS; b++) {
		struct numbers x = draw(b, 0, 31, 32, 0, 63, 63);
		uint8_t block[176] = {0};

		put_half(block, x.d);
		put_half(block + 2, x.m);
		pack_scales(&x, block + 4);
		for (int i = 0; i < 256; i++)
			block[16 + i % 32] |= (uint8_t)((x.q[i] >> 4) << i / 32);
		pack_nibbles(&x, block + 48);
		check(CWE_GGUF_TYPE_Q5_K, block, &x, 1);
	}
}

static void test_q6_k(void **state)
{
	(void)state;
	for (int b = 0; b < BLOCKS; b++) {
		struct numbers x = draw(b, -32, 31, 16, -128, 127, 0);
		uint8_t block[210] = {0}, *low = block, *high = block + 128;

		for (int at = 0; at < 256; at += 128, low += 64, high += 32)
			for (int l = 0; l < 32; l++) {
				int q[4];

				for (int s = 0; s < 4; s++)
					q[s] = x.q[at + l + 32 * s] + 32;
				low[l] = (uint8_t)((q[0] & 15) | (q[2] & 15) << 4);
				low[l + 32] = (uint8_t)((q[1] & 15) | (q[3] & 15) << 4);
				high[l] = (uint8_t)(q[0] >> 4 | q[1] >> 4 << 2 | q[2] >> 4 << 4 | q[3] >> 4 << 6);
			}
		for (int i = 0; i < 16; i++)
			block[192 + i] = (uint8_t)x.scale[i];
		put_half(block + 208, x.d);
		check(CWE_GGUF_TYPE_Q6_K, block, &x, 0);
	}
}

static void test_q8_k(void **state)
{
	(void)state;
	for (int b = 0; b < BLOCKS; b++) {
		float d = cwe_f32_from_f16(half(b)) * 1.0001f, got[256];
		uint8_t block[292];

		memcpy(block, &d, 4);
		for (int i = 4; i < 292; i++)
			block[i] = (uint8_t)below(256);
		cwe_gguf_decode(CWE_GGUF_TYPE_Q8_K, block, got, 256);
		for (int i = 0; i < 256; i++)
			assert_true(got[i] == d * (float)(int8_t)block[4 + i]);
	}
}

/* 32 values of 5 bits, signed without a minimum and unsigned with one. */
static void test_q5(void **state)
{
	(void)state;
	for (int b = 0; b < BLOCKS; b++) {
		int has_min = b % 2, at = has_min ? 4 : 2;
		struct numbers x = draw(b, 0, 31, 16, 0, 0, 0);
		uint8_t block[24] = {0};
		float got[32], d = cwe_f32_from_f16(x.d), m = cwe_f32_from_f16(x.m);

		put_half(block, x.d);
		if (has_min)
			put_half(block + 2, x.m);
		for (int i = 0; i < 32; i++) {
			block[at + i / 8] |= (uint8_t)((x.q[i] >> 4) << i % 8);
			block[at + 4 + i % 16] |= (uint8_t)((x.q[i] & 15) << 4 * (i / 16));
		}
		cwe_gguf_decode(has_min ? CWE_GGUF_TYPE_Q5_1 : CWE_GGUF_TYPE_Q5_0, block, got, 32);
		for (int i = 0; i < 32; i++) {
			volatile float product = d * (float)(has_min ? x.q[i] : x.q[i] - 16);

			assert_true(got[i] == (has_min ? product + m : product));
		}
	}
}

static void test_several_blocks(void **state)
{
	static const uint32_t types[] = {CWE_GGUF_TYPE_Q5_0, CWE_GGUF_TYPE_Q5_1, CWE_GGUF_TYPE_Q2_K, CWE_GGUF_TYPE_Q3_K,
		CWE_GGUF_TYPE_Q4_K, CWE_GGUF_TYPE_Q5_K, CWE_GGUF_TYPE_Q6_K, CWE_GGUF_TYPE_Q8_K};

	(void)state;
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		struct cwe_gguf_block block;
		uint8_t bytes[3 * 292];
		float all[3 * 256], one[256];

		assert_int_equal(cwe_gguf_block(types[i], &block), 0);
		for (size_t j = 0; j < sizeof bytes; j++)
			bytes[j] = (uint8_t)below(60); /* no NaN among the scales */
		cwe_gguf_decode(types[i], bytes, all, 3 * (size_t)block.elements);
		for (int b = 0; b < 3; b++) {
			cwe_gguf_decode(types[i], bytes + b * block.bytes, one, block.elements);
			assert_memory_equal(one, all + b * block.elements, block.elements * sizeof *one);
		}
	}
}

static void test_which(void **state)
{
	static const uint32_t read[] = {0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 15, 30};
	struct cwe_gguf_block block;
	size_t n = 0;

	(void)state;
	for (uint32_t type = 0; type < 60; type++) {
		n += cwe_gguf_decodable(type) != 0;
		assert_true(!cwe_gguf_decodable(type) || !cwe_gguf_block(type, &block));
	}
	assert_int_equal(n, sizeof read / sizeof *read);
	for (size_t i = 0; i < n; i++)
		assert_true(cwe_gguf_decodable(read[i]));
	assert_int_equal(cwe_gguf_block(4, &block), -1);
	assert_int_equal(cwe_gguf_block(UINT32_MAX, &block), -1);
	assert_false(cwe_gguf_decodable(UINT32_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_q2_k),
		cmocka_unit_test(test_q3_k),
		cmocka_unit_test(test_q4_k),
		cmocka_unit_test(test_q5_k),
		cmocka_unit_test(test_q6_k),
		cmocka_unit_test(test_q8_k),
		cmocka_unit_test(test_q5),
		cmocka_unit_test(test_several_blocks),
		cmocka_unit_test(test_which),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
