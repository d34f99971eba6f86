/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Texts and cells of the pages of reports. */
#include <ctype.h>
#include <math.h>
#include <string.h>

#include "engine/pipeline/report_p.h"

static void put_escaped(FILE *f, char c)
{
	switch (c) {
	case '<':
		(void)fputs("&lt;", f);
		break;
	case '>':
		(void)fputs("&gt;", f);
		break;
	case '&':
		(void)fputs("&amp;", f);
		break;
	case '"':
		(void)fputs("&quot;", f);
		break;
	case '\'':
		(void)fputs("&#39;", f);
		break;
	default:
		/* Control characters have no place in HTML, whatever a model answered. */
		(void)fputc((unsigned char)c < ' ' && c != '\n' && c != '\t' ? ' ' : c, f);
	}
}

void cwe_report_escape(FILE *f, const char *text)
{
	for (; text != NULL && *text != '\0'; text++) {
		put_escaped(f, *text);
	}
}

void cwe_report_escape_cut(FILE *f, const char *text, size_t bytes)
{
	size_t n = text != NULL ? strlen(text) : 0, end = n;
	if (n > bytes) {
		for (end = bytes; end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80; end--) {
		}
	}
	for (size_t i = 0; i < end; i++) {
		put_escaped(f, text[i]);
	}
	(void)fputs(end < n ? "&hellip;" : "", f);
}

const char *cwe_report_text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s != NULL ? s : "";
}

double cwe_report_number_of(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);
	return json_is_number(v) ? json_number_value(v) : NAN;
}

const char *cwe_report_grouped(double x, char *buffer, size_t size)
{
	char digits[32];
	int n = isfinite(x) && fabs(x) < 1e18 ? snprintf(digits, sizeof digits, "%.0f", x) : snprintf(digits, sizeof digits, "?");
	int at = 0;
	for (int i = 0; i < n && (size_t)at + 2 < size; i++) {
		if (i > 0 && (n - i) % 3 == 0 && digits[i - 1] != '-') {
			buffer[at++] = ',';
		}
		buffer[at++] = digits[i];
	}
	buffer[at] = '\0';
	return buffer;
}

const char *cwe_report_bytes(double x, char *buffer, size_t size)
{
	static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
	size_t u = 0;
	for (; x >= 999.5 && u + 1 < sizeof unit / sizeof *unit; u++) {
		x /= 1000;
	}
	(void)snprintf(buffer, size, u == 0 ? "%.0f %s" : "%.3g %s", isfinite(x) ? x : 0.0, unit[u]);
	return buffer;
}

void cwe_report_number(FILE *f, double x)
{
	if (isfinite(x)) {
		(void)fprintf(f, "%.4g", x);
	} else {
		(void)fputs("&ndash;", f);
	}
}

void cwe_report_probability(FILE *f, double p)
{
	if (!isfinite(p)) {
		(void)fputs("&ndash;", f);
	} else if (p < 0.001) {
		(void)fputs("&lt;&nbsp;0.001", f);
	} else {
		(void)fprintf(f, "%.3f", p);
	}
}

void cwe_report_cell(FILE *f, double x, const char *format)
{
	(void)fputs("<td class=n>", f);
	if (isfinite(x)) {
		/* The formats are the callers' own constants. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		(void)fprintf(f, format, x);
#pragma GCC diagnostic pop
	} else {
		(void)fputs("&ndash;", f);
	}
	(void)fputs("</td>", f);
}

void cwe_report_evaluated(FILE *f, const json_t *row, const char *model, const char *label)
{
	const json_t *v = json_object_get(row, model), *change = json_object_get(json_object_get(row, "change"), model);
	double low = cwe_report_number_of(v, "low"), high = cwe_report_number_of(v, "high");
	(void)fprintf(f, "<td class=n role=cell data-label='%s'><span class=v>", label);
	cwe_report_number(f, cwe_report_number_of(v, "value"));
	(void)fputs("</span>", f);
	if (isfinite(low) && isfinite(high)) {
		(void)fprintf(f, "<br><span class=ci>%.4g to %.4g</span>", low, high);
	}
	if (isfinite(cwe_report_number_of(change, "value"))) {
		(void)fprintf(f, "<br><span class=ci>change %+.3g</span>", cwe_report_number_of(change, "value"));
	}
	(void)fputs("</td>", f);
}

void cwe_report_slug(FILE *f, const char *text)
{
	int gap = 0, begun = 0;
	for (; text != NULL && *text != '\0'; text++) {
		if (!isalnum((unsigned char)*text) || (unsigned char)*text >= 0x80) {
			gap = begun;
			continue;
		}
		if (gap) {
			(void)fputc('-', f);
		}
		(void)fputc(tolower((unsigned char)*text), f);
		gap = 0;
		begun = 1;
	}
}

static int is_tag(const char *text)
{
	size_t n = strlen(text), first = strcspn(text, "-");
	if (first < 2 || first > 3 || n > 16) {
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c >= 0x80 || (i < first ? !isalpha(c) : !isalnum(c) && c != '-')) {
			return 0;
		}
	}
	return text[n - 1] != '-';
}

void cwe_report_lang(FILE *f, const char *language)
{
	if (language != NULL && is_tag(language)) {
		(void)fprintf(f, " lang=\"%s\"", language);
	}
	(void)fputs(" dir=auto", f);
}

const char *cwe_report_language(const char *tag)
{
	static const char *const known[][2] = {{"ar", "Arabic"}, {"bn", "Bengali"}, {"cs", "Czech"}, {"da", "Danish"}, {"de", "German"},
		{"el", "Greek"}, {"en", "English"}, {"es", "Spanish"}, {"fa", "Persian"}, {"fi", "Finnish"}, {"fr", "French"}, {"he", "Hebrew"},
		{"hi", "Hindi"}, {"id", "Indonesian"}, {"it", "Italian"}, {"ja", "Japanese"}, {"jv", "Javanese"}, {"ko", "Korean"},
		{"nl", "Dutch"}, {"no", "Norwegian"}, {"pl", "Polish"}, {"pt", "Portuguese"}, {"ro", "Romanian"}, {"ru", "Russian"},
		{"sv", "Swedish"}, {"sw", "Swahili"}, {"ta", "Tamil"}, {"te", "Telugu"}, {"th", "Thai"}, {"tr", "Turkish"},
		{"uk", "Ukrainian"}, {"ur", "Urdu"}, {"vi", "Vietnamese"}, {"zh", "Chinese"}};
	for (size_t i = 0; tag != NULL && i < sizeof known / sizeof *known; i++) {
		if (strcmp(tag, known[i][0]) == 0) {
			return known[i][1];
		}
	}
	return NULL;
}

void cwe_report_condition(FILE *f, const json_t *row)
{
	const char *condition = cwe_report_text_of(row, "condition"), *than = cwe_report_text_of(row, "than");
	double asked = cwe_report_number_of(row, "asked"), confidence = cwe_report_number_of(row, "confidence");
	const char *model = strcmp(than, "quantized") == 0 ? "plainly quantized model" : "original";
	if (strcmp(condition, "at-most") == 0 || strcmp(condition, "at-least") == 0) {
		(void)fprintf(f, "%s %.4g", strcmp(condition, "at-most") == 0 ? "at most" : "at least", asked);
	} else if (strcmp(condition, "at-most-times") == 0 || strcmp(condition, "at-least-times") == 0) {
		(void)fprintf(f, "%s %.4g times the %s", condition[3] == 'm' ? "at most" : "at least", asked, model);
	} else if (strcmp(condition, "worse-by-at-most") == 0) {
		(void)fprintf(f, "worse than the %s by at most %.4g", model, asked);
	} else if (strcmp(condition, "not-worse-by") == 0) {
		(void)fprintf(f, "shown to be worse than the %s by less than %.4g", model, asked);
	} else {
		cwe_report_escape(f, condition);
		(void)fprintf(f, " %.4g%s%s", isfinite(asked) ? asked : 0.0, than[0] != '\0' ? " than the " : "", than[0] != '\0' ? model : "");
	}
	if (isfinite(confidence)) {
		(void)fprintf(f, ", with %.4g&nbsp;%% confidence", confidence <= 1 ? 100 * confidence : confidence);
	}
}

int cwe_report_is_whole(const json_t *row)
{
	const char *group = cwe_report_text_of(row, "group");
	return group[0] == '\0';
}
