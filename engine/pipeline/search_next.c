/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Which fraction is tried next. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/pipeline/search.h"

#define CLOSE 1.25    /* a passing and a failing fraction that differ less are not divided */
#define LEAST 1e-4    /* below it a fraction is as good as nothing */
#define LEAP 16.0     /* downwards, while nothing above 0 is known to fail */
#define DESCENT 6     /* halvings of the largest fraction at which one that passes is looked for */

/* Three digits: what a person would write. */
static double rounded(double x)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%.3g", x);
	return strtod(text, NULL);
}

static int find(const struct cwe_tried *tried, size_t count, double fraction)
{
	for (size_t i = 0; i < count; i++) {
		if (tried[i].fraction == fraction)
			return tried[i].passed ? 1 : 0;
	}
	return -1;
}

double cwe_search_next(const struct cwe_tried *tried, size_t count, double at_most)
{
	double passed = INFINITY, failed = 0, low;

	if (find(tried, count, 0) != 0)
		return find(tried, count, 0) < 0 ? 0 : -1;
	if (find(tried, count, at_most) < 0)
		return at_most;
	for (size_t i = 0; i < count; i++)
		passed = tried[i].passed && tried[i].fraction < passed ? tried[i].fraction : passed;
	if (isinf(passed)) {
		/* The largest fails: more protection may have made a metric worse that less would leave alone. */
		for (int halvings = 1; halvings <= DESCENT; halvings++) {
			low = rounded(ldexp(at_most, -halvings));
			if (find(tried, count, low) < 0)
				return low;
		}
		return -1;
	}
	for (size_t i = 0; i < count; i++)
		failed = !tried[i].passed && tried[i].fraction < passed && tried[i].fraction > failed ? tried[i].fraction : failed;
	low = failed > 0 ? sqrt(failed * passed) : passed / LEAP;
	low = rounded(low);
	if (passed < failed * CLOSE || low < LEAST || low <= failed || low >= passed)
		return -1;
	return low;
}
