/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* submit: hands the job file's text to the daemon, with the folder that its relative paths are
 * relative to. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cli/follow.h"
#include "cli/state.h"
#include "cli/sweep.h"

#define JOB_MAX ((size_t)1 << 20)

int cwc_job_text(const struct cwc *cwc, const char *path, char **ret, size_t *ret_length)
{
	int named = strcmp(path, "-") != 0;
	FILE *file = named ? fopen(path, "re") : stdin;
	char *text = malloc(JOB_MAX + 1);
	int status = 0;

	if (!file || !text) {
		status = cwc_fail(cwc, errno == EACCES ? CWC_DENIED : CWC_BAD_INPUT, "NoFile", NULL,
			"%s: %s", path, strerror(errno));
	} else {
		*ret_length = fread(text, 1, JOB_MAX + 1, file);
		if (ferror(file)) {
			status = cwc_fail(cwc, CWC_BAD_INPUT, "NoFile", NULL, "%s: %s", path,
				strerror(errno));
		} else if (*ret_length > JOB_MAX) {
			status = cwc_fail(cwc, CWC_BAD_INPUT, "TooLong", NULL,
				"%s: longer than 1 MiB, so no job file", path);
		}
	}
	if (file && named) {
		(void)fclose(file);
	}
	if (status) {
		free(text);
		return status;
	}
	*ret = text;
	return 0;
}

/* The absolute folder of a file; of standard input the working directory. */
static char *folder_of(const char *path)
{
	const char *slash = strcmp(path, "-") == 0 ? NULL : strrchr(path, '/');
	char *part, *folder;

	if (!slash) {
		return realpath(".", NULL);
	}
	part = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	folder = part ? realpath(part, NULL) : NULL;
	free(part);
	return folder;
}

/* A random UUID (version 4). */
static void make_key(char ret[37])
{
	unsigned char b[16];

	while (getrandom(b, sizeof b, 0) != sizeof b) {
		/* Only a signal interrupts 16 bytes. */
	}
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	(void)snprintf(ret, 37,
		"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
		b[15]);
}

static int add_options(const struct cwc *cwc, json_t *parameters)
{
	const char *priority = cwc_option_value(cwc, "priority", 0), *after;
	json_t *list;
	int64_t value;
	size_t i;
	int status;

	if (priority) {
		status = cwc_parse_int(cwc, "--priority", priority, -100, 100, &value);
		if (status) {
			return status;
		}
		json_object_set_new(parameters, "priority", json_integer(value));
	}
	if (cwc_option_given(cwc, "hold")) {
		json_object_set_new(parameters, "hold", json_true());
	}
	if (cwc_option_given(cwc, "dry-run")) {
		json_object_set_new(parameters, "dry_run", json_true());
	}
	if (cwc_option_given(cwc, "after")) {
		list = json_array();
		for (i = 0; (after = cwc_option_value(cwc, "after", i)); i++) {
			json_array_append_new(list, json_string(after));
		}
		json_object_set_new(parameters, "after", list);
	}
	return 0;
}

/* The parameters of Submit in *ret. */
static int make_parameters(const struct cwc *cwc, const char *path, json_t **ret)
{
	const char *key = cwc_option_value(cwc, "key", 0);
	char random_key[37], *text = NULL, *folder = NULL;
	json_t *parameters = NULL, *job;
	size_t length = 0;
	int status;

	status = cwc_job_text(cwc, path, &text, &length);
	if (status) {
		return status;
	}
	folder = folder_of(path);
	/* NULL for bytes that no YAML file may hold: not UTF-8, or a NUL. */
	job = memchr(text, '\0', length) ? NULL : json_stringn(text, length);
	make_key(random_key);
	if (!folder) {
		status = cwc_fail(cwc, CWC_BAD_INPUT, "NoFile", NULL, "%s: its folder: %s", path,
			strerror(errno));
	} else if (!job) {
		status = cwc_fail(
			cwc, CWC_BAD_INPUT, "NotText", NULL, "%s: not a text file in UTF-8", path);
	} else {
		parameters = json_pack("{s:O,s:s,s:s}", "job", job, "directory", folder, "key",
			key ? key : random_key);
		status = parameters ? add_options(cwc, parameters)
				    : cwc_fail(cwc, CWC_BAD_INPUT, "NotText", NULL,
					      "%s: the folder's name is not UTF-8", folder);
	}
	json_decref(job);
	free(text);
	free(folder);
	if (status) {
		json_decref(parameters);
		return status;
	}
	*ret = parameters;
	return 0;
}

static void plan_size(
	struct cwc_table *table, const json_t *resources, const char *key, const char *name)
{
	json_int_t value = json_integer_value(json_object_get(resources, key));
	struct cwc_text text = {0};

	cwc_table_add(table, name);
	if (value > 0) {
		cwc_text_size(&text, (uint64_t)value);
	}
	cwc_table_add(table, value > 0 ? cwc_text_get(&text) : "none");
	cwc_text_free(&text);
}

/* What the planner assumed, a line each. */
static void add_warnings(struct cwc_text *text, const char *path, const json_t *plan)
{
	const json_t *list = json_object_get(json_object_get(plan, "plan"), "warnings");
	size_t i;

	for (i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);

		if (!json_is_string(item)) {
			continue;
		}
		cwc_text_clean(text, path, strlen(path), 0);
		cwc_text_printf(text, ": warning: ");
		cwc_text_clean(text, json_string_value(item), json_string_length(item), 0);
		cwc_text_printf(text, "\n");
	}
}

/* What the evaluations ask of the models, a line each. */
static void add_evaluations(struct cwc_text *text, const struct cwc *cwc, const json_t *plan)
{
	const json_t *list = json_object_get(json_object_get(plan, "plan"), "evaluations");
	struct cwc_table table;
	size_t i;

	if (json_array_size(list) == 0) {
		return;
	}
	cwc_table_init(&table, 4);
	cwc_table_column(&table, 1, NULL, CWC_RIGHT);
	cwc_table_column(&table, 2, NULL, CWC_RIGHT);
	cwc_table_column(&table, 3, NULL, CWC_RIGHT);
	for (i = 0; i < json_array_size(list); i++) {
		const json_t *row = json_array_get(list, i);
		const char *name = json_string_value(json_object_get(row, "name"));
		double seconds = json_number_value(json_object_get(row, "seconds"));
		struct cwc_text word = {0};

		cwc_text_printf(&word, "  evaluate ");
		if (name != NULL) {
			cwc_text_clean(&word, name, strlen(name), 0);
		}
		cwc_table_add(&table, cwc_text_get(&word));
		cwc_table_addf(&table, "%" JSON_INTEGER_FORMAT " tokens",
			json_integer_value(json_object_get(row, "tokens")));
		cwc_table_addf(&table, "%" JSON_INTEGER_FORMAT " generated",
			json_integer_value(json_object_get(row, "generated")));
		cwc_text_free(&word);
		cwc_text_printf(&word, "about ");
		cwc_text_duration(&word, seconds > 1 ? seconds : 1);
		cwc_table_add(&table, cwc_text_get(&word));
		cwc_text_free(&word);
	}
	cwc_table_render(&table, text, cwc->width, cwc->colour);
	cwc_table_free(&table);
}

/* What the job's gate compares. */
static void add_gate(struct cwc_text *text, const json_t *plan)
{
	const json_t *list = json_object_get(json_object_get(plan, "plan"), "gate"), *row;
	size_t i;

	json_array_foreach(list, i, row)
	{
		const char *metric = cwc_string(row, "metric"), *needs = cwc_string(row, "needs");

		cwc_text_printf(text, "  gate needs ");
		cwc_text_clean(text, metric, strlen(metric), 0);
		cwc_text_printf(text, " of ");
		cwc_text_clean(text, needs, strlen(needs), 0);
		cwc_text_printf(text, "\n");
	}
}

static void print_plan(const struct cwc *cwc, const char *path, const json_t *plan)
{
	const json_t *resources = json_object_get(plan, "resources");
	json_int_t threads = json_integer_value(json_object_get(resources, "threads"));
	json_int_t seconds = json_integer_value(json_object_get(resources, "time"));
	json_int_t gpus = json_integer_value(json_object_get(resources, "gpus"));
	struct cwc_table table;
	struct cwc_text text = {0}, line = {0};

	cwc_text_clean(&text, path, strlen(path), 0);
	if (cwc_sweep_plan_jobs(plan) > 0) {
		cwc_text_printf(&text, ": valid; %zu job%s, each at most\n",
			cwc_sweep_plan_jobs(plan), cwc_sweep_plan_jobs(plan) == 1 ? "" : "s");
	} else {
		cwc_text_printf(&text, ": valid; at most\n");
	}
	cwc_table_init(&table, 2);
	cwc_table_column(&table, 1, NULL, CWC_RIGHT);
	cwc_table_add(&table, "  threads");
	if (threads > 0) {
		cwc_table_addf(&table, "%" JSON_INTEGER_FORMAT, threads);
	} else {
		cwc_table_add(&table, "all");
	}
	plan_size(&table, resources, "memory", "  memory");
	if (gpus > 1) {
		cwc_table_add(&table, "  GPUs");
		cwc_table_addf(&table, "%" JSON_INTEGER_FORMAT, gpus);
	}
	plan_size(&table, resources, "gpu_memory", gpus > 1 ? "  memory of each" : "  GPU memory");
	plan_size(&table, resources, "scratch", "  scratch");
	if (seconds > 0) {
		cwc_text_duration(&line, (double)seconds);
		cwc_table_add(&table, "  time");
		cwc_table_add(&table, cwc_text_get(&line));
	}
	cwc_table_render(&table, &text, cwc->width, cwc->colour);
	cwc_table_free(&table);
	cwc_text_free(&line);
	add_evaluations(&text, cwc, plan);
	add_gate(&text, plan);
	add_warnings(&text, path, plan);
	cwc_print(&text);
}

/* The id alone is what scripts read on standard output. */
static void tell_warnings(const char *path, const json_t *plan)
{
	struct cwc_text text = {0};

	add_warnings(&text, path, plan);
	(void)fputs(cwc_text_get(&text), stderr);
	cwc_text_free(&text);
}

static int submitted(struct cwc *cwc, struct cwc_daemon *daemon, const json_t *reply)
{
	const char *id = cwc_string(reply, "id");
	struct cwc_text text = {0};

	if (cwc_option_given(cwc, "dry-run")) {
		if (cwc->json) {
			return cwc_print_json(
				cwc, json_pack("{s:O?}", "plan", json_object_get(reply, "plan")));
		}
		if (!cwc_option_given(cwc, "quiet")) {
			print_plan(cwc, cwc->operand[0], json_object_get(reply, "plan"));
		}
		return CWC_DONE;
	}
	if (!cwc->json) {
		cwc_text_clean(&text, id, strlen(id), 0);
		if (!cwc_option_given(cwc, "quiet")) {
			size_t jobs = cwc_sweep_plan_jobs(json_object_get(reply, "plan"));

			cwc_text_printf(&text, ": submitted");
			if (jobs > 0) {
				cwc_text_printf(&text, ", a sweep of %zu job%s", jobs, jobs == 1 ? "" : "s");
			}
		}
		cwc_text_add(&text, "\n", 1);
		cwc_print(&text);
		(void)fflush(stdout);
		if (!cwc_option_given(cwc, "quiet")) {
			tell_warnings(cwc->operand[0], json_object_get(reply, "plan"));
		}
	}
	if (cwc_option_given(cwc, "follow")) {
		return cwc_follow_job(cwc, daemon, id);
	}
	return cwc->json ? cwc_print_json(cwc, json_pack("{s:s,s:O?}", "id", id, "plan",
						       json_object_get(reply, "plan")))
			 : CWC_DONE;
}

int cwc_submit(struct cwc *cwc)
{
	const char *path = cwc->operand[0];
	struct cwc_daemon *daemon = NULL;
	json_t *parameters = NULL, *reply = NULL;
	char *error = NULL;
	int status;

	status = make_parameters(cwc, path, &parameters);
	if (status == 0) {
		status = cwc_daemon_open(cwc, cwc_jobs_socket(cwc), &daemon);
	}
	if (status == 0) {
		status = cwc_daemon_try(daemon, CWC_JOBS ".Submit", parameters, &error, &reply);
	}
	if (status == 0 && error) {
		status = cwc_error_report(
			cwc, error, reply, strcmp(path, "-") == 0 ? "<stdin>" : path);
	} else if (status == 0) {
		status = submitted(cwc, daemon, reply);
	}
	json_decref(parameters);
	json_decref(reply);
	free(error);
	cwc_daemon_close(daemon);
	return status;
}
