/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Quantizing without calibration and protection: strips of rows are read, quantized and written by all threads, so that
 * memory does not grow with the model. Private to this folder. */
#pragma once

#include "engine/pipeline/run.h"

/* Whether this job goes that way; protecting: some weights may be protected. */
int cwe_run_by_strips(const struct cwe_run *run, int protecting);
/* Memory that it takes. */
uint64_t cwe_run_strips_memory(const struct cwe_run *run);
/* All modules that the writer does not have yet. */
int cwe_run_strips(struct cwe_run *run, struct cwe_writer *writer, struct cwb_err *err);
