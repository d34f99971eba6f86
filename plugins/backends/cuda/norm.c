/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* RMS normalization and rotary embedding, forward and backward. */
#include "plugins/backends/cuda/cuda.h"
#include "plugins/backends/cuda/ops_rows.h"

int cuda_rmsnorm(void *vb, const float *d_x, const float *d_w, float offset, float eps, uint64_t rows, uint64_t cols,
	float *d_y, float *d_rstd)
{
	struct cuda *b = vb;
	int rc = cuda_check_matrix(b, "rmsnorm", "x", d_x, rows, cols, cols);
	if (!rc) {
		rc = cuda_check_matrix(b, "rmsnorm", "y", d_y, rows, cols, cols);
	}
	if (rc || rows == 0 || cols == 0) {
		return rc;
	}
	if (!d_w || !d_rstd) {
		return cuda_refuse(b, CWP_EVALUE, "rmsnorm: %s is NULL", d_w ? "rstd" : "w");
	}
	cuda_wrote(b, d_rstd, rows * sizeof(float));
	void *d_copy = cuda_wrote_beside(b, d_y, rows * cols);
	return cuda_check(b, "rmsnorm", launch_rmsnorm(b->stream, d_x, d_w, offset, eps, rows, cols, d_y, d_copy, d_rstd));
}

static int check_samples(struct cuda *b, const struct cwp_sequences *samples, uint64_t rows)
{
	if (!samples) {
		return cuda_refuse(b, CWP_EVALUE, "rmsnorm_backward: dw is wanted but there are no samples");
	}
	int rc = cuda_check_sequences(b, "rmsnorm_backward", samples);
	if (!rc && samples->count && samples->start[samples->count] > rows) {
		rc = cuda_refuse(b, CWP_ESHAPE, "rmsnorm_backward: the samples have %llu tokens, the matrix %llu",
			(unsigned long long)samples->start[samples->count], (unsigned long long)rows);
	}
	return rc;
}

static int check_backward(struct cuda *b, const float *d_dy, const float *d_x, const float *d_w, const float *d_rstd,
	uint64_t rows, uint64_t cols, const float *d_dx)
{
	const char *op = "rmsnorm_backward";
	int rc = cuda_check_matrix(b, op, "dy", d_dy, rows, cols, cols);
	if (!rc) {
		rc = cuda_check_matrix(b, op, "x", d_x, rows, cols, cols);
	}
	if (!rc) {
		rc = cuda_check_matrix(b, op, "dx", d_dx, rows, cols, cols);
	}
	if (!rc && rows && cols && (!d_w || !d_rstd)) {
		rc = cuda_refuse(b, CWP_EVALUE, "%s: %s is NULL", op, d_w ? "rstd" : "w");
	}
	return rc;
}

static int gradient_of_w(struct cuda *b, const float *d_dy, const float *d_x, const float *d_rstd, uint64_t cols,
	const struct cwp_sequences *samples, float *d_dw)
{
	if (samples->count == 0) {
		return 0;
	}
	const uint64_t *d_start = cuda_table(
		b, "rmsnorm_backward", samples->start, (size_t)(samples->count + 1) * sizeof(*samples->start));
	if (!d_start) {
		return b->refused;
	}
	cuda_wrote(b, d_dw, samples->count * cols * sizeof(float));
	return cuda_check(b, "rmsnorm_backward",
		launch_rmsnorm_dw(b->stream, d_dy, d_x, d_rstd, cols, samples->count, d_start, d_dw));
}

int cuda_rmsnorm_backward(void *vb, const float *d_dy, const float *d_x, const float *d_w, float offset, const float *d_rstd,
	uint64_t rows, uint64_t cols, int accumulate, float *d_dx, const struct cwp_sequences *samples, float *d_dw)
{
	struct cuda *b = vb;
	int rc = check_backward(b, d_dy, d_x, d_w, d_rstd, rows, cols, d_dx);
	if (!rc && d_dw) {
		rc = check_samples(b, samples, rows);
	}
	if (rc || cols == 0) {
		return rc;
	}
	/* First, since dx may be the memory of dy. */
	if (d_dw) {
		rc = gradient_of_w(b, d_dy, d_x, d_rstd, cols, samples, d_dw);
	}
	if (rc || rows == 0) {
		return rc;
	}
	void *d_copy = cuda_wrote_beside(b, d_dx, rows * cols);
	return cuda_check(b, "rmsnorm_backward",
		launch_rmsnorm_dx(b->stream, d_dy, d_x, d_w, offset, d_rstd, rows, cols, accumulate, d_dx, d_copy));
}

int cuda_rope(void *vb, float *d_x, uint64_t rows, uint64_t ld, uint32_t heads, uint32_t head_dim, uint32_t rotary,
	const float *d_cos, const float *d_sin, const uint32_t *d_position, int inverse)
{
	struct cuda *b = vb;
	if (rotary % 2 != 0 || rotary > head_dim) {
		return cuda_refuse(b, CWP_ESHAPE, "rope: %u rotary dimensions are odd or more than the head's %u", rotary,
			head_dim);
	}
	uint64_t cols = (uint64_t)heads * head_dim;
	int rc = cuda_check_matrix(b, "rope", "x", d_x, rows, cols, ld);
	if (rc || rows == 0 || cols == 0 || rotary == 0) {
		return rc;
	}
	if (!d_cos || !d_sin || !d_position) {
		return cuda_refuse(b, CWP_EVALUE, "rope: tables or positions are NULL");
	}
	struct launch_rope r = {d_x, NULL, rows, ld, heads, head_dim, rotary / 2, d_cos, d_sin, d_position, inverse ? -1.0F : 1.0F};
	if (ld == cols && rotary == head_dim) { /* all is written */
		r.d_copy = cuda_wrote_beside(b, d_x, rows * cols);
	} else {
		cuda_wrote(b, d_x, ((rows - 1) * ld + cols) * sizeof(float));
	}
	return cuda_check(b, "rope", launch_rope(b->stream, &r));
}
