/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Counting magnitudes. Each piece of the rows counts for itself; whole numbers add up to the same in any order. */
#include <errno.h>
#include <string.h>

#include <cwp/scorer.h>

#include "plugins/backends/cpu/cpu.h"

enum { PIECES = 16 };

struct counting {
	const float *x;
	uint64_t rows;
	uint64_t cols;
	uint64_t ld;
	uint64_t pieces;
	uint64_t *count; /* [pieces, CWP_HISTOGRAM_BINS] */
};

static void count_row(const float *x, uint64_t n, uint64_t *count)
{
	for (uint64_t i = 0; i < n; i++) {
		uint32_t bits = 0;
		memcpy(&bits, &x[i], sizeof(bits));
		uint32_t key = (bits & 0x7FFFFFFF) >> 17;
		uint32_t bin = key < CWP_HISTOGRAM_FIRST ? 0 : key - CWP_HISTOGRAM_FIRST + 1;
		count[bin < CWP_HISTOGRAM_BINS ? bin : CWP_HISTOGRAM_BINS - 1]++;
	}
}

static void count_piece(void *arg, size_t i)
{
	const struct counting *c = arg;
	uint64_t *count = c->count + i * CWP_HISTOGRAM_BINS;
	uint64_t first = c->rows * i / c->pieces, end = c->rows * (i + 1) / c->pieces;
	memset(count, 0, CWP_HISTOGRAM_BINS * sizeof(*count));
	for (uint64_t t = first; t < end; t++) {
		count_row(c->x + t * c->ld, c->cols, count);
	}
}

uint64_t cpu_act_histogram_memory(void)
{
	return (uint64_t)PIECES * CWP_HISTOGRAM_BINS * sizeof(uint64_t);
}

int cpu_act_histogram(void *vb, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld,
	uint64_t *d_count)
{
	struct cpu *b = vb;
	if (!d_count) {
		return cpu_refuse(b, CWP_EVALUE, "act_histogram: count is NULL");
	}
	int rc = cpu_check_matrix(b, "act_histogram", "x", d_x, rows, cols, ld);
	if (rc || rows == 0 || cols == 0) {
		return rc;
	}
	struct counting c = {d_x, rows, cols, ld, rows < PIECES ? rows : PIECES, NULL};
	c.count = cpu_scratch_shared(b, c.pieces * CWP_HISTOGRAM_BINS * sizeof(*c.count));
	if (!c.count) {
		return -ENOMEM;
	}
	cpu_run(b, (size_t)c.pieces, count_piece, &c);
	for (uint64_t i = 0; i < c.pieces * CWP_HISTOGRAM_BINS; i++) {
		d_count[i % CWP_HISTOGRAM_BINS] += c.count[i];
	}
	return 0;
}
