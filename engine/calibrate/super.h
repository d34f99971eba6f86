/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Super weights (arXiv 2411.07191): the few single weights of down projections that make the huge activations on which a
 * whole model depends. Found by one forward pass; doc/method.md section 13 has the rule and where it departs. */
#pragma once

#include "engine/calibrate/calibrate.h"

struct cwe_super {
	uint32_t layer, linear;
	uint64_t row, col;
};

struct cwe_super_list {
	struct cwe_super *item; /* by layer, matrix, row, column */
	size_t count;
};

/* How far a channel of the input, its product with a weight, and the weight stand out (the rule's three factors), and the
 * least share of the largest product. */
#define CWE_SUPER_INPUT 50.0
#define CWE_SUPER_OUTPUT 100.0
#define CWE_SUPER_WEIGHT 10.0
#define CWE_SUPER_SHARE 0.25

/* The rule on one matrix: needs act_sq, act_absmax and the weight. Appends what it finds. -ENOMEM or 0. [any-thread] */
int cwe_super_judge(const struct cwe_module_statistics *s, uint32_t layer, uint32_t linear, struct cwe_super_list *list);

/* One pass of the corpus through the model, all down projections judged: of dense and shared MLPs and of each expert.
 * scratch, memory: as cwe_calibration. list->item is freed with free(). [worker] */
int cwe_super_find(struct cwe_model *model, const struct cwe_corpus *corpus, const char *scratch, uint64_t memory,
	struct cwe_super_list *ret, struct cwb_err *err);
/* Statistics that it asks for: for cwe_calibration_bounds. */
#define CWE_SUPER_NEEDS (CWP_STAT_ACT_SQ | CWP_STAT_ACT_ABSMAX)
