/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Any text as a job file, with or without a matrix, and as a configuration: refused with a reason,
 * or accepted, written as JSON (of a matrix each point as YAML too) and read back as the same.
 * Built with libFuzzer by --enable-fuzzers, and in every build as a replay of the corpus. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "job/config.h"
#include "job/job.h"
#include "job/sweep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds, const char *what, const struct cwb_err *err)
{
	if (!holds) {
		fprintf(stderr, "%s: %d %d:%d [%s] %s\n", what, err->code, err->line, err->column,
			err->field, err->message);
		abort();
	}
}

static void check_error(int rc, const struct cwb_err *err)
{
	require(rc < 0, "a failure is negative", err);
	require(rc == err->code, "the error holds the code", err);
	require(err->message[0] != '\0', "the error says something", err);
	require(strpbrk(err->message, "\n\r\t\033") == NULL, "the message is one line", err);
	json_t *text = json_string(err->message);
	require(text != NULL, "the message is UTF-8", err);
	json_decref(text);
}

/* The text of the JSON, and its length. */
static char *dump(json_t *json, size_t *ret_length)
{
	char *text = cwb_json_dump(json, ret_length);

	json_decref(json);
	if (text == NULL) {
		abort();
	}
	return text;
}

static void try_job(const char *text, size_t size)
{
	struct cwb_err err = {0};
	struct cwj_job *job = NULL, *again = NULL;
	size_t length, length_again;

	int rc = cwj_job_parse(text, size, "/srv/jobs", &job, &err);
	if (rc != 0) {
		check_error(rc, &err);
		require(job == NULL, "nothing is returned with a failure", &err);
		return;
	}
	require(job->model[0] == '/' && job->output[0] == '/', "paths are absolute", &err);
	require(job->fraction >= 0 && job->fraction <= 1, "the fraction is one", &err);
	char *json = dump(cwj_job_json(job), &length);
	/* A small text may stand for more than a file may hold once its defaults are written out.
	 */
	if (length <= 1 << 20) {
		rc = cwj_job_parse(json, length, "/", &again, &err);
		require(rc == 0, "the JSON of a job is a job", &err);
		char *json_again = dump(cwj_job_json(again), &length_again);
		require(strcmp(json, json_again) == 0, "the JSON reads back as the same job", &err);
		free(json_again);
	}
	free(json);
	cwj_job_free(job);
	cwj_job_free(again);
}

/* What a point's text says is what its job says. */
static void check_point(const struct cwj_sweep_point *point)
{
	struct cwb_err err = {0};
	struct cwj_job *job = NULL;
	size_t length;

	require(strlen(point->text) == point->length, "a text has its length", &err);
	int rc = cwj_job_parse(point->text, point->length, "/", &job, &err);
	if (rc != 0 && point->length > 1 << 20) {
		return; /* escapes and indents may make more of a text than a file may hold */
	}
	require(rc == 0, "the text of a point is a job", &err);
	char *a = dump(cwj_job_json(job), &length), *b = dump(cwj_job_json(point->job), &length);
	require(strcmp(a, b) == 0, "the text of a point reads back as its job", &err);
	require(strchr(point->label, '/') == NULL && point->label[0] != '.',
		"a label is a file's name", &err);
	free(a);
	free(b);
	cwj_job_free(job);
}

static void try_sweep(const char *text, size_t size)
{
	struct cwb_err err = {0};
	struct cwj_sweep *sweep = NULL;
	int rc = cwj_sweep_parse(text, size, "/", &sweep, &err);

	if (rc != 0) {
		check_error(rc, &err);
		require(sweep == NULL, "nothing is returned with a failure", &err);
		return;
	}
	require(sweep->n_points >= 1 && sweep->n_points <= CWJ_POINTS_MAX, "the points are few",
		&err);
	for (size_t i = 0; sweep->n_keys > 0 && i < sweep->n_points; i++) {
		check_point(&sweep->points[i]);
	}
	cwj_sweep_free(sweep);
}

static void try_config(const char *text, size_t size)
{
	struct cwb_err err = {0};
	struct cwj_config *config = NULL, *again = NULL;
	size_t length, length_again;

	int rc = cwj_config_parse(text, size, "/etc/cwp", &config, &err);
	if (rc != 0) {
		check_error(rc, &err);
		require(config == NULL, "nothing is returned with a failure", &err);
		return;
	}
	char *json = dump(cwj_config_json(config), &length);
	if (length <= 1 << 20) {
		rc = cwj_config_parse(json, length, "/", &again, &err);
		require(rc == 0, "the JSON of a configuration is one", &err);
		char *json_again = dump(cwj_config_json(again), &length_again);
		require(strcmp(json, json_again) == 0,
			"the JSON reads back as the same configuration", &err);
		free(json_again);
	}
	free(json);
	cwj_config_free(config);
	cwj_config_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_job((const char *)data, size);
	try_sweep((const char *)data, size);
	try_config((const char *)data, size);
	return 0;
}
