/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A job file with a matrix: one file that stands for several jobs, one for each combination of the
 * values that the matrix lists. A file without one is a sweep of the one job that it describes. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"
#include "job/job.h"

#define CWJ_POINTS_MAX 256 /* jobs of one matrix */
#define CWJ_LABEL_MAX 100  /* bytes of a label */

/* One swept field. */
struct cwj_sweep_key {
	char *path; /* as written: protect.fraction */
	size_t n_values;
	char **texts;    /* as written: ".05" */
	json_t **values; /* the same as numbers, truth values and texts */
	int line, column;
};

/* One job of the sweep. Its output is "<output of the file>/<label>". */
struct cwj_sweep_point {
	char *label; /* "fraction=.05,bits=4", fit for a file name and unique; NULL without a matrix
		      */
	size_t *choice; /* of each key: which of its values */
	char *text;     /* a whole job file of this point alone; NULL without a matrix */
	size_t length;
	struct cwj_job *job; /* checked; its lines and columns are those of the sweep's file */
	int calibrated;      /* scores are computed: not where protect.fraction is 0 */
	/* The first point that is calibrated in the same way: itself, where there is none before it
	 * or it is not calibrated. */
	size_t first;
};

struct cwj_sweep {
	size_t n_keys; /* 0: no matrix */
	struct cwj_sweep_key *keys;
	size_t n_points;                /* at least 1 */
	struct cwj_sweep_point *points; /* the last key's values change first */
	char *name;   /* of the file, or that of its output; NULL without a matrix */
	char *output; /* absolute; NULL without a matrix */
};

/* Parses and checks a job file with or without a matrix, and each of its jobs. No file is opened.
 * *ret is freed with cwj_sweep_free. Errors as cwj_job_parse's, with the place in this file: a
 * value of the matrix is blamed where it stands in the matrix. [any-thread] */
int cwj_sweep_parse(const char *text, size_t length, const char *directory, struct cwj_sweep **ret,
	struct cwb_err *err);
/* The same from a file of at most 1 MiB; paths are relative to its folder, messages begin with its
 * name and the place. */
int cwj_sweep_read(const char *path, struct cwj_sweep **ret, struct cwb_err *err);
void cwj_sweep_free(struct cwj_sweep *sweep);

/* {"protect.fraction": 0.05, ..}: a new reference, NULL only when memory ran out. */
json_t *cwj_sweep_values(const struct cwj_sweep *sweep, size_t point);
/* SHA-256 of what decides the results of all points (the digests of their jobs, and their labels).
 */
int cwj_sweep_digest(const struct cwj_sweep *sweep, char ret_hex[65]);
