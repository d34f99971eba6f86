/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rotary position embeddings: the parameters of config.json, and the tables made of them. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"

#define CWE_ROTARY_MAX 512 /* rotated channels of a head */

enum cwe_rope_kind { CWE_ROPE_DEFAULT, CWE_ROPE_LINEAR, CWE_ROPE_LLAMA3, CWE_ROPE_YARN, CWE_ROPE_LONGROPE };

struct cwe_rope {
	enum cwe_rope_kind kind;
	uint32_t rotary; /* channels of each head that are rotated: the first ones; even */
	double theta;
	double factor;          /* linear, llama3, yarn */
	double low_freq_factor, high_freq_factor; /* llama3 */
	double beta_fast, beta_slow; /* yarn */
	int truncate;           /* yarn: the range's ends are whole channels */
	double original_context; /* llama3, yarn, longrope: positions of the first training */
	double attention_factor; /* multiplies cosine and sine: yarn, longrope; else 1 */
	float short_factor[CWE_ROTARY_MAX / 2], long_factor[CWE_ROTARY_MAX / 2]; /* longrope */
};

/* What a family's configuration class says of rotary embeddings. */
struct cwe_rope_rules {
	double theta;       /* default of rope_theta */
	double local_theta; /* of rope_local_base_freq: sliding layers have parameters of their own; 0: they do not */
	uint32_t original;  /* of original_max_position_embeddings; 0: the key must be there where it counts */
	int phi;            /* partial_rotary_factor is read, and every scaling is longrope */
};

/* Reads rope_parameters, or the older rope_theta, rope_scaling and rope_local_base_freq, of a model's configuration: for
 * layers that see everything, and for sliding ones. Errors as cwe_arch_read. */
int cwe_rope_read(const json_t *config, const struct cwe_rope_rules *rules, uint32_t head_dim, uint32_t context,
	struct cwe_rope ret[2], struct cwb_err *err);

/* Inverse frequencies [rotary / 2] as transformers 5 computes them. extended: for a sequence longer than
 * original_context (longrope only; ignored by the others). */
void cwe_rope_frequencies(const struct cwe_rope *rope, int extended, float *inverse);

/* Tables [positions, rotary / 2] of the cosine and sine of position * frequency, times attention_factor. */
void cwe_rope_tables(const struct cwe_rope *rope, int extended, uint64_t positions, float *cosine, float *sine);
