/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* McNemar's exact test. */
#include <math.h>

#include "engine/statistics/statistics.h"

/* log of n over k, times 2^-n. */
static double log_share(double n, double k)
{
	int sign;
	return lgamma_r(n + 1, &sign) - lgamma_r(k + 1, &sign) - lgamma_r(n - k + 1, &sign) - n * M_LN2;
}

double cwe_mcnemar(uint64_t up, uint64_t down)
{
	uint64_t k = up < down ? up : down;
	double n = (double)up + (double)down, sum = 0, term = 1;
	/* The tail relative to its largest term, from there on down to what no longer counts. */
	for (uint64_t i = k; term > 1e-17 * sum; i--) {
		sum += term;
		term *= (double)i / (n - (double)i + 1); /* n over i - 1, by n over i: 0 after the last */
	}
	return fmin(1, 2 * exp(log_share(n, (double)k)) * sum);
}
