/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Statistics that evaluators share. */
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

static int by_random(const void *a, const void *b)
{
	const struct key *x = a, *y = b;
	if (x->random != y->random) {
		return x->random < y->random ? -1 : 1;
	}
	return x->index < y->index ? -1 : x->index > y->index;
}

static int by_index(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	return x < y ? -1 : x > y;
}

size_t statistic_choose_except(const struct cwp_host *host, size_t n, const unsigned char *skip, uint64_t limit,
	size_t **ret_index)
{
	const uint64_t stream = 0x6576616cu; /* "eval": one stream for all evaluators */
	size_t left = 0;
	struct key *key = malloc((n + 1) * sizeof *key);
	size_t *index = malloc((n + 1) * sizeof *index);
	if (key == NULL || index == NULL) {
		free(key);
		free(index);
		return SIZE_MAX;
	}
	for (size_t i = 0; i < n; i++) {
		if (skip == NULL || !skip[i]) {
			key[left++] = (struct key){host->random(host->ctx, stream, i), i};
		}
	}
	size_t count = limit > 0 && limit < left ? (size_t)limit : left;
	qsort(key, left, sizeof *key, by_random);
	for (size_t i = 0; i < count; i++) {
		index[i] = key[i].index;
	}
	qsort(index, count, sizeof *index, by_index);
	free(key);
	*ret_index = index;
	return count;
}

size_t statistic_choose(const struct cwp_host *host, size_t n, uint64_t limit, size_t **ret_index)
{
	return statistic_choose_except(host, n, NULL, limit, ret_index);
}
