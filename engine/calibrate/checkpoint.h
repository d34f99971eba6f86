/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What a pass over the layers needs to go on after a finished one, in scratch: a boundary. */
#pragma once

#include "engine/calibrate/boundary.h"

/* Writes one slot of a boundary to a file of this name, whole (fsync, rename). ret_digest: SHA-256 over
 * those of its pieces of 1 MiB, which the threads of the device's host share. */
int cwe_checkpoint_save(const char *scratch, const char *name, struct cwe_boundary *b, uint32_t slot, char ret_digest[65],
	struct cwb_err *err);
/* CWP_EDIGEST when the file is missing, short, or not the one that was saved. */
int cwe_checkpoint_load(const char *scratch, const char *name, const char *digest, struct cwe_boundary *b, uint32_t slot,
	struct cwb_err *err);
/* Removes a checkpoint that a journal no longer names. */
void cwe_checkpoint_remove(const char *scratch, const char *name);

/* The same of the gradient at a layer's input, the only slot of its boundary, in gradient-<layer>. */
int cwe_gradient_save(const char *scratch, uint32_t layer, struct cwe_boundary *gradient, char ret_digest[65],
	struct cwb_err *err);
int cwe_gradient_load(const char *scratch, uint32_t layer, const char *digest, struct cwe_boundary *gradient,
	struct cwb_err *err);
void cwe_gradient_remove(const char *scratch, uint32_t layer);
