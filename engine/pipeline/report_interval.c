/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Small pictures beside numbers: intervals of the three models, bars of shares. */
#include <math.h>
#include <string.h>

#include "engine/pipeline/report_p.h"

enum { WIDTH = 250, MARGIN = 9, LANE = 15, LANES = 3, ENDS = 14 };

static const char *const model[LANES] = {"original", "quantized", "protected"};
static const char *const called[LANES] = {"original", "plainly quantized", "protected"};
static const char class_of[LANES] = {'o', 'q', 'p'};

struct cwe_report_scale cwe_report_scale_none(void)
{
	return (struct cwe_report_scale){.low = INFINITY, .high = -INFINITY};
}

static void widen(struct cwe_report_scale *s, double x)
{
	if (isfinite(x)) {
		s->low = x < s->low ? x : s->low;
		s->high = x > s->high ? x : s->high;
	}
}

void cwe_report_scale_add(struct cwe_report_scale *scale, const json_t *row)
{
	for (int k = 0; k < LANES; k++) {
		const json_t *v = json_object_get(row, model[k]);
		if (isfinite(cwe_report_number_of(v, "value"))) {
			widen(scale, cwe_report_number_of(v, "value"));
			widen(scale, cwe_report_number_of(v, "low"));
			widen(scale, cwe_report_number_of(v, "high"));
		}
	}
}

static double place(const struct cwe_report_scale *s, double x)
{
	double range = s->high - s->low;
	return range > 0 ? MARGIN + (WIDTH - 2 * MARGIN) * (x - s->low) / range : WIDTH / 2.0;
}

/* A circle, a square or a diamond: told apart without colours too. */
static void mark(FILE *f, int k, double x, double y)
{
	if (k == 0) {
		(void)fprintf(f, "<circle class='mark o' cx='%.1f' cy='%.1f' r='4'/>", x, y);
	} else if (k == 1) {
		(void)fprintf(f, "<rect class=q x='%.1f' y='%.1f' width='8' height='8'/>", x - 4, y - 4);
	} else {
		(void)fprintf(f, "<path class='mark p' style='fill:var(--protected);stroke-width:1' d='M%.1f %.1fl5 5-5 5-5-5z'/>", x, y - 5);
	}
}

static void describe(FILE *f, const json_t *row, const char *name)
{
	(void)fputs("<title>", f);
	cwe_report_escape_cut(f, name, 120);
	for (int k = 0; k < LANES; k++) {
		const json_t *v = json_object_get(row, model[k]);
		double value = cwe_report_number_of(v, "value"), low = cwe_report_number_of(v, "low"), high = cwe_report_number_of(v, "high");
		if (isfinite(value)) {
			(void)fprintf(f, "; %s %.4g", called[k], value);
			if (isfinite(low) && isfinite(high)) {
				(void)fprintf(f, " (%.4g to %.4g)", low, high);
			}
		}
	}
	(void)fputs("</title>", f);
}

/* Dashed: where the original is. Dotted: the ideal, where it lies in the range. */
static void guides(FILE *f, const json_t *row, const struct cwe_report_scale *scale)
{
	double original = cwe_report_number_of(json_object_get(row, "original"), "value"), ideal = cwe_report_number_of(row, "ideal");
	if (isfinite(original)) {
		(void)fprintf(f, "<path class=ref d='M%.1f 1V%d'/>", place(scale, original), LANE * LANES);
	}
	if (isfinite(ideal) && ideal >= scale->low && ideal <= scale->high && json_integer_value(json_object_get(row, "direction")) == 0) {
		(void)fprintf(f, "<path class=ideal d='M%.1f 1V%d'/>", place(scale, ideal), LANE * LANES);
	}
}

void cwe_report_intervals(FILE *f, const json_t *row, const struct cwe_report_scale *scale, const char *name, int with_ends)
{
	if (!(scale->high >= scale->low)) {
		return;
	}
	int height = LANE * LANES + 1 + (with_ends ? ENDS : 0);
	(void)fprintf(f, "<svg class=iv role=img width=%d height=%d viewBox='0 0 %d %d'>", WIDTH, height, WIDTH, height);
	describe(f, row, name);
	guides(f, row, scale);
	for (int k = 0; k < LANES; k++) {
		const json_t *v = json_object_get(row, model[k]);
		double value = cwe_report_number_of(v, "value"), low = cwe_report_number_of(v, "low"), high = cwe_report_number_of(v, "high");
		double y = LANE * (k + 0.5) + 0.5;
		if (!isfinite(value)) {
			continue;
		}
		if (isfinite(low) && isfinite(high)) {
			(void)fprintf(f, "<path class=%c d='M%.1f %.1fH%.1f'/>", class_of[k], place(scale, low), y, place(scale, high));
		}
		mark(f, k, place(scale, value), y);
	}
	if (with_ends) {
		(void)fprintf(f, "<path class=axis d='M%d %dH%d'/><text x='%d' y='%d'>%.3g</text><text x='%d' y='%d' text-anchor=end>%.3g</text>",
			MARGIN, LANE * LANES + 1, WIDTH - MARGIN, MARGIN, height - 1, scale->low, WIDTH - MARGIN, height - 1, scale->high);
	}
	(void)fputs("</svg>", f);
}

void cwe_report_legend(FILE *f)
{
	(void)fputs("<ul class=legend>", f);
	for (int k = 0; k < LANES; k++) {
		(void)fprintf(f, "<li><svg role=img width=34 height=14 viewBox='0 0 34 14'><title>mark of the %s model</title><path class=%c "
			"d='M2 7H32'/>", called[k], class_of[k]);
		mark(f, k, 17, 7);
		(void)fprintf(f, "</svg>%s</li>", called[k]);
	}
	(void)fputs("<li><svg role=img width=14 height=14 viewBox='0 0 14 14'><title>dashed line</title><path class=ref d='M7 0V14'/></svg>"
		"the original&rsquo;s value</li><li><svg role=img width=14 height=14 viewBox='0 0 14 14'><title>dotted line</title><path class=ideal "
		"d='M7 0V14'/></svg>ideal value</li></ul>\n", f);
}

void cwe_report_bar(FILE *f, double share, double other, const char *name)
{
	if (!isfinite(share)) {
		return;
	}
	double width = WIDTH * fmin(fmax(share, 0), 1), second = WIDTH * fmin(fmax(other, 0), 1);
	(void)fprintf(f, "<svg role=img width=%d height=18 viewBox='0 0 %d 18'><title>", WIDTH, WIDTH);
	cwe_report_escape_cut(f, name, 120);
	(void)fprintf(f, ": %.2f %%</title><rect class=track y='3' width='%d' height='9' rx='2'/><rect class=bar y='3' width='%.1f' height='9' rx='2'/>",
		100 * share, WIDTH, width);
	if (isfinite(other)) {
		(void)fprintf(f, "<rect class=bar2 y='14' width='%.1f' height='3'/>", second);
	}
	(void)fputs("</svg>", f);
}
