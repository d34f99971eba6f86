/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Small models and made-up quantizations for the tests of outputs. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/format/output.h"
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

/* Writes a model of two layers below folder: weights of this dtype, config.json, tokenizer and generation files. */
void toy_model(const char *folder, uint32_t dtype);
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

/* What the output's weight must be in f32; freed with free(). */
float *toy_expected(struct cwe_source *s, const struct toy_result *r);
