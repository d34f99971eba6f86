/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Carriers that hold whole units: modules, and adapter with its columns or rows. Private to this folder. */
#pragma once

#include "engine/pipeline/run.h"

/* At open: what goes together. The modules are listed, with their grids. */
int cwe_run_carrier_check(struct cwe_run *run, struct cwb_err *err);
/* After the selection, with the same result in every attempt: which modules are kept whole, and how large the adapter's
 * ranks are. super_added counts what joins a super weight. */
int cwe_run_carrier(struct cwe_run *run, struct cwb_err *err);
/* After the writer's end: what of an adapter is reported, and a line in the log. */
void cwe_run_carrier_end(struct cwe_run *run, const struct cwe_writer *writer);
/* An adapter for reports. A new reference. */
json_t *cwe_adapter_json(const struct cwe_writer_adapter *adapter);
/* For the report; NULL unless an adapter was written. A new reference. */
json_t *cwe_run_adapter_json(const struct cwe_run *run);
/* Names of the modules that are kept whole, with carrier modules; else NULL. A new reference. */
json_t *cwe_run_kept_json(const struct cwe_run *run);
