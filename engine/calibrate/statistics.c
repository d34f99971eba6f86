/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Accumulators of one layer and the taps that fill them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/calibrate/statistics.h"
#include "engine/model/ops.h"

#define GRADIENTS (CWP_STAT_GRAD_SUM | CWP_STAT_GRAD_ABS | CWP_STAT_GRAD_SQ)

static const uint32_t grad_bit[3] = {CWP_STAT_GRAD_SUM, CWP_STAT_GRAD_ABS, CWP_STAT_GRAD_SQ};
/* q, k, v read the same input, and so do gate and up: each input is measured once, by the first that reads it. */
static const enum cwe_linear reads_as[CWE_LINEARS] = {CWE_Q, CWE_Q, CWE_Q, CWE_O, CWE_GATE, CWE_GATE, CWE_DOWN};

/* Weights of the Linears before this one, and channels of the distinct inputs before its own. */
static void place_of(const struct cwe_arch *a, enum cwe_linear linear, uint64_t *ret_weights, uint64_t *ret_inputs)
{
	uint64_t weights = 0, inputs = 0, rows, cols;
	for (int l = 0; l < CWE_LINEARS; l++) {
		cwe_linear_shape(a, l, &rows, &cols);
		if (l < (int)linear) {
			weights += rows * cols;
		}
		if (l < (int)(linear == CWE_LINEARS ? CWE_LINEARS : reads_as[linear]) && reads_as[l] == (enum cwe_linear)l) {
			inputs += cols;
		}
	}
	*ret_weights = weights;
	*ret_inputs = inputs;
}

static uint64_t lay_out(const struct cwe_arch *a, uint32_t needs, char *base, struct cwe_statistics *s)
{
	uint64_t at = 0;
	place_of(a, CWE_LINEARS, &s->weights, &s->inputs);
	for (int i = 0; i < 3; i++) {
		int wanted = (needs & grad_bit[i]) != 0;
		s->d_grad[i] = wanted && base != NULL ? (float *)(void *)(base + at) : NULL;
		at += wanted ? (s->weights * sizeof(float) + 63) / 64 * 64 : 0;
	}
	s->d_act = base != NULL ? (double *)(void *)(base + at) : NULL;
	at += (2 * s->inputs * sizeof(double) + 63) / 64 * 64;
	s->d_absmax = base != NULL ? (float *)(void *)(base + at) : NULL;
	return at + s->inputs * sizeof(float);
}

uint64_t cwe_statistics_bytes(const struct cwe_arch *arch, uint32_t needs)
{
	struct cwe_statistics s;
	return lay_out(arch, needs, NULL, &s);
}

int cwe_statistics_new(struct cwe_model *m, uint32_t needs, struct cwe_statistics *ret, struct cwb_err *err)
{
	struct cwe_statistics s = {.model = m, .needs = needs};
	if (needs & CWP_STAT_GRAM) {
		return cwb_err_set(err, CWP_EVALUE, "statistic x x^T is not available in this version");
	}
	s.bytes = lay_out(&m->arch, needs, NULL, &s);
	int r = cwe_device_bytes(m->device, s.bytes, &s.d_block, err);
	if (r != 0) {
		return r;
	}
	(void)lay_out(&m->arch, needs, s.d_block, &s);
	if (!(m->device->ops->flags & CWP_BACKEND_HOST_MEMORY)) {
		s.host = malloc((4 * s.weights + s.inputs) * sizeof *s.host);
		s.host_act = malloc(2 * s.inputs * sizeof *s.host_act);
		if (s.host == NULL || s.host_act == NULL) {
			cwe_statistics_free(&s);
			return cwb_err_set(err, -ENOMEM, "no memory for statistics");
		}
	}
	*ret = s;
	return 0;
}

void cwe_statistics_free(struct cwe_statistics *s)
{
	if (s->model != NULL) {
		cwe_device_free(s->model->device, s->d_block, s->bytes);
	}
	free(s->host);
	free(s->host_act);
	memset(s, 0, sizeof *s);
}

int cwe_statistics_zero(struct cwe_statistics *s, struct cwb_err *err)
{
	return CWE_OP(s->model->device, zero, s->d_block, s->bytes);
}

static int take_input(void *arg, enum cwe_linear linear, const struct cwe_chunk *chunk, const float *d_x,
	struct cwb_err *err)
{
	struct cwe_statistics *s = arg;
	if (reads_as[linear] != linear) {
		return 0;
	}
	uint64_t rows, cols, weights, inputs;
	cwe_linear_shape(&s->model->arch, linear, &rows, &cols);
	place_of(&s->model->arch, linear, &weights, &inputs);
	return CWE_OP(s->model->device, act_stats, d_x, chunk->tokens, cols, cols,
		s->needs & CWP_STAT_ACT_SUM ? s->d_act + inputs : NULL,
		s->needs & CWP_STAT_ACT_SQ ? s->d_act + s->inputs + inputs : NULL,
		s->needs & CWP_STAT_ACT_ABSMAX ? s->d_absmax + inputs : NULL);
}

static int take_gradient(void *arg, enum cwe_linear linear, const struct cwe_chunk *chunk, const float *d_x,
	const float *d_dy, struct cwb_err *err)
{
	struct cwe_statistics *s = arg;
	uint64_t weights, inputs;
	struct cwp_grad_stats g = {.size = sizeof g, .samples = chunk->samples, .d_x = d_x, .d_dy = d_dy};
	cwe_linear_shape(&s->model->arch, linear, &g.rows, &g.cols);
	place_of(&s->model->arch, linear, &weights, &inputs);
	g.ldx = g.cols;
	g.lddy = g.rows;
	g.d_sum = s->d_grad[0] != NULL ? s->d_grad[0] + weights : NULL;
	g.d_abs = s->d_grad[1] != NULL ? s->d_grad[1] + weights : NULL;
	g.d_sq = s->d_grad[2] != NULL ? s->d_grad[2] + weights : NULL;
	return CWE_OP(s->model->device, grad_stats, &g);
}

struct cwe_tap cwe_statistics_tap(struct cwe_statistics *s, int gradients)
{
	int inputs = (s->needs & (CWP_STAT_ACT_SUM | CWP_STAT_ACT_SQ | CWP_STAT_ACT_ABSMAX)) != 0;
	return (struct cwe_tap){.arg = s, .input = inputs ? take_input : NULL,
		.gradient = gradients && (s->needs & GRADIENTS) ? take_gradient : NULL};
}

/* Device array -> host pointer: itself, or a copy in the staging buffer. */
static int to_host(struct cwe_statistics *s, const void *d, void *staging, uint64_t bytes, const void **ret,
	struct cwb_err *err)
{
	if (d == NULL || (s->model->device->ops->flags & CWP_BACKEND_HOST_MEMORY)) {
		*ret = d;
		return 0;
	}
	*ret = staging;
	return CWE_OP(s->model->device, download, staging, d, bytes);
}

int cwe_statistics_get(struct cwe_statistics *s, const struct cwe_layer *layer, enum cwe_linear linear,
	struct cwe_module_statistics *ret, struct cwb_err *err)
{
	struct cwe_module_statistics m = {0};
	uint64_t weights, inputs;
	const void *grad[3], *weight, *sum, *sq, *absmax;
	cwe_linear_shape(&s->model->arch, linear, &m.rows, &m.cols);
	place_of(&s->model->arch, linear, &weights, &inputs);
	uint64_t n = m.rows * m.cols;
	int r = CWE_OP(s->model->device, sync);
	for (int i = 0; r == 0 && i < 3; i++) {
		r = to_host(s, s->d_grad[i] != NULL ? s->d_grad[i] + weights : NULL,
			s->host != NULL ? s->host + (uint64_t)i * s->weights : NULL, n * sizeof(float), &grad[i], err);
	}
	if (r != 0 ||
		(r = to_host(s, layer->d_weight[linear], s->host != NULL ? s->host + 3 * s->weights : NULL,
			n * sizeof(float), &weight, err)) != 0 ||
		(r = to_host(s, s->d_act + inputs, s->host_act, m.cols * sizeof(double), &sum, err)) != 0 ||
		(r = to_host(s, s->d_act + s->inputs + inputs, s->host_act != NULL ? s->host_act + s->inputs : NULL,
			m.cols * sizeof(double), &sq, err)) != 0 ||
		(r = to_host(s, s->d_absmax + inputs, s->host != NULL ? s->host + 4 * s->weights : NULL,
			m.cols * sizeof(float), &absmax, err)) != 0) {
		return r;
	}
	m.weight = weight;
	m.grad_sum = grad[0];
	m.grad_abs = grad[1];
	m.grad_sq = grad[2];
	m.act_sum = s->needs & CWP_STAT_ACT_SUM ? sum : NULL;
	m.act_sq = s->needs & CWP_STAT_ACT_SQ ? sq : NULL;
	m.act_absmax = s->needs & CWP_STAT_ACT_ABSMAX ? absmax : NULL;
	*ret = m;
	return 0;
}
