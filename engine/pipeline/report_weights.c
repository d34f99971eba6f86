/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Where the protected weights lie: a map of layers and kinds of modules, and the modules that are protected most. */
#include <math.h>
#include <string.h>

#include "engine/pipeline/report_p.h"

#define LAYERS_MAX 512u
#define KINDS_MAX 48u

enum { LEFT = 168, TOP = 8, ROW = 22, CELLS = 760, LEGEND = 62 };

static double cell(const json_t *kind, const char *what, size_t layer)
{
	const json_t *v = json_array_get(json_object_get(kind, what), layer);
	return json_is_number(v) ? json_number_value(v) : 0;
}

/* Of all modules of that kind in that layer; NAN where there are none. */
static double share(const json_t *kind, size_t layer)
{
	double weights = cell(kind, "weights", layer);
	return weights > 0 ? cell(kind, "protected", layer) / weights : NAN;
}

static double largest(const json_t *kinds, size_t layers)
{
	double most = 0;
	for (size_t k = 0; k < json_array_size(kinds) && k < KINDS_MAX; k++) {
		for (size_t l = 0; l < layers; l++) {
			double x = share(json_array_get(kinds, k), l);
			most = x > most ? x : most; /* false for NAN */
		}
	}
	return most;
}

/* The root, so that small shares are seen beside large ones. */
static double shade(double x, double most)
{
	return most > 0 ? sqrt(x / most) : 0;
}

static void map_row(FILE *f, const json_t *kind, size_t k, size_t layers, double most)
{
	double width = (double)CELLS / (double)layers, gap = layers <= 120 ? 1 : 0;
	char some[32], all[32];
	(void)fprintf(f, "<text x='%d' y='%zu' text-anchor=end>", LEFT - 8, TOP + k * ROW + 15);
	cwe_report_escape_cut(f, cwe_report_text_of(kind, "kind"), 26);
	(void)fputs("</text>\n", f);
	for (size_t l = 0; l < layers; l++) {
		double x = share(kind, l);
		if (!isfinite(x)) {
			continue;
		}
		(void)fprintf(f, "<rect class=%s x='%.1f' y='%zu' width='%.1f' height='%d'", x > 0 ? "cell" : "none", LEFT + (double)l * width, TOP + k * ROW,
			width - gap, ROW - 1);
		if (x > 0) {
			(void)fprintf(f, " fill-opacity='%.2f'", 0.04 + 0.96 * shade(x, most));
		}
		(void)fprintf(f, "><title>layer %zu: %s of %s (%.2f %%)</title></rect>", l,
			cwe_report_grouped(cell(kind, "protected", l), some, sizeof some), cwe_report_grouped(cell(kind, "weights", l), all, sizeof all), 100 * x);
	}
	(void)fputc('\n', f);
}

static void map_legend(FILE *f, size_t layers, size_t rows, double most)
{
	size_t y = TOP + rows * ROW, step = layers <= 40 ? 1 : layers <= 100 ? 5 : 20;
	double width = (double)CELLS / (double)layers;
	step = layers > 24 && layers <= 40 ? 2 : step;
	for (size_t l = 0; l < layers; l += step) {
		(void)fprintf(f, "<text x='%.1f' y='%zu' text-anchor=middle>%zu</text>", LEFT + ((double)l + 0.5) * width, y + 13, l);
	}
	(void)fprintf(f, "<text x='%d' y='%zu' text-anchor=end>layer</text><text x='%d' y='%zu' text-anchor=end>share protected</text>", LEFT - 8, y + 13,
		LEFT - 8, y + 43);
	for (int i = 0; i <= 4; i++) {
		double x = most * i * i / 16;
		(void)fprintf(f, "<rect class=%s x='%d' y='%zu' width='24' height='12' fill-opacity='%.2f'/><text x='%d' y='%zu'>%.3g %%</text>",
			i > 0 ? "cell" : "none", LEFT + i * 96, y + 33, i > 0 ? 0.04 + 0.96 * i / 4.0 : 1.0, LEFT + i * 96 + 30, y + 43, 100 * x);
	}
}

static void map(FILE *f, const json_t *kinds, size_t layers)
{
	size_t rows = json_array_size(kinds) < KINDS_MAX ? json_array_size(kinds) : KINDS_MAX;
	double most = largest(kinds, layers);
	int height = (int)(TOP + rows * ROW + LEGEND - 8);
	cwe_report_box(f, "Map of the protected weights");
	(void)fprintf(f, "<svg role=img class=map width=%d height=%d viewBox='0 0 %d %d'><title>Share of protected weights by layer and kind of module"
		"</title><desc>The largest share of a cell is %.3g %%. The table below has the sums of each kind.</desc>\n", LEFT + CELLS + 8, height,
		LEFT + CELLS + 8, height, 100 * most);
	for (size_t k = 0; k < rows; k++) {
		map_row(f, json_array_get(kinds, k), k, layers, most);
	}
	map_legend(f, layers, rows, most);
	(void)fputs("</svg></div>\n", f);
}

static void kinds_table(FILE *f, const json_t *kinds, size_t layers)
{
	char text[48];
	size_t k;
	const json_t *kind;
	(void)fputs("<details><summary>Sums of each kind as a table</summary>", f);
	cwe_report_box(f, "Sums of each kind");
	(void)fputs("<table><caption>Protected weights by kind of module</caption><thead><tr><th scope=col>Kind</th><th scope=col class=n>Weights</th>"
		    "<th scope=col class=n>Protected</th><th scope=col class=n>Share</th><th scope=col class=n>Most in layer</th></tr></thead><tbody>\n", f);
	json_array_foreach (kinds, k, kind) {
		double weights = 0, kept = 0, most = -1;
		size_t where = 0;
		for (size_t l = 0; l < layers; l++) {
			double x = share(kind, l);
			weights += cell(kind, "weights", l);
			kept += cell(kind, "protected", l);
			if (x > most) {
				most = x;
				where = l;
			}
		}
		(void)fputs("<tr><th scope=row>", f);
		cwe_report_escape(f, cwe_report_text_of(kind, "kind"));
		(void)fprintf(f, "</th><td class=n>%s</td>", cwe_report_grouped(weights, text, sizeof text));
		(void)fprintf(f, "<td class=n>%s</td>", cwe_report_grouped(kept, text, sizeof text));
		cwe_report_cell(f, weights > 0 ? 100 * kept / weights : NAN, "%.2f&nbsp;%%");
		(void)fprintf(f, "<td class=n>%zu</td></tr>\n", where);
	}
	(void)fputs("</tbody></table></div></details>\n", f);
}

static void top_modules(FILE *f, const json_t *rows)
{
	char text[48];
	size_t i;
	const json_t *row;
	if (json_array_size(rows) == 0) {
		return;
	}
	(void)fputs("<h3>Modules protected most</h3>", f);
	cwe_report_box(f, "Modules protected most");
	(void)fputs("<table><caption>The largest shares of one module</caption><thead><tr><th scope=col>Module</th><th scope=col class=n>Weights</th>"
		    "<th scope=col class=n>Protected</th><th scope=col class=n>Share</th></tr></thead><tbody>\n", f);
	json_array_foreach (rows, i, row) {
		(void)fputs("<tr><th scope=row><code>", f);
		cwe_report_escape(f, cwe_report_text_of(row, "module"));
		(void)fprintf(f, "</code></th><td class=n>%s</td>", cwe_report_grouped(cwe_report_number_of(row, "weights"), text, sizeof text));
		(void)fprintf(f, "<td class=n>%s</td>", cwe_report_grouped(cwe_report_number_of(row, "protected"), text, sizeof text));
		cwe_report_cell(f, 100 * cwe_report_number_of(row, "share"), "%.2f&nbsp;%%");
		(void)fputs("</tr>\n", f);
	}
	(void)fputs("</tbody></table></div>\n", f);
}

void cwe_report_weights(FILE *f, const json_t *report)
{
	const json_t *p = json_object_get(report, "protection"), *map_of = json_object_get(p, "map");
	const json_t *kinds = json_object_get(map_of, "kinds"), *top = json_object_get(p, "top_modules");
	json_int_t layers = json_integer_value(json_object_get(map_of, "layers"));
	size_t shown = layers < 0 ? 0 : layers < LAYERS_MAX ? (size_t)layers : LAYERS_MAX;
	int has_map = shown > 0 && json_array_size(kinds) > 0;
	if (!has_map && json_array_size(top) == 0) {
		return;
	}
	cwe_report_section(f, "weights", "Where the protected weights lie");
	if (has_map) {
		map(f, kinds, shown);
		kinds_table(f, kinds, shown);
	}
	top_modules(f, top);
	(void)fputs("</section>\n", f);
}
