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
#include "engine/pipeline/combining.h"
#include "engine/pipeline/pilot.h"
#include "engine/pipeline/run.h"
#include "engine/pipeline/super.h"
#include "engine/pipeline/tiles.h"

struct selection {
	struct cwe_run *run;
	struct cwe_tiles tiles;
	struct cwe_combine combine;
	struct cwe_threshold threshold;
	struct cwe_combining combining;
};

/* Feeds the combined scores of the layers [from, to) again, for the later passes of the threshold. */
static int feed_again(struct selection *s, uint32_t from, uint32_t to, struct cwb_err *err)
{
	int r = 0;
	for (uint32_t layer = from; r == 0 && layer < to; layer++) {
		r = cwe_combining_again(&s->combining, layer, err);
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

/* Each layer's threshold of its own share. */
static int layers_apart(struct selection *s, struct cwb_err *err)
{
	int r = 0;
	for (uint32_t l = 0; r == 0 && l < s->run->model.arch.layers; l++) {
		uint64_t k = cwe_fraction_count(s->run->fraction, cwe_run_layer_weights(s->run, l));
		r = k > 0 ? cwe_threshold_begin(&s->threshold, k, err) : 0;
		r = r == 0 && k > 0 ? feed_again(s, l, l + 1, err) : r;
		r = r == 0 ? finish_threshold(s, l, l + 1, err) : r;
	}
	return r;
}

/* The threshold whose output is as large as the budget allows, from the counts of the first pass; or the fraction. */
static int keep_to_budget(struct selection *s, struct cwb_err *err)
{
	float value = INFINITY;
	if (s->run->job->scope != CWJ_SCOPE_GLOBAL) {
		int e = cwe_budget_fraction(s->run, &s->tiles, &s->run->fraction, err);
		return e == 0 && s->run->job->scope == CWJ_SCOPE_LAYER ? layers_apart(s, err) : e;
	}
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
		int apart = scope == CWJ_SCOPE_LAYER && run->budget.total == 0;
		uint64_t k = apart ? cwe_fraction_count(run->job->fraction, cwe_run_layer_weights(run, layer)) : 0;
		r = k > 0 ? cwe_threshold_begin(&s->threshold, k, err) : 0;
		r = r == 0 ? cwe_combining_layer(&s->combining, layer, err) : r;
		r = r == 0 && apart ? finish_threshold(s, layer, layer + 1, err) : r;
		cwe_run_progress(run, CWE_STAGE_SELECT, layer + 1, layers, "layers");
		r = r == 0 ? cwe_run_cancelled(run, err) : r;
	}
	if (r == 0 && run->budget.total > 0) {
		return keep_to_budget(s, err);
	}
	return r == 0 && scope == CWJ_SCOPE_GLOBAL ? finish_threshold(s, 0, layers, err) : r;
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
	run->fraction = run->job->fraction;
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
	r = r == 0 && !pilot ? cwe_combining_new(run, &s.tiles, &s.combine, &s.threshold, &s.combining, err) : r;
	if (r == 0) {
		memcpy(run->set_factor, s.combine.factor, run->sets * sizeof *run->set_factor);
		memcpy(run->set_value, run->set_sum, run->sets * sizeof *run->set_value);
		run->nonpositive = 0;
		r = s.combine.rank != NULL ? cwe_run_ranks(run, &s.tiles, &s.combine, s.combining.score, err) : 0;
		r = r != 0 ? r : pilot ? select_candidates(&s, err) : all_layers(&s, err);
		run->protecting = r == 0;
	}
	cwe_tiles_close(&s.tiles);
	cwe_combining_free(&s.combining);
	cwe_threshold_end(&s.threshold);
	cwe_combine_free(&s.combine);
	return r == 0 ? cwe_run_mark_super(run, err) : r;
}
