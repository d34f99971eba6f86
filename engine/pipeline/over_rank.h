/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* protect.over-rank: keep-best: of a module that needs a larger adapter than protect.max-rank allows, the columns or rows that
 * score best. Private to this folder. */
#pragma once

#include "engine/pipeline/mask.h"

/* Whether masks are cut to the largest rank. */
int cwe_over_rank(const struct cwe_run *run);
/* Room in a reader of masks, which frees it. */
int cwe_over_rank_open(struct cwe_mask_reader *r, struct cwb_err *err);
/* Notes which columns or rows of the mask at hand are selected, before super weights are added. */
void cwe_over_rank_note(struct cwe_mask_reader *r);
/* Cuts the mask at hand to the rank: first the columns or rows of super weights are kept, then those that score best, of equals
 * the first. Of the protected weights in *set those that are left count; r->dropped: how many columns or rows are not
 * protected any more. */
int cwe_over_rank_cut(struct cwe_mask_reader *r, uint64_t *set, struct cwb_err *err);
/* Says which modules lost something, in the log and the report's warnings; nothing where none did. */
int cwe_over_rank_report(struct cwe_run *run, struct cwb_err *err);
/* {module: {"lost", "kept", "weights"}} of those modules; NULL where none did. */
json_t *cwe_over_rank_json(const struct cwe_run *run);
