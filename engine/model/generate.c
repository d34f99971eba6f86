/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Steps of a generator. In each, every sequence at work gets a new token: one that has just begun, or has become a long
 * one, fills its cache with all its tokens first, the others add their last one to theirs. All go through the layers
 * together, so that a layer's weights are read once a step. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "engine/model/generator.h"
#include "engine/model/ops.h"

/* The slots of a step, by what they do. */
struct step {
	struct cwe_slot *fill[CWE_GENERATOR_SLOTS], *add[CWE_GENERATOR_SLOTS];
	uint64_t fills, adds;
	struct cwe_pack pack[CWE_GENERATOR_SLOTS]; /* of those that fill, in their order */
	uint64_t packs;
};

int cwe_generation_check(const struct cwe_model *m, const struct cwe_generation *w, struct cwb_err *err)
{
	if (w->count == 0 || w->count > m->arch.context) {
		return cwb_err_set(err, CWP_ELIMIT, "a prompt of %" PRIu64 " tokens does not fit 1 to %" PRIu32 "; shorten it", w->count,
			m->arch.context);
	}
	for (uint64_t i = 0; i < w->count; i++) {
		if (w->prompt[i] >= m->arch.vocabulary) {
			return cwb_err_set(err, CWP_EVALUE, "token id %" PRIu32 " is not in the model's vocabulary of %" PRIu32,
				w->prompt[i], m->arch.vocabulary);
		}
	}
	return 0;
}

/* New tokens that a request has room for. */
static uint64_t room_of(const struct cwe_generator *g, const struct cwe_generation *w)
{
	uint64_t left = g->model->arch.context - w->count;
	return left < w->max_new ? left : w->max_new;
}

static int check_all(const struct cwe_generator *g, const struct cwe_generation *what, size_t n, struct cwb_err *err)
{
	for (size_t i = 0; i < n; i++) {
		int r = cwe_generation_check(g->model, &what[i], err);
		if (r != 0) {
			return r;
		}
		uint64_t positions = what[i].count + room_of(g, &what[i]);
		if (what[i].count > g->size.prompt || positions > g->size.positions) {
			return cwb_err_set(err, CWP_ELIMIT, "a prompt of %" PRIu64 " tokens and a sequence of %" PRIu64
				" do not fit a generator of %" PRIu64 " and %" PRIu64, what[i].count, positions, g->size.prompt,
				g->size.positions);
		}
	}
	return 0;
}

/* Gives free slots to the next requests. One without room for a token is done at once. */
static int admit(struct cwe_generator *g, const struct cwe_generation *what, size_t n, size_t *next, struct cwb_err *err)
{
	int r = 0;
	for (uint64_t s = 0; r == 0 && s < g->size.slots && *next < n;) {
		const struct cwe_generation *w = &what[*next];
		if (g->slot[s].what != NULL) {
			s++;
			continue;
		}
		uint64_t room = room_of(g, w);
		r = room > 0 ? cwe_slot_open(g, &g->slot[s], w, room, err) : w->done(w->arg, w->prompt, 0, err);
		(*next)++;
	}
	return r;
}

/* A sequence that has grown beyond the original context rotates all its tokens by other frequencies than before: its
 * cache is filled anew. */
static void plan(struct cwe_generator *g, struct step *ret)
{
	ret->fills = ret->adds = ret->packs = 0;
	for (uint64_t s = 0; s < g->size.slots; s++) {
		struct cwe_slot *slot = &g->slot[s];
		if (slot->what == NULL) {
			continue;
		}
		int extended = cwe_rope_extended(&g->model->arch, slot->count);
		if (slot->cached == 0 || slot->extended != extended) {
			slot->cached = 0;
			slot->extended = extended;
			ret->fill[ret->fills++] = slot;
		} else {
			ret->add[ret->adds++] = slot;
		}
	}
	for (uint64_t i = 0; i < ret->fills; i += ret->pack[ret->packs++].count) {
		ret->pack[ret->packs] = cwe_pack_take(g, ret->fill + i, ret->fills - i);
	}
}

static int embed(struct cwe_generator *g, const struct step *p, struct cwb_err *err)
{
	struct cwe_model *m = g->model;
	uint32_t id[CWE_GENERATOR_SLOTS], at[CWE_GENERATOR_SLOTS];
	uint64_t first = 0;
	int r = 0;
	for (uint64_t i = 0; r == 0 && i < p->packs; i++) {
		r = cwe_pack_embed(g, &p->pack[i], g->d_x + first * m->arch.hidden, g->d_row + first, err);
		first += p->pack[i].rows;
	}
	for (uint64_t i = 0; i < p->adds; i++) {
		const struct cwe_slot *s = p->add[i];
		id[i] = s->id[s->cached];
		at[i] = (uint32_t)(s->cached + (s->extended ? g->ws.positions : 0));
	}
	if (r == 0 && p->adds > 0) {
		r = cwe_model_embed(m, id, p->adds, g->d_t, err);
		r = r == 0 ? CWE_OP(m->device, upload, g->d_at, at, p->adds * sizeof *at) : r;
	}
	return r;
}

/* One token each of the other sequences through a layer. */
static int add(struct cwe_generator *g, const struct cwe_layer *layer, const struct step *p, struct cwb_err *err)
{
	float *d_k[CWE_GENERATOR_SLOTS], *d_v[CWE_GENERATOR_SLOTS];
	uint64_t length[CWE_GENERATOR_SLOTS];
	for (uint64_t i = 0; i < p->adds; i++) {
		length[i] = p->add[i]->cached;
		cwe_slot_cache(g, p->add[i], layer->index, &d_k[i], &d_v[i]);
	}
	const struct cwe_decode decode = {.count = p->adds, .length = length, .d_position = g->d_at, .d_k = d_k, .d_v = d_v};
	return p->adds > 0 ? cwe_layer_decode(g->model, layer, g->d_t, &decode, &g->ws, err) : 0;
}

static int through_layers(struct cwe_generator *g, const struct step *p, struct cwb_err *err)
{
	const struct cwe_layer *layer;
	int r = 0;
	for (uint32_t l = 0; r == 0 && l < g->model->arch.layers; l++) {
		uint64_t first = 0;
		r = cwe_generator_layer(g, l, &layer, err);
		for (uint64_t i = 0; r == 0 && i < p->packs; i++) {
			r = cwe_pack_forward(g, &p->pack[i], layer, g->d_x + first * g->model->arch.hidden, g->d_row + first, err);
			first += p->pack[i].rows;
		}
		r = r == 0 ? add(g, layer, p, err) : r;
	}
	return r;
}

/* The last token's row of each sequence -> d_last: those that were filled, then the others. */
static int gather(struct cwe_generator *g, const struct step *p, struct cwb_err *err)
{
	uint64_t d = g->model->arch.hidden;
	const float *d_x = g->d_x;
	float *d_last = g->d_last;
	int r = 0;
	for (uint64_t k = 0; k < p->packs; k++) {
		for (uint64_t i = 0; r == 0 && i < p->pack[k].count; i++, d_last += d) {
			r = cwe_device_copy(g->model->device, d_last, d_x + (cwe_pack_end(&p->pack[k], i) - 1) * d, d, err);
		}
		d_x += p->pack[k].rows * d;
	}
	return r == 0 ? cwe_device_copy(g->model->device, g->d_last + p->fills * d, g->d_t, p->adds * d, err) : r;
}

/* The most likely token after each of the rows in d_last. */
static int best_tokens(struct cwe_generator *g, uint64_t rows, uint32_t *ret, struct cwb_err *err)
{
	struct cwe_model *m = g->model;
	struct cwe_device *dev = m->device;
	uint64_t v = m->arch.vocabulary, slots = g->size.slots;
	float *d_h = g->ws.d_h1, *d_rstd = g->d_stats, *d_max = d_rstd + slots, *d_target = d_max + slots, *d_best = d_target + slots;
	uint32_t *d_token = g->d_token + slots;
	int r;
	if ((r = cwe_model_norm(m, g->d_last, g->d_norm, rows, d_h, d_rstd, err)) != 0 ||
		(r = CWE_OP(dev, zero, g->d_token, 2 * slots * sizeof *g->d_token)) != 0 ||
		(r = CWE_OP(dev, xent_begin, rows, d_max, g->d_sum, d_target, d_best, d_token)) != 0) {
		return r;
	}
	for (uint64_t first = 0; first < v; first += CWE_GENERATOR_SLICE) {
		uint64_t n = v - first < CWE_GENERATOR_SLICE ? v - first : CWE_GENERATOR_SLICE;
		const float *d_head;
		if ((r = cwe_generator_head(g, first, n, &d_head, err)) != 0 ||
			(r = cwe_model_logits(m, d_h, rows, d_head, n, g->d_logits, err)) != 0 ||
			(r = CWE_OP(dev, xent_slice, g->d_logits, rows, n, n, (uint32_t)first, g->d_token, d_max, g->d_sum, d_target,
				d_best, d_token)) != 0) {
			return r;
		}
	}
	return CWE_OP(dev, download, ret, d_token, rows * sizeof *ret);
}

/* Whether a sequence ends with the token that it has just got. */
static int ends(const struct cwe_slot *s, int *ret, struct cwb_err *err)
{
	const struct cwe_generation *w = s->what;
	uint64_t fresh = s->count - w->count;
	int asked = 0;
	*ret = fresh == s->room;
	for (size_t i = 0; i < w->stops; i++) {
		if (w->stop[i] == s->id[s->count - 1]) {
			*ret = 1;
			return 0;
		}
	}
	int r = w->token != NULL ? w->token(w->arg, s->id + w->count, fresh, &asked, err) : 0;
	*ret |= asked;
	return r;
}

/* Appends the token; a sequence that ends leaves its slot. */
static int take(struct cwe_generator *g, struct cwe_slot *s, uint32_t token, struct cwb_err *err)
{
	const struct cwe_generation *w = s->what;
	int end = 0;
	s->cached = s->count;
	s->id[s->count++] = token;
	int r = ends(s, &end, err);
	if (r == 0 && end) {
		r = w->done(w->arg, s->id + w->count, s->count - w->count, err);
		cwe_slot_close(g, s);
	}
	return r;
}

/* Rows in d_last that are no numbers end the run: the most likely token would hide them. */
static int check_finite(struct cwe_generator *g, const struct step *p, struct cwb_err *err)
{
	uint64_t d = g->model->arch.hidden, rows = p->fills + p->adds;
	float *x = malloc(rows * d * sizeof *x + 1);
	int r = x != NULL ? CWE_OP(g->model->device, download, x, g->d_last, rows * d * sizeof *x)
			  : cwb_err_set(err, -ENOMEM, "no memory for %llu rows", (unsigned long long)rows);
	for (uint64_t k = 0; r == 0 && k < rows * d; k++) {
		if (!isfinite(x[k])) {
			uint64_t i = k / d;
			const struct cwe_slot *s = i < p->fills ? p->fill[i] : p->add[i - p->fills];
			const struct cwe_generation *w = s->what;
			r = w->broken != NULL ? w->broken(w->arg, s->id + w->count, s->count - w->count, err) : 0;
			r = r != 0 ? r : cwb_err_set(err, CWP_ENUMBER, "the last layer gives NaN or infinity for a prompt of %llu tokens",
				(unsigned long long)w->count);
		}
	}
	free(x);
	return r;
}

static int step(struct cwe_generator *g, const struct step *p, struct cwb_err *err)
{
	uint32_t token[CWE_GENERATOR_SLOTS] = {0};
	int r = embed(g, p, err);
	r = r == 0 ? through_layers(g, p, err) : r;
	r = r == 0 ? gather(g, p, err) : r;
	r = r == 0 ? check_finite(g, p, err) : r;
	r = r == 0 ? best_tokens(g, p->fills + p->adds, token, err) : r;
	for (uint64_t i = 0; r == 0 && i < p->fills + p->adds; i++) {
		r = take(g, i < p->fills ? p->fill[i] : p->add[i - p->fills], token[i], err);
	}
	return r;
}

int cwe_generator_run(struct cwe_generator *g, const struct cwe_generation *what, size_t n, struct cwb_err *err)
{
	const struct cwp_host *host = &g->model->device->host->table;
	struct step p = {0};
	size_t next = 0;
	int r = check_all(g, what, n, err);
	while (r == 0) {
		r = host->cancelled(host->ctx) ? cwb_err_set(err, CWP_ECANCELLED, "cancelled") : admit(g, what, n, &next, err);
		plan(g, &p);
		if (r != 0 || p.fills + p.adds == 0) {
			break;
		}
		r = step(g, &p, err);
	}
	for (uint64_t s = 0; s < g->size.slots; s++) {
		cwe_slot_close(g, &g->slot[s]);
	}
	return r;
}
