/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Blocks of GGUF: their bytes, scales that F16 does not hold, and what is decoded of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/format/format.h"
#include "engine/format/gguf_encode.h"
#include "tests/unit/engine/output/toy.h"

static int hex(const uint8_t *bytes, size_t n, const char *text)
{
	char found[160];

	for (size_t i = 0; i < n; i++)
		snprintf(found + 2 * i, 3, "%02x", bytes[i]);
	return strcmp(found, text) == 0;
}

/* The values -1 + 2 i / 31 as ggml's own quantizer writes them, given its codes. */
static void test_bytes(void **state)
{
	struct cwp_grid eight = toy_grid(CWP_CODE_INT, 8, 1, 32, CWP_ACT_NONE), four = toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE);
	uint8_t codes[32], block[34];
	float d = 0x1.02p-7f; /* 1 / 127 in F16 is 0x2008 */

	(void)state;
	for (int i = 0; i < 32; i++)
		codes[i] = (uint8_t)(int8_t)roundf((-1 + 2 * (float)i / 31) * 127);
	assert_int_equal(cwe_gguf_encode_row(CWE_GGUF_TYPE_Q8_0, &eight, 32, codes, &d, block), 34);
	assert_true(hex(block, 34, "0820" "8189919aa2aab2bac3cbd3dbe3ecf4fc040c141d252d353d464e565e666f777f"));
	d = 0.125f;
	for (int i = 0; i < 32; i++) {
		int u = (int)((-1 + 2 * (float)i / 31) / d + 8.5f);

		codes[i] = (uint8_t)(int8_t)((u > 15 ? 15 : u) - 8);
	}
	assert_int_equal(cwe_gguf_encode_row(CWE_GGUF_TYPE_Q4_0, &four, 32, codes, &d, block), 18);
	assert_true(hex(block, 18, "0030" "809191a2a2b3b3c4c4d5d5e6e6f7f7f8"));
}

static void check_decoded(const struct cwp_grid *grid, uint64_t rows, uint64_t cols, uint64_t seed)
{
	uint64_t n = cwe_grid_scales(grid, cols), wrong;
	uint8_t *codes = test_malloc(rows * cols), *blocks = test_malloc(rows * cols * 2);
	float *scales = test_malloc(rows * n * sizeof *scales), *want = test_malloc(rows * cols * sizeof *want);
	float *got = test_malloc(rows * cols * sizeof *got);
	size_t at = 0;

	for (uint64_t i = 0; i < rows * cols; i++)
		codes[i] = (uint8_t)(int8_t)((int)(toy_random(&seed) % (1u << grid->bits)) - (1 << (grid->bits - 1)));
	for (uint64_t i = 0; i < rows * n; i++) {
		float significand = 1 + (float)(toy_random(&seed) % 128) / 128;

		scales[i] = ldexpf(significand, (int)(toy_random(&seed) % 24) - 24);
	}
	assert_int_equal(cwe_gguf_settle(grid, rows, cols, codes, scales, &wrong), 0);
	cwe_dequantize(grid, rows, cols, codes, scales, NULL, want);
	for (uint64_t r = 0; r < rows; r++)
		at += cwe_gguf_encode_row(cwe_gguf_grid_type(grid), grid, cols, codes + r * cols, scales + r * n, blocks + at);
	cwe_gguf_decode(cwe_gguf_grid_type(grid), blocks, got, rows * cols);
	assert_memory_equal(got, want, rows * cols * sizeof *got);
	test_free(codes);
	test_free(blocks);
	test_free(scales);
	test_free(want);
	test_free(got);
}

static void test_decoded(void **state)
{
	(void)state;
	for (uint32_t bits = 4; bits <= 8; bits += 4)
		for (uint32_t group = 0; group <= 96; group += 32) {
			struct cwp_grid grid = toy_grid(CWP_CODE_INT, bits, 1, group, CWP_ACT_NONE);

			check_decoded(&grid, 7, 288, group + bits);
		}
}

/* All scales from 2^-17 to 65280 that BF16 has are kept, with their codes. */
static void test_kept_scales(void **state)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 8, 1, 32, CWP_ACT_NONE);
	uint8_t codes[32];
	uint64_t wrong, count = 0;

	(void)state;
	memset(codes, 77, sizeof codes);
	for (uint32_t bits = 0x37000000; bits <= 0x477f0000; bits += 0x10000) {
		float scale, before;

		memcpy(&scale, &bits, 4);
		before = scale;
		assert_int_equal(cwe_gguf_settle(&grid, 1, 32, codes, &scale, &wrong), 0);
		assert_memory_equal(&scale, &before, 4);
		assert_int_equal(codes[5], 77);
		count++;
	}
	assert_int_equal(count, 128 * 33);
}

/* Smaller ones go up to what F16 has, and each code stands for the nearest value. */
static void test_small_scales(void **state)
{
	static const float scales[] = {0x1.fep-18f, 0x1.02p-18f, 0x1.54p-20f, 0x1p-24f, 0x1.8p-25f, 0x1p-30f, 0x1p-126f};
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 8, 1, 32, CWP_ACT_NONE);
	uint64_t wrong;

	(void)state;
	for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
		uint8_t codes[32];
		float scale = scales[i];

		for (int c = 0; c < 32; c++)
			codes[c] = (uint8_t)(int8_t)(c * 8 - 128);
		assert_int_equal(cwe_gguf_settle(&grid, 1, 32, codes, &scale, &wrong), 0);
		assert_true(scale >= scales[i] && scale - scales[i] <= 0x1p-24f);
		assert_true(fmodf(scale, 0x1p-24f) == 0);
		for (int c = 0; c < 32; c++)
			assert_true(fabsf((float)(int8_t)codes[c] * scale - (float)(c * 8 - 128) * scales[i]) <= scale / 2);
	}
}

static void test_large_scale(void **state)
{
	struct cwp_grid grid = toy_grid(CWP_CODE_INT, 4, 1, 32, CWP_ACT_NONE);
	float scales[4] = {1, 65280, 65536, 1};
	uint8_t codes[128] = {0};
	uint64_t wrong = 0;

	(void)state;
	assert_int_equal(cwe_gguf_settle(&grid, 2, 64, codes, scales, &wrong), CWP_EVALUE);
	assert_int_equal(wrong, 2);
}

static void refused(struct cwp_grid grid, uint64_t cols, const char *part)
{
	const struct cwe_output_module m = {.name = "model.layers.3.mlp.down_proj", .rows = 8, .cols = cols, .grid = grid};
	struct cwb_err err = {0};

	assert_int_equal(cwe_format_check(cwe_format_find(CWJ_FORMAT_GGUF), &m, &err), CWP_EVALUE);
	assert_non_null(strstr(err.message, "gguf"));
	assert_non_null(strstr(err.message, "model.layers.3.mlp.down_proj"));
	if (!strstr(err.message, part))
		fail_msg("no \"%s\" in: %s", part, err.message);
}

static void test_refused_grids(void **state)
{
	struct cwp_grid outliers = toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_NONE), tensor = outliers, block = outliers;

	(void)state;
	refused(toy_grid(CWP_CODE_E4M3, 8, 1, 0, CWP_ACT_NONE), 64, "fp8");
	refused(toy_grid(CWP_CODE_INT, 8, 0, 32, CWP_ACT_NONE), 64, "asymmetric");
	refused(toy_grid(CWP_CODE_INT, 8, 1, 0, CWP_ACT_INT8_TOKEN), 64, "activations int8 by token");
	refused(toy_grid(CWP_CODE_INT, 3, 1, 32, CWP_ACT_NONE), 64, "int3");
	refused(toy_grid(CWP_CODE_INT, 2, 1, 32, CWP_ACT_NONE), 64, "int2");
	refused(toy_grid(CWP_CODE_INT, 4, 1, 16, CWP_ACT_NONE), 64, "groups of 16");
	refused(toy_grid(CWP_CODE_INT, 4, 1, 48, CWP_ACT_NONE), 96, "groups of 48");
	refused(toy_grid(CWP_CODE_INT, 4, 1, 0, CWP_ACT_NONE), 80, "80 columns");
	outliers.threshold = 6;
	refused(outliers, 64, "threshold 6");
	tensor.granularity = CWP_PER_TENSOR;
	refused(tensor, 64, "by tensor");
	block.granularity = CWP_PER_BLOCK;
	block.group = block.block_rows = 32;
	refused(block, 64, "blocks of 32 x 32");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_decoded),
		cmocka_unit_test(test_kept_scales),
		cmocka_unit_test(test_small_scales),
		cmocka_unit_test(test_large_scale),
		cmocka_unit_test(test_refused_grids),
	};

	return cmocka_run_group_tests_name("gguf blocks", tests, NULL, NULL);
}
