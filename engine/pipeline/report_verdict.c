/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The page's first words: the verdict, the few numbers that matter, and warnings. */
#include <math.h>
#include <string.h>

#include "base/verdict.h"
#include "engine/pipeline/report_p.h"

static double or_zero(double x)
{
	return isfinite(x) ? x : 0;
}

/* What the output takes, and how much of that protection costs. */
static void size_figures(FILE *f, const json_t *report)
{
	const json_t *p = json_object_get(report, "protection"), *size = json_object_get(report, "size");
	double bits = cwe_report_number_of(size, "bits_per_weight"), weights = cwe_report_number_of(p, "weights");
	double kept = cwe_report_number_of(p, "protected"), extra = or_zero(cwe_report_number_of(size, "protected_bytes"));
	double bytes = or_zero(cwe_report_number_of(size, "quantized_bytes")) + extra + or_zero(cwe_report_number_of(size, "whole_bytes"));
	char text[48], all[48];
	if (isfinite(bits)) {
		(void)fprintf(f, "<div><dt>Size</dt><dd class=big>%.2f bits a weight</dd><dd class=more>%s for the %s quantized weights, scales and "
			"positions counted</dd></div>\n", bits, cwe_report_bytes(bytes, text, sizeof text), cwe_report_grouped(weights, all, sizeof all));
	}
	if (weights > 0 && kept > 0) {
		(void)fprintf(f, "<div><dt>What protection cost</dt><dd class=big>%.2f bits a weight</dd><dd class=more>of the size: %s of %s weights "
			"(%.2f&nbsp;%%) keep their exact values</dd></div>\n", 8 * extra / weights, cwe_report_grouped(kept, text, sizeof text),
			cwe_report_grouped(weights, all, sizeof all), 100 * kept / weights);
	} else if (weights > 0) {
		(void)fputs("<div><dt>Protection</dt><dd class=big>none</dd><dd class=more>no weight keeps its exact value</dd></div>\n", f);
	}
}

static void recovery_figure(FILE *f, const struct cwb_verdict *v)
{
	size_t damaged = v->measures - v->unclear;
	if (v->measures == 0) {
		return;
	}
	(void)fputs("<div><dt>What protection recovered</dt>", f);
	if (damaged > 0) {
		(void)fprintf(f, "<dd class=big>%zu of %zu measures</dd><dd class=more>", v->recovered, damaged);
	} else {
		(void)fputs("<dd class=big>cannot tell</dd><dd class=more>", f);
	}
	if (v->partly > 0) {
		(void)fprintf(f, "%zu more in part; ", v->partly);
	}
	if (v->not_recovered + v->worse > 0) {
		(void)fprintf(f, "%zu not; ", v->not_recovered + v->worse);
	}
	(void)fprintf(f, v->unclear > 0 ? "damage within noise in %zu</dd></div>\n" : "all damage beyond noise</dd></div>\n", v->unclear);
}

/* Answers that differ from the original's, over all evaluations with choices; the first row of each evaluation counts. */
static void flips_figure(FILE *f, const json_t *report)
{
	const json_t *rows = json_object_get(report, "evaluation"), *row;
	const char *last = "";
	double n = 0, count[2] = {0, 0};
	size_t i;
	json_array_foreach (rows, i, row) {
		const json_t *flips = json_object_get(row, "flips"), *q = json_object_get(flips, "quantized"), *p = json_object_get(flips, "protected");
		const char *name = cwe_report_text_of(row, "name");
		if (!cwe_report_is_whole(row) || !json_is_object(q) || strcmp(name, last) == 0) {
			continue;
		}
		last = name;
		n += or_zero(cwe_report_number_of(q, "n"));
		count[0] += or_zero(cwe_report_number_of(q, "count"));
		count[1] += json_is_object(p) ? or_zero(cwe_report_number_of(p, "count")) : NAN;
	}
	if (!(n > 0)) {
		return;
	}
	double shown = isfinite(count[1]) ? count[1] : count[0];
	(void)fprintf(f, "<div><dt>Answers that changed</dt><dd class=big>%.3g&nbsp;%%</dd><dd class=more>%.0f of %.0f items are decided otherwise than "
		"by the original", 100 * shown / n, shown, n);
	if (isfinite(count[1])) {
		(void)fprintf(f, "; %.3g&nbsp;%% without protection", 100 * count[0] / n);
	}
	(void)fputs("</dd></div>\n", f);
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

void cwe_report_verdict(FILE *f, const json_t *report)
{
	static const char *const sign[] = {"&#9675;", "&#10003;", "&#10007;"};
	struct cwb_verdict v;
	cwb_verdict_of(report, &v);
	(void)fprintf(f, "<section id=verdict class='verdict %s' aria-labelledby=verdict-title><h2 id=verdict-title><span aria-hidden=true>%s</span> "
		"%s</h2>\n<p>", v.name, sign[v.state], v.headline);
	cwe_report_escape(f, v.gate);
	(void)fputs("</p>", f);
	if (v.recovery[0] != '\0') {
		(void)fputs("<p>", f);
		cwe_report_escape(f, v.recovery);
		(void)fputs("</p>", f);
	}
	converted(f, report);
	(void)fputs("\n<dl class=figures>\n", f);
	recovery_figure(f, &v);
	flips_figure(f, report);
	size_figures(f, report);
	(void)fputs("</dl></section>\n", f);
}

void cwe_report_warnings(FILE *f, const json_t *report)
{
	const json_t *rows = json_object_get(report, "warnings"), *row;
	size_t i;
	if (json_array_size(rows) == 0) {
		return;
	}
	cwe_report_section(f, "warnings", "Warnings");
	(void)fputs("<div class=warnings><ul>\n", f);
	json_array_foreach (rows, i, row) {
		(void)fputs("<li>", f);
		cwe_report_escape(f, json_string_value(row));
		(void)fputs("</li>\n", f);
	}
	(void)fputs("</ul></div></section>\n", f);
}
