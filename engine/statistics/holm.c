/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Holm's correction for several tests. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "engine/statistics/statistics.h"

struct ranked {
	double p;
	size_t at;
};

/* Ascending, what is no number last. */
static int ascending(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	if (isnan(x->p) || isnan(y->p)) {
		return (isnan(x->p) != 0) - (isnan(y->p) != 0);
	}
	return (x->p > y->p) - (x->p < y->p);
}

int cwe_holm(const double *p, size_t n, double *ret)
{
	struct ranked *order = calloc(n + 1, sizeof *order);
	double most = 0;
	if (order == NULL) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		order[i] = (struct ranked){p[i], i};
	}
	qsort(order, n, sizeof *order, ascending);
	for (size_t i = 0; i < n; i++) {
		/* Never less than the one of a smaller p. */
		most = fmin(1, fmax(most, (double)(n - i) * order[i].p));
		ret[order[i].at] = isnan(order[i].p) ? NAN : most;
	}
	free(order);
	return 0;
}
