/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Layouts of the CUDA backend's attention, without a GPU: ldmatrix and mma.m16n8k16 are carried out lane by lane as the PTX ISA
 * describes them, with the addresses that the kernels use, against plain products. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugins/backends/cuda/attention_layout.h"

enum { LANES = 32, SIDE = 16, MOST = 256, ROWS = 64 };

static const int widths[] = {32, 64, 96, 128, 256};

/* What a lane holds: four registers of two numbers. */
struct share {
	float v[4][2];
};

/* A tile in shared memory, in numbers instead of halves: two bytes are one of them. */
static float tile[ROWS * MOST];

/* Whole numbers, so that all sums are exact. */
static float number(int row, int col)
{
	return (float)((row * 31 + col * 17 + row * col) % 23 - 11);
}

static void fill_tile(int d)
{
	for (int row = 0; row < ROWS; row++) {
		for (int col = 0; col < d; col++) {
			tile[layout_at(d, row, col & ~7) / 2 + (col & 7)] = number(row, col);
		}
	}
}

/* ldmatrix.x4: register i of a lane is from the matrix whose eight rows the lanes [8 i, 8 i + 8) point at. */
static void load(struct share *s, const int *address, int transposed)
{
	for (int lane = 0; lane < LANES; lane++) {
		for (int i = 0; i < 4; i++) {
			for (int k = 0; k < 2; k++) {
				int row = transposed ? lane % 4 * 2 + k : lane / 4, col = transposed ? lane / 4 : lane % 4 * 2 + k;
				assert_int_equal(address[i * 8 + row] % 16, 0);
				s[lane].v[i][k] = tile[address[i * 8 + row] / 2 + col];
			}
		}
	}
}

/* Addresses of the part at (row0, col0), in one of the two orders. */
static void addresses(int *address, int d, int row0, int col0, int rows_first)
{
	for (int lane = 0; lane < LANES; lane++) {
		int row = rows_first ? layout_rows_row(lane) : layout_cols_row(lane);
		int col = rows_first ? layout_rows_col(lane) : layout_cols_col(lane);
		address[lane] = row0 * d * 2 + layout_fixed(d, row) + layout_varying(layout_turn(d, row, col), col0);
		assert_int_equal(address[lane], layout_at(d, row0 + row, col0 + col));
	}
}

/* mma.m16n8k16: sum [16, 8] = a [16, 16] b [16, 8]; `right`: b is registers 2 and 3 instead of 0 and 1. */
static void multiply(float *sum, const struct share *a, const struct share *b, int right)
{
	for (int lane = 0; lane < LANES; lane++) {
		for (int i = 0; i < 4; i++) {
			int row = layout_sum_row(lane, i), col = layout_sum_col(lane, i);
			float c = 0.0F;
			for (int k = 0; k < SIDE; k++) {
				const struct share *x = &a[row % 8 * 4 + k % 8 / 2], *y = &b[col * 4 + k % 8 / 2];
				c += x->v[row / 8 + k / 8 * 2][k % 2] * y->v[right * 2 + k / 8][k % 2];
			}
			sum[row * SIDE + right * 8 + col] = c;
		}
	}
}

/* Scores: rows times rows. The left operand is loaded rows first, the right one columns first. */
static void test_rows_times_rows(void **state)
{
	(void)state;
	for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++) {
		int d = widths[w], address[LANES];
		struct share a[LANES], b[LANES];
		float got[SIDE * SIDE];
		fill_tile(d);
		for (int col = 0; col < d; col += SIDE) {
			addresses(address, d, 16, col, 1);
			load(a, address, 0);
			addresses(address, d, 48, col, 0);
			load(b, address, 0);
			multiply(got, a, b, 0);
			multiply(got, a, b, 1);
			for (int i = 0; i < SIDE * SIDE; i++) {
				float want = 0.0F;
				for (int k = 0; k < SIDE; k++) {
					want += number(16 + i / SIDE, col + k) * number(48 + i % SIDE, col + k);
				}
				assert_true(got[i] == want);
			}
		}
	}
}

/* Outputs: accumulators, as they lie, times rows. The right operand is loaded rows first and transposed. */
static void test_sums_times_columns(void **state)
{
	(void)state;
	for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++) {
		int d = widths[w], address[LANES];
		struct share a[LANES], b[LANES];
		float got[SIDE * SIDE];
		fill_tile(d);
		/* Two accumulators [16, 8] beside each other: p[row][col] = number(col, row). */
		for (int lane = 0; lane < LANES; lane++) {
			for (int i = 0; i < 4; i++) {
				for (int n = 0; n < 2; n++) {
					a[lane].v[n * 2 + i / 2][i % 2] = number(n * 8 + layout_sum_col(lane, i), layout_sum_row(lane, i));
				}
			}
		}
		for (int col = 0; col < d; col += SIDE) {
			addresses(address, d, 32, col, 1);
			load(b, address, 1);
			multiply(got, a, b, 0);
			multiply(got, a, b, 1);
			for (int i = 0; i < SIDE * SIDE; i++) {
				float want = 0.0F;
				for (int k = 0; k < SIDE; k++) {
					want += number(k, i / SIDE) * number(32 + k, col + i % SIDE);
				}
				assert_true(got[i] == want);
			}
		}
	}
}

/* Every chunk has a place of its own, and what eight lanes load together lies in all banks. */
static void test_places(void **state)
{
	(void)state;
	for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++) {
		int d = widths[w], address[LANES];
		unsigned char taken[ROWS * MOST / 8] = {0};
		for (int row = 0; row < ROWS; row++) {
			for (int col = 0; col < d; col += 8) {
				int at = layout_at(d, row, col);
				assert_in_range(at, row * d * 2, (row + 1) * d * 2 - 16);
				assert_int_equal(taken[at / 16], 0);
				taken[at / 16] = 1;
			}
		}
		for (int rows_first = 0; rows_first < 2; rows_first++) {
			addresses(address, d, 16, 16, rows_first);
			for (int matrix = 0; matrix < 4; matrix++) {
				unsigned banks = 0;
				for (int row = 0; row < 8; row++) {
					banks |= 1U << (address[matrix * 8 + row] / 16 % 8);
				}
				assert_int_equal(banks, 0xff);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows_times_rows),
		cmocka_unit_test(test_sums_times_columns),
		cmocka_unit_test(test_places),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
