/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Masks, a module at a time. */
#include "engine/pipeline/mask.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/pipeline/masks.h"
#include "engine/pipeline/over_rank.h"

int cwe_mask_reader_open(struct cwe_run *run, struct cwe_mask_reader *ret, struct cwb_err *err)
{
	struct cwe_mask_reader r = {.run = run, .tiles.journal = -1, .scores.tile.fd = -1};
	size_t tiles = run->tallest / CWE_ROW_TILE + 1;
	if (run->n_saved > 0) {
		*ret = r; /* the masks are open */
		return 0;
	}
	r.score = malloc(run->largest * sizeof *r.score);
	r.code = calloc(tiles, sizeof *r.code);
	r.count = calloc(tiles, sizeof *r.count);
	int e = r.score != NULL && r.code != NULL && r.count != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for masks");
	e = e == 0 ? cwe_over_rank_open(&r, err) : e;
	e = e == 0 ? cwe_run_tiles(run, &r.tiles, err) : e;
	if (e != 0) {
		cwe_mask_reader_close(&r);
		return e;
	}
	*ret = r;
	return 0;
}

void cwe_mask_reader_close(struct cwe_mask_reader *r)
{
	cwe_scores_close(&r->scores);
	cwe_tiles_close(&r->tiles);
	free(r->score);
	free(r->code);
	free(r->count);
	free(r->unit);
	r->unit = NULL;
	r->score = NULL;
	r->code = NULL;
	r->count = NULL;
}

/* Scores of one tile of rows against their threshold, or each row's own. */
static void fill_rows(void *arg, size_t i)
{
	struct cwe_mask_reader *r = arg;
	const struct cwe_run *run = r->run;
	uint64_t row = i * CWE_ROW_TILE, cols = r->m->cols;
	uint64_t rows = r->m->rows - row < CWE_ROW_TILE ? r->m->rows - row : CWE_ROW_TILE;
	const float *score = r->score + row * cols;
	uint8_t *mask = r->mask + row * r->stride;
	r->code[i] = 0;
	if (run->threshold == NULL) {
		r->code[i] = cwe_mask_fill_rows(score, rows, cols, run->fraction, mask, r->stride, &r->count[i]);
	} else {
		r->count[i] = cwe_mask_fill(score, rows, cols, run->threshold[r->m->layer], mask, r->stride);
	}
}

static int fill_from_scores(struct cwe_mask_reader *r, uint64_t *ret_set, struct cwb_err *err)
{
	const struct cwe_run_module *m = r->m;
	size_t tiles = (m->rows + CWE_ROW_TILE - 1) / CWE_ROW_TILE;
	int e = cwe_scores_read(&r->scores, r->score, m->rows * m->cols, err);
	if (e != 0) {
		return e;
	}
	cwe_pool_run(r->run->p->host->pool, tiles, fill_rows, r);
	*ret_set = 0;
	for (size_t i = 0; i < tiles; i++) {
		if (r->code[i] != 0) {
			return cwb_err_set(err, r->code[i], "%s: no memory for its mask", m->name);
		}
		*ret_set += r->count[i];
	}
	return 0;
}

static uint8_t *byte_of(struct cwe_mask_reader *r, const struct cwe_super_weight *w)
{
	return &r->mask[w->row * r->stride + (w->col >> 3)];
}

/* With carrier adapter a super weight that is not selected takes its whole column or row with it. */
static void expand(struct cwe_mask_reader *r, const struct cwe_super_weight *w, int by_row)
{
	const struct cwe_run_module *m = r->m;
	if (r->run->job->carrier != CWJ_CARRIER_ADAPTER) {
		*byte_of(r, w) |= (uint8_t)(1u << (w->col & 7));
	} else if (by_row) {
		for (uint64_t c = 0; c < m->cols; c++) {
			r->mask[w->row * r->stride + (c >> 3)] |= (uint8_t)(1u << (c & 7));
		}
	} else {
		for (uint64_t k = 0; k < m->rows; k++) {
			r->mask[k * r->stride + (w->col >> 3)] |= (uint8_t)(1u << (w->col & 7));
		}
	}
}

/* What the mask at hand is made of; of columns or rows as the job has it where it is empty. */
static int is_by_row(const struct cwe_mask_reader *r)
{
	uint64_t rank = 0;
	int shape = r->run->job->carrier == CWJ_CARRIER_ADAPTER ? cwe_mask_shape(r->mask, r->stride, r->m->rows, r->m->cols, &rank) : 0;
	return rank > 0 ? shape > 0 : r->run->job->unit == CWJ_UNIT_ROW;
}

static int is_of(const struct cwe_mask_reader *r, const struct cwe_super_weight *w)
{
	return &r->run->module[w->module] == r->m;
}

static int fill(struct cwe_mask_reader *r, const struct cwe_run_module *m, uint8_t *mask, uint64_t *ret_set,
	struct cwb_err *err)
{
	r->m = m;
	r->mask = mask;
	r->stride = (m->cols + 7) / 8;
	return r->run->n_saved > 0 ? cwe_run_masks_fill(r->run, m, mask, ret_set, err) : fill_from_scores(r, ret_set, err);
}

/* The layer's tile is opened with its first module and closed with its last. */
static int step(struct cwe_mask_reader *r, const struct cwe_run_module *m, uint8_t *mask, uint64_t *ret_set,
	struct cwb_err *err)
{
	if (r->run->n_saved > 0) {
		return m->quantized && mask != NULL ? fill(r, m, mask, ret_set, err) : 0;
	}
	int e = m->first ? cwe_scores_open(r->run, &r->tiles, m->layer, &r->scores, err) : 0;
	if (e == 0 && m->quantized) {
		e = mask != NULL ? fill(r, m, mask, ret_set, err) : cwe_scores_skip(&r->scores, m->rows * m->cols, err);
	}
	if (m->last) {
		cwe_scores_close(&r->scores);
	}
	return e;
}

int cwe_mask_reader_next(struct cwe_mask_reader *r, const struct cwe_run_module *m, uint8_t *mask, uint64_t *ret_set,
	struct cwb_err *err)
{
	int e = step(r, m, mask, ret_set, err);
	int filled = e == 0 && mask != NULL && m->quantized, cut = filled && r->unit != NULL;
	if (cut) {
		cwe_over_rank_note(r);
	}
	int by_row = filled && r->run->supers > 0 && is_by_row(r);
	for (size_t i = 0; filled && i < r->run->supers; i++) {
		const struct cwe_super_weight *w = &r->run->super[i];
		if (is_of(r, w)) {
			expand(r, w, by_row);
		}
	}
	return cut ? cwe_over_rank_cut(r, ret_set, err) : e;
}

static int holds_super(const struct cwe_run *run, size_t module)
{
	for (size_t i = 0; i < run->supers; i++) {
		if (run->super[i].module == module) {
			return 1;
		}
	}
	return 0;
}

int cwe_run_mark_super(struct cwe_run *run, struct cwb_err *err)
{
	struct cwe_mask_reader reader;
	uint64_t set;
	for (size_t i = 0; i < run->modules; i++) {
		run->module[i].super_added = 0;
	}
	if (run->supers == 0) {
		return 0;
	}
	int e = cwe_mask_reader_open(run, &reader, err);
	if (e != 0) {
		return e;
	}
	uint8_t *mask = malloc(cwe_run_mask_bytes(run));
	e = mask != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for masks");
	for (size_t i = 0; e == 0 && i < run->modules; i++) {
		e = step(&reader, &run->module[i], holds_super(run, i) ? mask : NULL, &set, err);
		for (size_t k = 0; e == 0 && k < run->supers; k++) {
			struct cwe_super_weight *w = &run->super[k];
			if (w->module == i) {
				w->selected = *byte_of(&reader, w) >> (w->col & 7) & 1;
				run->module[i].super_added += !w->selected;
			}
		}
	}
	free(mask);
	cwe_mask_reader_close(&reader);
	return e;
}
