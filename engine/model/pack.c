/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sequences that fill their caches together: their rows lie one after another, behind one copy of the tokens that all of
 * them begin with. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/generator.h"
#include "engine/model/ops.h"

/* Shorter beginnings are computed by each sequence: the copies cost more. */
#define LEAST_SHARED 8

/* How many tokens the sequence begins with that `n` tokens of `id` begin with too. */
static uint64_t alike(const struct cwe_slot *slot, const uint32_t *id, uint64_t n)
{
	uint64_t most = slot->count < n ? slot->count : n, t = 0;
	while (t < most && slot->id[t] == id[t]) {
		t++;
	}
	return t;
}

/* Whether sequences can go through together: experts get what rows are sent to them, few of one sequence and many of several,
 * and products of few and many rows differ in the last bits. */
static int together(const struct cwe_generator *g)
{
	const struct cwe_device *device = g->model->device;
	return g->model->arch.moe.experts == 0 && device->ops->rows_alone(device->b);
}

struct cwe_pack cwe_pack_take(const struct cwe_generator *g, struct cwe_slot *const *slot, uint64_t n)
{
	struct cwe_pack pack = {.slot = slot, .count = 1, .rows = slot[0]->count};
	uint64_t tokens = slot[0]->count, common = slot[0]->count - 1;
	if (!together(g)) {
		return pack;
	}
	while (pack.count < n) {
		const struct cwe_slot *next = slot[pack.count];
		/* Each keeps a row of its own, for the token that it gets. */
		uint64_t both = alike(next, slot[0]->id, common);
		both = both < next->count ? both : next->count - 1;
		int divisible = both >= LEAST_SHARED && cwe_model_divisible(g->model, g->size.positions);
		uint64_t shared = divisible ? both : 0, rows = tokens + next->count - pack.count * shared;
		if (rows > g->pack) {
			break;
		}
		common = both;
		tokens += next->count;
		pack.shared = shared;
		pack.rows = rows;
		pack.count++;
	}
	pack.rows = pack.rows < CWE_PACK_LEAST ? CWE_PACK_LEAST : pack.rows;
	return pack;
}

uint64_t cwe_pack_end(const struct cwe_pack *p, uint64_t i)
{
	uint64_t end = p->shared;
	for (uint64_t k = 0; k <= i; k++) {
		end += p->slot[k]->count - p->shared;
	}
	return end;
}

/* Tokens [from, from + n) of a sequence at row `at`. */
static void put(const struct cwe_generator *g, const struct cwe_slot *s, uint64_t from, uint64_t n, uint64_t at, uint32_t *id,
	uint32_t *row)
{
	memcpy(id + at, s->id + from, n * sizeof *id);
	for (uint64_t t = 0; t < n; t++) {
		row[at + t] = (uint32_t)(from + t + (s->extended ? g->ws.positions : 0));
	}
}

int cwe_pack_embed(struct cwe_generator *g, const struct cwe_pack *p, float *d_x, uint32_t *d_row, struct cwb_err *err)
{
	uint32_t *id = calloc(2 * p->rows, sizeof *id);
	if (id == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %llu tokens", (unsigned long long)p->rows);
	}
	uint32_t *row = id + p->rows;
	put(g, p->slot[0], 0, p->shared, 0, id, row);
	for (uint64_t i = 0; i < p->count; i++) {
		uint64_t own = p->slot[i]->count - p->shared;
		put(g, p->slot[i], p->shared, own, cwe_pack_end(p, i) - own, id, row);
	}
	int r = cwe_model_embed(g->model, id, p->rows, d_x, err);
	r = r == 0 ? CWE_OP(g->model->device, upload, d_row, row, p->rows * sizeof *row) : r;
	free(id);
	return r;
}

/* Where the sequences of a pack begin, and what they go on after. */
struct bounds {
	uint64_t start[CWE_GENERATOR_SLOTS + 3], range[CWE_GENERATOR_SLOTS + 3], first[CWE_GENERATOR_SLOTS + 2],
		count[CWE_GENERATOR_SLOTS + 2];
	uint64_t sequences, ranges;
};

static void add_bound(struct bounds *b, uint64_t end, uint64_t shared)
{
	if (shared > 0) {
		b->first[b->ranges] = 0;
		b->count[b->ranges++] = shared;
	}
	b->start[++b->sequences] = end;
	b->range[b->sequences] = b->ranges;
}

static struct cwe_chunk chunk_of(const struct cwe_pack *p, const uint32_t *d_row, struct bounds *b)
{
	memset(b, 0, sizeof *b);
	if (p->shared > 0) {
		add_bound(b, p->shared, 0);
	}
	uint64_t end = p->shared;
	for (uint64_t i = 0; i < p->count; i++) {
		end = cwe_pack_end(p, i);
		add_bound(b, end, p->shared);
	}
	if (end < p->rows) {
		add_bound(b, p->rows, 0);
	}
	struct cwe_chunk chunk = {.tokens = p->rows, .sequences = {b->sequences, b->start}, .samples = {b->sequences, b->start},
		.d_position = d_row};
	if (p->shared > 0) {
		chunk.prefixes = (struct cwp_prefixes){.range = b->range, .first = b->first, .count = b->count};
	}
	return chunk;
}

/* Keys or values of sequence i, from the pack's rows into its cache. */
static int keep(struct cwe_generator *g, const struct cwe_pack *p, uint64_t i, const float *d_rows, float *d_cache,
	struct cwb_err *err)
{
	uint64_t width = (uint64_t)g->model->arch.kv_heads * g->model->arch.head_dim, own = p->slot[i]->count - p->shared;
	int r = p->shared > 0 ? cwe_device_copy(g->model->device, d_cache, d_rows, p->shared * width, err) : 0;
	return r == 0 ? cwe_device_copy(g->model->device, d_cache + p->shared * width, d_rows + (cwe_pack_end(p, i) - own) * width,
		own * width, err) : r;
}

int cwe_pack_forward(struct cwe_generator *g, const struct cwe_pack *p, const struct cwe_layer *layer, float *d_x,
	const uint32_t *d_row, struct cwb_err *err)
{
	struct cwe_model *m = g->model;
	struct cwe_workspace *ws = &g->ws;
	struct bounds bounds;
	struct cwe_chunk chunk = chunk_of(p, d_row, &bounds);
	/* The output may not be x; the normed input of attention is used up when it is written, as in cwe_layer_decode. */
	int r = cwe_layer_forward(m, layer, &chunk, d_x, ws, ws->d_h1, NULL, err);
	r = r == 0 ? cwe_device_copy(m->device, d_x, ws->d_h1, p->rows * m->arch.hidden, err) : r;
	for (uint64_t i = 0; r == 0 && i < p->count; i++) {
		float *d_k, *d_v;
		cwe_slot_cache(g, p->slot[i], layer->index, &d_k, &d_v);
		r = keep(g, p, i, ws->d_k, d_k, err);
		r = r == 0 ? keep(g, p, i, ws->d_v, d_v, err) : r;
	}
	return r;
}
