/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The joint report of a sweep: what the reports of its points say, side by side. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/pipeline/sweep.h"
#include "job/output.h"

#define REPORT_LIMIT ((size_t)64 << 20)

static int load(const char *folder, const char *name, json_t **ret)
{
	char *path = NULL;
	if (asprintf(&path, "%s/%s", folder, name) < 0) {
		return -ENOMEM;
	}
	int r = cwb_json_load_file(path, REPORT_LIMIT, CWB_JSON_DEPTH, ret, NULL);
	free(path);
	return r;
}

/* The point's folder: its output, or the newest that its gate rejected; NULL where there is none. */
static char *find_folder(const struct cwj_job *job, int *ret_rejected)
{
	char digest[65];
	*ret_rejected = 0;
	return cwj_job_digest(job, digest) == 0 ? cwj_output_find(job->output, digest, ret_rejected) : NULL;
}

static double seconds_of(const json_t *report)
{
	size_t i;
	json_t *stage;
	double sum = 0;
	json_array_foreach (json_object_get(report, "stages"), i, stage) {
		sum += json_number_value(json_object_get(stage, "seconds"));
	}
	return sum;
}

static json_t *or_null(json_t *value)
{
	return value != NULL ? json_incref(value) : json_null();
}

/* What the joint report takes over of a point's own. */
static json_t *results(const json_t *report)
{
	const json_t *p = json_object_get(report, "protection"), *size = json_object_get(report, "size");
	double weights = json_number_value(json_object_get(p, "weights")), kept = json_number_value(json_object_get(p, "protected"));
	return json_pack("{s:o,s:o,s:o,s:f,s:o,s:o,s:o,s:f}", "bits_per_weight", or_null(json_object_get(size, "bits_per_weight")),
		"weights", or_null(json_object_get(p, "weights")), "protected", or_null(json_object_get(p, "protected")), "share",
		weights > 0 ? kept / weights : 0.0, "threshold", or_null(json_object_get(p, "threshold")), "evaluation",
		or_null(json_object_get(report, "evaluation")), "gate", or_null(json_object_get(report, "gate")), "seconds",
		seconds_of(report));
}

static json_t *point_json(const struct cwj_sweep *sweep, size_t i, size_t *found)
{
	const struct cwj_sweep_point *point = &sweep->points[i];
	int rejected;
	json_t *report = NULL, *more = NULL;
	char *folder = find_folder(point->job, &rejected);
	const char *state = "missing";
	if (folder != NULL && load(folder, "report.json", &report) == 0) {
		state = rejected ? "rejected" : "done";
		more = results(report);
		(*found)++;
	}
	json_t *json = json_pack("{s:s,s:o,s:s,s:s}", "name", point->label, "values", cwj_sweep_values(sweep, i), "state", state,
		"output", folder != NULL ? folder : point->job->output);
	if (json != NULL && ((report != NULL && more == NULL) || (more != NULL && json_object_update(json, more) != 0))) {
		json_decref(json);
		json = NULL;
	}
	json_decref(more);
	json_decref(report);
	free(folder);
	return json;
}

static json_t *keys_json(const struct cwj_sweep *sweep)
{
	json_t *keys = json_array();
	for (size_t k = 0; keys != NULL && k < sweep->n_keys; k++) {
		json_t *values = json_array();
		for (size_t i = 0; values != NULL && i < sweep->keys[k].n_values; i++) {
			if (json_array_append(values, sweep->keys[k].values[i]) != 0) {
				json_decref(values);
				values = NULL;
			}
		}
		if (json_array_append_new(keys, json_pack("{s:s,s:o}", "path", sweep->keys[k].path, "values", values)) != 0) {
			json_decref(keys);
			keys = NULL;
		}
	}
	return keys;
}

static json_t *build(const struct cwj_sweep *sweep, size_t *found)
{
	json_t *points = json_array();
	for (size_t i = 0; points != NULL && i < sweep->n_points; i++) {
		if (json_array_append_new(points, point_json(sweep, i, found)) != 0) {
			json_decref(points);
			points = NULL;
		}
	}
	json_t *best = cwe_sweep_best(points);
	return json_pack("{s:i,s:{s:s,s:s,s:s},s:o,s:o,s:o}", "version", 1, "job", "name", sweep->name, "model",
		sweep->points[0].job->model, "output", sweep->output, "matrix", keys_json(sweep), "best", best, "points", points);
}

static int write_files(const char *output, const json_t *report, struct cwb_err *err)
{
	size_t length = 0, html_length = 0;
	char *html = NULL, *text = cwb_json_text(report, JSON_INDENT(1) | JSON_PRESERVE_ORDER, &length);
	int folder = open(output, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	int r = folder >= 0 ? 0 : cwb_err_errno(err, "output: %s", output);
	if (r == 0 && (text == NULL || cwe_sweep_html(report, &html, &html_length) != 0)) {
		r = cwb_err_set(err, -ENOMEM, "no memory for the report");
	}
	r = r == 0 ? cwb_file_replace(folder, "report.html", html, html_length, 0644, err) : r;
	r = r == 0 ? cwb_file_replace(folder, "report.json", text, length, 0644, err) : r;
	if (folder >= 0) {
		(void)close(folder);
	}
	free(text);
	free(html);
	return r;
}

int cwe_sweep_report(const struct cwj_sweep *sweep, size_t *ret_found, struct cwb_err *err)
{
	size_t found = 0;
	json_t *report = build(sweep, &found);
	if (report == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the report");
	}
	int r = found > 0 ? write_files(sweep->output, report, err) : 0;
	json_decref(report);
	if (r == 0) {
		*ret_found = found;
	}
	return r;
}
