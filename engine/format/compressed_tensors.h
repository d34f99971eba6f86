/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* compressed-tensors: which tensors a quantized module has, and quantization_config in both directions. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include <cwp/quantizer.h>

#include "base/err.h"
#include "engine/format/format.h"

enum cwe_ct_format {
	CWE_CT_INT = 1, /* int-quantized: int8 weights, quantized activations */
	CWE_CT_FLOAT,   /* float-quantized: FP8 weights, quantized activations */
	CWE_CT_NAIVE,   /* naive-quantized: int8 or FP8 weights only */
	CWE_CT_PACK     /* pack-quantized: 4 or 8 bits, weights only */
};

/* How a module is stored. Modules of equal schemes share a config group. */
struct cwe_ct_scheme {
	enum cwe_ct_format format;
	uint32_t code;       /* enum cwp_code_kind */
	uint32_t bits;
	uint32_t symmetric;
	uint32_t group;      /* input channels a scale; 0: one scale an output channel */
	uint32_t block_rows; /* output channels a scale, with group; 0: one */
	uint32_t tensor;     /* 1: one scale for the whole weight */
	uint32_t activation; /* enum cwp_activation_kind */
	uint32_t activation_group; /* of CWP_ACT_FP8_GROUP */
	uint32_t input_zero; /* 1: inputs with one scale have a zero point too */
};

/* The scheme of a grid that the format carries. */
struct cwe_ct_scheme cwe_ct_scheme(const struct cwp_grid *grid);
int cwe_ct_scheme_equal(const struct cwe_ct_scheme *a, const struct cwe_ct_scheme *b);
/* Scales of a row, as the file has them, and the rows that have scales of their own. */
uint64_t cwe_ct_scales(const struct cwe_ct_scheme *s, uint64_t cols);
uint64_t cwe_ct_scale_rows(const struct cwe_ct_scheme *s, uint64_t rows);
/* The same numbers as quantizer.h has them. */
struct cwp_grid cwe_ct_grid(const struct cwe_ct_scheme *s);
/* Whether inputs have one scale, which the file holds. */
int cwe_ct_fixed_inputs(const struct cwe_ct_scheme *s);

/* The tensors of a module [rows, cols] whose source dtype (enum cwp_dtype) is given, codes first, scales second, then
 * zero points, shape and the inputs' scale where there are any. Returns their number. */
size_t cwe_ct_tensors(const struct cwe_ct_scheme *s, uint64_t rows, uint64_t cols, uint32_t source,
	struct cwe_format_tensor ret[CWE_FORMAT_TENSORS_MAX]);

struct cwe_ct_module {
	const char *name;
	struct cwe_ct_scheme scheme;
};

/* quantization_config for these modules; ignore names all other Linears. CWP_EVALUE when the schemes cannot stand
 * together. A new reference. */
int cwe_ct_config(const struct cwe_ct_module *module, size_t count, const char *const *ignore, size_t n_ignore,
	json_t **ret, struct cwb_err *err);

/* A quantization_config that was read. */
struct cwe_ct_config;

/* From the object quantization_config. CWP_EVALUE or CWP_EMISSING for what we cannot run, with field. *ret is closed
 * with cwe_ct_config_free. */
int cwe_ct_config_read(const json_t *object, struct cwe_ct_config **ret, struct cwb_err *err);
void cwe_ct_config_free(struct cwe_ct_config *c); /* NULL is allowed */
/* The scheme of a module, by its exact name, a pattern, or the class Linear, in this order; NULL when ignored or not
 * named. module NULL: the first group's. */
const struct cwe_ct_scheme *cwe_ct_config_find(const struct cwe_ct_config *c, const char *module);
