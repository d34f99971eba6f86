/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What may be said of measured differences: intervals, tests and the verdict on a gap. All results are the same for any
 * number of threads. Numbers that do not exist are NaN. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cwe_pool;

struct cwe_interval {
	double value, low, high;
};

/* The standard normal distribution: P(Z > z), and the z with P(Z <= z) = p, 0 < p < 1. [any-thread] */
double cwe_normal_above(double z);
double cwe_normal_quantile(double p);

/* Wilson's score interval (1927) of a share: hits of n, two-sided with this confidence. [any-thread] */
void cwe_wilson(double hits, double n, double confidence, double *ret_low, double *ret_high);

/* The difference of two shares of the same n items: `up` items were hit only the second time, `down` only the first.
 * Agresti and Min's interval (2005): Wald's after half an item is added to each cell of the table, so that it is no point
 * where no item differs. value is (up - down) / n; error, which may be NULL, what the interval was made with and centre
 * its middle. [any-thread] */
struct cwe_interval cwe_paired_rates(double up, double down, double n, double confidence, double *ret_centre, double *ret_error);

/* McNemar's exact test, two-sided: the probability of a split at least as uneven as up against down where both directions
 * are equally likely; 1 where nothing changed. [any-thread] */
double cwe_mcnemar(uint64_t up, uint64_t down);

/* Holm's adjusted p-values (1979) of n tests, [n] into ret, which may be p; NaN stays, and counts as a test. 0 or -ENOMEM.
 * [any-thread] */
int cwe_holm(const double *p, size_t n, double *ret);

/* The q-quantile of n numbers, 0 <= q <= 1, by linear interpolation between the neighbours of (n - 1) q. Reorders them. NaN
 * where n is 0. [any-thread] */
double cwe_quantile(double *x, size_t n, double q);
/* The two-sided percentile interval of n draws, those that are no number left out; NaN where that are more than one in
 * twenty. Reorders them. [any-thread] */
void cwe_percentiles(double *x, size_t n, double confidence, double *ret_low, double *ret_high);

/* Items under several models, to be drawn anew with replacement: the same items for all models, so that differences are
 * paired. A model's statistic is sum(weight * value) / sum(weight), or exp of it. */
#define CWE_BOOTSTRAP_MODELS 3
struct cwe_bootstrap_item {
	double value[CWE_BOOTSTRAP_MODELS], weight[CWE_BOOTSTRAP_MODELS];
};
struct cwe_bootstrap {
	const struct cwe_bootstrap_item *item; /* [n] */
	size_t n;                              /* below 2^32 */
	int exponential;                       /* exp of the weighted mean */
	uint64_t seed, stream;                 /* of cwe_random */
	struct cwe_pool *pool;                 /* NULL: in place */
};

/* How many times n items are drawn: 10,000; fewer, never below 1,000, where that are more than 2^30 draws. [any-thread] */
size_t cwe_bootstrap_resamples(size_t n);
/* Draws: ret is [resamples][CWE_BOOTSTRAP_MODELS], each resample's statistic of each model; NaN where its weights are all
 * 0. 0 or -ENOMEM. */
int cwe_bootstrap_run(const struct cwe_bootstrap *b, size_t resamples, double *ret);
/* The statistic of the items as they are. [any-thread] */
double cwe_bootstrap_value(const struct cwe_bootstrap *b, size_t model);
/* Its standard error: that of a ratio of sums, linearized. NaN where n is below 2. [any-thread] */
double cwe_bootstrap_error(const struct cwe_bootstrap *b, size_t model);

/* What protection did about the gap between the original (index 0) and the plainly quantized model (1). */
enum cwe_verdict {
	CWE_RECOVERY_CANNOT_TELL, /* the gap is within noise */
	CWE_RECOVERY_WORSE,       /* the interval lies below 0: the gap has grown */
	CWE_RECOVERY_NOT,         /* the interval holds 0 */
	CWE_RECOVERY_PARTLY,      /* the interval lies above 0 */
	CWE_RECOVERY_RECOVERED    /* and reaches 1, with a share of at least one half */
};
const char *cwe_verdict_name(enum cwe_verdict verdict);
/* The share of the gap that was closed, (protected - quantized) / (original - quantized), with the percentile interval of the
 * same share of each resample. gap: the difference quantized - original with its interval: where it holds 0, or there is
 * none, value, low and high are NaN. draws: [n][CWE_BOOTSTRAP_MODELS], may be NULL when n is 0. work: [n]. [any-thread] */
enum cwe_verdict cwe_recovery(const double value[CWE_BOOTSTRAP_MODELS], const struct cwe_interval *gap, const double *draws, size_t n,
	double confidence, double *work, struct cwe_interval *ret);
