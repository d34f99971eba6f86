/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Text or file -> checked job, and the job's JSON and digest. */
#include <errno.h>
#include <stdlib.h>

#include "base/digest.h"
#include "base/json.h"
#include "job/document.h"
#include "job/job_table.h"

/* Moves a checked draft into one block with one list of sets; the draft keeps nothing. */
static struct cwj_job *finish(struct cwj_draft *d)
{
	struct cwj_job *job = malloc(sizeof(*job));
	size_t count = d->n_critical + d->n_utility;
	struct cwj_set *sets = calloc(count + 1, sizeof(*sets));

	if (job == NULL || sets == NULL) {
		free(job);
		free(sets);
		return NULL;
	}
	for (size_t i = 0; i < count; i++) {
		sets[i] = i < d->n_critical ? d->critical[i] : d->utility[i - d->n_critical];
		sets[i].role = i < d->n_critical ? CWJ_ROLE_CRITICAL : CWJ_ROLE_UTILITY;
	}
	free(d->critical);
	free(d->utility);
	*job = d->job;
	job->n_sets = count;
	job->sets = sets;
	return job;
}

/* The job as the table sees it; shares all memory with it. */
static struct cwj_draft view(const struct cwj_job *job)
{
	struct cwj_draft d = {.job = *job, .has_calibrate = job->n_sets > 0};

	while (d.n_critical < job->n_sets && job->sets[d.n_critical].role == CWJ_ROLE_CRITICAL) {
		d.n_critical++;
	}
	d.n_utility = job->n_sets - d.n_critical;
	d.critical = job->sets;
	d.utility = job->sets != NULL ? job->sets + d.n_critical : NULL;
	return d;
}

/* The end of both ways in: hands out the job, or frees what was read of it. */
static int hand_out(struct cwj_draft *draft, int rc, struct cwj_job **ret, struct cwb_err *err)
{
	struct cwj_job *job = rc == 0 ? finish(draft) : NULL;

	if (job == NULL) {
		cwj_table_free(&cwj_job_table, draft);
		return rc < 0 ? rc : cwb_err_set(err, -ENOMEM, "no memory for the job");
	}
	*ret = job;
	return 0;
}

int cwj_job_parse(const char *text, size_t length, const char *directory, struct cwj_job **ret,
	struct cwb_err *err)
{
	struct cwj_draft draft = {0};
	int rc = cwj_document_parse(text, length, directory, &cwj_job_table, 0, &draft, err);

	return hand_out(&draft, rc, ret, err);
}

int cwj_job_from_tree(struct cwj_reader *r, const struct cwj_yaml *tree, struct cwj_job **ret)
{
	struct cwj_draft draft = {0};
	int rc = cwj_table_read(r, &cwj_job_table, tree, &draft);

	return hand_out(&draft, rc, ret, r->err);
}

int cwj_job_read(const char *path, struct cwj_job **ret, struct cwb_err *err)
{
	struct cwj_draft draft = {0};
	int rc = cwj_document_read(path, &cwj_job_table, 0, &draft, err);

	return hand_out(&draft, rc, ret, err);
}

void cwj_job_free(struct cwj_job *job)
{
	if (job == NULL) {
		return;
	}
	struct cwj_draft d = view(job);
	/* One block holds both lists. */
	d.n_critical += d.n_utility;
	d.n_utility = 0;
	d.utility = NULL;
	cwj_table_free(&cwj_job_table, &d);
	free(job);
}

json_t *cwj_job_json(const struct cwj_job *job)
{
	struct cwj_draft d = view(job);

	return cwj_table_json(&cwj_job_table, &d);
}

int cwj_job_digest(const struct cwj_job *job, char ret_hex[65])
{
	static const char *const left_out[] = {"name", "output", "limits"};
	json_t *json = cwj_job_json(job);
	size_t length;

	if (json == NULL) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++) {
		(void)json_object_del(json, left_out[i]); /* an absent name is fine */
	}
	char *text = cwb_json_dump(json, &length);
	json_decref(json);
	if (text == NULL) {
		return -ENOMEM;
	}
	int rc = cwb_digest_buffer(text, length, ret_hex);
	free(text);
	return rc;
}
