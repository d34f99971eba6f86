/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Masks of earlier outputs in the place of a selection. Private to this folder. */
#pragma once

#include "engine/pipeline/run.h"

/* Opens the job's masks and checks that their modules and shapes are those of the model. Nothing to do without. */
int cwe_run_masks_open(struct cwe_run *run, struct cwb_err *err);
void cwe_run_masks_close(struct cwe_run *run);
/* Adds their files to the inputs, and checks them against the manifests beside them. */
int cwe_run_masks_inputs(struct cwe_run *run, int (*add)(struct cwe_run *run, const char *path, struct cwb_err *err),
	struct cwb_err *err);
/* Stage select of such a job: the super weights that the manifests name. */
int cwe_run_masks_select(struct cwe_run *run, struct cwb_err *err);
/* The combined mask of a module, [rows, (cols + 7) / 8 bytes]; returns the bits set in *ret_set. */
int cwe_run_masks_fill(struct cwe_run *run, const struct cwe_run_module *m, uint8_t *mask, uint64_t *ret_set,
	struct cwb_err *err);
