/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* report.json as a page that needs nothing else: styles and charts are inside, no script. */
#pragma once

#include <jansson.h>
#include <stddef.h>

/* *ret_html is freed with free(). 0 or -ENOMEM. Every text of the report is escaped. [any-thread] */
int cwe_report_html(const json_t *report, char **ret_html, size_t *ret_length);
