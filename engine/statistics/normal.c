/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The standard normal distribution. */
#include <math.h>

#include "engine/statistics/statistics.h"

double cwe_normal_above(double z)
{
	return erfc(z * M_SQRT1_2) / 2;
}

double cwe_normal_quantile(double p)
{
	double low = -40, high = 40;
	if (!(p > 0 && p < 1)) {
		return NAN;
	}
	/* Halving 60 times leaves less than an ulp of any z that matters. */
	for (int i = 0; i < 60; i++) {
		double middle = (low + high) / 2;
		/* The smaller tail has the digits. */
		int above = p < 0.5 ? cwe_normal_above(-middle) > p : cwe_normal_above(middle) < 1 - p;
		*(above ? &high : &low) = middle;
	}
	return (low + high) / 2;
}
