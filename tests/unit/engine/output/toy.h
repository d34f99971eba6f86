/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Small models and made-up quantizations for the tests of outputs. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/format/dtype.h"
#include "engine/format/output.h"
#include "engine/format/safetensors_writer.h"
#include "job/job.h"

/* A stream of numbers that is the same everywhere. */
uint64_t toy_random(uint64_t *state);
float toy_normal(uint64_t *state); /* roughly normal, deviation 1 */

/* A new temporary folder; the text is freed with free(). toy_remove takes the tree away. */
char *toy_folder(void);
void toy_remove(const char *path);
char *toy_path(const char *folder, const char *name);
char *toy_read(const char *folder, const char *name, size_t *ret_length); /* fails the test when absent */

void toy_put(const char *path, const void *data, size_t length); /* quickly: not brought to the disk */

/* One tensor of a hand-made file. */
struct toy_part {
	const char *name;
	enum cwe_dtype dtype;
	uint32_t rank;
	uint64_t shape[2];
	const void *data; /* NULL: zeros */
};

/* Writes n tensors, and one text of the header unless it is NULL, to a safetensors file in folder. */
void toy_put_parts(const char *folder, const char *file, const struct cwe_safetensors_text *text, const struct toy_part *part, size_t n);

/* Writes a model of two layers below folder: weights of this dtype, config.json, tokenizer and generation files. */
void toy_model(const char *folder, uint32_t dtype);
/* A checkpoint of n BF16 tensors, and no more of its configuration than the family. */
void toy_weights(const char *folder, const struct cwe_safetensors_plan *plan, size_t n, uint64_t seed);
extern const char *const toy_modules[];
extern const size_t toy_n_modules;

/* A quantization of one module as a plugin would give it. */
struct toy_result {
	char *name; /* its own copy, module.name */
	struct cwe_output_module module;
	uint8_t *codes;
	float *scales;
	int8_t *zeros; /* NULL when symmetric */
	uint8_t *mask; /* NULL when nothing is protected */
	uint64_t stride;
};

struct cwp_grid toy_grid(uint32_t code, uint32_t bits, uint32_t symmetric, uint32_t group, uint32_t activation);
/* 8 bits, one scale for all; FP8 by block, inputs by group unless that is 0. */
struct cwp_grid toy_tensor_grid(uint32_t code, uint32_t symmetric, uint32_t activation);
struct cwp_grid toy_block_grid(uint32_t rows, uint32_t cols, uint32_t activation_group);

/* Random codes near the source's weights: absmax scales, some noise. fraction: of protected weights. */
void toy_quantize(struct cwe_source *s, const char *module, const struct cwp_grid *grid, double fraction, uint64_t seed,
	struct toy_result *ret);
void toy_result_free(struct toy_result *r);

/* Writes a whole output of all results; asserts success. */
void toy_write(struct cwe_source *s, const struct cwe_writer_options *o, const struct toy_result *r, size_t n);

/* A model, made-up quantizations of its modules, and an empty folder for the output. */
struct toy_world {
	char *model, *out;
	struct cwe_source *source;
	struct cwe_writer_options options;
	struct cwe_output_module module[4]; /* as in result */
	struct toy_result result[4];
};

/* All of the toy model's modules, for compressed-tensors in one file; the seed of the masks is the module's number from 1. */
void toy_begin(struct toy_world *x, uint32_t dtype, const struct cwp_grid *grid, double fraction, int carrier);
/* The same of n modules, at most 4, of the model that lies in the folder x->model already. */
void toy_begin_modules(
	struct toy_world *x, const char *const *modules, size_t n, const struct cwp_grid *grid, double fraction, int carrier);
void toy_end(struct toy_world *x);

/* What the output's weight must be in f32; freed with free(). */
float *toy_expected(struct cwe_source *s, const struct toy_result *r);
