/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A chart of curves as SVG inside a page: axes with round numbers, points with their intervals, a legend. */
#pragma once

#include <stddef.h>
#include <stdio.h>

struct cwe_chart_point {
	double x, y;
	double low, high; /* of y; NAN: none */
	const char *tip;  /* what a pointer on the point shows; may be NULL */
};

struct cwe_chart_series {
	const char *name; /* in the legend; NULL or empty: none */
	size_t n;
	const struct cwe_chart_point *points; /* in the order in which they are joined */
};

struct cwe_chart {
	const char *x_label, *y_label;
	double reference; /* a line across; NAN: none */
	const char *reference_name;
	size_t n_series;
	const struct cwe_chart_series *series;
	size_t n_names;           /* 0: numbers on the x axis; else these names at 0, 1, .. */
	const char *const *names;
};

/* Draws into f; points that are not finite are left out. Texts are escaped. [any-thread] */
void cwe_chart_draw(FILE *f, const struct cwe_chart *chart);
