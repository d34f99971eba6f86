/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Pieces through layers. */
#include <string.h>

#include "engine/calibrate/pass.h"

/* Those of all tokens, where each upload would be a transfer of its own. */
static uint64_t position_bytes(const struct cwe_model *m, uint64_t tokens, uint64_t widest)
{
	return (cwe_device_remote(m->device) ? tokens : widest) * sizeof(uint32_t);
}

static int load_positions(struct cwe_pass *p, struct cwb_err *err)
{
	struct cwe_chunk chunk;
	int e = 0;
	for (size_t i = 0; e == 0 && cwe_device_remote(p->model->device) && i < p->corpus->pieces; i++) {
		const struct cwe_piece *piece = &p->corpus->piece[i];
		e = cwe_chunk_load(p->model, p->corpus, piece, p->d_position + piece->at, &chunk, err);
	}
	return e;
}

uint64_t cwe_pass_bytes(const struct cwe_model *m, uint64_t tokens, uint64_t widest, uint64_t *ret_host)
{
	uint64_t staging, row = (uint64_t)m->arch.hidden * sizeof(float);
	cwe_boundary_staging(m->device, widest * m->arch.hidden, cwe_device_boundary_dtype(m->device), &staging, ret_host);
	return cwe_ahead_bytes(m) + 2 * widest * row + position_bytes(m, tokens, widest) + staging;
}

int cwe_pass_new(struct cwe_model *m, const struct cwe_corpus *corpus, uint32_t slots, uint64_t memory,
	const char *scratch, struct cwe_pass *ret, struct cwb_err *err)
{
	struct cwe_pass p = {.model = m, .corpus = corpus, .boundary.fd = -1};
	uint64_t wide = corpus->widest * m->arch.hidden;
	const struct cwe_boundary_size size = {.slots = slots, .floats = corpus->tokens * m->arch.hidden, .piece = wide,
		.dtype = cwe_device_boundary_dtype(m->device)};
	int e;
	if ((e = cwe_ahead_new(m, &p.layer, &p.ahead, err)) != 0 ||
		(e = cwe_device_floats(m->device, wide, &p.d_x, err)) != 0 ||
		(e = cwe_device_floats(m->device, wide, &p.d_y, err)) != 0 ||
		(e = cwe_device_bytes(m->device, position_bytes(m, corpus->tokens, corpus->widest), (void **)&p.d_position, err)) != 0 ||
		(e = load_positions(&p, err)) != 0 || (e = cwe_boundary_new(m->device, &size, memory, scratch, &p.boundary, err)) != 0) {
		cwe_pass_free(&p);
		return e;
	}
	*ret = p;
	return 0;
}

void cwe_pass_free(struct cwe_pass *p)
{
	if (p->model == NULL) {
		return;
	}
	struct cwe_device *device = p->model->device;
	uint64_t wide = p->corpus->widest * p->model->arch.hidden * sizeof(float);
	cwe_boundary_free(&p->boundary);
	cwe_device_free(device, p->d_position, position_bytes(p->model, p->corpus->tokens, p->corpus->widest));
	cwe_device_free(device, p->d_y, wide);
	cwe_device_free(device, p->d_x, wide);
	cwe_workspace_free(p->model, &p->ws);
	cwe_ahead_free(&p->ahead, &p->layer);
	memset(p, 0, sizeof *p);
}

int cwe_pass_workspace(struct cwe_pass *p, int backward, struct cwb_err *err)
{
	cwe_workspace_free(p->model, &p->ws);
	return cwe_workspace_new(p->model, p->corpus->widest, p->corpus->longest, backward, &p->ws, err);
}

int cwe_pass_layer(struct cwe_pass *p, uint32_t index, uint32_t next, struct cwb_err *err)
{
	return cwe_ahead_take(&p->ahead, &p->layer, index, next, err);
}

int cwe_pass_cancelled(const struct cwe_pass *p, struct cwb_err *err)
{
	const struct cwe_device *device = p->model->device;
	const struct cwp_host *host = &device->host->table;
	int stop = device->stop != NULL && atomic_load_explicit(device->stop, memory_order_relaxed);
	return stop || host->cancelled(host->ctx) ? cwb_err_set(err, CWP_ECANCELLED, "cancelled") : 0;
}

int cwe_pass_embed(struct cwe_pass *pass, struct cwb_err *err)
{
	const struct cwe_corpus *corpus = pass->corpus;
	uint64_t d = pass->model->arch.hidden;
	for (size_t i = 0; i < corpus->pieces; i++) {
		const struct cwe_piece *p = &corpus->piece[i];
		int e = cwe_model_embed(pass->model, corpus->id + p->at, p->tokens, pass->d_x, err);
		if (e != 0 || (e = cwe_boundary_put(&pass->boundary, 0, p->at * d, pass->d_x, p->tokens * d, err)) != 0) {
			return e;
		}
	}
	return 0;
}

int cwe_pass_chunk(struct cwe_pass *pass, const struct cwe_piece *p, struct cwe_chunk *ret, struct cwb_err *err)
{
	if (!cwe_device_remote(pass->model->device)) {
		return cwe_chunk_load(pass->model, pass->corpus, p, pass->d_position, ret, err);
	}
	*ret = cwe_piece_chunk(p, pass->d_position + p->at);
	return 0;
}

int cwe_pass_get(struct cwe_pass *pass, struct cwe_boundary *b, uint32_t slot, const struct cwe_piece *p, float *d_x,
	struct cwb_err *err)
{
	const struct cwe_piece *next = p + 1, *end = pass->corpus->piece + pass->corpus->pieces;
	uint64_t d = pass->model->arch.hidden;
	int e = cwe_boundary_get(b, slot, p->at * d, d_x, p->tokens * d, err);
	return e == 0 && next < end ? cwe_boundary_expect(b, slot, next->at * d, next->tokens * d, err) : e;
}

/* out NULL: only what a tap sees. */
static int forward(struct cwe_pass *pass, const struct cwe_piece *p, uint32_t from, const struct cwe_tap *tap, float *d_out,
	struct cwb_err *err)
{
	struct cwe_chunk chunk;
	struct cwe_model *m = pass->model;
	uint32_t layer = pass->layer.index;
	int e;
	if ((e = cwe_pass_cancelled(pass, err)) != 0 || (e = cwe_pass_chunk(pass, p, &chunk, err)) != 0 ||
		(pass->ws.d_block == NULL && (e = cwe_pass_workspace(pass, 0, err)) != 0) ||
		(e = cwe_pass_get(pass, &pass->boundary, from, p, pass->d_x, err)) != 0) {
		return e;
	}
	float *d_inside = pass->insides != NULL && d_out != NULL
		? cwe_insides_make(pass->insides, layer, (size_t)(p - pass->corpus->piece)) : NULL;
	if (d_inside == NULL) {
		return cwe_layer_forward(m, &pass->layer, &chunk, pass->d_x, &pass->ws, d_out, tap, err);
	}
	cwe_workspace_inside(m, &pass->ws, layer, p->tokens, d_inside);
	e = cwe_layer_forward(m, &pass->layer, &chunk, pass->d_x, &pass->ws, d_out, tap, err);
	cwe_workspace_inside(m, &pass->ws, layer, p->tokens, NULL);
	return e;
}

int cwe_pass_piece(struct cwe_pass *pass, const struct cwe_piece *p, uint32_t from, uint32_t to,
	const struct cwe_tap *tap, struct cwb_err *err)
{
	uint64_t n = p->tokens * pass->model->arch.hidden, at = p->at * pass->model->arch.hidden;
	int e = forward(pass, p, from, tap, pass->d_y, err);
	return e == 0 ? cwe_boundary_put(&pass->boundary, to, at, pass->d_y, n, err) : e;
}

int cwe_pass_look(struct cwe_pass *pass, const struct cwe_piece *p, uint32_t from, const struct cwe_tap *tap, struct cwb_err *err)
{
	return forward(pass, p, from, tap, NULL, err);
}
