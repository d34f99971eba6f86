/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A job's report on a terminal: the verdict in the page's words, then tables as wide as there is room for. */
#include "cli/report_text.h"

#include <stdio.h>
#include <string.h>

#include "base/verdict.h"
#include "cli/state.h"
#include "cli/sweep.h"

#define NARROW 100 /* columns; below them intervals are left out */
#define NAME_BYTES 120

enum { METRIC, ITEMS, ORIGINAL, QUANTIZED, PROTECTED, OPTIONAL };

/* What a table of metrics shows besides the three models. */
struct shown {
	int recovery, flips, intervals, all;
};

static void coloured(
	const struct cwc *cwc, struct cwc_text *text, const char *words, enum cwc_colour colour)
{
	if (cwc->colour) {
		cwc_text_printf(text, "%s%s%s", cwc_colour_begin(colour), words, cwc_colour_end());
	} else {
		cwc_text_printf(text, "%s", words);
	}
}

/* Words on lines of the terminal's width; a word longer than a line stays whole. */
static void wrapped(const struct cwc *cwc, struct cwc_text *text, const char *words)
{
	struct cwc_text clean = {0};
	const char *from;
	size_t column = 0;

	cwc_text_clean(&clean, words, strlen(words), 0);
	for (from = cwc_text_get(&clean); *from;) {
		size_t n = strcspn(from, " "), wide;
		char *word = strndup(from, n);

		if (!word) {
			break;
		}
		wide = cwc_text_columns(word);
		if (column > 0 && cwc->width > 0 && column + 1 + wide > cwc->width) {
			cwc_text_add(text, "\n", 1);
			column = 0;
		}
		cwc_text_printf(text, "%s%s", column > 0 ? " " : "", word);
		column += wide + (column > 0);
		free(word);
		from += n + strspn(from + n, " ");
	}
	cwc_text_add(text, "\n", 1);
	cwc_text_free(&clean);
}

static void print_verdict(const struct cwc *cwc, const json_t *report, struct cwc_text *text)
{
	static const enum cwc_colour colour[] = {CWC_BOLD, CWC_GREEN, CWC_RED};
	struct cwb_verdict verdict;

	cwb_verdict_of(report, &verdict);
	coloured(cwc, text, verdict.headline, colour[verdict.state]);
	cwc_text_add(text, "\n", 1);
	wrapped(cwc, text, verdict.gate);
	if (verdict.recovery[0]) {
		wrapped(cwc, text, verdict.recovery);
	}
	cwc_text_add(text, "\n", 1);
}

static int is_whole(const json_t *row)
{
	return *cwc_string(row, "group") == '\0';
}

static void add_measure(struct cwc_table *table, const json_t *row, const char *model,
	const struct shown *shown, enum cwc_colour colour)
{
	const json_t *measure = json_object_get(row, model);
	json_t *bare;

	if (shown->intervals) {
		cwc_measure_add(table, measure, colour);
		return;
	}
	bare = json_pack("{s:O?}", "value", json_object_get(measure, "value"));
	cwc_measure_add(table, bare, colour);
	json_decref(bare);
}

/* "81% recovered", "cannot tell", "-". */
static void add_recovery(struct cwc_table *table, const json_t *row)
{
	const json_t *recovery = json_object_get(row, "recovery"),
		     *value = json_object_get(recovery, "value");
	const char *verdict = cwc_string(recovery, "verdict");
	char words[128];

	if (json_is_number(value)) {
		(void)snprintf(words, sizeof words, "%.0f%% %s", 100 * json_number_value(value), verdict);
	} else {
		(void)snprintf(words, sizeof words, "%s", *verdict ? verdict : "-");
	}
	cwc_table_add_coloured(table, words,
		strcmp(verdict, "recovered") == 0 ? CWC_GREEN
		: strcmp(verdict, "worse") == 0   ? CWC_RED
						  : CWC_PLAIN);
}

static void put_count(char *words, size_t size, const json_t *flips)
{
	const json_t *count = json_object_get(flips, "count");

	if (json_is_integer(count)) {
		(void)snprintf(words, size, "%" JSON_INTEGER_FORMAT, json_integer_value(count));
	} else {
		(void)snprintf(words, size, "-");
	}
}

static void add_flips(struct cwc_table *table, const json_t *row)
{
	const json_t *flips = json_object_get(row, "flips");
	char quantized[32], protected[32];

	put_count(quantized, sizeof quantized, json_object_get(flips, "quantized"));
	put_count(protected, sizeof protected, json_object_get(flips, "protected"));
	cwc_table_addf(table, "%s, %s", quantized, protected);
}

static void add_row(struct cwc_table *table, const json_t *row, const struct shown *shown)
{
	struct cwc_text name = {0};
	const json_t *n = json_object_get(row, "n");

	if (is_whole(row)) {
		cwc_text_printf(&name, "%s.%s", cwc_string(row, "name"), cwc_string(row, "metric"));
	} else {
		cwc_text_printf(&name, "  %s", cwc_string(row, "group"));
	}
	cwc_table_add(table, cwc_text_get(&name));
	if (json_is_integer(n)) {
		cwc_table_addf(table, "%" JSON_INTEGER_FORMAT, json_integer_value(n));
	} else {
		cwc_table_add(table, "-");
	}
	add_measure(table, row, "original", shown, CWC_PLAIN);
	add_measure(table, row, "quantized", shown, CWC_PLAIN);
	add_measure(table, row, "protected", shown, CWC_BOLD);
	if (shown->recovery) {
		add_recovery(table, row);
	}
	if (shown->flips) {
		add_flips(table, row);
	}
	cwc_text_free(&name);
}

static int same_metric(const json_t *a, const json_t *b)
{
	return strcmp(cwc_string(a, "name"), cwc_string(b, "name")) == 0 &&
	       strcmp(cwc_string(a, "metric"), cwc_string(b, "metric")) == 0;
}

/* Each row for all items, its groups below it. The number of groups that were left out. */
static size_t add_rows(struct cwc_table *table, const json_t *rows, const struct shown *shown)
{
	const json_t *whole, *row;
	size_t i, j, left = 0;

	json_array_foreach(rows, i, whole)
	{
		if (!is_whole(whole)) {
			left += !shown->all;
			continue;
		}
		add_row(table, whole, shown);
		for (j = 0; shown->all && j < json_array_size(rows); j++) {
			row = json_array_get(rows, j);
			if (!is_whole(row) && same_metric(row, whole)) {
				add_row(table, row, shown);
			}
		}
	}
	return left;
}

static void print_evaluation(
	const struct cwc *cwc, const json_t *rows, int all, struct cwc_text *text)
{
	static const char *const head[] = {"METRIC", "N", "ORIGINAL", "QUANTIZED", "PROTECTED"};
	struct shown shown = {.all = all, .intervals = cwc->width == 0 || cwc->width >= NARROW};
	struct cwc_table table;
	const json_t *row;
	size_t i, left;

	if (json_array_size(rows) == 0) {
		cwc_text_printf(text, "no evaluation\n");
		return;
	}
	json_array_foreach(rows, i, row)
	{
		shown.recovery |= json_is_object(json_object_get(row, "recovery"));
		shown.flips |= json_is_object(json_object_get(json_object_get(row, "flips"), "quantized"));
	}
	cwc_table_init(&table, OPTIONAL + (size_t)shown.recovery + (size_t)shown.flips);
	table.elastic = METRIC;
	for (i = 0; i < OPTIONAL; i++) {
		cwc_table_column(&table, i, head[i], i == ITEMS ? CWC_RIGHT : CWC_LEFT);
	}
	if (shown.recovery) {
		cwc_table_column(&table, OPTIONAL, "RECOVERED", CWC_LEFT);
	}
	if (shown.flips) {
		cwc_table_column(&table, table.columns - 1, "FLIPS", CWC_LEFT);
	}
	left = add_rows(&table, rows, &shown);
	cwc_table_render(&table, text, cwc->width, cwc->colour);
	cwc_table_free(&table);
	if (left > 0) {
		cwc_text_printf(text, "%zu groups are not shown; --all shows them\n", left);
	}
}

static void add_number(struct cwc_table *table, const json_t *value)
{
	struct cwc_text text = {0};

	if (json_is_number(value)) {
		cwc_text_number(&text, json_number_value(value));
	}
	cwc_table_add(table, text.length ? cwc_text_get(&text) : "-");
	cwc_text_free(&text);
}

/* "at-most-times 1.05 of original". */
static void add_condition(struct cwc_table *table, const json_t *row)
{
	const char *condition = cwc_string(row, "condition"), *than = cwc_string(row, "than");
	int relative = strcmp(condition, "at-most") != 0 && strcmp(condition, "at-least") != 0;
	struct cwc_text text = {0};

	cwc_text_printf(&text, "%.60s ", *condition ? condition : "-");
	if (json_is_number(json_object_get(row, "asked"))) {
		cwc_text_number(&text, json_number_value(json_object_get(row, "asked")));
	}
	if (relative && *than) {
		cwc_text_printf(&text, " than %.60s", than);
	}
	cwc_table_add(table, cwc_text_get(&text));
	cwc_text_free(&text);
}

void cwc_gate_text(const struct cwc *cwc, const json_t *rows, struct cwc_text *text)
{
	static const char *const head[] = {"GATE", "CONDITION", "MEASURED", "BOUND", "P", "RESULT"};
	struct cwc_table table;
	const json_t *row;
	size_t i;

	if (json_array_size(rows) == 0) {
		return;
	}
	cwc_table_init(&table, sizeof head / sizeof head[0]);
	table.elastic = METRIC;
	for (i = 0; i < table.columns; i++) {
		cwc_table_column(&table, i, head[i], i >= 2 && i <= 4 ? CWC_RIGHT : CWC_LEFT);
	}
	json_array_foreach(rows, i, row)
	{
		int passed = json_is_true(json_object_get(row, "passed"));
		const json_t *p = json_object_get(row, "p_adjusted");

		cwc_table_add(&table, cwc_string(row, "metric"));
		add_condition(&table, row);
		add_number(&table, json_object_get(row, "measured"));
		add_number(&table, json_object_get(row, "bound"));
		add_number(&table, json_is_number(p) ? p : json_object_get(row, "p"));
		cwc_table_add_coloured(
			&table, passed ? "passed" : "failed", passed ? CWC_GREEN : CWC_RED);
	}
	cwc_text_add(text, "\n", 1);
	cwc_table_render(&table, text, cwc->width, cwc->colour);
	cwc_table_free(&table);
	cwc_text_add(text, "\n", 1);
}

static void print_protection(const json_t *report, struct cwc_text *text)
{
	const json_t *protection = json_object_get(report, "protection"),
		     *weights = json_object_get(protection, "weights"),
		     *kept = json_object_get(protection, "protected"),
		     *bits = json_object_get(json_object_get(report, "size"), "bits_per_weight");

	if (!json_is_integer(weights) || !json_is_integer(kept) ||
		json_integer_value(weights) <= 0) {
		return;
	}
	cwc_text_printf(text,
		"protected %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " weights (%.2f%%)",
		json_integer_value(kept), json_integer_value(weights),
		100.0 * (double)json_integer_value(kept) / (double)json_integer_value(weights));
	if (json_is_number(bits)) {
		cwc_text_printf(text, ", %.2f bits a weight", json_number_value(bits));
	}
	cwc_text_add(text, "\n", 1);
}

static void print_stages(const json_t *stages, struct cwc_text *text)
{
	const json_t *stage;
	double seconds, total = 0;
	size_t i, shown = 0;

	json_array_foreach(stages, i, stage)
	{
		total += json_number_value(json_object_get(stage, "seconds"));
	}
	if (!(total > 0)) {
		return;
	}
	cwc_text_printf(text, "took ");
	cwc_text_duration(text, total);
	json_array_foreach(stages, i, stage)
	{
		const char *name = cwc_string(stage, "name");

		seconds = json_number_value(json_object_get(stage, "seconds"));
		if (seconds < total / 100) {
			continue;
		}
		cwc_text_printf(text, "%s", shown++ ? ", " : ": ");
		cwc_text_clean(text, name, strlen(name), 0);
		cwc_text_add(text, " ", 1);
		cwc_text_duration(text, seconds);
	}
	cwc_text_add(text, "\n", 1);
}

void cwc_report_text(const struct cwc *cwc, const json_t *report, int all, struct cwc_text *text)
{
	print_verdict(cwc, report, text);
	print_evaluation(cwc, json_object_get(report, "evaluation"), all, text);
	cwc_gate_text(cwc, json_object_get(report, "gate"), text);
	print_protection(report, text);
	print_stages(json_object_get(report, "stages"), text);
}
