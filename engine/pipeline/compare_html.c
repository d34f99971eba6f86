/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Outputs side by side as a page. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/pipeline/compare.h"
#include "engine/pipeline/report_p.h"

/* A value with its interval below. */
static void write_cell(FILE *f, const json_t *v)
{
	double low = cwe_report_number_of(v, "low"), high = cwe_report_number_of(v, "high");
	(void)fputs("<td class=n>", f);
	cwe_report_number(f, cwe_report_number_of(v, "value"));
	if (isfinite(low) && isfinite(high)) {
		(void)fputs("<br><span class=ci>", f);
		cwe_report_number(f, low);
		(void)fputs(" to ", f);
		cwe_report_number(f, high);
		(void)fputs("</span>", f);
	}
	const json_t *flips = json_object_get(v, "flips");
	if (json_is_object(flips)) {
		(void)fprintf(f, "<br><span class=ci>%.0f flips, p ", cwe_report_number_of(flips, "count"));
		cwe_report_probability(f, cwe_report_number_of(flips, "p"));
		(void)fputs("</span>", f);
	}
	(void)fputs("</td>", f);
}

static void write_head(FILE *f, const json_t *comparison, const char *caption, int with_original)
{
	const json_t *outputs = json_object_get(comparison, "outputs"), *output;
	size_t i;
	(void)fprintf(f, "<table><caption>%s</caption><thead><tr><th scope=col>Metric</th>%s", caption,
		with_original ? "<th scope=col>Original</th>" : "");
	json_array_foreach (outputs, i, output) {
		if (i > 0 || with_original) {
			(void)fprintf(f, "<th scope=col>%zu</th>", i + 1);
		}
	}
	(void)fputs("</tr></thead><tbody>\n", f);
}

static void write_table(FILE *f, const json_t *comparison, int values)
{
	const json_t *row, *cell;
	size_t i, k;
	write_head(f, comparison, values ? "Results of all outputs, numbered as above" : "Differences to output 1 on the same items", values);
	json_array_foreach (json_object_get(comparison, "metrics"), i, row) {
		(void)fputs("<tr><th scope=row><code>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "name"));
		(void)fputc('.', f);
		cwe_report_escape(f, cwe_report_text_of(row, "metric"));
		(void)fputs("</code></th>", f);
		if (values) {
			write_cell(f, json_object_get(row, "original"));
		}
		json_array_foreach (json_object_get(row, values ? "values" : "differences"), k, cell) {
			if (k > 0 || values) {
				write_cell(f, cell);
			}
		}
		(void)fputs("</tr>\n", f);
	}
	(void)fputs("</tbody></table></div></section>\n", f);
}

int cwe_compare_html(const json_t *comparison, char **ret_html, size_t *ret_length)
{
	char *html = NULL;
	size_t length = 0, i;
	const json_t *output;
	FILE *f = open_memstream(&html, &length);
	json_t *job = json_pack("{s:s}", "name", "Comparison");
	if (f == NULL || job == NULL) {
		if (f != NULL) {
			(void)fclose(f);
		}
		free(html);
		json_decref(job);
		return -ENOMEM;
	}
	cwe_report_begin(f, "Comparison", job);
	cwe_report_section(f, "verdict", "What is compared");
	(void)fputs("<ol>", f);
	json_array_foreach (json_object_get(comparison, "outputs"), i, output) {
		(void)fputs("<li><code>", f);
		cwe_report_escape(f, json_string_value(output));
		(void)fputs("</code></li>", f);
	}
	(void)fputs("</ol></section>\n", f);
	cwe_report_section(f, "results", "Results");
	cwe_report_box(f, "Results of all outputs");
	write_table(f, comparison, 1);
	cwe_report_section(f, "differences", "Differences to the first, on the same items");
	cwe_report_box(f, "Differences to the first output");
	write_table(f, comparison, 0);
	cwe_report_end(f);
	json_decref(job);
	if (fclose(f) != 0) {
		free(html);
		return -ENOMEM;
	}
	*ret_html = html;
	*ret_length = length;
	return 0;
}
