/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Intervals by drawing units anew. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/evaluators/common/bootstrap.h"

#define STREAM 0x626f6f74u /* "boot" */

/* Draws as many units as there are, with replacement. */
static void draw(const struct cwp_host *host, uint64_t resample, size_t units, uint32_t *times)
{
	memset(times, 0, units * sizeof *times);
	for (size_t i = 0; i < units; i++) {
		uint64_t r = host->random(host->ctx, STREAM, resample * units + i);
		times[(r >> 32) * units >> 32]++;
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* The quantile between the two nearest of n sorted numbers. */
static double quantile(const double *sorted, size_t n, double q)
{
	double at = q * (double)(n - 1), below = floor(at);
	size_t i = (size_t)below, next = i + 1 < n ? i + 1 : i;
	return sorted[i] + (at - below) * (sorted[next] - sorted[i]);
}

/* Of the values of one metric; those that are none are left out. */
static struct bootstrap_interval interval_of(double *value, size_t n)
{
	double sum = 0, square = 0;
	size_t known = 0;
	for (size_t i = 0; i < n; i++) {
		if (!isnan(value[i])) {
			value[known++] = value[i];
		}
	}
	if (known < n / 2 || known < 2) {
		return (struct bootstrap_interval){NAN, NAN, NAN};
	}
	for (size_t i = 0; i < known; i++) {
		sum += value[i];
	}
	for (size_t i = 0; i < known; i++) {
		square += (value[i] - sum / (double)known) * (value[i] - sum / (double)known);
	}
	qsort(value, known, sizeof *value, by_value);
	return (struct bootstrap_interval){quantile(value, known, 0.025), quantile(value, known, 0.975),
		sqrt(square / (double)(known - 1))};
}

int bootstrap_intervals(const struct cwp_host *host, size_t units, size_t values, bootstrap_measure *measure, const void *arg,
	struct bootstrap_interval *ret)
{
	double *value = malloc((values + 1) * BOOTSTRAP_RESAMPLES * sizeof *value), *one = malloc((values + 1) * sizeof *one);
	uint32_t *times = malloc((units + 1) * sizeof *times);
	int r = value != NULL && one != NULL && times != NULL && units < UINT32_MAX ? 0 : -ENOMEM;
	for (size_t b = 0; r == 0 && units > 0 && b < BOOTSTRAP_RESAMPLES; b++) {
		draw(host, b, units, times);
		measure(arg, times, one);
		for (size_t v = 0; v < values; v++) {
			value[v * BOOTSTRAP_RESAMPLES + b] = one[v];
		}
	}
	for (size_t v = 0; r == 0 && v < values; v++) {
		ret[v] = units > 0 ? interval_of(value + v * BOOTSTRAP_RESAMPLES, BOOTSTRAP_RESAMPLES)
			: (struct bootstrap_interval){NAN, NAN, NAN};
	}
	free(value);
	free(one);
	free(times);
	return r;
}
