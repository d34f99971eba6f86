/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the programs that measure errors of Linears share: memory or an end, and which weights are kept. */
#ifndef BENCH_ERROR_H
#define BENCH_ERROR_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void *must(void *p)
{
	if (p == NULL) {
		fprintf(stderr, "%s: out of memory\n", program_invocation_short_name);
		exit(1);
	}
	return p;
}

static inline int descending(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x < y) - (x > y);
}

/* Sets a bit of mask [rows, (cols + 7) / 8], whose bits are 0, for the given share of score [rows, cols], the largest of these n
 * numbers, and for their equals. */
static inline void choose_largest(const float *score, uint64_t n, uint64_t cols, double share, uint8_t *mask)
{
	uint64_t stride = (cols + 7) / 8, kept = (uint64_t)(share * (double)n);
	float *sorted = must(malloc(n * sizeof *sorted));
	memcpy(sorted, score, n * sizeof *sorted);
	qsort(sorted, n, sizeof *sorted, descending);
	for (uint64_t i = 0; kept > 0 && i < n; i++) {
		if (score[i] >= sorted[kept - 1]) {
			mask[i / cols * stride + i % cols / 8] |= (uint8_t)(1 << i % cols % 8);
		}
	}
	free(sorted);
}

#endif
