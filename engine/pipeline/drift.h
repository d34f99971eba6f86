/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Distributions of first tokens: the original model's are kept, those of the others are compared with them. */
#pragma once

#include <stdint.h>

#include "base/err.h"

#define CWE_DRIFT_MEMORY (64ull << 20) /* bytes that stay in memory; more goes to scratch */

struct cwe_drift {
	uint64_t rows, vocabulary;
	float *memory; /* [rows, vocabulary], NULL: on scratch */
	float *row;    /* [vocabulary] one that was read */
	int fd;        /* unlinked scratch file, -1: in memory */
};

/* Memory and scratch that `rows` distributions take. */
void cwe_drift_bounds(uint64_t rows, uint64_t vocabulary, uint64_t *ret_memory, uint64_t *ret_scratch);
/* scratch: folder, NULL: memory only. Freed with cwe_drift_free. */
int cwe_drift_new(uint64_t rows, uint64_t vocabulary, const char *scratch, struct cwe_drift *ret, struct cwb_err *err);
void cwe_drift_free(struct cwe_drift *d); /* also fine on a zeroed one */

/* Keeps the original's log-probabilities [vocabulary] of row i. */
int cwe_drift_put(struct cwe_drift *d, uint64_t i, const float *logp, struct cwb_err *err);
/* KL(original || this one) in nats, summed in f64 from the f32 log-probabilities; *ret_same: the first of the most likely
 * tokens is the same. */
int cwe_drift_compare(struct cwe_drift *d, uint64_t i, const float *logp, double *ret_kl, int *ret_same, struct cwb_err *err);
