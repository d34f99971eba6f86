/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Weights with adapters merged in as their rows are read: struct cwe_weights over another one. A
 * read holds factor A whole, factor B for a few rows, and no matrix. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/quantizer.h>

#include "engine/format/adapter.h"

#define TILE 256 /* columns summed at a time */
#define ROWS 64  /* rows of factor B in memory */

/* One module of one adapter and the tensor that it is merged into. */
struct part {
	const struct cwe_adapter *adapter;
	const struct cwe_adapter_module *module;
	size_t tensor, order;
};

struct merged {
	struct cwe_weights base;
	struct cwe_weights *source;
	struct cwe_tensor *tensors; /* in the source's order */
	size_t n_adapters;
	struct cwe_adapter **adapter;
	size_t n_parts;
	struct part *part; /* by tensor, then in the order of merging */
};

static int out_of_memory(const char *name, struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "%s: out of memory for merging an adapter", name);
}

static uint64_t padded(uint64_t cols)
{
	return (cols + TILE - 1) / TILE * TILE;
}

/* acc [TILE] = sum over k of b[k] * a[k * stride + ..]. Products of two f32 are exact in f64. */
static void sum_products(double *restrict acc, const float *restrict a, uint64_t stride,
	const float *restrict b, uint64_t rank)
{
	memset(acc, 0, TILE * sizeof *acc);
	for (uint64_t k = 0; k < rank; k++) {
		const float *restrict x = a + k * stride;
		double f = (double)b[k];

		for (size_t j = 0; j < TILE; j++)
			acc[j] += f * (double)x[j];
	}
}

/* One row: dst + scale * b A, summed in f64 and rounded once. Returns whether all of it is finite.
 */
static int merge_row(
	const struct part *p, const float *a, const float *b, uint64_t cols, float *dst)
{
	uint64_t stride = padded(cols);
	uint32_t bad = 0;
	double acc[TILE];

	for (uint64_t c = 0; c < cols; c += TILE) {
		uint64_t n = cols - c < TILE ? cols - c : TILE;

		sum_products(acc, a + c, stride, b, p->module->rank);
		for (uint64_t j = 0; j < n; j++) {
			float sum = (float)((double)dst[c + j] + p->module->scale * acc[j]);
			uint32_t bits;

			memcpy(&bits, &sum, sizeof bits);
			bad |= (bits & 0x7f800000u) == 0x7f800000u;
			dst[c + j] = sum;
		}
	}
	return !bad;
}

static int refuse_row(
	const struct part *p, const struct cwe_tensor *t, uint64_t row, struct cwb_err *err)
{
	return cwb_err_set(err, CWP_ENUMBER,
		"tensor %s is not finite in row %" PRIu64
		" once %s is merged; repair the adapter or the model",
		t->name, row, p->adapter->directory);
}

/* Merges one adapter into the rows [row, row + rows) in dst. */
static int merge_rows(const struct part *p, const struct cwe_tensor *t, uint64_t row, uint64_t rows,
	float *dst, struct cwb_err *err)
{
	uint64_t cols = t->shape[1], rank = p->module->rank, stride = padded(cols),
		 step = rows < ROWS ? rows : ROWS;
	float *a = calloc(rank * stride + 1, sizeof *a), *b = malloc(step * rank * sizeof *b + 1);
	int rc = a && b ? 0 : out_of_memory(t->name, err);

	for (uint64_t k = 0; k < rank && !rc; k++)
		rc = cwe_adapter_read(
			p->adapter, p->module->a, k * cols, cols, a + k * stride, err);
	for (uint64_t r = 0; r < rows && !rc; r++) {
		if (r % ROWS == 0)
			rc = cwe_adapter_read(p->adapter, p->module->b, (row + r) * rank,
				(rows - r < ROWS ? rows - r : ROWS) * rank, b, err);
		if (!rc && !merge_row(p, a, b + r % ROWS * rank, cols, dst + r * cols))
			rc = refuse_row(p, t, row + r, err);
	}
	free(a);
	free(b);
	return rc;
}

static size_t index_of(const struct merged *m, const struct cwe_tensor *t)
{
	return (size_t)(t - m->tensors);
}

/* The first part of a tensor or behind it. */
static size_t first_part(const struct merged *m, size_t tensor)
{
	size_t low = 0, high = m->n_parts;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (m->part[middle].tensor < tensor)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int is_merged(const struct merged *m, size_t tensor)
{
	size_t i = first_part(m, tensor);

	return i < m->n_parts && m->part[i].tensor == tensor;
}

static int read_f32(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows,
	float *dst, struct cwb_err *err)
{
	const struct merged *m = (const struct merged *)w;
	size_t tensor = index_of(m, t);
	int rc = cwe_weights_read_f32(m->source, &m->source->tensors[tensor], row, rows, dst, err);

	for (size_t i = first_part(m, tensor); !rc && i < m->n_parts && m->part[i].tensor == tensor;
		i++)
		rc = merge_rows(&m->part[i], t, row, rows, dst, err);
	return rc;
}

static int read_raw(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows,
	void *dst, struct cwb_err *err)
{
	const struct merged *m = (const struct merged *)w;
	size_t tensor = index_of(m, t);

	if (is_merged(m, tensor))
		return read_f32(w, t, row, rows, dst, err);
	return cwe_weights_read_raw(m->source, &m->source->tensors[tensor], row, rows, dst, err);
}

/* Over a base whose inputs are quantized the factors' own are not, as engines that keep them apart have it. */
static void input(const struct cwe_weights *w, const struct cwe_tensor *t, struct cwe_linear_input *ret)
{
	const struct merged *m = (const struct merged *)w;
	size_t tensor = index_of(m, t);

	cwe_weights_input(m->source, &m->source->tensors[tensor], ret);
	if (ret->how.kind != CWP_ACT_NONE && is_merged(m, tensor))
		ret->split = 1;
}

/* The base for the quantized input, the factors' product for the other. */
static int read_split(struct cwe_weights *w, const struct cwe_tensor *t, uint64_t row, uint64_t rows,
	float *quantized, float *exact, struct cwb_err *err)
{
	const struct merged *m = (const struct merged *)w;
	size_t tensor = index_of(m, t);
	int rc;

	if (!is_merged(m, tensor))
		return cwe_weights_read_split(
			m->source, &m->source->tensors[tensor], row, rows, quantized, exact, err);
	rc = cwe_weights_read_f32(
		m->source, &m->source->tensors[tensor], row, rows, quantized, err);
	memset(exact, 0, rows * t->shape[1] * sizeof *exact);
	for (size_t i = first_part(m, tensor); !rc && i < m->n_parts && m->part[i].tensor == tensor;
		i++)
		rc = merge_rows(&m->part[i], t, row, rows, exact, err);
	return rc;
}

/* All but the source, which an unsuccessful open leaves to its caller. */
static void free_merged(struct merged *m)
{
	for (size_t i = 0; m->adapter && i < m->n_adapters; i++)
		cwe_adapter_close(m->adapter[i]);
	free(m->adapter);
	free(m->part);
	free(m->tensors);
	free(m);
}

static void close_merged(struct cwe_weights *w)
{
	struct merged *m = (struct merged *)w;

	cwe_weights_close(m->source);
	free_merged(m);
}

static int compare(const void *x, const void *y)
{
	const struct part *a = x, *b = y;

	if (a->tensor != b->tensor)
		return a->tensor < b->tensor ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

static int take_adapter(struct merged *m, const struct cwe_adapter *a, struct cwb_err *err)
{
	struct part *more = realloc(m->part, (m->n_parts + a->count) * sizeof *more);
	size_t *tensor = calloc(a->count, sizeof *tensor);
	int rc;

	if (more)
		m->part = more;
	rc = more && tensor ? cwe_adapter_find(a, m->source, tensor, err)
			    : out_of_memory(a->directory, err);
	if (!rc)
		rc = cwe_adapter_check_copies(a, m->source, err);
	for (size_t i = 0; i < a->count && !rc; i++) {
		m->part[m->n_parts] = (struct part){a, &a->module[i], tensor[i], m->n_parts};
		m->n_parts++;
		if (!m->tensors[tensor[i]].stored)
			m->tensors[tensor[i]].stored = m->tensors[tensor[i]].dtype;
		m->tensors[tensor[i]].dtype = CWP_F32;
	}
	free(tensor);
	return rc;
}

/* What merge_rows takes from the heap, at most. */
static uint64_t memory_of(const struct merged *m)
{
	uint64_t most = 0;

	for (size_t i = 0; i < m->n_parts; i++) {
		const struct cwe_adapter_module *f = m->part[i].module;
		uint64_t bytes = (padded(f->a->shape[1]) + ROWS) * f->rank * sizeof(float);

		most = bytes > most ? bytes : most;
	}
	return most;
}

static int open_merged(struct merged *m, char *const *directories, size_t n, struct cwb_err *err)
{
	int rc = 0;

	m->tensors = calloc(m->source->count + 1, sizeof *m->tensors);
	m->adapter = calloc(n + 1, sizeof(struct cwe_adapter *));
	if (!m->tensors || !m->adapter)
		return out_of_memory(directories[0], err);
	for (size_t i = 0; i < m->source->count; i++)
		m->tensors[i] = m->source->tensors[i];
	for (size_t i = 0; i < n && !rc; i++) {
		for (size_t k = 0; k < i; k++)
			if (!strcmp(directories[i], directories[k]))
				return cwb_err_set(err, CWP_EVALUE,
					"%s: the adapter is given twice; it is merged once",
					directories[i]);
		rc = cwe_adapter_open(directories[i], &m->adapter[i], err);
		m->n_adapters += !rc;
		if (!rc)
			rc = take_adapter(m, m->adapter[i], err);
	}
	if (!rc && m->part)
		qsort(m->part, m->n_parts, sizeof *m->part, compare);
	return rc;
}

int cwe_adapter_weights_open(struct cwe_weights *weights, char *const *directories, size_t n,
	struct cwe_weights **ret, uint64_t *ret_memory, struct cwb_err *err)
{
	static const struct cwe_weights_ops ops = {.read_f32 = read_f32,
		.read_raw = read_raw,
		.close = close_merged,
		.input = input,
		.read_split = read_split};
	struct merged *m = calloc(1, sizeof *m);
	int rc;

	if (!m)
		return out_of_memory(directories[0], err);
	m->source = weights;
	rc = open_merged(m, directories, n, err);
	if (rc) {
		free_merged(m);
		return rc;
	}
	m->base = (struct cwe_weights){.ops = &ops, .count = weights->count, .tensors = m->tensors};
	*ret_memory = memory_of(m);
	*ret = &m->base;
	return 0;
}
