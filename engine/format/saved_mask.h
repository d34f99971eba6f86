/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The mask of an earlier output: which weights it protects. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cwe_saved_mask;

/* Opens what holds the protected weights of an output (overlay, protected.mask, adapter, or the manifest's kept_modules) and
 * checks it against the shapes of the output's own weights. CWP_EMISSING when the folder has none of them. *ret is closed with cwe_saved_mask_close. */
int cwe_saved_mask_open(const char *directory, struct cwe_saved_mask **ret, struct cwb_err *err);
void cwe_saved_mask_close(struct cwe_saved_mask *m); /* NULL is allowed */

/* The file that holds it, below the folder. */
const char *cwe_saved_mask_file(const struct cwe_saved_mask *m);

/* Modules that have protected weights, by name, and their shape. */
size_t cwe_saved_mask_count(const struct cwe_saved_mask *m);
const char *cwe_saved_mask_module(const struct cwe_saved_mask *m, size_t i, uint64_t *ret_rows, uint64_t *ret_cols);
/* The number of a module, or -1. [any-thread] */
int64_t cwe_saved_mask_find(const struct cwe_saved_mask *m, const char *module);
/* Bits of the rows [row, row + rows) of module i, or of one that has none (i < 0): as cwe_overlay_mask. [any-thread] */
int cwe_saved_mask_rows(const struct cwe_saved_mask *m, int64_t i, uint64_t cols, uint64_t row, uint64_t rows, uint8_t *bits,
	struct cwb_err *err);

/* manifest.json beside it, an object; *ret is NULL without error where there is none. A new reference. */
int cwe_saved_mask_manifest(const char *directory, json_t **ret, struct cwb_err *err);
