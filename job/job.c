/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Text or file -> checked job, and the job's JSON and digest. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "job/job_table.h"
#include "job/path.h"

enum { MOST_BYTES = 1 << 20 };

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

int cwj_job_parse(const char *text, size_t length, const char *directory, struct cwj_job **ret, struct cwb_err *err)
{
	struct cwb_err own = {0};
	struct cwb_err *e = err != NULL && err->code == 0 ? err : &own;
	struct cwj_reader r = {.directory = directory, .err = e};
	struct cwj_draft draft = {0};
	struct cwj_yaml *tree;

	if (directory[0] != '/') {
		return cwb_err_set(err, CWP_EVALUE, "directory \"%.200s\" is not absolute; give a path that begins with /",
			directory);
	}
	int rc = cwj_yaml_parse(text, length, &tree, e);
	if (rc < 0) {
		return rc;
	}
	rc = cwj_table_read(&r, &cwj_job_table, tree, &draft);
	cwj_yaml_free(tree);
	struct cwj_job *job = rc == 0 ? finish(&draft) : NULL;
	if (job == NULL) {
		cwj_table_free(&cwj_job_table, &draft);
		return rc < 0 ? rc : cwb_err_set(e, -ENOMEM, "no memory for the job");
	}
	*ret = job;
	return 0;
}

/* The absolute folder of a file that may be named relative to the working directory. */
static char *folder_of(const char *path)
{
	char *cwd = path[0] == '/' ? strdup("/") : getcwd(NULL, 0);

	if (cwd == NULL) {
		return NULL;
	}
	char *whole = cwj_path_resolve(cwd, path);
	free(cwd);
	if (whole != NULL) {
		char *slash = strrchr(whole, '/');
		slash[slash == whole] = '\0';
	}
	return whole;
}

int cwj_job_read(const char *path, struct cwj_job **ret, struct cwb_err *err)
{
	struct cwb_err own = {0};
	struct cwb_err *e = err != NULL && err->code == 0 ? err : &own;
	char *text;
	size_t length;
	int rc = cwb_file_read(path, MOST_BYTES, &text, &length, e);

	if (rc < 0) {
		return rc;
	}
	char *folder = folder_of(path);
	if (folder == NULL) {
		rc = cwb_err_errno(e, "%s: cannot find its folder", path);
	} else {
		rc = cwj_job_parse(text, length, folder, ret, e);
		if (rc < 0 && e->line > 0) {
			(void)cwb_err_prefix(e, "%s:%d:%d", path, e->line, e->column);
		} else if (rc < 0) {
			(void)cwb_err_prefix(e, "%s", path);
		}
	}
	free(folder);
	free(text);
	return rc;
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
