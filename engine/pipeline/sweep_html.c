/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The joint report of a sweep as one HTML page: a table of its points, and for each metric a chart and a table. */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/chart.h"
#include "engine/pipeline/report_p.h"
#include "engine/pipeline/sweep.h"

/* How the charts are laid out. */
struct view {
	const json_t *report, *keys, *points;
	size_t n, n_keys;
	size_t running; /* the key that runs along a curve; n_keys: none, then each point stands alone */
	int by_bits;    /* x is bits per weight, else the running key */
	size_t *series; /* of each point */
	size_t n_series;
	char **name;    /* of each series, and of each point when none runs */
};

static const json_t *value_of(const struct view *v, const json_t *point, size_t key)
{
	return json_object_get(json_object_get(point, "values"), cwe_report_text_of(json_array_get(v->keys, key), "path"));
}

static void put_value(FILE *f, const json_t *value)
{
	if (json_is_string(value)) {
		(void)fputs(json_string_value(value), f);
	} else if (json_is_boolean(value)) {
		(void)fputs(json_is_true(value) ? "true" : "false", f);
	} else {
		(void)fprintf(f, "%.6g", json_number_value(value));
	}
}

/* "scope=layer, bits=4" of all keys but the running one; NULL without memory. */
static char *name_point(const struct view *v, const json_t *point)
{
	char *name = NULL;
	size_t length = 0, said = 0;
	FILE *f = open_memstream(&name, &length);
	for (size_t k = 0; f != NULL && k < v->n_keys; k++) {
		const char *path = cwe_report_text_of(json_array_get(v->keys, k), "path"), *dot = strrchr(path, '.');
		if (k != v->running) {
			(void)fprintf(f, "%s%s=", said++ > 0 ? ", " : "", dot != NULL ? dot + 1 : path);
			put_value(f, value_of(v, point, k));
		}
	}
	if (f == NULL || fclose(f) != 0) {
		free(name);
		return NULL;
	}
	return name;
}

/* The number key with the most values. */
static size_t find_running(const struct view *v)
{
	size_t best = v->n_keys, most = 1, k, i;
	json_t *key, *value;
	json_array_foreach (v->keys, k, key) {
		const json_t *values = json_object_get(key, "values");
		int numbers = 1;
		json_array_foreach (values, i, value) {
			numbers &= json_is_number(value);
		}
		if (numbers && json_array_size(values) > most) {
			most = json_array_size(values);
			best = k;
		}
	}
	return best;
}

/* Whether the points differ in size by more than what positions of other weights take. */
static int sizes_differ(const struct view *v)
{
	double low = INFINITY, high = -INFINITY;
	for (size_t i = 0; i < v->n; i++) {
		double bits = cwe_report_number_of(json_array_get(v->points, i), "bits_per_weight");
		if (isfinite(bits)) {
			low = bits < low ? bits : low;
			high = bits > high ? bits : high;
		}
	}
	return high - low > 0.01 * high;
}

static int find_series(struct view *v)
{
	v->series = calloc(v->n + 1, sizeof *v->series);
	v->name = calloc(v->n + 1, sizeof *v->name);
	if (v->series == NULL || v->name == NULL) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < v->n; i++) {
		char *name = name_point(v, json_array_get(v->points, i));
		size_t s = 0;
		if (name == NULL) {
			return -ENOMEM;
		}
		while (s < v->n_series && strcmp(v->name[s], name) != 0) {
			s++;
		}
		v->series[i] = s;
		if (s < v->n_series) {
			free(name);
		} else {
			v->name[v->n_series++] = name;
		}
	}
	return 0;
}

static int view_make(const json_t *report, struct view *v)
{
	*v = (struct view){.report = report, .keys = json_object_get(report, "matrix"), .points = json_object_get(report, "points")};
	v->n = json_array_size(v->points);
	v->n_keys = json_array_size(v->keys);
	v->running = find_running(v);
	v->by_bits = sizes_differ(v);
	return find_series(v);
}

static void view_free(struct view *v)
{
	for (size_t i = 0; v->name != NULL && i < v->n_series; i++) {
		free(v->name[i]);
	}
	free(v->name);
	free(v->series);
}

/* ---- tables ---- */

static void key_heads(FILE *f, const struct view *v)
{
	for (size_t k = 0; k < v->n_keys; k++) {
		(void)fputs("<th scope=col>", f);
		cwe_report_escape(f, cwe_report_text_of(json_array_get(v->keys, k), "path"));
		(void)fputs("</th>", f);
	}
}

static void key_cells(FILE *f, const struct view *v, const json_t *point)
{
	for (size_t k = 0; k < v->n_keys; k++) {
		const json_t *value = value_of(v, point, k);
		(void)fputs(k == 0 ? "<th scope=row>" : "<td>", f);
		if (json_is_string(value)) {
			cwe_report_escape(f, json_string_value(value));
		} else {
			put_value(f, value);
		}
		(void)fputs(k == 0 ? "</th>" : "</td>", f);
	}
}

static size_t count(const struct view *v, const char *state)
{
	size_t n = 0;
	for (size_t i = 0; i < v->n; i++) {
		n += strcmp(cwe_report_text_of(json_array_get(v->points, i), "state"), state) == 0;
	}
	return n;
}

/* What the gates say of all points together. */
static void best(FILE *f, const struct view *v)
{
	const json_t *best = json_object_get(v->report, "best"), *row;
	double bits = cwe_report_number_of(best, "bits_per_weight");
	size_t i;
	if (!json_is_object(best)) {
		return;
	}
	int passed = json_is_true(json_object_get(best, "passed"));
	(void)fputs(passed ? "<p>Smallest that passes the gate: <b dir=auto>" : "<p><span class=bad>None passes the gate.</span> Closest: <b dir=auto>", f);
	cwe_report_escape(f, cwe_report_text_of(best, "name"));
	(void)fputs("</b>", f);
	if (isfinite(bits)) {
		(void)fprintf(f, ", %.3f bits a weight", bits);
	}
	if (!passed) {
		(void)fprintf(f, "; %.0f of %.0f conditions met", cwe_report_number_of(best, "met"), cwe_report_number_of(best, "conditions"));
	}
	json_array_foreach (json_object_get(best, "failed"), i, row) {
		(void)fputs("; ", f);
		cwe_report_escape(f, cwe_report_text_of(row, "metric"));
		(void)fputs(" is ", f);
		cwe_report_number(f, cwe_report_number_of(row, "measured"));
		(void)fputs(", the bound ", f);
		cwe_report_number(f, cwe_report_number_of(row, "bound"));
	}
	(void)fputs(".</p>", f);
}

static int is_best(const struct view *v, const json_t *point)
{
	const json_t *best = json_object_get(v->report, "best");
	return json_is_object(best) && strcmp(cwe_report_text_of(best, "name"), cwe_report_text_of(point, "name")) == 0;
}

static void summary(FILE *f, const struct view *v)
{
	size_t rejected = count(v, "rejected"), missing = count(v, "missing");
	(void)fprintf(f, "<section id=verdict class=verdict aria-labelledby=verdict-title><h2 id=verdict-title>%zu of %zu done</h2>"
		"<p>A sweep of %zu jobs: %zu done", count(v, "done"), v->n, v->n, count(v, "done"));
	if (rejected > 0) {
		(void)fprintf(f, ", <span class=bad>%zu rejected by their gate</span>", rejected);
	}
	if (missing > 0) {
		(void)fprintf(f, ", <span class=bad>%zu without a result</span>", missing);
	}
	(void)fputs(".</p>", f);
	best(f, v);
	(void)fputs("</section>\n", f);
}

/* The first condition that failed, or that all passed. */
static void gate_cell(FILE *f, const json_t *point)
{
	const json_t *rows = json_object_get(point, "gate");
	size_t i;
	json_t *row;
	if (json_array_size(rows) == 0) {
		(void)fputs("<td>&ndash;</td>", f);
		return;
	}
	json_array_foreach (rows, i, row) {
		if (!json_is_true(json_object_get(row, "passed"))) {
			(void)fputs("<td class=bad>failed: ", f);
			cwe_report_escape(f, cwe_report_text_of(row, "metric"));
			(void)fputs("</td>", f);
			return;
		}
	}
	(void)fputs("<td class=ok>passed</td>", f);
}

static void results(FILE *f, const struct view *v)
{
	cwe_report_section(f, "points", "Points");
	cwe_report_box(f, "Points");
	(void)fputs("<table><caption>Each job of the sweep</caption><thead><tr>", f);
	key_heads(f, v);
	(void)fputs("<th scope=col>State</th><th scope=col class=n>Bits a weight</th><th scope=col class=n>Protected</th><th scope=col>Gate</th>"
		    "<th scope=col class=n>Seconds</th></tr></thead><tbody>\n", f);
	for (size_t i = 0; i < v->n; i++) {
		const json_t *point = json_array_get(v->points, i);
		const char *state = cwe_report_text_of(point, "state");
		(void)fputs("<tr>", f);
		key_cells(f, v, point);
		(void)fprintf(f, "<td class=%s>", strcmp(state, "done") == 0 ? "ok" : "bad");
		cwe_report_escape(f, state);
		if (is_best(v, point)) {
			(void)fputs(strcmp(state, "done") == 0 ? " <span class=tag>best</span>" : " <span class=tag>closest</span>", f);
		}
		(void)fputs("</td>", f);
		cwe_report_cell(f, cwe_report_number_of(point, "bits_per_weight"), "%.3f");
		cwe_report_cell(f, 100 * cwe_report_number_of(point, "share"), "%.3g %%");
		gate_cell(f, point);
		cwe_report_cell(f, cwe_report_number_of(point, "seconds"), "%.1f");
		(void)fputs("</tr>\n", f);
	}
	(void)fputs("</tbody></table></div></section>\n", f);
}

/* ---- metrics ---- */

static const json_t *find_row(const json_t *point, const json_t *like)
{
	size_t i;
	json_t *row;
	json_array_foreach (json_object_get(point, "evaluation"), i, row) {
		if (cwe_report_is_whole(row) && strcmp(cwe_report_text_of(row, "name"), cwe_report_text_of(like, "name")) == 0 &&
			strcmp(cwe_report_text_of(row, "metric"), cwe_report_text_of(like, "metric")) == 0) {
			return row;
		}
	}
	return NULL;
}

/* The result that the point's output has: protected where something is, else plainly quantized. */
static const json_t *outcome(const json_t *row)
{
	const json_t *protected = json_object_get(row, "protected");
	return json_is_number(json_object_get(protected, "value")) ? protected : json_object_get(row, "quantized");
}

static double x_of(const struct view *v, size_t i)
{
	const json_t *point = json_array_get(v->points, i);
	if (v->running == v->n_keys) {
		return (double)v->series[i];
	}
	return v->by_bits ? cwe_report_number_of(point, "bits_per_weight") : json_number_value(value_of(v, point, v->running));
}

static int compare_x(const void *a, const void *b)
{
	double x = ((const struct cwe_chart_point *)a)->x, y = ((const struct cwe_chart_point *)b)->x;
	return (x > y) - (x < y);
}

/* The points of one series, in order of x, into at; their number. */
static size_t take_series(const struct view *v, size_t s, const json_t *like, struct cwe_chart_point *at)
{
	size_t n = 0;
	for (size_t i = 0; i < v->n; i++) {
		const json_t *point = json_array_get(v->points, i), *result = outcome(find_row(point, like));
		double x = x_of(v, i), y = cwe_report_number_of(result, "value");
		if (v->series[i] == s && isfinite(x) && isfinite(y)) {
			at[n++] = (struct cwe_chart_point){.x = x, .y = y, .low = cwe_report_number_of(result, "low"),
				.high = cwe_report_number_of(result, "high"), .tip = cwe_report_text_of(point, "name")};
		}
	}
	qsort(at, n, sizeof *at, compare_x);
	return n;
}

static int chart(FILE *f, const struct view *v, const json_t *like)
{
	struct cwe_chart_point *points = calloc(v->n + 1, sizeof *points);
	struct cwe_chart_series *series = calloc(v->n_series + 1, sizeof *series);
	size_t used = 0, alone = v->running == v->n_keys;
	char label[192];
	if (points == NULL || series == NULL) {
		free(points);
		free(series);
		return -ENOMEM;
	}
	for (size_t s = 0; s < v->n_series; s++) {
		series[s] = (struct cwe_chart_series){.name = alone ? NULL : v->name[s], .points = points + used};
		series[s].n = take_series(v, s, like, points + used);
		used += series[s].n;
	}
	(void)snprintf(label, sizeof label, "%s.%s", cwe_report_text_of(like, "name"), cwe_report_text_of(like, "metric"));
	struct cwe_chart c = {.y_label = label, .reference = cwe_report_number_of(json_object_get(like, "original"), "value"),
		.reference_name = "original", .series = series, .n_series = v->n_series, .n_names = alone ? v->n_series : 0,
		.names = (const char *const *)v->name,
		.x_label = alone ? "" : v->by_bits ? "bits a weight, all scales and positions counted"
						   : cwe_report_text_of(json_array_get(v->keys, v->running), "path")};
	cwe_chart_draw(f, &c);
	free(points);
	free(series);
	return 0;
}

static void metric_table(FILE *f, const struct view *v, const json_t *like)
{
	(void)fputs("<details><summary>The values as a table</summary>", f);
	cwe_report_box(f, "Values");
	(void)fputs("<table><caption>The values of the curve</caption><thead><tr>", f);
	key_heads(f, v);
	(void)fputs("<th scope=col class=n>Bits a weight</th><th scope=col class=n>Items</th><th scope=col class=n>Original</th><th scope=col class=n>"
		    "Plainly quantized</th><th scope=col class=n>Protected</th></tr></thead><tbody>\n", f);
	for (size_t i = 0; i < v->n; i++) {
		const json_t *point = json_array_get(v->points, i), *row = find_row(point, like);
		if (row == NULL) {
			continue;
		}
		(void)fputs("<tr>", f);
		key_cells(f, v, point);
		cwe_report_cell(f, cwe_report_number_of(point, "bits_per_weight"), "%.3f");
		cwe_report_cell(f, cwe_report_number_of(row, "n"), "%.0f");
		cwe_report_evaluated(f, row, "original", "Original");
		cwe_report_evaluated(f, row, "quantized", "Plainly quantized");
		cwe_report_evaluated(f, row, "protected", "Protected");
		(void)fputs("</tr>\n", f);
	}
	(void)fputs("</tbody></table></div></details>\n", f);
}

/* Whether an earlier point, or an earlier row of this one, has shown that metric. */
static int is_known(const struct view *v, size_t point, const json_t *row)
{
	for (size_t i = 0; i < point; i++) {
		if (find_row(json_array_get(v->points, i), row) != NULL) {
			return 1;
		}
	}
	return find_row(json_array_get(v->points, point), row) != row;
}

static int metrics(FILE *f, const struct view *v)
{
	size_t i, j, shown = 0;
	json_t *point, *row;
	json_array_foreach (v->points, i, point) {
		json_array_foreach (json_object_get(point, "evaluation"), j, row) {
			if (!cwe_report_is_whole(row) || is_known(v, i, row)) {
				continue;
			}
			(void)fputs(shown == 0 ? "<section id=curves aria-labelledby=curves-title><h2 id=curves-title>Size against damage</h2>\n<h3>" : "<h3>", f);
			cwe_report_escape(f, cwe_report_text_of(row, "name"));
			(void)fputc('.', f);
			cwe_report_escape(f, cwe_report_text_of(row, "metric"));
			json_int_t direction = json_integer_value(json_object_get(row, "direction"));
			(void)fputs(direction == 0 ? "</h3>\n" : direction > 0 ? ", higher is better</h3>\n" : ", lower is better</h3>\n", f);
			cwe_report_box(f, "Curve");
			if (chart(f, v, row) != 0) {
				return -ENOMEM;
			}
			(void)fputs("</div>\n", f);
			metric_table(f, v, row);
			shown++;
		}
	}
	(void)fputs(shown > 0 ? "<p class=note>Curves show what each output has: protected, or plainly quantized where nothing is "
				"protected. Bands and bars: 95&nbsp;% confidence intervals.</p></section>\n"
			      : "<p class=note>The jobs have no evaluation, so there are no curves.</p>\n", f);
	return 0;
}

int cwe_sweep_html(const json_t *report, char **ret_html, size_t *ret_length)
{
	struct view v;
	char *html = NULL;
	size_t length = 0;
	int r = view_make(report, &v);
	FILE *f = r == 0 ? open_memstream(&html, &length) : NULL;
	if (f == NULL) {
		view_free(&v);
		return -ENOMEM;
	}
	cwe_report_begin(f, "Sweep", json_object_get(report, "job"));
	summary(f, &v);
	results(f, &v);
	r = metrics(f, &v);
	cwe_report_end(f);
	int failed = ferror(f);
	view_free(&v);
	if (fclose(f) != 0 || failed || r != 0) {
		free(html);
		return -ENOMEM;
	}
	*ret_html = html;
	*ret_length = length;
	return 0;
}
