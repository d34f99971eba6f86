/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The metric that a gate names. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "engine/pipeline/gate.h"

#define NAME 256 /* bytes of a full name, its end included */

/* The part of a name behind "<evaluation>.", or NULL. An evaluation's name may hold dots, a metric's does not. */
static const char *metric_of(const char *evaluation, const char *name)
{
	size_t n = strlen(evaluation);
	if (strncmp(name, evaluation, n) != 0 || name[n] != '.') {
		return NULL;
	}
	const char *metric = name + n + 1, *dot = strchr(metric, '.'), *slash = strchr(metric, '/');
	return dot == NULL || (slash != NULL && slash < dot) ? metric : NULL;
}

static int has_group(const struct cwe_metric_record *m, const char *group)
{
	for (size_t k = 0; k < CWE_COMPARED; k++) {
		for (size_t i = 0; i < m->items[k]; i++) {
			if (m->item[k][i].group != NULL && strcmp(m->item[k][i].group, group) == 0) {
				return 1;
			}
		}
	}
	return 0;
}

/* The record of "<metric>" or "<metric>/<group>", the group one that the evaluator gave itself or one of its items. */
static const struct cwe_metric_record *find_record(const struct cwe_outcomes *o, const char *text, const char **ret_group)
{
	char metric[NAME];
	size_t n = strcspn(text, "/");
	const char *group = text[n] == '/' ? text + n + 1 : NULL;
	if (n >= sizeof metric) {
		return NULL;
	}
	memcpy(metric, text, n);
	metric[n] = '\0';
	const struct cwe_metric_record *m = cwe_outcomes_find(o, metric, group);
	if (m == NULL && group != NULL) {
		m = cwe_outcomes_find(o, metric, NULL);
		m = m != NULL && m->form != CWP_FORM_OTHER && has_group(m, group) ? m : NULL;
	}
	*ret_group = group;
	return m;
}

/* Full names of all metrics, for "did you mean"; those of items' groups where the metric is right. */
struct names {
	char (*name)[NAME];
	size_t n;
};

static void add_name(struct names *names, const char *evaluation, const char *metric, const char *group)
{
	char name[NAME];
	char(*more)[NAME] = (names->n & (names->n - 1)) == 0 ? realloc(names->name, (names->n > 0 ? 2 * names->n : 1) * sizeof *more)
							    : names->name;
	int n = snprintf(name, sizeof name, "%s.%s%s%s", evaluation, metric, group != NULL ? "/" : "", group != NULL ? group : "");
	names->name = more != NULL ? more : names->name;
	for (size_t i = 0; i < names->n; i++) {
		if (strcmp(names->name[i], name) == 0) {
			return;
		}
	}
	if (more != NULL && n > 0 && (size_t)n < sizeof name) {
		memcpy(more[names->n++], name, sizeof name);
	}
}

static void add_names(struct names *names, const struct cwe_measured *e, const char *text)
{
	const char *wanted = metric_of(e->name, text);
	for (size_t i = 0; i < e->outcomes.metrics; i++) {
		const struct cwe_metric_record *m = &e->outcomes.metric[i];
		size_t n = strlen(m->name);
		add_name(names, e->name, m->name, m->group);
		if (wanted == NULL || strncmp(wanted, m->name, n) != 0 || wanted[n] != '/') {
			continue;
		}
		for (size_t k = 0; k < m->items[CWE_COMPARED_ORIGINAL] && names->n < 1000; k++) {
			const char *group = m->item[CWE_COMPARED_ORIGINAL][k].group;
			if (group != NULL) {
				add_name(names, e->name, m->name, group);
			}
		}
	}
}

static int unknown(const struct cwe_gate_facts *f, const char *name, const char *field, struct cwb_err *err)
{
	struct names names = {NULL, 0};
	char known[300] = "";
	for (size_t i = 0; i < f->n; i++) {
		add_names(&names, &f->measured[i], name);
	}
	/* A list of pointers is what the search takes. */
	const char **list = calloc(names.n + 1, sizeof *list);
	for (size_t i = 0; list != NULL && i < names.n; i++) {
		size_t used = strlen(known);
		list[i] = names.name[i];
		(void)snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", names.name[i]);
	}
	const char *nearest = list != NULL ? cwb_nearest(name, list, names.n, sizeof(char *)) : NULL;
	if (err != NULL && err->code == 0) {
		(void)snprintf(err->field, sizeof err->field, "%s", field);
		(void)snprintf(err->nearest, sizeof err->nearest, "%s", nearest != NULL ? nearest : "");
	}
	int r = nearest != NULL
		? cwb_err_set(err, CWP_EUNKNOWN, "%s: \"%s\" is no metric; did you mean %s? There are %s", field, name, nearest, known)
		: cwb_err_set(err, CWP_EUNKNOWN, "%s: \"%s\" is no metric; there are %s", field, name, known);
	free(list);
	free(names.name);
	return r;
}

int cwe_gate_find(const struct cwe_gate_facts *f, const char *name, struct cwe_gate_metric *ret, struct cwb_err *err)
{
	struct cwe_gate_metric g = {0};
	for (size_t i = 0; g.m == NULL && i < f->n; i++) {
		const char *metric = metric_of(f->measured[i].name, name);
		g.evaluation = &f->measured[i];
		g.m = metric != NULL ? find_record(&f->measured[i].outcomes, metric, &g.group) : NULL;
	}
	if (g.m == NULL) {
		return unknown(f, name, "gate", err);
	}
	if (cwe_pairs_match((const struct cwe_outcome *const *)g.m->item, g.m->items, &g.pair, &g.n) != 0) {
		return cwb_err_set(err, -ENOMEM, "no memory for the items of %s", name);
	}
	/* A group of items. */
	size_t kept = 0;
	for (size_t i = 0; i < g.n && g.group != NULL && g.m->group == NULL; i++) {
		const struct cwe_outcome *any = g.pair[i].of[0] != NULL ? g.pair[i].of[0] : g.pair[i].of[CWE_COMPARED_PROTECTED];
		if (any != NULL && any->group != NULL && strcmp(any->group, g.group) == 0) {
			g.pair[kept++] = g.pair[i];
		}
	}
	g.n = g.group != NULL && g.m->group == NULL ? kept : g.n;
	*ret = g;
	return 0;
}

int cwe_gate_check(const struct cwj_gate *gate, size_t number, const struct cwe_measured *evaluation, struct cwb_err *err)
{
	const struct cwe_gate_facts f = {.measured = evaluation, .n = 1};
	const char *group = NULL, *metric = metric_of(evaluation->name, gate->metric);
	const struct cwe_metric_record *m = metric != NULL ? find_record(&evaluation->outcomes, metric, &group) : NULL;
	char field[64];
	if (metric == NULL) {
		return 0;
	}
	(void)snprintf(field, sizeof field, "gate[%zu].metric", number);
	if (m == NULL) {
		return unknown(&f, gate->metric, field, err);
	}
	if (gate->kind == CWJ_GATE_NOT_WORSE_BY && m->form == CWP_FORM_OTHER) {
		if (err != NULL && err->code == 0) {
			(void)snprintf(err->field, sizeof err->field, "gate[%zu].not-worse-by", number);
		}
		return cwb_err_set(err, CWP_EVALUE, "gate[%zu].not-worse-by: %s does not follow from items, which could be compared one by one; "
			"write worse-by-at-most, or gate on another metric", number, gate->metric);
	}
	return 0;
}
