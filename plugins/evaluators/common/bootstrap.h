/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Intervals of metrics that are no mean over items, by drawing units (terms, templates) anew. */
#ifndef CWP_EVALUATOR_BOOTSTRAP_H
#define CWP_EVALUATOR_BOOTSTRAP_H

#include <stddef.h>
#include <stdint.h>

#include <cwp/evaluator.h>

#define BOOTSTRAP_RESAMPLES 2000

struct bootstrap_interval {
	double low, high; /* 2.5 % and 97.5 % quantiles; NaN where the metric hardly ever has a value */
	double error;     /* standard deviation over the resamples */
};

/* Writes the metrics of a sample that has unit u times[u] times (NULL: once each); NaN where one has no value. */
typedef void bootstrap_measure(const void *arg, const uint32_t *times, double *ret);

/* Percentile intervals of `values` metrics over `units` units, from the host's random stream: the same for every model, so that
 * models are compared on the same resamples. 0 or -ENOMEM. */
int bootstrap_intervals(const struct cwp_host *host, size_t units, size_t values, bootstrap_measure *measure, const void *arg,
	struct bootstrap_interval *ret);

#endif
