/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The table of the page: each measure before, after plain quantization, and with protection; groups folded under their row. */
#include <math.h>
#include <string.h>

#include "engine/pipeline/report_p.h"

/* Whether two rows are of the same metric of the same evaluation. */
static int same_metric(const json_t *a, const json_t *b)
{
	return strcmp(cwe_report_text_of(a, "name"), cwe_report_text_of(b, "name")) == 0 &&
		strcmp(cwe_report_text_of(a, "metric"), cwe_report_text_of(b, "metric")) == 0;
}

static void put_name(FILE *f, const json_t *row)
{
	cwe_report_escape(f, cwe_report_text_of(row, "name"));
	(void)fputc('.', f);
	cwe_report_escape(f, cwe_report_text_of(row, "metric"));
}

/* How to read the numbers of a metric. */
static void put_direction(FILE *f, const json_t *row)
{
	json_int_t direction = json_integer_value(json_object_get(row, "direction"));
	double ideal = cwe_report_number_of(row, "ideal");
	if (direction != 0) {
		(void)fprintf(f, "<br><span class=ci>%s is better</span>", direction > 0 ? "higher" : "lower");
	} else if (isfinite(ideal)) {
		(void)fprintf(f, "<br><span class=ci>ideal %.4g</span>", ideal);
	}
}

/* The head of an evaluation's rows: what it is, and what was left out of it. */
static void evaluation_head(FILE *f, const json_t *row)
{
	const char *language = cwe_report_text_of(row, "language"), *english = cwe_report_language(language);
	const json_t *long_ones = json_object_get(row, "too_long"), *item;
	double excluded = cwe_report_number_of(row, "excluded"), too_long = cwe_report_number_of(long_ones, "count");
	size_t i;
	(void)fputs("<tr class=of role=row><th scope=rowgroup role=rowheader colspan=6 dir=auto>", f);
	cwe_report_escape(f, cwe_report_text_of(row, "name"));
	(void)fputs("<span class=ci>", f);
	cwe_report_escape(f, cwe_report_text_of(row, "benchmark"));
	if (language[0] != '\0') {
		(void)fputs(", ", f);
		cwe_report_escape(f, english != NULL ? english : language);
	}
	if (excluded > 0) {
		(void)fprintf(f, "; %.0f items left out, which the job calibrates on", excluded);
	}
	if (too_long > 0) {
		(void)fprintf(f, "; %.0f items do not fit the model's context: ", too_long);
		json_array_foreach (json_object_get(long_ones, "items"), i, item) {
			(void)fputs(i > 0 ? ", " : "", f);
			cwe_report_escape_cut(f, json_string_value(item), 60);
		}
	}
	(void)fputs("</span></th></tr>\n", f);
}

/* The share of the gap that protection closed, or that this cannot be told. */
static void recovery_cell(FILE *f, const json_t *row)
{
	const json_t *r = json_object_get(row, "recovery");
	const char *verdict = cwe_report_text_of(r, "verdict");
	double value = cwe_report_number_of(r, "value"), low = cwe_report_number_of(r, "low"), high = cwe_report_number_of(r, "high");
	(void)fputs("<td class=n role=cell data-label=Recovered>", f);
	if (verdict[0] == '\0') {
		(void)fputs("&ndash;</td>", f);
		return;
	}
	int good = strcmp(verdict, "recovered") == 0, bad = strcmp(verdict, "worse") == 0 || strcmp(verdict, "not") == 0;
	if (isfinite(value)) {
		(void)fprintf(f, "<span class=v>%.0f&nbsp;%%</span><br>", 100 * value);
	}
	if (isfinite(value) && isfinite(low) && isfinite(high)) {
		(void)fprintf(f, "<span class=ci>%.0f to %.0f&nbsp;%%</span><br>", 100 * low, 100 * high);
	}
	(void)fprintf(f, "<span class='%s'>", good ? "ok" : bad ? "bad" : "ci");
	cwe_report_escape(f, strcmp(verdict, "not") == 0 ? "not recovered" : verdict);
	(void)fputs("</span></td>", f);
}

/* The name of a picture: the metric, and the group where the row is of one. */
static void picture(FILE *f, const json_t *row, const struct cwe_report_scale *scale)
{
	char name[160];
	const char *group = cwe_report_text_of(row, "group");
	(void)snprintf(name, sizeof name, "%.70s%s%.70s", cwe_report_text_of(row, "metric"), group[0] != '\0' ? ", " : "", group);
	cwe_report_intervals(f, row, scale, name, 1);
}

static void group_row(FILE *f, const json_t *row, const struct cwe_report_scale *scale)
{
	const char *group = cwe_report_text_of(row, "group"), *english = cwe_report_language(group);
	(void)fputs("<tr><th scope=row dir=auto>", f);
	cwe_report_escape(f, english != NULL ? english : group);
	(void)fputs("</th><td>", f);
	picture(f, row, scale);
	(void)fputs("</td>", f);
	cwe_report_cell(f, cwe_report_number_of(row, "n"), "%.0f");
	cwe_report_evaluated(f, row, "original", "Original");
	cwe_report_evaluated(f, row, "quantized", "Plainly quantized");
	cwe_report_evaluated(f, row, "protected", "Protected");
	(void)fputs("</tr>\n", f);
}

/* The groups of a metric, on one scale, folded. */
static void groups(FILE *f, const json_t *rows, const json_t *whole)
{
	struct cwe_report_scale scale = cwe_report_scale_none();
	double unsaid = cwe_report_number_of(whole, "groups_left_out");
	size_t i, n = 0, left = 0;
	const json_t *row;
	json_array_foreach (rows, i, row) {
		if (!cwe_report_is_whole(row) && same_metric(row, whole)) {
			cwe_report_scale_add(&scale, row);
			n++;
		}
	}
	if (n == 0) {
		return;
	}
	(void)fprintf(f, "<tr class=fold role=row><td class=full role=cell colspan=6><details><summary>%zu group%s of ", n, n == 1 ? "" : "s");
	put_name(f, whole);
	(void)fputs("</summary>", f);
	cwe_report_box(f, "Groups");
	(void)fputs("<table><caption>Groups of ", f);
	put_name(f, whole);
	(void)fputs(", on one scale</caption><thead><tr><th scope=col>Group</th><th scope=col>Intervals</th><th scope=col class=n>Items</th>"
		    "<th scope=col class=n>Original</th><th scope=col class=n>Plainly quantized</th><th scope=col class=n>Protected</th></tr></thead><tbody>\n", f);
	json_array_foreach (rows, i, row) {
		if (cwe_report_is_whole(row) || !same_metric(row, whole)) {
			continue;
		}
		if (ftell(f) < CWE_REPORT_GROUPS_END) {
			group_row(f, row, &scale);
		} else {
			left++;
		}
	}
	(void)fputs("</tbody></table>", f);
	if (left > 0) {
		(void)fprintf(f, "<p class=note>%zu more groups are in report.json.</p>", left);
	}
	if (unsaid > 0) {
		(void)fprintf(f, "<p class=note>%.0f further groups have no row.</p>", unsaid);
	}
	(void)fputs("</div></details></td></tr>\n", f);
}

/* An anchor's name is made of an evaluation's and a metric's; of those that would be the same only the first gets one. */
static void anchor(FILE *f, const json_t *row)
{
	(void)fputs(" id=m-", f);
	cwe_report_slug(f, cwe_report_text_of(row, "name"));
	(void)fputc('.', f);
	cwe_report_slug(f, cwe_report_text_of(row, "metric"));
}

/* The letters and digits of a text, as anchors have them, into a buffer. */
static void slug_into(char *buffer, size_t size, const json_t *row)
{
	FILE *m = fmemopen(buffer, size, "w");
	buffer[0] = '\0';
	if (m != NULL) {
		anchor(m, row);
		(void)fclose(m);
	}
}

static int is_new_anchor(const json_t *rows, size_t at)
{
	char mine[512], other[512];
	slug_into(mine, sizeof mine, json_array_get(rows, at));
	for (size_t i = 0; i < at; i++) {
		if (cwe_report_is_whole(json_array_get(rows, i))) {
			slug_into(other, sizeof other, json_array_get(rows, i));
			if (strcmp(mine, other) == 0) {
				return 0;
			}
		}
	}
	return 1;
}

static void whole_row(FILE *f, const json_t *rows, size_t at)
{
	const json_t *row = json_array_get(rows, at);
	struct cwe_report_scale scale = cwe_report_scale_none();
	double n = cwe_report_number_of(row, "n");
	cwe_report_scale_add(&scale, row);
	(void)fputs("<tr role=row", f);
	if (is_new_anchor(rows, at)) {
		anchor(f, row);
	}
	(void)fputs("><th scope=row role=rowheader><span class=v>", f);
	cwe_report_escape(f, cwe_report_text_of(row, "metric"));
	(void)fputs("</span>", f);
	put_direction(f, row);
	if (isfinite(n)) {
		(void)fprintf(f, "<br><span class=ci>%.0f items</span>", n);
	}
	(void)fputs("</th><td class=full role=cell>", f);
	picture(f, row, &scale);
	(void)fputs("</td>", f);
	cwe_report_evaluated(f, row, "original", "Original");
	cwe_report_evaluated(f, row, "quantized", "Plainly quantized");
	cwe_report_evaluated(f, row, "protected", "Protected");
	recovery_cell(f, row);
	(void)fputs("</tr>\n", f);
	groups(f, rows, row);
}

void cwe_report_results(FILE *f, const json_t *report)
{
	const json_t *rows = json_object_get(report, "evaluation"), *row;
	const char *last = NULL;
	size_t i;
	if (json_array_size(rows) == 0) {
		return;
	}
	cwe_report_section(f, "results", "Before and after");
	cwe_report_legend(f);
	cwe_report_box(f, "Results");
	(void)fputs("<table class=cards role=table><caption>Each measure of the original, of the plainly quantized, and of the protected model"
		    "</caption><thead role=rowgroup><tr role=row><th scope=col role=columnheader>Measure</th><th scope=col role=columnheader>Intervals</th>"
		    "<th scope=col role=columnheader class=n>Original</th><th scope=col role=columnheader class=n>Plainly quantized</th><th scope=col "
		    "role=columnheader class=n>Protected</th><th scope=col role=columnheader class=n>Recovered</th></tr></thead>\n", f);
	json_array_foreach (rows, i, row) {
		if (!cwe_report_is_whole(row)) {
			continue;
		}
		const char *name = cwe_report_text_of(row, "name");
		if (last == NULL || strcmp(name, last) != 0) {
			(void)fputs(last != NULL ? "</tbody>\n<tbody role=rowgroup>" : "<tbody role=rowgroup>", f);
			evaluation_head(f, row);
			last = name;
		}
		whole_row(f, rows, i);
	}
	(void)fputs(last != NULL ? "</tbody></table></div>\n" : "<tbody></tbody></table></div>\n", f);
	(void)fputs("<p class=note>Below each value its 95&nbsp;% confidence interval and the change from the original on the same items. Recovered: the "
		    "share of the gap between the original and the plainly quantized model that protection closed. &ldquo;Cannot tell&rdquo;: the gap "
		    "is not larger than the noise.</p></section>\n", f);
}
