/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Items drawn anew with replacement (Efron 1979). The random numbers of a draw follow from its number alone. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/plugin/host.h"
#include "engine/plugin/pool.h"
#include "engine/statistics/statistics.h"

#define RESAMPLES 10000u
#define RESAMPLES_LEAST 1000u
#define DRAWS (UINT64_C(1) << 30)
#define BLOCK 64 /* resamples of one piece of work */
#define LANES 8  /* doubles of a cell: a line of the cache */

/* weight * value and weight of each model. */
struct cell {
	_Alignas(64) double sum[LANES];
};

struct work {
	const struct cwe_bootstrap *b;
	const struct cell *cell;
	size_t resamples;
	double *ret;
};

size_t cwe_bootstrap_resamples(size_t n)
{
	uint64_t most = n > 0 ? DRAWS / n : RESAMPLES;
	return most >= RESAMPLES ? RESAMPLES : most > RESAMPLES_LEAST ? (size_t)most : RESAMPLES_LEAST;
}

static double statistic(const double *sum, size_t model, int exponential)
{
	double weight = sum[2 * model + 1];
	double mean = weight > 0 ? sum[2 * model] / weight : NAN;
	return exponential ? exp(mean) : mean;
}

static inline void add(double *sum, const struct cell *cell, uint64_t number, uint64_t n)
{
	/* Which of n, from 32 bits: uneven by n / 2^32 at most. */
	const double *from = cell[(number & 0xffffffffu) * n >> 32].sum;
	for (size_t k = 0; k < LANES; k++) {
		sum[k] += from[k];
	}
}

static void resample(void *arg, size_t block)
{
	const struct work *w = arg;
	const struct cwe_bootstrap *b = w->b;
	uint64_t n = b->n, pairs = (n + 1) / 2;
	for (size_t r = block * BLOCK; r < w->resamples && r < (block + 1) * BLOCK; r++) {
		double sum[LANES] = {0};
		for (uint64_t i = 0; i < pairs; i++) {
			uint64_t number = cwe_random(b->seed, b->stream, r * pairs + i);
			add(sum, w->cell, number >> 32, n);
			if (2 * i + 1 < n) {
				add(sum, w->cell, number, n);
			}
		}
		for (size_t k = 0; k < CWE_BOOTSTRAP_MODELS; k++) {
			w->ret[r * CWE_BOOTSTRAP_MODELS + k] = statistic(sum, k, b->exponential);
		}
	}
}

int cwe_bootstrap_run(const struct cwe_bootstrap *b, size_t resamples, double *ret)
{
	struct cell *cell = aligned_alloc(64, (b->n + 1) * sizeof *cell);
	struct work w = {b, cell, resamples, ret};
	size_t blocks = (resamples + BLOCK - 1) / BLOCK;
	if (cell == NULL) {
		return -ENOMEM;
	}
	memset(cell, 0, (b->n + 1) * sizeof *cell);
	for (size_t i = 0; i < b->n; i++) {
		for (size_t k = 0; k < CWE_BOOTSTRAP_MODELS; k++) {
			cell[i].sum[2 * k] = b->item[i].weight[k] > 0 ? b->item[i].weight[k] * b->item[i].value[k] : 0;
			cell[i].sum[2 * k + 1] = b->item[i].weight[k];
		}
	}
	if (b->pool != NULL) {
		cwe_pool_run(b->pool, blocks, resample, &w);
	} else {
		for (size_t i = 0; i < blocks; i++) {
			resample(&w, i);
		}
	}
	free(cell);
	return 0;
}

/* The weighted mean, before any exp. */
static double mean_of(const struct cwe_bootstrap *b, size_t model, double *ret_weight)
{
	double sum = 0, weight = 0;
	for (size_t i = 0; i < b->n; i++) {
		const struct cwe_bootstrap_item *item = &b->item[i];
		sum += item->weight[model] > 0 ? item->weight[model] * item->value[model] : 0;
		weight += item->weight[model];
	}
	*ret_weight = weight;
	return weight > 0 ? sum / weight : NAN;
}

double cwe_bootstrap_value(const struct cwe_bootstrap *b, size_t model)
{
	double weight, mean = mean_of(b, model, &weight);
	return b->exponential ? exp(mean) : mean;
}

double cwe_bootstrap_error(const struct cwe_bootstrap *b, size_t model)
{
	double weight, mean = mean_of(b, model, &weight), sum = 0, n = 0;
	for (size_t i = 0; i < b->n; i++) {
		const struct cwe_bootstrap_item *item = &b->item[i];
		double d = item->weight[model] > 0 ? item->weight[model] * (item->value[model] - mean) : 0;
		sum += d * d;
		n += item->weight[model] > 0;
	}
	if (n < 2) {
		return NAN;
	}
	double error = sqrt(sum * n / (n - 1)) / weight;
	return b->exponential ? exp(mean) * error : error;
}
