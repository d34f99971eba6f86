/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A mixture of experts: the router sends each token to a few of them; the shared expert, where there is one, gets all.
 * Tokens are gathered expert by expert, so that each expert is one product over its rows, and every sum runs in the
 * order of the experts' numbers. */
#include <math.h>

#include "engine/model/block.h"

/* Rows of an expert among the assignments. */
static int rows_of(const struct cwe_block *b, uint32_t expert, uint64_t *ret_first, struct cwe_rows *ret, struct cwb_err *err)
{
	struct cwe_routing *routing = &b->ws->routing;
	*ret_first = routing->start[expert];
	ret->count = routing->start[expert + 1] - routing->start[expert];
	int r = cwe_routing_samples(routing, expert, &b->chunk->samples, &ret->samples, err);
	ret->sequences = ret->samples; /* sequences of one sample count as one here */
	return r;
}

/* Who goes where, on the host, and back to the device. */
static int route(const struct cwe_block *b, const float *d_x, struct cwb_err *err)
{
	struct cwe_device *dev = b->model->device;
	const struct cwe_moe *moe = &b->model->arch.moe;
	struct cwe_workspace *ws = b->ws;
	struct cwe_rows rows = cwe_block_rows(b);
	uint64_t n = rows.count * moe->top_k;
	struct cwe_operand x = {.d_x = d_x};
	int r;
	if ((r = cwe_block_linear(b, CWE_ROUTER, CWE_DENSE, &rows, &x, ws->d_router, err)) != 0 ||
		(r = CWE_OP(dev, download, ws->host, ws->d_router, rows.count * moe->experts * sizeof *ws->host)) != 0) {
		return r;
	}
	cwe_routing_choose(&ws->routing, ws->host, rows.count);
	if ((r = CWE_OP(dev, upload, ws->d_token, ws->routing.token, n * sizeof *ws->d_token)) != 0) {
		return r;
	}
	return CWE_OP(dev, upload, ws->d_weight, ws->routing.weight, n * sizeof *ws->d_weight);
}

static int expert_forward(const struct cwe_block *b, uint32_t expert, float *d_y, struct cwb_err *err)
{
	const struct cwe_arch *a = &b->model->arch;
	struct cwe_device *dev = b->model->device;
	struct cwe_workspace *ws = b->ws;
	struct cwe_rows rows;
	uint64_t first, i = a->moe.intermediate, d = a->hidden;
	int r = rows_of(b, expert, &first, &rows, err);
	if (r != 0 || rows.count == 0) {
		return r;
	}
	float *d_ge = ws->d_ge + first * i, *d_ue = ws->d_ue + first * i, *d_he = ws->d_he + first * i;
	struct cwe_operand x = {.d_x = ws->d_xe + first * d}, h = {.d_x = d_he};
	if ((r = cwe_block_linear(b, CWE_GATE, expert, &rows, &x, d_ge, err)) != 0 ||
		(r = cwe_block_linear(b, CWE_UP, expert, &rows, &x, d_ue, err)) != 0 ||
		(r = CWE_OP(dev, glu, a->glu, d_ge, d_ue, rows.count * i, d_he)) != 0 ||
		(r = cwe_block_linear(b, CWE_DOWN, expert, &rows, &h, ws->d_ye + first * d, err)) != 0 || d_y == NULL) {
		return r;
	}
	return CWE_OP(dev, scatter_rows, ws->d_ye + first * d, ws->d_token + first, ws->d_weight + first, rows.count, d, d_y);
}

/* y += sigmoid(gate(x)) * mlp(x) */
static int shared_forward(const struct cwe_block *b, const float *d_x, float *d_y, struct cwb_err *err)
{
	struct cwe_device *dev = b->model->device;
	struct cwe_workspace *ws = b->ws;
	struct cwe_rows rows = cwe_block_rows(b);
	struct cwe_operand x = {.d_x = d_x};
	int r;
	if ((r = cwe_mlp_forward(b, CWE_SHARED, d_x, ws->d_ys, err)) != 0 ||
		(r = cwe_block_linear(b, CWE_SHARED_GATE, CWE_DENSE, &rows, &x, ws->d_ws, err)) != 0 || b->recalls ||
		(r = CWE_OP(dev, download, ws->host, ws->d_ws, rows.count * sizeof *ws->host)) != 0) {
		return r;
	}
	for (uint64_t t = 0; t < rows.count; t++) {
		ws->host[t] = 1.0f / (1.0f + expf(-ws->host[t]));
	}
	r = CWE_OP(dev, upload, ws->d_ws, ws->host, rows.count * sizeof *ws->host);
	return r == 0 && d_y != NULL
		? CWE_OP(dev, scatter_rows, ws->d_ys, NULL, ws->d_ws, rows.count, b->model->arch.hidden, d_y) : r;
}

int cwe_moe_forward(const struct cwe_block *b, const float *d_x, float *d_y, struct cwb_err *err)
{
	const struct cwe_arch *a = &b->model->arch;
	struct cwe_device *dev = b->model->device;
	uint64_t t = b->chunk->tokens, d = a->hidden;
	int r = route(b, d_x, err);
	d_y = b->recalls ? NULL : d_y; /* it is there */
	r = r == 0 ? CWE_OP(dev, gather_rows, d_x, b->ws->d_token, NULL, t * a->moe.top_k, d, b->ws->d_xe) : r;
	r = r == 0 && d_y != NULL ? CWE_OP(dev, zero, d_y, t * d * sizeof *d_y) : r;
	for (uint32_t e = 0; r == 0 && e < a->moe.experts; e++) {
		r = expert_forward(b, e, d_y, err);
	}
	return r == 0 && a->moe.shared > 0 ? shared_forward(b, d_x, d_y, err) : r;
}

/* dye holds the gradients at the experts' weighted outputs. The gradient at an expert's input takes the place of its
 * output, then goes to its tokens. */
static int expert_backward(const struct cwe_block *b, uint32_t expert, float *d_dx, struct cwb_err *err)
{
	const struct cwe_arch *a = &b->model->arch;
	struct cwe_device *dev = b->model->device;
	struct cwe_workspace *ws = b->ws;
	struct cwe_rows rows;
	uint64_t first, i = a->moe.intermediate, d = a->hidden;
	int r = rows_of(b, expert, &first, &rows, err);
	if (r != 0 || rows.count == 0) {
		return r;
	}
	const float *d_xe = ws->d_xe + first * d;
	float *d_ge = ws->d_ge + first * i, *d_ue = ws->d_ue + first * i, *d_dxe = ws->d_ye + first * d;
	if ((r = cwe_block_linear_backward(b, CWE_DOWN, expert, &rows, ws->d_he + first * i, ws->d_dye + first * d, 0, ws->d_dh,
			err)) != 0 ||
		(r = CWE_OP(dev, glu_backward, a->glu, d_ge, d_ue, ws->d_dh, rows.count * i, d_ge, d_ue)) != 0 ||
		(r = cwe_block_linear_backward(b, CWE_GATE, expert, &rows, d_xe, d_ge, 0, d_dxe, err)) != 0 ||
		(r = cwe_block_linear_backward(b, CWE_UP, expert, &rows, d_xe, d_ue, 1, d_dxe, err)) != 0) {
		return r;
	}
	return CWE_OP(dev, scatter_rows, d_dxe, ws->d_token + first, NULL, rows.count, d, d_dx);
}

/* dx += through the router, from each assignment's gradient in d_dw. */
static int router_backward(const struct cwe_block *b, const float *d_x, float *d_dx, struct cwb_err *err)
{
	struct cwe_device *dev = b->model->device;
	const struct cwe_moe *moe = &b->model->arch.moe;
	struct cwe_workspace *ws = b->ws;
	struct cwe_rows rows = cwe_block_rows(b);
	uint64_t n = rows.count * moe->experts;
	float *dlogits = ws->routing.probability;
	int r = CWE_OP(dev, download, ws->host, ws->d_dw, rows.count * moe->top_k * sizeof *ws->host);
	if (r != 0) {
		return r;
	}
	cwe_routing_backward(&ws->routing, ws->host, dlogits);
	r = CWE_OP(dev, upload, ws->d_router, dlogits, n * sizeof *dlogits);
	return r == 0 ? cwe_block_linear_backward(b, CWE_ROUTER, CWE_DENSE, &rows, d_x, ws->d_router, 1, d_dx, err) : r;
}

static int shared_backward(const struct cwe_block *b, const float *d_x, const float *d_dy, float *d_dx, struct cwb_err *err)
{
	struct cwe_device *dev = b->model->device;
	struct cwe_workspace *ws = b->ws;
	struct cwe_rows rows = cwe_block_rows(b);
	uint64_t t = rows.count, d = b->model->arch.hidden;
	float *gate = ws->routing.weight; /* host memory for [T] twice; the routing is used up */
	int r;
	if ((r = CWE_OP(dev, gather_rows, d_dy, NULL, ws->d_ws, t, d, ws->d_dye)) != 0 ||
		(r = CWE_OP(dev, dot_rows, d_dy, ws->d_ys, t, d, ws->d_dw)) != 0 ||
		(r = cwe_mlp_backward(b, CWE_SHARED, d_x, ws->d_dye, 1, d_dx, err)) != 0 ||
		(r = CWE_OP(dev, download, ws->host, ws->d_dw, t * sizeof *ws->host)) != 0 ||
		(r = CWE_OP(dev, download, gate, ws->d_ws, t * sizeof *gate)) != 0) {
		return r;
	}
	for (uint64_t i = 0; i < t; i++) {
		ws->host[i] *= gate[i] * (1.0f - gate[i]);
	}
	r = CWE_OP(dev, upload, ws->d_dw, ws->host, t * sizeof *ws->host);
	return r == 0 ? cwe_block_linear_backward(b, CWE_SHARED_GATE, CWE_DENSE, &rows, d_x, ws->d_dw, 1, d_dx, err) : r;
}

int cwe_moe_backward(const struct cwe_block *b, const float *d_x, const float *d_dy, float *d_dx, struct cwb_err *err)
{
	const struct cwe_arch *a = &b->model->arch;
	struct cwe_device *dev = b->model->device;
	struct cwe_workspace *ws = b->ws;
	uint64_t t = b->chunk->tokens, n = t * a->moe.top_k, d = a->hidden;
	int r;
	if ((r = CWE_OP(dev, zero, d_dx, t * d * sizeof *d_dx)) != 0 ||
		(r = CWE_OP(dev, gather_rows, d_dy, ws->d_token, NULL, n, d, ws->d_dye)) != 0 ||
		(r = CWE_OP(dev, dot_rows, ws->d_dye, ws->d_ye, n, d, ws->d_dw)) != 0 ||
		(r = CWE_OP(dev, gather_rows, ws->d_dye, NULL, ws->d_weight, n, d, ws->d_dye)) != 0) {
		return r;
	}
	for (uint32_t e = 0; r == 0 && e < a->moe.experts; e++) {
		r = expert_backward(b, e, d_dx, err);
	}
	r = r == 0 ? router_backward(b, d_x, d_dx, err) : r;
	return r == 0 && a->moe.shared > 0 ? shared_backward(b, d_x, d_dy, d_dx, err) : r;
}
