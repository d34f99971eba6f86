/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Tables of text: columns as wide as their widest cell, cut where a terminal is narrower. */
#pragma once

#include <stddef.h>

#include "cli/text.h"

#define CWC_TABLE_COLUMNS 12

enum cwc_align { CWC_LEFT, CWC_RIGHT };

enum cwc_colour { CWC_PLAIN, CWC_BOLD, CWC_DIM, CWC_RED, CWC_GREEN, CWC_YELLOW, CWC_CYAN };

struct cwc_cell {
	char *text;
	enum cwc_colour colour;
};

struct cwc_table {
	size_t columns;                      /* at most CWC_TABLE_COLUMNS */
	const char *head[CWC_TABLE_COLUMNS]; /* all NULL: no head */
	enum cwc_align align[CWC_TABLE_COLUMNS];
	/* The column that gives way first where the terminal is too narrow; the columns - 1 by
	 * default (set by init). */
	size_t elastic;
	struct cwc_cell *cell; /* rows * columns */
	size_t rows;
	size_t filled; /* cells of the row that is being filled */
};

void cwc_table_init(struct cwc_table *table, size_t columns);
void cwc_table_free(struct cwc_table *table);
void cwc_table_column(
	struct cwc_table *table, size_t column, const char *head, enum cwc_align align);

/* Fills the next cell, row after row; text is cleaned and copied. NULL gives an empty cell. */
void cwc_table_add(struct cwc_table *table, const char *text);
void cwc_table_add_coloured(struct cwc_table *table, const char *text, enum cwc_colour colour);
void cwc_table_addf(struct cwc_table *table, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Appends the table. width: columns of the terminal, 0: as wide as it gets. colour: whether escape
 * sequences may be used. No line ends in spaces. */
void cwc_table_render(
	const struct cwc_table *table, struct cwc_text *text, size_t width, int colour);

/* Escape sequence that begins a colour, and the one that ends all of them. */
const char *cwc_colour_begin(enum cwc_colour colour);
const char *cwc_colour_end(void);
