/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The report as one HTML page. */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/report.h"
#include "engine/pipeline/report_p.h"

/* A count with commas between thousands. */
static const char *grouped(double x, char *buffer, size_t size)
{
	char digits[32];
	int n = snprintf(digits, sizeof digits, "%.0f", x), at = 0;
	for (int i = 0; i < n && (size_t)at + 2 < size; i++) {
		if (i > 0 && (n - i) % 3 == 0 && digits[i - 1] != '-') {
			buffer[at++] = ',';
		}
		buffer[at++] = digits[i];
	}
	buffer[at] = '\0';
	return buffer;
}

static void head(FILE *f, const json_t *report)
{
	const json_t *job = json_object_get(report, "job");
	const char *name = cwe_report_text_of(job, "name");
	const json_t *adapter;
	size_t i;
	(void)fputs("<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'><title>cwpd report: ", f);
	cwe_report_escape(f, name[0] != '\0' ? name : cwe_report_text_of(job, "output"));
	(void)fprintf(f, "</title><style>%s</style></head><body>\n<h1>", cwe_report_style);
	cwe_report_escape(f, name[0] != '\0' ? name : "Quantization report");
	(void)fputs("</h1><p class=sub><code>", f);
	cwe_report_escape(f, cwe_report_text_of(job, "model"));
	json_array_foreach (json_object_get(job, "adapter"), i, adapter) {
		(void)fputs("</code> + <code>", f);
		cwe_report_escape(f, json_string_value(adapter));
	}
	(void)fputs("</code> &rarr; <code>", f);
	cwe_report_escape(f, cwe_report_text_of(job, "output"));
	(void)fputs("</code></p>\n", f);
}

static void converted(FILE *f, const json_t *report)
{
	const json_t *c = json_object_get(report, "converted");
	if (!json_is_object(c)) {
		return;
	}
	(void)fputs("<p>Converted from the output <code>", f);
	cwe_report_escape(f, cwe_report_text_of(c, "from"));
	(void)fputs("</code> to the format ", f);
	cwe_report_escape(f, cwe_report_text_of(c, "format"));
	(void)fputs(", carrier ", f);
	cwe_report_escape(f, cwe_report_text_of(c, "carrier"));
	(void)fputs(", without quantizing again. Sizes and schemes are those of this output; all else is what the job that made "
		    "the other one reported, evaluations included.</p>\n", f);
}

static void verdict(FILE *f, const json_t *report)
{
	const json_t *p = json_object_get(report, "protection"), *size = json_object_get(report, "size");
	double weights = cwe_report_number_of(p, "weights"), kept = cwe_report_number_of(p, "protected");
	int rejected = json_is_true(json_object_get(report, "rejected"));
	if (json_array_size(json_object_get(report, "gate")) > 0) {
		(void)fprintf(f, "<p class=%s>%s</p>\n", rejected ? "bad" : "ok",
			rejected ? "Rejected by its gate." : "Accepted by its gate.");
	}
	char all[48], some[48];
	(void)fprintf(f, "<p>%s weights were quantized, %s of them (%.2f&nbsp;%%) kept exactly; stored at %.2f bits a weight "
		"(all scales and positions counted).</p>\n", grouped(weights, all, sizeof all), grouped(kept, some, sizeof some),
		weights > 0 ? 100 * kept / weights : 0.0, cwe_report_number_of(size, "bits_per_weight"));
}

static void warnings(FILE *f, const json_t *report)
{
	const json_t *rows = json_object_get(report, "warnings");
	size_t i;
	json_t *row;
	if (json_array_size(rows) == 0) {
		return;
	}
	(void)fputs("<h2>Warnings</h2><ul>\n", f);
	json_array_foreach (rows, i, row) {
		(void)fputs("<li>", f);
		cwe_report_escape(f, json_string_value(row));
		(void)fputs("</li>\n", f);
	}
	(void)fputs("</ul>\n", f);
}

/* How many items, and how many were left out because the job calibrates on them. */
static void items(FILE *f, const json_t *row)
{
	json_int_t excluded = json_integer_value(json_object_get(row, "excluded"));
	double n = cwe_report_number_of(row, "n");
	(void)fputs("<td class=n>", f);
	if (isfinite(n)) {
		(void)fprintf(f, "%.0f", n);
	} else {
		(void)fputs("&ndash;", f);
	}
	if (excluded > 0) {
		(void)fprintf(f, "<br><span class=ci>%lld excluded</span>", (long long)excluded);
	}
	(void)fputs("</td>", f);
}

static void evaluation(FILE *f, const json_t *report)
{
	const json_t *rows = json_object_get(report, "evaluation");
	size_t i;
	json_t *row;
	if (json_array_size(rows) == 0) {
		return;
	}
	(void)fputs("<h2>Before and after</h2><table><tr><th>Evaluation</th><th>Metric</th><th class=n>Items</th>"
		    "<th class=n>Original</th><th class=n>Plainly quantized</th><th class=n>Protected</th></tr>\n", f);
	json_array_foreach (rows, i, row) {
		(void)fputs("<tr><td>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "name"));
		(void)fputs("<br><span class=ci>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "benchmark"));
		(void)fputs("</span></td><td>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "metric"));
		json_int_t direction = json_integer_value(json_object_get(row, "direction"));
		double ideal = cwe_report_number_of(row, "ideal");
		if (direction != 0) {
			(void)fprintf(f, "<br><span class=ci>%s is better</span>", direction > 0 ? "higher" : "lower");
		} else if (isfinite(ideal)) {
			(void)fprintf(f, "<br><span class=ci>ideal %.4g</span>", ideal);
		}
		(void)fputs("</td>", f);
		items(f, row);
		cwe_report_evaluated(f, row, "original");
		cwe_report_evaluated(f, row, "quantized");
		cwe_report_evaluated(f, row, "protected");
		(void)fputs("</tr>\n", f);
	}
	(void)fputs("</table><p class=note>Below each value: 95&nbsp;% confidence intervals; flips are items whose outcome differs from "
		    "the original model's; excluded items are what the job calibrates on.</p>\n", f);
}

static void gate(FILE *f, const json_t *report)
{
	const json_t *rows = json_object_get(report, "gate");
	size_t i;
	json_t *row;
	if (json_array_size(rows) == 0) {
		return;
	}
	(void)fputs("<h2>Gate</h2><table><tr><th>Metric</th><th>Condition</th><th class=n>Measured</th><th class=n>Bound</th>"
		    "<th>Result</th></tr>\n", f);
	json_array_foreach (rows, i, row) {
		int passed = json_is_true(json_object_get(row, "passed"));
		(void)fputs("<tr><td>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "metric"));
		(void)fputs("</td><td>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "condition"));
		(void)fprintf(f, " %.4g, than ", cwe_report_number_of(row, "asked"));
		cwe_report_escape(f, cwe_report_text_of(row, "than"));
		(void)fputs("</td>", f);
		cwe_report_cell(f, cwe_report_number_of(row, "measured"), "%.4g");
		cwe_report_cell(f, cwe_report_number_of(row, "bound"), "%.4g");
		(void)fprintf(f, "<td class=%s>%s</td></tr>\n", passed ? "ok" : "bad", passed ? "passed" : "failed");
	}
	(void)fputs("</table>\n", f);
}

/* Protected weights by layer, as bars. */
static void layers(FILE *f, const json_t *report)
{
	const json_t *modules = json_object_get(json_object_get(report, "protection"), "per_module");
	double *sum = NULL, most = 0;
	size_t n = 0;
	const char *name;
	json_t *count;
	json_object_foreach ((json_t *)(uintptr_t)modules, name, count) {
		unsigned long layer;
		if (sscanf(name, "model.layers.%lu.", &layer) != 1 || layer >= 10000) {
			continue;
		}
		if (layer >= n) {
			double *more = realloc(sum, (layer + 1) * sizeof *sum);
			if (more == NULL) {
				break;
			}
			sum = more;
			for (; n <= layer; n++) {
				sum[n] = 0;
			}
		}
		sum[layer] += json_number_value(count);
		most = sum[layer] > most ? sum[layer] : most;
	}
	if (most > 0) {
		double width = 880.0 / (double)n;
		char count_text[48];
		(void)fputs("<h2>Where the protected weights lie</h2><svg width=960 height=190 viewBox='0 0 960 190' role=img "
			    "aria-label='Protected weights by layer'>", f);
		for (size_t i = 0; i < n; i++) {
			double height = 140 * sum[i] / most;
			(void)fprintf(f, "<rect x='%.1f' y='%.1f' width='%.1f' height='%.1f' fill='#3567b5'><title>layer %zu: %.0f weights"
				"</title></rect>", 70 + (double)i * width, 150 - height, width * 0.8, height, i, sum[i]);
			if (n <= 40 || i % 10 == 0) {
				(void)fprintf(f, "<text x='%.1f' y='166' font-size='10' text-anchor='middle' fill='#46536a'>%zu</text>",
					70 + ((double)i + 0.4) * width, i);
			}
		}
		(void)fprintf(f, "<text x='62' y='18' font-size='10' text-anchor='end' fill='#46536a'>%s</text><text x='510' y='184' "
			"font-size='11' text-anchor='middle' fill='#46536a'>layer</text></svg>\n",
			grouped(most, count_text, sizeof count_text));
	}
	free(sum);
}

/* How the sets became one score, and what it could not judge. */
static void scoring(FILE *f, const json_t *protection)
{
	const json_t *s = json_object_get(protection, "scoring"), *unseen = json_object_get(protection, "unseen_experts");
	size_t n = json_array_size(unseen);
	if (json_is_object(s)) {
		(void)fputs("<p class=note>Scored by ", f);
		cwe_report_escape(f, cwe_report_text_of(s, "plugin"));
		(void)fputs(json_is_true(json_object_get(s, "error_aware")) ? ", times the quantizer's squared error" : "", f);
		(void)fputs("; sets combined by ", f);
		cwe_report_escape(f, cwe_report_text_of(s, "combine"));
		(void)fputs(", utility: ", f);
		cwe_report_escape(f, cwe_report_text_of(s, "utility"));
		(void)fprintf(f, ", beta %.4g. %.2f&nbsp;%% of the weights have a score of zero or less.</p>\n", cwe_report_number_of(s, "beta"),
			100 * cwe_report_number_of(protection, "nonpositive_share"));
	}
	if (n > 0) {
		(void)fprintf(f, "<p class=note>No calibration token reached %zu experts:", n);
		for (size_t i = 0; i < n && i < 20; i++) {
			(void)fputs(i > 0 ? ", " : " ", f);
			cwe_report_escape(f, json_string_value(json_array_get(unseen, i)));
		}
		(void)fputs(n > 20 ? " and others.</p>\n" : ".</p>\n", f);
	}
}

static void top_modules(FILE *f, const json_t *report)
{
	const json_t *rows = json_object_get(json_object_get(report, "protection"), "top_modules");
	size_t i;
	json_t *row;
	if (json_array_size(rows) == 0) {
		return;
	}
	(void)fputs("<h2>Modules protected most</h2><table><tr><th>Module</th><th class=n>Weights</th><th class=n>Protected</th>"
		    "<th class=n>Share</th></tr>\n", f);
	json_array_foreach (rows, i, row) {
		(void)fputs("<tr><td>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "module"));
		(void)fputs("</td>", f);
		cwe_report_cell(f, cwe_report_number_of(row, "weights"), "%.0f");
		cwe_report_cell(f, cwe_report_number_of(row, "protected"), "%.0f");
		cwe_report_cell(f, 100 * cwe_report_number_of(row, "share"), "%.2f %%");
		(void)fputs("</tr>\n", f);
	}
	(void)fputs("</table>\n", f);
}

static void sets(FILE *f, const json_t *report)
{
	const json_t *rows = json_object_get(json_object_get(report, "protection"), "sets");
	size_t i;
	json_t *row;
	if (json_array_size(rows) == 0) {
		return;
	}
	(void)fputs("<h2>Calibration</h2><table><tr><th>Set</th><th>Role</th><th class=n>Samples</th><th class=n>Passed over</th>"
		    "<th class=n>Tokens</th><th class=n>Mean loss</th><th class=n>Share of the score</th><th class=n>Share before weighing</th></tr>\n", f);
	json_array_foreach (rows, i, row) {
		(void)fputs("<tr><td>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "name"));
		(void)fputs("</td><td>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "role"));
		(void)fputs("</td>", f);
		cwe_report_cell(f, cwe_report_number_of(row, "samples"), "%.0f");
		cwe_report_cell(f, cwe_report_number_of(row, "passed_over"), "%.0f");
		cwe_report_cell(f, cwe_report_number_of(row, "tokens"), "%.0f");
		cwe_report_cell(f, cwe_report_number_of(row, "loss"), "%.4g");
		cwe_report_cell(f, 100 * cwe_report_number_of(row, "share"), "%.2f %%");
		cwe_report_cell(f, 100 * cwe_report_number_of(row, "raw_share"), "%.2f %%");
		(void)fputs("</tr>\n", f);
	}
	(void)fputs("</table>\n", f);
	scoring(f, json_object_get(report, "protection"));
}

static void stages(FILE *f, const json_t *report)
{
	const json_t *rows = json_object_get(report, "stages");
	size_t i;
	json_t *row;
	(void)fputs("<h2>Run</h2><table><tr><th>Stage</th><th class=n>Seconds</th><th class=n>Peak memory, MiB</th></tr>\n", f);
	json_array_foreach (rows, i, row) {
		(void)fputs("<tr><td>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "name"));
		(void)fputs("</td>", f);
		cwe_report_cell(f, cwe_report_number_of(row, "seconds"), "%.2f");
		cwe_report_cell(f, cwe_report_number_of(row, "peak_memory_bytes") / 1048576.0, "%.0f");
		(void)fputs("</tr>\n", f);
	}
	(void)fputs("</table><p class=note>Backend: ", f);
	cwe_report_escape(f, cwe_report_text_of(report, "backend"));
	(void)fprintf(f, "; stated bounds: memory %.0f MiB, scratch %.0f MiB.%s</p>\n",
		cwe_report_number_of(json_object_get(report, "bounds"), "memory") / 1048576.0,
		cwe_report_number_of(json_object_get(report, "bounds"), "scratch") / 1048576.0,
		json_is_true(json_object_get(report, "scores_cached")) ? " An earlier job had measured the scores." : "");
}

int cwe_report_html(const json_t *report, char **ret_html, size_t *ret_length)
{
	char *html = NULL;
	size_t length = 0;
	FILE *f = open_memstream(&html, &length);
	if (f == NULL) {
		return -ENOMEM;
	}
	head(f, report);
	converted(f, report);
	verdict(f, report);
	warnings(f, report);
	evaluation(f, report);
	gate(f, report);
	layers(f, report);
	top_modules(f, report);
	sets(f, report);
	stages(f, report);
	(void)fputs("</body></html>\n", f);
	int failed = ferror(f);
	if (fclose(f) != 0 || failed) {
		free(html);
		return -ENOMEM;
	}
	*ret_html = html;
	*ret_length = length;
	return 0;
}
