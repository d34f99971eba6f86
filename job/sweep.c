/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Text -> tree -> one job and one text for each point of the matrix: the values are put into the
 * tree, which is read as any job file's is, and written out again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job/document.h"
#include "job/job_table.h"
#include "job/path.h"
#include "job/schema_value.h"
#include "job/sweep_p.h"

enum { LONGEST_NAME = 200 };
#define MOST_TEXT ((size_t)8 << 20) /* of all points together */

struct expansion {
	struct cwj_reader *r;
	struct cwj_yaml *root;
	struct cwj_yaml *matrix;
	struct cwj_slot *slots; /* of the keys */
	struct cwj_slot name, output;
	size_t bytes;
	struct cwj_sweep *sweep;
};

static int is_text(const struct cwj_yaml *node)
{
	return node != NULL && node->kind == CWJ_YAML_SCALAR && node->text[0] != '\0' &&
	       (node->quoted || !cwj_is_null(node->text)) && !cwj_has_control(node->text);
}

/* Name and output of the file. Where they are not good, the first point says so. */
static int take_names(struct expansion *x)
{
	struct cwj_sweep *sweep = x->sweep;
	const struct cwj_yaml *name = cwj_yaml_get(x->root, "name"),
			      *output = cwj_yaml_get(x->root, "output");

	if (!is_text(output) || output->text[0] == '~' ||
		(is_text(name) && strlen(name->text) > LONGEST_NAME)) {
		return 0;
	}
	sweep->output = cwj_path_resolve(x->r->directory, output->text);
	if (sweep->output != NULL) {
		const char *slash = strrchr(sweep->output, '/');
		sweep->name = strdup(is_text(name) ? name->text : slash + 1);
	}
	if (sweep->output == NULL || sweep->name == NULL) {
		return cwj_fail(x->r, x->matrix, -ENOMEM, "no memory for the matrix");
	}
	int rc = cwj_slot_key(x->r, x->root, "name", &x->name);
	return rc == 0 ? cwj_slot_key(x->r, x->root, "output", &x->output) : rc;
}

/* A scalar of the point's own, at the place of the file's. */
static struct cwj_yaml *own_scalar(char *text, const struct cwj_yaml *place)
{
	struct cwj_yaml *node = text == NULL ? NULL : calloc(1, sizeof(*node));

	if (node == NULL) {
		free(text);
		return NULL;
	}
	*node = (struct cwj_yaml){.kind = CWJ_YAML_SCALAR,
		.text = text,
		.line = place->line,
		.column = place->column};
	return node;
}

/* The length of text up to which at most `most` bytes are whole characters. */
static int cut(const char *text, size_t most)
{
	size_t n = strlen(text);

	if (n > most) {
		for (n = most; n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80; n--) {
		}
	}
	return (int)n;
}

/* Gives the point its own name and output; the nodes are freed by the caller. */
static int name_point(struct expansion *x, const struct cwj_sweep_point *point,
	struct cwj_yaml **ret_name, struct cwj_yaml **ret_output)
{
	const struct cwj_sweep *sweep = x->sweep;
	char *name = NULL, *output = NULL;

	if (x->output.parent == NULL) {
		return 0; /* the file's own is refused with its words */
	}
	int room = LONGEST_NAME - 1 - (int)strlen(point->label);
	if (asprintf(&name, "%.*s %s", cut(sweep->name, (size_t)room), sweep->name, point->label) <
		0) {
		name = NULL;
	}
	if (asprintf(&output, "%s/%s", strcmp(sweep->output, "/") == 0 ? "" : sweep->output,
		    point->label) < 0) {
		output = NULL;
	}
	*ret_name = own_scalar(name, x->name.kept != NULL ? x->name.kept : x->root);
	*ret_output = own_scalar(output, x->output.kept);
	if (*ret_name == NULL || *ret_output == NULL) {
		return cwj_fail(x->r, x->matrix, -ENOMEM, "no memory for the matrix");
	}
	cwj_slot_set(&x->name, *ret_name);
	cwj_slot_set(&x->output, *ret_output);
	return 0;
}

/* Scores are computed for what is to be protected; a budget may be written in several ways, nothing
 * in one. */
static int is_calibrated(const struct cwj_yaml *root, const struct cwj_job *job)
{
	const struct cwj_yaml *protect = cwj_yaml_get(root, "protect");
	const struct cwj_yaml *fraction =
		protect != NULL ? cwj_yaml_get(protect, "fraction") : NULL;
	double number;

	return job->n_sets > 0 && job->has_score && job->has_protect &&
	       job->carrier != CWJ_CARRIER_NONE &&
	       !(fraction != NULL && cwj_number_parse(fraction, &number) == 0 && number == 0);
}

/* Reads and writes the tree as it stands. */
static int take_point(struct expansion *x, struct cwj_sweep_point *point)
{
	int rc = cwj_job_from_tree(x->r, x->root, &point->job);

	if (rc == 0) {
		rc = cwj_yaml_print(x->root, NULL, &point->text, &point->length, x->r->err);
	}
	if (rc == 0) {
		point->calibrated = is_calibrated(x->root, point->job);
		x->bytes += point->length;
		if (x->bytes > MOST_TEXT) {
			rc = cwj_fail(x->r, x->matrix, CWP_EVALUE,
				"stands for %zu jobs, whose files are longer than %zu MiB "
				"together; shorten "
				"the file, or list fewer values",
				x->sweep->n_points, MOST_TEXT >> 20);
		}
	}
	return rc;
}

static int make_point(struct expansion *x, size_t i)
{
	struct cwj_sweep_point *point = &x->sweep->points[i];
	struct cwj_yaml *name = NULL, *output = NULL;

	for (size_t k = 0; k < x->sweep->n_keys; k++) {
		cwj_slot_set(&x->slots[k], x->matrix->values[k]->values[point->choice[k]]);
	}
	int rc = name_point(x, point, &name, &output);
	rc = rc == 0 ? take_point(x, point) : rc;
	if (name != NULL && output != NULL) {
		cwj_slot_set(&x->name, x->name.kept);
		cwj_slot_set(&x->output, x->output.kept);
	}
	cwj_yaml_free(name);
	cwj_yaml_free(output);
	return rc;
}

/* Whether the field of path b lies within that of path a. */
static int is_within(const char *a, const char *b)
{
	size_t n = strlen(a);

	return strncmp(a, b, n) == 0 && (b[n] == '.' || b[n] == '[');
}

/* Two keys of which one names a part of the other would take the place from each other. */
static int refuse_part(struct expansion *x, size_t k)
{
	const char *path = x->sweep->keys[k].path;

	for (size_t i = 0; i < k; i++) {
		const char *other = x->sweep->keys[i].path;
		if (is_within(other, path) || is_within(path, other)) {
			return cwj_fail(x->r, x->matrix->keys[k], CWP_EVALUE,
				"\"%.80s\" and \"%.80s\" name parts of each other; remove one",
				path, other);
		}
	}
	return 0;
}

static int find_fields(struct expansion *x)
{
	size_t mark = cwj_enter(x->r, "matrix");
	int rc = 0;

	for (size_t k = 0; rc == 0 && k < x->sweep->n_keys; k++) {
		size_t inner = cwj_enter(x->r, x->sweep->keys[k].path);
		rc = refuse_part(x, k);
		rc = rc == 0 ? cwj_slot_find(x->r, x->root, x->matrix->keys[k], &x->slots[k]) : rc;
		cwj_leave(x->r, inner);
	}
	cwj_leave(x->r, mark);
	return rc;
}

static int make_points(struct expansion *x)
{
	int rc = cwj_labels_make(x->sweep);

	if (rc < 0) {
		return cwj_fail(x->r, x->matrix, rc, "no memory for the matrix");
	}
	for (size_t i = 0; rc == 0 && i < x->sweep->n_points; i++) {
		rc = make_point(x, i);
	}
	if (rc == 0 && cwj_calibrations_find(x->sweep) < 0) {
		rc = cwj_fail(x->r, x->matrix, -ENOMEM, "no memory for the matrix");
	}
	return rc;
}

/* Takes the key matrix out of the tree; it and its key are the caller's. */
static struct cwj_yaml *detach_matrix(struct cwj_yaml *root, struct cwj_yaml **ret_key)
{
	for (size_t i = 0; i < root->count; i++) {
		struct cwj_yaml *matrix = root->values[i];
		if (strcmp(root->keys[i]->text, "matrix") == 0) {
			*ret_key = root->keys[i];
			root->count--;
			memmove(&root->keys[i], &root->keys[i + 1],
				(root->count - i) * sizeof(*root->keys));
			memmove(&root->values[i], &root->values[i + 1],
				(root->count - i) * sizeof(*root->values));
			return matrix;
		}
	}
	return NULL;
}

/* Puts back what the file has, so that the tree and the matrix can be freed apart. */
static void restore(struct expansion *x)
{
	for (size_t k = 0; x->slots != NULL && k < x->sweep->n_keys; k++) {
		if (x->slots[k].parent != NULL) {
			cwj_slot_set(&x->slots[k], x->slots[k].kept);
		}
	}
}

static int expand(struct cwj_reader *r, struct cwj_yaml *root, struct cwj_yaml *matrix,
	struct cwj_sweep *sweep)
{
	struct expansion x = {.r = r, .root = root, .matrix = matrix, .sweep = sweep};
	int rc = cwj_matrix_read(r, matrix, sweep);

	if (rc == 0) {
		x.slots = calloc(sweep->n_keys, sizeof(*x.slots));
		rc = x.slots == NULL ? cwj_fail(r, matrix, -ENOMEM, "no memory for the matrix") : 0;
	}
	rc = rc == 0 ? find_fields(&x) : rc;
	rc = rc == 0 ? take_names(&x) : rc;
	rc = rc == 0 ? make_points(&x) : rc;
	restore(&x);
	free(x.slots);
	return rc;
}

static int parse_plain(struct cwj_reader *r, const struct cwj_yaml *root, struct cwj_sweep *sweep)
{
	sweep->points = calloc(1, sizeof(*sweep->points));
	if (sweep->points == NULL) {
		return cwj_fail(r, root, -ENOMEM, "no memory for the job");
	}
	sweep->n_points = 1;
	return cwj_job_from_tree(r, root, &sweep->points[0].job);
}

int cwj_sweep_parse(const char *text, size_t length, const char *directory, struct cwj_sweep **ret,
	struct cwb_err *err)
{
	struct cwb_err own = {0};
	struct cwj_reader r = {
		.directory = directory, .err = err != NULL && err->code == 0 ? err : &own};
	struct cwj_yaml *root = NULL, *key = NULL;
	struct cwj_sweep *sweep = calloc(1, sizeof(*sweep));

	if (sweep == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the job");
	}
	int rc = directory[0] == '/'
			 ? cwj_yaml_parse(text, length, &root, r.err)
			 : cwb_err_set(r.err, CWP_EVALUE,
				   "directory \"%.200s\" is not absolute; give a path that "
				   "begins with /",
				   directory);
	struct cwj_yaml *matrix =
		rc == 0 && root->kind == CWJ_YAML_MAPPING ? detach_matrix(root, &key) : NULL;
	if (rc == 0) {
		rc = matrix != NULL ? expand(&r, root, matrix, sweep)
				    : parse_plain(&r, root, sweep);
	}
	cwj_yaml_free(matrix);
	cwj_yaml_free(key);
	cwj_yaml_free(root);
	if (rc < 0) {
		cwj_sweep_free(sweep);
		return rc;
	}
	*ret = sweep;
	return 0;
}

static int parse_file(
	const char *text, size_t length, const char *directory, void *target, struct cwb_err *err)
{
	return cwj_sweep_parse(text, length, directory, target, err);
}

int cwj_sweep_read(const char *path, struct cwj_sweep **ret, struct cwb_err *err)
{
	return cwj_document_load(path, parse_file, ret, err);
}

static void free_key(struct cwj_sweep_key *key)
{
	for (size_t i = 0; i < key->n_values; i++) {
		free(key->texts[i]);
		json_decref(key->values[i]);
	}
	free(key->texts);
	free((void *)key->values);
	free(key->path);
}

void cwj_sweep_free(struct cwj_sweep *sweep)
{
	if (sweep == NULL) {
		return;
	}
	for (size_t i = 0; i < sweep->n_keys; i++) {
		free_key(&sweep->keys[i]);
	}
	for (size_t i = 0; i < sweep->n_points; i++) {
		free(sweep->points[i].label);
		free(sweep->points[i].choice);
		free(sweep->points[i].text);
		cwj_job_free(sweep->points[i].job);
	}
	free(sweep->keys);
	free(sweep->points);
	free(sweep->name);
	free(sweep->output);
	free(sweep);
}
