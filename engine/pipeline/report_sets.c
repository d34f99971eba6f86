/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the sets of calibration contributed, how scores were made of them, and where the bytes of the output go. */
#include <math.h>

#include "engine/pipeline/report_p.h"

#define UNSEEN_MAX 20u

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
		double zero = cwe_report_number_of(protection, "nonpositive_share");
		(void)fprintf(f, ", beta %.4g. %.2f&nbsp;%% of the weights have a score of zero or less.</p>\n", cwe_report_number_of(s, "beta"),
			isfinite(zero) ? 100 * zero : 0.0);
	}
	if (n > 0) {
		(void)fprintf(f, "<p class=note>No calibration token reached %zu experts:", n);
		for (size_t i = 0; i < n && i < UNSEEN_MAX; i++) {
			(void)fputs(i > 0 ? ", " : " ", f);
			cwe_report_escape(f, json_string_value(json_array_get(unseen, i)));
		}
		(void)fputs(n > UNSEEN_MAX ? " and others.</p>\n" : ".</p>\n", f);
	}
}

static void share_cell(FILE *f, const json_t *row)
{
	double share = cwe_report_number_of(row, "share"), raw = cwe_report_number_of(row, "raw_share");
	(void)fputs("<td>", f);
	cwe_report_bar(f, share, raw, cwe_report_text_of(row, "name"));
	(void)fputs("</td>", f);
	cwe_report_cell(f, 100 * share, "%.2f&nbsp;%%");
	cwe_report_cell(f, 100 * raw, "%.2f&nbsp;%%");
}

void cwe_report_sets(FILE *f, const json_t *report)
{
	const json_t *p = json_object_get(report, "protection"), *rows = json_object_get(p, "sets"), *row;
	char text[48];
	size_t i;
	if (json_array_size(rows) == 0) {
		return;
	}
	cwe_report_section(f, "sets", "What the model was calibrated on");
	cwe_report_box(f, "Sets of calibration");
	(void)fputs("<table><caption>Each set and its share of the score that chose the protected weights</caption><thead><tr><th scope=col>Set</th>"
		    "<th scope=col>Role</th><th scope=col class=n>Samples</th><th scope=col class=n>Passed over</th><th scope=col class=n>Tokens</th>"
		    "<th scope=col class=n>Mean loss</th><th scope=col>Share of the score</th><th scope=col class=n>Share</th><th scope=col class=n>"
		    "Before weighing</th></tr></thead><tbody>\n", f);
	json_array_foreach (rows, i, row) {
		(void)fputs("<tr><th scope=row dir=auto>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "name"));
		(void)fputs("</th><td>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "role"));
		(void)fputs("</td>", f);
		cwe_report_cell(f, cwe_report_number_of(row, "samples"), "%.0f");
		cwe_report_cell(f, cwe_report_number_of(row, "passed_over"), "%.0f");
		(void)fprintf(f, "<td class=n>%s</td>", cwe_report_grouped(cwe_report_number_of(row, "tokens"), text, sizeof text));
		cwe_report_cell(f, cwe_report_number_of(row, "loss"), "%.4g");
		share_cell(f, row);
		(void)fputs("</tr>\n", f);
	}
	(void)fputs("</tbody></table></div>\n<p class=note>The thin bar: the share before the sets were weighed against each other.</p>\n", f);
	scoring(f, p);
	(void)fputs("</section>\n", f);
}

void cwe_report_bytes_of(FILE *f, const json_t *report)
{
	static const struct {
		const char *key, *name;
	} part[] = {{"quantized_bytes", "Codes, scales and zero points"}, {"protected_bytes", "Protected weights and their positions"},
		{"whole_bytes", "Modules kept whole"}, {"other_bytes", "All else: embeddings, norms, files"}};
	const json_t *size = json_object_get(report, "size");
	double sum = 0;
	char text[48];
	for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
		double x = cwe_report_number_of(size, part[i].key);
		sum += x > 0 ? x : 0;
	}
	if (!(sum > 0)) {
		return;
	}
	cwe_report_section(f, "size", "Where the bytes go");
	cwe_report_box(f, "Bytes of the output");
	(void)fputs("<table><caption>What the output stores</caption><thead><tr><th scope=col>Part</th><th scope=col>Share</th><th scope=col class=n>"
		    "Size</th><th scope=col class=n>Share</th></tr></thead><tbody>\n", f);
	for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
		double x = cwe_report_number_of(size, part[i].key);
		if (!(x >= 0)) {
			continue;
		}
		(void)fprintf(f, "<tr><th scope=row>%s</th><td>", part[i].name);
		cwe_report_bar(f, x / sum, NAN, part[i].name);
		(void)fprintf(f, "</td><td class=n>%s</td>", cwe_report_bytes(x, text, sizeof text));
		cwe_report_cell(f, 100 * x / sum, "%.1f&nbsp;%%");
		(void)fputs("</tr>\n", f);
	}
	(void)fprintf(f, "</tbody><tfoot><tr><th scope=row>Together</th><td></td><td class=n>%s</td><td class=n></td></tr></tfoot></table></div></section>\n",
		cwe_report_bytes(sum, text, sizeof text));
}
