/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What computes: the backend that a job gets, and what is told of it. */
#pragma once

#include "engine/pipeline/run.h"

/* Opens the backend that the job asks for, in its precision. */
int cwe_run_device_open(struct cwe_run *run, struct cwb_err *err);

/* {backend, precision, uuid, why}: uuid null where there is nothing to choose from; why: of auto that took the CPU, else null.
 * NULL: no memory. */
json_t *cwe_run_device_json(const struct cwe_run *run);

/* One line for the log where it is not the CPU. */
void cwe_run_device_log(const struct cwe_run *run);
