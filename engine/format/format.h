/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The output formats: which grids each carries, with which carriers, which tensors a module becomes and how they are
 * encoded. One declaration that jobs are checked against, that the writer works from, and that tables are made of. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/format/dtype.h"
#include "engine/format/output.h"
#include "job/job.h"

#define CWE_SET(n) (1u << (n)) /* a set of small numbers */

/* One family of grids that a format carries: every combination of these sets. */
struct cwe_format_grid {
	const char *layout;     /* how the engine calls it: "pack-quantized" */
	uint32_t code;          /* enum cwp_code_kind */
	uint32_t bits;          /* set of widths */
	uint32_t granularities; /* set of enum cwp_granularity */
	uint32_t symmetric;     /* set of 0 and 1 */
	uint32_t activations;   /* set of enum cwp_activation_kind */
};

#define CWE_FORMAT_TENSORS_MAX 6

struct cwe_format_tensor {
	const char *suffix; /* behind the module's name: ".weight_packed" */
	enum cwe_dtype dtype;
	uint32_t rank;
	uint64_t shape[2];
};

/* What a quantizer gave for a whole matrix, as quantizer.h lays it out. */
struct cwe_format_values {
	const uint8_t *codes;
	const float *scales;
	const int8_t *zeros; /* NULL when symmetric */
	float input_scale;   /* of inputs with one scale for the module, else 0 */
	int8_t input_zero;   /* their zero point, where the grid has one */
};

/* Where the encoded bytes of a module's tensors go, in any order. */
struct cwe_format_sink {
	int (*put)(void *arg, size_t tensor, uint64_t offset, const void *data, uint64_t bytes, struct cwb_err *err);
	void *arg;
};

enum cwe_format_flags {
	CWE_FORMAT_SAFETENSORS = 1 << 0, /* model.safetensors or shards, texts beside them; without it files of its own */
	/* encode() also takes 64 rows (or a block's, or what is left) of a module as one of so many rows with `whole_rows` set:
	 * its tensors' bytes then follow those of the rows above, or are the same for all rows. */
	CWE_FORMAT_ROWS = 1 << 1
};

struct cwe_format {
	int id;           /* enum cwj_format */
	const char *name; /* as in write.format */
	unsigned flags;   /* enum cwe_format_flags */
	uint32_t carriers; /* set of enum cwj_carrier */
	const struct cwe_format_grid *grid;
	size_t n_grids;
	/* What the sets cannot say about one module: sizes that must divide, names. May be NULL. */
	int (*check)(const struct cwe_output_module *m, struct cwb_err *err);
	/* The tensors of a module whose source dtype (enum cwp_dtype) is given, codes first. Returns their number. NULL: the
	 * weight stays one tensor of dequantized values. */
	size_t (*tensors)(const struct cwe_output_module *m, uint32_t source, struct cwe_format_tensor ret[CWE_FORMAT_TENSORS_MAX]);
	/* All bytes of these tensors into the sink. Scales are finite and positive, codes fit the grid. */
	int (*encode)(const struct cwe_output_module *m, uint32_t source, const struct cwe_format_values *v,
		const struct cwe_format_sink *to, struct cwb_err *err);
	/* quantization_config of count > 0 modules; ignore names all other Linears. CWP_EVALUE when the modules cannot stand
	 * together. A new reference. */
	int (*config)(const struct cwe_output_module *m, size_t count, const char *const *ignore, size_t n_ignore,
		json_t **ret, struct cwb_err *err);
};

/* By enum cwj_format; NULL for numbers that are none. All, in the order of that enum: number i, NULL behind the last. */
const struct cwe_format *cwe_format_find(int id);
const struct cwe_format *cwe_format_at(size_t i);

/* CWP_EVALUE when this format cannot carry the module, with what it carries and which other formats can. */
int cwe_format_check(const struct cwe_format *f, const struct cwe_output_module *m, struct cwb_err *err);
/* The same of all modules of a model together; ignore as in the config operation. */
int cwe_format_check_all(const struct cwe_format *f, const struct cwe_output_module *m, size_t count,
	const char *const *ignore, size_t n_ignore, struct cwb_err *err);

/* The family that a grid belongs to; NULL when the format carries none such. */
const struct cwe_format_grid *cwe_format_family(const struct cwe_format *f, const struct cwp_grid *grid);

/* "int4, groups of 32, symmetric, activations none". */
void cwe_grid_text(const struct cwp_grid *grid, char *ret, size_t size);
/* Whether all inputs of a module have one scale, found in calibration. */
int cwe_activation_is_fixed(uint32_t activation);
const char *cwe_activation_text(uint32_t activation); /* "int8 by token"; "none" for CWP_ACT_NONE */
/* Whether a module is an expert's matrix of a mixture of experts. */
int cwe_module_is_expert(const char *module);

/* Rows of cols elements that are worked on at a time: about 4 MiB of f32. */
uint64_t cwe_format_step(uint64_t cols);

extern const struct cwe_format cwe_format_compressed_tensors, cwe_format_bitsandbytes, cwe_format_gptq, cwe_format_fp8;
/* gguf_format.c */
extern const struct cwe_format cwe_format_gguf;
