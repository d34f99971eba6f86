/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Super weights of a run: protected whatever the budget, and counted apart. Private to this folder. */
#pragma once

#include "engine/pipeline/run.h"

/* Fills in run->super, from scratch where an earlier attempt found them. Nothing to do where nothing is scored or the job
 * does not want it. [worker] */
int cwe_run_super(struct cwe_run *run, struct cwb_err *err);
/* Adds one, once, with its value. */
int cwe_run_super_add(struct cwe_run *run, size_t module, uint64_t row, uint64_t col, struct cwb_err *err);
/* [[module, row, column], ..] for later jobs of the same model and samples; a new reference, NULL: memory ran out, or super
 * weights were not looked for. */
json_t *cwe_run_super_places(const struct cwe_run *run);
/* Takes such a list, as if they had been looked for; -1 when it is none. */
int cwe_run_super_take(struct cwe_run *run, const json_t *places);
/* What the pass needs, from shapes; untouched where there is none. */
struct cwe_need;
void cwe_run_super_need(const struct cwe_run *run, struct cwe_need *ret);
/* [{module, row, column, value, selected}]; a new reference. */
json_t *cwe_run_super_json(const struct cwe_run *run);
