/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What the job's table cannot say by itself: defaults, values that depend on others. Internal to
 * this room. */
#pragma once

#include "job/schema.h"

extern const struct cwj_custom cwj_fraction; /* a double, or the word auto */
extern const struct cwj_custom cwj_at_most;  /* the largest fraction that auto may take */
extern const struct cwj_custom cwj_adapters; /* of the draft: a path, or a list of paths */
extern const struct cwj_custom cwj_masks;    /* likewise */
extern const struct cwj_custom cwj_budget_bits, cwj_budget_bytes; /* of the draft */
extern const struct cwj_custom
	cwj_gate_confidence, /* left out but with not-worse-by */
	cwj_gate_limit; /* one of a gate's five limits; the key's tag is its kind */

extern const struct cwj_custom cwj_chat_format; /* struct cwj_chat: a name, or a path */

/* Where one job is wanted: a matrix stands for several, and is taken out before (job/sweep.h). */
extern const struct cwj_custom cwj_matrix_refused;

void cwj_gate_fill(void *gate);
int cwj_gate_check(struct cwj_reader *r, const struct cwj_yaml *node, void *gate);
int cwj_backend_check(struct cwj_reader *r, const struct cwj_yaml *node, const void *draft);
void cwj_job_fill(void *draft);
/* The output is none of the folders that the job reads. */
int cwj_job_paths_check(struct cwj_reader *r, const struct cwj_yaml *node, const void *draft);
/* As cwj_fail at a key of one of the job's sections. */
int cwj_job_fail_at(
	struct cwj_reader *r, const struct cwj_yaml *node, const char *section, const char *key, const char *what);
/* One budget, and what fits it. */
int cwj_job_protect_check(struct cwj_reader *r, const struct cwj_yaml *node, const void *draft);
/* Sets what at-most says, and refuses what does not go with auto: job_fraction.c. */
int cwj_fraction_check(struct cwj_reader *r, const struct cwj_yaml *node, void *draft);
int cwj_job_check(struct cwj_reader *r, const struct cwj_yaml *node, void *draft);
