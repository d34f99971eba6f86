/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Combined scores of a layer. Threads share reading with its digests, combining by rows, and counting; none of it depends on
 * who does what. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/combining.h"

/* The weights of a module that a share begins at, whole rows. */
static uint64_t share_at(const struct cwe_run_module *m, size_t i)
{
	return m->rows * i / CWE_SHARES * m->cols;
}

static int read_weights(void *arg, size_t i, struct cwb_err *err)
{
	struct cwe_combining *c = arg;
	const struct cwe_run_module *m = c->m;
	uint64_t at = share_at(m, i), row = at / m->cols, rows = share_at(m, i + 1) / m->cols - row;
	return rows > 0 ? cwe_run_module_read(c->run, m, row, rows, c->weight + at, err) : 0;
}

/* Each share of the module at hand by some thread. */
static int share_out(struct cwe_combining *c, int (*task)(void *arg, size_t i, struct cwb_err *err), struct cwb_err *err)
{
	return cwe_pool_try(c->run->p->host->pool, CWE_SHARES, task, c, err);
}

/* One tile of rows: combination, and what the scorer adds that belongs to no set. */
static void combine_rows(void *arg, size_t i)
{
	struct cwe_combining *c = arg;
	const struct cwe_run_module *m = c->m;
	const struct cwp_scorer *scorer = c->run->scorer->interface;
	uint64_t row = i * CWE_ROW_TILE, at = row * m->cols;
	uint64_t rows = m->rows - row < CWE_ROW_TILE ? m->rows - row : CWE_ROW_TILE;
	const float **part = malloc(c->run->sets * sizeof *part);
	float *error = c->weight != NULL ? malloc(rows * m->cols * sizeof *error) : NULL;
	int r = part == NULL || (c->weight != NULL && error == NULL) ? -ENOMEM : 0;
	for (size_t k = 0; r == 0 && k < c->run->sets; k++) {
		part[k] = c->importance[k] + at;
	}
	if (r == 0) {
		cwe_combine_apply(c->combine, part, rows * m->cols, c->score + at);
	}
	if (r == 0 && c->weight != NULL) {
		r = cwe_run_quantize_error(c->run, m, row, rows, c->weight + at, error);
	}
	if (r == 0 && scorer->finish != NULL) {
		r = scorer->finish(c->run->scorer_settings, rows, m->cols, c->weight != NULL ? c->weight + at : NULL, error,
			c->score + at);
	}
	c->code[i] = r;
	free(part);
	free(error);
}

/* Scores <= 0 of a share; one that is no number stands out. */
static int look_at(void *arg, size_t i, struct cwb_err *err)
{
	struct cwe_combining *c = arg;
	uint64_t n = 0;
	float bad = 0; /* x - x is 0 for every finite x */
	for (uint64_t k = share_at(c->m, i), end = share_at(c->m, i + 1); k < end; k++) {
		n += c->score[k] <= 0;
		bad += c->score[k] - c->score[k];
	}
	c->nonpositive[i] = n;
	return bad == 0 ? 0 : cwb_err_set(err, CWP_ENUMBER, "%s: a combined score is not a finite number; leave out the set whose "
		"importances are largest, or use score.combine: mean", c->m->name);
}

static void count(struct cwe_combining *c, size_t i, uint64_t at, uint64_t n)
{
	c->part[i] = (struct cwe_threshold_part){0};
	if (c->threshold->histogram != NULL) {
		cwe_threshold_count(c->threshold, c->score + at, n, &c->part[i]);
	}
}

static void add_counts(struct cwe_combining *c)
{
	for (size_t i = 0; i < CWE_SHARES && c->threshold->histogram != NULL; i++) {
		cwe_threshold_add(c->threshold, &c->part[i]);
	}
}

static int write_share(void *arg, size_t i, struct cwb_err *err)
{
	struct cwe_combining *c = arg;
	uint64_t at = share_at(c->m, i), n = share_at(c->m, i + 1) - at;
	count(c, i, at, n);
	return cwe_tile_write_at(&c->scores, c->score + at, at, n, err);
}

static int read_share(void *arg, size_t i, struct cwb_err *err)
{
	struct cwe_combining *c = arg;
	uint64_t at = share_at(c->m, i), n = share_at(c->m, i + 1) - at;
	int r = cwe_tile_read_at(&c->scores, c->score + at, at, n, err);
	if (r == 0) {
		count(c, i, at, n);
	}
	return r;
}

/* The finished scores of a module: counted, and written for the later passes and for the mask. */
static int keep(struct cwe_combining *c, struct cwb_err *err)
{
	uint64_t n = c->m->rows * c->m->cols;
	if (c->take != NULL) {
		return c->take(c->arg, c->m, c->score, n, err);
	}
	int r = share_out(c, write_share, err);
	add_counts(c);
	return r == 0 ? cwe_tile_skip(&c->scores, n) : r;
}

/* A budget for each row is found by the places that scores have in theirs. */
static int find_places(void *arg, size_t i, struct cwb_err *err)
{
	struct cwe_combining *c = arg;
	uint64_t at = share_at(c->m, i), n = share_at(c->m, i + 1) - at;
	float *spare = malloc(c->m->cols * sizeof *spare);
	if (spare == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the order of a row");
	}
	cwe_row_places(c->score + at, n / c->m->cols, c->m->cols, spare);
	free(spare);
	return 0;
}

static int keep_places(struct cwe_combining *c, struct cwb_err *err)
{
	int rows = c->run->budget.total > 0 && c->run->job->scope == CWJ_SCOPE_ROW;
	int r = rows ? share_out(c, find_places, err) : 0;
	return r == 0 ? keep(c, err) : r;
}

static int combine_module(struct cwe_combining *c, struct cwb_err *err)
{
	const struct cwe_run_module *m = c->m;
	struct cwe_run *run = c->run;
	int r = 0;
	for (size_t k = 0; r == 0 && k < run->sets; k++) {
		r = cwe_tile_read(&c->tile[k], c->importance[k], m->rows * m->cols, err);
	}
	r = r == 0 && c->weight != NULL ? share_out(c, read_weights, err) : r;
	if (r != 0) {
		return r;
	}
	size_t tiles = (m->rows + CWE_ROW_TILE - 1) / CWE_ROW_TILE;
	cwe_pool_run(run->p->host->pool, tiles, combine_rows, c);
	for (size_t i = 0; i < tiles; i++) {
		if (c->code[i] != 0) {
			return cwe_host_error(run->p->host, run->job->score.plugin, m->name, c->code[i], err);
		}
	}
	if ((r = share_out(c, look_at, err)) != 0) {
		return r;
	}
	for (size_t i = 0; i < CWE_SHARES; i++) {
		run->nonpositive += c->nonpositive[i];
	}
	if (run->job->unit == CWJ_UNIT_MODULE) {
		c->module[m - &run->module[run->layer_at[m->layer]]] = cwe_unit_sum(c->score, m->rows * m->cols);
		return 0;
	}
	cwe_unit_spread(run->job->unit, m->rows, m->cols, c->column, c->score);
	return keep_places(c, err);
}

/* Modules that engines take together are one unit: each of their weights gets the mean over all of them. */
static int write_modules(struct cwe_combining *c, uint32_t layer, struct cwb_err *err)
{
	const struct cwe_run_module *m = &c->run->module[c->run->layer_at[layer]];
	size_t n = c->run->layer_at[layer + 1] - c->run->layer_at[layer];
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		uint32_t group = cwe_linear_group(&c->run->model.arch, layer, (uint32_t)i);
		uint64_t weights = 0, own = m[i].rows * m[i].cols;
		double sum = 0;
		for (size_t k = group; k < n && cwe_linear_group(&c->run->model.arch, layer, (uint32_t)k) == group; k++) {
			sum += m[k].quantized ? c->module[k] : 0;
			weights += m[k].quantized ? m[k].rows * m[k].cols : 0;
		}
		float mean = weights > 0 ? (float)(sum / (double)weights) : 0;
		for (uint64_t k = 0; m[i].quantized && k < own; k++) {
			c->score[k] = mean;
		}
		c->m = &m[i];
		r = m[i].quantized ? keep_places(c, err) : 0;
	}
	return r;
}

/* The tiles' digests are checked as they are read for the first time. A score that is no number, of a tile that changed on
 * disk, is not the model's fault: the tile is read to its end, so that its digest can say so. */
static int close_tiles(struct cwe_combining *c, uint32_t layer, int r, struct cwb_err *err)
{
	int number = r == CWP_ENUMBER;
	for (size_t k = 0; k < c->run->sets; k++) {
		struct cwb_err changed = {0};
		int e = number ? cwe_tile_drain(&c->tile[k], &changed) : r;
		e = cwe_tile_verify(c->tiles, layer, (uint32_t)k, &c->tile[k], e, number ? &changed : err);
		if (!number) {
			r = e;
		} else if (e == CWP_EDIGEST && r == CWP_ENUMBER) {
			r = cwb_err_set(err, e, "%s", changed.message);
		}
	}
	return r;
}

int cwe_combining_layer(struct cwe_combining *c, uint32_t layer, struct cwb_err *err)
{
	struct cwe_run *run = c->run;
	int r = 0;
	for (size_t k = 0; k < run->sets; k++) {
		c->tile[k] = (struct cwe_tile){.fd = -1};
	}
	if (c->take == NULL && !c->tiles->layer[layer].done) {
		return cwb_err_set(err, CWP_EDIGEST, "scratch: the scores of layer %u are gone; run the job again", layer);
	}
	for (size_t k = 0; r == 0 && k < run->sets; k++) {
		r = cwe_tile_open(c->tiles, layer, (uint32_t)k, &c->tile[k], err);
	}
	r = r == 0 && c->take == NULL ? cwe_tile_create(c->tiles, layer, CWE_TILE_COMBINED, &c->scores, err) : r;
	for (size_t i = run->layer_at[layer]; r == 0 && i < run->layer_at[layer + 1]; i++) {
		c->m = &run->module[i];
		r = c->m->quantized ? combine_module(c, err) : 0;
	}
	r = r == 0 && run->job->unit == CWJ_UNIT_MODULE ? write_modules(c, layer, err) : r;
	cwe_tile_abort(&c->scores);
	return close_tiles(c, layer, r, err);
}

int cwe_combining_again(struct cwe_combining *c, uint32_t layer, struct cwb_err *err)
{
	int r = cwe_tile_open(c->tiles, layer, CWE_TILE_COMBINED, &c->scores, err);
	for (size_t i = c->run->layer_at[layer]; r == 0 && i < c->run->layer_at[layer + 1]; i++) {
		c->m = &c->run->module[i];
		if (c->m->quantized && (r = share_out(c, read_share, err)) == 0) {
			add_counts(c);
			r = cwe_tile_skip(&c->scores, c->m->rows * c->m->cols);
		}
	}
	cwe_tile_abort(&c->scores);
	return r;
}

int cwe_combining_new(struct cwe_run *run, struct cwe_tiles *tiles, const struct cwe_combine *combine,
	struct cwe_threshold *threshold, struct cwe_combining *ret, struct cwb_err *err)
{
	struct cwe_combining c = {.run = run, .tiles = tiles, .combine = combine, .threshold = threshold, .scores.fd = -1};
	uint32_t wants_error = run->needs & CWP_STAT_QUANT_ERROR;
	c.tile = calloc(run->sets, sizeof *c.tile);
	c.importance = calloc(run->sets, sizeof *c.importance);
	c.score = malloc(run->largest * sizeof *c.score);
	c.weight = wants_error ? malloc(run->largest * sizeof *c.weight) : NULL;
	c.code = calloc(run->tallest / CWE_ROW_TILE + 1, sizeof *c.code);
	c.column = malloc(run->widest * sizeof *c.column);
	c.module = calloc(cwe_linears_most(&run->model.arch), sizeof *c.module);
	c.part = calloc(CWE_SHARES, sizeof *c.part);
	c.nonpositive = calloc(CWE_SHARES, sizeof *c.nonpositive);
	int ok = c.tile != NULL && c.importance != NULL && c.score != NULL && (!wants_error || c.weight != NULL) && c.code != NULL &&
		c.column != NULL && c.module != NULL && c.part != NULL && c.nonpositive != NULL;
	for (size_t k = 0; ok && k < run->sets; k++) {
		ok = (c.importance[k] = malloc(run->largest * sizeof(float))) != NULL;
	}
	if (!ok) {
		cwe_combining_free(&c);
		return cwb_err_set(err, -ENOMEM, "no memory for selecting weights");
	}
	*ret = c;
	return 0;
}

void cwe_combining_free(struct cwe_combining *c)
{
	for (size_t i = 0; c->importance != NULL && i < c->run->sets; i++) {
		free(c->importance[i]);
	}
	free(c->tile);
	free(c->importance);
	free(c->score);
	free(c->weight);
	free(c->code);
	free(c->column);
	free(c->module);
	free(c->part);
	free(c->nonpositive);
	memset(c, 0, sizeof *c);
}
