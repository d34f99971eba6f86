/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Intervals of rates and means, and the choice of a part of the items. */
#ifndef CWP_EVALUATOR_STATISTIC_H
#define CWP_EVALUATOR_STATISTIC_H

#include <stddef.h>
#include <stdint.h>

#include <cwp/evaluator.h>

#define STATISTIC_Z 1.959963984540054 /* 95 %, two-sided */

/* Wilson's score interval of a rate k / n. */
void statistic_wilson(double k, double n, double *ret_low, double *ret_high);
/* Mean, its standard error (sample deviation / sqrt(n); 0 for n = 1) and normal interval. */
void statistic_mean(const double *x, size_t n, struct cwp_metric *metric);
/* The `limit` items of n (0 or more than n: all) that the host's random stream chooses of those whose skip[i] is 0 (NULL:
 * none is skipped), ascending; *ret_index is freed with free(). Where strata are given (stratum[i], any numbers), each has the
 * share of the choice that it has of the items, rounded. A larger limit chooses more than the same items. Returns how many,
 * or SIZE_MAX when memory ran out. */
size_t statistic_choose(const struct cwp_host *host, size_t n, const unsigned char *skip, const size_t *stratum, uint64_t limit,
	size_t **ret_index);

#endif
