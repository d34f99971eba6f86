/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Items that flipped, with what each model made of them. Harmful texts stay folded until a reader asks for them. */
#include <math.h>
#include <string.h>

#include "engine/pipeline/report_p.h"

#define SHOWN_MAX 40u      /* items of one evaluation; the others are in report.json */
#define TEXT_BYTES 1200u

static const char *const model[] = {"original", "quantized", "protected"};
static const char *const heading[] = {"Original", "Plainly quantized", "Protected"};

/* The language of an evaluation, from its rows. */
static const char *language_of(const json_t *report, const json_t *item)
{
	const json_t *row;
	size_t i;
	json_array_foreach (json_object_get(report, "evaluation"), i, row) {
		const char *language = cwe_report_text_of(row, "language");
		if (language[0] != '\0' && strcmp(cwe_report_text_of(row, "name"), cwe_report_text_of(item, "name")) == 0) {
			return language;
		}
	}
	const char *group = cwe_report_text_of(item, "group");
	return cwe_report_language(group) != NULL ? group : NULL;
}

static void one_model(FILE *f, const json_t *answer, int k, const char *language)
{
	const json_t *choice = json_object_get(answer, "choice");
	double value = cwe_report_number_of(answer, "value");
	if (!json_is_object(answer)) {
		return;
	}
	(void)fprintf(f, "<div class=as-%s><h5>%s", model[k], heading[k]);
	if (json_is_number(choice)) {
		(void)fprintf(f, ": choice %.6g", json_number_value(choice));
	} else if (json_is_string(choice)) {
		(void)fputs(": ", f);
		cwe_report_escape_cut(f, json_string_value(choice), 200);
	}
	(void)fputs("</h5>", f);
	if (isfinite(value)) {
		(void)fprintf(f, "<span class=ci>value %.4g</span>", value);
	}
	if (cwe_report_text_of(answer, "answer")[0] != '\0') {
		(void)fputs("<p", f);
		cwe_report_lang(f, language);
		(void)fputs(">", f);
		cwe_report_escape_cut(f, cwe_report_text_of(answer, "answer"), TEXT_BYTES);
		(void)fputs("</p>", f);
	}
	(void)fputs("</div>\n", f);
}

static void texts(FILE *f, const json_t *item, const char *language)
{
	if (cwe_report_text_of(item, "prompt")[0] != '\0') {
		(void)fputs("<blockquote", f);
		cwe_report_lang(f, language);
		(void)fputs(">", f);
		cwe_report_escape_cut(f, cwe_report_text_of(item, "prompt"), TEXT_BYTES);
		(void)fputs("</blockquote>", f);
	}
	(void)fputs("<div class=three>\n", f);
	for (int k = 0; k < 3; k++) {
		one_model(f, json_object_get(item, model[k]), k, language);
	}
	(void)fputs("</div>", f);
}

static void one_item(FILE *f, const json_t *report, const json_t *item)
{
	int harmful = json_is_true(json_object_get(item, "harmful"));
	const json_t *id = json_object_get(item, "id");
	const char *group = cwe_report_text_of(item, "group"), *language = language_of(report, item);
	(void)fputs("<div class=item><h4 dir=auto>Item ", f);
	if (json_is_integer(id)) {
		(void)fprintf(f, "%lld", (long long)json_integer_value(id));
	} else {
		cwe_report_escape_cut(f, json_string_value(id), 200);
	}
	(void)fputs(" <span class=ci>", f);
	cwe_report_escape(f, cwe_report_text_of(item, "metric"));
	if (group[0] != '\0') {
		(void)fputs(", ", f);
		cwe_report_escape(f, cwe_report_language(group) != NULL ? cwe_report_language(group) : group);
	}
	(void)fputs(harmful ? "</span><span class='tag bad'>harmful text</span></h4>" : "</span></h4>", f);
	if (harmful) {
		(void)fputs("<details class=harmful><summary>Show the texts, which may be harmful or offensive</summary>", f);
	}
	texts(f, item, language);
	(void)fputs(harmful ? "</details></div>\n" : "</div>\n", f);
}

static int same_name(const json_t *a, const json_t *b)
{
	return strcmp(cwe_report_text_of(a, "name"), cwe_report_text_of(b, "name")) == 0;
}

/* All items of the evaluation that the item at `first` is the first of. */
static void evaluation(FILE *f, const json_t *report, const json_t *items, size_t first)
{
	const json_t *head = json_array_get(items, first), *item;
	size_t i, n = 0, shown = 0;
	json_array_foreach (items, i, item) {
		n += same_name(item, head) != 0;
	}
	(void)fputs("<details class=evaluation><summary><span dir=auto>", f);
	cwe_report_escape(f, cwe_report_text_of(head, "name"));
	(void)fprintf(f, "</span>: %zu item%s</summary>\n<h3 class=all dir=auto>", n, n == 1 ? "" : "s");
	cwe_report_escape(f, cwe_report_text_of(head, "name"));
	(void)fputs("</h3>\n", f);
	json_array_foreach (items, i, item) {
		if (same_name(item, head) && shown < SHOWN_MAX && ftell(f) < CWE_REPORT_ITEMS_END) {
			one_item(f, report, item);
			shown++;
		}
	}
	if (shown < n) {
		(void)fprintf(f, "<p class=note>%zu more items are in report.json.</p>", n - shown);
	}
	(void)fputs("</details>\n", f);
}

void cwe_report_items(FILE *f, const json_t *report)
{
	const json_t *items = json_object_get(report, "flipped");
	size_t n = json_array_size(items);
	if (n == 0) {
		return;
	}
	cwe_report_section(f, "items", "Items that flipped");
	(void)fputs("<p class=note>What the models made of items whose choice differs from the original&rsquo;s. Texts that may be harmful open only "
		    "on request.</p>\n", f);
	for (size_t i = 0; i < n; i++) {
		size_t j = 0;
		while (j < i && !same_name(json_array_get(items, j), json_array_get(items, i))) {
			j++;
		}
		if (j == i) {
			evaluation(f, report, items, i);
		}
	}
	(void)fputs("</section>\n", f);
}
