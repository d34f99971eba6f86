/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Sweeps in tables. */
#include "cli/sweep.h"

#include <string.h>

#include "cli/state.h"

size_t cwc_sweep_plan_jobs(const json_t *plan)
{
	return json_array_size(json_object_get(json_object_get(plan, "plan"), "children"));
}

int cwc_sweep_is_report(const json_t *report)
{
	return json_is_array(json_object_get(report, "points"));
}

static void add_number(struct cwc_table *table, const json_t *value, double scale, const char *unit)
{
	struct cwc_text text = {0};

	if (!json_is_number(value)) {
		cwc_table_add(table, "-");
		return;
	}
	cwc_text_number(&text, scale * json_number_value(value));
	cwc_table_addf(table, "%s%s", cwc_text_get(&text), unit);
	cwc_text_free(&text);
}

static enum cwc_colour point_colour(const char *state)
{
	return strcmp(state, "missing") == 0 ? CWC_RED : cwc_state_colour(state);
}

static void print_points(const struct cwc *cwc, const json_t *points, const char *best,
	struct cwc_text *text)
{
	static const char *const head[] = {"POINT", "STATE", "BITS", "PROTECTED", "TOOK"};
	struct cwc_text took = {0};
	struct cwc_table table;
	const json_t *point;
	size_t i;

	cwc_table_init(&table, sizeof head / sizeof head[0]);
	table.elastic = 0;
	for (i = 0; i < table.columns; i++) {
		cwc_table_column(&table, i, head[i], i >= 2 ? CWC_RIGHT : CWC_LEFT);
	}
	json_array_foreach(points, i, point)
	{
		const char *state = cwc_string(point, "state");
		const json_t *seconds = json_object_get(point, "seconds");

		cwc_table_add_coloured(&table, cwc_string(point, "name"),
			strcmp(cwc_string(point, "name"), best) == 0 ? CWC_BOLD : CWC_PLAIN);
		cwc_table_add_coloured(&table, state, point_colour(state));
		add_number(&table, json_object_get(point, "bits_per_weight"), 1, "");
		add_number(&table, json_object_get(point, "share"), 100, "%");
		took.length = 0;
		if (json_is_number(seconds)) {
			cwc_text_duration(&took, json_number_value(seconds));
		}
		cwc_table_add(&table, took.length ? cwc_text_get(&took) : "-");
	}
	cwc_table_render(&table, text, cwc->width, cwc->colour);
	cwc_table_free(&table);
	cwc_text_free(&took);
}

static void add_measure(struct cwc_text *text, const json_t *value)
{
	if (json_is_number(value)) {
		cwc_text_number(text, json_number_value(value));
	} else {
		cwc_text_printf(text, "no number");
	}
}

/* What the gates say of all points together. */
static void print_best(const json_t *best, struct cwc_text *text)
{
	const json_t *bits = json_object_get(best, "bits_per_weight"), *row;
	int passed = json_is_true(json_object_get(best, "passed"));
	size_t i;

	if (!json_is_object(best)) {
		return;
	}
	cwc_text_printf(text, passed ? "\nSmallest that passes the gate: " : "\nNone passes the gate. Closest: ");
	cwc_text_clean(text, cwc_string(best, "name"), strlen(cwc_string(best, "name")), 0);
	if (json_is_number(bits)) {
		cwc_text_printf(text, ", ");
		cwc_text_number(text, json_number_value(bits));
		cwc_text_printf(text, " bits a weight");
	}
	json_array_foreach(json_object_get(best, "failed"), i, row)
	{
		cwc_text_printf(text, "; ");
		cwc_text_clean(text, cwc_string(row, "metric"), strlen(cwc_string(row, "metric")), 0);
		cwc_text_printf(text, " is ");
		add_measure(text, json_object_get(row, "measured"));
		cwc_text_printf(text, ", the bound ");
		add_measure(text, json_object_get(row, "bound"));
	}
	cwc_text_printf(text, "\n");
}

static const json_t *find_row(const json_t *point, const json_t *like)
{
	const json_t *row;
	size_t i;

	json_array_foreach(json_object_get(point, "evaluation"), i, row)
	{
		if (*cwc_string(row, "group") == '\0' &&
			strcmp(cwc_string(row, "name"), cwc_string(like, "name")) == 0 &&
			strcmp(cwc_string(row, "metric"), cwc_string(like, "metric")) == 0) {
			return row;
		}
	}
	return NULL;
}

static void print_metric(const struct cwc *cwc, const json_t *points, const json_t *like,
	struct cwc_text *text)
{
	static const char *const head[] = {"", "N", "ORIGINAL", "QUANTIZED", "PROTECTED"};
	struct cwc_text name = {0};
	struct cwc_table table;
	const json_t *point;
	size_t i;

	cwc_text_printf(&name, "%s.%s", cwc_string(like, "name"), cwc_string(like, "metric"));
	cwc_table_init(&table, sizeof head / sizeof head[0]);
	table.elastic = 0;
	for (i = 0; i < table.columns; i++) {
		cwc_table_column(&table, i, i == 0 ? cwc_text_get(&name) : head[i],
			i == 1 ? CWC_RIGHT : CWC_LEFT);
	}
	json_array_foreach(points, i, point)
	{
		const json_t *row = find_row(point, like);

		if (row == NULL) {
			continue;
		}
		cwc_table_add(&table, cwc_string(point, "name"));
		cwc_table_addf(&table, "%" JSON_INTEGER_FORMAT,
			json_integer_value(json_object_get(row, "n")));
		cwc_measure_add(&table, json_object_get(row, "original"), CWC_PLAIN);
		cwc_measure_add(&table, json_object_get(row, "quantized"), CWC_PLAIN);
		cwc_measure_add(&table, json_object_get(row, "protected"), CWC_BOLD);
	}
	cwc_text_add(text, "\n", 1);
	cwc_table_render(&table, text, cwc->width, cwc->colour);
	cwc_table_free(&table);
	cwc_text_free(&name);
}

/* Whether a point before this one has the metric. */
static int is_known(const json_t *points, size_t point, const json_t *row)
{
	size_t i;

	for (i = 0; i < point; i++) {
		if (find_row(json_array_get(points, i), row)) {
			return 1;
		}
	}
	return 0;
}

void cwc_sweep_report(const struct cwc *cwc, const json_t *report, struct cwc_text *text)
{
	const json_t *points = json_object_get(report, "points"), *point, *row;
	size_t i, j;

	print_points(cwc, points, cwc_string(json_object_get(report, "best"), "name"), text);
	print_best(json_object_get(report, "best"), text);
	json_array_foreach(points, i, point)
	{
		json_array_foreach(json_object_get(point, "evaluation"), j, row)
		{
			if (*cwc_string(row, "group") == '\0' && !is_known(points, i, row)) {
				print_metric(cwc, points, row, text);
			}
		}
	}
	cwc_text_add(text, "\n", 1);
}

static void add_value(struct cwc_text *text, const json_t *value)
{
	if (json_is_string(value)) {
		cwc_text_printf(text, "%s", json_string_value(value));
	} else if (json_is_boolean(value)) {
		cwc_text_printf(text, "%s", json_is_true(value) ? "true" : "false");
	} else {
		cwc_text_printf(text, "%.10g", json_number_value(value));
	}
}

static void row(struct cwc_table *table, const char *name, const char *value)
{
	cwc_table_add_coloured(table, name, CWC_DIM);
	cwc_table_add(table, value);
}

void cwc_sweep_rows(struct cwc_table *table, const json_t *job)
{
	const json_t *values = json_object_get(job, "values"), *value;
	struct cwc_text text = {0};
	const char *path;
	size_t i, n = 0;

	if (*cwc_string(job, "parent")) {
		row(table, "sweep", cwc_string(job, "parent"));
	}
	json_object_foreach((json_t *)(uintptr_t)values, path, value)
	{
		text.length = 0;
		cwc_text_printf(&text, "%s: ", path);
		add_value(&text, value);
		row(table, n++ == 0 ? "values" : "", cwc_text_get(&text));
	}
	json_array_foreach(json_object_get(job, "fields"), i, value)
	{
		row(table, i == 0 ? "sweeps" : "", json_string_value(value));
	}
	cwc_text_free(&text);
}
