/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The plain form of a model whose quantizer is calibrated: codes with nothing protected, on scratch, for an evaluation to compare
 * with. Private to this folder. */
#pragma once

#include "engine/pipeline/smooth.h"

struct cwe_plain {
	int fd;       /* an unlinked file */
	uint64_t *at; /* [modules] where each begins: codes, scales, zero points */
	struct cwe_smoothing *smoothing; /* whose scales its weights have, owned; NULL: no channels are scaled */
};

/* Bytes on scratch; 0 where no plain form is compared with, or where rows alone make one. */
uint64_t cwe_plain_bytes(const struct cwe_run *run);
/* Freed with cwe_plain_free, also after an error. */
int cwe_plain_new(const struct cwe_run *run, struct cwe_plain *ret, struct cwb_err *err);
void cwe_plain_free(struct cwe_plain *p);
/* A whole module's codes, scales and, where the grid is not symmetric, zero points. */
int cwe_plain_put(struct cwe_plain *p, const struct cwe_run *run, const struct cwe_run_module *m, const uint8_t *codes,
	const float *scales, const int8_t *zeros, struct cwb_err *err);
/* Rows [row, row + rows) of a module, decoded. */
int cwe_plain_read(const struct cwe_plain *p, const struct cwe_run *run, const struct cwe_run_module *m, uint64_t row, uint64_t rows,
	float *dst, struct cwb_err *err);
