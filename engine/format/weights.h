/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Where a model's weights come from: tensors under their Hugging Face names, read row by row, never all in memory.
 * One interface over safetensors, GGUF and outputs of ours, so that the engine sees no file format. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <cwp/backend.h> /* enum cwp_dtype */

#include "base/err.h"

#define CWE_RANK_MAX 4

struct cwe_tensor {
	const char *name; /* as in a Hugging Face checkpoint: model.layers.0.self_attn.q_proj.weight */
	uint32_t dtype;   /* enum cwp_dtype of read_raw: CWP_BF16 also for quantized GGUF types, CWP_F32 for codes of our own outputs */
	uint32_t stored;  /* the source's own enum cwp_dtype, where an adapter was merged and dtype is CWP_F32 for that; else 0 */
	uint32_t rank;    /* 1 or 2 for everything that the engine uses */
	uint32_t whole;   /* 1: some rows cost as much as all, which are best read at once */
	uint64_t shape[CWE_RANK_MAX];
	uint64_t index;   /* the implementation's own */
};

struct cwe_weights;

/* How the input of a Linear is quantized before the product; how.kind 0: not at all. */
struct cwe_linear_input {
	struct cwp_activation how; /* sequences are the caller's */
	int split; /* part of the weight multiplies the input as it is: cwe_weights_read_split */
};

/* What an implementation provides; see the wrappers below for the contract. */
struct cwe_weights_ops {
	int (*read_f32)(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *dst, struct cwb_err *err);
	int (*read_raw)(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, void *dst, struct cwb_err *err);
	void (*close)(struct cwe_weights *w);
	/* Both NULL where no input is quantized. */
	void (*input)(const struct cwe_weights *w, const struct cwe_tensor *t, struct cwe_linear_input *ret);
	int (*read_split)(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *quantized,
		float *exact, struct cwb_err *err);
};

/* Implementations embed this first. tensors is sorted by name (strcmp). */
struct cwe_weights {
	const struct cwe_weights_ops *ops;
	size_t count;
	const struct cwe_tensor *tensors;
};

/* Opens the weights below path: a Hugging Face directory with model.safetensors or a sharded index, or a .gguf file.
 * (Outputs of ours: cwe_output_weights_open in engine/format/output.h.) Checks all headers; reads no data.
 * *ret is closed with cwe_weights_close. */
int cwe_weights_open(const char *path, struct cwe_weights **ret, struct cwb_err *err);
void cwe_weights_close(struct cwe_weights *w); /* NULL is allowed */

/* The tensor of this name, or NULL. Lives as long as w. [any-thread] */
const struct cwe_tensor *cwe_weights_find(const struct cwe_weights *w, const char *name);

/* Rows [row, row + rows) of a tensor of rank 2, or elements of one of rank 1, as f32, exactly the stored values (for
 * quantized GGUF types: decoded in f32 and rounded to bf16; with an adapter: the sum, not rounded further). dst [rows, shape[1]] is the caller's. [any-thread] */
int cwe_weights_read_f32(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *dst, struct cwb_err *err);

/* The same in the tensor's own dtype (t->dtype), little endian. [any-thread] */
int cwe_weights_read_raw(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, void *dst, struct cwb_err *err);

/* The input of the Linear whose weight t is: a property of the weights, since it belongs to their quantization. [any-thread] */
void cwe_weights_input(const struct cwe_weights *w, const struct cwe_tensor *t, struct cwe_linear_input *ret);

/* The two summands of rows of a weight whose input is split: y = quantized * Q(x) + exact * x, each [rows, shape[1]]. Where
 * weights are protected, those are in exact, and 0 in quantized. [any-thread] */
int cwe_weights_read_split(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *quantized,
	float *exact, struct cwb_err *err);
