/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scores of columns and rows, and thresholds of single rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/select/select.h"

static void spread(void **state)
{
	static const float score[6] = {1, 2, 3, 5, -2, 0.5f};
	static const float column[6] = {3, 0, 1.75f, 3, 0, 1.75f}, row[6] = {2, 2, 2, 3.5f / 3, 3.5f / 3, 3.5f / 3};
	float got[6];
	double sum[3];
	(void)state;
	memcpy(got, score, sizeof got);
	cwe_unit_spread(CWJ_UNIT_COLUMN, 2, 3, sum, got);
	assert_memory_equal(got, column, sizeof got);
	memcpy(got, score, sizeof got);
	cwe_unit_spread(CWJ_UNIT_ROW, 2, 3, sum, got);
	for (int i = 0; i < 6; i++) {
		assert_true(got[i] - row[i] < 1e-6f && row[i] - got[i] < 1e-6f);
		assert_true(got[i] == got[i / 3 * 3]);
	}
	memcpy(got, score, sizeof got);
	cwe_unit_spread(CWJ_UNIT_WEIGHT, 2, 3, sum, got);
	cwe_unit_spread(CWJ_UNIT_MODULE, 2, 3, sum, got);
	assert_memory_equal(got, score, sizeof got);
	assert_true(cwe_unit_sum(score, 6) == 9.5);
	assert_true(cwe_unit_sum(score, 0) == 0);
}

/* Small beside large: sums must not lose it. */
static void sums_in_double(void **state)
{
	enum { ROWS = 4096 };
	float *score = malloc(ROWS * 2 * sizeof *score);
	double sum[2];
	(void)state;
	assert_non_null(score);
	for (size_t i = 0; i < ROWS; i++) {
		score[2 * i] = i == 0 ? 16777216.0f : 1.0f;
		score[2 * i + 1] = 0;
	}
	cwe_unit_spread(CWJ_UNIT_COLUMN, ROWS, 2, sum, score);
	assert_true(score[0] == (float)((16777216.0 + ROWS - 1) / ROWS));
	assert_true(score[2 * ROWS - 1] == 0);
	free(score);
}

static void rows_by_themselves(void **state)
{
	static const float score[] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0, /**/ 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, /**/
		0.1f, 0.9f, 0.2f, 0.8f, 0.3f, 0.7f, -0.0f, 0.0f, -5, -6};
	/* Two of ten each; in the second row all equals of the second are taken. */
	static const uint8_t want[3][2] = {{0x03, 0x00}, {0xff, 0x03}, {0x0a, 0x00}};
	uint8_t mask[3][2];
	uint64_t set = 0;
	(void)state;
	assert_int_equal(cwe_mask_fill_rows(score, 3, 10, 0.25, mask[0], 2, &set), 0);
	assert_memory_equal(mask, want, sizeof want);
	assert_int_equal(set, 14);
	/* Less than one weight a row. */
	assert_int_equal(cwe_mask_fill_rows(score, 3, 10, 0.05, mask[0], 2, &set), 0);
	assert_int_equal(set, 0);
	assert_int_equal(mask[1][0] | mask[2][1], 0);
	assert_int_equal(cwe_mask_fill_rows(score, 3, 10, 1, mask[0], 2, &set), 0);
	assert_int_equal(set, 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(spread), cmocka_unit_test(sums_in_double),
		cmocka_unit_test(rows_by_themselves)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
