/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Finished outputs: judged anew, and side by side. From their outcomes alone; no model is opened. */
#pragma once

#include <jansson.h>

#include "engine/pipeline/measured.h"
#include "job/gates.h"

struct cwe_pool;

/* {gate, rejected}: the rows of a report's gate for these conditions; nothing is changed. CWP_EUNKNOWN, CWP_EVALUE, and errors of
 * cwe_measured_read. pool may be NULL. */
int cwe_output_judge(const char *output, const struct cwj_gates *gates, struct cwe_pool *pool, json_t **ret, struct cwb_err *err);

#define CWE_OUTPUTS 8 /* compared at most */

/* {outputs, metrics}: for each metric of all items that one of the outputs has, {name, benchmark, metric, form, direction,
 * ideal, original, values, differences}; values: {n, value, low, high} of each output, differences: of each output to the first
 * {n, value, low, high, flips} on the same items, null for the first, and where the two were not measured on the same data. */
int cwe_outputs_compare(const char *const *output, size_t n, struct cwe_pool *pool, json_t **ret, struct cwb_err *err);
/* That as a page that needs nothing else; freed with free(). 0 or -ENOMEM. compare_html.c */
int cwe_compare_html(const json_t *comparison, char **ret_html, size_t *ret_length);
