/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A model's configuration as metadata of GGUF: the reverse of cwe_gguf_config. What it cannot say is found by reading it back. */
#pragma once

#include "engine/format/gguf_family.h"
#include "engine/format/gguf_keys.h"
#include "engine/model/arch.h"

/* Tensors of F32 that no checkpoint has: factors of the rotary embedding. */
struct cwe_gguf_factors {
	const char *name;
	uint32_t count;
	float x[CWE_ROTARY_MAX / 2];
};

#define CWE_GGUF_FACTORS_MAX 2

/* Adds the keys of the architecture, general.architecture first, and gives the factors that belong to them. ret[2]; *ret_count
 * of them are used. */
void cwe_gguf_describe(const struct cwe_arch *arch, const struct cwe_gguf_family *f, struct cwe_gguf_keys *k,
	struct cwe_gguf_factors ret[CWE_GGUF_FACTORS_MAX], size_t *ret_count);

/* Whether two configurations compute the same, one read from config.json, the other from a file made of it. CWP_EVALUE names
 * what differs: what GGUF has no key for. */
int cwe_gguf_same_arch(const struct cwe_arch *wanted, const struct cwe_arch *found, struct cwb_err *err);

/* How much longer the wave of frequency i becomes by a llama3 scaling: llama.cpp's converter writes these factors. */
double cwe_gguf_llama3_factor(const struct cwe_rope *rope, uint64_t i);
