/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The matrix itself: its keys and values, the labels of its points, and which points are calibrated
 * in the same way. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/json.h"
#include "job/job_check.h"
#include "job/schema_value.h"
#include "job/sweep_p.h"

static int refuse_matrix(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target)
{
	(void)key;
	(void)target;
	return cwj_fail(r, node, CWP_EVALUE,
		"stands for several jobs, one is wanted here; give the file to cwpctl submit, "
		"cwp-worker run or "
		"plan, or remove the key");
}

static int no_json(json_t *object, const struct cwj_key *key, const void *target)
{
	(void)object;
	(void)key;
	(void)target;
	return 0;
}

const struct cwj_custom cwj_matrix_refused = {.read = refuse_matrix, .json = no_json};

/* Keys that every point gets its own value of, or that make no sense there. */
static int refuse_key(struct cwj_reader *r, const struct cwj_yaml *key)
{
	if (strcmp(key->text, "matrix") == 0 || strcmp(key->text, "name") == 0 ||
		strcmp(key->text, "output") == 0) {
		return cwj_fail(r, key, CWP_EVALUE,
			"\"%s\" cannot be swept: each job of a matrix gets its own; name another "
			"field, such "
			"as protect.fraction",
			key->text);
	}
	return 0;
}

static json_t *value_json(const struct cwj_yaml *node)
{
	double number;

	if (cwj_number_parse(node, &number) == 0) {
		return strspn(node->text, "-0123456789") == strlen(node->text) && number > -1e15 &&
				       number < 1e15
			       ? json_integer((json_int_t)number)
			       : json_real(number);
	}
	if (!node->quoted &&
		(strcmp(node->text, "true") == 0 || strcmp(node->text, "false") == 0)) {
		return json_boolean(node->text[0] == 't');
	}
	return json_string(node->text);
}

/* The same value in other words is the same: .5 and 0.50. */
static int is_same(const json_t *a, const json_t *b)
{
	if (json_is_number(a) && json_is_number(b)) {
		return json_number_value(a) == json_number_value(b);
	}
	return json_equal(a, b);
}

static int read_value(
	struct cwj_reader *r, const struct cwj_yaml *list, size_t i, struct cwj_sweep_key *key)
{
	const struct cwj_yaml *node = list->values[i];

	if (node->kind != CWJ_YAML_SCALAR) {
		return cwj_fail_kind(r, node, "a single value",
			"a matrix lists the values that one field takes, one after another");
	}
	if (!node->quoted && cwj_is_null(node->text)) {
		return cwj_fail(r, node, CWP_EVALUE, "has no value; give one, or remove it");
	}
	if (cwj_has_control(node->text)) {
		return cwj_fail(r, node, CWP_EVALUE, "holds control characters; remove them");
	}
	key->texts[i] = strdup(node->text);
	key->values[i] = value_json(node);
	if (key->texts[i] == NULL || key->values[i] == NULL) {
		return cwj_fail(r, node, -ENOMEM, "no memory for the matrix");
	}
	for (size_t j = 0; j < i; j++) {
		if (is_same(key->values[i], key->values[j])) {
			return cwj_fail(r, node, CWP_EVALUE,
				"\"%.64s\" stands in line %d already; remove one", node->text,
				list->values[j]->line);
		}
	}
	return 0;
}

static int read_values(struct cwj_reader *r, const struct cwj_yaml *list, struct cwj_sweep_key *key)
{
	int rc = 0;

	if (list->kind != CWJ_YAML_SEQUENCE) {
		return cwj_fail_kind(r, list, "a list", "write the values as [0.01, 0.05]");
	}
	if (list->count == 0) {
		return cwj_fail(r, list, CWP_EVALUE, "has no values; list some, or remove the key");
	}
	if (list->count > CWJ_POINTS_MAX) {
		return cwj_fail(r, list, CWP_EVALUE, "has %zu values, at most %d are allowed",
			list->count, CWJ_POINTS_MAX);
	}
	key->texts = calloc(list->count, sizeof(*key->texts));
	key->values = calloc(list->count, sizeof(*key->values));
	if (key->texts == NULL || key->values == NULL) {
		return cwj_fail(r, list, -ENOMEM, "no memory for the matrix");
	}
	key->n_values = list->count;
	for (size_t i = 0; rc == 0 && i < list->count; i++) {
		size_t mark = cwj_enter_index(r, i);
		rc = read_value(r, list, i, key);
		cwj_leave(r, mark);
	}
	return rc;
}

/* "9 x 4": how the number of jobs comes about. */
static int count_points(
	struct cwj_reader *r, const struct cwj_yaml *matrix, struct cwj_sweep *sweep)
{
	char product[128] = "";
	size_t used = 0, n = 1;

	for (size_t i = 0; i < sweep->n_keys; i++) {
		if (__builtin_mul_overflow(n, sweep->keys[i].n_values, &n)) {
			n = SIZE_MAX;
		}
		int added = snprintf(product + used, sizeof(product) - used, "%s%zu",
			i > 0 ? " x " : "", sweep->keys[i].n_values);
		used += added > 0 && used + (size_t)added < sizeof(product) ? (size_t)added : 0;
		if (n > CWJ_POINTS_MAX) {
			return cwj_fail(r, matrix, CWP_EVALUE,
				"stands for more than %d jobs (%s%s); list fewer values, or split "
				"it into "
				"several files",
				CWJ_POINTS_MAX, product, i + 1 < sweep->n_keys ? " x .." : "");
		}
	}
	sweep->n_points = n;
	return 0;
}

static int fill_points(struct cwj_reader *r, const struct cwj_yaml *matrix, struct cwj_sweep *sweep)
{
	sweep->points = calloc(sweep->n_points, sizeof(*sweep->points));
	if (sweep->points == NULL) {
		sweep->n_points = 0;
		return cwj_fail(r, matrix, -ENOMEM, "no memory for the matrix");
	}
	for (size_t i = 0; i < sweep->n_points; i++) {
		size_t rest = i, *choice = calloc(sweep->n_keys, sizeof(*choice));
		if (choice == NULL) {
			return cwj_fail(r, matrix, -ENOMEM, "no memory for the matrix");
		}
		for (size_t k = sweep->n_keys; k-- > 0 && sweep->keys[k].n_values > 0;) {
			choice[k] = rest % sweep->keys[k].n_values;
			rest /= sweep->keys[k].n_values;
		}
		sweep->points[i].choice = choice;
	}
	return 0;
}

static int read_key(struct cwj_reader *r, const struct cwj_yaml *name, const struct cwj_yaml *list,
	struct cwj_sweep_key *key)
{
	size_t mark = cwj_enter(r, name->text);

	key->line = name->line;
	key->column = name->column;
	key->path = strdup(name->text);
	int rc = key->path == NULL ? cwj_fail(r, name, -ENOMEM, "no memory for the matrix")
				   : refuse_key(r, name);
	rc = rc == 0 ? read_values(r, list, key) : rc;
	cwj_leave(r, mark);
	return rc;
}

static int read_matrix(struct cwj_reader *r, const struct cwj_yaml *matrix, struct cwj_sweep *sweep)
{
	if (matrix->kind != CWJ_YAML_MAPPING) {
		return cwj_fail_kind(
			r, matrix, "a mapping", "write {protect.fraction: [0.01, 0.05]}");
	}
	if (matrix->count == 0) {
		return cwj_fail(r, matrix, CWP_EVALUE,
			"has no keys; write {protect.fraction: [0.01, 0.05]}, or remove it");
	}
	sweep->keys = calloc(matrix->count, sizeof(*sweep->keys));
	if (sweep->keys == NULL) {
		return cwj_fail(r, matrix, -ENOMEM, "no memory for the matrix");
	}
	for (size_t i = 0; i < matrix->count; i++) {
		sweep->n_keys = i + 1;
		int rc = read_key(r, matrix->keys[i], matrix->values[i], &sweep->keys[i]);
		if (rc < 0) {
			return rc;
		}
	}
	int rc = count_points(r, matrix, sweep);
	return rc == 0 ? fill_points(r, matrix, sweep) : rc;
}

int cwj_matrix_read(struct cwj_reader *r, const struct cwj_yaml *matrix, struct cwj_sweep *sweep)
{
	size_t mark = cwj_enter(r, "matrix");
	int rc = read_matrix(r, matrix, sweep);

	cwj_leave(r, mark);
	return rc;
}

/* ---- labels ---- */

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
