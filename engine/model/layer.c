/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A layer as two blocks with residual sums: y = x + out_norm(f(in_norm(x))), where a family has the norm on either side,
 * or on both. */
#include "engine/model/block.h"

static int is_moe(const struct cwe_block *b)
{
	return cwe_arch_layer_is(&b->model->arch, b->layer->index, CWE_LAYER_MOE);
}

static const float *mlp_input(const struct cwe_block *b)
{
	return b->ws->d_h2 != NULL ? b->ws->d_h2 : b->ws->d_x2;
}

/* x2 [T, hidden] -> out [T, hidden], which may be NULL: then only what the backward pass needs. */
static int mlp_block(const struct cwe_block *b, float *d_out, struct cwb_err *err)
{
	struct cwe_workspace *ws = b->ws;
	uint64_t n = b->chunk->tokens * b->model->arch.hidden;
	float *d_m = ws->d_m != NULL ? ws->d_m : d_out;
	int r = ws->d_h2 != NULL ? cwe_block_norm(b, CWE_NORM_MLP, ws->d_x2, ws->d_h2, err) : 0;
	if (r == 0) {
		r = is_moe(b) ? cwe_moe_forward(b, mlp_input(b), d_m, err)
			      : cwe_mlp_forward(b, CWE_DENSE, mlp_input(b), d_m, err);
	}
	if (r == 0 && ws->d_m != NULL && (d_out != NULL || ws->backward)) {
		/* Without an output its norm still gives the backward pass its factors; d_dx is free until then. */
		r = cwe_block_norm(b, CWE_NORM_MLP_OUT, ws->d_m, d_out != NULL ? d_out : ws->d_dx, err);
	}
	return r == 0 && d_out != NULL ? CWE_OP(b->model->device, add, d_out, ws->d_x2, n) : r;
}

static int forward(const struct cwe_block *b, const float *d_x, const struct cwe_decode *decode, float *d_out,
	struct cwb_err *err)
{
	uint64_t n = b->chunk->tokens * b->model->arch.hidden;
	int r = cwe_attention_forward(b, d_x, decode, err);
	/* Only a norm makes the output of attention anew. */
	int summed = b->recalls && b->ws->d_o == NULL;
	r = r == 0 && !summed ? CWE_OP(b->model->device, add, b->ws->d_x2, d_x, n) : r;
	return r == 0 ? mlp_block(b, d_out, err) : r;
}

int cwe_model_divisible(const struct cwe_model *m, uint64_t longest)
{
	return !cwe_rope_extended(&m->arch, longest) && !(m->quantizes && m->by_sequence);
}

int cwe_layer_forward(struct cwe_model *m, const struct cwe_layer *layer, const struct cwe_chunk *chunk,
	const float *d_x, struct cwe_workspace *ws, float *d_out, const struct cwe_tap *tap, struct cwb_err *err)
{
	const struct cwe_block b = {m, layer, chunk, ws, tap, 0};
	return forward(&b, d_x, NULL, d_out, err);
}

int cwe_layer_recall(struct cwe_model *m, const struct cwe_layer *layer, const struct cwe_chunk *chunk, const float *d_x,
	struct cwe_workspace *ws, const struct cwe_tap *tap, struct cwb_err *err)
{
	const struct cwe_block b = {m, layer, chunk, ws, tap, 1};
	return forward(&b, d_x, NULL, NULL, err);
}

/* The gradient at a block's input, in ws->d_dx, through the input's norm and added to the residual's. */
static int to_residual(const struct cwe_block *b, enum cwe_norm norm, const float *d_x, float *d_dx, struct cwb_err *err)
{
	if (b->model->arch.norm[norm] != NULL) {
		return cwe_block_norm_backward(b, norm, b->ws->d_dx, d_x, 1, d_dx, err);
	}
	return CWE_OP(b->model->device, add, d_dx, b->ws->d_dx, b->chunk->tokens * b->model->arch.hidden);
}

static int mlp_block_backward(const struct cwe_block *b, float *d_dx, struct cwb_err *err)
{
	struct cwe_workspace *ws = b->ws;
	const float *d_dy = d_dx;
	int r = 0;
	if (ws->d_m != NULL) {
		r = cwe_block_norm_backward(b, CWE_NORM_MLP_OUT, d_dx, ws->d_m, 0, ws->d_dblock, err);
		d_dy = ws->d_dblock;
	}
	if (r == 0) {
		r = is_moe(b) ? cwe_moe_backward(b, mlp_input(b), d_dy, ws->d_dx, err)
			      : cwe_mlp_backward(b, CWE_DENSE, mlp_input(b), d_dy, 0, ws->d_dx, err);
	}
	return r == 0 ? to_residual(b, CWE_NORM_MLP, ws->d_x2, d_dx, err) : r;
}

int cwe_layer_backward(struct cwe_model *m, const struct cwe_layer *layer, const struct cwe_chunk *chunk,
	const float *d_x, struct cwe_workspace *ws, float *d_dx, const struct cwe_tap *tap, struct cwb_err *err)
{
	const struct cwe_block b = {m, layer, chunk, ws, tap, 0};
	int r = mlp_block_backward(&b, d_dx, err);
	r = r == 0 ? cwe_attention_backward(&b, d_x, d_dx, err) : r;
	return r == 0 ? to_residual(&b, CWE_NORM_ATTENTION, d_x, d_dx, err) : r;
}

int cwe_layer_decode(struct cwe_model *m, const struct cwe_layer *layer, float *d_x, const struct cwe_decode *decode,
	struct cwe_workspace *ws, struct cwb_err *err)
{
	const struct cwe_chunk chunk = {.tokens = decode->count, .d_position = decode->d_position};
	const struct cwe_block b = {m, layer, &chunk, ws, NULL, 0};
	/* The output may not be x, and the normed input of attention is used up when the MLP's result is written. */
	int r = forward(&b, d_x, decode, ws->d_h1, err);
	return r == 0 ? cwe_device_copy(m->device, d_x, ws->d_h1, decode->count * m->arch.hidden, err) : r;
}
