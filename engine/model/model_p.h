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

/* Bytes that one thread reads at a time: they stay in the cache, and most matrices are several. */
#define CWE_STEP (512u << 10)

/* Numbers of a row. */
uint64_t cwe_tensor_row(const struct cwe_tensor *t);
/* How many of `rows` rows, each of so many bytes in memory, are best read at a time. */
uint64_t cwe_model_step_rows(const struct cwe_tensor *t, uint64_t rows, uint64_t bytes);
/* CWP_ENUMBER, naming the place, where one of the n numbers of t from a row on is NaN or infinite. dtype: that of x. [any-thread] */
int cwe_model_check_finite(const struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, const void *x, uint32_t dtype,
	uint64_t n, struct cwb_err *err);

/* Rows of a tensor to host memory, f32; a weight that is NaN or infinite is refused. [any-thread] */
int cwe_model_read_host(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *x, struct cwb_err *err);

/* The rest is for devices with memory of their own. Numbers of host memory, between cwe_device_load_begin and
 * cwe_device_load_wait. [any-thread] */
int cwe_model_load(struct cwe_model *m, float *d, const void *src, uint32_t dtype, uint64_t n, struct cwb_err *err);
/* Whole tensors, likewise, f32; the list is sorted by place. [one thread at a time] */
struct cwe_model_load {
	const struct cwe_tensor *t;
	float *d;
};
int cwe_model_load_all(struct cwe_model *m, struct cwe_model_load *list, size_t n, struct cwb_err *err);
/* Rows of a tensor likewise; also to host memory, where the device's is that. [one thread at a time] */
int cwe_model_load_rows(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *d, struct cwb_err *err);
/* The same of a whole weight whose input is split (weights.h). */
int cwe_model_load_split(struct cwe_model *m, const struct cwe_tensor *t, float *d_quantized, float *d_exact, struct cwb_err *err);
/* The first rows of a tensor to the device at once, as they are stored; each is a multiple of four bytes. */
int cwe_model_load_stored(struct cwe_model *m, const struct cwe_tensor *t, uint64_t rows, void *d, struct cwb_err *err);
/* The output projection, or the embedding when tied. */
const struct cwe_tensor *cwe_model_head_tensor(const struct cwe_model *m);
/* Rows of a tensor to the device, at once. */
int cwe_model_read_rows(struct cwe_model *m, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *d, struct cwb_err *err);
