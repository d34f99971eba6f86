/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Stage select: importances of all sets -> combined score on scratch, by unit -> exact thresholds: one of the whole model
 * or one of each layer; rows find theirs when they are quantized. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/budget.h"
#include "engine/pipeline/mask.h"
#include "engine/pipeline/masks.h"
#include "engine/pipeline/candidates.h"
#include "engine/pipeline/pilot.h"
#include "engine/pipeline/run.h"
#include "engine/pipeline/super.h"
#include "engine/pipeline/tiles.h"

struct selection {
	struct cwe_run *run;
	struct cwe_tiles tiles;
	struct cwe_combine combine;
	struct cwe_threshold threshold;
	struct cwe_tile *tile;  /* [sets] of the layer at hand */
	float **importance;     /* [sets] of [largest module] */
	float *score;           /* [largest module] */
	float *weight;          /* [largest module] when the scorer asks for the quantizer's error, else NULL */
	const struct cwe_run_module *m; /* at hand */
	int *code;              /* [row tiles] */
	double *column;         /* [widest module] */
	double *module;         /* [modules of the largest layer] sums, with unit module */
	/* Who takes finished scores instead of the disk, or NULL. */
	int (*take)(void *arg, const struct cwe_run_module *m, const float *score, uint64_t n, struct cwb_err *err);
	void *arg;
};

/* One tile of rows: combination, and what the scorer adds that belongs to no set. */
static void combine_rows(void *arg, size_t i)
{
	struct selection *s = arg;
	const struct cwe_run_module *m = s->m;
	const struct cwp_scorer *scorer = s->run->scorer->interface;
	uint64_t row = i * CWE_ROW_TILE, at = row * m->cols;
	uint64_t rows = m->rows - row < CWE_ROW_TILE ? m->rows - row : CWE_ROW_TILE;
	const float **part = malloc(s->run->sets * sizeof *part);
	float *error = s->weight != NULL ? malloc(rows * m->cols * sizeof *error) : NULL;
	s->code[i] = part == NULL || (s->weight != NULL && error == NULL) ? -ENOMEM : 0;
	for (size_t k = 0; s->code[i] == 0 && k < s->run->sets; k++) {
		part[k] = s->importance[k] + at;
	}
	if (s->code[i] == 0) {
		cwe_combine_apply(&s->combine, part, rows * m->cols, s->score + at);
	}
	if (s->code[i] == 0 && s->weight != NULL) {
		s->code[i] = cwe_run_quantize_error(s->run, m, row, rows, s->weight + at, error);
	}
	if (s->code[i] == 0 && scorer->finish != NULL) {
		s->code[i] = scorer->finish(s->run->scorer_settings, rows, m->cols, s->weight != NULL ? s->weight + at : NULL,
			error, s->score + at);
	}
	free(part);
	free(error);
}

/* The finished scores of a module: counted, and written for the later passes and for the mask. */
static int keep(struct selection *s, uint64_t n, struct cwe_tile *out, struct cwb_err *err)
{
	if (s->take != NULL) {
		return s->take(s->arg, s->m, s->score, n, err);
	}
	if (s->threshold.histogram != NULL) {
		cwe_threshold_feed(&s->threshold, s->score, n);
	}
	return cwe_tile_write(out, s->score, n, err);
}

static int combine_module(struct selection *s, struct cwe_tile *out, struct cwb_err *err)
{
	uint64_t n = s->m->rows * s->m->cols;
	int r = s->weight != NULL ? cwe_run_module_read(s->run, s->m, 0, s->m->rows, s->weight, err) : 0;
	for (size_t k = 0; r == 0 && k < s->run->sets; k++) {
		r = cwe_tile_read(&s->tile[k], s->importance[k], n, err);
	}
	if (r != 0) {
		return r;
	}
	size_t tiles = (s->m->rows + CWE_ROW_TILE - 1) / CWE_ROW_TILE;
	cwe_pool_run(s->run->p->host->pool, tiles, combine_rows, s);
	for (size_t i = 0; r == 0 && i < tiles; i++) {
		r = s->code[i] == 0 ? 0 : cwe_host_error(s->run->p->host, s->run->job->score.plugin, s->m->name, s->code[i], err);
	}
	float bad = 0; /* x - x is 0 for every finite x */
	for (uint64_t i = 0; r == 0 && i < n; i++) {
		s->run->nonpositive += s->score[i] <= 0;
		bad += s->score[i] - s->score[i];
	}
	if (r == 0 && bad != 0) {
		r = cwb_err_set(err, CWP_ENUMBER, "%s: a combined score is not a finite number; leave out the set whose importances are "
			"largest, or use score.combine: mean", s->m->name);
	}
	if (r == 0 && s->run->job->unit == CWJ_UNIT_MODULE) {
		s->module[s->m - &s->run->module[s->run->layer_at[s->m->layer]]] = cwe_unit_sum(s->score, n);
		return 0;
	}
	if (r == 0) {
		cwe_unit_spread(s->run->job->unit, s->m->rows, s->m->cols, s->column, s->score);
		r = keep(s, n, out, err);
	}
	return r;
}

/* Modules that engines take together are one unit: each of their weights gets the mean over all of them. */
static int write_modules(struct selection *s, uint32_t layer, struct cwe_tile *out, struct cwb_err *err)
{
	const struct cwe_run_module *m = &s->run->module[s->run->layer_at[layer]];
	size_t n = s->run->layer_at[layer + 1] - s->run->layer_at[layer];
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		uint32_t group = cwe_linear_group(&s->run->model.arch, layer, (uint32_t)i);
		uint64_t weights = 0, own = m[i].rows * m[i].cols;
		double sum = 0;
		for (size_t k = group; k < n && cwe_linear_group(&s->run->model.arch, layer, (uint32_t)k) == group; k++) {
			sum += m[k].quantized ? s->module[k] : 0;
			weights += m[k].quantized ? m[k].rows * m[k].cols : 0;
		}
		float mean = weights > 0 ? (float)(sum / (double)weights) : 0;
		for (uint64_t k = 0; m[i].quantized && k < own; k++) {
			s->score[k] = mean;
		}
		r = m[i].quantized ? keep(s, own, out, err) : 0;
	}
	return r;
}

/* The tiles' digests are checked as they are read for the first time. */
static int close_tiles(struct selection *s, uint32_t layer, int r, struct cwb_err *err)
{
	for (size_t k = 0; k < s->run->sets; k++) {
		r = cwe_tile_verify(&s->tiles, layer, (uint32_t)k, &s->tile[k], r, err);
	}
	return r;
}

static int combine_layer(struct selection *s, uint32_t layer, struct cwb_err *err)
{
	struct cwe_tile out = {.fd = -1};
	int r = 0;
	for (size_t k = 0; k < s->run->sets; k++) {
		memset(&s->tile[k], 0, sizeof s->tile[k]);
		s->tile[k].fd = -1;
	}
	if (s->take == NULL && !s->tiles.layer[layer].done) {
		return cwb_err_set(err, CWP_EDIGEST, "scratch: the scores of layer %u are gone; run the job again", layer);
	}
	for (size_t k = 0; r == 0 && k < s->run->sets; k++) {
		r = cwe_tile_open(&s->tiles, layer, (uint32_t)k, &s->tile[k], err);
	}
	r = r == 0 && s->take == NULL ? cwe_tile_create(&s->tiles, layer, CWE_TILE_COMBINED, &out, err) : r;
	for (size_t i = s->run->layer_at[layer]; r == 0 && i < s->run->layer_at[layer + 1]; i++) {
		s->m = &s->run->module[i];
		r = s->m->quantized ? combine_module(s, &out, err) : 0;
	}
	r = r == 0 && s->run->job->unit == CWJ_UNIT_MODULE ? write_modules(s, layer, &out, err) : r;
	if (r == 0 && s->take == NULL) {
		r = cwe_tile_finish(&out, 0, NULL, err);
	} else {
		cwe_tile_abort(&out);
	}
	return close_tiles(s, layer, r, err);
}

/* Feeds the combined scores of the layers [from, to) again, for the later passes of the threshold. */
static int feed_again(struct selection *s, uint32_t from, uint32_t to, struct cwb_err *err)
{
	int r = 0;
	for (uint32_t layer = from; r == 0 && layer < to; layer++) {
		struct cwe_tile in = {.fd = -1};
		r = cwe_tile_open(&s->tiles, layer, CWE_TILE_COMBINED, &in, err);
		for (size_t i = s->run->layer_at[layer]; r == 0 && i < s->run->layer_at[layer + 1]; i++) {
			const struct cwe_run_module *m = &s->run->module[i];
			if (m->quantized && (r = cwe_tile_read(&in, s->score, m->rows * m->cols, err)) == 0) {
				cwe_threshold_feed(&s->threshold, s->score, m->rows * m->cols);
			}
		}
		cwe_tile_abort(&in);
	}
	return r;
}

/* The threshold of the layers [from, to), whose scores were fed once. */
static int finish_threshold(struct selection *s, uint32_t from, uint32_t to, struct cwb_err *err)
{
	float value = INFINITY;
	int r = 0;
	while (s->threshold.histogram != NULL && (r = cwe_threshold_next(&s->threshold, err)) == 1) {
		if ((r = feed_again(s, from, to, err)) != 0) {
			break;
		}
	}
	if (r == 0 && s->threshold.histogram != NULL) {
		value = cwe_threshold_value(&s->threshold, NULL, NULL);
	}
	for (uint32_t l = from; r == 0 && l < to; l++) {
		s->run->threshold[l] = value;
	}
	cwe_threshold_end(&s->threshold);
	return r;
}

/* The threshold whose output is as large as the budget allows, from the counts of the first pass. */
static int keep_to_budget(struct selection *s, struct cwb_err *err)
{
	float value = INFINITY;
	int r = cwe_budget_threshold(s->run, &s->tiles, s->threshold.histogram, &value, err);
	for (uint32_t l = 0; r == 0 && l < s->run->model.arch.layers; l++) {
		s->run->threshold[l] = value;
	}
	cwe_threshold_end(&s->threshold);
	return r;
}

static int all_layers(struct selection *s, struct cwb_err *err)
{
	struct cwe_run *run = s->run;
	uint32_t layers = run->model.arch.layers;
	enum cwj_scope scope = run->job->scope;
	int r = 0;
	if (scope == CWJ_SCOPE_GLOBAL && run->budget.total > 0) {
		r = cwe_threshold_begin(&s->threshold, 1, err); /* for its histogram */
	} else if (scope == CWJ_SCOPE_GLOBAL && cwe_fraction_count(run->job->fraction, run->weights) > 0) {
		r = cwe_threshold_begin(&s->threshold, cwe_fraction_count(run->job->fraction, run->weights), err);
	}
	for (uint32_t layer = 0; r == 0 && layer < layers; layer++) {
		uint64_t k = scope == CWJ_SCOPE_LAYER ? cwe_fraction_count(run->job->fraction, cwe_run_layer_weights(run, layer)) : 0;
		r = k > 0 ? cwe_threshold_begin(&s->threshold, k, err) : 0;
		r = r == 0 ? combine_layer(s, layer, err) : r;
		r = r == 0 && scope == CWJ_SCOPE_LAYER ? finish_threshold(s, layer, layer + 1, err) : r;
		cwe_run_progress(run, CWE_STAGE_SELECT, layer + 1, layers, "layers");
		r = r == 0 ? cwe_run_cancelled(run, err) : r;
	}
	if (r == 0 && run->budget.total > 0) {
		return keep_to_budget(s, err);
	}
	return r == 0 && scope == CWJ_SCOPE_GLOBAL ? finish_threshold(s, 0, layers, err) : r;
}

static int allocate(struct selection *s, struct cwb_err *err)
{
	const struct cwe_run *run = s->run;
	uint32_t wants_error = run->needs & CWP_STAT_QUANT_ERROR;
	s->tile = calloc(run->sets, sizeof *s->tile);
	s->importance = calloc(run->sets, sizeof *s->importance);
	s->score = malloc(run->largest * sizeof *s->score);
	s->weight = wants_error ? malloc(run->largest * sizeof *s->weight) : NULL;
	s->code = calloc(run->tallest / CWE_ROW_TILE + 1, sizeof *s->code);
	s->column = malloc(run->widest * sizeof *s->column);
	s->module = calloc(cwe_linears_most(&run->model.arch), sizeof *s->module);
	int ok = s->column != NULL && s->module != NULL && s->tile != NULL && s->importance != NULL && s->score != NULL && s->code != NULL &&
		(!wants_error || s->weight != NULL);
	for (size_t k = 0; ok && k < run->sets; k++) {
		ok = (s->importance[k] = malloc(run->largest * sizeof(float))) != NULL;
	}
	return ok ? 0 : cwb_err_set(err, -ENOMEM, "no memory for selecting weights");
}

static void release(struct selection *s)
{
	for (size_t i = 0; s->importance != NULL && i < s->run->sets; i++) {
		free(s->importance[i]);
	}
	free(s->importance);
	free(s->score);
	free(s->weight);
	free(s->code);
	free(s->column);
	free(s->module);
	free(s->tile);
}

int cwe_run_combine_layer(struct cwe_run *run, struct cwe_tiles *tiles, const struct cwe_combine *combine, uint32_t layer,
	int (*take)(void *arg, const struct cwe_run_module *m, const float *score, uint64_t n, struct cwb_err *err), void *arg,
	uint64_t *nonpositive, struct cwb_err *err)
{
	struct selection s = {.run = run, .tiles = *tiles, .combine = *combine, .take = take, .arg = arg};
	uint64_t before = run->nonpositive;
	int r = allocate(&s, err);
	r = r == 0 ? combine_layer(&s, layer, err) : r;
	*nonpositive += run->nonpositive - before;
	release(&s);
	return r;
}

/* With score.scale: pilot: the threshold among what was kept when the layers were scored. */
static int select_candidates(struct selection *s, struct cwb_err *err)
{
	struct cwe_run *run = s->run;
	struct cwe_candidates c;
	int r = cwe_candidates_open(run, &s->tiles, &c, err);
	if (r != 0) {
		return r;
	}
	run->nonpositive = 0;
	for (uint32_t l = 0; l < s->tiles.layers; l++) {
		run->nonpositive += c.layer[l].nonpositive;
		run->threshold[l] = INFINITY; /* no weight has a score above zero */
	}
	if (cwe_fraction_count(run->job->fraction, run->weights) == 0) {
		c.total = 0; /* super weights alone */
	}
	r = c.total > 0 ? cwe_threshold_begin(&s->threshold, c.floor.k < c.total ? c.floor.k : c.total, err) : 0;
	do {
		r = r >= 0 && c.total > 0 ? cwe_candidates_feed(&c, &s->threshold, err) : r;
	} while (r == 0 && c.total > 0 && (r = cwe_threshold_next(&s->threshold, err)) == 1);
	for (uint32_t l = 0; r == 0 && c.total > 0 && l < s->tiles.layers; l++) {
		run->threshold[l] = cwe_threshold_value(&s->threshold, NULL, NULL);
	}
	cwe_candidates_close(&c);
	return r;
}

int cwe_run_select(struct cwe_run *run, struct cwb_err *err)
{
	struct selection s = {.run = run, .tiles.journal = -1};
	cwe_run_stage(run, CWE_STAGE_SELECT);
	if (run->n_saved > 0) {
		return cwe_run_masks_select(run, err);
	}
	int r = cwe_run_super(run, err);
	if (r != 0 || run->scorer == NULL || (run->supers == 0 && run->budget.total == 0 &&
			cwe_fraction_count(run->job->fraction, run->weights) == 0)) {
		return r; /* nothing is protected */
	}
	/* Damaged scratch brings a run here a second time. */
	free(run->threshold);
	run->threshold = NULL;
	if (run->job->scope != CWJ_SCOPE_ROW) {
		run->threshold = calloc(run->model.arch.layers, sizeof *run->threshold);
		if (run->threshold == NULL) {
			return cwb_err_set(err, -ENOMEM, "no memory for thresholds");
		}
	}
	int pilot = run->job->scale_pilot;
	r = cwe_run_tiles(run, &s.tiles, err);
	r = r != 0 ? r : pilot ? cwe_run_pilot(run, &s.tiles, &s.combine, err)
			       : cwe_combine_make(run->job, run->set_sum, run->weights, &s.combine, err);
	r = r == 0 && !pilot ? allocate(&s, err) : r;
	if (r == 0) {
		memcpy(run->set_factor, s.combine.factor, run->sets * sizeof *run->set_factor);
		memcpy(run->set_value, run->set_sum, run->sets * sizeof *run->set_value);
		run->nonpositive = 0;
		r = s.combine.rank != NULL ? cwe_run_ranks(run, &s.tiles, &s.combine, s.score, err) : 0;
		r = r != 0 ? r : pilot ? select_candidates(&s, err) : all_layers(&s, err);
		run->protecting = r == 0;
	}
	cwe_tiles_close(&s.tiles);
	release(&s);
	cwe_threshold_end(&s.threshold);
	cwe_combine_free(&s.combine);
	return r == 0 ? cwe_run_mark_super(run, err) : r;
}
