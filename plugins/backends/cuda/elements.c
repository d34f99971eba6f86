/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Operations on single elements: conversion, sums, soft limits. */
#include "plugins/backends/cuda/cuda.h"
#include "plugins/backends/cuda/ops_rows.h"

static int check_conversion(struct cuda *b, const char *op, const void *d_dst, const void *d_src, uint32_t dtype, uint64_t n)
{
	int rc = cuda_check_matrix(b, op, "the target", d_dst, 1, n, n);
	if (!rc) {
		rc = cuda_check_matrix(b, op, "the source", d_src, 1, n, n);
	}
	if (!rc && dtype != CWP_F32 && dtype != CWP_BF16 && dtype != CWP_F16) {
		rc = cuda_refuse(b, CWP_EVALUE, "%s: type %u is none of F32, BF16, F16", op, dtype);
	}
	return rc;
}

static cudaError_t copy_f32(struct cuda *b, void *d_dst, const void *d_src, uint64_t n)
{
	return cudaMemcpyAsync(d_dst, d_src, n * sizeof(float), cudaMemcpyDeviceToDevice, b->stream);
}

int cuda_convert(void *vb, float *d_dst, const void *d_src, uint32_t dtype, uint64_t n)
{
	struct cuda *b = vb;
	int rc = check_conversion(b, "convert", d_dst, d_src, dtype, n);
	if (rc || n == 0) {
		return rc;
	}
	cudaError_t e = dtype == CWP_F32 ? copy_f32(b, d_dst, d_src, n)
		: dtype == CWP_BF16      ? launch_from_bf16(b->stream, d_dst, d_src, n)
					 : launch_from_f16(b->stream, d_dst, d_src, n);
	cuda_wrote(b, d_dst, n * sizeof(float));
	return cuda_check(b, "convert", e);
}

int cuda_narrow(void *vb, void *d_dst, uint32_t dtype, const float *d_src, uint64_t n)
{
	struct cuda *b = vb;
	int rc = check_conversion(b, "narrow", d_dst, d_src, dtype, n);
	if (rc || n == 0) {
		return rc;
	}
	cudaError_t e = dtype == CWP_F32 ? copy_f32(b, d_dst, d_src, n)
		: dtype == CWP_BF16      ? launch_to_bf16(b->stream, d_dst, d_src, n)
					 : launch_to_f16(b->stream, d_dst, d_src, n);
	cuda_wrote(b, d_dst, n * (dtype == CWP_F32 ? sizeof(float) : sizeof(uint16_t)));
	return cuda_check(b, "narrow", e);
}

int cuda_add(void *vb, float *d_y, const float *d_x, uint64_t n)
{
	struct cuda *b = vb;
	int rc = cuda_check_matrix(b, "add", "y", d_y, 1, n, n);
	if (!rc) {
		rc = cuda_check_matrix(b, "add", "x", d_x, 1, n, n);
	}
	if (rc || n == 0) {
		return rc;
	}
	void *d_copy = cuda_wrote_beside(b, d_y, n);
	return cuda_check(b, "add", launch_add(b->stream, d_y, d_x, n, d_copy));
}

int cuda_add_bias(void *vb, float *d_y, const float *d_bias, uint64_t rows, uint64_t cols)
{
	struct cuda *b = vb;
	int rc = cuda_check_matrix(b, "add_bias", "y", d_y, rows, cols, cols);
	if (!rc && rows) {
		rc = cuda_check_matrix(b, "add_bias", "the bias", d_bias, 1, cols, cols);
	}
	if (rc || rows == 0 || cols == 0) {
		return rc;
	}
	cuda_wrote(b, d_y, rows * cols * sizeof(float));
	return cuda_check(b, "add_bias", launch_add_bias(b->stream, d_y, d_bias, rows, cols));
}

static int check_softcap(struct cuda *b, const char *op, const float *d_x, uint64_t n, float cap)
{
	int rc = cuda_check_matrix(b, op, "x", d_x, 1, n, n);
	if (!rc && !(cap > 0.0F)) {
		rc = cuda_refuse(b, CWP_EVALUE, "%s: the limit %g is not above 0", op, (double)cap);
	}
	return rc;
}

int cuda_softcap(void *vb, float *d_x, uint64_t n, float cap)
{
	struct cuda *b = vb;
	int rc = check_softcap(b, "softcap", d_x, n, cap);
	if (rc || n == 0) {
		return rc;
	}
	cuda_wrote(b, d_x, n * sizeof(float));
	return cuda_check(b, "softcap", launch_softcap(b->stream, d_x, n, cap));
}

int cuda_softcap_backward(void *vb, float *d_dx, const float *d_y, uint64_t n, float cap)
{
	struct cuda *b = vb;
	int rc = cuda_check_matrix(b, "softcap_backward", "y", d_y, 1, n, n);
	if (!rc) {
		rc = check_softcap(b, "softcap_backward", d_dx, n, cap);
	}
	if (rc || n == 0) {
		return rc;
	}
	cuda_wrote(b, d_dx, n * sizeof(float));
	return cuda_check(b, "softcap_backward", launch_softcap_backward(b->stream, d_dx, d_y, n, cap));
}
