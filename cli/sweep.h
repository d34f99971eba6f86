/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What verbs say about sweeps: jobs whose file has a matrix. */
#pragma once

#include "cli/cwc.h"
#include "cli/table.h"

/* How many jobs a plan is about; 0: it is no sweep's. plan: as Submit answers it. */
size_t cwc_sweep_plan_jobs(const json_t *plan);

/* Whether a report is that of a sweep. */
int cwc_sweep_is_report(const json_t *report);
/* The points of a sweep's report, and a table for each metric. */
void cwc_sweep_report(const struct cwc *cwc, const json_t *report, struct cwc_text *text);

/* Rows of show: the sweep of a job and its values, or the fields of a sweep. */
void cwc_sweep_rows(struct cwc_table *table, const json_t *job);

/* "67.2 [60.1, 74.0]" of {value, low, high}; "-" where there is none. */
void cwc_measure_add(struct cwc_table *table, const json_t *measure, enum cwc_colour colour);
