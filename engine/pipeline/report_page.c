/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the pages of reports share. */
#include <math.h>

#include "engine/pipeline/report_p.h"

const char cwe_report_style[] =
	"body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#1a2230;background:#fff}"
	"h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #d8dee8;"
	"padding-bottom:.2rem}table{border-collapse:collapse;width:100%;margin:.6rem 0}"
	"th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #e6eaf0;vertical-align:top}"
	"th{font-weight:600;color:#46536a;font-size:.85rem}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}"
	".sub{color:#5a6880;margin-top:0}.ok{color:#12713a;font-weight:600}.bad{color:#b3261e;font-weight:600}"
	".ci{color:#6b7890;font-size:.82rem}svg{display:block;margin:.4rem 0;max-width:100%;height:auto}code{background:#f2f4f8;padding:0 .2rem;"
	"word-break:break-all}.note{color:#5a6880;font-size:.88rem}@media(max-width:56rem){body{margin:1rem auto}"
	"table{display:block;overflow-x:auto}}";

void cwe_report_escape(FILE *f, const char *text)
{
	for (; text != NULL && *text != '\0'; text++) {
		switch (*text) {
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
		default:
			(void)fputc(*text, f);
		}
	}
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

void cwe_report_cell(FILE *f, double x, const char *format)
{
	(void)fputs("<td class=n>", f);
	if (isfinite(x)) {
		/* The formats are this file's own constants. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		(void)fprintf(f, format, x);
#pragma GCC diagnostic pop
	} else {
		(void)fputs("&ndash;", f);
	}
	(void)fputs("</td>", f);
}

void cwe_report_evaluated(FILE *f, const json_t *row, const char *model)
{
	const json_t *v = json_object_get(row, model);
	double low = cwe_report_number_of(v, "low"), high = cwe_report_number_of(v, "high"), value = cwe_report_number_of(v, "value");
	(void)fputs("<td class=n>", f);
	if (isfinite(value)) {
		(void)fprintf(f, "%.4g", value);
	} else {
		(void)fputs("&ndash;", f);
	}
	if (isfinite(low) && isfinite(high)) {
		(void)fprintf(f, "<br><span class=ci>%.4g to %.4g</span>", low, high);
	}
	const json_t *flips = json_object_get(json_object_get(row, "flips"), model);
	if (json_is_integer(flips)) {
		(void)fprintf(f, "<br><span class=ci>%lld flips</span>", (long long)json_integer_value(flips));
	}
	(void)fputs("</td>", f);
}
