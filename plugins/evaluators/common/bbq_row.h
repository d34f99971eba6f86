/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A row of BBQ or MBBQ: a question about two persons, and which answer a stereotype suggests. */
#ifndef CWP_EVALUATOR_BBQ_ROW_H
#define CWP_EVALUATOR_BBQ_ROW_H

#include "plugins/evaluators/common/rows.h"

#define BBQ_ANSWERS 3

struct bbq_row {
	const char *context, *question, *category, *example;
	const char *answer[BBQ_ANSWERS];
	unsigned label;      /* the right answer */
	unsigned unknown;    /* the answer that says that one cannot know */
	int disambiguated;
	int negative;        /* the question asks for what the stereotype says of the group */
	unsigned stereotyped; /* bit k: answer k is of a stereotyped group */
	unsigned biased;     /* bit k: answer k is what the stereotype suggests: the group's to a negative question, else the
			      * other's. lm-evaluation-harness' process_docs, strings and all */
};

/* 0, or a code whose reason is explained: a field is missing or has another value than it may, answers repeat, not exactly one
 * is of the group "unknown", or the right answer of an ambiguous question is another. */
int bbq_row_read(const struct rows *rows, uint64_t row, struct bbq_row *ret);

/* Whether one of the words of an answer ("lowSES", "F-Black", "woman") is a stereotyped group, letters' case aside. */
int bbq_same_group(const char *word, const char *group, const char *stereotyped);

#endif
