/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Statistics of every parameter of a model over one sample set: what cwp-inspect statistics writes, and what tells this
 * engine from the reference. Unlike a job, which scores decoder Linears only, norms, embeddings and the output
 * projection are measured too. */
#pragma once

#include "engine/calibrate/calibrate.h"

/* name: "grad_sum/<parameter>", "grad_abs/<parameter>", "grad_sq/<parameter>" [rows, cols] (cols 0: a vector), or
 * "act_sq/<module>", "act_absmax/<module>" [rows]. value lives until the call returns. */
typedef int (*cwe_parameter_sink)(void *arg, const char *name, uint64_t rows, uint64_t cols, const float *value,
	struct cwb_err *err);

/* Calls sink with value NULL for everything that cwe_parameters_run gives, in no order that matters. */
int cwe_parameters_list(const struct cwe_model *model, cwe_parameter_sink sink, void *arg, struct cwb_err *err);

/* corpus holds one set. scratch: folder for boundaries, or NULL. Sums over the samples, maximum over tokens. */
int cwe_parameters_run(struct cwe_model *model, const struct cwe_corpus *corpus, const char *scratch,
	cwe_parameter_sink sink, void *arg, struct cwb_err *err);
