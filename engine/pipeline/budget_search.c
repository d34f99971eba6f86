/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The lowest threshold whose overlay fits, or the largest fraction of all layers or rows: passes over the combined scores,
 * each measuring up to 63 thresholds or fractions between one that is known to exceed the budget and one that is known to
 * keep to it. */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/overlay.h"
#include "engine/pipeline/budget.h"
#include "engine/select/key.h"

/* A fraction is searched for in billionths: cwe_fraction_count takes such a one exactly. */
#define STEPS 1000000000u

struct search {
	struct cwe_run *run;
	struct cwe_tiles *tiles;
	uint32_t key[CWE_SIZES_MOST];    /* of the thresholds of this pass, ascending; or fractions, descending, in STEPS */
	float threshold[CWE_SIZES_MOST]; /* of the layer or module at hand where fractions are tried */
	uint32_t n;
	struct cwe_thresholds many;      /* of a layer */
	struct cwe_sizes *sizes; /* [modules] */
	struct cwe_sizes *part;  /* [row tiles] */
	float *score;            /* [largest module] */
	const struct cwe_run_module *m; /* at hand */
	/* Of the quantized modules, for the size of the file. */
	struct cwe_overlay_plan *plan;
	const char **name;
	enum cwe_dtype *dtype; /* of the values */
};

static void measure_rows(void *arg, size_t i)
{
	struct search *s = arg;
	uint64_t row = i * CWE_ROW_TILE, cols = s->m->cols;
	uint64_t rows = s->m->rows - row < CWE_ROW_TILE ? s->m->rows - row : CWE_ROW_TILE;
	memset(&s->part[i], 0, sizeof s->part[i]);
	cwe_sizes_add(s->score + row * cols, rows, cols, s->threshold, s->n, &s->part[i]);
}

static double fraction(const struct search *s, uint32_t i)
{
	return (double)s->key[i] / (double)STEPS;
}

/* Each layer's own thresholds under the fractions of this pass. */
static int layer_thresholds(struct search *s, uint32_t layer, struct cwb_err *err)
{
	const struct cwe_run *run = s->run;
	uint64_t k[CWE_SIZES_MOST], weights = cwe_run_layer_weights(run, layer);
	for (uint32_t i = 0; i < s->n; i++) {
		k[i] = cwe_fraction_count(fraction(s, i), weights);
	}
	int r = cwe_thresholds_begin(&s->many, k, s->n, err);
	do {
		struct cwe_tile in = {.fd = -1};
		r = r >= 0 ? cwe_tile_open(s->tiles, layer, CWE_TILE_COMBINED, &in, err) : r;
		for (size_t m = run->layer_at[layer]; r == 0 && m < run->layer_at[layer + 1]; m++) {
			uint64_t n = run->module[m].quantized ? run->module[m].rows * run->module[m].cols : 0;
			r = n > 0 ? cwe_tile_read(&in, s->score, n, err) : 0;
			if (r == 0) {
				cwe_thresholds_feed(&s->many, s->score, n);
			}
		}
		cwe_tile_abort(&in);
	} while (r == 0 && (r = cwe_thresholds_next(&s->many, err)) == 1);
	for (uint32_t i = 0; r == 0 && i < s->n; i++) {
		s->threshold[i] = cwe_thresholds_value(&s->many, i);
	}
	return r;
}

/* Rows are on scratch as places (cwe_row_places). */
static void row_thresholds(struct search *s)
{
	for (uint32_t i = 0; i < s->n; i++) {
		uint64_t k = cwe_fraction_count(fraction(s, i), s->m->cols);
		s->threshold[i] = k > 0 ? 1 - (float)k : INFINITY;
	}
}

static void measure_module(struct search *s, size_t index)
{
	if (s->run->job->scope == CWJ_SCOPE_ROW) {
		row_thresholds(s);
	}
	size_t tiles = (s->m->rows + CWE_ROW_TILE - 1) / CWE_ROW_TILE;
	for (size_t i = 0; i < s->run->supers; i++) {
		const struct cwe_super_weight *w = &s->run->super[i];
		if (w->module == index) {
			s->score[w->row * s->m->cols + w->col] = INFINITY;
		}
	}
	cwe_pool_run(s->run->p->host->pool, tiles, measure_rows, s);
	struct cwe_sizes *sum = &s->sizes[index];
	memset(sum, 0, sizeof *sum);
	for (size_t t = 0; t < tiles; t++) {
		for (uint32_t i = 0; i < s->n; i++) {
			sum->values[i] += s->part[t].values[i];
			sum->escapes[i] += s->part[t].escapes[i];
		}
	}
}

/* One walk over all combined scores. */
static int measure(struct search *s, struct cwb_err *err)
{
	const struct cwe_run *run = s->run;
	int r = 0;
	for (uint32_t layer = 0; r == 0 && layer < run->model.arch.layers; layer++) {
		struct cwe_tile in = {.fd = -1};
		r = run->job->scope == CWJ_SCOPE_LAYER ? layer_thresholds(s, layer, err) : 0;
		r = r == 0 ? cwe_tile_open(s->tiles, layer, CWE_TILE_COMBINED, &in, err) : r;
		for (size_t i = run->layer_at[layer]; r == 0 && i < run->layer_at[layer + 1]; i++) {
			s->m = &run->module[i];
			if (s->m->quantized && (r = cwe_tile_read(&in, s->score, s->m->rows * s->m->cols, err)) == 0) {
				measure_module(s, i);
			}
		}
		cwe_tile_abort(&in);
		r = r == 0 ? cwe_run_cancelled(s->run, err) : r;
	}
	return r;
}

/* Bytes of the overlay under threshold i of this pass. */
static int overlay_bytes(struct search *s, uint32_t i, uint64_t *ret, struct cwb_err *err)
{
	const struct cwe_run *run = s->run;
	uint64_t sum = 0;
	size_t n = 0;
	for (size_t k = 0; k < run->modules; k++) {
		const struct cwe_run_module *m = &run->module[k];
		if (!m->quantized) {
			continue;
		}
		struct cwe_overlay_plan *p = &s->plan[n];
		*p = (struct cwe_overlay_plan){.rows = m->rows, .cols = m->cols, .values = s->sizes[k].values[i],
			.escapes = s->sizes[k].escapes[i]};
		cwe_overlay_choose(p, cwe_dtype_bits(s->dtype[n++]) / 8);
		sum += p->values > 0 ? p->bytes : 0;
	}
	*ret = sum;
	return run->budget.files ? cwe_overlay_file_bytes(s->plan, s->name, s->dtype, n, ret, err) : 0;
}

static int fits(struct search *s, uint32_t i, int *ret, struct cwb_err *err)
{
	uint64_t bytes = 0;
	int r = overlay_bytes(s, i, &bytes, err);
	*ret = bytes <= cwe_budget_left(s->run);
	return r;
}

/* The first threshold of this pass that fits, as if sizes only fell with rising thresholds; n when none does. */
static int first_fitting(struct search *s, uint32_t *ret, struct cwb_err *err)
{
	uint32_t low = 0, high = s->n;
	int r = 0;
	while (r == 0 && low < high) {
		uint32_t middle = (low + high) / 2;
		int ok = 0;
		r = fits(s, middle, &ok, err);
		if (ok) {
			high = middle;
		} else {
			low = middle + 1;
		}
	}
	*ret = low;
	return r;
}

/* Keys between two others, evenly. */
static void choose(struct search *s, uint32_t low, uint32_t high)
{
	uint64_t between = high - low - 1;
	s->n = (uint32_t)(between < CWE_SIZES_MOST ? between : CWE_SIZES_MOST);
	for (uint32_t i = 0; i < s->n; i++) {
		uint64_t step = ((uint64_t)(high - low) * (i + 1)) / (s->n + 1);
		s->key[i] = low + (uint32_t)step;
		s->threshold[i] = cwe_key_value(s->key[i]);
	}
}

/* Each protected weight takes its value's bytes at least: buckets of scores that hold too many are passed over. */
static uint32_t lower_bound(const struct search *s, const uint64_t *histogram)
{
	uint64_t most = cwe_budget_left(s->run) / 2, count = 0;
	uint32_t least = cwe_key_of(-FLT_MAX);
	for (uint32_t b = CWE_THRESHOLD_BUCKETS; b > 0; b--) {
		count += histogram[b - 1];
		if (count > most) {
			uint32_t key = (b - 1) << 21;
			return key > least ? key : least;
		}
	}
	return least;
}

/* The two ends, that are set: the most, and nothing but super weights. */
static int try_ends(struct search *s, int *ret_all, struct cwb_err *err)
{
	uint64_t least = 0;
	int ok = 0;
	s->n = 2;
	int r = measure(s, err);
	r = r == 0 ? fits(s, 1, &ok, err) : r;
	if (r == 0 && !ok) {
		r = overlay_bytes(s, 1, &least, err);
		return r == 0 ? cwe_budget_refuse(s->run, least, err) : r;
	}
	return r == 0 ? fits(s, 0, ret_all, err) : r;
}

static int search(struct search *s, const uint64_t *histogram, float *ret, struct cwb_err *err)
{
	uint32_t low = lower_bound(s, histogram), high = cwe_key_of(INFINITY), first;
	s->threshold[0] = cwe_key_value(low);
	s->threshold[1] = INFINITY;
	int all = 0, r = try_ends(s, &all, err);
	while (r == 0 && !all && high - low > 1) {
		choose(s, low, high);
		r = measure(s, err);
		r = r == 0 ? first_fitting(s, &first, err) : r;
		if (r == 0 && first < s->n) {
			high = s->key[first];
		}
		if (r == 0 && first > 0) {
			low = s->key[first - 1];
		}
	}
	*ret = cwe_key_value(all ? low : high);
	return r;
}

static int search_fraction(struct search *s, double *ret, struct cwb_err *err)
{
	uint32_t low = 0, high = STEPS, first;
	s->key[0] = STEPS;
	s->key[1] = 0;
	int all = 0, r = try_ends(s, &all, err);
	while (r == 0 && !all && high - low > 1) {
		choose(s, low, high);
		for (uint32_t i = 0; i < s->n / 2; i++) {
			uint32_t other = s->key[i];
			s->key[i] = s->key[s->n - 1 - i];
			s->key[s->n - 1 - i] = other;
		}
		r = measure(s, err);
		r = r == 0 ? first_fitting(s, &first, err) : r;
		if (r == 0 && first < s->n) {
			low = s->key[first];
		}
		if (r == 0 && first > 0) {
			high = s->key[first - 1];
		}
	}
	*ret = (double)(all ? STEPS : low) / (double)STEPS;
	return r;
}

uint64_t cwe_run_budget_memory(const struct cwe_run *run)
{
	/* Sizes of modules and row tiles, scores, and the header of the file: four tensors a module as JSON and text. */
	return run->budget.total == 0 ? 0 : (run->modules + run->tallest / CWE_ROW_TILE + 1) * sizeof(struct cwe_sizes) +
			run->largest * sizeof(float) + run->modules * 4096 +
			(run->job->scope == CWJ_SCOPE_LAYER ? CWE_THRESHOLDS_BYTES : 0);
}

static int allocate(struct search *s, struct cwb_err *err)
{
	const struct cwe_run *run = s->run;
	size_t n = 0;
	s->sizes = calloc(run->modules, sizeof *s->sizes);
	s->part = calloc(run->tallest / CWE_ROW_TILE + 1, sizeof *s->part);
	s->score = malloc(run->largest * sizeof *s->score);
	s->plan = calloc(run->modules, sizeof *s->plan);
	s->name = calloc(run->modules, sizeof *s->name);
	s->dtype = calloc(run->modules, sizeof *s->dtype);
	if (s->sizes == NULL || s->part == NULL || s->score == NULL || s->plan == NULL || s->name == NULL || s->dtype == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for keeping to the budget");
	}
	for (size_t i = 0; i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		const struct cwe_tensor *t = m->quantized ? cwe_run_module_tensor(run, m) : NULL;
		if (t != NULL) {
			s->name[n] = m->name;
			s->dtype[n++] = t->dtype == CWP_F32 ? CWE_DTYPE_F32 : t->dtype == CWP_F16 ? CWE_DTYPE_F16 : CWE_DTYPE_BF16;
		}
	}
	return 0;
}

static void release(struct search *s)
{
	cwe_thresholds_end(&s->many);
	free(s->sizes);
	free(s->part);
	free(s->score);
	free(s->plan);
	free(s->name);
	free(s->dtype);
}

int cwe_budget_threshold(struct cwe_run *run, struct cwe_tiles *tiles, const uint64_t *histogram, float *ret,
	struct cwb_err *err)
{
	struct search s = {.run = run, .tiles = tiles};
	int r = allocate(&s, err);
	r = r == 0 ? search(&s, histogram, ret, err) : r;
	release(&s);
	return r;
}

int cwe_budget_fraction(struct cwe_run *run, struct cwe_tiles *tiles, double *ret, struct cwb_err *err)
{
	struct search s = {.run = run, .tiles = tiles};
	int r = allocate(&s, err);
	r = r == 0 ? search_fraction(&s, ret, err) : r;
	release(&s);
	return r;
}
