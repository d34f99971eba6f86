/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Gated activations, forward and backward. */
#include "plugins/backends/cuda/cuda.h"
#include "plugins/backends/cuda/ops_rows.h"

static int check(struct cuda *b, const char *op, uint32_t act, const float *d_gate, const float *d_up, uint64_t n,
	const float *d_out)
{
	if (act != CWP_GLU_SILU && act != CWP_GLU_GELU_TANH) {
		return cuda_refuse(b, CWP_EVALUE, "%s: activation %u is neither SILU nor GELU_TANH", op, act);
	}
	int rc = cuda_check_matrix(b, op, "the gate", d_gate, 1, n, n);
	if (!rc) {
		rc = cuda_check_matrix(b, op, "up", d_up, 1, n, n);
	}
	if (!rc) {
		rc = cuda_check_matrix(b, op, "the result", d_out, 1, n, n);
	}
	return rc;
}

int cuda_glu(void *vb, uint32_t act, const float *d_gate, const float *d_up, uint64_t n, float *d_h)
{
	struct cuda *b = vb;
	int rc = check(b, "glu", act, d_gate, d_up, n, d_h);
	if (rc || n == 0) {
		return rc;
	}
	void *d_copy = cuda_wrote_beside(b, d_h, n);
	return cuda_check(b, "glu", launch_glu(b->stream, act, d_gate, d_up, n, d_h, d_copy));
}

int cuda_glu_backward(void *vb, uint32_t act, const float *d_gate, const float *d_up, const float *d_dh, uint64_t n,
	float *d_dgate, float *d_dup)
{
	struct cuda *b = vb;
	int rc = check(b, "glu_backward", act, d_gate, d_up, n, d_dgate);
	if (!rc) {
		rc = cuda_check_matrix(b, "glu_backward", "dh", d_dh, 1, n, n);
	}
	if (!rc) {
		rc = cuda_check_matrix(b, "glu_backward", "dup", d_dup, 1, n, n);
	}
	if (rc || n == 0) {
		return rc;
	}
	void *d_dgate_copy = cuda_wrote_beside(b, d_dgate, n), *d_dup_copy = cuda_wrote_beside(b, d_dup, n);
	return cuda_check(b, "glu_backward",
		launch_glu_backward(b->stream, act, d_gate, d_up, d_dh, n, d_dgate, d_dup, d_dgate_copy, d_dup_copy));
}
