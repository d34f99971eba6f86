/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Packed codes against the words that compressed-tensors itself writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "engine/format/packing.h"
#include "tests/unit/engine/output/toy.h"

static uint32_t word(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void test_rows(void **state)
{
	static const int8_t low[8] = {-8, -7, -6, -5, -4, -3, -2, -1}, high[8] = {0, 1, 2, 3, 4, 5, 6, 7};
	static const int8_t eight[5] = {-128, 127, 0, -1, 1};
	uint8_t dst[8];

	(void)state;
	cwe_pack_row(4, (const uint8_t *)low, 8, dst);
	assert_int_equal(word(dst), 0x76543210);
	cwe_pack_row(4, (const uint8_t *)high, 8, dst);
	assert_int_equal(word(dst), 0xfedcba98);
	assert_int_equal(cwe_pack_words(5, 8), 2);
	cwe_pack_row(8, (const uint8_t *)eight, 5, dst);
	assert_int_equal(word(dst), 0x7f80ff00);
	assert_int_equal(word(dst + 4), 0x00000081); /* padded with zero bits */
}

static void test_zeros(void **state)
{
	static const int8_t column[8] = {-8, 0, 2, 4, 6, -2, -4, -6};
	uint8_t dst[4];
	uint64_t r;

	(void)state;
	cwe_pack_zeros(4, column, 8, 1, dst);
	assert_int_equal(word(dst), 0x246eca80);
	for (r = 0; r < 8; r++)
		assert_int_equal(cwe_unpack_zero(4, dst, 0, r, 1, 0), column[r]);
}

static void test_words(void **state)
{
	(void)state;
	assert_int_equal(cwe_pack_words(0, 4), 0);
	assert_int_equal(cwe_pack_words(1, 4), 1);
	assert_int_equal(cwe_pack_words(8, 4), 1);
	assert_int_equal(cwe_pack_words(9, 4), 2);
	assert_int_equal(cwe_pack_words(UINT64_MAX, 8), UINT64_MAX / 4 + 1);
}

/* Every width from 1 to 70, both directions, nothing written beyond the words. */
static void test_round_trip(void **state)
{
	uint8_t codes[70], back[71], packed[73];
	uint64_t random = 3;
	unsigned bits;
	size_t n, i;

	(void)state;
	for (bits = 4; bits <= 8; bits += 4) {
		for (n = 1; n <= 70; n++) {
			uint64_t bytes = 4 * cwe_pack_words(n, bits);

			for (i = 0; i < n; i++)
				codes[i] = (uint8_t)((int64_t)(toy_random(&random) % (1u << bits)) - (1 << (bits - 1)));
			memset(packed, 0xee, sizeof packed);
			memset(back, 0xee, sizeof back);
			cwe_pack_row(bits, codes, n, packed);
			assert_int_equal(packed[bytes], 0xee);
			cwe_unpack_row(bits, packed, n, back);
			assert_memory_equal(codes, back, n);
			assert_int_equal(back[n], 0xee);
		}
	}
}

/* Zero points read from any row on, with words that begin before it. */
static void test_zeros_from_any_row(void **state)
{
	enum { ROWS = 21, GROUPS = 3 };
	int8_t zeros[ROWS * GROUPS] = {0};
	uint8_t packed[4 * ROWS * GROUPS];
	uint64_t random = 5, base, r, g;
	unsigned bits;
	size_t i;

	(void)state;
	for (bits = 4; bits <= 8; bits += 4) {
		for (i = 0; i < sizeof zeros; i++)
			zeros[i] = (int8_t)((int64_t)(toy_random(&random) % (1u << bits)) - (1 << (bits - 1)));
		cwe_pack_zeros(bits, zeros, ROWS, GROUPS, packed);
		for (base = 0; base < ROWS; base++)
			for (r = base; r < ROWS; r++)
				for (g = 0; g < GROUPS; g++)
					assert_int_equal(cwe_unpack_zero(bits, packed + base / (32 / bits) * GROUPS * 4, base, r, GROUPS, g),
						zeros[r * GROUPS + g]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_zeros),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_zeros_from_any_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
