/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The frame of the pages of reports: head, landmarks, sections. */
#include "engine/pipeline/report_p.h"

void cwe_report_begin(FILE *f, const char *kind, const json_t *job)
{
	const char *name = cwe_report_text_of(job, "name"), *model = cwe_report_text_of(job, "model");
	const json_t *adapter;
	size_t i;
	(void)fputs("<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>"
		"<meta name=color-scheme content='light dark'><link rel=icon href='data:,'><title>", f);
	cwe_report_escape_cut(f, name[0] != '\0' ? name : cwe_report_text_of(job, "output"), 200);
	(void)fprintf(f, " &ndash; cwpd %s</title><style>%s</style></head>\n<body><a class=skip href='#verdict'>Skip to the result</a>\n"
		"<header><p class=kind>%s</p><h1 dir=auto>", kind, cwe_report_style, kind);
	cwe_report_escape(f, name[0] != '\0' ? name : "Quantization report");
	(void)fputs("</h1>", f);
	if (model[0] != '\0') {
		(void)fputs("<p class=sub><code>", f);
		cwe_report_escape(f, model);
		json_array_foreach (json_object_get(job, "adapter"), i, adapter) {
			(void)fputs("</code> + <code>", f);
			cwe_report_escape(f, json_string_value(adapter));
		}
		(void)fputs("</code> &rarr; <code>", f);
		cwe_report_escape(f, cwe_report_text_of(job, "output"));
		(void)fputs("</code></p>", f);
	}
	(void)fputs("</header>\n<main>\n", f);
}

void cwe_report_end(FILE *f)
{
	(void)fputs("</main>\n<footer><p>Made by cwpd from report.json, which has every number shown here. Intervals are 95&nbsp;% confidence "
		"intervals. The page loads nothing and runs no script.</p></footer>\n</body></html>\n", f);
}

void cwe_report_section(FILE *f, const char *anchor, const char *title)
{
	(void)fprintf(f, "<section id=%s aria-labelledby=%s-title><h2 id=%s-title>%s</h2>\n", anchor, anchor, anchor, title);
}

void cwe_report_box(FILE *f, const char *label)
{
	(void)fputs("<div class=box role=region tabindex=0 aria-label=\"", f);
	cwe_report_escape(f, label);
	(void)fputs("\">", f);
}
