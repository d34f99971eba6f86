/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which layers have candidates, what the journal says of them, and when files are written anew. */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/candidate_file.h"
#include "engine/pipeline/candidates.h"
#include "engine/plugin/pool.h"

/* Beyond the k largest, at most an eighth of k in the floor's own bin, and a quarter of k below the floor. */
static uint64_t most_kept(uint64_t k)
{
	return k + k / 8 + 64;
}

static uint64_t most_waste(uint64_t k)
{
	return k / 4;
}

/* Where the fraction is less than one weight, nothing will be selected. */
static uint64_t budget(const struct cwe_run *run)
{
	uint64_t k = cwe_fraction_count(run->job->fraction, run->weights);
	return k > 0 ? k : 1;
}

static uint64_t largest_layer(const struct cwe_run *run)
{
	uint64_t most = 0;
	for (uint32_t l = 0; l < run->model.arch.layers; l++) {
		uint64_t n = cwe_run_layer_weights(run, l);
		most = n > most ? n : most;
	}
	return most;
}

uint64_t cwe_candidates_bytes(const struct cwe_run *run)
{
	uint64_t k = budget(run), layer = largest_layer(run);
	uint64_t tiles = layer * run->sets * (run->job->store_bf16 ? sizeof(uint16_t) : sizeof(float));
	uint64_t pairs = layer * sizeof(struct cwe_candidate); /* a layer's file, new or written anew */
	uint64_t kept = most_kept(k) + most_waste(k) < run->weights ? most_kept(k) + most_waste(k) : run->weights;
	return kept * sizeof(struct cwe_candidate) + run->modules * sizeof(uint64_t) + pairs + (tiles > pairs ? tiles : pairs);
}

/* Files are read and written anew by all threads, each with a piece to read and one to write. */
uint64_t cwe_candidates_memory(const struct cwe_run *run)
{
	uint64_t pieces = 2 * (uint64_t)CWE_CANDIDATE_PIECE * cwe_pool_threads(run->p->host->pool);
	uint64_t parts = run->model.arch.layers * sizeof(struct cwe_threshold_part);
	return CWE_RANK_BYTES + (CWE_CANDIDATE_BLOCK + pieces) * sizeof(struct cwe_candidate) + parts;
}

/* The note of a line: {"candidates": {"generation", "count", "nonpositive", "digest"}}. */
static int take_note(struct cwe_candidate_layer *l, const json_t *note)
{
	const json_t *c = json_object_get(note, "candidates");
	json_int_t generation = json_integer_value(json_object_get(c, "generation"));
	json_int_t count = json_integer_value(json_object_get(c, "count"));
	json_int_t nonpositive = json_integer_value(json_object_get(c, "nonpositive"));
	const char *digest = json_string_value(json_object_get(c, "digest"));
	if (generation < 0 || generation > UINT32_MAX || count < 0 || nonpositive < 0 || digest == NULL || !cwb_digest_is_hex(digest)) {
		return CWP_EDIGEST;
	}
	*l = (struct cwe_candidate_layer){.done = 1, .generation = (uint32_t)generation, .count = (uint64_t)count,
		.nonpositive = (uint64_t)nonpositive};
	memcpy(l->digest, digest, sizeof l->digest);
	return 0;
}

static int make_note(struct cwe_candidates *c, uint32_t layer, struct cwb_err *err)
{
	const struct cwe_candidate_layer *l = &c->layer[layer];
	json_t **note = &c->tiles->layer[layer].note;
	*note = *note != NULL ? *note : json_object();
	return json_object_set_new(*note, "candidates", json_pack("{s:I,s:I,s:I,s:s}", "generation", (json_int_t)l->generation,
			"count", (json_int_t)l->count, "nonpositive", (json_int_t)l->nonpositive, "digest", l->digest)) == 0
		? 0 : cwb_err_set(err, -ENOMEM, "no memory for the journal");
}

/* All layers' scores for the floor; a layer's file is read by one thread. */
struct floor_walk {
	const struct cwe_candidates *c;
	atomic_uint_least64_t counted;
};

static int count_for_floor(void *arg, const struct cwe_candidate *c, size_t n)
{
	struct floor_walk *w = arg;
	uint64_t counted = 0;
	for (size_t i = 0; i < n; i++) {
		counted += cwe_floor_count(&w->c->floor, &c[i].score, 1);
	}
	(void)atomic_fetch_add(&w->counted, counted);
	return 0;
}

static int walk_for_floor(void *arg, size_t layer, struct cwb_err *err)
{
	struct floor_walk *w = arg;
	return w->c->layer[layer].done ? cwe_candidate_file_walk(w->c, (uint32_t)layer, count_for_floor, w, err) : 0;
}

/* What the journal says of the layers that are done. */
static int take_notes(struct cwe_candidates *c, struct cwb_err *err)
{
	int r = 0;
	for (uint32_t l = 0; r == 0 && l < c->tiles->layers; l++) {
		if (c->tiles->layer[l].done && (r = take_note(&c->layer[l], c->tiles->layer[l].note)) != 0) {
			(void)cwb_err_set(err, r, "scratch: the journal lacks the candidates of layer %" PRIu32 "; run the job again", l);
		}
		c->total += c->layer[l].count;
	}
	return r;
}

int cwe_candidates_open(struct cwe_run *run, struct cwe_tiles *tiles, struct cwe_candidates *ret, struct cwb_err *err)
{
	struct cwe_candidates c = {.run = run, .tiles = tiles};
	c.layer = calloc(tiles->layers, sizeof *c.layer);
	int r = c.layer != NULL ? cwe_floor_begin(&c.floor, budget(run), err)
				: cwb_err_set(err, -ENOMEM, "no memory for the list of candidates");
	struct floor_walk walk = {.c = &c};
	r = r == 0 ? take_notes(&c, err) : r;
	r = r == 0 ? cwe_pool_try(tiles->pool, tiles->layers, walk_for_floor, &walk, err) : r;
	if (r != 0) {
		cwe_candidates_close(&c);
		return r;
	}
	cwe_floor_raise(&c.floor, atomic_load(&walk.counted));
	*ret = c;
	return 0;
}

void cwe_candidates_close(struct cwe_candidates *c)
{
	cwe_floor_end(&c->floor);
	cwe_combining_free(&c->combining);
	free(c->layer);
	memset(c, 0, sizeof *c);
}

int cwe_candidates_restart(struct cwe_candidates *c, struct cwb_err *err)
{
	for (uint32_t l = 0; l < c->tiles->layers; l++) {
		if (c->layer[l].done) {
			cwe_candidate_file_remove(c, l, c->layer[l].generation);
		}
		c->layer[l] = (struct cwe_candidate_layer){0};
		c->tiles->layer[l].done = 0;
	}
	c->total = 0;
	cwe_floor_end(&c->floor);
	return cwe_floor_begin(&c->floor, budget(c->run), err);
}

struct layer_tiles {
	const struct cwe_tiles *tiles;
	uint32_t layer;
};

static int remove_tile(void *arg, size_t set, struct cwb_err *err)
{
	const struct layer_tiles *t = arg;
	return cwe_tile_remove(t->tiles, t->layer, (uint32_t)set, err);
}

int cwe_candidates_take(struct cwe_candidates *c, uint32_t layer, const struct cwe_combine *combine, struct cwb_err *err)
{
	struct cwe_candidate_layer *l = &c->layer[layer];
	struct layer_tiles tiles = {c->tiles, layer};
	*l = (struct cwe_candidate_layer){0};
	int r = c->combining.score == NULL ? cwe_combining_new(c->run, c->tiles, combine, NULL, &c->combining, err) : 0;
	r = r == 0 ? cwe_candidate_file_write(c, layer, combine, err) : r;
	r = r == 0 ? cwe_pool_try(c->tiles->pool, c->tiles->sets, remove_tile, &tiles, err) : r;
	r = r == 0 ? make_note(c, layer, err) : r;
	if (r == 0) {
		l->done = 1;
		c->total += l->count;
	}
	return r;
}

/* Layers [first, first + n) in their next generation. */
struct renewal {
	const struct cwe_candidates *c;
	uint32_t first, n;
	struct cwe_candidate_layer *next; /* [layers] */
};

static int renew(void *arg, size_t i, struct cwb_err *err)
{
	const struct renewal *w = arg;
	uint32_t layer = w->first + (uint32_t)i;
	const struct cwe_candidate_layer *l = &w->c->layer[layer];
	w->next[layer] = *l;
	return l->done && l->count > 0 ? cwe_candidate_file_renew(w->c, layer, cwe_floor_value(&w->c->floor), &w->next[layer], err) : 0;
}

/* The new file's line, and only then the old file goes. */
static int replace(struct cwe_candidates *c, uint32_t layer, const struct cwe_candidate_layer *next, struct cwb_err *err)
{
	struct cwe_candidate_layer old = c->layer[layer];
	if (next->generation == old.generation) {
		return 0;
	}
	c->layer[layer] = *next;
	int r = make_note(c, layer, err);
	r = r == 0 ? cwe_tiles_commit(c->tiles, layer, err) : r;
	if (r == 0) {
		cwe_candidate_file_remove(c, layer, old.generation);
		c->total -= old.count - next->count;
	}
	return r;
}

/* All layers, as many at a time as take no more room than the largest one when it is new. */
static int renew_all(struct cwe_candidates *c, struct cwb_err *err)
{
	uint32_t layers = c->tiles->layers;
	uint64_t room = largest_layer(c->run);
	struct renewal w = {.c = c, .next = calloc(layers, sizeof *w.next)};
	int r = w.next != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for the list of candidates");
	for (; r == 0 && w.first < layers; w.first += w.n) {
		uint64_t count = c->layer[w.first].count;
		for (w.n = 1; w.first + w.n < layers && count + c->layer[w.first + w.n].count <= room; w.n++) {
			count += c->layer[w.first + w.n].count;
		}
		r = cwe_pool_try(c->tiles->pool, w.n, renew, &w, err);
		for (uint32_t l = w.first; r == 0 && l < w.first + w.n; l++) {
			r = replace(c, l, &w.next[l], err);
		}
	}
	free(w.next);
	return r;
}

int cwe_candidates_compact(struct cwe_candidates *c, struct cwb_err *err)
{
	uint64_t k = c->floor.k;
	if (c->floor.kept > most_kept(k)) {
		return cwb_err_set(err, CWP_EVALUE, "score.scale: pilot keeps only the weights that may still be protected, but %" PRIu64
			" weights share the score of the last one, about %g, where %" PRIu64 " are to be protected: use score.scale: exact, or "
			"another fraction", c->floor.count[c->floor.bin], (double)cwe_floor_value(&c->floor), k);
	}
	/* Every layer at once: the floor rises slowly once many layers are through. */
	return c->total > c->floor.kept + most_waste(k) ? renew_all(c, err) : 0;
}

/* The same for the threshold, and one layer of it. */
struct threshold_walk {
	const struct cwe_candidates *c;
	const struct cwe_threshold *threshold;
	struct cwe_threshold_part *part; /* [layers] */
};

struct counting {
	const struct cwe_threshold *threshold;
	struct cwe_threshold_part *part;
};

static int count_for_threshold(void *arg, const struct cwe_candidate *c, size_t n)
{
	const struct counting *of = arg;
	for (size_t i = 0; i < n; i++) {
		cwe_threshold_count(of->threshold, &c[i].score, 1, of->part);
	}
	return 0;
}

static int walk_for_threshold(void *arg, size_t layer, struct cwb_err *err)
{
	const struct threshold_walk *w = arg;
	struct counting of = {w->threshold, &w->part[layer]};
	return cwe_candidate_file_walk(w->c, (uint32_t)layer, count_for_threshold, &of, err);
}

int cwe_candidates_feed(const struct cwe_candidates *c, struct cwe_threshold *t, struct cwb_err *err)
{
	struct threshold_walk walk = {.c = c, .threshold = t, .part = calloc(c->tiles->layers, sizeof *walk.part)};
	int r = walk.part != NULL ? cwe_pool_try(c->tiles->pool, c->tiles->layers, walk_for_threshold, &walk, err)
		: cwb_err_set(err, -ENOMEM, "no memory for counting candidates");
	for (uint32_t l = 0; r == 0 && l < c->tiles->layers; l++) {
		cwe_threshold_add(t, &walk.part[l]);
	}
	free(walk.part);
	return r;
}
