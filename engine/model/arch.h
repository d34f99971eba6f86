/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* config.json -> what the layers need to know. One description for all families; a family is data, not code. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include <cwp/backend.h>

#include "base/err.h"

enum cwe_rope_kind { CWE_ROPE_DEFAULT, CWE_ROPE_LINEAR, CWE_ROPE_LLAMA3 };

struct cwe_rope {
	enum cwe_rope_kind kind;
	double theta;
	double factor;          /* linear, llama3 */
	double low_freq_factor; /* llama3 */
	double high_freq_factor;
	double original_context; /* llama3: positions of the first training */
};

struct cwe_arch {
	char family[32]; /* model_type */
	uint32_t layers;
	uint32_t hidden;
	uint32_t heads;
	uint32_t kv_heads;
	uint32_t head_dim;
	uint32_t intermediate;
	uint32_t vocabulary;
	uint32_t context; /* max_position_embeddings */
	uint32_t glu;     /* enum cwp_glu */
	float norm_eps;
	int tied;           /* the output projection is the embedding matrix */
	int attention_bias; /* q, k, v and o have biases */
	int mlp_bias;
	struct cwe_rope rope;
};

/* Reads a config.json object. CWP_EUNKNOWN for an architecture that is not known, CWP_EVALUE for a known one with a key
 * that changes the arithmetic in a way that is not implemented, CWP_EMISSING for a key without a safe default: each
 * names the key and its value. Old (rope_theta, rope_scaling) and new (rope_parameters) spellings are read; theta
 * inside rope_parameters goes before the old key, a non-empty rope_scaling replaces rope_parameters. */
int cwe_arch_read(const json_t *config, struct cwe_arch *ret, struct cwb_err *err);

/* Inverse frequencies [head_dim / 2] as transformers 5 computes them (f32 results of f64 formulas). */
void cwe_rope_frequencies(const struct cwe_arch *arch, float *inverse);

/* Tables [positions, head_dim / 2] of the cosine and sine of position * frequency. */
void cwe_rope_tables(const struct cwe_arch *arch, uint64_t positions, float *cosine, float *sine);
