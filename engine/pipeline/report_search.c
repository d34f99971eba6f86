/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What a search for the least protection tried: size against damage, one curve for each condition of the gate. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/chart.h"
#include "engine/pipeline/report_p.h"

#define CURVES_MAX 8u

/* The row of a condition in one try, or NULL: not every try judges all of them. */
static const json_t *find(const json_t *try, const json_t *like)
{
	const json_t *row;
	size_t i;
	json_array_foreach (json_object_get(try, "gate"), i, row) {
		if (strcmp(cwe_report_text_of(row, "metric"), cwe_report_text_of(like, "metric")) == 0 &&
			strcmp(cwe_report_text_of(row, "condition"), cwe_report_text_of(like, "condition")) == 0) {
			return row;
		}
	}
	return NULL;
}

static int compare_x(const void *a, const void *b)
{
	double x = ((const struct cwe_chart_point *)a)->x, y = ((const struct cwe_chart_point *)b)->x;
	return (x > y) - (x < y);
}

static void curve(FILE *f, const json_t *tries, const json_t *like)
{
	struct cwe_chart_point *point = calloc(json_array_size(tries) + 1, sizeof *point);
	const json_t *try;
	size_t i, n = 0;
	json_array_foreach (tries, i, try) {
		const json_t *row = find(try, like);
		double x = cwe_report_number_of(try, "bits_per_weight"), y = cwe_report_number_of(row, "measured");
		if (point != NULL && isfinite(x) && isfinite(y)) {
			point[n++] = (struct cwe_chart_point){.x = x, .y = y, .low = cwe_report_number_of(row, "low"),
				.high = cwe_report_number_of(row, "high"), .tip = json_is_true(json_object_get(row, "passed")) ? "passed" : "failed"};
		}
	}
	if (n >= 2) {
		const struct cwe_chart_series series = {.points = point, .n = n};
		const struct cwe_chart chart = {.x_label = "bits a weight, all scales and positions counted", .y_label = cwe_report_text_of(like, "metric"),
			.reference = cwe_report_number_of(like, "bound"), .reference_name = "bound", .series = &series, .n_series = 1};
		qsort(point, n, sizeof *point, compare_x);
		(void)fputs("<h3 dir=auto>", f);
		cwe_report_escape(f, cwe_report_text_of(like, "metric"));
		(void)fputs(" <span class=ci>", f);
		cwe_report_condition(f, like);
		(void)fputs("</span></h3>", f);
		cwe_report_box(f, "Curve");
		cwe_chart_draw(f, &chart);
		(void)fputs("</div>\n", f);
	}
	free(point);
}

/* The conditions of the last try that judged the most, each drawn once. */
static void curves(FILE *f, const json_t *tries)
{
	const json_t *widest = NULL, *try, *row;
	size_t i;
	json_array_foreach (tries, i, try) {
		const json_t *gate = json_object_get(try, "gate");
		widest = json_array_size(gate) >= json_array_size(widest) ? gate : widest;
	}
	json_array_foreach (widest, i, row) {
		if (i < CURVES_MAX) {
			curve(f, tries, row);
		}
	}
}

static void failed_cell(FILE *f, const json_t *try)
{
	const json_t *row;
	size_t i, n = 0;
	(void)fputs("<td>", f);
	json_array_foreach (json_object_get(try, "gate"), i, row) {
		if (!json_is_true(json_object_get(row, "passed"))) {
			(void)fputs(n++ > 0 ? ", " : "", f);
			cwe_report_escape(f, cwe_report_text_of(row, "metric"));
		}
	}
	(void)fputs(n > 0 ? "</td>" : "&ndash;</td>", f);
}

void cwe_report_search(FILE *f, const json_t *report)
{
	const json_t *tries = json_object_get(report, "search"), *try;
	size_t i;
	if (json_array_size(tries) == 0) {
		return;
	}
	cwe_report_section(f, "search", "Size against damage");
	(void)fputs("<p class=note>The job asked for the least protection that its gate accepts. These were tried, in this order.</p>\n", f);
	cwe_report_box(f, "What was tried");
	(void)fputs("<table><caption>What was tried</caption><thead><tr><th scope=col>Try</th><th scope=col class=n>Protected</th><th scope=col class=n>Bits a "
		    "weight</th><th scope=col>Result</th><th scope=col>Failed</th></tr></thead><tbody>\n", f);
	json_array_foreach (tries, i, try) {
		int passed = json_is_true(json_object_get(try, "passed"));
		(void)fprintf(f, "<tr><th scope=row>%zu</th>", i + 1);
		cwe_report_cell(f, 100 * cwe_report_number_of(try, "fraction"), "%.4g&nbsp;%%");
		cwe_report_cell(f, cwe_report_number_of(try, "bits_per_weight"), "%.3f");
		(void)fprintf(f, "<td class=%s>%s</td>", passed ? "ok" : "bad", passed ? "passed" : "failed");
		failed_cell(f, try);
		(void)fputs("</tr>\n", f);
	}
	(void)fputs("</tbody></table></div>\n", f);
	curves(f, tries);
	(void)fputs("</section>\n", f);
}
