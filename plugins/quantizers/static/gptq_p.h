/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What GPTQ's files share. */
#pragma once

#include "plugins/quantizers/static/gptq.h"

/* Columns of which the host makes good the errors together. */
#define GPTQ_BLOCK 128

/* What all modules with the same input share. */
struct gptq {
	unsigned users;
	uint64_t cols;
	uint64_t *order; /* [cols] the column that comes i-th; NULL: column i */
	float *u;        /* [cols, cols] upper triangle, in that order */
	/* The same where it is on a device, in the memory that the host gave; order and u are NULL then. */
	const struct cwp_backend *backend;
	uint32_t *d_order;
	float *d_u;
};

static inline uint64_t gptq_column(const struct gptq *g, uint64_t i)
{
	return g->order != NULL ? g->order[i] : i;
}

/* One try: U with so much on the diagonal. 1: a pivot is not positive. */
typedef int gptq_try(void *arg, double added);

/* Tries with more and more damping, a share of the mean of the diagonal. 1: none helps. *damping: the one that did, or the last. */
int gptq_factorize(gptq_try *try, void *arg, double mean, double *damping);
/* What is told of it: code is what gptq_factorize gave. */
void gptq_note(int code, double asked, double used, char *note, size_t note_size);
/* Why a module without inputs is rounded to nearest. */
void gptq_note_empty(const struct cwp_quantizer_module *m, char *note, size_t note_size);
/* CWP_ENUMBER, with the channel told. */
int gptq_refuse_channel(const struct cwp_host *host, uint64_t channel);

/* Columns by the size of their input, the largest first; of equals, the first. diagonal[i * stride] is that of column i. NULL: no
 * memory; else freed with free(). */
uint64_t *gptq_find_order(const float *diagonal, uint64_t stride, uint64_t n);

/* gptq_device.c: gptq_prepare() of a module on a device. */
int gptq_prepare_device(const struct cwp_host *host, const struct gptq_options *options, const struct cwp_quantizer_module *m,
	struct gptq **ret, char *note, size_t note_size);
