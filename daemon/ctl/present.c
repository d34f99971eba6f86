/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Jobs as JSON. */
#include "daemon/ctl/present.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "daemon/supervise.h"
#include "daemon/sweep.h"
#include "wire/message.h"

json_t *cwd_present_text(const char *text)
{
	json_t *value;
	char *escaped;
	size_t size;

	if (text == NULL) {
		return json_null();
	}
	value = json_string(text);
	if (value != NULL) {
		return value;
	}
	size = strlen(text) * 4 + 1;
	escaped = malloc(size);
	if (escaped == NULL) {
		return NULL;
	}
	cww_escape(text, strlen(text), escaped, size);
	value = json_string(escaped);
	free(escaped);
	return value;
}

static json_t *id_json(int64_t id)
{
	char text[24];

	snprintf(text, sizeof text, "%" PRId64, id);
	return json_string(text);
}

static json_t *time_json(double time)
{
	return time > 0 ? json_real(time) : json_null();
}

static json_t *bytes_json(uint64_t n)
{
	return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

static json_t *known_json(double value, int known)
{
	return known ? json_real(value) : json_null();
}

json_t *cwd_present_resources(const struct cwd_resources *r)
{
	int gpus = r->gpu_memory == 0 ? 0 : r->gpus > 1 ? (int)r->gpus : 1;

	return json_pack("{s:o, s:o, s:i, s:o, s:o, s:o}", "threads", bytes_json(r->threads), "memory",
		bytes_json(r->memory), "gpus", gpus, "gpu_memory", bytes_json(r->gpu_memory), "scratch",
		bytes_json(r->scratch), "time", bytes_json(r->time));
}

static const char *stage_name(const struct cwd_progress *p)
{
	return p->of_jobs ? "jobs" : cww_stage_name(p->stage);
}

json_t *cwd_present_progress(const struct cwd_progress *p)
{
	double fraction = cwd_progress_fraction(p);

	if (!p->known) {
		return json_null();
	}
	return json_pack("{s:s, s:o, s:o, s:s, s:o, s:o, s:o}", "stage", stage_name(p),
		"done", bytes_json(p->done), "total", bytes_json(p->total), "unit", p->unit,
		"fraction", known_json(fraction, fraction >= 0), "rate",
		known_json(p->rate, p->rate > 0), "eta", known_json(p->eta, p->eta >= 0));
}

static json_t *parent_json(const struct cwd_job *job)
{
	return job->parent != 0 ? id_json(job->parent) : json_null();
}

/* Names of a sweep's fields, or a job's values, as they were stored. */
static json_t *point_json(const struct cwd_job *job)
{
	json_t *point = NULL;

	if (job->point == NULL || cwb_json_load(job->point, strlen(job->point), (size_t)2 << 20,
					  CWB_JSON_DEPTH, &point, NULL) < 0) {
		return json_null();
	}
	return point;
}

/* Of a sweep. */
static json_t *count_json(const struct cwd_job *job, size_t n)
{
	return job->n_children > 0 ? json_integer((json_int_t)n) : json_null();
}

json_t *cwd_present_job(const struct cwd_daemon *daemon, const struct cwd_job *job)
{
	double fraction = job->state == CWD_DONE ? 1 : cwd_progress_fraction(&job->progress);
	struct cwd_sweep_count count = {0};

	if (job->n_children > 0) {
		cwd_sweep_count(&daemon->queue, job, &count);
		fraction = (double)count.ended / (double)job->n_children;
	}
	return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:f, s:i, s:o, s:o, s:o, s:o}", "id",
		id_json(job->id), "name", cwd_present_text(job->name), "state",
		cwd_state_name(job->state), "stage",
		job->progress.known ? json_string(stage_name(&job->progress)) : json_null(),
		"progress", known_json(fraction, fraction >= 0), "owner",
		cwd_present_text(job->owner), "submitted", job->submitted, "priority",
		job->priority, "reason", cwd_present_text(job->reason), "parent", parent_json(job),
		"children", count_json(job, job->n_children), "ended", count_json(job, count.ended));
}

/* UUIDs of a list with commas. */
static json_t *gpus_json(const char *text)
{
	json_t *list = json_array();
	const char *at = text;

	while (list != NULL && at != NULL && *at != '\0') {
		size_t n = strcspn(at, ",");

		if (json_array_append_new(list, json_stringn(at, n)) != 0) {
			json_decref(list);
			return NULL;
		}
		at += n + (at[n] == ',');
	}
	return list;
}

static json_t *present_attempts(const struct cwd_job *job)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < job->n_attempts; i++) {
		const struct cwd_attempt *a = &job->attempts[i];
		json_t *gpus = gpus_json(a->gpus);
		json_t *attempt = json_pack("{s:i, s:f, s:o, s:s, s:o, s:o, s:i, s:o, s:O?, s:o}", "number",
			a->number, "started", a->started, "ended", time_json(a->ended), "result",
			a->result, "exit_code",
			a->exit_code < 0 ? json_null() : json_integer(a->exit_code), "signal",
			a->signal == 0 ? json_null() : json_integer(a->signal), "checkpoints",
			a->checkpoints, "reason", cwd_present_text(a->reason), "gpu", json_array_get(gpus, 0), "gpus", gpus);

		/* While it runs. */
		const char *cpus = i + 1 == job->n_attempts ? cwd_supervise_cpus(job) : NULL;

		if (json_array_append_new(list, attempt) != 0 ||
			json_object_set_new(attempt, "cpus", cwd_present_text(cpus)) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *present_after(const struct cwd_job *job)
{
	static const char *const prefixes[] = {"", "any:", "notok:"};
	json_t *list = json_array();
	char text[40];
	size_t i;

	for (i = 0; i < job->n_after; i++) {
		snprintf(text, sizeof text, "%s%" PRId64, prefixes[job->after[i].condition],
			job->after[i].id);
		if (json_array_append_new(list, json_string(text)) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *place_json(int n)
{
	return n > 0 ? json_integer(n) : json_null();
}

static json_t *present_error(const struct cwb_err *error)
{
	if (error == NULL) {
		return json_null();
	}
	return json_pack("{s:i, s:o, s:o, s:o, s:o}", "code", error->code, "message",
		cwd_present_text(error->message), "field",
		error->field[0] ? cwd_present_text(error->field) : json_null(), "line",
		place_json(error->line), "column", place_json(error->column));
}

json_t *cwd_present_reasons(const struct cwd_daemon *daemon, const struct cwd_job *job)
{
	json_t *list = json_array();
	char text[1024];
	int i;

	for (i = 0;
		cwd_schedule_explain(&daemon->queue, &daemon->capacity, job, i, text, sizeof text);
		i++) {
		if (json_array_append_new(list, cwd_present_text(text)) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* The jobs of a sweep, as a list has them. */
static json_t *present_children(const struct cwd_daemon *daemon, const struct cwd_job *sweep)
{
	json_t *list = sweep->n_children > 0 ? json_array() : json_null();
	size_t i;

	for (i = 0; i < sweep->n_children; i++) {
		const struct cwd_job *job = cwd_sweep_child(&daemon->queue, sweep, i);

		if (job != NULL && json_array_append_new(list, cwd_present_job(daemon, job)) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

json_t *cwd_present_detail(const struct cwd_daemon *daemon, const struct cwd_job *job)
{
	return json_pack("{s:o, s:o, s:s, s:o, s:I, s:f, s:o, s:o, s:i, s:o, s:o, s:o, s:o, s:s, "
			 "s:o, s:o, s:o, s:i, s:b, s:o,"
			 " s:o, s:o, s:o, s:o, s:o}",
		"id", id_json(job->id), "name", cwd_present_text(job->name), "state",
		cwd_state_name(job->state), "owner", cwd_present_text(job->owner), "uid",
		(json_int_t)job->uid, "submitted", job->submitted, "started",
		time_json(job->started), "ended", time_json(job->ended), "priority", job->priority,
		"after", present_after(job), "model", cwd_present_text(job->model), "output",
		cwd_present_text(job->output), "directory", cwd_present_text(job->directory),
		"digest", job->digest, "progress", cwd_present_progress(&job->progress),
		"resources", cwd_present_resources(&job->resources), "attempts",
		present_attempts(job), "interruptions", job->interruptions, "cancelling",
		job->cancelling, "reasons", cwd_present_reasons(daemon, job), "error",
		present_error(job->error), "parent", parent_json(job), "values",
		job->parent != 0 ? point_json(job) : json_null(), "fields",
		job->n_children > 0 ? point_json(job) : json_null(), "children",
		present_children(daemon, job));
}

json_t *cwd_present_event(const struct cwd_event *event, const struct cwd_progress *progress)
{
	return json_pack("{s:I, s:f, s:o, s:s, s:o, s:o, s:o, s:o}", "cursor",
		(json_int_t)event->seq, "time", event->time, "id", id_json(event->job), "kind",
		cwd_event_name(event->kind), "state",
		event->state < 0 ? json_null()
				 : json_string(cwd_state_name((enum cwd_state)event->state)),
		"attempt", event->attempt > 0 ? json_integer(event->attempt) : json_null(),
		"reason", cwd_present_text(event->reason), "progress",
		progress == NULL ? json_null() : cwd_present_progress(progress));
}
