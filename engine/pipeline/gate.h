/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A job's conditions on what was measured. */
#pragma once

#include <jansson.h>

#include "engine/pipeline/measured.h"
#include "engine/pipeline/pairs.h"
#include "job/job.h"

/* What a gate's metric names: "<evaluation>.<metric>" or "<evaluation>.<metric>/<group>". Borrowed, but for the pairs. */
struct cwe_gate_metric {
	const struct cwe_measured *evaluation;
	const struct cwe_metric_record *m;
	const char *group;     /* NULL: all items */
	struct cwe_pair *pair; /* its items; freed with free() */
	size_t n;
};

struct cwe_gate_facts {
	const struct cwe_measured *measured; /* [n] */
	size_t n;
	uint64_t seed;
	struct cwe_pool *pool; /* may be NULL */
};

/* What the condition is called in a job: "at-most". */
const char *cwe_gate_kind_name(enum cwj_gate_kind kind);

/* gate_metric.c: CWP_EUNKNOWN with the nearest name. */
int cwe_gate_find(const struct cwe_gate_facts *f, const char *name, struct cwe_gate_metric *ret, struct cwb_err *err);

/* Whether this condition can be judged by the metrics of the one evaluation, of which the original's are known: 0 where it is on
 * another one. CWP_EUNKNOWN: no such metric or group; CWP_EVALUE: not-worse-by on a metric that does not follow from items. number:
 * of the condition. gate_metric.c */
int cwe_gate_check(const struct cwj_gate *gate, size_t number, const struct cwe_measured *evaluation, struct cwb_err *err);

/* The report's rows of the conditions (doc/report.md), and whether one of them failed. CWP_EUNKNOWN: one is on what was not
 * measured. */
int cwe_gate_judge(const struct cwj_gate *gate, size_t n, const struct cwe_gate_facts *f, json_t **ret_rows, int *ret_rejected,
	struct cwb_err *err);

/* What a plan says of the conditions: {metric, condition, asked, than, confidence, needs}; needs: the models that are measured for
 * it, in words. A new reference, or NULL. */
json_t *cwe_gate_plan(const struct cwj_gate *gate, size_t n);
