/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* protect.fraction, a number or the word auto, and protect.at-most. */
#include <errno.h>
#include <string.h>

#include "job/job_check.h"
#include "job/job_table.h"
#include "job/schema_value.h"

#define AT_MOST 0.2 /* where experiments end: more is another quantizer's work */

static int fraction_read(struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target)
{
	struct cwj_job *job = &((struct cwj_draft *)((char *)target - key->offset))->job;
	struct cwj_key number = {.name = key->name, .kind = CWJ_NUMBER, .least = key->least, .most = key->most, .remedy = key->remedy};

	if (node->kind == CWJ_YAML_SCALAR && strcmp(node->text, "auto") == 0) {
		job->search = 1;
		return 0;
	}
	return cwj_value_read(r, &number, node, target);
}

static int fraction_json(json_t *object, const struct cwj_key *key, const void *target)
{
	const struct cwj_draft *d = (const struct cwj_draft *)((const char *)target - key->offset);

	/* Left out where something else is the budget. */
	if (d->job.bits > 0 || d->job.bytes > 0 || d->job.n_masks > 0) {
		return 0;
	}
	return json_object_set_new(object, key->name, d->job.search ? json_string("auto") : json_real(*(const double *)target)) < 0
		       ? -ENOMEM
		       : 0;
}

const struct cwj_custom cwj_fraction = {.read = fraction_read, .json = fraction_json};

static int at_most_read(struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target)
{
	struct cwj_key number = {.name = key->name, .kind = CWJ_NUMBER, .least = key->least, .most = key->most, .remedy = key->remedy};
	double value = 0;
	int rc = cwj_value_read(r, &number, node, (char *)&value);

	(void)target;
	return rc == 0 && value <= 0 ? cwj_fail(r, node, CWP_EVALUE, "%g is not above 0; %s", value, key->remedy) : rc;
}

static int at_most_json(json_t *object, const struct cwj_key *key, const void *target)
{
	const struct cwj_job *job = &((const struct cwj_draft *)target)->job;

	return job->search && json_object_set_new(object, key->name, json_real(job->at_most)) < 0 ? -ENOMEM : 0;
}

const struct cwj_custom cwj_at_most = {.read = at_most_read, .json = at_most_json};

int cwj_fraction_check(struct cwj_reader *r, const struct cwj_yaml *node, void *draft)
{
	struct cwj_job *job = &((struct cwj_draft *)draft)->job;
	const struct cwj_yaml *at_most = job->has_protect ? cwj_yaml_get(cwj_yaml_get(node, "protect"), "at-most") : NULL;

	if (!job->search) {
		return at_most == NULL ? 0
				       : cwj_job_fail_at(r, node, "protect", "at-most", "goes with fraction: auto; remove it, or write that");
	}
	job->at_most = AT_MOST;
	if (at_most != NULL && cwj_number_parse(at_most, &job->at_most) != 0) {
		return cwj_job_fail_at(r, node, "protect", "at-most", "is no number");
	}
	job->fraction = job->at_most; /* what plans and bounds are made for */
	if (job->n_gates == 0) {
		return cwj_job_fail_at(r, node, "protect", "fraction",
			"auto takes the least fraction that passes the gate, and there is no gate; add one, or write a number");
	}
	if (job->scale_pilot) {
		return cwj_job_fail_at(r, node, "protect", "fraction",
			"auto tries several fractions, and score.scale: pilot keeps the scores of one alone; use scale: exact");
	}
	return 0;
}
