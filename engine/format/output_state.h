/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* An opened output, checked: which tensors of the files make up which weight. */
#pragma once

#include "engine/format/checkpoint.h"
#include "engine/format/compressed_tensors.h"
#include "engine/format/output.h"
#include "engine/format/overlay.h"

/* One weight as the engine sees it. */
struct cwe_output_item {
	char *name;     /* of the tensor: "model.norm.weight" */
	int quantized;
	struct cwp_grid grid; /* what the codes mean */
	struct cwe_ct_scheme scheme; /* of compressed-tensors only */
	uint64_t rows, cols;
	const struct cwe_checkpoint_tensor *codes; /* or the tensor itself when it is not quantized */
	const struct cwe_checkpoint_tensor *scale;
	const struct cwe_checkpoint_tensor *zero;  /* NULL when there is none */
	const struct cwe_checkpoint_tensor *shape; /* packed compressed-tensors only */
	const struct cwe_checkpoint_tensor *extra; /* another companion of the format */
	const struct cwe_checkpoint_tensor *input; /* the inputs' scale, where they have one for all */
	const struct cwe_checkpoint_tensor *input_shift; /* its zero point */
	float input_scale;
	int8_t input_zero;
	int zero_offset; /* GPTQ: what is added to a stored zero point */
	const struct cwe_overlay_module *overlay;  /* or NULL */
};

/* A tensor that stands beside the codes, and where an item keeps it. */
struct cwe_output_companion {
	const char *suffix; /* behind the module's name */
	size_t at;          /* offset of the pointer in struct cwe_output_item */
};

#define CWE_OUTPUT_COMPANIONS_MAX 6
#define CWE_OUTPUT_CODES_MAX 2

/* How a format's files are read. All sizes come from strangers; check sees to it that the rest cannot go wrong. */
struct cwe_output_reader {
	const char *method; /* quant_method */
	/* From the object quantization_config, with field in errors. *ret is closed with config_free. */
	int (*config_read)(const json_t *object, void **ret, struct cwb_err *err);
	void (*config_free)(void *config); /* NULL is allowed */
	/* The grid of a module by its name, NULL: of any. 0, or -1 when the configuration leaves it alone. */
	int (*config_grid)(const void *config, const char *module, struct cwp_grid *ret);
	/* What names of codes may end with, behind the module's name; up to the first NULL. */
	const char *codes_name[CWE_OUTPUT_CODES_MAX];
	/* The suffix that makes a tensor the codes of a module, one of these; NULL when it is none. */
	const char *(*codes_suffix)(const struct cwe_safetensors_entry *e);
	struct cwe_output_companion companion[CWE_OUTPUT_COMPANIONS_MAX]; /* up to the first without suffix */
	/* With grid, codes and companions set: checks dtypes and shapes against each other, sets rows and cols. */
	int (*check)(const void *config, const char *module, struct cwe_output_item *m, struct cwb_err *err);
	/* The rows [row, row + rows) as quantizer.h has them: codes [rows, cols], scales and zeros [rows, n]; zeros may be NULL
	 * where no grid has zero points. */
	int (*codes)(const struct cwe_output_item *m, uint64_t row, uint64_t rows, uint8_t *ret, struct cwb_err *err);
	int (*scales)(const struct cwe_output_item *m, uint64_t row, uint64_t rows, uint64_t n, float *ret, struct cwb_err *err);
	int (*zeros)(const struct cwe_output_item *m, uint64_t row, uint64_t rows, uint64_t n, int8_t *ret, struct cwb_err *err);
};

/* By quant_method. NULL: not one that we read. */
const struct cwe_output_reader *cwe_output_reader_find(const char *method);
extern const struct cwe_output_reader cwe_output_reader_compressed_tensors, cwe_output_reader_bitsandbytes,
	cwe_output_reader_gptq, cwe_output_reader_fp8;

/* For checks: a CWP_EFORMAT that names file and tensor; whether a tensor is [rows, cols]; whether a name ends so. */
int cwe_output_misfit(const struct cwe_checkpoint_tensor *t, const char *what, struct cwb_err *err);
int cwe_output_has_shape(const struct cwe_checkpoint_tensor *t, uint64_t rows, uint64_t cols);
int cwe_output_ends_with(const char *name, const char *tail);
/* rows and cols from codes that are not packed: two dimensions. */
int cwe_output_take_matrix(struct cwe_output_item *m, struct cwb_err *err);
/* For readers: one grid for all modules, which config begins with; codes of a byte each; scales [rows, n] of a tensor in which
 * `share` rows of the weight have one row. */
int cwe_output_one_grid(const void *config, const char *module, struct cwp_grid *ret);
int cwe_output_read_bytes(const struct cwe_output_item *m, uint64_t row, uint64_t rows, uint8_t *ret, struct cwb_err *err);
int cwe_output_read_shared(const struct cwe_checkpoint_tensor *t, uint64_t share, uint64_t row, uint64_t rows, uint64_t n,
	float *ret, struct cwb_err *err);
/* The scales of rows, finite and not negative. */
int cwe_output_read_scales(const struct cwe_output_reader *reader, const struct cwe_output_item *m, uint64_t row,
	uint64_t rows, float *ret, struct cwb_err *err);

struct cwe_output_weights {
	struct cwe_weights base;
	struct cwe_tensor *tensor;
	struct cwe_output_item *item; /* sorted by name */
	size_t count;
	struct cwe_checkpoint *checkpoint;
	struct cwe_overlay *overlay; /* NULL when there is none */
	const struct cwe_output_reader *reader;
	void *config;
};

/* Opens everything but the operations of base. Closed with cwe_output_state_free. */
int cwe_output_state_open(const char *directory, const json_t *config, struct cwe_output_weights **ret, struct cwb_err *err);
void cwe_output_state_free(struct cwe_output_weights *o); /* NULL is allowed */

/* output_input.c: operations of base. */
void cwe_output_input(const struct cwe_weights *w, const struct cwe_tensor *t, struct cwe_linear_input *ret);
int cwe_output_read_split(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows, float *quantized,
	float *exact, struct cwb_err *err);
