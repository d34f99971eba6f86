/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sizes under many thresholds are those of the masks that each threshold makes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/format/overlay.h"
#include "engine/select/key.h"
#include "engine/select/select.h"

static uint64_t state_of = 12345;

/* Few values, so that thresholds meet ties; most weights low, so that gaps have escapes. */
static float draw(void)
{
	state_of = state_of * UINT64_C(6364136223846793005) + 1442695040888963407u;
	unsigned n = (unsigned)(state_of >> 33) % 1000;
	return n < 980 ? -1.0f - (float)(n % 7) : (float)(n - 985) / 4;
}

static void check(uint64_t rows, uint64_t cols, const float *threshold, uint32_t n)
{
	uint64_t stride = (cols + 7) / 8;
	float *score = malloc(rows * cols * sizeof *score);
	uint8_t *mask = malloc(rows * stride);
	struct cwe_sizes sizes = {{0}, {0}};
	assert_non_null(score);
	assert_non_null(mask);
	for (uint64_t i = 0; i < rows * cols; i++) {
		score[i] = draw();
	}
	/* In two parts, as threads do it. */
	cwe_sizes_add(score, rows / 2, cols, threshold, n, &sizes);
	cwe_sizes_add(score + rows / 2 * cols, rows - rows / 2, cols, threshold, n, &sizes);
	for (uint32_t i = 0; i < n; i++) {
		struct cwe_overlay_plan want, got = {.rows = rows, .cols = cols, .values = sizes.values[i], .escapes = sizes.escapes[i]};
		struct cwb_err err = {0};
		uint64_t set = cwe_mask_fill(score, rows, cols, threshold[i], mask, stride);
		assert_int_equal(cwe_overlay_measure(mask, stride, rows, cols, 2, &want, &err), 0);
		assert_int_equal(sizes.values[i], set);
		assert_int_equal(sizes.escapes[i], want.escapes);
		cwe_overlay_choose(&got, 2);
		assert_int_equal(got.bytes, want.bytes);
		assert_int_equal(got.kind, want.kind);
	}
	free(score);
	free(mask);
}

static void as_masks_have_them(void **state)
{
	float threshold[CWE_SIZES_MOST] = {-100, -7, -3, -1.5f, -1, 0, 0.25f, 1, 3, INFINITY};
	(void)state;
	check(7, 2100, threshold, 10);
	check(64, 16, threshold, 10);
	check(1, 1, threshold, 10);
	check(3, 256, threshold + 5, 1);
	for (uint32_t i = 0; i < CWE_SIZES_MOST; i++) {
		threshold[i] = -8 + 0.2f * (float)i;
	}
	check(5, 3000, threshold, CWE_SIZES_MOST);
}

static void keys_have_the_order_of_floats(void **state)
{
	static const float x[] = {-INFINITY, -3e38f, -1, -1e-45f, 0, 1e-45f, 1, 3e38f, INFINITY};
	(void)state;
	for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
		assert_true(cwe_key_value(cwe_key_of(x[i])) == x[i]);
		assert_true(i == 0 || cwe_key_of(x[i - 1]) < cwe_key_of(x[i]));
	}
	assert_int_equal(cwe_key_of(-0.0f), cwe_key_of(0.0f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(as_masks_have_them), cmocka_unit_test(keys_have_the_order_of_floats)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
