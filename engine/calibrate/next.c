/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Distributions of next tokens, some rows at a time, the vocabulary in slices. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/head.h"
#include "engine/calibrate/next.h"
#include "engine/model/ops.h"

/* Rows at a time: by shapes alone, so that no limit changes a result. */
#define ROWS 64u
#define FLOATS (16u << 20) /* of whole rows of logits, but one row at least */

struct rows {
	struct cwe_model *model;
	uint64_t most;
	float *d_norm, *d_rstd, *d_x, *d_h, *d_w, *d_logits;
	float *hidden; /* host [most, hidden] */
	float *slice;  /* host [most, CWE_HEAD_SLICE] */
	float *logits; /* host [most, vocabulary] */
};

static uint64_t most_rows(const struct cwe_model *m, uint64_t count)
{
	uint64_t vocabulary = m->arch.vocabulary > 0 ? m->arch.vocabulary : 1, fit = FLOATS / vocabulary;
	uint64_t most = fit < 1 ? 1 : fit < ROWS ? fit : ROWS;
	return count < most ? count : most;
}

uint64_t cwe_next_bytes(const struct cwe_model *m, uint64_t count)
{
	uint64_t n = most_rows(m, count), d = m->arch.hidden;
	return count == 0 ? 0 : (d + n + CWE_HEAD_SLICE * d + n * (3 * d + 2 * CWE_HEAD_SLICE + m->arch.vocabulary)) * sizeof(float);
}

static void free_rows(struct rows *b)
{
	struct cwe_device *dev = b->model->device;
	uint64_t d = b->model->arch.hidden;
	cwe_device_free(dev, b->d_logits, b->most * CWE_HEAD_SLICE * sizeof(float));
	cwe_device_free(dev, b->d_w, CWE_HEAD_SLICE * d * sizeof(float));
	cwe_device_free(dev, b->d_h, b->most * d * sizeof(float));
	cwe_device_free(dev, b->d_x, b->most * d * sizeof(float));
	cwe_device_free(dev, b->d_rstd, b->most * sizeof(float));
	cwe_device_free(dev, b->d_norm, d * sizeof(float));
	free(b->hidden);
	free(b->slice);
	free(b->logits);
}

static int new_rows(struct cwe_model *m, uint64_t count, struct rows *b, struct cwb_err *err)
{
	struct cwe_device *dev = m->device;
	uint64_t d = m->arch.hidden, n = most_rows(m, count);
	int r;
	*b = (struct rows){.model = m, .most = n};
	b->hidden = calloc(n * d, sizeof *b->hidden);
	b->slice = calloc(n * CWE_HEAD_SLICE, sizeof *b->slice);
	b->logits = calloc(n * m->arch.vocabulary, sizeof *b->logits);
	if (b->hidden == NULL || b->slice == NULL || b->logits == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the logits of %llu tokens", (unsigned long long)n);
	}
	if ((r = cwe_device_floats(dev, d, &b->d_norm, err)) != 0 || (r = cwe_device_floats(dev, n, &b->d_rstd, err)) != 0 ||
		(r = cwe_device_floats(dev, n * d, &b->d_x, err)) != 0 || (r = cwe_device_floats(dev, n * d, &b->d_h, err)) != 0 ||
		(r = cwe_device_floats(dev, CWE_HEAD_SLICE * d, &b->d_w, err)) != 0 ||
		(r = cwe_device_floats(dev, n * CWE_HEAD_SLICE, &b->d_logits, err)) != 0) {
		return r;
	}
	return cwe_model_final_norm(m, b->d_norm, err);
}

/* Logits of n rows, whose hidden states are on the host. */
static int compute(struct rows *b, uint64_t n, struct cwb_err *err)
{
	struct cwe_model *m = b->model;
	uint64_t d = m->arch.hidden, v = m->arch.vocabulary;
	int r = CWE_OP(m->device, upload, b->d_x, b->hidden, n * d * sizeof *b->hidden);
	r = r == 0 ? cwe_model_norm(m, b->d_x, b->d_norm, n, b->d_h, b->d_rstd, err) : r;
	for (uint64_t first = 0; r == 0 && first < v; first += CWE_HEAD_SLICE) {
		uint64_t k = v - first < CWE_HEAD_SLICE ? v - first : CWE_HEAD_SLICE;
		if ((r = cwe_model_head_rows(m, first, k, b->d_w, err)) != 0 ||
			(r = cwe_model_logits(m, b->d_h, n, b->d_w, k, b->d_logits, err)) != 0 ||
			(r = CWE_OP(m->device, download, b->slice, b->d_logits, n * k * sizeof *b->slice)) != 0) {
			return r;
		}
		for (uint64_t i = 0; i < n; i++) {
			memcpy(b->logits + i * v + first, b->slice + i * k, k * sizeof *b->slice);
		}
	}
	return r;
}

/* Logits -> log-softmax, sums in f64. */
static void normalize(float *x, uint64_t n)
{
	double sum = 0, most = -INFINITY;
	for (uint64_t i = 0; i < n; i++) {
		most = (double)x[i] > most || isnan(x[i]) ? (double)x[i] : most;
	}
	for (uint64_t i = 0; i < n; i++) {
		sum += exp((double)x[i] - most);
	}
	double lse = sum != 0 ? most + log(sum) : most;
	for (uint64_t i = 0; i < n; i++) {
		x[i] = (float)((double)x[i] - lse);
	}
}

int cwe_next_run(struct cwe_model *model, struct cwe_boundary *boundary, uint32_t last, const struct cwe_next *next,
	struct cwb_err *err)
{
	const struct cwp_host *host = &model->device->host->table;
	uint64_t d = model->arch.hidden, v = model->arch.vocabulary;
	struct rows b;
	if (next->count == 0) {
		return 0;
	}
	int r = new_rows(model, next->count, &b, err);
	for (uint64_t first = 0; r == 0 && first < next->count; first += b.most) {
		uint64_t n = next->count - first < b.most ? next->count - first : b.most;
		r = host->cancelled(host->ctx) ? cwb_err_set(err, CWP_ECANCELLED, "cancelled") : 0;
		for (uint64_t i = 0; r == 0 && i < n; i++) {
			r = cwe_boundary_read(boundary, last, next->token[first + i] * d, b.hidden + i * d, d, err);
		}
		r = r == 0 ? compute(&b, n, err) : r;
		for (uint64_t i = 0; r == 0 && i < n; i++) {
			normalize(b.logits + i * v, v);
			r = next->take(next->arg, first + i, b.logits + i * v, err);
		}
	}
	free_rows(&b);
	return r;
}
