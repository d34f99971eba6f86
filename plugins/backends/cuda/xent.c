/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Cross entropy over a vocabulary in slices. */
#include "plugins/backends/cuda/cuda.h"
#include "plugins/backends/cuda/ops_rows.h"

/* All arrays of the running state are written by an operation. */
static void wrote_state(struct cuda *b, const struct launch_xent *x)
{
	cuda_wrote(b, x->d_max, x->rows * sizeof(*x->d_max));
	cuda_wrote(b, x->d_sum, x->rows * sizeof(*x->d_sum));
	cuda_wrote(b, x->d_target_logit, x->rows * sizeof(*x->d_target_logit));
	cuda_wrote(b, x->d_best, x->rows * sizeof(*x->d_best));
	cuda_wrote(b, x->d_best_token, x->rows * sizeof(*x->d_best_token));
}

static int check_state(struct cuda *b, const char *op, const struct launch_xent *x)
{
	if (!x->d_max || !x->d_sum || !x->d_target_logit || !x->d_best || !x->d_best_token) {
		return cuda_refuse(b, CWP_EVALUE, "%s: an array is NULL", op);
	}
	return 0;
}

int cuda_xent_begin(void *vb, uint64_t rows, float *d_max, double *d_sum, float *d_target_logit, float *d_best,
	uint32_t *d_best_token)
{
	struct cuda *b = vb;
	struct launch_xent x = {.rows = rows,
		.d_max = d_max,
		.d_sum = d_sum,
		.d_target_logit = d_target_logit,
		.d_best = d_best,
		.d_best_token = d_best_token};
	int rc = rows ? check_state(b, "xent_begin", &x) : 0;
	if (rc || rows == 0) {
		return rc;
	}
	wrote_state(b, &x);
	return cuda_check(b, "xent_begin", launch_xent_begin(b->stream, &x));
}

/* Checks what both passes share; *ret_empty when there is nothing to do. */
static int prepare(struct cuda *b, const char *op, const struct launch_xent *x, int *ret_empty)
{
	int rc = cuda_check_matrix(b, op, "the logits", x->d_logits, x->rows, x->n, x->ld);
	if (rc) {
		return rc;
	}
	*ret_empty = x->rows == 0 || x->n == 0;
	if (!*ret_empty && !x->d_target) {
		return cuda_refuse(b, CWP_EVALUE, "%s: the targets are NULL", op);
	}
	if (x->n > UINT32_MAX - (uint64_t)x->first) {
		return cuda_refuse(b, CWP_ESHAPE, "%s: tokens from %u on, %llu of them, are more than 32 bits number", op, x->first,
			(unsigned long long)x->n);
	}
	return 0;
}

int cuda_xent_slice(void *vb, const float *d_logits, uint64_t rows, uint64_t ld, uint64_t n, uint32_t first,
	const uint32_t *d_target, float *d_max, double *d_sum, float *d_target_logit, float *d_best, uint32_t *d_best_token)
{
	struct cuda *b = vb;
	struct launch_xent x = {.d_logits = (float *)d_logits,
		.rows = rows,
		.ld = ld,
		.n = n,
		.first = first,
		.d_target = d_target,
		.d_max = d_max,
		.d_sum = d_sum,
		.d_target_logit = d_target_logit,
		.d_best = d_best,
		.d_best_token = d_best_token};
	int empty = 0;
	int rc = prepare(b, "xent_slice", &x, &empty);
	if (!rc && !empty) {
		rc = check_state(b, "xent_slice", &x);
	}
	if (rc || empty) {
		return rc;
	}
	wrote_state(b, &x);
	return cuda_check(b, "xent_slice", launch_xent_slice(b->stream, &x));
}

int cuda_xent_backward(void *vb, float *d_logits, uint64_t rows, uint64_t ld, uint64_t n, uint32_t first,
	const uint32_t *d_target, const float *d_weight, const double *d_lse)
{
	struct cuda *b = vb;
	struct launch_xent x = {.d_logits = d_logits,
		.rows = rows,
		.ld = ld,
		.n = n,
		.first = first,
		.d_target = d_target,
		.d_weight = d_weight,
		.d_lse = d_lse};
	int empty = 0;
	int rc = prepare(b, "xent_backward", &x, &empty);
	if (rc || empty) {
		return rc;
	}
	if (!d_weight || !d_lse) {
		return cuda_refuse(b, CWP_EVALUE, "xent_backward: %s is NULL", d_lse ? "weight" : "lse");
	}
	if (ld == n) {
		x.d_copy = cuda_wrote_beside(b, d_logits, rows * n);
	} else {
		cuda_wrote(b, d_logits, ((rows - 1) * ld + n) * sizeof(float));
	}
	return cuda_check(b, "xent_backward", launch_xent_backward(b->stream, &x));
}
