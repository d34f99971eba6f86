/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Paired changes: items whose choice differs from the original's, in which direction, and drift of the answers. */
#include <math.h>
#include <string.h>

#include "engine/pipeline/outcomes.h"
#include "engine/pipeline/report_p.h"

enum { WIDTH = 150, HEIGHT = 16 };

static const json_t *flips_of(const json_t *row, const char *model)
{
	const json_t *v = json_object_get(json_object_get(row, "flips"), model);
	return json_is_object(v) ? v : NULL;
}

static int has_flips(const json_t *row)
{
	return cwe_report_is_whole(row) && (flips_of(row, "quantized") != NULL || flips_of(row, "protected") != NULL);
}

static int same_evaluation(const json_t *a, const json_t *b)
{
	return strcmp(cwe_report_text_of(a, "name"), cwe_report_text_of(b, "name")) == 0;
}

/* Whether two metrics with as many items as this one may have none in common: the evaluation has that many with choices. */
static int may_be_others(const json_t *rows, const json_t *row)
{
	double n = fmax(cwe_report_number_of(flips_of(row, "quantized"), "n"), cwe_report_number_of(flips_of(row, "protected"), "n"));
	const json_t *all;
	size_t i;
	json_array_foreach (rows, i, all) {
		if (cwe_report_is_whole(all) && same_evaluation(all, row) && strcmp(cwe_report_text_of(all, "metric"), CWE_FLIPS) == 0) {
			return 2 * n <= cwe_report_number_of(all, "n");
		}
	}
	return 0;
}

/* Metrics of one evaluation that rest on the same choices have the same flips: the first speaks for all. Other items may have
 * as many by chance. */
static int is_repeated(const json_t *rows, size_t at)
{
	const json_t *row = json_array_get(rows, at);
	if (may_be_others(rows, row)) {
		return 0;
	}
	for (size_t i = 0; i < at; i++) {
		const json_t *other = json_array_get(rows, i);
		if (has_flips(other) && same_evaluation(other, row) &&
			json_equal(json_object_get(other, "flips"), json_object_get(row, "flips"))) {
			return 1;
		}
	}
	return 0;
}

/* Left of the middle what fell, right of it what rose; full: the length of half the picture. */
static void diverging(FILE *f, double down, double up, double full)
{
	double half = WIDTH / 2.0, left = full > 0 ? half * down / full : 0, right = full > 0 ? half * up / full : 0;
	(void)fprintf(f, "<svg role=img width=%d height=%d viewBox='0 0 %d %d'><title>%.0f fell, %.0f rose</title><rect class=down x='%.1f' y='3' "
		"width='%.1f' height='10'/><rect class=up x='%.1f' y='3' width='%.1f' height='10'/><path class=axis d='M%.1f 0V%d'/></svg>",
		WIDTH, HEIGHT, WIDTH, HEIGHT, down, up, half - left, left, half, right, half, HEIGHT);
}

static void model_cells(FILE *f, const json_t *flips, double full)
{
	double n = cwe_report_number_of(flips, "n"), count = cwe_report_number_of(flips, "count");
	double up = cwe_report_number_of(flips, "up"), down = cwe_report_number_of(flips, "down");
	if (flips == NULL) {
		(void)fputs("<td class=n>&ndash;</td><td></td><td class=n>&ndash;</td>", f);
		return;
	}
	(void)fputs("<td class=n><span class=v>", f);
	cwe_report_number(f, count);
	(void)fputs("</span>", f);
	if (n > 0 && isfinite(count)) {
		(void)fprintf(f, "<br><span class=ci>%.3g&nbsp;%% of %.0f</span>", 100 * count / n, n);
	}
	(void)fputs("</td><td>", f);
	if (isfinite(up) && isfinite(down)) {
		diverging(f, down, up, full);
		(void)fprintf(f, "<span class=ci>%.0f fell, %.0f rose</span>", down, up);
	}
	(void)fputs("</td><td class=n>", f);
	cwe_report_probability(f, cwe_report_number_of(flips, "p"));
	(void)fputs("</td>", f);
}

static double most(const json_t *row)
{
	static const char *const model[] = {"quantized", "protected"}, *const side[] = {"up", "down"};
	double full = 0;
	for (int m = 0; m < 2; m++) {
		for (int s = 0; s < 2; s++) {
			double x = cwe_report_number_of(flips_of(row, model[m]), side[s]);
			full = x > full ? x : full;
		}
	}
	return full;
}

static void table(FILE *f, const json_t *rows)
{
	size_t i;
	const json_t *row;
	cwe_report_box(f, "Flips");
	(void)fputs("<table><caption>Items whose choice differs from the original&rsquo;s</caption><thead><tr><td></td><th scope=colgroup colspan=3>"
		    "Plainly quantized</th><th scope=colgroup colspan=3>Protected</th></tr><tr><th scope=col>Evaluation</th><th scope=col class=n>Flips</th>"
		    "<th scope=col>Direction</th><th scope=col class=n>p</th><th scope=col class=n>Flips</th><th scope=col>Direction</th>"
		    "<th scope=col class=n>p</th></tr></thead><tbody>\n", f);
	json_array_foreach (rows, i, row) {
		if (!has_flips(row) || is_repeated(rows, i)) {
			continue;
		}
		(void)fputs("<tr><th scope=row>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "name"));
		(void)fputs("<br><span class=ci>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "metric"));
		(void)fputs("</span></th>", f);
		model_cells(f, flips_of(row, "quantized"), most(row));
		model_cells(f, flips_of(row, "protected"), most(row));
		(void)fputs("</tr>\n", f);
	}
	(void)fputs("</tbody></table></div>\n<p class=note>Fell and rose: items whose value is lower, or higher, than the original&rsquo;s. p: how often "
		    "chance alone would push them to one side at least as much (McNemar&rsquo;s exact test).</p>\n", f);
}

/* Metrics that say how far answers moved, whatever was right. */
static int is_drift(const json_t *row)
{
	const char *metric = cwe_report_text_of(row, "metric"), *benchmark = cwe_report_text_of(row, "benchmark");
	return cwe_report_is_whole(row) && (strncmp(metric, "kl", 2) == 0 || strstr(metric, "_kl") != NULL || strstr(metric, "drift") != NULL ||
		strstr(benchmark, "drift") != NULL);
}

static void drift(FILE *f, const json_t *rows)
{
	size_t i, n = 0;
	const json_t *row;
	json_array_foreach (rows, i, row) {
		if (!is_drift(row)) {
			continue;
		}
		if (n++ == 0) {
			cwe_report_box(f, "Drift");
			(void)fputs("<table><caption>How far answers moved from the original&rsquo;s</caption><thead><tr><th scope=col>Measure</th><th scope=col>"
				    "Intervals</th><th scope=col class=n>Plainly quantized</th><th scope=col class=n>Protected</th></tr></thead><tbody>\n", f);
		}
		struct cwe_report_scale scale = cwe_report_scale_none();
		cwe_report_scale_add(&scale, row);
		(void)fputs("<tr><th scope=row>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "name"));
		(void)fputs("<br><span class=ci>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "metric"));
		(void)fputs("</span></th><td>", f);
		cwe_report_intervals(f, row, &scale, cwe_report_text_of(row, "metric"), 1);
		(void)fputs("</td>", f);
		cwe_report_evaluated(f, row, "quantized", "Plainly quantized");
		cwe_report_evaluated(f, row, "protected", "Protected");
		(void)fputs("</tr>\n", f);
	}
	(void)fputs(n > 0 ? "</tbody></table></div>\n" : "", f);
}

void cwe_report_flips(FILE *f, const json_t *report)
{
	const json_t *rows = json_object_get(report, "evaluation"), *row;
	size_t i, flips = 0, drifts = 0;
	json_array_foreach (rows, i, row) {
		flips += has_flips(row) != 0;
		drifts += is_drift(row) != 0;
	}
	if (flips + drifts == 0) {
		return;
	}
	cwe_report_section(f, "flips", "Flips and drift");
	if (flips > 0) {
		table(f, rows);
	}
	drift(f, rows);
	(void)fputs("</section>\n", f);
}
