/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Cross entropy over a vocabulary in slices: a running maximum and a running sum by row. A NaN
 * logit makes its row's sum NaN; the best token passes over it. */
#include <math.h>

#include "plugins/backends/cpu/cpu.h"

enum { CHUNK = 1 << 15 }; /* logits of one piece of work */

struct xent {
	struct cpu *b;
	const float *logits;
	float *gradient;
	uint64_t rows;
	uint64_t ld;
	uint64_t n;
	uint64_t rows_each;
	uint32_t first;
	const uint32_t *target;
	float *max;
	double *sum;
	float *target_logit;
	float *best;
	uint32_t *best_token;
	const float *weight;
	const double *lse;
};

int cpu_xent_begin(void *vb, uint64_t rows, float *d_max, double *d_sum, float *d_target_logit,
	float *d_best, uint32_t *d_best_token)
{
	struct cpu *b = vb;
	if (rows && (!d_max || !d_sum || !d_target_logit || !d_best || !d_best_token)) {
		return cpu_refuse(b, CWP_EVALUE, "xent_begin: an array is NULL");
	}
	for (uint64_t t = 0; t < rows; t++) {
		d_max[t] = -INFINITY;
		d_sum[t] = 0.0;
		d_target_logit[t] = 0.0F;
		d_best[t] = -INFINITY;
		d_best_token[t] = 0;
	}
	return 0;
}

static void slice_row(const struct xent *x, uint64_t t)
{
	const struct kernels *k = &x->b->k;
	const float *logits = x->logits + t * x->ld;
	float best = 0.0F;
	size_t at = k->argmax(logits, x->n, &best);
	float old = x->max[t], m = best > old ? best : old;
	float shift = m == -INFINITY ? 0.0F : m;
	double sum = x->sum[t];
	if (old != -INFINITY) {
		sum *= exp((double)old - (double)shift);
	}
	x->sum[t] = sum + k->sum_exp(logits, x->n, shift);
	x->max[t] = m;
	if (best > x->best[t]) {
		x->best[t] = best;
		x->best_token[t] = x->first + (uint32_t)at;
	}
	uint32_t target = x->target[t];
	if (target >= x->first && target - x->first < x->n) {
		x->target_logit[t] = logits[target - x->first];
	}
}

static void slice_piece(void *arg, size_t i)
{
	const struct xent *x = arg;
	uint64_t first = 0, end = 0;
	cpu_piece(x->rows, x->rows_each, i, &first, &end);
	for (uint64_t t = first; t < end; t++) {
		slice_row(x, t);
	}
}

/* Checks and fills what both passes share; *ret_empty when there is nothing to do. */
static int prepare(const char *op, struct xent *x, int *ret_empty)
{
	x->rows_each = cpu_rows_each(x->n ? x->n : 1, CHUNK);
	int rc = cpu_check_matrix(x->b, op, "the logits", x->logits, x->rows, x->n, x->ld);
	if (rc) {
		return rc;
	}
	*ret_empty = x->rows == 0 || x->n == 0;
	if (!*ret_empty && !x->target) {
		return cpu_refuse(x->b, CWP_EVALUE, "%s: the targets are NULL", op);
	}
	if (x->n > UINT32_MAX - (uint64_t)x->first) {
		return cpu_refuse(x->b, CWP_ESHAPE,
			"%s: tokens from %u on, %llu of them, are more than 32 bits number", op,
			x->first, (unsigned long long)x->n);
	}
	return 0;
}

int cpu_xent_slice(void *vb, const float *d_logits, uint64_t rows, uint64_t ld, uint64_t n,
	uint32_t first, const uint32_t *d_target, float *d_max, double *d_sum,
	float *d_target_logit, float *d_best, uint32_t *d_best_token)
{
	struct xent x = {.b = vb,
		.logits = d_logits,
		.rows = rows,
		.ld = ld,
		.n = n,
		.first = first,
		.target = d_target,
		.max = d_max,
		.sum = d_sum,
		.target_logit = d_target_logit,
		.best = d_best,
		.best_token = d_best_token};
	int empty = 0;
	int rc = prepare("xent_slice", &x, &empty);
	if (rc || empty) {
		return rc;
	}
	if (!d_max || !d_sum || !d_target_logit || !d_best || !d_best_token) {
		return cpu_refuse(vb, CWP_EVALUE, "xent_slice: an array is NULL");
	}
	cpu_run(vb, cpu_pieces(rows, x.rows_each), slice_piece, &x);
	return 0;
}

static void backward_row(const struct xent *x, uint64_t t)
{
	float *g = x->gradient + t * x->ld;
	float weight = x->weight[t];
	/* Such a token takes no part in the loss, whatever its logits are. */
	if (weight == 0.0F) {
		for (uint64_t i = 0; i < x->n; i++) {
			g[i] = 0.0F;
		}
		return;
	}
	float high = (float)x->lse[t];
	float low = isfinite(high) ? (float)(x->lse[t] - (double)high) : 0.0F;
	x->b->k.softmax_weight(g, x->n, high, low, weight);
	uint32_t target = x->target[t];
	if (target >= x->first && target - x->first < x->n) {
		g[target - x->first] -= weight;
	}
}

static void backward_piece(void *arg, size_t i)
{
	const struct xent *x = arg;
	uint64_t first = 0, end = 0;
	cpu_piece(x->rows, x->rows_each, i, &first, &end);
	for (uint64_t t = first; t < end; t++) {
		backward_row(x, t);
	}
}

int cpu_xent_backward(void *vb, float *d_logits, uint64_t rows, uint64_t ld, uint64_t n,
	uint32_t first, const uint32_t *d_target, const float *d_weight, const double *d_lse)
{
	struct xent x = {.b = vb,
		.logits = d_logits,
		.gradient = d_logits,
		.rows = rows,
		.ld = ld,
		.n = n,
		.first = first,
		.target = d_target,
		.weight = d_weight,
		.lse = d_lse};
	int empty = 0;
	int rc = prepare("xent_backward", &x, &empty);
	if (rc || empty) {
		return rc;
	}
	if (!d_weight || !d_lse) {
		return cpu_refuse(
			vb, CWP_EVALUE, "xent_backward: %s is NULL", d_lse ? "weight" : "lse");
	}
	cpu_run(vb, cpu_pieces(rows, x.rows_each), backward_piece, &x);
	return 0;
}
