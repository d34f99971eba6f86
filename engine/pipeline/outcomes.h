/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What an evaluator says of the models that are compared: metrics, the outcomes of items, and their texts. */
#pragma once

#include <cwp/evaluator.h>

#include "base/err.h"

enum cwe_compared { CWE_COMPARED_ORIGINAL, CWE_COMPARED_QUANTIZED, CWE_COMPARED_PROTECTED, CWE_COMPARED };

#define CWE_ITEM_TEXT_LIMIT 4096 /* bytes of a prompt or an answer that are kept */

struct cwe_outcome {
	char *id;
	char *group; /* NULL: none */
	double value, weight;
	int64_t choice;
};

struct cwe_metric_record {
	char *name;
	char *group; /* NULL: all items */
	int32_t direction;
	uint32_t form; /* enum cwp_form */
	double ideal;
	int filled[CWE_COMPARED];
	uint64_t n[CWE_COMPARED];
	double value[CWE_COMPARED], low[CWE_COMPARED], high[CWE_COMPARED], error[CWE_COMPARED];
	struct cwe_outcome *item[CWE_COMPARED];
	size_t items[CWE_COMPARED];
};

struct cwe_item_texts {
	char *id;
	uint32_t flags; /* enum cwp_item_flag */
	char *prompt;
	char *answer[CWE_COMPARED]; /* NULL: not told */
};

struct cwe_outcomes {
	struct cwe_metric_record *metric;
	size_t metrics;
	size_t last; /* the metric that was named last: items belong to it; `metrics` before the first */
	struct cwe_item_texts *text; /* in the order of the first model's items */
	size_t texts;
	struct cwe_text_index *index; /* texts by id */
	enum cwe_compared current;
	int failed;  /* what went wrong in a callback: -ENOMEM or CWP_EPLUGIN */
};

/* Metrics and items of this model come next. */
void cwe_outcomes_begin(struct cwe_outcomes *o, enum cwe_compared which);
/* What the evaluator calls; borrowed by it while o lives. */
struct cwp_metric_sink cwe_outcomes_sink(struct cwe_outcomes *o);
/* The outcomes of one model hold for another too. 0 or -ENOMEM. */
int cwe_outcomes_same(struct cwe_outcomes *o, enum cwe_compared from, enum cwe_compared to);
/* The metric of this name and group, or NULL; an item's texts, or NULL. */
const struct cwe_metric_record *cwe_outcomes_find(const struct cwe_outcomes *o, const char *name, const char *group);
const struct cwe_item_texts *cwe_outcomes_texts(const struct cwe_outcomes *o, const char *id);
/* Adds the metric "flips" where items have choices: 1 for those whose choice differs from the original's, else 0. Each item
 * counts once, by the first metric of all items that tells its choice. All models are there. 0 or -ENOMEM. flipped.c */
#define CWE_FLIPS "flips"
int cwe_outcomes_add_flips(struct cwe_outcomes *o);
void cwe_outcomes_free(struct cwe_outcomes *o);
