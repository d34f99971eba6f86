/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* PEFT LoRA adapters: adapter_config.json and adapter_model.safetensors of a folder, merged into
 * the weights while they are read: W + scale * B A. */
#pragma once

#include "engine/format/adapter_config.h"
#include "engine/format/safetensors.h"
#include "engine/format/weights.h"

#define CWE_ADAPTER_CONFIG_FILE "adapter_config.json"
#define CWE_ADAPTER_WEIGHTS_FILE "adapter_model.safetensors"
#define CWE_OUTPUT_ADAPTER "adapter" /* the folder in an output of ours */

/* The factors of one module: A [rank, cols] and B [rows, rank] for a weight of [rows, cols]. */
struct cwe_adapter_module {
	char *name; /* as in the file, without "base_model.model." */
	const struct cwe_safetensors_entry *a, *b;
	uint64_t rank;
	double scale;
};

/* A tensor of the base model that was saved beside the factors. */
struct cwe_adapter_copy {
	char *module; /* as above */
	const struct cwe_safetensors_entry *entry;
};

struct cwe_adapter {
	char *directory;
	struct cwe_adapter_config *config;
	struct cwe_safetensors *file;
	size_t count;
	struct cwe_adapter_module *module; /* in the order of the file's names */
	size_t n_copies;
	struct cwe_adapter_copy *copy;
};

/* Opens a folder and checks it by itself: the configuration, that the file holds pairs of factors
 * and copies of embeddings and nothing else, their dtypes, ranks and shapes, and that the
 * configuration names their modules. *ret is closed with cwe_adapter_close. */
int cwe_adapter_open(const char *directory, struct cwe_adapter **ret, struct cwb_err *err);
void cwe_adapter_close(struct cwe_adapter *a); /* NULL is allowed */

/* n elements of a tensor of the file from element `at` on, as f32. [any-thread] */
int cwe_adapter_read(const struct cwe_adapter *a, const struct cwe_safetensors_entry *e,
	uint64_t at, uint64_t n, float *dst, struct cwb_err *err);

/* The weight of a module that PEFT names so, or NULL: the names of the model's own checkpoint, its
 * text part and its output projection under any of the names that transformers gives them. */
const struct cwe_tensor *cwe_adapter_tensor(const struct cwe_weights *w, const char *module);
/* Whether a module is the output projection, by its name. */
int cwe_adapter_is_head(const char *module);

/* Compares the copies with the model's tensors. CWP_EUNKNOWN when one differs. */
int cwe_adapter_check_copies(
	const struct cwe_adapter *a, struct cwe_weights *w, struct cwb_err *err);

/* The tensor of each module, as an index into w->tensors [a->count]. CWP_EUNKNOWN for a
 * module that the model lacks, CWP_ESHAPE for one of another shape, CWP_EMISSING for one in the
 * decoder layers that target_modules names and the file lacks. */
int cwe_adapter_find(const struct cwe_adapter *a, const struct cwe_weights *w, size_t *ret_tensor,
	struct cwb_err *err);

/* Weights with the adapters of n folders merged in, in this order. Every module of every adapter
 * must be a matrix of `weights` with the factors' shape. The merged tensors have
 * dtype CWP_F32: sums are not rounded to the source's dtype; the others stay as they are. On
 * success *ret owns weights and is closed with cwe_weights_close; on failure weights stays the
 * caller's. *ret_memory: bytes that a read of a merged tensor needs at most, beside what it fills.
 */
int cwe_adapter_weights_open(struct cwe_weights *weights, char *const *directories, size_t n,
	struct cwe_weights **ret, uint64_t *ret_memory, struct cwb_err *err);

/* The adapter in the folder of an output of ours; *ret stays NULL where there is none. */
int cwe_adapter_open_beside(const char *directory, struct cwe_adapter **ret, struct cwb_err *err);

/* Which columns (A selects them) or rows (B does) the factors of a module replace. */
struct cwe_adapter_selector {
	int by_row;
	uint64_t rank;
	uint32_t *index; /* [rank], ascending; freed with free() */
};
/* CWP_EFORMAT when neither factor is a selector, as in every adapter that was trained, or the product is scaled. */
int cwe_adapter_selector(const struct cwe_adapter *a, const struct cwe_adapter_module *m,
	struct cwe_adapter_selector *ret, struct cwb_err *err);
/* As a mask of the rows [row, row + rows): bits [rows, (cols + 7) / 8]. [any-thread] */
void cwe_adapter_selector_mask(
	const struct cwe_adapter_selector *s, uint64_t cols, uint64_t row, uint64_t rows, uint8_t *bits);
