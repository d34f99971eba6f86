/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Lays out a layer's intermediate results. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/ops.h"
#include "engine/model/workspace.h"

struct part {
	void *p; /* of a pointer */
	uint64_t n; /* elements of 4 bytes; 0: none */
};

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Gives each part its place from `base` (NULL: only counts), in lines of 64 bytes, and returns the end. */
static uint64_t put(const struct part *part, size_t count, float *base, uint64_t at)
{
	for (size_t k = 0; k < count; k++) {
		float *p = base != NULL && part[k].n > 0 ? base + at : NULL;
		memcpy(part[k].p, &p, sizeof p);
		at += (part[k].n + 15) / 16 * 16;
	}
	return at;
}

int cwe_rope_extended(const struct cwe_arch *a, uint64_t length)
{
	return a->rope[0].kind == CWE_ROPE_LONGROPE && (double)length > a->rope[0].original_context;
}

/* The widest of dense MLP and shared expert. */
static uint64_t inner_of(const struct cwe_arch *a)
{
	int dense = 0, moe = 0;
	for (uint32_t l = 0; l < a->layers; l++) {
		*(cwe_arch_layer_is(a, l, CWE_LAYER_MOE) ? &moe : &dense) = 1;
	}
	return max_u64(dense ? a->intermediate : 0, moe ? a->moe.shared : 0);
}

static uint64_t place_norms(const struct cwe_arch *a, uint64_t t, float *base, uint64_t at, struct cwe_workspace *ws)
{
	for (int i = 0; i < CWE_NORMS; i++) {
		uint64_t rows = i == CWE_NORM_Q && a->norm_heads ? t * a->heads : i == CWE_NORM_K && a->norm_heads ? t * a->kv_heads : t;
		const struct part part = {&ws->d_rstd[i], a->norm[i] != NULL ? rows : 0};
		at = put(&part, 1, base, at);
	}
	return at;
}

static uint64_t place_experts(const struct cwe_arch *a, uint64_t t, int backward, float *base, uint64_t at,
	struct cwe_workspace *ws)
{
	uint64_t n = t * a->moe.top_k, d = a->hidden, i = a->moe.intermediate, s = a->moe.shared > 0 ? t : 0;
	const struct part part[] = {{&ws->d_router, t * a->moe.experts}, {&ws->d_token, n}, {&ws->d_weight, n},
		{&ws->d_xe, n * d}, {&ws->d_ge, n * i}, {&ws->d_ue, n * i}, {&ws->d_he, n * i}, {&ws->d_ye, n * d},
		{&ws->d_ys, s * d}, {&ws->d_ws, s}, {&ws->d_dye, backward ? max_u64(n, s) * d : 0},
		{&ws->d_dw, backward ? max_u64(n, t) : 0}};
	return a->moe.experts > 0 ? put(part, sizeof part / sizeof *part, base, at) : at;
}

static uint64_t place(const struct cwe_model *m, uint64_t t, uint64_t positions, int backward, float *base,
	struct cwe_workspace *ws)
{
	const struct cwe_arch *a = &m->arch;
	uint64_t d = a->hidden, q = (uint64_t)a->heads * a->head_dim, kv = (uint64_t)a->kv_heads * a->head_dim;
	uint64_t i = inner_of(a), experts = t * a->moe.top_k * a->moe.intermediate;
	uint64_t wide = max_u64(max_u64(d, q), max_u64(i, a->moe.intermediate));
	uint64_t dh = max_u64(t * max_u64(i, q), experts);
	uint64_t rows = cwe_rope_extended(a, positions) ? 2 * positions : positions;
	uint64_t global = rows * (a->rope[0].rotary / 2), local = a->window > 0 ? rows * (a->rope[1].rotary / 2) : 0;
	const struct part part[] = {{&ws->d_h1, t * d},
		{&ws->d_q0, a->norm[CWE_NORM_Q] != NULL ? t * q : 0}, {&ws->d_k0, a->norm[CWE_NORM_K] != NULL ? t * kv : 0},
		{&ws->d_q, t * q}, {&ws->d_k, t * kv}, {&ws->d_v, t * kv}, {&ws->d_attention, t * q},
		{&ws->d_o, a->norm[CWE_NORM_ATTENTION_OUT] != NULL ? t * d : 0}, {&ws->d_x2, t * d},
		{&ws->d_h2, a->norm[CWE_NORM_MLP] != NULL ? t * d : 0}, {&ws->d_gate, t * i}, {&ws->d_up, t * i},
		{&ws->d_h, t * i}, {&ws->d_m, a->norm[CWE_NORM_MLP_OUT] != NULL ? t * d : 0}, {&ws->d_lse, t * a->heads},
		{&ws->d_cos[0], global}, {&ws->d_sin[0], global}, {&ws->d_cos[1], local}, {&ws->d_sin[1], local},
		{&ws->d_quantized, m->quantizes ? t * wide : 0},
		{&ws->d_dblock, backward && (a->norm[CWE_NORM_ATTENTION_OUT] != NULL || a->norm[CWE_NORM_MLP_OUT] != NULL) ? t * d : 0},
		{&ws->d_dh, backward ? dh : 0}, {&ws->d_dx, backward ? t * d : 0}, {&ws->d_dq, backward ? t * q : 0},
		{&ws->d_dk, backward ? t * kv : 0}, {&ws->d_dv, backward ? t * kv : 0},
		{&ws->d_dq0, backward && a->norm[CWE_NORM_Q] != NULL ? t * q : 0},
		{&ws->d_dk0, backward && a->norm[CWE_NORM_K] != NULL ? t * kv : 0}};
	uint64_t at = put(part, sizeof part / sizeof *part, base, 0);
	at = place_norms(a, t, base, at, ws);
	return place_experts(a, t, backward, base, at, ws);
}

/* Parts without elements stay where they are. Returns the elements of all. */
static uint64_t place_inside(const struct cwe_arch *a, uint32_t layer, uint64_t t, float *base, struct cwe_workspace *ws)
{
	int moe = cwe_arch_layer_is(a, layer, CWE_LAYER_MOE), normed = a->norm[CWE_NORM_Q] != NULL;
	int o = a->norm[CWE_NORM_ATTENTION_OUT] != NULL, m = a->norm[CWE_NORM_MLP_OUT] != NULL;
	uint64_t d = a->hidden, q = (uint64_t)a->heads * a->head_dim, kv = (uint64_t)a->kv_heads * a->head_dim;
	uint64_t i = moe ? a->moe.shared : a->intermediate, n = moe ? t * a->moe.top_k : 0, s = moe && a->moe.shared > 0 ? t : 0;
	const struct part part[] = {{normed ? &ws->d_q0 : &ws->d_q, t * q}, {normed ? &ws->d_k0 : &ws->d_k, t * kv}, {&ws->d_v, t * kv},
		{&ws->d_attention, t * q}, {&ws->d_lse, t * a->heads}, {o ? &ws->d_o : &ws->d_x2, t * d}, {&ws->d_gate, t * i},
		{&ws->d_up, t * i}, {&ws->d_m, m ? t * d : 0}, {&ws->d_router, moe ? t * a->moe.experts : 0},
		{&ws->d_ge, n * a->moe.intermediate}, {&ws->d_ue, n * a->moe.intermediate}, {&ws->d_ye, n * d}, {&ws->d_ys, s * d},
		{&ws->d_ws, s}};
	uint64_t at = 0;
	for (size_t k = 0; k < sizeof part / sizeof *part; k++) {
		at = base == NULL || part[k].n > 0 ? put(&part[k], 1, base, at) : at;
	}
	return at;
}

uint64_t cwe_workspace_inside_bytes(const struct cwe_model *m, uint32_t layer, uint64_t tokens)
{
	struct cwe_workspace ws;
	return place_inside(&m->arch, layer, tokens, NULL, &ws) * sizeof(float);
}

void cwe_workspace_inside(const struct cwe_model *m, struct cwe_workspace *ws, uint32_t layer, uint64_t tokens, float *d_inside)
{
	(void)place(m, ws->tokens, ws->positions, ws->backward, ws->d_block, ws);
	if (d_inside != NULL) {
		(void)place_inside(&m->arch, layer, tokens, d_inside, ws);
	}
}

/* What routing takes beside the device's memory. */
static uint64_t host_bytes(const struct cwe_moe *moe, uint64_t tokens)
{
	uint64_t most = max_u64(moe->experts, moe->top_k);
	return moe->experts > 0 ? tokens * sizeof(float) * (most + moe->experts + 4 * (uint64_t)moe->top_k) : 0;
}

uint64_t cwe_workspace_bytes(const struct cwe_model *m, uint64_t tokens, uint64_t positions, int backward)
{
	struct cwe_workspace ws;
	return place(m, tokens, positions, backward, NULL, &ws) * sizeof(float) + host_bytes(&m->arch.moe, tokens);
}

void cwe_workspace_use(const struct cwe_model *m, uint64_t tokens, struct cwp_backend_use *ret)
{
	const struct cwe_arch *a = &m->arch;
	uint64_t q = (uint64_t)a->heads * a->head_dim, inner = max_u64(inner_of(a), a->moe.intermediate);
	struct cwp_backend_use use = {.size = sizeof use};
	cwe_linears_sum_most(a, &use.weights, &use.sum);
	use.weights *= m->splits ? 2 : 1;
	use.weights = max_u64(use.weights, (uint64_t)CWE_HEAD_SLICE * a->hidden);
	use.tokens = max_u64(tokens * max_u64(a->moe.top_k, 1), CWE_HEAD_ROWS);
	use.width = max_u64(max_u64(max_u64(a->hidden, q), max_u64(inner, a->moe.experts)), CWE_HEAD_SLICE);
	*ret = use;
}

/* One rotary embedding's tables; behind them those for extended sequences. */
static int load_tables(struct cwe_model *m, int which, const struct cwe_workspace *ws, struct cwb_err *err)
{
	const struct cwe_rope *rope = &m->arch.rope[which];
	uint64_t n = ws->positions * (rope->rotary / 2);
	int tables = cwe_rope_extended(&m->arch, ws->positions) ? 2 : 1, r = 0;
	float *table = malloc(2 * n * sizeof *table + 1); /* n: positions of samples that are in memory already */
	if (table == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for rotary tables of %llu positions",
			(unsigned long long)ws->positions);
	}
	for (int extended = 0; r == 0 && extended < tables; extended++) {
		cwe_rope_tables(rope, extended, ws->positions, table, table + n);
		if ((r = CWE_OP(m->device, upload, ws->d_cos[which] + extended * n, table, n * sizeof *table)) == 0) {
			r = CWE_OP(m->device, upload, ws->d_sin[which] + extended * n, table + n, n * sizeof *table);
		}
	}
	free(table);
	return r;
}

static int load(struct cwe_model *m, struct cwe_workspace *ws, struct cwb_err *err)
{
	const struct cwe_moe *moe = &m->arch.moe;
	int r = load_tables(m, 0, ws, err);
	r = r == 0 && m->arch.window > 0 ? load_tables(m, 1, ws, err) : r;
	if (r != 0 || moe->experts == 0) {
		return r;
	}
	ws->host = malloc(ws->tokens * max_u64(moe->experts, moe->top_k) * sizeof *ws->host + 1);
	if (ws->host == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for routing %llu tokens", (unsigned long long)ws->tokens);
	}
	return cwe_routing_new(moe, ws->tokens, &ws->routing, err);
}

int cwe_workspace_new(struct cwe_model *m, uint64_t tokens, uint64_t positions, int backward,
	struct cwe_workspace *ret, struct cwb_err *err)
{
	struct cwe_workspace ws = {0};
	ws.bytes = place(m, tokens, positions, backward, NULL, &ws) * sizeof(float);
	float *block = NULL;
	int r = cwe_device_bytes(m->device, ws.bytes, (void **)&block, err);
	if (r == 0) {
		(void)place(m, tokens, positions, backward, block, &ws);
		ws.d_block = block;
		ws.tokens = tokens;
		ws.positions = positions;
		ws.backward = backward;
		r = load(m, &ws, err);
	}
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
	cwe_routing_free(&ws->routing);
	free(ws->host);
	memset(ws, 0, sizeof *ws);
}
