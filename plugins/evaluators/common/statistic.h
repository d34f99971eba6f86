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
/* The `limit` items of n (0 or more than n: all) that the host's random stream chooses, ascending; *ret_index is freed
 * with free(). Returns how many, or SIZE_MAX when memory ran out. */
/* The same of those items whose skip[i] is 0. */
size_t statistic_choose_except(const struct cwp_host *host, size_t n, const unsigned char *skip, uint64_t limit,
	size_t **ret_index);
size_t statistic_choose(const struct cwp_host *host, size_t n, uint64_t limit, size_t **ret_index);

#endif
