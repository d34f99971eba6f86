/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Statistics of activations by column, and how many have which magnitude. */
#include <cwp/scorer.h>

#include "plugins/backends/cuda/cuda.h"
#include "plugins/backends/cuda/ops_rows.h"

static int run(struct cuda *b, const char *op, struct launch_columns *c)
{
	int rc = cuda_check_matrix(b, op, "x", c->d_x, c->rows, c->cols, c->ld);
	if (rc || c->rows == 0 || c->cols == 0) {
		return rc;
	}
	c->d_scratch = cuda_scratch(b, launch_columns_scratch(c->rows, c->cols));
	if (!c->d_scratch) {
		return b->refused;
	}
	if (c->d_sum) {
		cuda_wrote(b, c->d_sum, c->cols * sizeof(*c->d_sum));
	}
	if (c->d_sq) {
		cuda_wrote(b, c->d_sq, c->cols * sizeof(*c->d_sq));
	}
	if (c->d_abs) {
		cuda_wrote(b, c->d_abs, c->cols * sizeof(*c->d_abs));
	}
	if (c->d_absmax) {
		cuda_wrote(b, c->d_absmax, c->cols * sizeof(*c->d_absmax));
	}
	return cuda_check(b, op, launch_columns(b->stream, c));
}

int cuda_act_stats(void *vb, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, double *d_sum, double *d_sq,
	float *d_absmax)
{
	struct launch_columns c = {
		.d_x = d_x, .rows = rows, .cols = cols, .ld = ld, .d_sum = d_sum, .d_sq = d_sq, .d_absmax = d_absmax};
	return run(vb, "act_stats", &c);
}

int cuda_act_abs(void *vb, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, double *d_abs)
{
	struct launch_columns c = {.d_x = d_x, .rows = rows, .cols = cols, .ld = ld, .d_abs = d_abs};
	return run(vb, "act_abs", &c);
}

int cuda_act_histogram(void *vb, const float *d_x, uint64_t rows, uint64_t cols, uint64_t ld, uint64_t *d_count)
{
	struct cuda *b = vb;
	if (!d_count) {
		return cuda_refuse(b, CWP_EVALUE, "act_histogram: count is NULL");
	}
	int rc = cuda_check_matrix(b, "act_histogram", "x", d_x, rows, cols, ld);
	if (rc || rows == 0 || cols == 0) {
		return rc;
	}
	cuda_wrote(b, d_count, CWP_HISTOGRAM_BINS * sizeof(*d_count));
	return cuda_check(b, "act_histogram", launch_histogram(b->stream, b->processors, d_x, rows, cols, ld, d_count));
}
