/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The same items under several models: what may be said of their differences. */
#pragma once

#include "engine/pipeline/outcomes.h"
#include "engine/statistics/statistics.h"

#define CWE_CONFIDENCE 0.95 /* of the intervals in reports */

/* One item under each model; NULL for all items of a model that has none. */
struct cwe_pair {
	const struct cwe_outcome *of[CWE_COMPARED];
};

/* The items that all models have which have any, in the order of the first such model's, matched by id; *ret is freed with
 * free(). The outcomes are borrowed. 0 or -ENOMEM. */
int cwe_pairs_match(const struct cwe_outcome *const item[CWE_COMPARED], const size_t items[CWE_COMPARED], struct cwe_pair **ret,
	size_t *ret_n);

/* What is to be compared. Streams tell the random numbers of one comparison from another's. */
struct cwe_pairs {
	const struct cwe_pair *pair; /* [n] */
	size_t n;
	uint32_t form; /* CWP_FORM_MEAN or CWP_FORM_EXP_MEAN */
	uint64_t seed, stream;
	struct cwe_pool *pool; /* may be NULL */
};

/* Items whose choice differs between two models (count, of n), those of them whose value rose and fell, and McNemar's p. n is
 * 0 where items have no choices. */
struct cwe_flips {
	size_t n, count, up, down;
	double p;
};

struct cwe_pairs_result {
	uint64_t n[CWE_COMPARED];                 /* items with a weight */
	struct cwe_interval own[CWE_COMPARED];    /* the metric; of shares Wilson's interval, else of the bootstrap */
	double error[CWE_COMPARED];
	struct cwe_interval change[CWE_COMPARED]; /* to the original; of shares Agresti and Min's, else of the bootstrap */
	struct cwe_interval recovery;
	enum cwe_verdict verdict;
};

/* The stream of a metric and group of an evaluation. */
uint64_t cwe_pairs_stream(const char *evaluation, const char *metric, const char *group);
/* All of it. 0 or -ENOMEM. */
int cwe_pairs_compare(const struct cwe_pairs *p, struct cwe_pairs_result *ret);
struct cwe_flips cwe_pairs_flips(const struct cwe_pair *pair, size_t n, enum cwe_compared than, enum cwe_compared which);
/* Whether an item chose otherwise. */
int cwe_pair_flipped(const struct cwe_pair *pair, enum cwe_compared than, enum cwe_compared which);

/* By how much one model is worse than another, and the one-sided p of "it is worse by margin or more". low and high hold
 * at this confidence, each on its side. of direction 0: distances from ideal are compared. */
struct cwe_pairs_question {
	enum cwe_compared which, than;
	int32_t direction;
	double ideal, margin, confidence;
};
int cwe_pairs_worse(const struct cwe_pairs *p, const struct cwe_pairs_question *q, struct cwe_interval *ret, double *ret_p);
/* How much worse a value is: by the metric's direction, or by its distance from the ideal. */
double cwe_worse_by(int32_t direction, double ideal, double value, double than);
