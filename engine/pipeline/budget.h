/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Budgets in bits a weight or in bytes of the output: what protection may take, and the lowest threshold that keeps to it.
 * Private to this folder. */
#pragma once

#include "engine/pipeline/run.h"
#include "engine/pipeline/tiles.h"

/* Fills in run->budget from shapes alone. CWP_EVALUE, with the least that is possible, where even the unprotected output
 * takes more. Nothing to do for a fraction. */
int cwe_run_budget(struct cwe_run *run, struct cwb_err *err);

/* Bytes that are left for the overlay. */
uint64_t cwe_budget_left(const struct cwe_run *run);
/* Memory of the search, from shapes; 0 without a budget. */
uint64_t cwe_run_budget_memory(const struct cwe_run *run);

/* The lowest threshold of the combined scores in `tiles` whose output keeps to run->budget, super weights being
 * protected in any case: one step of a float lower would exceed it. histogram: scores by the uppermost 11 bits of their
 * keys, as the first pass of a threshold counts them. INFINITY: nothing else fits. */
int cwe_budget_threshold(struct cwe_run *run, struct cwe_tiles *tiles, const uint64_t *histogram, float *ret,
	struct cwb_err *err);
/* With a scope of layers or rows: the largest fraction of each, in billionths, whose output keeps to run->budget. Rows lie in
 * `tiles` as places (cwe_row_places). */
int cwe_budget_fraction(struct cwe_run *run, struct cwe_tiles *tiles, double *ret, struct cwb_err *err);
/* The error where `overlay` bytes are the least. */
int cwe_budget_refuse(const struct cwe_run *run, uint64_t overlay, struct cwb_err *err);
/* Whether the finished output keeps to it; CWP_ESTATE otherwise. size: bits a weight as measured; bytes: of all files. */
int cwe_budget_kept(const struct cwe_run *run, double bits, uint64_t bytes, struct cwb_err *err);
