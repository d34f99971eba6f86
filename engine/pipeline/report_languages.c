/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The same measure in several languages, as small pictures on one scale. */
#include <string.h>

#include "engine/pipeline/report_p.h"

#define PANELS_MAX 60u /* in one figure */

/* The language that a row is about: a group that is one, else the evaluation's own; NULL where it has none. */
static const char *language_of(const json_t *row)
{
	const char *group = cwe_report_text_of(row, "group"), *language = cwe_report_text_of(row, "language");
	if (group[0] != '\0') {
		return cwe_report_language(group) != NULL ? group : NULL;
	}
	return language[0] != '\0' ? language : NULL;
}

static int same_measure(const json_t *a, const json_t *b)
{
	return strcmp(cwe_report_text_of(a, "benchmark"), cwe_report_text_of(b, "benchmark")) == 0 &&
		strcmp(cwe_report_text_of(a, "metric"), cwe_report_text_of(b, "metric")) == 0;
}

/* Whether an earlier row is of the same measure in the same language. */
static int is_repeated(const json_t *rows, size_t at)
{
	const json_t *row = json_array_get(rows, at);
	for (size_t i = 0; i < at; i++) {
		const json_t *other = json_array_get(rows, i);
		const char *language = language_of(other);
		if (language != NULL && same_measure(other, row) && strcmp(language, language_of(row)) == 0) {
			return 1;
		}
	}
	return 0;
}

/* The rows of a measure that get a panel, from `first` on, into at; their number. */
static size_t find_panels(const json_t *rows, size_t first, size_t *at)
{
	size_t n = 0;
	for (size_t i = first; i < json_array_size(rows) && n < PANELS_MAX; i++) {
		const json_t *row = json_array_get(rows, i);
		if (language_of(row) != NULL && same_measure(row, json_array_get(rows, first)) && !is_repeated(rows, i)) {
			at[n++] = i;
		}
	}
	return n;
}

static int is_first(const json_t *rows, size_t at)
{
	for (size_t i = 0; i < at; i++) {
		const json_t *row = json_array_get(rows, i);
		if (language_of(row) != NULL && same_measure(row, json_array_get(rows, at))) {
			return 0;
		}
	}
	return 1;
}

static void figure(FILE *f, const json_t *rows, const size_t *at, size_t n)
{
	const json_t *first = json_array_get(rows, at[0]);
	struct cwe_report_scale scale = cwe_report_scale_none();
	for (size_t i = 0; i < n; i++) {
		cwe_report_scale_add(&scale, json_array_get(rows, at[i]));
	}
	(void)fputs("<figure><h3>", f);
	cwe_report_escape(f, cwe_report_text_of(first, "metric"));
	(void)fputs(" <span class=ci>", f);
	cwe_report_escape(f, cwe_report_text_of(first, "benchmark"));
	json_int_t direction = json_integer_value(json_object_get(first, "direction"));
	(void)fputs(direction > 0 ? ", higher is better" : direction < 0 ? ", lower is better" : "", f);
	(void)fputs("</span></h3><div class=panels>\n", f);
	for (size_t i = 0; i < n; i++) {
		const json_t *row = json_array_get(rows, at[i]);
		const char *language = language_of(row), *english = cwe_report_language(language);
		(void)fputs("<div><h4>", f);
		cwe_report_escape(f, english != NULL ? english : language);
		(void)fprintf(f, " <span class=ci>%.0f items</span></h4>", json_number_value(json_object_get(row, "n")));
		cwe_report_intervals(f, row, &scale, english != NULL ? english : language, 1);
		(void)fputs("</div>\n", f);
	}
	(void)fputs("</div></figure>\n", f);
}

void cwe_report_languages(FILE *f, const json_t *report)
{
	const json_t *rows = json_object_get(report, "evaluation");
	size_t at[PANELS_MAX], figures = 0;
	for (size_t i = 0; i < json_array_size(rows) && ftell(f) < CWE_REPORT_GROUPS_END; i++) {
		if (language_of(json_array_get(rows, i)) == NULL || !is_first(rows, i)) {
			continue;
		}
		size_t n = find_panels(rows, i, at);
		if (n < 2) {
			continue;
		}
		if (figures++ == 0) {
			cwe_report_section(f, "languages", "By language");
			cwe_report_legend(f);
		}
		figure(f, rows, at, n);
	}
	if (figures > 0) {
		(void)fputs("<p class=note>The pictures of one measure share their scale, so that they can be compared.</p></section>\n", f);
	}
}
