/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Finding super weights. */
#include "engine/calibrate/super.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* The lower of the two in the middle. Sorts. */
static double median(double *x, uint64_t n)
{
	qsort(x, n, sizeof *x, by_size);
	return x[(n - 1) / 2];
}

struct judging {
	const struct cwe_module_statistics *s;
	uint64_t *spike;  /* columns that stand out */
	uint64_t spikes;
	double typical;   /* root mean square that the others bring to a channel of the output: median over channels */
	double largest;   /* product of a spike and a weight */
	double *sort;     /* [the larger of rows and cols] */
};

/* Channels whose largest input is far above the median channel's largest. */
static void find_spikes(struct judging *j)
{
	const struct cwe_module_statistics *s = j->s;
	for (uint64_t k = 0; k < s->cols; k++) {
		j->sort[k] = (double)s->act_absmax[k];
	}
	double usual = median(j->sort, s->cols);
	for (uint64_t k = 0; usual > 0 && k < s->cols; k++) {
		if ((double)s->act_absmax[k] >= CWE_SUPER_INPUT * usual) {
			j->spike[j->spikes++] = k;
		}
	}
}

/* sqrt(sum of w^2 E[x^2]) over the channels without a spike, which is what they bring if they are not correlated. */
static void measure_typical(struct judging *j)
{
	const struct cwe_module_statistics *s = j->s;
	for (uint64_t r = 0; r < s->rows; r++) {
		const float *w = s->weight + r * s->cols;
		double sum = 0;
		for (uint64_t k = 0, next = 0; k < s->cols; k++) {
			if (next < j->spikes && j->spike[next] == k) {
				next++;
				continue;
			}
			sum += (double)w[k] * (double)w[k] * s->act_sq[k];
		}
		j->sort[r] = sqrt(sum / (double)s->tokens);
	}
	j->typical = median(j->sort, s->rows);
}

static double product(const struct cwe_module_statistics *s, uint64_t row, uint64_t col)
{
	return fabs((double)s->weight[row * s->cols + col]) * (double)s->act_absmax[col];
}

/* The size of weight that stands out in a column. */
static double weight_limit(struct judging *j, uint64_t col)
{
	const struct cwe_module_statistics *s = j->s;
	for (uint64_t r = 0; r < s->rows; r++) {
		j->sort[r] = fabs((double)s->weight[r * s->cols + col]);
	}
	return CWE_SUPER_WEIGHT * median(j->sort, s->rows);
}

static int append(struct cwe_super_list *list, struct cwe_super item)
{
	struct cwe_super *more = realloc(list->item, (list->count + 1) * sizeof *more);
	if (more == NULL) {
		return -ENOMEM;
	}
	list->item = more;
	list->item[list->count++] = item;
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct cwe_super *x = a, *y = b;
	if (x->layer != y->layer) {
		return x->layer < y->layer ? -1 : 1;
	}
	if (x->linear != y->linear) {
		return x->linear < y->linear ? -1 : 1;
	}
	if (x->row != y->row) {
		return x->row < y->row ? -1 : 1;
	}
	return x->col < y->col ? -1 : x->col > y->col;
}

static int take_column(struct judging *j, uint64_t col, uint32_t layer, uint32_t linear, struct cwe_super_list *list)
{
	const struct cwe_module_statistics *s = j->s;
	double limit = weight_limit(j, col);
	int r = 0;
	for (uint64_t row = 0; r == 0 && row < s->rows; row++) {
		double p = product(s, row, col);
		if (p > 0 && p >= CWE_SUPER_OUTPUT * j->typical && p >= CWE_SUPER_SHARE * j->largest &&
			fabs((double)s->weight[row * s->cols + col]) >= limit) {
			r = append(list, (struct cwe_super){layer, linear, row, col});
		}
	}
	return r;
}

int cwe_super_judge(const struct cwe_module_statistics *s, uint32_t layer, uint32_t linear, struct cwe_super_list *list)
{
	struct judging j = {.s = s};
	size_t before = list->count;
	if (s->tokens == 0) {
		return 0; /* an expert to which no token came */
	}
	j.spike = calloc(s->cols, sizeof *j.spike);
	j.sort = calloc(s->cols > s->rows ? s->cols : s->rows, sizeof *j.sort);
	int r = j.spike != NULL && j.sort != NULL ? 0 : -ENOMEM;
	if (r == 0) {
		find_spikes(&j);
	}
	if (r == 0 && j.spikes > 0) {
		measure_typical(&j);
		for (uint64_t i = 0; i < j.spikes; i++) {
			for (uint64_t row = 0; row < s->rows; row++) {
				j.largest = fmax(j.largest, product(s, row, j.spike[i]));
			}
		}
		for (uint64_t i = 0; r == 0 && i < j.spikes; i++) {
			r = take_column(&j, j.spike[i], layer, linear, list);
		}
		if (list->count > before) {
			qsort(list->item + before, list->count - before, sizeof *list->item, by_place);
		}
	}
	free(j.spike);
	free(j.sort);
	return r;
}

struct finding {
	const struct cwe_arch *arch;
	struct cwe_super_list list;
};

static int is_down(const struct cwe_arch *a, uint32_t layer, uint32_t linear)
{
	uint64_t row;
	if (!(a->layer[layer] & CWE_LAYER_MOE)) {
		return linear == cwe_linear_of(a, layer, CWE_DOWN, CWE_DENSE, &row);
	}
	for (uint32_t e = 0; e < a->moe.experts; e++) {
		if (linear == cwe_linear_of(a, layer, CWE_DOWN, e, &row)) {
			return 1;
		}
	}
	return a->moe.shared > 0 && linear == cwe_linear_of(a, layer, CWE_DOWN, CWE_SHARED, &row);
}

static int take_module(void *arg, uint32_t layer, uint32_t set, uint32_t linear, const struct cwe_module_statistics *s,
	struct cwb_err *err)
{
	struct finding *f = arg;
	(void)set;
	int r = is_down(f->arch, layer, linear) ? cwe_super_judge(s, layer, linear, &f->list) : 0;
	return r == 0 ? 0 : cwb_err_set(err, r, "no memory for super weights");
}

int cwe_super_find(struct cwe_model *model, const struct cwe_corpus *corpus, const char *scratch, uint64_t memory,
	struct cwe_super_list *ret, struct cwb_err *err)
{
	struct finding f = {.arch = &model->arch};
	struct cwe_calibration c = {.model = model, .corpus = corpus, .needs = CWE_SUPER_NEEDS, .scratch = scratch,
		.boundary_memory = memory, .resume = model->arch.layers, .arg = &f, .module = take_module};
	int r = cwe_calibrate_run(&c, err);
	if (r == 0) {
		*ret = f.list;
	} else {
		free(f.list.item);
	}
	return r;
}
