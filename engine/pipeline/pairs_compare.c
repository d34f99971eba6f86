/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Intervals of metrics and of their differences, from items. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include <cwp/evaluator.h>

#include "engine/pipeline/pairs.h"

/* Room for the items, the resamples and one column of them. */
struct room {
	struct cwe_bootstrap_item *item;
	double *draw, *column;
	size_t n, resamples;
};

static void free_room(struct room *r)
{
	free(r->item);
	free(r->draw);
	free(r->column);
}

static int add_pair(struct cwe_bootstrap_item *ret, const struct cwe_pair *pair)
{
	int counts = 0;
	for (size_t k = 0; k < CWE_COMPARED; k++) {
		ret->value[k] = pair->of[k] != NULL ? pair->of[k]->value : 0;
		ret->weight[k] = pair->of[k] != NULL ? pair->of[k]->weight : 0;
		counts |= ret->weight[k] > 0;
	}
	return counts;
}

/* more: items to come besides. */
static int make_room(const struct cwe_pairs *p, size_t more, struct room *ret)
{
	*ret = (struct room){.item = calloc(p->n + more + 1, sizeof *ret->item)};
	for (size_t i = 0; ret->item != NULL && i < p->n; i++) {
		ret->n += (size_t)add_pair(&ret->item[ret->n], &p->pair[i]);
	}
	ret->resamples = cwe_bootstrap_resamples(ret->n + more);
	ret->draw = malloc(ret->resamples * CWE_COMPARED * sizeof *ret->draw);
	ret->column = malloc(ret->resamples * sizeof *ret->column);
	if (ret->item == NULL || ret->draw == NULL || ret->column == NULL) {
		free_room(ret);
		return -ENOMEM;
	}
	return 0;
}

/* Whether the metric is a share times a scale: means of items with one weight and the values 0 and that scale alone. */
static int is_share(const struct cwe_pairs *p, const struct room *r, double *ret_scale)
{
	double scale = 0, weight = 0;
	for (size_t i = 0; i < r->n; i++) {
		for (size_t k = 0; k < CWE_COMPARED; k++) {
			double v = r->item[i].value[k], w = r->item[i].weight[k];
			if (p->pair[0].of[k] == NULL) {
				continue;
			}
			scale = scale == 0 ? v : scale;
			weight = weight == 0 ? w : weight;
			if (!(v == 0 || (v == scale && v > 0 && isfinite(v))) || w != weight) {
				return 0;
			}
		}
	}
	*ret_scale = scale == 0 ? 1 : scale;
	return p->form == CWP_FORM_MEAN && r->n > 0;
}

static struct cwe_bootstrap bootstrap_of(const struct cwe_pairs *p, const struct room *r)
{
	return (struct cwe_bootstrap){.item = r->item, .n = r->n, .exponential = p->form == CWP_FORM_EXP_MEAN, .seed = p->seed,
		.stream = p->stream, .pool = p->pool};
}

static double hits(const struct room *r, size_t k)
{
	double n = 0;
	for (size_t i = 0; i < r->n; i++) {
		n += r->item[i].value[k] > 0;
	}
	return n;
}

/* The change of a share from one model to another. */
static struct cwe_interval share_change(const struct room *r, size_t than, size_t which, double confidence, double scale, double *centre,
	double *error)
{
	double up = 0, down = 0;
	for (size_t i = 0; i < r->n; i++) {
		up += r->item[i].value[which] > r->item[i].value[than];
		down += r->item[i].value[which] < r->item[i].value[than];
	}
	struct cwe_interval c = cwe_paired_rates(up, down, (double)r->n, confidence, centre, error);
	return (struct cwe_interval){c.value * scale, c.low * scale, c.high * scale};
}

/* A column, or the difference of two, of the draws: that of `which`, less that of `than` where that is not the same. */
static void draws_interval(const struct room *r, size_t than, size_t which, struct cwe_interval *ret)
{
	for (size_t i = 0; i < r->resamples; i++) {
		const double *draw = &r->draw[i * CWE_COMPARED];
		r->column[i] = draw[which] - (than != which ? draw[than] : 0);
	}
	cwe_percentiles(r->column, r->resamples, CWE_CONFIDENCE, &ret->low, &ret->high);
}

static void compare_model(const struct cwe_pairs *p, const struct room *r, size_t k, int share, double scale, struct cwe_pairs_result *ret)
{
	struct cwe_bootstrap b = bootstrap_of(p, r);
	struct cwe_interval *own = &ret->own[k], *change = &ret->change[k];
	for (size_t i = 0; i < r->n; i++) {
		ret->n[k] += r->item[i].weight[k] > 0;
	}
	own->value = cwe_bootstrap_value(&b, k);
	ret->error[k] = cwe_bootstrap_error(&b, k);
	if (share) {
		cwe_wilson(hits(r, k), (double)r->n, CWE_CONFIDENCE, &own->low, &own->high);
		own->low *= scale;
		own->high *= scale;
	} else {
		draws_interval(r, k, k, own);
	}
	if (k == CWE_COMPARED_ORIGINAL || p->pair[0].of[CWE_COMPARED_ORIGINAL] == NULL) {
		return;
	}
	if (share) {
		*change = share_change(r, CWE_COMPARED_ORIGINAL, k, CWE_CONFIDENCE, scale, NULL, NULL);
	} else {
		change->value = own->value - ret->own[CWE_COMPARED_ORIGINAL].value;
		draws_interval(r, CWE_COMPARED_ORIGINAL, k, change);
	}
}

int cwe_pairs_compare(const struct cwe_pairs *p, struct cwe_pairs_result *ret)
{
	const struct cwe_interval none = {NAN, NAN, NAN};
	struct cwe_pairs_result result = {.own = {none, none, none}, .error = {NAN, NAN, NAN}, .change = {none, none, none},
		.recovery = none};
	struct room r;
	double scale = 1;
	int code = make_room(p, 0, &r);
	if (code != 0) {
		return code;
	}
	int share = is_share(p, &r, &scale);
	struct cwe_bootstrap b = bootstrap_of(p, &r);
	int drawn = !share && r.n > 0;
	code = drawn ? cwe_bootstrap_run(&b, r.resamples, r.draw) : 0;
	for (size_t k = 0; code == 0 && r.n > 0 && k < CWE_COMPARED; k++) {
		if (p->pair[0].of[k] != NULL) {
			compare_model(p, &r, k, share, scale, &result);
		}
	}
	const struct cwe_interval *gap = &result.change[CWE_COMPARED_QUANTIZED];
	/* Shares have intervals of their own: they are drawn only where there is a gap to recover. */
	if (code == 0 && (gap->low > 0 || gap->high < 0) && p->pair[0].of[CWE_COMPARED_PROTECTED] != NULL) {
		const double value[] = {result.own[0].value, result.own[1].value, result.own[2].value};
		code = drawn ? 0 : cwe_bootstrap_run(&b, r.resamples, r.draw);
		if (code == 0) {
			result.verdict = cwe_recovery(value, gap, r.draw, r.resamples, CWE_CONFIDENCE, r.column, &result.recovery);
		}
	}
	free_room(&r);
	if (code == 0) {
		*ret = result;
	}
	return code;
}

/* Half an item in each cell of the table of two shares, as Agresti and Min have it: a small set in which nothing differs is no
 * proof that nothing would. */
static void add_halves(struct room *r, const struct cwe_pairs_question *q, double scale)
{
	double weight = r->item[0].weight[q->which] / 2;
	for (size_t i = 0; i < 4; i++) {
		struct cwe_bootstrap_item *item = &r->item[r->n++];
		*item = (struct cwe_bootstrap_item){{0}, {0}};
		item->weight[q->which] = item->weight[q->than] = weight;
		item->value[q->which] = i % 2 == 1 ? scale : 0;
		item->value[q->than] = i / 2 == 1 ? scale : 0;
	}
}

/* From resamples. */
static int worse_drawn(const struct cwe_pairs *p, const struct cwe_pairs_question *q, const struct room *r, struct cwe_interval *ret,
	double *ret_p)
{
	struct cwe_bootstrap b = bootstrap_of(p, r);
	size_t reached = 0;
	int code = cwe_bootstrap_run(&b, r->resamples, r->draw);
	for (size_t i = 0; code == 0 && i < r->resamples; i++) {
		const double *draw = &r->draw[i * CWE_COMPARED];
		r->column[i] = cwe_worse_by(q->direction, q->ideal, draw[q->which], draw[q->than]);
		reached += !(r->column[i] < q->margin); /* what is no number does not speak for the model */
	}
	if (code == 0) {
		cwe_percentiles(r->column, r->resamples, 2 * q->confidence - 1, &ret->low, &ret->high);
		*ret_p = ((double)reached + 1) / ((double)r->resamples + 1);
	}
	return code;
}

int cwe_pairs_worse(const struct cwe_pairs *p, const struct cwe_pairs_question *q, struct cwe_interval *ret, double *ret_p)
{
	struct room r;
	double scale = 1, centre, error;
	*ret = (struct cwe_interval){NAN, NAN, NAN};
	*ret_p = NAN;
	if (p->n == 0 || p->pair[0].of[q->which] == NULL || p->pair[0].of[q->than] == NULL) {
		return 0;
	}
	int code = make_room(p, 4, &r);
	if (code != 0 || r.n == 0) {
		return code != 0 ? code : (free_room(&r), 0);
	}
	struct cwe_bootstrap b = bootstrap_of(p, &r);
	ret->value = cwe_worse_by(q->direction, q->ideal, cwe_bootstrap_value(&b, q->which), cwe_bootstrap_value(&b, q->than));
	int share = is_share(p, &r, &scale), signed_change = q->direction != 0 || !isfinite(q->ideal);
	if (share && signed_change) {
		struct cwe_interval c = share_change(&r, q->than, q->which, 2 * q->confidence - 1, scale, &centre, &error);
		int higher = q->direction > 0;
		ret->low = higher ? -c.high : c.low;
		ret->high = higher ? -c.low : c.high;
		*ret_p = cwe_normal_above((q->margin / scale - (higher ? -centre : centre)) / error);
	} else {
		if (share) {
			add_halves(&r, q, scale);
		}
		code = worse_drawn(p, q, &r, ret, ret_p);
	}
	free_room(&r);
	return code;
}
