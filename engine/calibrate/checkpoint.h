/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What a calibration needs to go on after a finished layer: the gradient at that layer's input, in scratch. */
#pragma once

#include "engine/calibrate/boundary.h"

/* Writes gradient-<layer> whole (fsync, rename). ret_digest: SHA-256 of it. */
int cwe_gradient_save(const char *scratch, uint32_t layer, struct cwe_boundary *gradient, char ret_digest[65],
	struct cwb_err *err);
/* CWP_EDIGEST when the file is missing, short, or not the one that was saved. */
int cwe_gradient_load(const char *scratch, uint32_t layer, const char *digest, struct cwe_boundary *gradient,
	struct cwb_err *err);
/* Removes a checkpoint that a journal no longer names. */
void cwe_gradient_remove(const char *scratch, uint32_t layer);
