/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A generator's memory: weights that stay, caches, and what a step works in. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/generator.h"
#include "engine/model/ops.h"

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Keys or values of a token in a layer. */
static uint64_t row_floats(const struct cwe_arch *a)
{
	return (uint64_t)a->kv_heads * a->head_dim;
}

/* Tokens that go through at once to fill a cache: a prompt, or a sequence that has just become a long one. */
static uint64_t fill_rows(const struct cwe_arch *a, const struct cwe_generator_size *size)
{
	uint64_t crossing = cwe_rope_extended(a, size->positions) ? (uint64_t)a->rope[0].original_context + 1 : 0;
	return max_u64(size->prompt, crossing);
}

/* Tokens that go through the layers at once, at most. */
static uint64_t pack_rows(const struct cwe_arch *a, const struct cwe_generator_size *size)
{
	uint64_t rows = fill_rows(a, size), all = size->slots * rows;
	return max_u64(max_u64(rows, CWE_PACK_LEAST), min_u64(all, CWE_GENERATOR_PACK));
}

/* Rows of all sequences that are filled in a step. */
static uint64_t filled_rows(uint64_t slots, uint64_t rows)
{
	return slots * rows + CWE_PACK_LEAST;
}

static uint64_t position_count(const struct cwe_arch *a, const struct cwe_generator_size *size)
{
	return cwe_rope_extended(a, size->positions) ? 2 * size->positions : size->positions;
}

/* Vocabulary entries at a time. */
static uint64_t slice(const struct cwe_arch *a)
{
	return min_u64(a->vocabulary, CWE_GENERATOR_SLICE);
}

/* The arrays of a generator but weights and workspace, in elements of 4 bytes. */
static uint64_t step_floats(const struct cwe_arch *a, const struct cwe_generator_size *size)
{
	return (filled_rows(size->slots, fill_rows(a, size)) + 2 * size->slots) * a->hidden + size->slots * (slice(a) + 9) +
		filled_rows(size->slots, fill_rows(a, size)) + position_count(a, size) + a->hidden;
}

uint64_t cwe_generator_bytes(const struct cwe_model *m, const struct cwe_generator_size *size)
{
	const struct cwe_arch *a = &m->arch;
	uint64_t cache = 2 * a->layers * size->slots * size->positions * row_floats(a);
	uint64_t ids = size->slots * size->positions, head = slice(a) * a->hidden;
	return cwe_layer_bytes(m) + cwe_workspace_bytes(m, max_u64(pack_rows(a, size), size->slots), size->positions, 0) +
		sizeof(float) * (cache + ids + head + step_floats(a, size));
}

void cwe_generator_fit(const struct cwe_model *m, const struct cwe_generation *what, size_t n, uint64_t most, uint64_t memory,
	struct cwe_generator_size *ret)
{
	struct cwe_generator_size size = {.prompt = 1, .positions = 1};
	for (size_t i = 0; i < n; i++) {
		uint64_t room = min_u64(what[i].max_new, m->arch.context); /* the sum may not overflow */
		size.prompt = max_u64(size.prompt, what[i].count);
		size.positions = max_u64(size.positions, min_u64(what[i].count + room, m->arch.context));
	}
	size.slots = max_u64(min_u64(min_u64(most, CWE_GENERATOR_SLOTS), n), 1);
	while (size.slots > 1 && cwe_generator_bytes(m, &size) > memory) {
		size.slots--;
	}
	*ret = size;
}

static int load_positions(struct cwe_generator *g, struct cwb_err *err)
{
	uint64_t n = position_count(&g->model->arch, &g->size);
	uint32_t *position = malloc(n * sizeof *position);
	if (position == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " positions", n);
	}
	for (uint64_t i = 0; i < n; i++) {
		position[i] = (uint32_t)i;
	}
	int r = CWE_OP(g->model->device, upload, g->d_position, position, n * sizeof *position);
	free(position);
	return r;
}

static uint64_t head_floats(const struct cwe_generator *g)
{
	const struct cwe_arch *a = &g->model->arch;
	return (g->head_resident ? a->vocabulary : slice(a)) * a->hidden;
}

static uint32_t layer_count(const struct cwe_generator *g)
{
	return g->resident < g->model->arch.layers ? g->resident + 1 : g->resident;
}

/* Layers first, then the output projection, as far as the memory goes. */
static int load_resident(struct cwe_generator *g, uint64_t memory, struct cwb_err *err)
{
	struct cwe_model *m = g->model;
	uint64_t layer = cwe_layer_bytes(m), head = (uint64_t)m->arch.vocabulary * m->arch.hidden * sizeof(float);
	uint64_t fit = memory / layer;
	g->resident = fit < m->arch.layers ? (uint32_t)fit : m->arch.layers;
	g->head_resident = fit >= m->arch.layers && memory - m->arch.layers * layer >= head;
	uint32_t n = layer_count(g);
	g->layer = calloc(n, sizeof *g->layer);
	if (g->layer == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %" PRIu32 " layers", n);
	}
	int r = 0;
	for (uint32_t l = 0; r == 0 && l < n; l++) {
		r = cwe_layer_new(m, &g->layer[l], err);
		if (r == 0 && l < g->resident) {
			r = cwe_layer_load(m, l, &g->layer[l], err);
		}
	}
	r = r == 0 ? cwe_device_floats(m->device, head_floats(g), &g->d_head, err) : r;
	return r == 0 && g->head_resident ? cwe_model_head_rows(m, 0, m->arch.vocabulary, g->d_head, err) : r;
}

/* What a step works in. */
static int new_arrays(struct cwe_generator *g, struct cwb_err *err)
{
	struct cwe_device *dev = g->model->device;
	uint64_t slots = g->size.slots, d = g->model->arch.hidden;
	uint64_t positions = position_count(&g->model->arch, &g->size) * sizeof *g->d_position;
	int r;
	if ((r = cwe_workspace_new(g->model, max_u64(g->pack, slots), g->size.positions, 0, &g->ws, err)) != 0 ||
		(r = cwe_device_floats(dev, filled_rows(slots, g->rows) * d, &g->d_x, err)) != 0 ||
		(r = cwe_device_bytes(dev, filled_rows(slots, g->rows) * sizeof *g->d_row, (void **)&g->d_row, err)) != 0 ||
		(r = cwe_device_floats(dev, slots * d, &g->d_t, err)) != 0 ||
		(r = cwe_device_floats(dev, slots * d, &g->d_last, err)) != 0 ||
		(r = cwe_device_floats(dev, d, &g->d_norm, err)) != 0 ||
		(r = cwe_device_floats(dev, slots * slice(&g->model->arch), &g->d_logits, err)) != 0 ||
		(r = cwe_device_floats(dev, 4 * slots, &g->d_stats, err)) != 0 ||
		(r = cwe_device_bytes(dev, slots * sizeof *g->d_sum, (void **)&g->d_sum, err)) != 0 ||
		(r = cwe_device_bytes(dev, 2 * slots * sizeof *g->d_token, (void **)&g->d_token, err)) != 0 ||
		(r = cwe_device_bytes(dev, slots * sizeof *g->d_at, (void **)&g->d_at, err)) != 0 ||
		(r = cwe_device_bytes(dev, positions, (void **)&g->d_position, err)) != 0) {
		return r;
	}
	r = load_positions(g, err);
	return r == 0 ? cwe_model_final_norm(g->model, g->d_norm, err) : r;
}

int cwe_generator_new(struct cwe_model *model, const struct cwe_generator_size *size, uint64_t memory,
	struct cwe_generator **ret, struct cwb_err *err)
{
	struct cwe_generator *g = calloc(1, sizeof *g);
	if (g == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for a generator");
	}
	g->model = model;
	g->size = *size;
	g->size.slots = min_u64(max_u64(size->slots, 1), CWE_GENERATOR_SLOTS);
	g->rows = fill_rows(&model->arch, &g->size);
	g->pack = pack_rows(&model->arch, &g->size);
	int r = load_resident(g, memory, err);
	r = r == 0 ? new_arrays(g, err) : r;
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
	uint64_t slots = g->size.slots, row = g->model->arch.hidden * sizeof(float);
	for (uint64_t s = 0; s < slots; s++) {
		cwe_slot_close(g, &g->slot[s]);
	}
	for (uint32_t l = 0; g->layer != NULL && l < layer_count(g); l++) {
		cwe_layer_free(g->model, &g->layer[l]);
	}
	cwe_workspace_free(g->model, &g->ws);
	cwe_device_free(dev, g->d_x, filled_rows(slots, g->rows) * row);
	cwe_device_free(dev, g->d_row, filled_rows(slots, g->rows) * sizeof *g->d_row);
	cwe_device_free(dev, g->d_t, slots * row);
	cwe_device_free(dev, g->d_last, slots * row);
	cwe_device_free(dev, g->d_norm, row);
	cwe_device_free(dev, g->d_head, head_floats(g) * sizeof(float));
	cwe_device_free(dev, g->d_logits, slots * slice(&g->model->arch) * sizeof(float));
	cwe_device_free(dev, g->d_stats, 4 * slots * sizeof(float));
	cwe_device_free(dev, g->d_sum, slots * sizeof *g->d_sum);
	cwe_device_free(dev, g->d_token, 2 * slots * sizeof *g->d_token);
	cwe_device_free(dev, g->d_at, slots * sizeof *g->d_at);
	cwe_device_free(dev, g->d_position, position_count(&g->model->arch, &g->size) * sizeof *g->d_position);
	free(g->layer);
	free(g);
}

int cwe_generator_layer(struct cwe_generator *g, uint32_t l, const struct cwe_layer **ret, struct cwb_err *err)
{
	*ret = &g->layer[l < g->resident ? l : g->resident];
	return l < g->resident ? 0 : cwe_layer_load(g->model, l, &g->layer[g->resident], err);
}

int cwe_generator_head(struct cwe_generator *g, uint64_t first, uint64_t n, const float **ret, struct cwb_err *err)
{
	*ret = g->d_head + (g->head_resident ? first * g->model->arch.hidden : 0);
	return g->head_resident ? 0 : cwe_model_head_rows(g->model, first, n, g->d_head, err);
}

static uint64_t cache_floats(const struct cwe_generator *g, const struct cwe_slot *slot)
{
	return 2 * (uint64_t)g->model->arch.layers * (slot->what->count + slot->room) * row_floats(&g->model->arch);
}

int cwe_slot_open(struct cwe_generator *g, struct cwe_slot *slot, const struct cwe_generation *what, uint64_t room,
	struct cwb_err *err)
{
	struct cwe_slot s = {.what = what, .room = room, .count = what->count};
	s.id = malloc((what->count + room) * sizeof *s.id);
	if (s.id == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %" PRIu64 " tokens", what->count + room);
	}
	memcpy(s.id, what->prompt, what->count * sizeof *s.id);
	int r = cwe_device_floats(g->model->device, cache_floats(g, &s), &s.d_cache, err);
	if (r != 0) {
		free(s.id);
		return r;
	}
	*slot = s;
	return 0;
}

void cwe_slot_close(struct cwe_generator *g, struct cwe_slot *slot)
{
	if (slot->what != NULL) {
		cwe_device_free(g->model->device, slot->d_cache, cache_floats(g, slot) * sizeof(float));
		free(slot->id);
		memset(slot, 0, sizeof *slot);
	}
}

void cwe_slot_cache(const struct cwe_generator *g, const struct cwe_slot *slot, uint32_t layer, float **ret_k, float **ret_v)
{
	uint64_t n = (slot->what->count + slot->room) * row_floats(&g->model->arch);
	*ret_k = slot->d_cache + 2 * layer * n;
	*ret_v = *ret_k + n;
}
