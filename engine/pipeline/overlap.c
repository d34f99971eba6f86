/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Items that a job would use twice: in a critical and in a utility set, or for calibration and evaluation. Both are found
 * by the items' identities. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/run.h"
#include "engine/text/dataset.h"

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int is_among(const struct cwe_run *run, const char *identity)
{
	return run->items > 0 &&
		bsearch(&identity, run->item, run->items, sizeof *run->item, compare) != NULL;
}

/* Asked by the host. */
static int is_calibrated(void *arg, const char *identity)
{
	return is_among(arg, identity);
}

/* The identities of set i, sorted, at the end of run->item. */
static void add_set(struct cwe_run *run, size_t i)
{
	size_t first = run->items;
	for (size_t k = 0; k < run->set[i].count; k++) {
		run->item[run->items++] = run->set[i].sample[k].identity;
	}
	if (run->items > first) {
		qsort(&run->item[first], run->items - first, sizeof *run->item, compare);
	}
}

/* How many of a set's samples are among the identities so far. */
static size_t count_shared(const struct cwe_run *run, const struct cwe_sample_set *set, const char **ret_example)
{
	size_t n = 0;
	for (size_t k = 0; k < set->count; k++) {
		if (is_among(run, set->sample[k].identity)) {
			*ret_example = set->sample[k].identity;
			n++;
		}
	}
	return n;
}

/* A utility set against one critical set, which alone is in run->item. */
static int check_pair(struct cwe_run *run, size_t critical, size_t utility, struct cwb_err *err)
{
	const struct cwe_sample_set *c = &run->set[critical], *u = &run->set[utility];
	const char *example = "";
	size_t shared = count_shared(run, u, &example);
	if (shared == 0) {
		return 0;
	}
	if (shared < u->count && shared < c->count) {
		return cwe_run_warn(run, err, "calibrate: critical set \"%s\" and utility set \"%s\" share %zu of %zu items, such as %s",
			c->name, u->name, shared, u->count, example);
	}
	return cwb_err_set(err, CWP_EVALUE, "calibration sets \"%s\" (critical) and \"%s\" (utility) are the same %zu items, such as %s: "
		"what is to be protected would be weighed against itself; leave one out, or take other data", c->name, u->name, shared,
		example);
}

int cwe_run_overlap(struct cwe_run *run, struct cwb_err *err)
{
	size_t total = 1;
	int r = 0;
	for (size_t i = 0; i < run->sets; i++) {
		total += run->set[i].count;
	}
	run->item = calloc(total, sizeof *run->item);
	if (run->item == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for %zu identities", total);
	}
	for (size_t i = 0; r == 0 && i < run->sets; i++) {
		run->items = 0;
		add_set(run, i);
		for (size_t k = 0; r == 0 && run->set[i].role == CWJ_ROLE_CRITICAL && k < run->sets; k++) {
			r = run->set[k].role == CWJ_ROLE_UTILITY ? check_pair(run, i, k, err) : 0;
			r = cwe_run_place(err, r, run->job->sets[k].line, run->job->sets[k].column, "calibrate", run->set[k].name);
		}
	}
	run->items = 0;
	for (size_t i = 0; i < run->sets; i++) {
		add_set(run, i);
	}
	qsort(run->item, run->items, sizeof *run->item, compare);
	run->p->host->calibrated = is_calibrated;
	run->p->host->calibrated_arg = run;
	return r;
}
