/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Where a result comes from: the job, its inputs by digest, plugins, stages with their times, the machine. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/report_p.h"

#define INPUTS_MAX 200u

static void fact(FILE *f, const char *what, const char *text)
{
	if (text[0] == '\0') {
		return;
	}
	(void)fprintf(f, "<dt>%s</dt><dd>", what);
	cwe_report_escape(f, text);
	(void)fputs("</dd>\n", f);
}

static void number_fact(FILE *f, const char *what, double x)
{
	if (isfinite(x)) {
		(void)fprintf(f, "<dt>%s</dt><dd>%.17g</dd>\n", what, x);
	}
}

static void bytes_fact(FILE *f, const char *what, double x)
{
	char text[48];
	if (x > 0) {
		(void)fprintf(f, "<dt>%s</dt><dd>at most %s</dd>\n", what, cwe_report_bytes(x, text, sizeof text));
	}
}

static void gpus(FILE *f, const json_t *uuids)
{
	const json_t *uuid;
	size_t i;
	if (json_array_size(uuids) == 0) {
		return;
	}
	(void)fprintf(f, "<dt>GPU%s</dt><dd>", json_array_size(uuids) > 1 ? "s" : "");
	json_array_foreach (uuids, i, uuid) {
		(void)fputs(i > 0 ? ", " : "", f);
		cwe_report_escape(f, json_is_string(uuid) ? json_string_value(uuid) : "");
	}
	(void)fputs("</dd>\n", f);
}

static void facts(FILE *f, const json_t *report)
{
	const json_t *job = json_object_get(report, "job"), *bounds = json_object_get(report, "bounds"), *count,
		*device = json_object_get(report, "device");
	const char *scheme;
	(void)fputs("<dl class=facts>\n", f);
	fact(f, "Model", cwe_report_text_of(job, "model"));
	fact(f, "Output", cwe_report_text_of(job, "output"));
	fact(f, "Quantizer", cwe_report_text_of(json_object_get(job, "quantize"), "plugin"));
	json_object_foreach (json_object_get(report, "schemes"), scheme, count) {
		(void)fputs("<dt>Scheme</dt><dd>", f);
		cwe_report_escape(f, scheme);
		(void)fprintf(f, ": %lld modules</dd>\n", (long long)json_integer_value(count));
	}
	fact(f, "Format", cwe_report_text_of(json_object_get(job, "write"), "format"));
	fact(f, "Chat format", cwe_report_text_of(report, "chat"));
	number_fact(f, "Seed", cwe_report_number_of(job, "seed"));
	fact(f, "Backend", cwe_report_text_of(report, "backend"));
	fact(f, "Precision of products", cwe_report_text_of(device, "precision"));
	gpus(f, json_object_get(device, "uuids"));
	fact(f, "No GPU", cwe_report_text_of(device, "why"));
	fact(f, "cwpd", cwe_report_text_of(report, "cwpd"));
	fact(f, "Job digest", cwe_report_text_of(report, "job_digest"));
	bytes_fact(f, "Memory", cwe_report_number_of(bounds, "memory"));
	bytes_fact(f, "GPU memory", cwe_report_number_of(bounds, "gpu_memory"));
	bytes_fact(f, "Scratch", cwe_report_number_of(bounds, "scratch"));
	number_fact(f, "Passes over layers", cwe_report_number_of(report, "layer_passes"));
	fact(f, "Scores", json_is_true(json_object_get(report, "scores_cached")) ? "measured by an earlier job" : "");
	(void)fputs("</dl>\n", f);
}

static void stages(FILE *f, const json_t *report)
{
	const json_t *rows = json_object_get(report, "stages"), *row;
	double sum = 0;
	char text[48];
	size_t i;
	json_array_foreach (rows, i, row) {
		double s = cwe_report_number_of(row, "seconds");
		sum += s > 0 ? s : 0;
	}
	if (json_array_size(rows) == 0) {
		return;
	}
	(void)fputs("<h3 id=stages>Stages</h3>", f);
	cwe_report_box(f, "Stages");
	(void)fputs("<table><caption>What took the time and the memory</caption><thead><tr><th scope=col>Stage</th><th scope=col>Share of the time</th>"
		    "<th scope=col class=n>Seconds</th><th scope=col class=n>Tokens</th><th scope=col class=n>Peak memory</th></tr></thead><tbody>\n", f);
	json_array_foreach (rows, i, row) {
		double seconds = cwe_report_number_of(row, "seconds"), tokens = cwe_report_number_of(row, "tokens");
		(void)fputs("<tr><th scope=row>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "name"));
		(void)fputs("</th><td>", f);
		cwe_report_bar(f, sum > 0 ? seconds / sum : NAN, NAN, cwe_report_text_of(row, "name"));
		(void)fputs("</td>", f);
		cwe_report_cell(f, seconds, "%.2f");
		(void)fprintf(f, "<td class=n>%s</td>", tokens > 0 ? cwe_report_grouped(tokens, text, sizeof text) : "&ndash;");
		(void)fprintf(f, "<td class=n>%s</td></tr>\n",
			cwe_report_bytes(cwe_report_number_of(row, "peak_memory_bytes"), text, sizeof text));
	}
	(void)fprintf(f, "</tbody><tfoot><tr><th scope=row>Together</th><td></td><td class=n>%.2f</td><td></td><td></td></tr></tfoot></table></div>\n", sum);
}

static void inputs(FILE *f, const json_t *report)
{
	const json_t *all = json_object_get(report, "inputs"), *one;
	const char *path;
	char text[48];
	size_t n = 0;
	if (json_object_size(all) == 0) {
		return;
	}
	(void)fprintf(f, "<h3 id=inputs>Inputs</h3><details><summary>%zu files with their digests</summary>", json_object_size(all));
	cwe_report_box(f, "Inputs");
	(void)fputs("<table><caption>Files that the job read</caption><thead><tr><th scope=col>File</th><th scope=col class=n>Size</th><th scope=col>"
		    "SHA-256</th></tr></thead><tbody>\n", f);
	json_object_foreach ((json_t *)(uintptr_t)all, path, one) {
		if (n++ == INPUTS_MAX) {
			break;
		}
		(void)fputs("<tr><th scope=row><code>", f);
		cwe_report_escape(f, path);
		(void)fprintf(f, "</code></th><td class=n>%s</td><td><code>", cwe_report_bytes(cwe_report_number_of(one, "size"), text, sizeof text));
		cwe_report_escape(f, cwe_report_text_of(one, "sha256"));
		(void)fputs("</code></td></tr>\n", f);
	}
	(void)fputs("</tbody></table></div></details>\n", f);
}

static void plugins(FILE *f, const json_t *report)
{
	const json_t *rows = json_object_get(report, "plugins"), *row;
	size_t i;
	if (json_array_size(rows) == 0) {
		return;
	}
	(void)fputs("<h3 id=plugins>Plugins</h3>", f);
	cwe_report_box(f, "Plugins");
	(void)fputs("<table><caption>What did the work</caption><thead><tr><th scope=col>Plugin</th><th scope=col>Kind</th><th scope=col>Version</th>"
		    "<th scope=col>Build</th></tr></thead><tbody>\n", f);
	json_array_foreach (rows, i, row) {
		(void)fputs("<tr><th scope=row>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "id"));
		(void)fputs("</th><td>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "kind"));
		(void)fputs("</td><td>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "version"));
		(void)fputs("</td><td><code>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "build_id"));
		(void)fputs("</code></td></tr>\n", f);
	}
	(void)fputs("</tbody></table></div>\n", f);
}

static void job(FILE *f, const json_t *report)
{
	char *text = json_dumps(json_object_get(report, "job"), JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12));
	if (text != NULL) {
		(void)fputs("<h3 id=job>Job</h3><details><summary>The job as it was understood</summary><pre tabindex=0>", f);
		cwe_report_escape_cut(f, text, 64u << 10);
		(void)fputs("</pre></details>\n", f);
	}
	free(text);
}

void cwe_report_origin(FILE *f, const json_t *report)
{
	cwe_report_section(f, "origin", "Where this comes from");
	facts(f, report);
	stages(f, report);
	plugins(f, report);
	inputs(f, report);
	job(f, report);
	(void)fputs("</section>\n", f);
}
