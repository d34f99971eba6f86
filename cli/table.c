/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tables of text. Knows columns and widths, not what they hold. */
#include "cli/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GAP 2           /* spaces between columns */
#define ELASTIC_LEAST 8 /* the elastic column is never made narrower than this */

void cwc_table_init(struct cwc_table *table, size_t columns)
{
	assert(columns > 0 && columns <= CWC_TABLE_COLUMNS);
	*table = (struct cwc_table){.columns = columns, .elastic = columns - 1};
}

void cwc_table_free(struct cwc_table *table)
{
	size_t i;

	if (!table) {
		return;
	}
	for (i = 0; i < table->rows * table->columns; i++) {
		free(table->cell[i].text);
	}
	free(table->cell);
	*table = (struct cwc_table){.columns = table->columns};
}

void cwc_table_column(
	struct cwc_table *table, size_t column, const char *head, enum cwc_align align)
{
	assert(column < table->columns);
	table->head[column] = head;
	table->align[column] = align;
}

static struct cwc_cell *next_cell(struct cwc_table *table)
{
	if (table->filled % table->columns == 0) {
		struct cwc_cell *cell =
			reallocarray(table->cell, (table->rows + 1) * table->columns, sizeof *cell);

		if (!cell) {
			fputs("cwpctl: out of memory\n", stderr);
			exit(75);
		}
		memset(cell + table->rows * table->columns, 0, table->columns * sizeof *cell);
		table->cell = cell;
		table->rows++;
	}
	return &table->cell[table->filled++];
}

void cwc_table_add_coloured(struct cwc_table *table, const char *text, enum cwc_colour colour)
{
	struct cwc_cell *cell = next_cell(table);
	struct cwc_text clean = {0};

	if (text) {
		cwc_text_clean(&clean, text, strlen(text), 0);
	}
	cell->text = clean.data;
	cell->colour = colour;
}

void cwc_table_add(struct cwc_table *table, const char *text)
{
	cwc_table_add_coloured(table, text, CWC_PLAIN);
}

void cwc_table_addf(struct cwc_table *table, const char *format, ...)
{
	char buffer[256];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(buffer, sizeof buffer, format, args);
	va_end(args);
	cwc_table_add(table, buffer);
}

const char *cwc_colour_begin(enum cwc_colour colour)
{
	static const char *const begin[] = {
		[CWC_PLAIN] = "",
		[CWC_BOLD] = "\033[1m",
		[CWC_DIM] = "\033[2m",
		[CWC_RED] = "\033[31m",
		[CWC_GREEN] = "\033[32m",
		[CWC_YELLOW] = "\033[33m",
		[CWC_CYAN] = "\033[36m",
	};

	return begin[colour];
}

const char *cwc_colour_end(void)
{
	return "\033[0m";
}

static void measure(const struct cwc_table *table, size_t *ret_widths)
{
	size_t row, column, width;

	for (column = 0; column < table->columns; column++) {
		ret_widths[column] =
			table->head[column] ? cwc_text_columns(table->head[column]) : 0;
		for (row = 0; row < table->rows; row++) {
			const char *text = table->cell[row * table->columns + column].text;

			width = text ? cwc_text_columns(text) : 0;
			if (width > ret_widths[column]) {
				ret_widths[column] = width;
			}
		}
	}
}

/* Takes columns away from the elastic column where the whole is wider than the terminal. */
static void fit(const struct cwc_table *table, size_t *widths, size_t width)
{
	size_t column, total = (table->columns - 1) * GAP, over;
	size_t *elastic = &widths[table->elastic];

	for (column = 0; column < table->columns; column++) {
		total += widths[column];
	}
	if (width == 0 || total <= width) {
		return;
	}
	over = total - width;
	if (*elastic > ELASTIC_LEAST) {
		*elastic = *elastic - ELASTIC_LEAST > over ? *elastic - over : ELASTIC_LEAST;
	}
}

static void pad(struct cwc_text *line, size_t count)
{
	while (count-- > 0) {
		cwc_text_add(line, " ", 1);
	}
}

static void render_cell(struct cwc_text *line, const char *text, size_t width, enum cwc_align align,
	enum cwc_colour colour)
{
	struct cwc_text cut = {0};
	size_t columns;

	cwc_text_add_columns(&cut, text ? text : "", width);
	columns = cwc_text_columns(cwc_text_get(&cut));
	if (align == CWC_RIGHT) {
		pad(line, width - columns);
	}
	if (colour != CWC_PLAIN) {
		cwc_text_printf(line, "%s%s%s", cwc_colour_begin(colour), cwc_text_get(&cut),
			cwc_colour_end());
	} else {
		cwc_text_add(line, cwc_text_get(&cut), cut.length);
	}
	if (align == CWC_LEFT) {
		pad(line, width - columns);
	}
	cwc_text_free(&cut);
}

static void end_line(struct cwc_text *text, struct cwc_text *line)
{
	while (line->length > 0 && line->data[line->length - 1] == ' ') {
		line->length--;
	}
	cwc_text_add(text, cwc_text_get(line), line->length);
	cwc_text_add(text, "\n", 1);
	line->length = 0;
}

void cwc_table_render(
	const struct cwc_table *table, struct cwc_text *text, size_t width, int colour)
{
	size_t widths[CWC_TABLE_COLUMNS], row, column;
	struct cwc_text line = {0};

	measure(table, widths);
	fit(table, widths, width);
	if (table->head[0]) {
		for (column = 0; column < table->columns; column++) {
			render_cell(&line, table->head[column], widths[column],
				table->align[column], colour ? CWC_BOLD : CWC_PLAIN);
			if (column + 1 < table->columns) {
				pad(&line, GAP);
			}
		}
		end_line(text, &line);
	}
	for (row = 0; row < table->rows; row++) {
		for (column = 0; column < table->columns; column++) {
			const struct cwc_cell *cell = &table->cell[row * table->columns + column];

			render_cell(&line, cell->text, widths[column], table->align[column],
				colour ? cell->colour : CWC_PLAIN);
			if (column + 1 < table->columns) {
				pad(&line, GAP);
			}
		}
		end_line(text, &line);
	}
	cwc_text_free(&line);
}
