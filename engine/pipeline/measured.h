/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Evaluations as they were measured, item by item: of a run, and in its output's CWE_OUTCOMES_FILE. */
#pragma once

#include <jansson.h>

#include "engine/pipeline/outcomes.h"

struct cwe_measured {
	char *name;      /* of the evaluation */
	char *benchmark;
	char data[65];   /* digest of the data file; "" where it is not known */
	struct cwe_outcomes outcomes;
};

/* What a file holds. */
struct cwe_measured_file {
	struct cwe_measured *measured; /* [n], freed with cwe_measured_free */
	size_t n;
	uint64_t seed;
	int protecting;
};

struct cwe_run;
struct cwe_benchmark;

/* Takes the benchmark's outcomes over into the run. 0 or -ENOMEM. */
int cwe_run_keep_outcomes(struct cwe_run *run, struct cwe_benchmark *b);
/* Frees the list and all in it. */
void cwe_measured_free(struct cwe_measured *list, size_t n);

/* Writes CWE_OUTCOMES_FILE into the folder, atomically: a line {version, seed, protecting}, then for each metric a line
 * {name, benchmark, data, metric, group, form, direction, ideal, original, quantized, protected, items} (each of the three
 * {n, value, low, high, standard_error} or null) and a line {id, group, original, quantized, protected} for each of its items
 * (each of the three [value, weight, choice] or null). doc/report.md */
int cwe_measured_write(const struct cwe_run *run, int folder, struct cwb_err *err);
/* Reads it from a finished output, checked against its manifest. CWP_EMISSING: the output has none; CWP_EDIGEST, CWP_EFORMAT naming
 * the line. measured_read.c */
int cwe_measured_read(const char *output, struct cwe_measured_file *ret, struct cwb_err *err);
