/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reading a model's tensors. Private to this folder. */
#pragma once

#include "engine/model/model.h"

/* linear: number of the matrix whose weight t is, else -1. d: its place in layer, or NULL without one. */
typedef int (*cwe_visitor)(struct cwe_model *m, const struct cwe_tensor *t, struct cwe_layer *layer, int32_t linear, float *d,
	struct cwb_err *err);

/* Calls visit for each tensor of layer index, which must be there with its shape. layer may be NULL. Ends with the first
 * code that is not 0. */
int cwe_model_each_tensor(struct cwe_model *m, uint32_t index, struct cwe_layer *layer, cwe_visitor visit,
	struct cwb_err *err);

/* Rows of a tensor to host memory, f32; a weight that is NaN or infinite is refused. [any-thread] */
int cwe_model_read_host(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *x, struct cwb_err *err);
/* The same to the device, between cwe_device_load_begin and cwe_device_load_wait. [one thread at a time] */
int cwe_model_load_rows(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *d, struct cwb_err *err);
/* The same of a whole weight whose input is split (weights.h). */
int cwe_model_load_split(struct cwe_model *m, const struct cwe_tensor *t, float *d_quantized, float *d_exact, struct cwb_err *err);
/* The first rows of a tensor to the device, as they are stored. */
int cwe_model_upload_rows(struct cwe_model *m, const struct cwe_tensor *t, uint64_t rows, void *d, struct cwb_err *err);
/* The output projection, or the embedding when tied. */
const struct cwe_tensor *cwe_model_head_tensor(const struct cwe_model *m);
/* Rows of a tensor to the device, at once. */
int cwe_model_read_rows(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *d, struct cwb_err *err);
