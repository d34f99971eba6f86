/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Matrices and norms as backend operations. */
#include <errno.h>
#include <stdlib.h>

#include "engine/model/block.h"

struct cwe_rows cwe_block_rows(const struct cwe_block *b)
{
	return (struct cwe_rows){b->chunk->tokens, b->chunk->samples, b->chunk->sequences};
}

static struct cwe_flow flow_of(const struct cwe_block *b, enum cwe_role role, uint32_t expert, const struct cwe_rows *rows)
{
	struct cwe_flow f = {.tokens = rows->count, .samples = rows->samples};
	f.linear = cwe_linear_of(&b->model->arch, b->layer->index, role, expert, &f.row);
	cwe_role_shape(&b->model->arch, role, expert, &f.out, &f.in);
	return f;
}

/* Shows X [rows, in] to the tap. */
static int show(const struct cwe_block *b, enum cwe_role role, uint32_t expert, const struct cwe_rows *rows, const float *d_x,
	struct cwb_err *err)
{
	struct cwe_flow f = flow_of(b, role, expert, rows);
	/* A matrix of several roles is shown once. */
	return b->tap != NULL && b->tap->input != NULL && f.row == 0 ? b->tap->input(b->tap->arg, &f, d_x, err) : 0;
}

static int same(const struct cwp_activation *a, const struct cwp_activation *b)
{
	return a->kind == b->kind && a->group == b->group && a->zero == b->zero && a->scale == b->scale && a->threshold == b->threshold;
}

/* X as the matrix wants it: in ws->d_quantized, unless that holds it already. */
static int quantize(const struct cwe_block *b, const struct cwe_part *w, const struct cwe_rows *rows, struct cwe_operand *x,
	const float **ret, struct cwb_err *err)
{
	*ret = x->d_x;
	if (w->input->how.kind == 0) {
		return 0;
	}
	*ret = b->ws->d_quantized;
	if (x->how != NULL && same(x->how, &w->input->how)) {
		return 0;
	}
	struct cwp_activation how = w->input->how;
	how.sequences = rows->sequences;
	x->how = &w->input->how;
	return CWE_OP(b->model->device, fake_quant, &how, x->d_x, rows->count, w->cols, b->ws->d_quantized);
}

int cwe_block_linear(const struct cwe_block *b, enum cwe_role role, uint32_t expert, const struct cwe_rows *rows,
	struct cwe_operand *x, float *d_y, struct cwb_err *err)
{
	struct cwe_model *m = b->model;
	struct cwe_part w = cwe_layer_part(m, b->layer, role, expert);
	const float *d_in;
	int r = show(b, role, expert, rows, x->d_x, err);
	if (r != 0 || d_y == NULL || b->recalls || (r = quantize(b, &w, rows, x, &d_in, err)) != 0 ||
		(r = CWE_OP(m->device, matmul, 0, 1, rows->count, w.rows, w.cols, d_in, w.cols, w.d_weight, w.cols, 0, d_y, w.rows)) != 0) {
		return r;
	}
	if (w.d_exact != NULL) {
		r = CWE_OP(m->device, matmul, 0, 1, rows->count, w.rows, w.cols, x->d_x, w.cols, w.d_exact, w.cols, 1, d_y, w.rows);
	}
	return r == 0 && w.d_bias != NULL ? CWE_OP(m->device, add_bias, d_y, w.d_bias, rows->count, w.rows) : r;
}

int cwe_block_linear_backward(const struct cwe_block *b, enum cwe_role role, uint32_t expert, const struct cwe_rows *rows,
	const float *d_x, const float *d_dy, int accumulate, float *d_dx, struct cwb_err *err)
{
	struct cwe_model *m = b->model;
	struct cwe_flow f = flow_of(b, role, expert, rows);
	if (b->tap != NULL && b->tap->gradient != NULL) {
		int r = b->tap->gradient(b->tap->arg, &f, d_x, d_dy, err);
		if (r != 0) {
			return r;
		}
	}
	/* Rounding of the input counts as the identity. */
	struct cwe_part w = cwe_layer_part(m, b->layer, role, expert);
	int r = CWE_OP(m->device, matmul, 0, 0, rows->count, f.in, f.out, d_dy, f.out, w.d_weight, f.in, accumulate, d_dx, f.in);
	return r == 0 && w.d_exact != NULL
		? CWE_OP(m->device, matmul, 0, 0, rows->count, f.in, f.out, d_dy, f.out, w.d_exact, f.in, 1, d_dx, f.in) : r;
}

/* Rows of a norm for each token: its heads, where each has its own. */
static uint64_t rows_a_token(const struct cwe_arch *a, enum cwe_norm norm)
{
	if (!a->norm_heads) {
		return 1;
	}
	return norm == CWE_NORM_Q ? a->heads : norm == CWE_NORM_K ? a->kv_heads : 1;
}

int cwe_block_norm(const struct cwe_block *b, enum cwe_norm norm, const float *d_x, float *d_y, struct cwb_err *err)
{
	const struct cwe_arch *a = &b->model->arch;
	return CWE_OP(b->model->device, rmsnorm, d_x, b->layer->d_norm[norm], a->norm_offset, a->norm_eps,
		b->chunk->tokens * rows_a_token(a, norm), cwe_norm_width(a, norm), d_y, b->ws->d_rstd[norm]);
}

int cwe_block_norm_backward(const struct cwe_block *b, enum cwe_norm norm, const float *d_dy, const float *d_x,
	int accumulate, float *d_dx, struct cwb_err *err)
{
	const struct cwe_arch *a = &b->model->arch;
	float *d_dw = b->tap != NULL ? b->tap->d_dnorm[norm] : NULL;
	uint64_t each = rows_a_token(a, norm);
	struct cwp_sequences samples = b->chunk->samples;
	uint64_t *start = NULL;
	if (d_dw != NULL && each > 1) {
		start = malloc((samples.count + 1) * sizeof *start);
		if (start == NULL) {
			return cwb_err_set(err, -ENOMEM, "no memory for a norm's samples");
		}
		for (uint64_t s = 0; s <= samples.count; s++) {
			start[s] = samples.start[s] * each;
		}
		samples.start = start;
	}
	int r = CWE_OP(b->model->device, rmsnorm_backward, d_dy, d_x, b->layer->d_norm[norm], a->norm_offset,
		b->ws->d_rstd[norm], b->chunk->tokens * each, cwe_norm_width(a, norm), accumulate, d_dx,
		d_dw != NULL ? &samples : NULL, d_dw);
	free(start);
	return r;
}
