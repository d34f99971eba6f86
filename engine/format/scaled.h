/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Weights whose rows and columns are multiplied by factors as they are read: struct cwe_weights over another one, with
 * the same tensors. Nothing is scaled at first; factors may come while others read, but not for a tensor that is being
 * read. */
#pragma once

#include "engine/format/weights.h"

/* source stays the caller's and must outlive *ret, which is closed with cwe_weights_close. read_f32 and read_raw give
 * products rounded to the tensor's dtype: what a checkpoint of the scaled weights holds. CWP_ENUMBER, naming tensor and
 * place, where the dtype cannot hold one. */
int cwe_scaled_new(struct cwe_weights *source, struct cwe_weights **ret, struct cwb_err *err);

/* Factors of the rows [row, row + count) of a matrix, or elements of a vector, copied: x -> (x + offset) * factor - offset.
 * In the place of earlier ones; the offset is the tensor's. CWP_EVALUE for a factor that is not positive and finite. */
int cwe_scaled_rows(struct cwe_weights *scaled, const struct cwe_tensor *t, uint64_t row, uint64_t count, const float *factor,
	float offset, struct cwb_err *err);
/* Factors of all columns of a matrix, likewise. */
int cwe_scaled_columns(struct cwe_weights *scaled, const struct cwe_tensor *t, const float *factor, struct cwb_err *err);

/* Rows as cwe_weights_read_f32 has them, but only rounded to f32. [any-thread] */
int cwe_scaled_read(struct cwe_weights *scaled, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *dst,
	struct cwb_err *err);
