/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Prompt in one pass, then a token at a time. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/generate.h"
#include "engine/model/ops.h"

#define SLICE 4096 /* vocabulary entries at a time */

struct cwe_generator {
	struct cwe_model *model;
	uint64_t positions;
	struct cwe_layer *layer; /* [resident ? layers : 1] */
	uint32_t resident;       /* layers that stay; the one after them is loaded again each time */
	struct cwe_workspace ws;
	float **d_k, **d_v;      /* [layers] of [positions, kv_heads * head_dim] */
	float *d_x, *d_y;        /* [positions, hidden] */
	float *d_norm, *d_head, *d_logits;
	int head_resident;
	float *d_stats;          /* max, target logit, best, norm */
	double *d_sum;
	uint32_t *d_token;       /* target, best */
	uint32_t *d_position;    /* [positions] 0, 1, 2 .. */
};

static uint64_t cache_floats(const struct cwe_generator *g)
{
	return g->positions * g->model->arch.kv_heads * g->model->arch.head_dim;
}

static uint64_t head_rows(const struct cwe_generator *g)
{
	uint64_t v = g->model->arch.vocabulary;
	return g->head_resident || v < SLICE ? v : SLICE;
}

uint64_t cwe_generator_bytes(const struct cwe_model *m, uint64_t positions)
{
	uint64_t cache = positions * m->arch.kv_heads * m->arch.head_dim, d = m->arch.hidden;
	return cwe_layer_bytes(&m->arch) + cwe_workspace_bytes(m, positions, positions, 0) +
		sizeof(float) * (2 * m->arch.layers * cache + (2 * positions + SLICE + 1) * d + SLICE + positions + 16);
}

static int load_positions(struct cwe_generator *g, struct cwb_err *err)
{
	uint32_t *position = malloc(g->positions * sizeof *position);
	if (position == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " positions", g->positions);
	}
	for (uint64_t i = 0; i < g->positions; i++) {
		position[i] = (uint32_t)i;
	}
	int r = CWE_OP(g->model->device, upload, g->d_position, position, g->positions * sizeof *position);
	free(position);
	return r;
}

/* Layers first, then the output projection, as far as the memory goes. */
static int load_resident(struct cwe_generator *g, uint64_t memory, struct cwb_err *err)
{
	struct cwe_model *m = g->model;
	uint64_t layer = cwe_layer_bytes(&m->arch), head = (uint64_t)m->arch.vocabulary * m->arch.hidden * sizeof(float);
	uint64_t fit = memory / layer;
	g->resident = fit < m->arch.layers ? (uint32_t)fit : m->arch.layers;
	g->head_resident = fit >= m->arch.layers && memory - m->arch.layers * layer >= head;
	uint32_t n = g->resident < m->arch.layers ? g->resident + 1 : g->resident;
	g->layer = calloc(n, sizeof *g->layer);
	if (g->layer == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %u layers", n);
	}
	int r = 0;
	for (uint32_t l = 0; r == 0 && l < n; l++) {
		r = cwe_layer_new(m, &g->layer[l], err);
		if (r == 0 && l < g->resident) {
			r = cwe_layer_load(m, l, &g->layer[l], err);
		}
	}
	r = r == 0 ? cwe_device_floats(m->device, head_rows(g) * m->arch.hidden, &g->d_head, err) : r;
	return r == 0 && g->head_resident ? cwe_model_head_rows(m, 0, m->arch.vocabulary, g->d_head, err) : r;
}

int cwe_generator_new(struct cwe_model *model, uint64_t memory, uint64_t positions, struct cwe_generator **ret,
	struct cwb_err *err)
{
	struct cwe_generator *g = calloc(1, sizeof *g);
	uint32_t layers = model->arch.layers;
	if (g == NULL || (g->d_k = calloc(layers, sizeof *g->d_k)) == NULL ||
		(g->d_v = calloc(layers, sizeof *g->d_v)) == NULL) {
		free(g != NULL ? g->d_k : NULL);
		free(g);
		return cwb_err_set(err, -ENOMEM, "no memory for a generator");
	}
	g->model = model;
	g->positions = positions;
	struct cwe_device *dev = model->device;
	uint64_t wide = positions * model->arch.hidden;
	int r = load_resident(g, memory, err);
	for (uint32_t l = 0; r == 0 && l < layers; l++) {
		r = cwe_device_floats(dev, cache_floats(g), &g->d_k[l], err);
		r = r == 0 ? cwe_device_floats(dev, cache_floats(g), &g->d_v[l], err) : r;
	}
	if (r == 0 && (r = cwe_workspace_new(model, positions, positions, 0, &g->ws, err)) == 0 &&
		(r = cwe_device_floats(dev, wide, &g->d_x, err)) == 0 &&
		(r = cwe_device_floats(dev, wide, &g->d_y, err)) == 0 &&
		(r = cwe_device_floats(dev, model->arch.hidden, &g->d_norm, err)) == 0 &&
		(r = cwe_device_floats(dev, head_rows(g), &g->d_logits, err)) == 0 &&
		(r = cwe_device_floats(dev, 4, &g->d_stats, err)) == 0 &&
		(r = cwe_device_bytes(dev, sizeof *g->d_sum, (void **)&g->d_sum, err)) == 0 &&
		(r = cwe_device_bytes(dev, 2 * sizeof *g->d_token, (void **)&g->d_token, err)) == 0 &&
		(r = cwe_device_bytes(dev, positions * sizeof *g->d_position, (void **)&g->d_position, err)) == 0 &&
		(r = load_positions(g, err)) == 0) {
		r = cwe_model_final_norm(model, g->d_norm, err);
	}
	if (r != 0) {
		cwe_generator_free(g);
		return r;
	}
	*ret = g;
	return 0;
}

void cwe_generator_free(struct cwe_generator *g)
{
	if (g == NULL) {
		return;
	}
	struct cwe_device *dev = g->model->device;
	uint32_t layers = g->model->arch.layers;
	uint64_t wide = g->positions * g->model->arch.hidden * sizeof(float);
	for (uint32_t l = 0; g->layer != NULL && l < (g->resident < layers ? g->resident + 1 : g->resident); l++) {
		cwe_layer_free(g->model, &g->layer[l]);
	}
	for (uint32_t l = 0; l < layers; l++) {
		cwe_device_free(dev, g->d_k[l], cache_floats(g) * sizeof(float));
		cwe_device_free(dev, g->d_v[l], cache_floats(g) * sizeof(float));
	}
	cwe_workspace_free(g->model, &g->ws);
	cwe_device_free(dev, g->d_x, wide);
	cwe_device_free(dev, g->d_y, wide);
	cwe_device_free(dev, g->d_norm, g->model->arch.hidden * sizeof(float));
	cwe_device_free(dev, g->d_head, head_rows(g) * g->model->arch.hidden * sizeof(float));
	cwe_device_free(dev, g->d_logits, head_rows(g) * sizeof(float));
	cwe_device_free(dev, g->d_stats, 4 * sizeof(float));
	cwe_device_free(dev, g->d_sum, sizeof *g->d_sum);
	cwe_device_free(dev, g->d_token, 2 * sizeof *g->d_token);
	cwe_device_free(dev, g->d_position, g->positions * sizeof *g->d_position);
	free(g->d_k);
	free(g->d_v);
	free(g->layer);
	free(g);
}

static int layer_at(struct cwe_generator *g, uint32_t l, const struct cwe_layer **ret, struct cwb_err *err)
{
	*ret = &g->layer[l < g->resident ? l : g->resident];
	return l < g->resident ? 0 : cwe_layer_load(g->model, l, &g->layer[g->resident], err);
}

/* The most likely token after hidden row d_x [hidden]. */
static int best_token(struct cwe_generator *g, const float *d_x, uint32_t *ret, struct cwb_err *err)
{
	struct cwe_model *m = g->model;
	uint64_t v = m->arch.vocabulary, step = head_rows(g);
	struct cwe_device *dev = m->device;
	float *d_h = g->ws.d_h1, *d_max = g->d_stats, *d_target = g->d_stats + 1, *d_best = g->d_stats + 2, *d_rstd = g->d_stats + 3;
	int r;
	if ((r = cwe_model_norm(m, d_x, g->d_norm, 1, d_h, d_rstd, err)) != 0 ||
		(r = CWE_OP(dev, zero, g->d_token, 2 * sizeof *g->d_token)) != 0 ||
		(r = CWE_OP(dev, xent_begin, 1, d_max, g->d_sum, d_target, d_best, g->d_token + 1)) != 0) {
		return r;
	}
	for (uint64_t first = 0; first < v; first += step) {
		uint64_t n = v - first < step ? v - first : step;
		if (!g->head_resident && (r = cwe_model_head_rows(m, first, n, g->d_head, err)) != 0) {
			return r;
		}
		if ((r = cwe_model_logits(m, d_h, 1, g->d_head, n, g->d_logits, err)) != 0 ||
			(r = CWE_OP(dev, xent_slice, g->d_logits, 1, n, n, (uint32_t)first, g->d_token, d_max, g->d_sum, d_target,
				d_best, g->d_token + 1)) != 0) {
			return r;
		}
	}
	return CWE_OP(dev, download, ret, g->d_token + 1, sizeof *ret);
}

static int prefill(struct cwe_generator *g, const struct cwe_generation *w, struct cwb_err *err)
{
	struct cwe_model *m = g->model;
	uint64_t start[2] = {0, w->count}, kv = w->count * m->arch.kv_heads * m->arch.head_dim;
	struct cwe_chunk chunk = {.tokens = w->count, .sequences = {1, start}, .samples = {1, start},
		.d_position = g->d_position};
	const struct cwe_layer *layer;
	int r = cwe_model_embed(m, w->prompt, w->count, g->d_x, err);
	for (uint32_t l = 0; r == 0 && l < m->arch.layers; l++) {
		if ((r = layer_at(g, l, &layer, err)) == 0 &&
			(r = cwe_layer_forward(m, layer, &chunk, g->d_x, &g->ws, g->d_y, NULL, err)) == 0 &&
			(r = cwe_device_copy(m->device, g->d_k[l], g->ws.d_k, kv, err)) == 0) {
			r = cwe_device_copy(m->device, g->d_v[l], g->ws.d_v, kv, err);
		}
		float *swap = g->d_x;
		g->d_x = g->d_y;
		g->d_y = swap;
	}
	return r;
}

/* One token through all layers; d_x [0, hidden) holds its last hidden state afterwards. */
static int step(struct cwe_generator *g, uint32_t token, uint64_t length, struct cwb_err *err)
{
	struct cwe_model *m = g->model;
	const struct cwe_layer *layer;
	int r = cwe_model_embed(m, &token, 1, g->d_x, err);
	for (uint32_t l = 0; r == 0 && l < m->arch.layers; l++) {
		r = layer_at(g, l, &layer, err);
		const struct cwe_decode decode = {.count = 1, .length = &length, .d_position = g->d_position + length,
			.d_k = &g->d_k[l], .d_v = &g->d_v[l]};
		r = r == 0 ? cwe_layer_decode(m, layer, g->d_x, &decode, &g->ws, err) : r;
	}
	return r;
}

static int is_stop(const struct cwe_generation *w, uint32_t id)
{
	for (size_t i = 0; i < w->stops; i++) {
		if (w->stop[i] == id) {
			return 1;
		}
	}
	return 0;
}

int cwe_generator_run(struct cwe_generator *g, const struct cwe_generation *w, uint32_t **ret_id, uint64_t *ret_count,
	struct cwb_err *err)
{
	uint64_t limit = g->positions < g->model->arch.context ? g->positions : g->model->arch.context;
	if (w->count == 0 || w->count > limit) {
		return cwb_err_set(err, CWP_ELIMIT, "a prompt of %" PRIu64 " tokens does not fit 1 to %" PRIu64
			"; shorten it", w->count, limit);
	}
	uint64_t room = limit - w->count < w->max_new ? limit - w->count : w->max_new, n = 0;
	uint32_t *id = malloc((room + 1) * sizeof *id);
	if (id == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " tokens", room);
	}
	int r = room > 0 ? prefill(g, w, err) : 0;
	const float *d_last = g->d_x + (w->count - 1) * g->model->arch.hidden;
	while (r == 0 && n < room && (r = best_token(g, d_last, &id[n], err)) == 0) {
		n++;
		if (is_stop(w, id[n - 1]) || n == room) {
			break;
		}
		const struct cwp_host *host = &g->model->device->host->table;
		r = host->cancelled(host->ctx) ? cwb_err_set(err, CWP_ECANCELLED, "cancelled")
					       : step(g, id[n - 1], w->count + n - 1, err);
		d_last = g->d_x;
	}
	if (r != 0) {
		free(id);
		return r;
	}
	*ret_id = id;
	*ret_count = n;
	return 0;
}
