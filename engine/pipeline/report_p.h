/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the pages of reports are put together from: frame, texts, cells, pictures and sections. Inside of reports. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

extern const char cwe_report_style[]; /* the text of a style element */

/* Bytes that a page may have before details (groups, items that flipped) are left to report.json: it stays under 2 MB. */
#define CWE_REPORT_GROUPS_END ((long)1100 << 10)
#define CWE_REPORT_ITEMS_END ((long)1700 << 10)

/* ---- report_page.c: texts and cells ---- */

/* A text, NULL counting as none, with what HTML takes for its own escaped. */
void cwe_report_escape(FILE *f, const char *text);
/* The first bytes of a text, whole characters of UTF-8, and an ellipsis where some are missing. */
void cwe_report_escape_cut(FILE *f, const char *text, size_t bytes);
/* A member of an object: "" or NaN where it is of another type, or missing. */
const char *cwe_report_text_of(const json_t *o, const char *key);
double cwe_report_number_of(const json_t *o, const char *key);
/* A count with commas between thousands; bytes as "1.5 GB"; both return buffer. */
const char *cwe_report_grouped(double x, char *buffer, size_t size);
const char *cwe_report_bytes(double x, char *buffer, size_t size);
/* Four digits, or a dash. */
void cwe_report_number(FILE *f, double x);
/* A probability: "0.012", "< 0.001", or a dash. */
void cwe_report_probability(FILE *f, double p);
/* A cell with a number in a constant format of the caller's for a double; a dash where it is not finite. */
void cwe_report_cell(FILE *f, double x, const char *format);
/* A cell with a model's value in a row of evaluations, its interval and its change. label: what a narrow screen shows above. */
void cwe_report_evaluated(FILE *f, const json_t *row, const char *model, const char *label);
/* Letters, digits and single hyphens of a text, for the name of an anchor. */
void cwe_report_slug(FILE *f, const char *text);
/* " lang=..." where a text is a language tag, and always " dir=auto". */
void cwe_report_lang(FILE *f, const char *language);
/* The English name of a language tag, else NULL. */
const char *cwe_report_language(const char *tag);
/* The text of a gate's condition: "at most 1.05 times the original". */
void cwe_report_condition(FILE *f, const json_t *row);
/* Whether a row is about all items of its evaluation. */
int cwe_report_is_whole(const json_t *row);

/* ---- report_frame.c: the frame of a page ---- */

/* From the doctype to the open main element. kind: "Report", "Sweep", "Comparison". */
void cwe_report_begin(FILE *f, const char *kind, const json_t *job);
void cwe_report_end(FILE *f);
/* A section with its heading, which stable anchors name. */
void cwe_report_section(FILE *f, const char *anchor, const char *title);
/* A box that scrolls sideways on its own, reached by keyboard; closed by "</div>". */
void cwe_report_box(FILE *f, const char *label);

/* ---- report_interval.c: small pictures ---- */

struct cwe_report_scale {
	double low, high;
};

/* An empty range, and one that also holds all values and intervals of a row. */
struct cwe_report_scale cwe_report_scale_none(void);
void cwe_report_scale_add(struct cwe_report_scale *scale, const json_t *row);
/* Values of the three models with their intervals. name: what the picture is of. with_ends: the ends of the range below. */
void cwe_report_intervals(FILE *f, const json_t *row, const struct cwe_report_scale *scale, const char *name, int with_ends);
/* What the marks mean. */
void cwe_report_legend(FILE *f);
/* A bar for a share from 0 to 1; other: a thin second one below, NAN for none. */
void cwe_report_bar(FILE *f, double share, double other, const char *name);

/* ---- sections; each writes nothing where the report has nothing for it ---- */

void cwe_report_verdict(FILE *f, const json_t *report);   /* report_verdict.c */
void cwe_report_warnings(FILE *f, const json_t *report);
void cwe_report_results(FILE *f, const json_t *report);   /* report_results.c */
void cwe_report_languages(FILE *f, const json_t *report); /* report_languages.c */
void cwe_report_flips(FILE *f, const json_t *report);     /* report_flips.c */
void cwe_report_items(FILE *f, const json_t *report);     /* report_items.c */
void cwe_report_gate(FILE *f, const json_t *report);      /* report_gate.c */
void cwe_report_search(FILE *f, const json_t *report);    /* report_search.c */
void cwe_report_weights(FILE *f, const json_t *report);   /* report_weights.c */
void cwe_report_sets(FILE *f, const json_t *report);      /* report_sets.c */
void cwe_report_bytes_of(FILE *f, const json_t *report);
void cwe_report_origin(FILE *f, const json_t *report);    /* report_origin.c */
