/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quantiles of draws. */
#include <math.h>

#include "engine/statistics/statistics.h"

static void swap(double *a, double *b)
{
	double c = *a;
	*a = *b;
	*b = c;
}

/* The k-th smallest comes to its place, smaller ones before it, larger ones behind it (Hoare's selection). */
static void select_nth(double *x, size_t n, size_t k)
{
	size_t low = 0, high = n - 1;
	while (low < high) {
		double pivot = x[low + (high - low) / 2];
		size_t i = low, j = high;
		for (;;) {
			while (x[i] < pivot) {
				i++;
			}
			while (x[j] > pivot) {
				j--;
			}
			if (i >= j) {
				break;
			}
			swap(&x[i++], &x[j--]);
		}
		/* [low, j] <= pivot <= [j + 1, high], and j < high. */
		if (k <= j) {
			high = j;
		} else {
			low = j + 1;
		}
	}
}

double cwe_quantile(double *x, size_t n, double q)
{
	if (n == 0) {
		return NAN;
	}
	double place = (double)(n - 1) * q;
	size_t k = (size_t)place;
	k = k < n - 1 ? k : n - 1;
	select_nth(x, n, k);
	double low = x[k], high = low, part = place - (double)k;
	if (k + 1 < n && part > 0) {
		high = x[k + 1];
		for (size_t i = k + 2; i < n; i++) {
			high = x[i] < high ? x[i] : high;
		}
	}
	return low + part * (high - low);
}

void cwe_percentiles(double *x, size_t n, double confidence, double *ret_low, double *ret_high)
{
	size_t kept = 0;
	for (size_t i = 0; i < n; i++) {
		if (!isnan(x[i])) {
			x[kept++] = x[i];
		}
	}
	*ret_low = *ret_high = NAN;
	if (kept > 0 && n - kept <= n / 20) {
		*ret_low = cwe_quantile(x, kept, (1 - confidence) / 2);
		*ret_high = cwe_quantile(x, kept, (1 + confidence) / 2);
	}
}
