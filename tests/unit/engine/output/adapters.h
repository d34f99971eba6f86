/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Small adapters for the tests: made here, and merged here in f64 without the code under test. */
#pragma once

#include "engine/format/adapter.h"
#include "engine/format/source.h"
#include "tests/unit/engine/output/toy.h"

#define Q0 "model.layers.0.self_attn.q_proj" /* [51, 64] */
#define Q1 "model.layers.1.self_attn.q_proj" /* [48, 64] */
#define DOWN0 "model.layers.0.mlp.down_proj" /* [64, 160] */
#define DOWN1 "model.layers.1.mlp.down_proj"
#define LORA(module, factor) "base_model.model." module ".lora_" factor ".weight"
#define PLAIN "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8}"
#define COUNT(list) (sizeof(list) / sizeof *(list))

struct adapter_tensor {
	const char *name;
	enum cwe_dtype dtype;
	uint64_t rows, cols; /* cols 0: one dimension */
};

/* Factors of rank 4 for the four modules of toy_modules, A and B of each: q_proj of both layers
 * first. */
extern const struct adapter_tensor adapter_all[8];

/* A file of tensors with values that follow from seed and place. */
void adapter_put(const char *folder, const char *file, const struct adapter_tensor *t, size_t n,
	uint64_t seed);
/* A new folder with an adapter; adapter_drop removes any folder and frees its name. */
char *adapter_make(const char *config, const struct adapter_tensor *t, size_t n, uint64_t seed);
void adapter_drop(char *folder);

/* A model, without and with adapters; both assert success. */
struct cwe_source *adapter_base(const char *folder);
struct cwe_source *adapter_open(const char *model, char *const *adapter, size_t n);
/* A module's weight, and all of its values; freed with free(). */
const struct cwe_tensor *adapter_find(const struct cwe_source *s, const char *module);
float *adapter_read(const struct cwe_source *s, const struct cwe_tensor *t);

/* A factor as f32; freed with free(). */
float *adapter_factor(const char *adapter, const char *name);
/* w [rows, cols] += scale * B A, each sum in f64 and rounded once. */
void adapter_add(float *w, uint64_t rows, uint64_t cols, const float *b, const float *a,
	uint64_t rank, double scale);
/* What a module must be: the base model's weight with the factors of these names. */
void adapter_expect(const struct cwe_source *base, const struct cwe_source *adapted,
	const char *module, const char *folder, const char *a_name, const char *b_name,
	uint64_t rank, double scale);
/* The adapters are refused with this code and these words, and the source is as before. */
void adapter_refuse(const char *model, char *const *adapter, size_t n, int code, const char *part,
	const char *other);
