/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* GPTQ (arXiv 2210.17323): columns are rounded one after another, and each one's error is made good by those that follow, as
 * the correlations of the inputs allow. Protected weights are exact inside that loop. */
#pragma once

#include <cwp/quantizer.h>

#include "plugins/quantizers/static/scales.h"

struct gptq_options {
	double damping;  /* share of the mean of the diagonal of x x^T that is added to it */
	int act_order;   /* columns of much input first; scales are found beforehand then */
	int compensated; /* a protected weight keeps the value that it has when its column comes, else its original one */
};

struct gptq;

/* From x x^T of a module. *ret NULL: round to nearest, and note says why. [worker] */
int gptq_prepare(const struct cwp_host *host, const struct gptq_options *options, const struct cwp_quantizer_module *module,
	struct gptq **ret, char *note, size_t note_size);
void gptq_release(struct gptq *g); /* NULL is allowed */
uint64_t gptq_memory(uint64_t cols, uint32_t threads);

/* Rows of a module whose weights are finite. group: columns of a scale. -ENOMEM, CWP_ENUMBER. [any-thread] */
int gptq_rows(const struct gptq *g, const struct gptq_options *options, const struct scale_rule *rule, uint64_t group,
	const struct cwp_quantizer_tile *tile, const struct cwp_quantizer_result *result);

/* On a device: gptq_prepare() of a module that has one gives a state that is there. Bytes that both take; 0: not on this
 * device. [scan] */
uint64_t gptq_device_memory(const struct cwp_backend *backend, void *b, uint64_t rows, uint64_t cols);
/* Whether a state is on a device: then gptq_matrix() alone can use it. */
int gptq_is_there(const struct gptq *g);
/* All rows of such a module. CWP_ENUMBER, or what the backend says. [worker] */
int gptq_matrix(const struct gptq *g, const struct gptq_options *options, const struct scale_rule *rule, uint64_t group,
	const struct cwp_quantizer_matrix *matrix);
