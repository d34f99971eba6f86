/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Intervals of shares and of paired differences of shares. */
#include <math.h>

#include "engine/statistics/statistics.h"

void cwe_wilson(double hits, double n, double confidence, double *ret_low, double *ret_high)
{
	double z = cwe_normal_quantile(0.5 + confidence / 2);
	*ret_low = *ret_high = NAN;
	if (!(n > 0)) {
		return;
	}
	double p = hits / n, z2 = z * z / n;
	double centre = (p + z2 / 2) / (1 + z2), half = sqrt(z2 * p * (1 - p) + z2 * z2 / 4) / (1 + z2);
	/* Rounding must not leave the bounds of a share, nor exclude what was seen. */
	*ret_low = hits <= 0 ? 0 : fmax(0, centre - half);
	*ret_high = hits >= n ? 1 : fmin(1, centre + half);
}

struct cwe_interval cwe_paired_rates(double up, double down, double n, double confidence, double *ret_centre, double *ret_error)
{
	struct cwe_interval r = {NAN, NAN, NAN};
	double z = cwe_normal_quantile(0.5 + confidence / 2), all = n + 2, more = up + 0.5, fewer = down + 0.5;
	double centre = (more - fewer) / all;
	double error = sqrt(fmax(0, more + fewer - (more - fewer) * (more - fewer) / all)) / all;
	if (n > 0) {
		r = (struct cwe_interval){(up - down) / n, fmax(-1, centre - z * error), fmin(1, centre + z * error)};
	}
	if (ret_centre != NULL) {
		*ret_centre = n > 0 ? centre : NAN;
	}
	if (ret_error != NULL) {
		*ret_error = n > 0 ? error : NAN;
	}
	return r;
}
