/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Scores of units: every weight of a unit gets the unit's mean, so that all of them fall on the same side of any
 * threshold, and units of different sizes compare by what each of their weights is worth. */
#include <string.h>

#include "engine/select/select.h"

static void spread_columns(uint64_t rows, uint64_t cols, double *sum, float *score)
{
	memset(sum, 0, cols * sizeof *sum);
	for (uint64_t r = 0; r < rows; r++) {
		for (uint64_t c = 0; c < cols; c++) {
			sum[c] += (double)score[r * cols + c];
		}
	}
	for (uint64_t c = 0; c < cols; c++) {
		score[c] = (float)(sum[c] / (double)rows);
	}
	for (uint64_t r = 1; r < rows; r++) {
		memcpy(score + r * cols, score, cols * sizeof *score);
	}
}

static void spread_rows(uint64_t rows, uint64_t cols, float *score)
{
	for (uint64_t r = 0; r < rows; r++) {
		float *row = score + r * cols;
		float mean = (float)(cwe_unit_sum(row, cols) / (double)cols);
		for (uint64_t c = 0; c < cols; c++) {
			row[c] = mean;
		}
	}
}

double cwe_unit_sum(const float *score, uint64_t n)
{
	double sum = 0;
	for (uint64_t i = 0; i < n; i++) {
		sum += (double)score[i];
	}
	return sum;
}

void cwe_unit_spread(enum cwj_unit unit, uint64_t rows, uint64_t cols, double *sum, float *score)
{
	if (unit == CWJ_UNIT_COLUMN && rows > 0) {
		spread_columns(rows, cols, sum, score);
	} else if (unit == CWJ_UNIT_ROW) {
		spread_rows(rows, cols, score);
	}
}
