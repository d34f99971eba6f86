/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The matrix itself: its keys and their values. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
