/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The report of a job as one HTML page: its sections in their order, and the way to them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/report.h"
#include "engine/pipeline/report_p.h"

static const struct {
	const char *anchor, *name;
	void (*write)(FILE *f, const json_t *report);
} sections[] = {
	{"warnings", "Warnings", cwe_report_warnings},
	{"results", "Before and after", cwe_report_results},
	{"gate", "Gate", cwe_report_gate},
	{"search", "Size against damage", cwe_report_search},
	{"languages", "Languages", cwe_report_languages},
	{"flips", "Flips and drift", cwe_report_flips},
	{"weights", "Protected weights", cwe_report_weights},
	{"sets", "Calibration", cwe_report_sets},
	{"size", "Bytes", cwe_report_bytes_of},
	{"items", "Items that flipped", cwe_report_items},
	{"origin", "Origin", cwe_report_origin},
};

enum { SECTIONS = sizeof sections / sizeof *sections };

/* The body comes first: only sections that have something are linked. */
static int body(const json_t *report, char **ret, size_t *ret_length, int *has)
{
	FILE *f = open_memstream(ret, ret_length);
	if (f == NULL) {
		return -ENOMEM;
	}
	for (int i = 0; i < SECTIONS; i++) {
		long before = ftell(f);
		sections[i].write(f, report);
		has[i] = ftell(f) > before;
	}
	int failed = ferror(f);
	return fclose(f) != 0 || failed ? -ENOMEM : 0;
}

static void navigation(FILE *f, const int *has)
{
	(void)fputs("<nav aria-label=Sections><ul>", f);
	for (int i = 0; i < SECTIONS; i++) {
		if (has[i]) {
			(void)fprintf(f, "<li><a href='#%s'>%s</a></li>", sections[i].anchor, sections[i].name);
		}
	}
	(void)fputs("</ul></nav>\n", f);
}

int cwe_report_html(const json_t *report, char **ret_html, size_t *ret_length)
{
	char *html = NULL, *text = NULL;
	size_t length = 0, text_length = 0;
	int has[SECTIONS];
	int r = body(report, &text, &text_length, has);
	FILE *f = r == 0 ? open_memstream(&html, &length) : NULL;
	if (f == NULL) {
		free(text);
		return -ENOMEM;
	}
	cwe_report_begin(f, "Report", json_object_get(report, "job"));
	cwe_report_verdict(f, report);
	navigation(f, has);
	(void)fwrite(text, 1, text_length, f);
	cwe_report_end(f);
	free(text);
	int failed = ferror(f);
	if (fclose(f) != 0 || failed) {
		free(html);
		return -ENOMEM;
	}
	*ret_html = html;
	*ret_length = length;
	return 0;
}
