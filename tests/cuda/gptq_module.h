/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Modules for tests of GPTQ, and arrays on the device under test. What fails, fails the running test. */
#ifndef TESTS_CUDA_GPTQ_MODULE_H
#define TESTS_CUDA_GPTQ_MODULE_H

#include <stddef.h>
#include <stdint.h>

#include <cwp/host.h>

/* Zeroed; freed with free(). */
void *gptq_zeros(size_t bytes);

/* Between guards; what it holds at first is a NaN of any type. */
struct gptq_buffer {
	char *d_block;
	size_t bytes;
};

void *gptq_buffer_new(struct gptq_buffer *d, const void *data, size_t bytes);
/* What it holds; freed with free(). The guards are as they were. */
void *gptq_buffer_take(struct gptq_buffer *d);
void gptq_buffer_drop(struct gptq_buffer *d);

struct gptq_module {
	uint64_t rows, cols, stride;
	float *weight, *gram; /* gram is whole */
	uint8_t *mask;
	uint32_t *order; /* NULL: none */
	double damping;  /* added to the diagonal */
	float *u;        /* the host's */
};

struct gptq_module gptq_module_new(const struct cwp_host *host, uint64_t rows, uint64_t cols, int act_order);
void gptq_module_free(struct gptq_module *m);

/* x x^T [n, n] of inputs that are sums of a few patterns and a little of their own; some columns have none. */
float *gptq_gram(uint64_t n);
/* Much input first, of equal ones in their order. */
uint32_t *gptq_order(const float *gram, uint64_t n);
/* U of the host, with zeros below the diagonal; NULL: a pivot is not positive. */
float *gptq_host_factor(const struct cwp_host *host, const float *gram, uint64_t n, const uint32_t *order, double damping);

#endif
