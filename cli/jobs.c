/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Verbs that look at jobs: list, show, explain. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bar.h"
#include "cli/daemon.h"
#include "cli/state.h"
#include "cli/sweep.h"

/* Collects the pages of a list. */
struct pages {
	json_t *jobs;
};

static int add_page(void *context, const json_t *reply, int last)
{
	struct pages *pages = context;

	(void)last;
	return json_array_extend(pages->jobs, json_object_get(reply, "jobs")) < 0 ? CWC_TRY_AGAIN
										  : -1;
}

static int asked_states(const struct cwc *cwc, json_t **ret)
{
	json_t *states = json_array();
	const char *state;
	size_t i;

	for (i = 0; (state = cwc_option_value(cwc, "state", i)); i++) {
		if (!cwc_state_known(state)) {
			const char *nearest = cwc_state_nearest(state);

			json_decref(states);
			return cwc_usage_error(cwc, "--state: no state is called \"%s\"%s%s%s",
				state, nearest ? " (nearest: " : "", nearest ? nearest : "",
				nearest ? ")" : "");
		}
		json_array_append_new(states, json_string(state));
	}
	if (i == 0) {
		json_decref(states);
		states = NULL;
	}
	*ret = states;
	return 0;
}

static void add_progress(struct cwc_table *table, const json_t *job)
{
	const json_t *progress = json_object_get(job, "progress");
	const json_t *children = json_object_get(job, "children");

	if (json_is_integer(children)) { /* of a sweep: how many of its jobs have ended */
		cwc_table_addf(table, "%" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT,
			json_integer_value(json_object_get(job, "ended")),
			json_integer_value(children));
	} else if (json_is_number(progress)) {
		cwc_table_addf(table, "%d%%", (int)(json_number_value(progress) * 100));
	} else {
		cwc_table_add(table, NULL);
	}
}

static void print_jobs(const struct cwc *cwc, const json_t *jobs)
{
	static const char *const head[] = {
		"ID", "STATE", "STAGE", "DONE", "PRIO", "OWNER", "SUBMITTED", "NAME"};
	struct cwc_table table;
	struct cwc_text text = {0};
	const json_t *job;
	size_t i;

	cwc_table_init(&table, sizeof head / sizeof head[0]);
	for (i = 0; i < table.columns; i++) {
		cwc_table_column(&table, i, head[i], i == 3 || i == 4 ? CWC_RIGHT : CWC_LEFT);
	}
	json_array_foreach(jobs, i, job)
	{
		const char *state = cwc_string(job, "state");

		cwc_table_add(&table, cwc_string(job, "id"));
		cwc_table_add_coloured(&table, state, cwc_state_colour(state));
		cwc_table_add(&table, cwc_string(job, "stage"));
		add_progress(&table, job);
		cwc_table_addf(&table, "%" JSON_INTEGER_FORMAT,
			json_integer_value(json_object_get(job, "priority")));
		cwc_table_add(&table, cwc_string(job, "owner"));
		cwc_text_time(&text, json_number_value(json_object_get(job, "submitted")));
		cwc_table_add(&table, cwc_text_get(&text));
		text.length = 0;
		cwc_table_add(&table, cwc_string(job, "name"));
	}
	cwc_table_render(&table, &text, cwc->width, cwc->colour);
	cwc_table_free(&table);
	cwc_print(&text);
}

static void print_ids(const json_t *jobs)
{
	struct cwc_text text = {0};
	const json_t *job;
	size_t i;

	json_array_foreach(jobs, i, job)
	{
		const char *id = cwc_string(job, "id");

		cwc_text_clean(&text, id, strlen(id), 0);
		cwc_text_add(&text, "\n", 1);
	}
	cwc_print(&text);
}

int cwc_list(struct cwc *cwc)
{
	struct pages pages = {json_array()};
	struct cwc_daemon *daemon = NULL;
	json_t *parameters = NULL, *states = NULL;
	int status;

	status = asked_states(cwc, &states);
	if (status == 0) {
		status = cwc_daemon_open(cwc, cwc_jobs_socket(cwc), &daemon);
	}
	if (status == 0) {
		parameters = json_pack("{s:o*,s:s*}", "states", states, "parent",
			cwc_option_value(cwc, "sweep", 0));
		if (cwc_option_given(cwc, "children")) {
			json_object_set_new(parameters, "children", json_true());
		}
		states = NULL;
		status = cwc_daemon_stream(
			daemon, CWC_JOBS ".List", parameters, -1, add_page, &pages);
	}
	if (status == 0 && cwc->json) {
		status = cwc_print_json(cwc, json_pack("{s:O}", "jobs", pages.jobs));
	} else if (status == 0 && cwc_option_given(cwc, "quiet")) {
		print_ids(pages.jobs);
	} else if (status == 0) {
		print_jobs(cwc, pages.jobs);
	}
	json_decref(parameters);
	json_decref(states);
	json_decref(pages.jobs);
	cwc_daemon_close(daemon);
	return status;
}

static void row(struct cwc_table *table, const char *name, const char *value)
{
	if (value && *value) {
		cwc_table_add_coloured(table, name, CWC_DIM);
		cwc_table_add(table, value);
	}
}

static void row_time(struct cwc_table *table, const char *name, const json_t *value)
{
	struct cwc_text text = {0};

	if (json_is_number(value)) {
		cwc_text_time(&text, json_number_value(value));
		row(table, name, cwc_text_get(&text));
	}
	cwc_text_free(&text);
}

static void row_resources(struct cwc_table *table, const json_t *resources)
{
	static const char *const size[] = {"memory", "gpu_memory", "scratch"};
	const char *each = "";
	struct cwc_text text = {0};
	json_int_t value;
	size_t i;

	value = json_integer_value(json_object_get(resources, "threads"));
	if (value > 0) {
		cwc_text_printf(
			&text, "%" JSON_INTEGER_FORMAT " thread%s", value, value == 1 ? "" : "s");
	}
	value = json_integer_value(json_object_get(resources, "gpus"));
	if (value > 1) {
		cwc_text_printf(&text, "%s%" JSON_INTEGER_FORMAT " GPUs", text.length ? ", " : "", value);
		each = " each";
	}
	for (i = 0; i < sizeof size / sizeof size[0]; i++) {
		value = json_integer_value(json_object_get(resources, size[i]));
		if (value > 0) {
			cwc_text_printf(&text, "%s%s ", text.length ? ", " : "",
				i == 1 ? "GPU memory" : size[i]);
			cwc_text_size(&text, (uint64_t)value);
			cwc_text_printf(&text, "%s", i == 1 ? each : "");
		}
	}
	value = json_integer_value(json_object_get(resources, "time"));
	if (value > 0) {
		cwc_text_printf(&text, "%stime ", text.length ? ", " : "");
		cwc_text_duration(&text, (double)value);
	}
	row(table, "at most", cwc_text_get(&text));
	cwc_text_free(&text);
}

static void add_gpus(struct cwc_text *text, const json_t *attempt)
{
	const json_t *gpus = json_object_get(attempt, "gpus"), *gpu;
	size_t i;

	json_array_foreach(gpus, i, gpu)
	{
		cwc_text_printf(text, "%s%s", i == 0 ? ", on " : " and ", json_is_string(gpu) ? json_string_value(gpu) : "");
	}
}

static void row_attempts(struct cwc_table *table, const json_t *attempts)
{
	struct cwc_text text = {0};
	const json_t *attempt;
	size_t i;

	json_array_foreach(attempts, i, attempt)
	{
		const json_t *started = json_object_get(attempt, "started"),
			     *ended = json_object_get(attempt, "ended");
		const char *reason = cwc_string(attempt, "reason");

		text.length = 0;
		cwc_text_printf(&text, "%s, started ", cwc_string(attempt, "result"));
		cwc_text_time(&text, json_number_value(started));
		if (json_is_number(ended)) {
			cwc_text_printf(&text, ", ");
			cwc_text_duration(
				&text, json_number_value(ended) - json_number_value(started));
		}
		add_gpus(&text, attempt);
		if (*cwc_string(attempt, "cpus")) {
			cwc_text_printf(&text, ", processors %s", cwc_string(attempt, "cpus"));
		}
		if (json_integer_value(json_object_get(attempt, "signal")) > 0) {
			cwc_text_printf(&text, ", signal %" JSON_INTEGER_FORMAT,
				json_integer_value(json_object_get(attempt, "signal")));
		}
		if (*reason) {
			cwc_text_printf(&text, ": %s", reason);
		}
		cwc_table_add_coloured(table, i == 0 ? "attempts" : "", CWC_DIM);
		cwc_table_add(table, cwc_text_get(&text));
	}
	cwc_text_free(&text);
}

static void row_strings(struct cwc_table *table, const char *name, const json_t *strings)
{
	const json_t *string;
	size_t i;

	json_array_foreach(strings, i, string)
	{
		cwc_table_add_coloured(table, i == 0 ? name : "", CWC_DIM);
		cwc_table_add(table, json_string_value(string));
	}
}

static void row_error(struct cwc_table *table, const json_t *error)
{
	struct cwc_text text = {0};

	if (!json_is_object(error)) {
		return;
	}
	if (*cwc_string(error, "field")) {
		cwc_text_printf(&text, "%s: ", cwc_string(error, "field"));
	}
	cwc_text_printf(&text, "%s", cwc_string(error, "message"));
	cwc_table_add_coloured(table, "error", CWC_DIM);
	cwc_table_add_coloured(table, cwc_text_get(&text), CWC_RED);
	cwc_text_free(&text);
}

static void print_job(const struct cwc *cwc, const json_t *job)
{
	const char *state = cwc_string(job, "state");
	const json_t *progress = json_object_get(job, "progress");
	struct cwc_progress now;
	struct cwc_table table;
	struct cwc_text text = {0};

	cwc_table_init(&table, 2);
	row(&table, "job", cwc_string(job, "id"));
	row(&table, "name", cwc_string(job, "name"));
	cwc_sweep_rows(&table, job);
	cwc_table_add_coloured(&table, "state", CWC_DIM);
	cwc_table_add_coloured(&table, state, cwc_state_colour(state));
	if (json_is_object(progress)) {
		cwc_progress_read(progress, &now);
		cwc_bar_words(&now, &text);
		row(&table, "progress", cwc_text_get(&text));
	}
	row_error(&table, json_object_get(job, "error"));
	row_strings(&table, "reasons", json_object_get(job, "reasons"));
	row(&table, "owner", cwc_string(job, "owner"));
	row_time(&table, "submitted", json_object_get(job, "submitted"));
	row_time(&table, "started", json_object_get(job, "started"));
	row_time(&table, "ended", json_object_get(job, "ended"));
	text.length = 0;
	cwc_text_printf(&text, "%" JSON_INTEGER_FORMAT,
		json_integer_value(json_object_get(job, "priority")));
	row(&table, "priority", cwc_text_get(&text));
	row_strings(&table, "after", json_object_get(job, "after"));
	row(&table, "model", cwc_string(job, "model"));
	row(&table, "output", cwc_string(job, "output"));
	row_resources(&table, json_object_get(job, "resources"));
	row_attempts(&table, json_object_get(job, "attempts"));
	text.length = 0;
	/* Paths are worth more than neat columns: never cut. */
	cwc_table_render(&table, &text, 0, cwc->colour);
	cwc_table_free(&table);
	cwc_print(&text);
	if (json_array_size(json_object_get(job, "children")) > 0) {
		putchar('\n');
		print_jobs(cwc, json_object_get(job, "children"));
	}
}

int cwc_show(struct cwc *cwc)
{
	json_t *reply = NULL;
	int status;

	status = cwc_call(cwc, cwc_jobs_socket(cwc), CWC_JOBS ".Describe",
		json_pack("{s:s}", "id", cwc->operand[0]), &reply);
	if (status) {
		return status;
	}
	if (cwc->json) {
		status = cwc_print_json(cwc, json_incref(json_object_get(reply, "job")));
	} else {
		print_job(cwc, json_object_get(reply, "job"));
	}
	json_decref(reply);
	return status;
}

int cwc_explain(struct cwc *cwc)
{
	struct cwc_text text = {0}, clean = {0};
	json_t *reply = NULL;
	const json_t *reason;
	size_t i;
	int status;

	status = cwc_call(cwc, cwc_jobs_socket(cwc), CWC_JOBS ".Explain",
		json_pack("{s:s}", "id", cwc->operand[0]), &reply);
	if (status) {
		return status;
	}
	if (cwc->json) {
		json_object_set_new(reply, "id", json_string(cwc->operand[0]));
		return cwc_print_json(cwc, reply);
	}
	cwc_text_printf(&text, "%s: %s", cwc->operand[0], cwc_string(reply, "state"));
	cwc_text_clean(&clean, cwc_text_get(&text), text.length, 0);
	cwc_text_add(&clean, "\n", 1);
	json_array_foreach(json_object_get(reply, "reasons"), i, reason)
	{
		cwc_text_add(&clean, "- ", 2);
		cwc_text_clean(&clean, json_string_value(reason), json_string_length(reason), 0);
		cwc_text_add(&clean, "\n", 1);
	}
	cwc_text_free(&text);
	json_decref(reply);
	cwc_print(&clean);
	return CWC_DONE;
}
