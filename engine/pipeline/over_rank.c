/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Masks of columns or rows, cut to a rank. The scores of a column are the same in all its rows, and those of a row in all its
 * columns, so that the first one says all. */
#include "engine/pipeline/over_rank.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SELECTED = 1, SUPER = 2 };

struct unit {
	float score;
	uint32_t index;
	uint32_t is_super;
};

int cwe_over_rank(const struct cwe_run *run)
{
	return run->job->carrier == CWJ_CARRIER_ADAPTER && run->job->max_rank > 0 && run->job->over_rank == CWJ_OVER_RANK_KEEP_BEST;
}

static int by_row(const struct cwe_mask_reader *r)
{
	return r->run->job->unit == CWJ_UNIT_ROW;
}

static uint64_t units(const struct cwe_mask_reader *r)
{
	return by_row(r) ? r->m->rows : r->m->cols;
}

/* Weights of one column or row. */
static uint64_t unit_weights(const struct cwe_run *run, const struct cwe_run_module *m)
{
	return run->job->unit == CWJ_UNIT_ROW ? m->cols : m->rows;
}

static int is_set(const struct cwe_mask_reader *r, uint64_t unit)
{
	return by_row(r) ? r->mask[unit * r->stride] & 1 : r->mask[unit >> 3] >> (unit & 7) & 1;
}

static void clear(struct cwe_mask_reader *r, uint64_t unit)
{
	if (by_row(r)) {
		memset(r->mask + unit * r->stride, 0, r->stride);
		return;
	}
	for (uint64_t k = 0; k < r->m->rows; k++) {
		r->mask[k * r->stride + (unit >> 3)] &= (uint8_t)~(1u << (unit & 7));
	}
}

int cwe_over_rank_open(struct cwe_mask_reader *r, struct cwb_err *err)
{
	uint64_t most = r->run->tallest > r->run->widest ? r->run->tallest : r->run->widest;
	r->unit = cwe_over_rank(r->run) ? malloc(most + 1) : NULL;
	return r->unit != NULL || !cwe_over_rank(r->run) ? 0 : cwb_err_set(err, -ENOMEM, "no memory for masks");
}

void cwe_over_rank_note(struct cwe_mask_reader *r)
{
	for (uint64_t i = 0; i < units(r); i++) {
		r->unit[i] = is_set(r, i) ? SELECTED : 0;
	}
}

static int best_first(const void *a, const void *b)
{
	const struct unit *x = a, *y = b;
	if (x->is_super != y->is_super) {
		return x->is_super > y->is_super ? -1 : 1;
	}
	if (x->score != y->score) {
		return x->score > y->score ? -1 : 1;
	}
	return x->index < y->index ? -1 : x->index > y->index;
}

static void mark_supers(struct cwe_mask_reader *r)
{
	for (size_t i = 0; i < r->run->supers; i++) {
		const struct cwe_super_weight *w = &r->run->super[i];
		if (&r->run->module[w->module] == r->m) {
			r->unit[by_row(r) ? w->row : w->col] |= SUPER;
		}
	}
}

int cwe_over_rank_cut(struct cwe_mask_reader *r, uint64_t *set, struct cwb_err *err)
{
	uint64_t rank = 0, n = 0, most = r->run->job->max_rank, left = 0;
	r->dropped = 0;
	if (cwe_mask_shape(r->mask, r->stride, r->m->rows, r->m->cols, &rank) < 0 || rank <= most) {
		return 0;
	}
	struct unit *order = malloc(units(r) * sizeof *order + 1);
	if (order == NULL) {
		return cwb_err_set(err, -ENOMEM, "%s: no memory for the order of its columns", r->m->name);
	}
	mark_supers(r);
	for (uint64_t i = 0; i < units(r); i++) {
		if (is_set(r, i)) {
			order[n++] = (struct unit){.score = r->score[by_row(r) ? i * r->m->cols : i], .index = (uint32_t)i,
				.is_super = (r->unit[i] & SUPER) != 0};
		}
	}
	qsort(order, n, sizeof *order, best_first);
	for (uint64_t i = 0; i < n; i++) {
		if (i >= most) {
			clear(r, order[i].index);
		} else {
			left += (r->unit[order[i].index] & SELECTED) != 0;
		}
	}
	r->dropped = n > most ? n - most : 0;
	*set = left * unit_weights(r->run, r->m);
	free(order);
	return 0;
}

json_t *cwe_over_rank_json(const struct cwe_run *run)
{
	json_t *all = json_object();
	for (size_t i = 0; i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		if (m->over_rank > 0) {
			(void)json_object_set_new(all, m->name, json_pack("{s:I,s:I,s:I}", "lost", (json_int_t)m->over_rank, "kept",
				(json_int_t)run->job->max_rank, "weights", (json_int_t)(m->over_rank * unit_weights(run, m))));
		}
	}
	if (json_object_size(all) == 0) {
		json_decref(all);
		return NULL;
	}
	return all;
}

int cwe_over_rank_report(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwp_host *host = &run->p->host->table;
	const struct cwe_run_module *first = NULL;
	uint64_t modules = 0, lost = 0, weights = 0;
	for (size_t i = 0; i < run->modules; i++) {
		const struct cwe_run_module *m = &run->module[i];
		first = first == NULL && m->over_rank > 0 ? m : first;
		modules += m->over_rank > 0;
		lost += m->over_rank;
		weights += m->over_rank * unit_weights(run, m);
	}
	if (first == NULL) {
		return 0;
	}
	int r = cwe_run_warn(run, err, "protect.max-rank: %" PRIu64 " modules, such as %s, need a larger rank than %" PRIu64 ": %" PRIu64
		" %s with %" PRIu64 " weights are not protected (report.json: protection.adapter.over_rank)", modules, first->name,
		run->job->max_rank, lost, run->job->unit == CWJ_UNIT_ROW ? "rows" : "columns", weights);
	if (r == 0) {
		host->log(host->ctx, CWP_LOG_WARNING, json_string_value(json_array_get(run->warnings, json_array_size(run->warnings) - 1)));
	}
	return r;
}
