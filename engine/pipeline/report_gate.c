/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The page's table of the gate: what was asked, what was measured, and which items speak against it. */
#include <math.h>
#include <string.h>

#include "engine/pipeline/report_p.h"

static void measured_cell(FILE *f, const json_t *row)
{
	double low = cwe_report_number_of(row, "low"), high = cwe_report_number_of(row, "high");
	(void)fputs("<td class=n role=cell data-label=Measured><span class=v>", f);
	cwe_report_number(f, cwe_report_number_of(row, "measured"));
	(void)fputs("</span>", f);
	if (isfinite(low) || isfinite(high)) {
		(void)fputs("<br><span class=ci>", f);
		cwe_report_number(f, low);
		(void)fputs(" to ", f);
		cwe_report_number(f, high);
		(void)fputs("</span>", f);
	}
	(void)fputs("</td>", f);
}

static void probability_cell(FILE *f, const json_t *row)
{
	double p = cwe_report_number_of(row, "p"), adjusted = cwe_report_number_of(row, "p_adjusted");
	(void)fputs("<td class=n role=cell data-label='Adjusted p'>", f);
	cwe_report_probability(f, isfinite(adjusted) ? adjusted : p);
	if (isfinite(adjusted) && isfinite(p)) {
		(void)fputs("<br><span class=ci>alone ", f);
		cwe_report_probability(f, p);
		(void)fputs("</span>", f);
	}
	(void)fputs("</td>", f);
}

static void flipped(FILE *f, const json_t *row)
{
	const json_t *flips = json_object_get(row, "flips"), *id;
	size_t i, n = json_array_size(flips);
	if (n == 0) {
		return;
	}
	(void)fprintf(f, "<tr class=fold role=row><td class=full role=cell colspan=6><details><summary>%zu item%s flipped to the worse</summary><p>", n, n == 1 ? "" : "s");
	json_array_foreach (flips, i, id) {
		(void)fputs(i > 0 ? ", <code>" : "<code>", f);
		if (json_is_integer(id)) {
			(void)fprintf(f, "%lld", (long long)json_integer_value(id));
		} else {
			cwe_report_escape_cut(f, json_string_value(id), 200);
		}
		(void)fputs("</code>", f);
	}
	(void)fputs("</p></details></td></tr>\n", f);
}

void cwe_report_gate(FILE *f, const json_t *report)
{
	const json_t *rows = json_object_get(report, "gate"), *row;
	size_t i, adjusted = 0;
	if (json_array_size(rows) == 0) {
		return;
	}
	cwe_report_section(f, "gate", "Gate");
	cwe_report_box(f, "Gate");
	(void)fputs("<table class=cards role=table><caption>The conditions that the job set</caption><thead role=rowgroup><tr role=row><th scope=col "
		    "role=columnheader>Measure</th><th scope=col role=columnheader>Condition</th><th scope=col role=columnheader class=n>Measured</th>"
		    "<th scope=col role=columnheader class=n>Bound</th><th scope=col role=columnheader class=n>Adjusted p</th><th scope=col "
		    "role=columnheader>Result</th></tr></thead><tbody role=rowgroup>\n", f);
	json_array_foreach (rows, i, row) {
		int passed = json_is_true(json_object_get(row, "passed"));
		(void)fputs("<tr role=row><th scope=row role=rowheader dir=auto>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "metric"));
		(void)fputs("</th><td class=full role=cell>", f);
		cwe_report_condition(f, row);
		(void)fputs("</td>", f);
		measured_cell(f, row);
		(void)fputs("<td class=n role=cell data-label=Bound>", f);
		cwe_report_number(f, cwe_report_number_of(row, "bound"));
		(void)fputs("</td>", f);
		probability_cell(f, row);
		adjusted += isfinite(cwe_report_number_of(row, "p_adjusted"));
		(void)fprintf(f, "<td class='full %s' role=cell><span aria-hidden=true>%s</span> %s</td></tr>\n", passed ? "ok" : "bad", passed ? "&#10003;" : "&#10007;",
			passed ? "passed" : "failed");
		flipped(f, row);
	}
	(void)fputs("</tbody></table></div>\n", f);
	if (adjusted > 0) {
		(void)fputs("<p class=note>Adjusted p: corrected by Holm&rsquo;s method for the number of conditions that were tested.</p>\n", f);
	}
	(void)fputs("</section>\n", f);
}
