/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Curves as SVG. */
#include "engine/pipeline/chart.h"

#include <math.h>
#include <string.h>

#include "engine/pipeline/report_p.h"

enum { WIDTH = 780, HEIGHT = 330, LEFT = 90, RIGHT = 764, TOP = 16, BOTTOM = 262, TICKS = 6, COLOURS = 8 };

/* Curves are told apart by their dashes too; colours are the page's, so that they fit the dark. */
static const char *const dashes[COLOURS] = {"none", "7 3", "2 3", "9 3 2 3", "5 5", "12 4", "1 4", "8 2 2 2 2 2"};

struct axis {
	double low, high, step;
	double from, to; /* in the picture */
};

static double place(const struct axis *a, double value)
{
	return a->from + (a->to - a->from) * (value - a->low) / (a->high - a->low);
}

/* 1, 2 or 5 times a power of ten, so that about TICKS of them fill the range; the range then ends at whole steps. */
static void round_axis(struct axis *a)
{
	double range = a->high - a->low;
	if (!(range > fabs(a->high) * 1e-9)) {
		range = a->high != 0 ? fabs(a->high) * 0.1 : 1;
		a->low -= range / 2;
		a->high += range / 2;
	}
	double power = pow(10, floor(log10(range / TICKS))), parts = range / TICKS / power;
	a->step = power * (parts <= 1 ? 1 : parts <= 2 ? 2 : parts <= 5 ? 5 : 10);
	a->low = floor(a->low / a->step + 1e-9) * a->step;
	a->high = ceil(a->high / a->step - 1e-9) * a->step;
}

static void widen(struct axis *a, double value)
{
	if (isfinite(value)) {
		a->low = value < a->low ? value : a->low;
		a->high = value > a->high ? value : a->high;
	}
}

static int shown(const struct cwe_chart_point *p)
{
	return isfinite(p->x) && isfinite(p->y);
}

/* 0: there is nothing to draw. */
static int find_axes(const struct cwe_chart *c, struct axis *x, struct axis *y)
{
	size_t n = 0;
	*x = (struct axis){.low = INFINITY, .high = -INFINITY, .from = LEFT + 14, .to = RIGHT - 14};
	*y = (struct axis){.low = INFINITY, .high = -INFINITY, .from = BOTTOM, .to = TOP};
	for (size_t s = 0; s < c->n_series; s++) {
		for (size_t i = 0; i < c->series[s].n; i++) {
			const struct cwe_chart_point *p = &c->series[s].points[i];
			if (shown(p)) {
				n++;
				widen(x, p->x);
				widen(y, p->y);
				widen(y, p->low);
				widen(y, p->high);
			}
		}
	}
	if (n == 0) {
		return 0;
	}
	widen(y, c->reference);
	round_axis(y);
	if (c->n_names > 0) {
		x->low = -0.5;
		x->high = (double)c->n_names - 0.5;
		x->step = 1;
	} else {
		round_axis(x);
	}
	return 1;
}

static void label(FILE *f, double x, double y, const char *anchor, const char *text)
{
	(void)fprintf(f, "<text x='%.1f' y='%.1f' text-anchor='%s'>", x, y, anchor);
	cwe_report_escape(f, text);
	(void)fputs("</text>", f);
}

static void draw_axes(FILE *f, const struct cwe_chart *c, const struct axis *x, const struct axis *y)
{
	char text[32];
	int rows = (int)((y->high - y->low) / y->step + 0.5), columns = (int)((x->high - x->low) / x->step + 0.5);
	for (int i = 0; i <= rows; i++) {
		double value = y->low + i * y->step, at = place(y, value);
		(void)snprintf(text, sizeof text, "%.5g", fabs(value) < y->step * 1e-6 ? 0 : value);
		(void)fprintf(f, "<path class=lane d='M%d %.1fH%d'/>", LEFT, at, RIGHT);
		label(f, LEFT - 8, at + 4, "end", text);
	}
	for (size_t i = 0; i < c->n_names; i++) {
		label(f, place(x, (double)i), BOTTOM + 18, "middle", c->names[i]);
	}
	for (int i = 0; c->n_names == 0 && i <= columns; i++) {
		double value = x->low + i * x->step, at = place(x, value);
		(void)snprintf(text, sizeof text, "%.5g", fabs(value) < x->step * 1e-6 ? 0 : value);
		(void)fprintf(f, "<path class=axis d='M%.1f %dv5'/>", at, BOTTOM);
		label(f, at, BOTTOM + 18, "middle", text);
	}
	(void)fprintf(f, "<path class=axis d='M%d %dH%d'/>", LEFT, BOTTOM, RIGHT);
	label(f, (LEFT + RIGHT) / 2.0, BOTTOM + 38, "middle", c->x_label);
	(void)fprintf(f, "<text transform='translate(16 %.1f) rotate(-90)' text-anchor='middle'>", (TOP + BOTTOM) / 2.0);
	cwe_report_escape(f, c->y_label);
	(void)fputs("</text>", f);
	if (isfinite(c->reference)) {
		(void)fprintf(f, "<path class=ref d='M%d %.1fH%d'/>", LEFT, place(y, c->reference), RIGHT);
		label(f, RIGHT - 4, place(y, c->reference) - 5, "end", c->reference_name);
	}
}

static int has_interval(const struct cwe_chart_point *p)
{
	return shown(p) && isfinite(p->low) && isfinite(p->high);
}

/* The band of the intervals along a curve: up the low ends, back along the high ones. */
static void draw_band(FILE *f, const struct cwe_chart_series *series, size_t s, const struct axis *x, const struct axis *y)
{
	size_t n = 0;
	for (size_t i = 0; i < series->n; i++) {
		n += has_interval(&series->points[i]) != 0;
	}
	if (n < 2) {
		return;
	}
	char how = 'M';
	(void)fprintf(f, "<path class='band c%zu' d='", s % COLOURS);
	for (size_t i = 0; i < 2 * series->n; i++) {
		const struct cwe_chart_point *p = &series->points[i < series->n ? i : 2 * series->n - 1 - i];
		if (has_interval(p)) {
			(void)fprintf(f, "%c%.1f %.1f", how, place(x, p->x), place(y, i < series->n ? p->low : p->high));
			how = 'L';
		}
	}
	(void)fputs("Z'/>", f);
}

static void draw_curve(FILE *f, const struct cwe_chart_series *series, size_t s, const struct axis *x, const struct axis *y)
{
	char how = 'M';
	(void)fprintf(f, "<path class='curve c%zu' fill='none' stroke-dasharray='%s' d='", s % COLOURS, dashes[s % COLOURS]);
	for (size_t i = 0; i < series->n; i++) {
		const struct cwe_chart_point *p = &series->points[i];
		if (shown(p)) {
			(void)fprintf(f, "%c%.1f %.1f", how, place(x, p->x), place(y, p->y));
			how = 'L';
		}
	}
	(void)fputs("'/>", f);
}

static void draw_points(FILE *f, const struct cwe_chart_series *series, size_t s, const struct axis *x, const struct axis *y)
{
	for (size_t i = 0; i < series->n; i++) {
		const struct cwe_chart_point *p = &series->points[i];
		if (has_interval(p)) {
			(void)fprintf(f, "<path class='halo c%zu' d='M%.1f %.1fV%.1f'/>", s % COLOURS, place(x, p->x), place(y, p->low), place(y, p->high));
		}
		if (shown(p)) {
			(void)fprintf(f, "<circle class=c%zu cx='%.1f' cy='%.1f' r='3.6'><title>", s % COLOURS, place(x, p->x), place(y, p->y));
			cwe_report_escape(f, p->tip);
			(void)fputs("</title></circle>", f);
		}
	}
}

static void draw_series(FILE *f, const struct cwe_chart *c, size_t s, const struct axis *x, const struct axis *y)
{
	if (c->n_names == 0) {
		draw_band(f, &c->series[s], s, x, y);
		draw_curve(f, &c->series[s], s, x, y);
	}
	draw_points(f, &c->series[s], s, x, y);
}

/* Names one behind the other, on as many lines as they need; the number of lines. */
static int draw_legend(FILE *f, const struct cwe_chart *c)
{
	double at = LEFT;
	int line = 0;
	for (size_t s = 0; s < c->n_series; s++) {
		const char *name = c->series[s].name;
		if (name == NULL || name[0] == '\0') {
			continue;
		}
		double width = 52 + 6.4 * (double)strlen(name);
		if (at > LEFT && at + width > RIGHT) {
			at = LEFT;
			line++;
		}
		if (f != NULL) {
			double y = HEIGHT + 2 + line * 18;
			(void)fprintf(f, "<path class='halo c%zu' stroke-dasharray='%s' d='M%.1f %.1fh28'/><circle class=c%zu cx='%.1f' cy='%.1f' r='3.6'/>",
				s % COLOURS, dashes[s % COLOURS], at, y - 4, s % COLOURS, at + 14, y - 4);
			label(f, at + 34, y, "start", name);
		}
		at += width;
	}
	return at > LEFT || line > 0 ? line + 1 : 0;
}

void cwe_chart_draw(FILE *f, const struct cwe_chart *c)
{
	struct axis x, y;
	if (!find_axes(c, &x, &y)) {
		return;
	}
	int height = HEIGHT + draw_legend(NULL, c) * 18;
	(void)fprintf(f, "<svg class=wide width=%d height=%d viewBox='0 0 %d %d' role=img><title>", WIDTH, height, WIDTH, height);
	cwe_report_escape(f, c->y_label);
	(void)fputs("</title>", f);
	draw_axes(f, c, &x, &y);
	for (size_t s = 0; s < c->n_series; s++) {
		draw_series(f, c, s, &x, &y);
	}
	(void)draw_legend(f, c);
	(void)fputs("</svg>\n", f);
}
