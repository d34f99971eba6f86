/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Statistics that evaluators share. */
#define _GNU_SOURCE 1 /* qsort_r */
#include <math.h>
#include <stdlib.h>

#include "plugins/evaluators/common/statistic.h"

void statistic_wilson(double k, double n, double *ret_low, double *ret_high)
{
	double z2 = STATISTIC_Z * STATISTIC_Z, p = n > 0 ? k / n : 0;
	double centre = (p + z2 / (2 * n)) / (1 + z2 / n);
	double half = STATISTIC_Z / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n));
	*ret_low = n > 0 ? fmax(0, centre - half) : 0;
	*ret_high = n > 0 ? fmin(1, centre + half) : 1;
}

void statistic_mean(const double *x, size_t n, struct cwp_metric *metric)
{
	double sum = 0, square = 0;
	for (size_t i = 0; i < n; i++) {
		sum += x[i];
	}
	double mean = n > 0 ? sum / (double)n : NAN;
	for (size_t i = 0; i < n; i++) {
		square += (x[i] - mean) * (x[i] - mean);
	}
	metric->n = n;
	metric->value = mean;
	metric->standard_error = n > 1 ? sqrt(square / (double)(n - 1) / (double)n) : 0;
	metric->low = mean - STATISTIC_Z * metric->standard_error;
	metric->high = mean + STATISTIC_Z * metric->standard_error;
}

struct key {
	uint64_t random;
	size_t index;
};

/* A chosen order: the k-th of m of a stratum comes at (k + 1/2) / m, so that any first part has a like share of each. */
struct place {
	double at;
	struct key key;
};

static int by_stratum_and_random(const void *a, const void *b, void *arg)
{
	const struct key *x = a, *y = b;
	const size_t *stratum = arg;
	size_t s = stratum != NULL ? stratum[x->index] : 0, t = stratum != NULL ? stratum[y->index] : 0;
	if (s != t) {
		return s < t ? -1 : 1;
	}
	if (x->random != y->random) {
		return x->random < y->random ? -1 : 1;
	}
	return x->index < y->index ? -1 : x->index > y->index;
}

static int by_place(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	if (x->at != y->at) {
		return x->at < y->at ? -1 : 1;
	}
	if (x->key.random != y->key.random) {
		return x->key.random < y->key.random ? -1 : 1;
	}
	return x->key.index < y->key.index ? -1 : x->key.index > y->key.index;
}

static int by_index(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	return x < y ? -1 : x > y;
}

/* The items in the order in which they are chosen. */
static void order(const struct key *key, size_t n, const size_t *stratum, struct place *place)
{
	for (size_t first = 0, end; first < n; first = end) {
		end = first + 1;
		while (end < n && (stratum == NULL || stratum[key[end].index] == stratum[key[first].index])) {
			end++;
		}
		for (size_t i = first; i < end; i++) {
			place[i] = (struct place){((double)(i - first) + 0.5) / (double)(end - first), key[i]};
		}
	}
	qsort(place, n, sizeof *place, by_place);
}

size_t statistic_choose(const struct cwp_host *host, size_t n, const unsigned char *skip, const size_t *stratum, uint64_t limit,
	size_t **ret_index)
{
	const uint64_t stream = 0x6576616cu; /* "eval": one stream for all evaluators */
	size_t left = 0, count = SIZE_MAX;
	struct key *key = malloc((n + 1) * sizeof *key);
	struct place *place = malloc((n + 1) * sizeof *place);
	size_t *index = malloc((n + 1) * sizeof *index);
	for (size_t i = 0; key != NULL && i < n; i++) {
		if (skip == NULL || !skip[i]) {
			key[left++] = (struct key){.random = host->random(host->ctx, stream, i), .index = i};
		}
	}
	if (key != NULL && place != NULL && index != NULL) {
		count = limit > 0 && limit < left ? (size_t)limit : left;
		qsort_r(key, left, sizeof *key, by_stratum_and_random, (void *)(uintptr_t)stratum);
		order(key, left, stratum, place);
		for (size_t i = 0; i < count; i++) {
			index[i] = place[i].key.index;
		}
		qsort(index, count, sizeof *index, by_index);
		*ret_index = index;
		index = NULL;
	}
	free(index);
	free(place);
	free(key);
	return count;
}
