/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which layers have candidates, what the journal says of them, and when files are written anew. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/candidate_file.h"
#include "engine/pipeline/candidates.h"

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

uint64_t cwe_candidates_memory(void)
{
	return CWE_RANK_BYTES + CWE_CANDIDATE_PIECE * sizeof(struct cwe_candidate);
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

static int feed_floor(void *arg, const struct cwe_candidate *c, size_t n)
{
	struct cwe_floor *f = arg;
	for (size_t i = 0; i < n; i++) {
		cwe_floor_feed(f, &c[i].score, 1);
	}
	return 0;
}

int cwe_candidates_open(struct cwe_run *run, struct cwe_tiles *tiles, struct cwe_candidates *ret, struct cwb_err *err)
{
	struct cwe_candidates c = {.run = run, .tiles = tiles};
	c.layer = calloc(tiles->layers, sizeof *c.layer);
	int r = c.layer != NULL ? cwe_floor_begin(&c.floor, budget(run), err)
				: cwb_err_set(err, -ENOMEM, "no memory for the list of candidates");
	for (uint32_t l = 0; r == 0 && l < tiles->layers; l++) {
		if (!tiles->layer[l].done) {
			continue;
		}
		r = take_note(&c.layer[l], tiles->layer[l].note);
		r = r == 0 ? cwe_candidate_file_walk(&c, l, feed_floor, &c.floor, err)
			   : cwb_err_set(err, r, "scratch: the journal lacks the candidates of layer %" PRIu32 "; run the job again", l);
		c.total += c.layer[l].count;
	}
	if (r != 0) {
		cwe_candidates_close(&c);
		return r;
	}
	*ret = c;
	return 0;
}

void cwe_candidates_close(struct cwe_candidates *c)
{
	cwe_floor_end(&c->floor);
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

int cwe_candidates_take(struct cwe_candidates *c, uint32_t layer, const struct cwe_combine *combine, struct cwb_err *err)
{
	struct cwe_candidate_layer *l = &c->layer[layer];
	*l = (struct cwe_candidate_layer){0};
	int r = cwe_candidate_file_write(c, layer, combine, err);
	for (uint32_t s = 0; r == 0 && s < c->tiles->sets; s++) {
		r = cwe_tile_remove(c->tiles, layer, s, err);
	}
	r = r == 0 ? make_note(c, layer, err) : r;
	if (r == 0) {
		l->done = 1;
		c->total += l->count;
	}
	return r;
}

/* One layer's file in its next generation. */
static int renew(struct cwe_candidates *c, uint32_t layer, struct cwb_err *err)
{
	struct cwe_candidate_layer old = c->layer[layer];
	int r = cwe_candidate_file_renew(c, layer, cwe_floor_value(&c->floor), err);
	r = r == 0 ? make_note(c, layer, err) : r;
	r = r == 0 ? cwe_tiles_commit(c->tiles, layer, err) : r;
	if (r == 0) {
		cwe_candidate_file_remove(c, layer, old.generation);
		c->total -= old.count - c->layer[layer].count;
	}
	return r;
}

int cwe_candidates_compact(struct cwe_candidates *c, struct cwb_err *err)
{
	uint64_t k = c->floor.k;
	int r = 0;
	if (c->floor.kept > most_kept(k)) {
		return cwb_err_set(err, CWP_EVALUE, "score.scale: pilot keeps only the weights that may still be protected, but %" PRIu64
			" weights share the score of the last one, about %g, where %" PRIu64 " are to be protected: use score.scale: exact, or "
			"another fraction", c->floor.count[c->floor.bin], (double)cwe_floor_value(&c->floor), k);
	}
	/* Every layer at once: the floor rises slowly once many layers are through. */
	for (uint32_t l = 0, due = c->total > c->floor.kept + most_waste(k); due && r == 0 && l < c->tiles->layers; l++) {
		r = c->layer[l].done && c->layer[l].count > 0 ? renew(c, l, err) : 0;
	}
	return r;
}

static int feed_threshold(void *arg, const struct cwe_candidate *c, size_t n)
{
	struct cwe_threshold *t = arg;
	for (size_t i = 0; i < n; i++) {
		cwe_threshold_feed(t, &c[i].score, 1);
	}
	return 0;
}

int cwe_candidates_feed(const struct cwe_candidates *c, struct cwe_threshold *t, struct cwb_err *err)
{
	int r = 0;
	for (uint32_t l = 0; r == 0 && l < c->tiles->layers; l++) {
		r = cwe_candidate_file_walk(c, l, feed_threshold, t, err);
	}
	return r;
}
