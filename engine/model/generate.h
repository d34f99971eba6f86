/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Greedy continuation of one sequence with a cache of keys and values. */
#pragma once

#include "engine/model/layer.h"

struct cwe_generation {
	const uint32_t *prompt; /* [count] at least one token */
	uint64_t count;
	uint64_t max_new;       /* new tokens at most; the model's context is a limit too */
	const uint32_t *stop;   /* generation ends after one of these, which is kept */
	size_t stops;
};

struct cwe_generator;

/* Bytes of device memory at least: no weights resident. */
uint64_t cwe_generator_bytes(const struct cwe_model *model, uint64_t positions);
/* Weights that fit into `memory` are loaded once and serve all sequences that follow. positions: longest prompt and
 * new tokens. */
int cwe_generator_new(struct cwe_model *model, uint64_t memory, uint64_t positions, struct cwe_generator **ret,
	struct cwb_err *err);
void cwe_generator_free(struct cwe_generator *g); /* NULL is allowed */

/* *ret_id [*ret_count]: the new tokens only; freed with free(). CWP_ELIMIT when the prompt is longer than the context
 * or than what the generator was made for. CWP_ECANCELLED when the host says so, between tokens. */
int cwe_generator_run(struct cwe_generator *g, const struct cwe_generation *what, uint32_t **ret_id, uint64_t *ret_count,
	struct cwb_err *err);
