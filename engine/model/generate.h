/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Greedy continuations, several sequences at a time, each with a cache of its keys and values.
 *
 * A sequence's tokens depend on its request alone. The new tokens of all sequences go through the layers together as a
 * product of a few rows, where a backend gives each row the sums that it has alone (backend.h). Prompts go through together
 * where it does so for many rows too (rows_alone), else one by one; what all of them begin with is then computed once. So
 * neither the other sequences nor the number of slots nor the memory of weights changes a token. */
#pragma once

#include "engine/model/layer.h"

#define CWE_GENERATOR_SLOTS 16 /* sequences at a time, at most */

/* A request. */
struct cwe_generation {
	const uint32_t *prompt; /* [count] at least one token */
	uint64_t count;
	uint64_t max_new;       /* new tokens at most; the model's context is a limit too */
	const uint32_t *stop;   /* the sequence ends after one of these, which is kept */
	size_t stops;
	void *arg;
	/* Asked after each new token but a stop: *ret_end = 1 ends the sequence with it. id [count]: all new tokens. NULL: not
	 * asked. */
	int (*token)(void *arg, const uint32_t *id, uint64_t count, int *ret_end, struct cwb_err *err);
	/* Called instead of anything else when NaN or infinity come out of the layers; id: the new tokens so far. What it
	 * returns ends the run; NULL: CWP_ENUMBER does. */
	int (*broken)(void *arg, const uint32_t *id, uint64_t count, struct cwb_err *err);
	/* Called once, when the sequence has ended: its new tokens, which live until it returns. */
	int (*done)(void *arg, const uint32_t *id, uint64_t count, struct cwb_err *err);
};

/* What requests need: cwe_generator_fit. */
struct cwe_generator_size {
	uint64_t slots;     /* sequences at a time */
	uint64_t prompt;    /* tokens of the longest prompt */
	uint64_t positions; /* prompt and new tokens of the longest sequence */
};

struct cwe_generator;

/* CWP_ELIMIT: the prompt is empty or longer than the model's context; CWP_EVALUE: an id is not in its vocabulary. */
int cwe_generation_check(const struct cwe_model *model, const struct cwe_generation *what, struct cwb_err *err);

/* The size for n requests that have passed the check: as many slots, up to `most`, as keep cwe_generator_bytes within
 * `memory`, but at least one. */
void cwe_generator_fit(const struct cwe_model *model, const struct cwe_generation *what, size_t n, uint64_t most,
	uint64_t memory, struct cwe_generator_size *ret);
/* Bytes of memory at most, without weights that stay. The caches are most of it: slots * positions rows of keys and values
 * in each layer, whole ones in layers with a window too. A sequence's cache has room for what it may need, and is there
 * while the sequence is at work. */
uint64_t cwe_generator_bytes(const struct cwe_model *model, const struct cwe_generator_size *size);

/* Weights that fit into `memory` are loaded once; the others are loaded anew for every step, which serves all sequences at
 * work. */
int cwe_generator_new(struct cwe_model *model, const struct cwe_generator_size *size, uint64_t memory,
	struct cwe_generator **ret, struct cwb_err *err);
void cwe_generator_free(struct cwe_generator *g); /* NULL is allowed */

/* Runs n requests, in their order as slots become free. All are checked before the first one begins; CWP_ELIMIT also when
 * one is larger than the generator's size. Ends with the first error of a callback. CWP_ECANCELLED when the host says so,
 * between tokens. The generator can run again in any case. */
int cwe_generator_run(struct cwe_generator *g, const struct cwe_generation *what, size_t n, struct cwb_err *err);
