/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Inside of sweeps: the matrix as it lies in the tree, fields of the tree by their paths, and a
 * tree as text. Internal to this room. */
#pragma once

#include "job/schema.h"
#include "job/sweep.h"

/* Where a value stands in the tree. */
struct cwj_slot {
	struct cwj_yaml *parent; /* mapping or sequence */
	size_t index;            /* of its values */
	struct cwj_yaml *kept;   /* what the file has there; NULL: nothing, the key was added */
};

/* Finds the field that a key of the matrix names, and makes the keys on its way that are missing.
 * The error says which part of the path is wrong; names are judged later, by the job's table. */
int cwj_slot_find(struct cwj_reader *r, struct cwj_yaml *root, const struct cwj_yaml *path,
	struct cwj_slot *ret);
/* The key of the root mapping, added where it is missing. */
int cwj_slot_key(
	struct cwj_reader *r, struct cwj_yaml *root, const char *name, struct cwj_slot *ret);
void cwj_slot_set(const struct cwj_slot *slot, struct cwj_yaml *value);

/* The tree as YAML text in block style, without one key of its root. Freed with free(). */
int cwj_yaml_print(const struct cwj_yaml *root, const char *without, char **ret, size_t *ret_length,
	struct cwb_err *err);

/* Reads the matrix into keys; all of its rules but those of the paths. */
int cwj_matrix_read(struct cwj_reader *r, const struct cwj_yaml *matrix, struct cwj_sweep *sweep);
/* Labels of all points; choices are filled. */
int cwj_labels_make(struct cwj_sweep *sweep);
/* points[].first of all points; jobs are filled. */
int cwj_calibrations_find(struct cwj_sweep *sweep);
