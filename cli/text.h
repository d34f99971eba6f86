/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Text for people: cleaned of what could steer a terminal, measured in columns, numbers with units.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A text that grows. Running out of memory ends the program: a client has nothing to save. */
struct cwc_text {
	char *data; /* NUL-terminated once anything was added; NULL before */
	size_t length;
	size_t capacity;
};

void cwc_text_free(struct cwc_text *text);
void cwc_text_add(struct cwc_text *text, const char *bytes, size_t length);
void cwc_text_printf(struct cwc_text *text, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The text so far, "" where there is none. Valid until the next change. */
const char *cwc_text_get(const struct cwc_text *text);

/* Appends UTF-8 text from a stranger: control characters (C0, DEL, C1), bytes that are not UTF-8
 * and characters that turn the direction of writing appear as \xNN or \u{NNNN}; line ends and tabs
 * pass only where `lines` is set. */
void cwc_text_clean(struct cwc_text *text, const char *bytes, size_t length, int lines);

/* Columns that clean UTF-8 text takes on a terminal. Needs a UTF-8 LC_CTYPE, which main() sets. */
size_t cwc_text_columns(const char *text);
/* Appends at most `columns` columns of clean text; where it is cut, the last column is '~'. */
void cwc_text_add_columns(struct cwc_text *text, const char *from, size_t columns);

/* "512 B", "1.5 KiB", "4.0 GiB"; "90 s", "12 min", "3 h 05 min", "2 d 04 h". */
void cwc_text_size(struct cwc_text *text, uint64_t bytes);
void cwc_text_duration(struct cwc_text *text, double seconds);
/* Three significant digits, for rates: "0.123", "12.3", "1230", "1.23e+07". */
void cwc_text_number(struct cwc_text *text, double value);
/* Local time "2026-11-22 07:15"; "-" for 0. */
void cwc_text_time(struct cwc_text *text, double seconds_since_1970);
