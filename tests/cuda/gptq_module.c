/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Modules for tests of GPTQ, and arrays on the device under test. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugins/quantizers/static/factor.h"
#include "tests/cuda/gptq_module.h"
#include "tests/cuda/pair.h"

enum { GUARD = 256, PATTERNS = 5 };

void *gptq_zeros(size_t bytes)
{
	void *p = calloc(bytes + 1, 1);
	assert_non_null(p);
	return p;
}

void *gptq_buffer_new(struct gptq_buffer *d, const void *data, size_t bytes)
{
	char *block = gptq_zeros(bytes + 2 * GUARD);
	memset(block, 0xA5, bytes + 2 * GUARD);
	memset(block + GUARD, 0xFF, bytes);
	if (data) {
		memcpy(block + GUARD, data, bytes);
	}
	d->bytes = bytes;
	d->d_block = pair.ops->alloc(pair.b, bytes + 2 * GUARD);
	assert_non_null(d->d_block);
	assert_int_equal(pair.ops->upload(pair.b, d->d_block, block, bytes + 2 * GUARD), 0);
	free(block);
	return d->d_block + GUARD;
}

void *gptq_buffer_take(struct gptq_buffer *d)
{
	char *block = gptq_zeros(d->bytes + 2 * GUARD);
	assert_int_equal(pair.ops->download(pair.b, block, d->d_block, d->bytes + 2 * GUARD), 0);
	for (size_t i = 0; i < GUARD; i++) {
		if (block[i] != (char)0xA5 || block[GUARD + d->bytes + i] != (char)0xA5) {
			fail_msg("written beside %zu bytes", d->bytes);
		}
	}
	memmove(block, block + GUARD, d->bytes);
	pair.ops->free(pair.b, d->d_block);
	return block;
}

void gptq_buffer_drop(struct gptq_buffer *d)
{
	free(gptq_buffer_take(d));
}

static int is_dead(uint64_t c)
{
	return c % 50 == 49;
}

float *gptq_gram(uint64_t n)
{
	float *gram = gptq_zeros(n * n * sizeof(*gram));
	uint64_t seed = n;
	float *pattern = pair_normal(&seed, n * PATTERNS, 3.0F);
	for (uint64_t i = 0; i < n; i++) {
		for (uint64_t k = i; k < n; k++) {
			double sum = i == k ? 2.0 + (double)(i % 11 == 0) * 7.0 : 0.0;
			for (uint64_t p = 0; p < PATTERNS; p++) {
				sum += (double)pattern[i * PATTERNS + p] * (double)pattern[k * PATTERNS + p];
			}
			gram[i * n + k] = gram[k * n + i] = is_dead(i) || is_dead(k) ? 0.0F : (float)sum;
		}
	}
	free(pattern);
	return gram;
}

uint32_t *gptq_order(const float *gram, uint64_t n)
{
	uint32_t *order = gptq_zeros(n * sizeof(*order));
	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = i;
		for (; at > 0 && gram[order[at - 1] * (n + 1)] < gram[i * (n + 1)]; at--) {
			order[at] = order[at - 1];
		}
		order[at] = (uint32_t)i;
	}
	return order;
}

float *gptq_host_factor(const struct cwp_host *host, const float *gram, uint64_t n, const uint32_t *order, double damping)
{
	double *a = gptq_zeros(n * n * sizeof(*a));
	float *u = gptq_zeros(n * n * sizeof(*u));
	for (uint64_t i = 0; i < n; i++) {
		const uint64_t row = order ? order[n - 1 - i] : n - 1 - i;
		for (uint64_t k = 0; k <= i; k++) {
			a[i * n + k] = (double)gram[row * n + (order ? order[n - 1 - k] : n - 1 - k)];
		}
		a[i * n + i] = a[i * n + i] > 0.0 ? a[i * n + i] + damping : 1.0;
	}
	int rc = factor_inverse(host, n, a, u);
	assert_in_range(rc, 0, 1);
	free(a);
	if (rc) {
		free(u);
		return NULL;
	}
	return u;
}

struct gptq_module gptq_module_new(const struct cwp_host *host, uint64_t rows, uint64_t cols, int act_order)
{
	struct gptq_module m = {.rows = rows, .cols = cols, .stride = cols / 8 + 2};
	uint64_t seed = rows * 7 + cols;
	double sum = 0.0;
	m.weight = pair_normal(&seed, rows * cols, 0.1F);
	m.gram = gptq_gram(cols);
	m.order = act_order ? gptq_order(m.gram, cols) : NULL;
	m.mask = gptq_zeros(rows * m.stride);
	for (uint64_t i = 0; i < rows * cols; i++) {
		if (test_random(&seed) % 16 == 0) {
			m.mask[i / cols * m.stride + i % cols / 8] |= (uint8_t)(1U << i % cols % 8);
		}
		m.weight[i] *= test_random(&seed) % 100 == 0 ? 6.0F : 1.0F;
	}
	for (uint64_t i = 0; i < cols; i++) {
		sum += (double)m.gram[i * (cols + 1)];
	}
	m.damping = 0.01 * (sum / (double)cols);
	m.u = gptq_host_factor(host, m.gram, cols, m.order, m.damping);
	assert_non_null(m.u);
	return m;
}

void gptq_module_free(struct gptq_module *m)
{
	free(m->weight);
	free(m->gram);
	free(m->mask);
	free(m->order);
	free(m->u);
}
