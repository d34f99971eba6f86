/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The points of a sweep: their labels, their values, and which of them are calibrated in the same
 * way. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "job/sweep_p.h"

/* The last part of the path, or all of it where another key ends in the same. */
static const char *short_path(const struct cwj_sweep *sweep, size_t k)
{
	const char *dot = strrchr(sweep->keys[k].path, '.'),
		   *last = dot != NULL ? dot + 1 : sweep->keys[k].path;

	for (size_t i = 0; i < sweep->n_keys; i++) {
		const char *other = strrchr(sweep->keys[i].path, '.');
		other = other != NULL ? other + 1 : sweep->keys[i].path;
		if (i != k && strcmp(other, last) == 0) {
			return sweep->keys[k].path;
		}
	}
	return last;
}

/* Appends text as a file name may hold it. */
static void add_plain(FILE *f, const char *text)
{
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-";

	for (; *text != '\0'; text++) {
		(void)fputc(strchr(plain, *text) != NULL ? *text : '_', f);
	}
}

static int make_label(const struct cwj_sweep *sweep, size_t point, char **ret)
{
	size_t length = 0;
	char *label = NULL;
	FILE *f = open_memstream(&label, &length);

	if (f == NULL) {
		return -ENOMEM;
	}
	for (size_t k = 0; k < sweep->n_keys; k++) {
		const char *value = sweep->keys[k].texts[sweep->points[point].choice[k]];
		const char *slash = strrchr(value, '/');
		(void)fputs(k > 0 ? "," : "", f);
		add_plain(f, short_path(sweep, k));
		(void)fputc('=', f);
		add_plain(f, slash != NULL && slash[1] != '\0' ? slash + 1 : value);
	}
	int failed = ferror(f);
	if (fclose(f) != 0 || failed) {
		free(label);
		return -ENOMEM;
	}
	*ret = label;
	return 0;
}

static int is_taken(const struct cwj_sweep *sweep, size_t point)
{
	for (size_t i = 0; i < point; i++) {
		if (strcmp(sweep->points[i].label, sweep->points[point].label) == 0) {
			return 1;
		}
	}
	return 0;
}

int cwj_labels_make(struct cwj_sweep *sweep)
{
	for (size_t i = 0; i < sweep->n_points; i++) {
		char **label = &sweep->points[i].label;
		int rc = make_label(sweep, i, label);
		if (rc < 0) {
			return rc;
		}
		if (strlen(*label) > CWJ_LABEL_MAX || is_taken(sweep, i)) {
			free(*label);
			*label = NULL;
			if (asprintf(label, "point-%zu", i + 1) < 0) {
				*label = NULL;
				return -ENOMEM;
			}
		}
	}
	return 0;
}

/* ---- calibrations ---- */

/* What scores depend on: the model, the sets, the scorer and the modules that have any; not what is
 * made of them. */
static json_t *calibration_json(const struct cwj_job *job)
{
	static const char *const parts[] = {
		"model", "adapter", "seed", "backend", "precision", "chat", "calibrate", "score"};
	static const char *const later[] = {"combine", "utility", "beta"};
	json_t *all = cwj_job_json(job), *some = all != NULL ? json_object() : NULL;
	json_t *skip = json_object_get(json_object_get(all, "quantize"), "skip");

	for (size_t i = 0; some != NULL && i < sizeof(parts) / sizeof(parts[0]); i++) {
		json_t *part = json_object_get(all, parts[i]);
		if (part != NULL && json_object_set(some, parts[i], part) < 0) {
			json_decref(some);
			some = NULL;
		}
	}
	if (some != NULL && skip != NULL && json_object_set(some, "skip", skip) < 0) {
		json_decref(some);
		some = NULL;
	}
	for (size_t i = 0; some != NULL && i < sizeof(later) / sizeof(later[0]); i++) {
		(void)json_object_del(
			json_object_get(some, "score"), later[i]); /* absent is fine */
	}
	json_decref(all);
	return some;
}

int cwj_calibrations_find(struct cwj_sweep *sweep)
{
	json_t **all = calloc(sweep->n_points, sizeof(json_t *));
	int rc = all == NULL ? -ENOMEM : 0;

	for (size_t i = 0; rc == 0 && i < sweep->n_points; i++) {
		struct cwj_sweep_point *point = &sweep->points[i];
		point->first = i;
		/* A pilot keeps scores of its own fraction alone: nothing to share. */
		if (!point->calibrated || point->job->scale_pilot) {
			continue;
		}
		all[i] = calibration_json(point->job);
		rc = all[i] == NULL ? -ENOMEM : 0;
		for (size_t j = 0; rc == 0 && j < i && point->first == i; j++) {
			if (all[j] != NULL && sweep->points[j].first == j &&
				json_equal(all[i], all[j])) {
				point->first = j;
			}
		}
	}
	for (size_t i = 0; all != NULL && i < sweep->n_points; i++) {
		json_decref(all[i]);
	}
	free(all);
	return rc;
}

json_t *cwj_sweep_values(const struct cwj_sweep *sweep, size_t point)
{
	json_t *values = json_object();

	for (size_t k = 0; values != NULL && k < sweep->n_keys; k++) {
		const struct cwj_sweep_key *key = &sweep->keys[k];
		if (json_object_set(
			    values, key->path, key->values[sweep->points[point].choice[k]]) < 0) {
			json_decref(values);
			return NULL;
		}
	}
	return values;
}

int cwj_sweep_digest(const struct cwj_sweep *sweep, char ret_hex[65])
{
	struct cwb_digest digest = {0};
	char one[65];
	int rc = 0;

	if (sweep->n_keys == 0) {
		return cwj_job_digest(sweep->points[0].job, ret_hex);
	}
	rc = cwb_digest_begin(&digest);
	if (rc < 0) {
		return rc;
	}
	for (size_t i = 0; rc == 0 && i < sweep->n_points; i++) {
		rc = cwj_job_digest(sweep->points[i].job, one);
		if (rc == 0) {
			cwb_digest_update(&digest, one, strlen(one) + 1);
			cwb_digest_update(&digest, sweep->points[i].label,
				strlen(sweep->points[i].label) + 1);
		}
	}
	int ended = cwb_digest_end_hex(&digest, ret_hex);
	return rc < 0 ? rc : ended;
}
