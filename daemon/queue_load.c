/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The queue as the store remembers it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/queue_p.h"

struct load {
	struct cwd_queue *queue;
	struct cwb_err *err;
};

static int take_text(const struct cwd_row *row, int column, char **ret)
{
	const char *text = cwd_row_text(row, column);

	*ret = text == NULL ? NULL : strdup(text);
	return text != NULL && *ret == NULL ? -ENOMEM : 0;
}

static int take_texts(const struct cwd_row *row, struct cwd_job *job)
{
	char **const fields[] = {&job->key, &job->owner, &job->name, &job->directory, &job->request,
		&job->digest, &job->model, &job->output, &job->reason, &job->scratch, &job->point};
	static const int columns[] = {1, 3, 4, 5, 6, 7, 8, 9, 18, 22, 25};
	size_t i;
	int rc = 0;

	for (i = 0; i < sizeof columns / sizeof columns[0]; i++) {
		rc |= take_text(row, columns[i], fields[i]);
	}
	return rc;
}

static int take_parts(const struct cwd_row *row, struct cwd_job *job, struct cwb_err *err)
{
	const char *error = cwd_row_text(row, 19);
	int rc = cwd_after_parse(cwd_row_text(row, 16), &job->after, &job->n_after, err);

	if (rc == 0) {
		rc = cwd_resources_parse(cwd_row_text(row, 17), &job->resources, err);
	}
	if (rc == 0 && error != NULL) {
		job->error = calloc(1, sizeof *job->error);
		rc = job->error == NULL ? cwb_err_set(err, -ENOMEM, "no memory for a job")
					: cwd_error_parse(error, job->error, err);
	}
	return rc;
}

static int visit_job(const struct cwd_row *row, void *arg)
{
	struct load *load = arg;
	struct cwd_job *job = calloc(1, sizeof *job);
	int state = cwd_state_find(cwd_row_text(row, 10)), rc;

	if (job == NULL || take_texts(row, job) != 0) {
		cwd_job_free(job);
		return cwb_err_set(load->err, -ENOMEM, "no memory for the jobs of the store");
	}
	job->id = cwd_row_int(row, 0);
	job->uid = (uid_t)cwd_row_int(row, 2);
	job->state = state < 0 ? CWD_FAILED
			       : (enum cwd_state)state; /* a CHECK of the table keeps others out */
	job->priority = (int)cwd_row_int(row, 11);
	job->rank = cwd_row_int(row, 12);
	job->submitted = cwd_row_real(row, 13);
	job->started = cwd_row_real(row, 14);
	job->ended = cwd_row_real(row, 15);
	job->cancelling = (int)cwd_row_int(row, 20);
	job->interruptions = (int)cwd_row_int(row, 21);
	job->parent = cwd_row_int(row, 23); /* null is 0 */
	job->n_children = (size_t)cwd_row_int(row, 24);
	rc = take_parts(row, job, load->err);
	if (rc == 0 && cwd_queue_added(load->queue, job) < 0) {
		rc = cwb_err_set(load->err, -ENOMEM, "no memory for the jobs of the store");
	}
	if (rc < 0) {
		(void)cwb_err_prefix(load->err, "job %lld of the store", (long long)job->id);
		cwd_job_free(job);
	}
	return rc;
}

static int visit_attempt(const struct cwd_row *row, void *arg)
{
	struct load *load = arg;
	struct cwd_job *job = cwd_queue_find(load->queue, cwd_row_int(row, 0));
	struct cwd_attempt *attempt =
		job == NULL ? NULL : cwd_job_add_attempt(job, cwd_row_real(row, 2));

	if (job == NULL) {
		return 0; /* the foreign key keeps this out */
	}
	if (attempt == NULL || take_text(row, 8, &attempt->reason) < 0 ||
		take_text(row, 11, &attempt->boot) < 0 || take_text(row, 12, &attempt->gpus) < 0) {
		return cwb_err_set(load->err, -ENOMEM, "no memory for the attempts of the store");
	}
	attempt->number = (int)cwd_row_int(row, 1);
	attempt->ended = cwd_row_real(row, 3);
	snprintf(attempt->result, sizeof attempt->result, "%s", cwd_row_text(row, 4));
	attempt->exit_code = cwd_row_is_null(row, 5) ? -1 : (int)cwd_row_int(row, 5);
	attempt->signal = (int)cwd_row_int(row, 6);
	attempt->checkpoints = (int)cwd_row_int(row, 7);
	attempt->pid = cwd_row_int(row, 9);
	attempt->start_ticks = (uint64_t)cwd_row_int(row, 10);
	return 0;
}

static int visit_event(const struct cwd_row *row, void *arg)
{
	struct load *load = arg;
	struct cwd_event event = {.seq = cwd_row_int(row, 0),
		.time = cwd_row_real(row, 1),
		.job = cwd_row_int(row, 2),
		.state = cwd_row_text(row, 4) == NULL ? -1 : cwd_state_find(cwd_row_text(row, 4)),
		.attempt = (int)cwd_row_int(row, 5)};
	int kind;

	for (kind = 0; kind < CWD_EVENT_PROGRESS; kind++) {
		if (strcmp(cwd_row_text(row, 3), cwd_event_name((enum cwd_event_kind)kind)) == 0) {
			break;
		}
	}
	event.kind = (enum cwd_event_kind)kind;
	if (take_text(row, 6, &event.reason) < 0) {
		return cwb_err_set(load->err, -ENOMEM, "no memory for the events of the store");
	}
	if (cwd_queue_keep_event(load->queue, &event) < 0) {
		return cwb_err_set(load->err, -ENOMEM, "no memory for the events of the store");
	}
	return 0;
}

int cwd_queue_load(struct cwd_queue *queue, struct cwd_store *store, struct cwb_err *err)
{
	struct load load = {.queue = queue, .err = err};
	int64_t last_id = 0, last_seq = 0;
	int rc = cwd_store_last(store, &last_id, &last_seq, err);

	if (rc == 0) {
		rc = cwd_store_read(store, CWD_JOBS, visit_job, &load, err);
	}
	if (rc == 0) {
		rc = cwd_store_read(store, CWD_ATTEMPTS, visit_attempt, &load, err);
	}
	if (rc == 0) {
		rc = cwd_store_read(store, CWD_EVENTS, visit_event, &load, err);
	}
	if (rc < 0) {
		return rc;
	}
	if (last_id > queue->last_id) {
		queue->last_id = last_id;
	}
	queue->last_seq = last_seq;
	return 0;
}
