/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rounding against the reference: every BF16 value as E4M3, and the codes of a matrix with given scales. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/file.h"
#include "plugins/quantizers/rounding.h"

/* The reference file: its bytes and header. */
struct golden {
	char *data;
	size_t length;
	json_t *header;
};

static struct golden golden;

/* The bytes of a tensor, whose size must be as expected. */
static const void *tensor(const char *name, size_t bytes)
{
	uint64_t header_size;
	json_t *offsets = json_object_get(json_object_get(golden.header, name), "data_offsets");
	size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0));
	size_t end = (size_t)json_integer_value(json_array_get(offsets, 1));

	memcpy(&header_size, golden.data, 8);
	assert_int_equal(json_array_size(offsets), 2);
	assert_int_equal(end - begin, bytes);
	assert_true(8 + header_size + end <= golden.length);
	return golden.data + 8 + header_size + begin;
}

static void test_e4m3_of_every_bf16(void **state)
{
	const int32_t *bits = tensor("bf16_bits", 65536 * 4), *code = tensor("e4m3fn_saturating_bits", 65536 * 4);
	const int32_t *nan = tensor("is_nan", 65536 * 4);
	int wrong = 0, nans = 0;

	(void)state;
	for (int i = 0; i < 65536; i++) {
		uint8_t got = e4m3_bits(bits_float((uint32_t)bits[i] << 16));
		if (nan[i]) {
			wrong += (got & 0x7f) != 0x7f;
			nans++;
		} else {
			wrong += got != (uint8_t)code[i];
		}
	}
	assert_int_equal(wrong, 0);
	assert_int_equal(nans, 254);
}

enum { ROWS = 37, COLS = 259 };

static void matrix(float *w)
{
	const uint16_t *bits = tensor("w", ROWS * COLS * 2);

	for (int i = 0; i < ROWS * COLS; i++) {
		w[i] = bits_float((uint32_t)bits[i] << 16);
	}
}

/* Codes under the reference's own scales. group: columns that share one. */
static void integer_codes(const char *scales_name, const char *codes_name, uint64_t group, int bits)
{
	const size_t n_scales = (COLS - 1) / group + 1;
	const float *scales = tensor(scales_name, ROWS * n_scales * 4);
	const uint8_t *wanted = tensor(codes_name, ROWS * COLS);
	float *w = malloc(ROWS * COLS * sizeof(*w)), copied[3];
	uint8_t got[COLS];

	assert_non_null(w);
	matrix(w);
	for (size_t r = 0; r < ROWS; r++) {
		memcpy(copied, (const char *)scales + r * n_scales * 4, n_scales * 4);
		codes_int(w + r * COLS, COLS, group, copied, NULL, bits, got);
		assert_memory_equal(got, wanted + r * COLS, COLS);
	}
	free(w);
}

static void test_int8_rows(void **state)
{
	(void)state;
	integer_codes("int8_row_scale", "int8_row_codes", COLS, 8);
}

static void test_int4_groups(void **state)
{
	(void)state;
	integer_codes("int4_g128_scale", "int4_g128_codes", 128, 4);
}

static void test_fp8_rows(void **state)
{
	const char *scales = tensor("fp8_row_scale", ROWS * 4);
	const uint8_t *wanted = tensor("fp8_row_codes", ROWS * COLS);
	float *w = malloc(ROWS * COLS * sizeof(*w)), scale;
	uint8_t got[COLS];

	(void)state;
	assert_non_null(w);
	matrix(w);
	for (size_t r = 0; r < ROWS; r++) {
		memcpy(&scale, scales + r * 4, 4);
		codes_e4m3(w + r * COLS, COLS, scale, got);
		assert_memory_equal(got, wanted + r * COLS, COLS);
	}
	free(w);
}

/* Without the reference: ties go to the even neighbour, ends saturate. */
static void test_by_hand(void **state)
{
	static const float ties[][2] = {{0.5f, 0}, {1.5f, 2}, {2.5f, 2}, {-0.5f, 0}, {-1.5f, -2}, {-2.5f, -2}, {126.5f, 126}, {0.49999997f, 0},
		{-127.5f, -128}};
	static const struct {
		float v;
		uint8_t code;
	} e4m3[] = {{0, 0}, {-0.0f, 0x80}, {448, 0x7e}, {-448, 0xfe}, {1e30f, 0x7e}, {INFINITY, 0x7e}, {-INFINITY, 0xfe}, {0x1p-9f, 1}, {0x1p-10f, 0},
		{0x1.8p-9f, 2}, {0x1.000002p-10f, 1}, {0x1p-6f, 8}, {0x1.ep-7f, 8}, {0x1.cp-7f, 7}, {1, 0x38}, {1.0625f, 0x38}, {1.1875f, 0x3a},
		{432, 0x7d + 1}, {431.9f, 0x7d}, {FLT_TRUE_MIN, 0}};

	(void)state;
	for (size_t i = 0; i < sizeof(ties) / sizeof(ties[0]); i++) {
		assert_int_equal(code_int(ties[i][0], 1, 0, -128, 127), (int)ties[i][1]);
	}
	for (size_t i = 0; i < sizeof(e4m3) / sizeof(e4m3[0]); i++) {
		if (e4m3_bits(e4m3[i].v) != e4m3[i].code) {
			fail_msg("%a gives 0x%02x instead of 0x%02x", (double)e4m3[i].v, e4m3_bits(e4m3[i].v), e4m3[i].code);
		}
	}
	assert_int_equal(code_int(FLT_MAX, FLT_MIN, 0, -8, 7), 7);
	assert_int_equal(code_int(-FLT_MAX, FLT_MIN, 7, -8, 7), -8);
	assert_int_equal(code_int(1000, 1, -8, -8, 7), 7);
	assert_true(round_bf16(1.00390625f) == 1.0f);       /* a tie, down to even */
	assert_true(round_bf16(1.01171875f) == 1.015625f);  /* a tie, up to even */
	assert_true(round_bf16(1.0039064f) == 1.0078125f);  /* just above the tie */
	assert_true(usable_scale(0) == 1.0f);
	assert_true(usable_scale(FLT_TRUE_MIN) == 1.0f);
	assert_true(usable_scale(FLT_MIN / 2) == 1.0f);
	assert_true(usable_scale(FLT_MIN) == FLT_MIN);
}

int main(void)
{
	const struct CMUnitTest by_hand[] = {cmocka_unit_test(test_by_hand)};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_e4m3_of_every_bf16),
		cmocka_unit_test(test_int8_rows),
		cmocka_unit_test(test_int4_groups),
		cmocka_unit_test(test_fp8_rows),
	};
	char path[4096];
	const char *shared = getenv("CWP_SHARED");
	uint64_t header_size;

	int failed = cmocka_run_group_tests(by_hand, NULL, NULL);
	snprintf(path, sizeof(path), "%s/golden/rounding.safetensors", shared != NULL ? shared : "shared");
	if (failed != 0) {
		return failed;
	}
	if (cwb_file_read(path, 1 << 24, &golden.data, &golden.length, NULL) < 0) {
		printf("skipped: no reference %s\n", path);
		return 77;
	}
	if (golden.length >= 8) {
		memcpy(&header_size, golden.data, 8);
		if (header_size <= golden.length - 8) {
			golden.header = json_loadb(golden.data + 8, header_size, 0, NULL);
		}
	}
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	json_decref(golden.header);
	free(golden.data);
	return failed;
}
