/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The layer's arithmetic as backend operations. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/layer.h"
#include "engine/model/ops.h"

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Lays the buffers out from `base` (NULL: only counts) and returns the number of floats. */
static uint64_t place(const struct cwe_model *m, uint64_t t, uint64_t positions, int backward, float *base,
	struct cwe_workspace *ws)
{
	const struct cwe_arch *a = &m->arch;
	uint64_t d = a->hidden, q = (uint64_t)a->heads * a->head_dim, kv = (uint64_t)a->kv_heads * a->head_dim;
	uint64_t i = a->intermediate, wide = max_u64(max_u64(d, q), i), at = 0;
	uint64_t table = positions * (a->head_dim / 2);
	struct {
		float **p;
		uint64_t n;
	} part[] = {{&ws->d_h1, t * d}, {&ws->d_q, t * q}, {&ws->d_k, t * kv}, {&ws->d_v, t * kv},
		{&ws->d_attention, t * q}, {&ws->d_x2, t * d}, {&ws->d_h2, t * d}, {&ws->d_gate, t * i},
		{&ws->d_up, t * i}, {&ws->d_h, t * i}, {&ws->d_rstd1, t}, {&ws->d_rstd2, t},
		{&ws->d_lse, t * a->heads}, {&ws->d_cos, table}, {&ws->d_sin, table},
		{&ws->d_quantized, m->activation != 0 ? t * wide : 0}, {&ws->d_dh, backward ? t * max_u64(i, q) : 0},
		{&ws->d_dx, backward ? t * d : 0}, {&ws->d_dq, backward ? t * q : 0},
		{&ws->d_dk, backward ? t * kv : 0}, {&ws->d_dv, backward ? t * kv : 0}};
	for (size_t k = 0; k < sizeof part / sizeof *part; k++) {
		*part[k].p = base != NULL && part[k].n > 0 ? base + at : NULL;
		at += (part[k].n + 15) / 16 * 16; /* 64 bytes */
	}
	return at;
}

uint64_t cwe_workspace_bytes(const struct cwe_model *m, uint64_t tokens, uint64_t positions, int backward)
{
	struct cwe_workspace ws;
	return place(m, tokens, positions, backward, NULL, &ws) * sizeof(float);
}

int cwe_workspace_new(struct cwe_model *m, uint64_t tokens, uint64_t positions, int backward,
	struct cwe_workspace *ret, struct cwb_err *err)
{
	struct cwe_workspace ws = {.tokens = tokens, .backward = backward,
		.bytes = cwe_workspace_bytes(m, tokens, positions, backward)};
	uint64_t n = positions * (m->arch.head_dim / 2);
	float *table = malloc(2 * n * sizeof *table + 1); /* n: positions of samples that are in memory already */
	if (table == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for rotary tables of %llu positions", (unsigned long long)positions);
	}
	int r = cwe_device_bytes(m->device, ws.bytes, (void **)&ws.d_block, err);
	if (r == 0) {
		(void)place(m, tokens, positions, backward, ws.d_block, &ws);
		cwe_rope_tables(&m->arch, positions, table, table + n);
		if ((r = CWE_OP(m->device, upload, ws.d_cos, table, n * sizeof *table)) == 0) {
			r = CWE_OP(m->device, upload, ws.d_sin, table + n, n * sizeof *table);
		}
	}
	free(table);
	if (r != 0) {
		cwe_workspace_free(m, &ws);
		return r;
	}
	*ret = ws;
	return 0;
}

void cwe_workspace_free(struct cwe_model *m, struct cwe_workspace *ws)
{
	cwe_device_free(m->device, ws->d_block, ws->bytes);
	memset(ws, 0, sizeof *ws);
}

static struct cwp_attention attention_of(const struct cwe_model *m, const struct cwe_chunk *chunk)
{
	const struct cwe_arch *a = &m->arch;
	return (struct cwp_attention){.size = sizeof(struct cwp_attention), .heads = a->heads, .kv_heads = a->kv_heads,
		.head_dim = a->head_dim, .scale = (float)(1.0 / sqrt((double)a->head_dim)),
		.sequences = chunk != NULL ? chunk->sequences : (struct cwp_sequences){0, NULL}};
}

/* y = x W^T + bias. */
static int linear(struct cwe_model *m, const struct cwe_layer *layer, enum cwe_linear l, const float *d_x, uint64_t t,
	int accumulate, float *d_y, struct cwb_err *err)
{
	uint64_t rows, cols;
	cwe_linear_shape(&m->arch, l, &rows, &cols);
	int r = CWE_OP(m->device, matmul, 0, 1, t, rows, cols, d_x, cols, layer->d_weight[l], cols, accumulate, d_y, rows);
	if (r == 0 && layer->d_bias[l] != NULL) {
		r = CWE_OP(m->device, add_bias, d_y, layer->d_bias[l], t, rows);
	}
	return r;
}

/* dx (+)= dy W. */
static int linear_backward(struct cwe_model *m, const struct cwe_layer *layer, enum cwe_linear l, const float *d_dy,
	uint64_t t, int accumulate, float *d_dx, struct cwb_err *err)
{
	uint64_t rows, cols;
	cwe_linear_shape(&m->arch, l, &rows, &cols);
	return CWE_OP(m->device, matmul, 0, 0, t, cols, rows, d_dy, rows, layer->d_weight[l], cols, accumulate, d_dx, cols);
}

/* What a Linear really multiplies with: its input, or the input as its run-time quantization leaves it. */
static int input(struct cwe_model *m, enum cwe_linear l, const struct cwe_chunk *chunk, const float *d_x,
	struct cwe_workspace *ws, const struct cwe_tap *tap, const float **ret_x, struct cwb_err *err)
{
	uint64_t rows, cols;
	int r = tap != NULL && tap->input != NULL ? tap->input(tap->arg, l, chunk, d_x, err) : 0;
	*ret_x = d_x;
	if (r == 0 && m->activation != 0) {
		cwe_linear_shape(&m->arch, l, &rows, &cols);
		r = CWE_OP(m->device, fake_quant_rows, m->activation, d_x, chunk->tokens, cols, ws->d_quantized);
		*ret_x = ws->d_quantized;
	}
	return r;
}

static int rope(struct cwe_model *m, const struct cwe_workspace *ws, float *d_x, uint64_t t, uint32_t heads,
	const uint32_t *d_position, int inverse, struct cwb_err *err)
{
	uint32_t dim = m->arch.head_dim;
	return CWE_OP(m->device, rope, d_x, t, (uint64_t)heads * dim, heads, dim, dim, ws->d_cos, ws->d_sin, d_position,
		inverse);
}

/* Queries, keys and values of the normed input; the same quantized input serves all three. */
static int project(struct cwe_model *m, const struct cwe_layer *layer, const struct cwe_chunk *chunk,
	struct cwe_workspace *ws, const struct cwe_tap *tap, struct cwb_err *err)
{
	const struct cwe_arch *a = &m->arch;
	float *const out[3] = {ws->d_q, ws->d_k, ws->d_v};
	const float *d_x = NULL;
	int r = 0;
	for (int l = CWE_Q; l <= CWE_V && r == 0; l++) {
		if (l == CWE_Q || tap != NULL) {
			r = input(m, l, chunk, ws->d_h1, ws, tap, &d_x, err);
		}
		if (r == 0) {
			r = linear(m, layer, l, d_x, chunk->tokens, 0, out[l], err);
		}
	}
	if (r == 0) {
		r = rope(m, ws, ws->d_q, chunk->tokens, a->heads, chunk->d_position, 0, err);
	}
	return r == 0 ? rope(m, ws, ws->d_k, chunk->tokens, a->kv_heads, chunk->d_position, 0, err) : r;
}

/* x2 = x + o(attention); out = x2 + mlp(norm(x2)), unless out is NULL. */
static int finish(struct cwe_model *m, const struct cwe_layer *layer, const struct cwe_chunk *chunk, const float *d_x,
	struct cwe_workspace *ws, float *d_out, const struct cwe_tap *tap, struct cwb_err *err)
{
	const struct cwe_arch *a = &m->arch;
	uint64_t t = chunk->tokens, n = t * a->hidden;
	const float *d_in;
	int r;
	if ((r = input(m, CWE_O, chunk, ws->d_attention, ws, tap, &d_in, err)) != 0 ||
		(r = linear(m, layer, CWE_O, d_in, t, 0, ws->d_x2, err)) != 0 ||
		(r = CWE_OP(m->device, add, ws->d_x2, d_x, n)) != 0 ||
		(r = CWE_OP(m->device, rmsnorm, ws->d_x2, layer->d_norm_mlp, 0.0f, a->norm_eps, t, a->hidden, ws->d_h2,
			ws->d_rstd2)) != 0 ||
		(r = input(m, CWE_GATE, chunk, ws->d_h2, ws, tap, &d_in, err)) != 0 ||
		(r = linear(m, layer, CWE_GATE, d_in, t, 0, ws->d_gate, err)) != 0) {
		return r;
	}
	if (tap != NULL && (r = input(m, CWE_UP, chunk, ws->d_h2, ws, tap, &d_in, err)) != 0) {
		return r;
	}
	if ((r = linear(m, layer, CWE_UP, d_in, t, 0, ws->d_up, err)) != 0 ||
		(r = CWE_OP(m->device, glu, a->glu, ws->d_gate, ws->d_up, t * a->intermediate, ws->d_h)) != 0 ||
		(r = input(m, CWE_DOWN, chunk, ws->d_h, ws, tap, &d_in, err)) != 0 || d_out == NULL ||
		(r = linear(m, layer, CWE_DOWN, d_in, t, 0, d_out, err)) != 0) {
		return r;
	}
	return CWE_OP(m->device, add, d_out, ws->d_x2, n);
}

int cwe_layer_forward(struct cwe_model *m, const struct cwe_layer *layer, const struct cwe_chunk *chunk,
	const float *d_x, struct cwe_workspace *ws, float *d_out, const struct cwe_tap *tap, struct cwb_err *err)
{
	const struct cwe_arch *a = &m->arch;
	struct cwp_attention attention = attention_of(m, chunk);
	int r;
	if ((r = CWE_OP(m->device, rmsnorm, d_x, layer->d_norm_attention, 0.0f, a->norm_eps, chunk->tokens, a->hidden,
			ws->d_h1, ws->d_rstd1)) != 0 ||
		(r = project(m, layer, chunk, ws, tap, err)) != 0 ||
		(r = CWE_OP(m->device, attention, &attention, ws->d_q, ws->d_k, ws->d_v, ws->d_attention, ws->d_lse)) != 0) {
		return r;
	}
	return finish(m, layer, chunk, d_x, ws, d_out, tap, err);
}

static int tap_gradient(const struct cwe_tap *tap, enum cwe_linear l, const struct cwe_chunk *chunk, const float *d_x,
	const float *d_dy, struct cwb_err *err)
{
	return tap != NULL && tap->gradient != NULL ? tap->gradient(tap->arg, l, chunk, d_x, d_dy, err) : 0;
}

static int mlp_backward(struct cwe_model *m, const struct cwe_layer *layer, const struct cwe_chunk *chunk,
	struct cwe_workspace *ws, float *d_dx, const struct cwe_tap *tap, struct cwb_err *err)
{
	const struct cwe_arch *a = &m->arch;
	uint64_t t = chunk->tokens;
	int r;
	if ((r = tap_gradient(tap, CWE_DOWN, chunk, ws->d_h, d_dx, err)) != 0 ||
		(r = linear_backward(m, layer, CWE_DOWN, d_dx, t, 0, ws->d_dh, err)) != 0 ||
		/* The gradients take the place of gate and up. */
		(r = CWE_OP(m->device, glu_backward, a->glu, ws->d_gate, ws->d_up, ws->d_dh, t * a->intermediate, ws->d_gate,
			ws->d_up)) != 0 ||
		(r = tap_gradient(tap, CWE_GATE, chunk, ws->d_h2, ws->d_gate, err)) != 0 ||
		(r = tap_gradient(tap, CWE_UP, chunk, ws->d_h2, ws->d_up, err)) != 0 ||
		(r = linear_backward(m, layer, CWE_GATE, ws->d_gate, t, 0, ws->d_dx, err)) != 0 ||
		(r = linear_backward(m, layer, CWE_UP, ws->d_up, t, 1, ws->d_dx, err)) != 0) {
		return r;
	}
	return CWE_OP(m->device, rmsnorm_backward, ws->d_dx, ws->d_x2, layer->d_norm_mlp, 0.0f, ws->d_rstd2, t, a->hidden,
		1, d_dx, &chunk->samples, tap != NULL ? tap->d_dnorm_mlp : NULL);
}

static int attention_backward(struct cwe_model *m, const struct cwe_layer *layer, const struct cwe_chunk *chunk,
	struct cwe_workspace *ws, float *d_dx, const struct cwe_tap *tap, struct cwb_err *err)
{
	const struct cwe_arch *a = &m->arch;
	uint64_t t = chunk->tokens;
	struct cwp_attention attention = attention_of(m, chunk);
	int r;
	if ((r = tap_gradient(tap, CWE_O, chunk, ws->d_attention, d_dx, err)) != 0 ||
		(r = linear_backward(m, layer, CWE_O, d_dx, t, 0, ws->d_dh, err)) != 0 ||
		(r = CWE_OP(m->device, attention_backward, &attention, ws->d_q, ws->d_k, ws->d_v, ws->d_attention, ws->d_lse,
			ws->d_dh, ws->d_dq, ws->d_dk, ws->d_dv)) != 0 ||
		(r = rope(m, ws, ws->d_dq, t, a->heads, chunk->d_position, 1, err)) != 0 ||
		(r = rope(m, ws, ws->d_dk, t, a->kv_heads, chunk->d_position, 1, err)) != 0) {
		return r;
	}
	float *const dy[3] = {ws->d_dq, ws->d_dk, ws->d_dv};
	for (int l = CWE_Q; l <= CWE_V; l++) {
		if ((r = tap_gradient(tap, l, chunk, ws->d_h1, dy[l], err)) != 0 ||
			(r = linear_backward(m, layer, l, dy[l], t, l != CWE_Q, ws->d_dx, err)) != 0) {
			return r;
		}
	}
	return 0;
}

int cwe_layer_backward(struct cwe_model *m, const struct cwe_layer *layer, const struct cwe_chunk *chunk,
	const float *d_x, struct cwe_workspace *ws, float *d_dx, const struct cwe_tap *tap, struct cwb_err *err)
{
	int r;
	if ((r = mlp_backward(m, layer, chunk, ws, d_dx, tap, err)) != 0 ||
		(r = attention_backward(m, layer, chunk, ws, d_dx, tap, err)) != 0) {
		return r;
	}
	return CWE_OP(m->device, rmsnorm_backward, ws->d_dx, d_x, layer->d_norm_attention, 0.0f, ws->d_rstd1, chunk->tokens,
		m->arch.hidden, 1, d_dx, &chunk->samples, tap != NULL ? tap->d_dnorm_attention : NULL);
}

int cwe_layer_decode(struct cwe_model *m, const struct cwe_layer *layer, float *d_x, uint64_t length,
	const uint32_t *d_position, float *d_k_cache, float *d_v_cache, struct cwe_workspace *ws, struct cwb_err *err)
{
	const struct cwe_arch *a = &m->arch;
	uint64_t kv = (uint64_t)a->kv_heads * a->head_dim;
	struct cwe_chunk chunk = {.tokens = 1, .d_position = d_position};
	struct cwp_attention attention = attention_of(m, NULL);
	struct cwe_workspace w = *ws;
	w.d_k = d_k_cache + length * kv;
	w.d_v = d_v_cache + length * kv;
	int r;
	if ((r = CWE_OP(m->device, rmsnorm, d_x, layer->d_norm_attention, 0.0f, a->norm_eps, 1, a->hidden, w.d_h1,
			w.d_rstd1)) != 0 ||
		(r = project(m, layer, &chunk, &w, NULL, err)) != 0 ||
		(r = CWE_OP(m->device, attention_decode, &attention, w.d_q, d_k_cache, d_v_cache, length + 1,
			w.d_attention)) != 0) {
		return r;
	}
	/* finish() reads x before it writes out, element by element, so they must differ: h1 is free by now. */
	if ((r = finish(m, layer, &chunk, d_x, &w, w.d_h1, NULL, err)) != 0) {
		return r;
	}
	return cwe_device_copy(m->device, d_x, w.d_h1, a->hidden, err);
}
