/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* report.json as a page that needs nothing else: styles and charts are inside, no script. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

#define CWE_REPORT_VERSION 2 /* of report.json (doc/report.md) */

/* *ret_html is freed with free(). 0 or -ENOMEM. Every text of the report is escaped. [any-thread] */
int cwe_report_html(const json_t *report, char **ret_html, size_t *ret_length);
/* The model card of an output (README.md) from its report; freed with free(). 0 or -ENOMEM. [any-thread] */
int cwe_report_card(const json_t *report, char **ret, size_t *ret_length);

/* report.json, report.html and README.md in an open folder, each replaced as a whole. */
int cwe_report_write(int folder, const json_t *report, struct cwb_err *err);

struct cwe_run;
/* How scores were made, null where there were none. A new reference. */
json_t *cwe_report_scoring(const struct cwe_run *run);
/* The modules of which the largest share is protected, at most ten. A new reference. */
json_t *cwe_report_top(const struct cwe_run *run);
/* Weights and protected weights of each kind of module in each layer, null where nothing is to be protected. A new reference. */
json_t *cwe_report_map(const struct cwe_run *run);
