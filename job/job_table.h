/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The job file's schema. Internal to this room. */
#pragma once

#include "job/job.h"
#include "job/schema.h"

/* A job as the file has it: two lists of sets, which struct cwj_job keeps in one. */
struct cwj_draft {
	struct cwj_job job; /* sets and n_sets are not used here */
	int has_calibrate;
	size_t n_critical, n_utility;
	struct cwj_set *critical, *utility;
};

extern const struct cwj_table cwj_job_table; /* of struct cwj_draft */
extern const struct cwj_table cwj_gate_table; /* of struct cwj_gate */

/* A checked job from a tree; errors in r->err. */
int cwj_job_from_tree(struct cwj_reader *r, const struct cwj_yaml *tree, struct cwj_job **ret);
