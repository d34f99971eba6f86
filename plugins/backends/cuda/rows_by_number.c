/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rows gathered, scattered and multiplied: what mixtures of experts need. */
#include "plugins/backends/cuda/memory.h"
#include "plugins/backends/cuda/ops_rows.h"

static int check(struct cuda *b, const char *op, const float *d_x, const float *d_y, uint64_t rows, uint64_t cols)
{
	int rc = cuda_check_matrix(b, op, "x", d_x, rows, cols, cols);
	if (!rc) {
		rc = cuda_check_matrix(b, op, "the result", d_y, rows, cols, cols);
	}
	return rc;
}

int cuda_gather_rows(void *vb, const float *d_x, const uint32_t *d_index, const float *d_factor, uint64_t rows, uint64_t cols,
	float *d_y)
{
	struct cuda *b = vb;
	int rc = check(b, "gather_rows", d_x, d_y, rows, cols);
	if (rc || rows == 0 || cols == 0) {
		return rc;
	}
	void *d_copy = cuda_wrote_beside(b, d_y, rows * cols);
	return cuda_check(b, "gather_rows", launch_gather_rows(b->stream, d_x, d_index, d_factor, rows, cols, d_y, d_copy));
}

int cuda_scatter_rows(void *vb, const float *d_x, const uint32_t *d_index, const float *d_factor, uint64_t rows,
	uint64_t cols, float *d_y)
{
	struct cuda *b = vb;
	int rc = check(b, "scatter_rows", d_x, d_y, rows, cols);
	if (rc || rows == 0 || cols == 0) {
		return rc;
	}
	/* Only the device knows which rows: any from the first on. */
	cuda_wrote(b, d_y, d_index ? cuda_memory_behind(b, d_y) : rows * cols * sizeof(float));
	return cuda_check(b, "scatter_rows", launch_scatter_rows(b->stream, d_x, d_index, d_factor, rows, cols, d_y));
}

int cuda_dot_rows(void *vb, const float *d_x, const float *d_y, uint64_t rows, uint64_t cols, float *d_dot)
{
	struct cuda *b = vb;
	int rc = cuda_check_matrix(b, "dot_rows", "y", d_y, rows, cols, cols);
	if (!rc) {
		rc = cuda_check_matrix(b, "dot_rows", "x", d_x, rows, cols, cols);
	}
	if (!rc) {
		rc = cuda_check_matrix(b, "dot_rows", "the result", d_dot, rows, 1, 1);
	}
	if (rc || rows == 0 || cols == 0) {
		return rc;
	}
	cuda_wrote(b, d_dot, rows * sizeof(float));
	return cuda_check(b, "dot_rows", launch_dot_rows(b->stream, d_x, d_y, rows, cols, d_dot));
}
