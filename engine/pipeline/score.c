/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Stages calibrate and score: a layer's statistics go to the scorer as soon as they are complete, its importances to
 * scratch; with a pilot they are combined there and then, and only candidates stay. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/checkpoint.h"
#include "engine/calibrate/room.h"
#include "engine/pipeline/cache.h"
#include "engine/pipeline/candidates.h"
#include "engine/pipeline/device.h"
#include "engine/pipeline/importance.h"
#include "engine/pipeline/pilot.h"
#include "engine/pipeline/run.h"
#include "engine/pipeline/several.h"
#include "engine/pipeline/super.h"
#include "engine/pipeline/tiles.h"
#include "engine/pipeline/unseen.h"

/* Weights of a layer, on the average, from which on a set's scores of it lie in several files, and sets up to which. */
#define STRIPED_FROM (64u << 20)
#define STRIPED_SETS 32

struct scoring {
	struct cwe_run *run;
	struct cwe_tiles tiles;
	struct cwe_tile tile; /* of the set and layer at hand */
	struct cwe_importance importance;
	struct cwe_calibration *calibration;
	uint64_t passes;      /* of earlier attempts */
	char (*kept)[CWB_DIGEST_HEX]; /* [layers + 1] what of theirs is gone on from */
	uint8_t *seen;        /* [matrices of the layer at hand] whether tokens of any set came through */
	/* With score.scale: pilot. */
	struct cwe_combine combine;
	struct cwe_candidates candidates;
};

static int take_module(void *arg, uint32_t layer, uint32_t set, uint32_t linear,
	const struct cwe_module_statistics *s, struct cwb_err *err)
{
	struct scoring *sc = arg;
	struct cwe_tile_layer *record = &sc->tiles.layer[layer];
	const struct cwe_run_module *m = &sc->run->module[sc->run->layer_at[layer] + linear];
	int r = 0;
	if (linear >= cwe_linears_scored(&sc->run->model.arch, layer) || record->done) {
		return 0; /* a router stays as it is; what an earlier attempt wrote is complete */
	}
	if (m->first && set == 0) {
		memset(sc->seen, 0, cwe_linears_most(&sc->run->model.arch));
	}
	sc->seen[linear] |= s->tokens > 0;
	if (m->first) {
		record->sum[set] = 0;
		r = cwe_tile_create(&sc->tiles, layer, set, &sc->tile, err);
	}
	if (r == 0 && m->quantized) {
		r = cwe_importance_of(&sc->importance, m, s, set, &record->sum[set], err);
		r = r == 0 ? cwe_tile_write(&sc->tile, sc->importance.value, s->rows * s->cols, err) : r;
	}
	if (r == 0 && m->last) {
		record->loss[set] = sc->run->set_loss[set];
		return cwe_tile_finish(&sc->tile, 1, record->digest[set], err);
	}
	if (r != 0) {
		cwe_tile_abort(&sc->tile);
	}
	return r;
}

/* A later attempt will not have to begin where this one did. */
static int went_on(const struct scoring *sc)
{
	if (sc->run->p->checkpoint != NULL) {
		sc->run->p->checkpoint(sc->run->p->arg);
	}
	return 0;
}

static int layer_done(void *arg, uint32_t layer, const char *digest, struct cwb_err *err)
{
	struct scoring *sc = arg;
	if (sc->tiles.layer[layer].done) {
		cwe_gradient_remove(sc->run->p->scratch, layer); /* the journal does not name it */
		return 0;
	}
	strncpy(sc->tiles.layer[layer].next, digest, 64);
	sc->tiles.layer[layer].cached = 0;
	sc->tiles.passes = sc->passes + sc->calibration->passes;
	int r = cwe_unseen_note(sc->run, layer, sc->seen, &sc->tiles.layer[layer].note, err);
	int pilot = sc->run->job->scale_pilot;
	r = r == 0 && pilot ? cwe_candidates_take(&sc->candidates, layer, &sc->combine, err) : r;
	r = r == 0 ? cwe_tiles_commit(&sc->tiles, layer, err) : r;
	r = r == 0 && pilot ? cwe_candidates_compact(&sc->candidates, err) : r;
	if (r != 0) {
		return r;
	}
	for (uint32_t l = layer + 1; l <= sc->tiles.layers && (digest[0] != '\0' || layer == 0); l++) {
		cwe_gradient_remove(sc->run->p->scratch, l);
	}
	return went_on(sc);
}

static int boundary_done(void *arg, uint32_t layer, const char *digest, struct cwb_err *err)
{
	struct scoring *sc = arg;
	sc->tiles.passes = sc->passes + sc->calibration->passes;
	int r = cwe_tiles_boundary(&sc->tiles, layer, digest, err);
	return r == 0 ? went_on(sc) : r;
}

static int head_done(void *arg, const char *digest, struct cwb_err *err)
{
	struct scoring *sc = arg;
	sc->tiles.passes = sc->passes + sc->calibration->passes;
	int r = cwe_tiles_head(&sc->tiles, digest, sc->run->set_loss, err);
	return r == 0 ? went_on(sc) : r;
}

static void progress(void *arg, uint64_t done, uint64_t total)
{
	struct scoring *sc = arg;
	uint64_t tokens = sc->run->corpus.tokens;
	/* In tokens that are through all layers: what a person can picture. */
	cwe_run_progress(sc->run, CWE_STAGE_CALIBRATE, total > 0 ? done / (total / tokens) : 0, tokens, "tokens");
}

static int allocate(struct scoring *sc, struct cwb_err *err)
{
	sc->seen = calloc(cwe_linears_most(&sc->run->model.arch), 1);
	sc->kept = calloc(sc->run->model.arch.layers + 1, sizeof *sc->kept);
	return sc->seen != NULL && sc->kept != NULL ? cwe_importance_new(sc->run, &sc->importance, err)
		: cwb_err_set(err, -ENOMEM, "no memory for scoring");
}

/* The lowest layer from which all layers above are complete. */
static uint32_t resume_at(const struct cwe_tiles *t)
{
	uint32_t l = t->layers;
	while (l > 0 && t->layer[l - 1].done) {
		l--;
	}
	return l;
}

/* The layer below which the backward pass goes on: the lowest whose gradient is kept among those, `layers` for the head's.
 * *ret_digest: of the gradient, NULL when there is none, and the forward pass is to be made. */
static uint32_t gradient_at(const struct cwe_tiles *t, const char **ret_digest)
{
	uint32_t l = resume_at(t);
	while (l < t->layers && t->layer[l].next[0] == '\0') {
		l++;
	}
	const char *digest = l < t->layers ? t->layer[l].next : t->head;
	*ret_digest = digest[0] != '\0' ? digest : NULL;
	return l;
}

/* How many layers are complete, from the first on. */
static uint32_t first_open(const struct cwe_tiles *t)
{
	uint32_t l = 0;
	while (l < t->layers && t->layer[l].done) {
		l++;
	}
	return l;
}

/* Where the calibration goes on: inputs of layers that are needed still, and what is done. */
static void go_on(struct scoring *sc, int gradients, struct cwe_calibration *c)
{
	const struct cwe_tiles *t = &sc->tiles;
	const struct cwp_host *host = &sc->run->p->host->table;
	const char *digest;
	uint32_t at = gradient_at(t, &digest), layers = t->layers, last = 0;
	int head = gradients && digest != NULL;
	c->resume = gradients ? at : layers;
	c->first = gradients ? 0 : first_open(t);
	c->resume_digest = head ? digest : NULL;
	for (uint32_t l = 1; gradients && l <= (head ? at - 1 : layers); l++) {
		memcpy(sc->kept[l], t->boundary[l], sizeof sc->kept[l]);
		last = t->boundary[l][0] != '\0' ? l : last;
	}
	for (uint32_t l = 1; l <= c->first; l++) {
		memcpy(sc->kept[l], t->layer[l - 1].next, sizeof sc->kept[0]);
	}
	c->kept = (const char (*)[CWB_DIGEST_HEX])sc->kept;
	char text[128];
	(void)snprintf(text, sizeof text, head ? "calibration goes on backward below layer %u" : "calibration goes on at layer %u",
		head ? at : last > 0 ? last : c->first);
	if (head || last > 0 || c->first > 0) {
		host->log(host->ctx, CWP_LOG_INFO, text);
	}
}

/* Factors and candidates of an earlier attempt, or new ones. */
static int open_pilot(struct scoring *sc, int anew, struct cwb_err *err)
{
	int r = cwe_run_pilot(sc->run, &sc->tiles, &sc->combine, err);
	r = r == 0 ? cwe_candidates_open(sc->run, &sc->tiles, &sc->candidates, err) : r;
	return r == 0 && anew ? cwe_candidates_restart(&sc->candidates, err) : r;
}

/* Others may have taken memory since the job was planned. */
static uint64_t inside_memory(const struct cwe_run *run)
{
	uint64_t available = cwe_room_available() / 2;
	return run->inside_memory < available ? run->inside_memory : available;
}

static int calibrate(struct scoring *sc, struct cwb_err *err)
{
	struct cwe_run *run = sc->run;
	uint32_t layers = run->model.arch.layers, at = resume_at(&sc->tiles);
	int gradients = (run->needs & (CWP_STAT_GRAD_SUM | CWP_STAT_GRAD_ABS | CWP_STAT_GRAD_SQ)) != 0;
	if (at == 0) {
		return 0; /* an earlier attempt finished it */
	}
	int r = cwe_run_several_open(run, err);
	r = r == 0 && run->job->scale_pilot ? open_pilot(sc, gradients ? at == layers : first_open(&sc->tiles) == 0, err) : r;
	if (r != 0) {
		return r;
	}
	const char *digest;
	uint32_t from = gradient_at(&sc->tiles, &digest);
	for (size_t s = 0; s < run->sets; s++) {
		/* The head's pass adds its losses up; one that is not repeated left them in the journal. */
		run->set_loss[s] = !gradients ? NAN : digest == NULL ? 0 : from < layers ? sc->tiles.layer[layers - 1].loss[s]
			: sc->tiles.head_loss[s];
	}
	struct cwe_calibration c = {.model = &run->model, .corpus = &run->corpus, .needs = run->needs,
		.scratch = run->p->scratch, .boundary_memory = run->boundary_memory, .inside_memory = inside_memory(run), .checkpoint = 1,
		.arg = sc,
		.checkpoint_pause = cwe_device_remote(&run->device) ? CWE_CHECKPOINT_PAUSE : 0,
		.module = take_module, .layer_done = layer_done, .boundary_done = boundary_done, .head_done = head_done,
		.progress = progress, .set_loss = run->set_loss, .more = run->several.open.list, .n_more = run->several.open.n};
	go_on(sc, gradients, &c);
	sc->calibration = &c;
	sc->passes = sc->tiles.passes;
	r = cwe_calibrate_run(&c, err);
	sc->calibration = NULL;
	return r;
}

/* Whether the tiles are large enough to be written by several threads at a time, and the descriptors not too many. */
static int is_striped(const struct cwe_run *run)
{
	return run->weights / run->model.arch.layers >= STRIPED_FROM && run->sets <= STRIPED_SETS;
}

int cwe_run_tiles(const struct cwe_run *run, struct cwe_tiles *ret, struct cwb_err *err)
{
	struct cwe_tiles_key key = {.scratch = run->p->scratch, .identity = run->identity, .sets = (uint32_t)run->sets,
		.layers = run->model.arch.layers, .bf16 = run->job->store_bf16, .striped = is_striped(run),
		.pool = run->p->host->pool};
	return cwe_tiles_open(&key, ret, err);
}

int cwe_run_score(struct cwe_run *run, struct cwb_err *err)
{
	struct scoring sc = {.run = run, .tiles.journal = -1, .tile.fd = -1};
	cwe_run_stage(run, CWE_STAGE_CALIBRATE);
	run->record[run->records].tokens = run->corpus.tokens;
	int r = allocate(&sc, err);
	r = r == 0 ? cwe_run_tiles(run, &sc.tiles, err) : r;
	r = r == 0 ? cwe_cache_fetch(run, &sc.tiles, err) : r;
	r = r == 0 ? calibrate(&sc, err) : r;
	if (r == 0) {
		run->cached = sc.tiles.layer[0].cached;
		run->passes = sc.tiles.passes;
		r = cwe_run_super(run, err);
	}
	if (r == 0) {
		cwe_cache_store(run, &sc.tiles);
		run->record[run->records].tokens = run->cached ? 0 : run->corpus.tokens;
		/* Scoring runs inside calibration, a layer behind; what is left of it is the sums. */
		cwe_run_stage(run, CWE_STAGE_SCORE);
		for (size_t s = 0; s < run->sets; s++) {
			run->set_loss[s] = sc.tiles.layer[run->model.arch.layers - 1].loss[s];
			run->set_sum[s] = 0;
			for (uint32_t l = run->model.arch.layers; l > 0; l--) {
				run->set_sum[s] += sc.tiles.layer[l - 1].sum[s];
			}
		}
	}
	r = r == 0 ? cwe_unseen_report(run, &sc.tiles, err) : r;
	cwe_tile_abort(&sc.tile);
	cwe_tiles_close(&sc.tiles);
	cwe_importance_free(&sc.importance);
	cwe_candidates_close(&sc.candidates);
	cwe_combine_free(&sc.combine);
	free(sc.seen);
	free(sc.kept);
	return r;
}
