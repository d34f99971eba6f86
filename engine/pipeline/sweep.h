/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the jobs of a matrix have in common: one plan before they run, one report when they have ended. */
#pragma once

#include "engine/pipeline/pipeline.h"
#include "job/sweep.h"

/* Plans every point. p without a job. *ret is an object {children: [{name, values, bounds}], bounds, stages, sizes, chat,
 * warnings}: bounds are the largest of all points, stages and sizes those of the first, warnings those of all. A finished
 * output of a point is no error: that point is done. Refuses what one of the points could not run, and an output folder
 * that holds anything else than this sweep's. */
int cwe_sweep_plan(const struct cwe_pipeline *p, const struct cwj_sweep *sweep, json_t **ret, struct cwb_err *err);

/* Reads the reports of the points that have one (done or rejected) and writes report.json and report.html into the sweep's
 * output folder. *ret_found: how many points have a report; with none, nothing is written. */
int cwe_sweep_report(const struct cwj_sweep *sweep, size_t *ret_found, struct cwb_err *err);

/* Which of these points (the report's) to take: an object {name, passed, bits_per_weight, met, conditions, failed}. Of those that pass
 * their gate the one with the fewest bits a weight, of equals the best by the gate's first metric; where none passes the one that
 * meets most conditions, likewise. failed: its rows of the gate that are not met. null where no point was judged; NULL without
 * memory. sweep_best.c. [any-thread] */
json_t *cwe_sweep_best(const json_t *points);

/* The joint report as a page that needs nothing else. *ret_html is freed with free(). 0 or -ENOMEM. [any-thread] */
int cwe_sweep_html(const json_t *report, char **ret_html, size_t *ret_length);
