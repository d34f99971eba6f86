/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The attention block: queries, keys and values, their norms and rotation, attention, output projection. */
#include "engine/model/block.h"

static struct cwp_attention attention_of(const struct cwe_block *b)
{
	const struct cwe_arch *a = &b->model->arch;
	int sliding = cwe_arch_layer_is(a, b->layer->index, CWE_LAYER_SLIDING);
	return (struct cwp_attention){.size = sizeof(struct cwp_attention), .heads = a->heads, .kv_heads = a->kv_heads,
		.head_dim = a->head_dim, .window = sliding ? a->window : 0, .scale = a->attention_scale,
		.softcap = a->attention_softcap, .sequences = b->chunk->sequences,
		.prefixes = b->chunk->prefixes.range != NULL ? &b->chunk->prefixes : NULL};
}

static int rope(const struct cwe_block *b, float *d_x, uint32_t heads, int inverse, struct cwb_err *err)
{
	const struct cwe_arch *a = &b->model->arch;
	int which = cwe_arch_layer_is(a, b->layer->index, CWE_LAYER_SLIDING);
	return CWE_OP(b->model->device, rope, d_x, b->chunk->tokens, (uint64_t)heads * a->head_dim, heads, a->head_dim,
		a->rope[which].rotary, b->ws->d_cos[which], b->ws->d_sin[which], b->chunk->d_position, inverse);
}

/* What q, k and v are made of. */
static const float *input_of(const struct cwe_block *b, const float *d_x)
{
	return b->model->arch.norm[CWE_NORM_ATTENTION] != NULL ? b->ws->d_h1 : d_x;
}

/* Queries, keys and values of the normed input, each in its own array whether or not they share a matrix. */
static int project(const struct cwe_block *b, const float *d_x, struct cwb_err *err)
{
	const struct cwe_arch *a = &b->model->arch;
	struct cwe_workspace *ws = b->ws;
	struct cwe_rows rows = cwe_block_rows(b);
	float *const out[3] = {ws->d_q0 != NULL ? ws->d_q0 : ws->d_q, ws->d_k0 != NULL ? ws->d_k0 : ws->d_k, ws->d_v};
	struct cwe_operand x = {.d_x = input_of(b, d_x)};
	int r = 0;
	for (int role = CWE_Q; r == 0 && role <= CWE_V; role++) {
		r = cwe_block_linear(b, role, CWE_DENSE, &rows, &x, out[role], err);
	}
	if (r == 0 && a->norm[CWE_NORM_Q] != NULL) {
		r = cwe_block_norm(b, CWE_NORM_Q, ws->d_q0, ws->d_q, err);
		r = r == 0 ? cwe_block_norm(b, CWE_NORM_K, ws->d_k0, ws->d_k, err) : r;
	}
	if (b->recalls && a->norm[CWE_NORM_Q] == NULL) {
		return r; /* they are rotated already */
	}
	r = r == 0 ? rope(b, ws->d_q, a->heads, 0, err) : r;
	return r == 0 ? rope(b, ws->d_k, a->kv_heads, 0, err) : r;
}

/* Each sequence's new token against its own cache. */
static int decode_all(const struct cwe_block *b, const struct cwe_decode *d, const struct cwp_attention *attention,
	struct cwb_err *err)
{
	const struct cwe_arch *a = &b->model->arch;
	uint64_t q = (uint64_t)a->heads * a->head_dim, kv = (uint64_t)a->kv_heads * a->head_dim;
	struct cwe_device *device = b->model->device;
	struct cwe_workspace *ws = b->ws;
	int r = 0;
	for (uint64_t i = 0; r == 0 && i < d->count; i++) {
		uint64_t at = d->length[i] * kv;
		if ((r = cwe_device_copy(device, d->d_k[i] + at, ws->d_k + i * kv, kv, err)) == 0 &&
			(r = cwe_device_copy(device, d->d_v[i] + at, ws->d_v + i * kv, kv, err)) == 0) {
			r = CWE_OP(device, attention_decode, attention, ws->d_q + i * q, d->d_k[i], d->d_v[i], d->length[i] + 1,
				ws->d_attention + i * q);
		}
	}
	return r;
}

int cwe_attention_forward(const struct cwe_block *b, const float *d_x, const struct cwe_decode *decode, struct cwb_err *err)
{
	struct cwe_workspace *ws = b->ws;
	struct cwp_attention attention = attention_of(b);
	struct cwe_rows rows = cwe_block_rows(b);
	struct cwe_operand x = {.d_x = ws->d_attention};
	int normed = b->model->arch.norm[CWE_NORM_ATTENTION] != NULL;
	int r = normed ? cwe_block_norm(b, CWE_NORM_ATTENTION, d_x, ws->d_h1, err) : 0;
	r = r == 0 ? project(b, d_x, err) : r;
	if (r == 0 && decode != NULL) {
		r = decode_all(b, decode, &attention, err);
	} else if (r == 0 && !b->recalls) {
		r = CWE_OP(b->model->device, attention, &attention, ws->d_q, ws->d_k, ws->d_v, ws->d_attention, ws->d_lse);
	}
	r = r == 0 ? cwe_block_linear(b, CWE_O, CWE_DENSE, &rows, &x, ws->d_o != NULL ? ws->d_o : ws->d_x2, err) : r;
	return r == 0 && ws->d_o != NULL ? cwe_block_norm(b, CWE_NORM_ATTENTION_OUT, ws->d_o, ws->d_x2, err) : r;
}

/* Gradients at the rotated queries and keys -> at the projections' outputs. */
static int unrotate(const struct cwe_block *b, float **ret_dq, float **ret_dk, struct cwb_err *err)
{
	const struct cwe_arch *a = &b->model->arch;
	struct cwe_workspace *ws = b->ws;
	int r = rope(b, ws->d_dq, a->heads, 1, err);
	r = r == 0 ? rope(b, ws->d_dk, a->kv_heads, 1, err) : r;
	*ret_dq = ws->d_dq;
	*ret_dk = ws->d_dk;
	if (r == 0 && a->norm[CWE_NORM_Q] != NULL) {
		r = cwe_block_norm_backward(b, CWE_NORM_Q, ws->d_dq, ws->d_q0, 0, ws->d_dq0, err);
		r = r == 0 ? cwe_block_norm_backward(b, CWE_NORM_K, ws->d_dk, ws->d_k0, 0, ws->d_dk0, err) : r;
		*ret_dq = ws->d_dq0;
		*ret_dk = ws->d_dk0;
	}
	return r;
}

int cwe_attention_backward(const struct cwe_block *b, const float *d_x, const float *d_dy, struct cwb_err *err)
{
	struct cwe_workspace *ws = b->ws;
	struct cwp_attention attention = attention_of(b);
	struct cwe_rows rows = cwe_block_rows(b);
	float *dy[3] = {NULL, NULL, ws->d_dv};
	int r = 0;
	if (ws->d_o != NULL) {
		r = cwe_block_norm_backward(b, CWE_NORM_ATTENTION_OUT, d_dy, ws->d_o, 0, ws->d_dblock, err);
		d_dy = ws->d_dblock;
	}
	if (r != 0 || (r = cwe_block_linear_backward(b, CWE_O, CWE_DENSE, &rows, ws->d_attention, d_dy, 0, ws->d_dh, err)) != 0 ||
		(r = CWE_OP(b->model->device, attention_backward, &attention, ws->d_q, ws->d_k, ws->d_v, ws->d_attention, ws->d_lse,
			ws->d_dh, ws->d_dq, ws->d_dk, ws->d_dv)) != 0 ||
		(r = unrotate(b, &dy[0], &dy[1], err)) != 0) {
		return r;
	}
	for (int role = CWE_Q; r == 0 && role <= CWE_V; role++) {
		r = cwe_block_linear_backward(b, role, CWE_DENSE, &rows, input_of(b, d_x), dy[role], role != CWE_Q, ws->d_dx, err);
	}
	return r;
}
