/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the pages of reports share: their style, escaped texts and cells of tables. Inside of reports. */
#pragma once

#include <jansson.h>
#include <stdio.h>

extern const char cwe_report_style[]; /* the text of a style element */

/* A text, NULL counting as none, with what HTML takes for its own escaped. */
void cwe_report_escape(FILE *f, const char *text);
/* A member of an object: "" or NaN where it is of another type, or missing. */
const char *cwe_report_text_of(const json_t *o, const char *key);
double cwe_report_number_of(const json_t *o, const char *key);
/* A cell with a number in a constant format of the caller's for a double; a dash where it is not finite. */
void cwe_report_cell(FILE *f, double x, const char *format);
/* A cell with a model's value in a row of evaluations, its interval and its flips. */
void cwe_report_evaluated(FILE *f, const json_t *row, const char *model);
