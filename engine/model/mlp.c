/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The gated MLP: down(act(gate(x)) * up(x)). */
#include "engine/model/block.h"

int cwe_mlp_forward(const struct cwe_block *b, uint32_t expert, const float *d_x, float *d_y, struct cwb_err *err)
{
	struct cwe_workspace *ws = b->ws;
	struct cwe_rows rows = cwe_block_rows(b);
	uint64_t inner, hidden;
	struct cwe_operand x = {.d_x = d_x}, h = {.d_x = ws->d_h};
	int r;
	cwe_role_shape(&b->model->arch, CWE_GATE, expert, &inner, &hidden);
	if ((r = cwe_block_linear(b, CWE_GATE, expert, &rows, &x, ws->d_gate, err)) != 0 ||
		(r = cwe_block_linear(b, CWE_UP, expert, &rows, &x, ws->d_up, err)) != 0 ||
		(r = CWE_OP(b->model->device, glu, b->model->arch.glu, ws->d_gate, ws->d_up, rows.count * inner, ws->d_h)) != 0) {
		return r;
	}
	return cwe_block_linear(b, CWE_DOWN, expert, &rows, &h, d_y, err);
}

int cwe_mlp_backward(const struct cwe_block *b, uint32_t expert, const float *d_x, const float *d_dy, int accumulate,
	float *d_dx, struct cwb_err *err)
{
	struct cwe_workspace *ws = b->ws;
	struct cwe_rows rows = cwe_block_rows(b);
	uint64_t inner, hidden;
	int r;
	cwe_role_shape(&b->model->arch, CWE_GATE, expert, &inner, &hidden);
	if ((r = cwe_block_linear_backward(b, CWE_DOWN, expert, &rows, ws->d_h, d_dy, 0, ws->d_dh, err)) != 0 ||
		/* The gradients take the place of gate and up. */
		(r = CWE_OP(b->model->device, glu_backward, b->model->arch.glu, ws->d_gate, ws->d_up, ws->d_dh,
			rows.count * inner, ws->d_gate, ws->d_up)) != 0 ||
		(r = cwe_block_linear_backward(b, CWE_GATE, expert, &rows, d_x, ws->d_gate, accumulate, d_dx, err)) != 0) {
		return r;
	}
	return cwe_block_linear_backward(b, CWE_UP, expert, &rows, d_x, ws->d_up, 1, d_dx, err);
}
